import Model
import Synchronization
import TestSupport
import Testing

@testable import Vault

/// A clock that tests set: sleeping moves it.
final class ManualClock: Sendable {
    private let time = Mutex(100.0)
    private let pauses = Mutex<[Double]>([])

    var slept: [Double] { pauses.withLock { $0 } }
    var now: Double { time.withLock { $0 } }
    func advance(_ seconds: Double) { time.withLock { $0 += seconds } }

    var clock: StoreClock {
        StoreClock(
            now: { self.now },
            sleep: { seconds in
                self.pauses.withLock { $0.append(seconds) }
                if seconds > 0 { self.advance(seconds) }
            })
    }
}

@Suite struct DecoratorTests {
    @Test("a permanent error is not repeated, a temporary one is repeated so often and no longer")
    func retryPolicy() throws {
        let clock = ManualClock()
        let counter = CountingStore(MemoryStore())
        let store = RetryingStore(
            counter, policy: RetryingStore.Policy(attempts: 4, firstPause: 1, longestPause: 3), clock: clock.clock)
        #expect(throws: HoldfastError.self) { try store.get("nothing", atMost: 1) }
        #expect(counter.counts.failures == 1)
        #expect(clock.slept == [])

        var plan = FaultStore.Plan(seed: 1)
        plan.temporaryFailure = 1
        let failing = CountingStore(FaultStore(MemoryStore(), plan))
        let retrying = RetryingStore(
            failing, policy: RetryingStore.Policy(attempts: 4, firstPause: 1, longestPause: 3), clock: clock.clock)
        #expect(throws: HoldfastError.self) { try retrying.put("a", [1]) }
        #expect(failing.counts.failures == 4)
        #expect(clock.slept.count == 3)
        for (pause, most) in zip(clock.slept, [1.0, 2, 3]) { #expect(pause >= 0 && pause <= most) }
    }

    @Test("a put whose answer was lost is repeated and leaves the object once")
    func lostAnswer() throws {
        let memory = MemoryStore()
        var plan = FaultStore.Plan(seed: 3)
        plan.lostAnswer = 0.5
        let store = RetryingStore(
            FaultStore(memory, plan), policy: RetryingStore.Policy(attempts: 50, firstPause: 0, longestPause: 0))
        for index in 0..<50 { try store.put("packs/ab/\(index)", [UInt8(index)]) }
        #expect(memory.keys.count == 50)
        for index in 0..<50 { #expect(try memory.get("packs/ab/\(index)", atMost: 1) == [UInt8(index)]) }
    }

    @Test("a listing that handed something out is not repeated")
    func listingOnce() throws {
        let memory = MemoryStore()
        for index in 0..<5 { try memory.put("k/\(index)", [1]) }
        let store = RetryingStore(memory, clock: ManualClock().clock)
        var seen = 0
        #expect(throws: HoldfastError.self) {
            try store.list("k/") { _ in
                seen += 1
                if seen == 3 { throw HoldfastError(.io, "gone", isTemporary: true) }
                return true
            }
        }
        #expect(seen == 3)
    }

    @Test("a limited store lets no more bytes pass than its limit allows, and saves up for one second at most")
    func bandwidth() throws {
        let clock = ManualClock()
        let store = LimitedStore(MemoryStore(), writeLimit: 1000, readLimit: 2000, clock: clock.clock)
        let begin = clock.now
        for index in 0..<10 { try store.put("a/\(index)", [UInt8](repeating: 0, count: 500)) }
        // 5,000 bytes at 1,000 a second: the last of ten may begin after 4.5 seconds.
        #expect(abs(clock.now - begin - 4.5) < 0.001)
        for index in 0..<10 { _ = try store.get("a/\(index)", 0..<500) }
        #expect(clock.now - begin > 4.5 + 1.2 && clock.now - begin < 4.5 + 2.3)

        clock.advance(1000)
        let later = clock.now
        for index in 10..<20 { try store.put("a/\(index)", [UInt8](repeating: 0, count: 500)) }
        #expect(clock.now - later > 3.4 && clock.now - later < 3.6)
    }

    @Test("a counting store counts calls and bytes")
    func counts() throws {
        let store = CountingStore(MemoryStore())
        try store.put("a", [1, 2, 3])
        try store.put("a", [1, 2, 3])
        _ = try store.get("a", atMost: 3)
        _ = try store.get("a", 1..<3)
        _ = try store.head("a")
        try store.list("") { _ in true }
        try store.delete(["a", "b"])
        let counts = store.counts
        #expect(counts.puts == 2 && counts.gets == 1 && counts.reads == 1 && counts.heads == 1 && counts.lists == 1)
        #expect(counts.deletes == 2 && counts.bytesWritten == 3 && counts.bytesRead == 5 && counts.failures == 0)
    }

    @Test("a caching store reads a block once, answers the right bytes and keeps its bound")
    func caching() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededBytes(seed: seed)
        let counter = CountingStore(MemoryStore())
        let limit = 6 * CachingStore.blockSize
        let store = CachingStore(counter, limit: limit)
        let bytes = random.noise(3 * CachingStore.blockSize + 77)
        let keys = (0..<5).map { "packs/ab/\($0)" }
        for key in keys { try store.put(key, bytes) }
        for _ in 0..<300 {
            let start = random.below(bytes.count)
            let end = start + random.below(min(bytes.count - start, 100_000) + 1)
            let key = keys[random.below(keys.count)]
            #expect(try store.get(key, UInt64(start)..<UInt64(end)) == Array(bytes[start..<end]), "seed \(seed)")
            #expect(store.cachedBytes <= limit)
        }
        let before = counter.counts.reads
        for _ in 0..<10 { _ = try store.get(keys[0], 5..<1000) }
        #expect(counter.counts.reads <= before + 1)
        try store.delete(keys[0])
        #expect(throws: HoldfastError.self) { try store.get(keys[0], 5..<1000) }
    }

