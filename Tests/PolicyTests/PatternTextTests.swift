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

    @Test("presets leave out what they say, and not what is like it")
    func presets() {
        func isExcluded(_ path: String, _ presets: [ExclusionPreset]) -> Bool {
            let roots = ["home", "var/lib"].map { Array($0.utf8) }
            let rules = ExclusionRules(
                presets.flatMap(\.lines).flatMap {
                    ExclusionPattern.commandLine(Array($0.pattern.utf8), roots: roots)
                })
            // As a walk does: a directory that is excluded is not entered.
            let names = path.utf8.split(separator: UInt8(ascii: "/"))
            return names.indices.contains { index in
                let bytes = Array(names[...index].joined(separator: [UInt8(ascii: "/")]))
                let isDirectory = index < names.count - 1 || path.hasSuffix("/")
                return bytes.withUnsafeBytes {
                    rules.excludes($0, nameOffset: bytes.count - names[index].count, isDirectory: isDirectory)
                }
            }
        }
        for path in ["/tmp/x", "/home/a/.local/share/Trash/files/x", "/home/a/x.tmp", "/home/a/.x.swp", "/home/#x#"] {
            #expect(isExcluded(path, [.temporary]), "\(path)")
        }
        for path in [
            "/home/a/.cache/x", "/home/.config/chromium/Default/Cache/x", "/home/a/__pycache__/x", "/var/cache/a",
        ] {
            #expect(isExcluded(path, [.caches]), "\(path)")
        }
        for path in ["/proc/1", "/run/x", "/swapfile", "/home/.snapshots/1/x"] {
            #expect(isExcluded(path, [.system]), "\(path)")
        }
        for path in [
            "/home/a/tmp/x", "/home/a/proc/x", "/home/a/.config/app/settings", "/home/a/cache", "/home/tmp",
            "/etc/fstab",
            "/var/lib/run/x", "/home/a/.cachefile", "/home/a/part", "/home/dev/x", "/var/lib/postgresql/16/main/base/1",
        ] {
            #expect(!isExcluded(path, ExclusionPreset.allCases), "\(path)")
        }
    }
}
