import Client
import Model
import ServiceLifecycle
import Synchronization

/// Wakes the requests that wait for orders, without anybody asking again and again meanwhile.
final class OrderBell: Sendable {
    private struct State {
        /// Grows with every ring.
        var rings: UInt64 = 0
        var next: UInt64 = 0
        var waiting: [UInt64: CheckedContinuation<Void, Never>] = [:]
        var isClosed = false
        /// The revision of each machine's policies, as of `rings`.
        var revisions: [MachineID: Bytes32] = [:]
    }

    private let state = Mutex(State())

    /// How often it has rung: who looks at something and then waits for the next ring takes the number before it looks.
    var rings: UInt64 { state.withLock { $0.rings } }
    var isClosed: Bool { state.withLock { $0.isClosed } }
    /// How many wait.
    var count: Int { state.withLock { $0.waiting.count } }

    /// Something has changed: everybody looks again.
    ///
    /// - Parameter keepsPolicies: nothing about policies has; their revisions need not be worked out again.
    func ring(keepsPolicies: Bool = false) {
        let all = state.withLock { state in
            state.rings += 1
            if !keepsPolicies { state.revisions = [:] }
            defer { state.waiting = [:] }
            return Array(state.waiting.values)
        }
        for continuation in all { continuation.resume() }
    }

    /// The server ends: nobody waits any more.
    func close() {
        state.withLock { $0.isClosed = true }
        ring()
    }

    /// Returns when it rings after ring number `rings`, when it is closed, or after `duration`.
    func wait(after rings: UInt64, for duration: Duration) async {
        let id = state.withLock { state in
            state.next += 1
            return state.next
        }
        let timer = Task {
            try? await Task.sleep(for: duration)
            release(id)
        }
        defer { timer.cancel() }
        let others = await withGracefulShutdownHandler {
            await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    let isDue = state.withLock { state in
                        if state.rings != rings || state.isClosed || Task.isCancelled || duration <= .zero {
                            return true
                        }
                        state.waiting[id] = continuation
                        return false
                    }
                    if isDue { continuation.resume() }
                }
                return count
            } onCancel: {
                release(id)
            }
        } onGracefulShutdown: { [self] in
            close()
        }
        // Thousands that were woken at once do not come to the threads at once.
        let spread = min(others / 2, 3_000)
        if spread > 10, !isClosed { try? await Task.sleep(for: .milliseconds(Int.random(in: 0...spread))) }
    }

    private func release(_ id: UInt64) {
        state.withLock { $0.waiting.removeValue(forKey: id) }?.resume()
    }

    /// The revision of a machine's policies, worked out once between two rings.
    func revision(of machine: MachineID, _ find: () throws -> Bytes32) rethrows -> Bytes32 {
        let (known, rings) = state.withLock { ($0.revisions[machine], $0.rings) }
        if let known { return known }
        let found = try find()
        state.withLock { if $0.rings == rings { $0.revisions[machine] = found } }
        return found
    }
}