    @Test("faults are the same for the same seed, and of every kind that was asked for")
    func faults() throws {
        func run(_ seed: UInt64) throws -> [String] {
            let memory = MemoryStore()
            for index in 0..<20 { try memory.put("packs/ab/\(index)", [UInt8](repeating: 5, count: 100)) }
            var plan = FaultStore.Plan(seed: seed)
            plan.temporaryFailure = 0.1
            plan.flippedBit = 0.1
            plan.shortRead = 0.1
            plan.missing = 0.1
            let store = FaultStore(memory, plan)
            return (0..<200).map { index in
                do {
                    let bytes = try store.get("packs/ab/\(index % 20)", atMost: 100)
                    return bytes.count < 100 ? "short" : bytes == [UInt8](repeating: 5, count: 100) ? "good" : "flipped"
                } catch let error as HoldfastError { return error.code.description } catch { return "other" }
            }
        }
        let first = try run(11)
        #expect(try run(11) == first)
        #expect(Set(first) == ["good", "short", "flipped", "io", "not-found"])
    }

    @Test("a full store refuses to put, and everything else goes on")
    func full() throws {
        var plan = FaultStore.Plan(seed: 1)
        plan.capacity = 250
        let store = FaultStore(MemoryStore(), plan)
        try store.put("a", [UInt8](repeating: 0, count: 200))
        let error = try #require(throws: HoldfastError.self) {
            try store.put("b", [UInt8](repeating: 0, count: 100))
        }
        #expect(error.code == .noSpace)
        #expect(try store.head("b") == nil)
        #expect(try store.get("a", atMost: 200).count == 200)
        try store.delete("a")
    }

    @Test("a writer that crashed does nothing more; its last call had its effect or had not", arguments: [false, true])
    func crash(afterEffect: Bool) throws {
        let memory = MemoryStore()
        var plan = FaultStore.Plan(seed: 1)
        plan.crash = (call: 3, afterEffect: afterEffect)
        let store = FaultStore(memory, plan)
        try store.put("a", [1])
        try store.put("b", [1])
        #expect(throws: FaultStore.Crash.self) { try store.put("c", [1]) }
        #expect(throws: FaultStore.Crash.self) { try store.put("d", [1]) }
        #expect(throws: FaultStore.Crash.self) { try store.get("a", atMost: 1) }
        #expect(memory.keys == (afterEffect ? ["a", "b", "c"] : ["a", "b"]))
    }
}
