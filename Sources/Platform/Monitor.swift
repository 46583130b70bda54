/// A lock with a condition: state of type `State` is reached only while the lock is held, and a thread can wait until
/// it changes.
///
/// Blocking by design: for dedicated threads, never for the cooperative pool.
package final class Monitor<State>: @unchecked Sendable {
    // Sound: `state` is touched only between lock and unlock of the gate.
    private var state: State
    private let gate = Gate()

    package init(_ state: sending State) { self.state = state }

    /// Runs `body` with the lock held; wakes nobody.
    @discardableResult
    package func withLock<R>(_ body: (inout State) throws -> R) rethrows -> R {
        gate.lock()
        defer { gate.unlock() }
        return try body(&state)
    }

    /// Runs `body` with the lock held, then wakes all who wait.
    @discardableResult
    package func update<R>(_ body: (inout State) throws -> R) rethrows -> R {
        gate.lock()
        defer {
            gate.broadcast(0)
            gate.unlock()
        }
        return try body(&state)
    }

    /// Waits until `body` returns a value; it is called with the lock held, at first at once, then after each update.
    /// - Returns: the value. Nobody is woken: use `update` after taking something that others wait for.
    package func wait<R>(_ body: (inout State) throws -> R?) rethrows -> R {
        gate.lock()
        defer { gate.unlock() }
        while true {
            if let value = try body(&state) { return value }
            gate.wait(0)
        }
    }

    /// Waits until `body` answers true, at most so long; answers what it said last.
    @discardableResult
    package func waitUntil(_ body: (inout State) throws -> Bool, nanoseconds: Int64) rethrows -> Bool {
        let end = SystemClock.monotonic + nanoseconds
        gate.lock()
        defer { gate.unlock() }
        while true {
            if try body(&state) { return true }
            let left = end - SystemClock.monotonic
            if left <= 0 { return false }
            _ = gate.wait(0, nanoseconds: left)
        }
    }
}
