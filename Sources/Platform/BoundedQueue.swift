import CLinux

/// A mutex with two conditions; waits go by the monotonic clock.
package final class Gate: @unchecked Sendable {
    // The C side is safe for use from several threads; that is its purpose.
    private let gate = hf_gate_make()

    package init() {}

    deinit { hf_gate_free(gate) }

    package func lock() { hf_gate_lock(gate) }
    package func unlock() { hf_gate_unlock(gate) }
    /// Gives the mutex up until `signal` or `broadcast`, or for no reason: check what you wait for in a loop.
    package func wait(_ which: Int32) { _ = hf_gate_wait(gate, which, -1) }
    /// As `wait`, at most so long; `false` when time is up.
    package func wait(_ which: Int32, nanoseconds: Int64) -> Bool {
        hf_gate_wait(gate, which, max(nanoseconds, 0)) != 0
    }
    package func signal(_ which: Int32) { hf_gate_signal(gate, which) }
    package func broadcast(_ which: Int32) { hf_gate_broadcast(gate, which) }
}

/// Hands elements from threads to threads, first in, first out, with a bound on how many wait.
///
/// Nobody hangs: after `close` the elements that wait are still handed out and then `pop` answers `nil`; after `fail`
/// everyone who waits or comes later gets the error at once and what waits is dropped.
package final class BoundedQueue<Element>: @unchecked Sendable {
    // Everything below is guarded by the gate. Elements move between threads, so `push` and `pop` take and give them
    // as `sending`.
    @usableFromInline let gate = Gate()
    @usableFromInline var ring: [Element?]
    @usableFromInline var head = 0
    @usableFromInline var filled = 0
    @usableFromInline var cost = 0
    @usableFromInline var costs: [Int]
    @usableFromInline let costLimit: Int
    @usableFromInline var isClosed = false
    @usableFromInline var failure: (any Error)?

    /// A queue for at most `capacity` elements (at least 1), whose costs, usually bytes, stay within `costLimit`; an
    /// element that alone costs more is taken when the queue is empty.
    @inlinable
    package init(capacity: Int, costLimit: Int = .max) {
        ring = Array(repeating: nil, count: max(capacity, 1))
        costs = Array(repeating: 0, count: max(capacity, 1))
        self.costLimit = costLimit
    }

    /// Adds an element, waiting for room. Throws `QueueClosed` after `close`, and the error after `fail`.
    @inlinable
    package func push(_ element: sending Element, cost: Int = 0) throws {
        gate.lock()
        defer { gate.unlock() }
        while failure == nil && !isClosed
            && (filled == ring.count
                || (filled > 0 && self.cost.addingReportingOverflow(cost).partialValue > costLimit))
        {
            gate.wait(0)
        }
        if let failure { throw failure }
        if isClosed { throw QueueClosed() }
        var place = head + filled
        if place >= ring.count { place -= ring.count }
        ring[place] = element
        costs[place] = cost
        filled += 1
        self.cost += cost
        gate.signal(1)
    }

    /// Takes the oldest element, waiting for one; `nil` when the queue is closed and empty. Throws the error after
    /// `fail`.
    @inlinable
    package func pop() throws -> sending Element? {
        gate.lock()
        defer { gate.unlock() }
        while failure == nil && !isClosed && filled == 0 { gate.wait(1) }
        if let failure { throw failure }
        return take()
    }

    /// As `pop`, without waiting: `nil` also when nothing is there yet.
    @inlinable
    package func popIfAny() throws -> sending Element? {
        gate.lock()
        defer { gate.unlock() }
        if let failure { throw failure }
        return take()
    }

    /// The oldest element, with the gate locked.
    @inlinable
    func take() -> sending Element? {
        if filled == 0 { return nil }
        nonisolated(unsafe) let element = ring[head]
        ring[head] = nil
        cost -= costs[head]
        head = head + 1 == ring.count ? 0 : head + 1
        filled -= 1
        // With a limit on cost one large element can make room for several.
        if costLimit == .max { gate.signal(0) } else { gate.broadcast(0) }
        return element
    }

    /// No more elements will come. Calling it again changes nothing.
    @inlinable
    package func close() {
        gate.lock()
        isClosed = true
        gate.broadcast(0)
        gate.broadcast(1)
        gate.unlock()
    }

    /// Ends the queue for everyone with an error; the first one stays.
    @inlinable
    package func fail(_ error: any Error) {
        gate.lock()
        if failure == nil { failure = error }
        // Released after unlocking: an element's deinit may be anything.
        let dropped = ring
        for place in ring.indices { ring[place] = nil }
        filled = 0
        cost = 0
        gate.broadcast(0)
        gate.broadcast(1)
        gate.unlock()
        _ = consume dropped
    }

    /// How many elements wait at this moment.
    @inlinable
    package var count: Int {
        gate.lock()
        defer { gate.unlock() }
        return filled
    }
}

/// An element was pushed into a queue that was closed.
package struct QueueClosed: Error, CustomStringConvertible {
    @inlinable
    package init() {}
    package var description: String { "the queue was closed" }
}
