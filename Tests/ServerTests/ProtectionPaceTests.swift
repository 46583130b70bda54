import Testing

@testable import Server

@Suite("The pace at which the server protects itself")
struct ProtectionPaceTests {
    @Test("the server's own state is put into safety at once, and what goes on changing ever more seldom")
    func protectionPace() {
        var pace = ProtectionPace()
        let second: Int64 = 1_000_000_000
        var done: [Int64] = []
        // Something changes in every second of an hour.
        for now: Int64 in 0..<3_600 where pace.isDue(now * second) {
            pace.done(now * second)
            done.append(now)
        }
        #expect(Array(done.prefix(5)) == [0, 2, 6, 14, 30])
        #expect(done.count < 25)
        #expect(zip(done, done.dropFirst()).allSatisfy { $1 - $0 <= 300 })
        // After a quiet time the next change is safe at once.
        let later: Int64 = 10_000 * second
        #expect(pace.isDue(later))
        pace.done(later)
        #expect(pace.isDue(later + 2 * second))
        pace.failed(later)
        #expect(!pace.isDue(later + 59 * second) && pace.isDue(later + 60 * second))
    }
}
