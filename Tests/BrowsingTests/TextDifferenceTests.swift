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

    @Test("lines end as on Windows, too")
    func carriageReturns() {
        let lines = TextDifference.lines("a\r\nb\r\nc\r\n", "a\r\nx\r\nc\r\n")
        #expect(lines == [.same("a\r"), .removed("b\r"), .added("x\r"), .same("c\r"), .same("")])
        // Other ends of lines are a change.
        #expect(TextDifference.lines("a\r\nb", "a\nb") == [.removed("a\r"), .added("a"), .same("b")])
    }

    @Test("what looks the same and is written with other characters is a change")
    func forms() throws {
        let (one, two) = ("caf\u{E9}", "cafe\u{301}")
        let lines = TextDifference.lines("\(one)\nb", "\(two)\nb")
        try #require(lines.count == 3)
        let texts = lines.map { line -> [UInt8] in
            switch line {
            case .removed(let text), .added(let text), .same(let text): Array(text.utf8)
            case .skipped: []
            }
        }
        #expect(texts == [Array(one.utf8), Array(two.utf8), Array("b".utf8)])
    }
}
