package import Catalog
package import Model
import Platform
package import Policy
package import Vault

/// What the console asks of the server beside what has operations of its own.
extension ServerCore {
    /// Alerts that hold, and so many of those that are resolved, newest first.
    package func alertHistory(resolved count: Int) throws -> [AlertRecord] { try catalog.alerts(resolved: count) }

    /// Begins long work; see `begin(kind:_:owner:)`.
    package func beginJob(_ kind: String, _ parameters: [String: JSONValue], by name: String) throws -> JobID {
        try begin(
            kind: kind, JSONFields(parsing: JSONValue.object(parameters).encoded(), document: "the job"), owner: name)
    }

    package func cancelJob(_ id: JobID) { jobs.cancel(id) }

    /// A job with its newest progress.
    package func job(_ id: JobID) throws -> JobRecord? { try jobs.job(id) }

    /// What holds for a machine, each value with where it comes from.
    package func effectivePolicy(of machine: MachineID) throws -> EffectivePolicy {
        try policies(by: "console").effective(of: machine)
    }

    /// Tells a machine to back up now.
    package func backUpNow(_ machine: MachineID, by name: String) throws {
        try policies(by: name).backUpNow(machine)
        bell.ring()
    }

    /// Machines that wait for orders look at once.
    package func policiesChanged() { bell.ring() }

    /// What the vault holds, and how much room there is where it lies.
    package func usage() throws -> (holds: CatalogStatistics, space: StoreSpace?) {
        let vault = try vault
        return (try vault.catalog.statistics(), try vault.store.space())
    }

    /// Throws `usage` for what cannot be the name of a group.
    package static func requireGroupName(_ name: String) throws { try PolicyBook.checkGroup(name) }

    /// What messages and one-time keys call this server.
    package var title: String { "Holdfast \(Machine.hostName)" }
}
