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
}
