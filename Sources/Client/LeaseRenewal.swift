import Platform
import Vault

/// Keeps leases alive while they are open: a server forgets one that it does not hear of.
final class LeaseRenewal: Sendable {
    private struct State {
        /// When each lease is to be renewed next, and how often that is, by this machine's clock in nanoseconds.
        var leases: [LeaseID: (due: Int64, interval: Int64)] = [:]
        var isStopped = false
        var thread: WorkerThread?
    }

    private let state = Monitor(State())
    private let renew: @Sendable (LeaseID) throws -> Void

    /// - Parameter renew: tells the server; may throw, and is then called again soon.
    init(_ renew: @escaping @Sendable (LeaseID) throws -> Void) { self.renew = renew }

    /// - Parameter seconds: how long the lease lives unused. It is renewed after a third of that.
    func add(_ lease: LeaseID, seconds: Int) {
        let interval = max(Int64(seconds) * 1_000_000_000 / 3, 100_000_000)
        let state = state
        let renew = renew
        state.update { current in
            current.leases[lease] = (SystemClock.monotonic + interval, interval)
            if current.thread == nil, !current.isStopped {
                // Without the thread the lease ends when it is not used for a while, and the writer opens another.
                current.thread = try? WorkerThread(name: "leases") { LeaseRenewal.run(state, renew) }
            }
        }
    }

    func remove(_ lease: LeaseID) { state.update { _ = $0.leases.removeValue(forKey: lease) } }

    func stop() {
        let thread = state.update { current in
            current.isStopped = true
            defer { current.thread = nil }
            return current.thread
        }
        thread?.join()
    }

    private static func run(_ state: Monitor<State>, _ renew: (LeaseID) throws -> Void) {
        while true {
            let next = state.withLock { $0.leases.values.map(\.due).min() }
            let wait = next.map { max($0 - SystemClock.monotonic, 0) } ?? 3_600_000_000_000
            let before = state.withLock { $0.leases.count }
            if state.waitUntil({ $0.isStopped || $0.leases.count != before }, nanoseconds: wait) {
                if state.withLock({ $0.isStopped }) { return }
                continue
            }
            let now = SystemClock.monotonic
            let due = state.withLock { current in current.leases.filter { $0.value.due <= now }.map(\.key) }
            for lease in due {
                let isRenewed = (try? renew(lease)) != nil
                state.withLock { current in
                    guard let entry = current.leases[lease] else { return }
                    let pause = isRenewed ? entry.interval : min(entry.interval, 5_000_000_000)
                    current.leases[lease]?.due = SystemClock.monotonic + pause
                }
            }
        }
    }
}
