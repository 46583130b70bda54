import Model

/// What a machine remembers of its chain and what the vault holds do not fit, so that a new incarnation begins.
package enum HistoryBreak: Hashable, Sendable {
    /// The vault holds later points of this chain than the machine remembers: it was put back to an earlier state, or a
    /// copy of it writes too.
    case machineReverted(remembered: MachineHead, vault: MachineHead)
    /// The vault does not hold the newest point that it acknowledged: points are missing.
    case pointsMissing(remembered: MachineHead, vault: MachineHead?)
    /// The vault holds points of this machine, and the machine remembers none: its state was lost.
    case stateLost(vault: MachineHead)

    /// The label of the points that are made in a run that finds it.
    package static let label = "new-incarnation"

    /// - Returns: `nil` when the lease goes on from a remembered head, and for a machine's first point.
    init?(remembered: [MachineHead], lease: Lease) {
        guard lease.isNewIncarnation else { return nil }
        guard let head = remembered.last else {
            guard let vault = lease.head else { return nil }
            self = .stateLost(vault: vault)
            return
        }
        if let vault = lease.head, vault.incarnation != head.incarnation || vault.number > head.number {
            self = .machineReverted(remembered: head, vault: vault)
        } else {
            self = .pointsMissing(remembered: head, vault: lease.head)
        }
    }
}
