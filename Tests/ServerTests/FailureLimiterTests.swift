import Platform
import Synchronization
import Testing

@testable import Server

@Suite("Who fails too often waits")
struct FailureLimiterTests {
    @Test("of a crowd that comes at once no more are let in than one after the other")
    func crowd() throws {
        let limiter = FailureLimiter(burst: 10, perMinute: 2, now: { 0 })
        let entered = Mutex(0)
        let threads = try (0..<8).map { _ in
            try WorkerThread(name: "guess") {
                for _ in 0..<100 where limiter.enter("x") == nil { entered.withLock { $0 += 1 } }
            }
        }
        for thread in threads { thread.join() }
        #expect(entered.withLock { $0 } == 10)
        #expect(limiter.enter("x") == 31 && limiter.enter("y") == nil)
    }

    @Test("who was right is given it back, and time gives back what was lost")
    func givenBack() {
        let now = Mutex<Int64>(0)
        let limiter = FailureLimiter(burst: 2, perMinute: 2, now: { now.withLock { $0 } })
        for _ in 0..<100 {
            #expect(limiter.enter("x") == nil)
            limiter.giveBack("x")
        }
        #expect(limiter.enter("x") == nil && limiter.enter("x") == nil && limiter.enter("x") != nil)
        now.withLock { $0 = 31_000_000_000 }
        #expect(limiter.enter("x") == nil && limiter.enter("x") != nil)
    }

    @Test("who guesses from one address keeps the account's owner out at no other; from many addresses all wait")
    func guesses() {
        let now = Mutex<Int64>(0)
        let limiter = GuessLimiter(now: { now.withLock { $0 } })
        for _ in 0..<500 { _ = limiter.enter("owner", from: "192.0.2.1") }
        #expect(limiter.enter("owner", from: "192.0.2.1") != nil && limiter.enter("other", from: "192.0.2.1") == nil)
        for _ in 0..<500 {
            #expect(limiter.enter("owner", from: "192.0.2.2") == nil)
            limiter.giveBack("owner", from: "192.0.2.2")
        }
        // A day long, as fast as one address is let: nobody else waits.
        for minute in 1...1_440 {
            now.withLock { $0 = Int64(minute) * 60_000_000_000 }
            for _ in 0..<10 { _ = limiter.enter("owner", from: "192.0.2.1") }
            #expect(limiter.enter("owner", from: "192.0.2.2") == nil)
            limiter.giveBack("owner", from: "192.0.2.2")
        }
        let entered = (0..<1_000).count { limiter.enter("owner", from: "2001:db8::\($0)") == nil }
        #expect(entered <= 60 && limiter.enter("owner", from: "192.0.2.3") != nil)
    }
}
