import Browsing
import Testing

@Suite("Differences of texts")
struct TextDifferenceTests {
    @Test("a change comes with three equal lines around it, and the rest is counted")
    func context() {
        let old = (1...20).map { "line \($0)" }
        var new = old
        new[9] = "another"
        let lines = TextDifference.lines(old.joined(separator: "\n"), new.joined(separator: "\n"))
        #expect(lines.first == .skipped(6))
        #expect(lines.dropFirst(4).prefix(2) == [.removed("line 10"), .added("another")])
        #expect(lines.count == 9)
        #expect(TextDifference.lines("same", "same").isEmpty)
    }
}
