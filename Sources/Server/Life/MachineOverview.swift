package import Catalog
package import Client
package import Model
import Synchronization
import Vault

/// A machine as a list shows it: what the server knows of it and what it said last.
package struct MachineOverview: Sendable {
    package let machine: ManagedMachine
    package let condition: MachineCondition
    package let report: MachineReport?
    /// How far it is behind, in nanoseconds; `nil` when nothing is heard of it: what it said last is no word of now.
    package let lag: Int64?
    package let lastSeen: Timestamp
    /// The host of a copy that came with its identity.
    package let cloneHost: String?
}

extension ServerCore {
    /// The time of this server.
    package var time: Timestamp { clock() }

    package func overview(of machine: ManagedMachine) -> MachineOverview {
        let live = life.live(machine.id)
        let now = clock()
        let condition = MachineCondition(
            machine, live?.report, received: live?.received, at: now, objectives(of: machine),
            hasPoints: hasPoints(machine.id))
        return MachineOverview(
            machine: machine, condition: condition, report: live?.report,
            lag: condition.lag(in: live?.report, received: live?.received, at: now),
            lastSeen: max(machine.lastSeen, life.seen(machine.id) ?? machine.lastSeen),
            cloneHost: live?.trail.cloneHost)
    }

    /// Whether anything of a machine is in the vault. Where that cannot be seen now nothing is claimed to be missing.
    package func hasPoints(_ machine: MachineID) -> Bool {
        if stored.withLock({ $0.contains(machine) }) { return true }
        guard let points = try? vault.points(PointQuery(machine: machine, newest: 1)) else { return true }
        if points.isEmpty { return false }
        stored.withLock { _ = $0.insert(machine) }
        return true
    }

    /// Alerts that hold.
    package func openAlerts() throws -> [AlertRecord] { try catalog.alerts(resolved: 0) }
}
