import Model
import Platform
import Synchronization
import Vault

/// Who holds which lease, and until when.
///
/// The vault below knows nothing of time: its leases live as long as this process holds them. One that its writer does not
/// renew is closed here, so that collection is not held up by a laptop that was closed.
final class LeaseKeeper: Sendable {
    /// Seconds that a lease lives without being used.
    static let lifetime = 600

    private struct Holding {
        var machine: MachineID?
        var expires: Int64
    }

    private let holdings = Mutex<[LeaseID: Holding]>([:])
    private let lifetime: Int64
    private let now: @Sendable () -> Int64
    private let close: @Sendable (LeaseID) -> Void

    init(
        seconds: Int = LeaseKeeper.lifetime, now: @escaping @Sendable () -> Int64 = { SystemClock.monotonic },
        close: @escaping @Sendable (LeaseID) -> Void
    ) {
        lifetime = Int64(seconds) * 1_000_000_000
        self.now = now
        self.close = close
    }

    var seconds: Int { Int(lifetime / 1_000_000_000) }

    /// Leases that one machine can hold at once; people hold theirs together.
    static let maximumOfMachine = 64, maximumOfPeople = 1_024

    /// Throws `busy` when `machine` holds as many leases as it may.
    func requireRoom(for machine: MachineID?) throws {
        sweep()
        let count = holdings.withLock { $0.values.count { $0.machine == machine } }
        if count >= (machine == nil ? Self.maximumOfPeople : Self.maximumOfMachine) {
            throw HoldfastError(.busy, "there are too many leases of this machine already", isTemporary: true)
        }
    }

    var count: Int { holdings.withLock { $0.count } }

    func add(_ lease: LeaseID, of machine: MachineID?) {
        sweep()
        holdings.withLock { $0[lease] = Holding(machine: machine, expires: now() + lifetime) }
    }

    /// Renews a lease that `machine` holds. Throws `leaseLost` for one that ended, and for another's: who asks learns nothing.
    func use(_ lease: LeaseID, by machine: MachineID?) throws {
        sweep()
        let isHeld = holdings.withLock { holdings in
            guard let holding = holdings[lease], holding.machine == machine else { return false }
            holdings[lease]?.expires = now() + lifetime
            return true
        }
        if !isHeld {
            throw HoldfastError(
                .leaseLost, "the vault has ended this lease because it was not used; open another", isTemporary: true)
        }
    }

    /// Ends a lease of `machine`. Ending one that is not there is fine.
    func end(_ lease: LeaseID, by machine: MachineID?) {
        let isHeld = holdings.withLock { holdings in
            guard let holding = holdings[lease], holding.machine == machine else { return false }
            holdings[lease] = nil
            return true
        }
        if isHeld { close(lease) }
    }

    /// Closes what has not been used for too long.
    func sweep() {
        let now = now()
        let dead = holdings.withLock { holdings in
            let dead = holdings.filter { $0.value.expires <= now }.map(\.key)
            for lease in dead { holdings[lease] = nil }
            return dead
        }
        for lease in dead { close(lease) }
    }

    /// Closes everything: the server ends.
    func endAll() {
        let all = holdings.withLock { holdings in
            defer { holdings = [:] }
            return Array(holdings.keys)
        }
        for lease in all { close(lease) }
    }
}
