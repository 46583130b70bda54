package import Browsing
package import Catalog
import Client
package import Model
import Vault

/// What is told of how everything stands, and of what fills the vault.
extension Desk {
    /// How the machines that they see stand. What is not about a machine is for who sees all.
    package func protectionReport(days: Int64) throws -> ProtectionReport {
        try require(.seeStates)
        var report = core.protectionReport(of: try machines(), days: days)
        if !person.seesAllMachines {
            report.raised.removeAll { $0.machine == nil }
            report.open.removeAll { $0.machine == nil }
            report.work = []
        }
        return report
    }

    /// Sends the report of all machines by mail now. Throws what kept it from going out.
    package func sendReport(to addresses: [String], zone: TimeZoneRules) throws {
        try require(.manageSettings)
        var trial = WeeklyReport()
        trial.mailTo = addresses
        guard trial.isOn else { throw HoldfastError(.usage, "Say to whom.") }
        try trial.check()
        try note("report.sent", to: addresses.joined(separator: ", "))
        try core.sendReport(to: addresses, zone: zone)
    }

    /// The paths of a machine that have added most to the vault over some days.
    package func growth(of machine: ManagedMachine, days: Int64) throws -> MachineGrowth {
        try require(.seeNames)
        let start = core.time.advanced(by: -days * 86_400_000_000_000)
        return try MachineGrowth(try core.shelf.points(of: machine.id), since: start, shelf: core.shelf)
    }

    // MARK: Webhooks

    /// Adds a webhook, or gives it another secret. The secret, with which what is sent is signed, is shown this once.
    package func addWebhook(_ url: String) throws -> String {
        try require(.manageSettings)
        var settings = try AlertSettings.load(core.catalog)
        let secret = (RequestNonce.random().hex + RequestNonce.random().hex)
        settings.webhooks.removeAll { $0.url == url }
        settings.webhooks.append(AlertSettings.Webhook(url: url, secret: Array(secret.utf8)))
        try settings.checkFromOutside()
        try note("settings.changed", to: "webhooks", ["value": .string("added"), "after": .string(url)])
        try core.change(settings)
        return secret
    }

    /// Throws `notFound`.
    package func removeWebhook(_ url: String) throws {
        try require(.manageSettings)
        var settings = try AlertSettings.load(core.catalog)
        guard settings.webhooks.contains(where: { $0.url == url }) else {
            throw HoldfastError(.notFound, "There is no such webhook any more.")
        }
        settings.webhooks.removeAll { $0.url == url }
        try note("settings.changed", to: "webhooks", ["value": .string("removed"), "before": .string(url)])
        try core.change(settings)
    }
}
