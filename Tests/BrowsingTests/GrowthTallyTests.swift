import Model
import Testing

@testable import Browsing

@Suite("What fills the vault")
struct GrowthTallyTests {
    private func path(_ text: String) -> TreePath { TreePath(normalizing: Array(text.utf8)) ?? .root }

    @Test("places together are everything, none counts twice, and each is as far down as it says more")
    func tops() {
        var tally = GrowthTally(limit: 100)
        tally.add(path("/home/ann/videos/a.mp4"), 700)
        tally.add(path("/home/ann/videos/b.mp4"), 200)
        tally.add(path("/home/ann/mail/inbox"), 60)
        tally.add(path("/var/log/syslog"), 40)
        let top = tally.top(10)
        #expect(top.reduce(0) { $0 + $1.bytes } == 1_000 && tally.total == 1_000)
        #expect(top.first.map { "\($0.path.displayText) \($0.bytes)" } == "/home/ann/videos/a.mp4 700")
        #expect(Set(top.map(\.path)).count == top.count)
    }

    @Test("many small files are one line, not as many")
    func many() {
        var tally = GrowthTally(limit: 10_000)
        for number in 0..<1_000 { tally.add(path("/var/cache/things/\(number)"), 10) }
        let top = tally.top(10)
        #expect(top.map(\.path.displayText) == ["/var/cache/things"] && top.first?.files == 1_000)
    }

    @Test("a line that leaves a path out means this path and no other")
    func patterns() {
        #expect(GrowthTally.pattern("home/a b") == "/home/a b")
        #expect(GrowthTally.pattern("home/[x]*?") == "/home/\\[x\\]\\*\\?")
    }
}
