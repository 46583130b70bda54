import Catalog
import Client
import Model
import Policy
import Synchronization
import Vault

/// What policies expect of machines.
///
/// A closure that stood in the mutex itself would be wrapped once more each time it is looked at (the compiler makes it fit the
/// mutex's generic value and back), until calling it overflows the stack; a value that has one does not change.
struct PolicyObjectives: Sendable {
    var find: (@Sendable (ManagedMachine) -> MachineObjectives?)?
}

extension ServerCore {
    /// What a policy expects of a machine, in the zone in which its days are counted.
    private struct Expectation {
        var expected: PointExpectation
        var zone: TimeZoneRules
    }

    /// Lets `expected` of policies say when a machine is silent for too long. Where no policy names it, the settings of alerts
    /// hold.
    func expectByPolicy() {
        // Policies are read once between two changes, not for every look at every machine.
        let cache = SharedCache()
        setObjectives { [weak self] machine in
            guard let self, let found = expectation(of: machine.id, cache) else { return nil }
            return MachineObjectives(lag: alertSettings.withLock { $0 }.objectives.lag) { last, now, use in
                found.expected.standing(last: last, now: now, use: use, in: found.zone).lateSince
            }
        }
    }

    private final class SharedCache: Sendable {
        let state = Mutex<(rings: UInt64, machines: [MachineID: Expectation?])>((0, [:]))
    }

    private func expectation(of machine: MachineID, _ cache: SharedCache) -> Expectation? {
        let rings = bell.rings
        let known = cache.state.withLock { state -> Expectation?? in
            if state.rings != rings { state = (rings, [:]) }
            return state.machines[machine]
        }
        if let known { return known }
        var found: Expectation?
        if let policy = try? policies(by: Self.housekeeper).effective(of: machine),
            policy.expected.origin != .defaults, let place = try? catalog.placement(of: machine)
        {
            let local = SystemZones.load(place.zone) ?? SystemZones.current
            found = Expectation(
                expected: policy.expected.value, zone: policy.zone(local: local, zones: SystemZones.source))
        }
        cache.state.withLock { state in
            if state.rings == rings { state.machines[machine] = .some(found) }
        }
        return found
    }
}
