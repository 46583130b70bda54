import Capture
import TestSupport
import Testing

@testable import Policy

@Suite("Patterns of policies")
struct PatternTextTests {
    @Test("a policy accepts exactly the patterns that matching can use")
    func agreement() {
        let seed = UInt64.random(in: 0 ... .max)
        print("patterns, seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        let pieces = [
            "[", "]", "!", "^", "-", "\\", "/", "*", "**", "a", "z", "[:alpha:]", "[:bogus:]", "[:", ":]", ":", "?",
            "é",
        ]
        var refused = 0
        for _ in 0..<20_000 {
            let text = (0..<Int.random(in: 0...7, using: &generator)).map { _ in
                pieces.randomElement(using: &generator)!
            }.joined()
            let problem = ExclusionPattern(Array(text.utf8)).problem
            var isAccepted = true
            do { try PatternText.check(text) } catch { isAccepted = false }
            if !isAccepted { refused += 1 }
            #expect(isAccepted == (problem == nil), "seed \(seed): \(text)")
        }
        #expect(refused > 1_000)
    }
}
