import Foundation
import Platform
import Synchronization
import Testing

private struct Broken: Error, Equatable { var number = 0 }

@Suite(.timeLimit(.minutes(30))) struct ThreadTests {
    @Test("a thread runs with the stack it asked for and is joined")
    func stack() throws {
        let sum = Mutex(0)
        let thread = try WorkerThread(name: "deep", stack: 8 << 20) {
            // Uses more than the 1 MiB that is the least.
            func depth(_ n: Int) -> Int {
                withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 8) { buffer in
                    buffer[0] = UInt8(truncatingIfNeeded: n)
                    return n == 0 ? 0 : depth(n - 1) + Int(buffer[0] & 1)
                }
            }
            sum.withLock { $0 = depth(2_000) }
        }
        thread.join()
        thread.join()
        #expect(sum.withLock { $0 } == 1_000)
    }

    @Test("a thread that nobody joins leaves nothing behind")
    func dropped() throws {
        func mapped() throws -> Int {
            let fields = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " ")
            return (Int(fields[0]) ?? 0) * 4096
        }
        let before = try mapped()
        let done = Atomic<Int>(0)
        for _ in 0..<400 { _ = try WorkerThread(name: "dropped") { done.add(1, ordering: .relaxed) } }
        while done.load(ordering: .relaxed) < 400 { usleep(1_000) }
        // A stack is 2 MiB: 400 of them that stay would be 800. Other tests run beside this one.
        #expect(try mapped() - before < 600 << 20)
    }

    @Test("a group joins all and throws the first error")
    func group() throws {
        let counter = Atomic<Int>(0)
        try runThreads(8, name: "fine") { counter.wrappingAdd($0, ordering: .relaxed) }
        #expect(counter.load(ordering: .relaxed) == 28)
        #expect(throws: Broken(number: 3)) {
            try runThreads(8, name: "broken") { if $0 == 3 { throw Broken(number: 3) } }
        }
    }

    @Test("elements come out in order, once each, through many threads")
    func manyThreads() throws {
        let queue = BoundedQueue<Int>(capacity: 7)
        let total = Atomic<Int>(0)
        let group = ThreadGroup { queue.fail($0) }
        for producer in 0..<4 {
            try group.start("producer") { for i in 0..<5_000 { try queue.push(producer * 5_000 + i) } }
        }
        let readers = ThreadGroup { queue.fail($0) }
        for _ in 0..<4 {
            try readers.start("consumer") {
                var last = [-1, -1, -1, -1]
                while let value = try queue.pop() {
                    // Each consumer sees each producer's elements in their order.
                    guard last[value / 5_000] < value else { throw Broken() }
                    last[value / 5_000] = value
                    total.wrappingAdd(value, ordering: .relaxed)
                }
            }
        }
        try group.wait()
        queue.close()
        try readers.wait()
        #expect(total.load(ordering: .relaxed) == (0..<20_000).reduce(0, +))
    }

    @Test("a failure wakes those who wait to push and those who wait to pop")
    func failing() throws {
        let full = BoundedQueue<Int>(capacity: 1)
        let empty = BoundedQueue<Int>(capacity: 1)
        try full.push(1)
        let errors = Mutex<[Broken]>([])
        let group = ThreadGroup()
        for _ in 0..<3 {
            try group.start("push") {
                do { try full.push(2) } catch let error as Broken { errors.withLock { $0.append(error) } }
            }
            try group.start("pop") {
                do { _ = try empty.pop() } catch let error as Broken { errors.withLock { $0.append(error) } }
            }
        }
        full.fail(Broken(number: 1))
        full.fail(Broken(number: 2))
        empty.fail(Broken(number: 1))
        try group.wait()
        #expect(errors.withLock { $0 } == Array(repeating: Broken(number: 1), count: 6))
        #expect(throws: Broken(number: 1)) { try full.pop() }
        #expect(throws: Broken(number: 1)) { try full.popIfAny() }
    }

    @Test("a closed queue hands out what waits and takes nothing more")
    func closing() throws {
        let queue = BoundedQueue<String>(capacity: 3)
        try queue.push("a")
        try queue.push("b")
        queue.close()
        queue.close()
        #expect(throws: QueueClosed.self) { try queue.push("c") }
        #expect(queue.count == 2)
        #expect(try queue.pop() == "a")
        #expect(try queue.popIfAny() == "b")
        #expect(try queue.pop() == nil)
        #expect(try queue.popIfAny() == nil)
        // Someone who waits for an element learns of the end.
        let second = BoundedQueue<Int>(capacity: 1)
        let group = ThreadGroup()
        try group.start("waiter") { guard try second.pop() == nil else { throw Broken() } }
        second.close()
        try group.wait()
    }

    @Test("costs bound what waits, and an element that is too large alone still passes")
    func costs() throws {
        let queue = BoundedQueue<Int>(capacity: 100, costLimit: 10)
        try queue.push(1, cost: 50)
        let pushed = Atomic<Int>(0)
        let group = ThreadGroup()
        try group.start("pusher") {
            for value in 2...9 {
                try queue.push(value, cost: 4)
                pushed.wrappingAdd(1, ordering: .relaxed)
            }
            queue.close()
        }
        var found: [Int] = []
        while let value = try queue.pop() {
            found.append(value)
            // Two of cost 4 fit besides what was taken out.
            #expect(pushed.load(ordering: .relaxed) <= found.count + 2)
        }
        try group.wait()
        #expect(found == Array(1...9))
    }

    @Test("elements dropped by a failure are released")
    func release() throws {
        final class Token: Sendable {}
        weak var token: Token?
        let queue = BoundedQueue<Token>(capacity: 2)
        do {
            let made = Token()
            token = made
            try queue.push(made)
        }
        #expect(token != nil)
        queue.fail(Broken())
        #expect(token == nil)
    }

    @Test("a group tells of its first failure, so that queues can be ended")
    func onFailure() throws {
        let queue = BoundedQueue<Int>(capacity: 1)
        let calls = Atomic<Int>(0)
        let group = ThreadGroup {
            calls.wrappingAdd(1, ordering: .relaxed)
            queue.fail($0)
        }
        try group.start("waits") { while try queue.pop() != nil {} }
        try group.start("waits too") { while try queue.pop() != nil {} }
        try group.start("breaks") { throw Broken(number: 9) }
        #expect(throws: Broken(number: 9)) { try group.wait() }
        #expect(calls.load(ordering: .relaxed) == 1)
    }
}
