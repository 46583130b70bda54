package import Catalog
package import Client
package import Model

/// A machine as a list shows it: what the server knows of it and what it said last.
package struct MachineOverview: Sendable {
    package let machine: ManagedMachine
    package let condition: MachineCondition
    package let report: MachineReport?
    package let lastSeen: Timestamp
    /// The host of a copy that came with its identity.
    package let cloneHost: String?
}

extension ServerCore {
    /// The time of this server.
    package var time: Timestamp { clock() }

    package func overview(of machine: ManagedMachine) -> MachineOverview {
        let live = life.live(machine.id)
        return MachineOverview(
            machine: machine,
            condition: MachineCondition(
                machine, live?.report, received: live?.received, at: clock(), objectives(of: machine)),
            report: live?.report, lastSeen: max(machine.lastSeen, life.seen(machine.id) ?? machine.lastSeen),
            cloneHost: live?.trail.cloneHost)
    }

    /// Alerts that hold.
    package func openAlerts() throws -> [AlertRecord] { try catalog.alerts(resolved: 0) }
}
