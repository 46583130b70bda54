import ArgumentParser
import Catalog
import Client
import Model
import Vault

/// `holdfast points delete`
struct PointsDelete: Command {
    static let configuration = CommandConfiguration(
        commandName: "delete",
        abstract: "Delete points.",
        usage: "holdfast points delete <point> ... [<options>]",
        discussion: """
            All that are named go, or none. The newest complete point of a machine and points under a hold are kept; --retired \
            lets the last one of a machine go that will not come back. The space is freed by `holdfast vault reclaim`. An id is \
            given by at least four of its digits. At a terminal it shows the points and asks; scripts are not asked.

            \(PointHelp.text)

            Examples:
              holdfast points delete 3fa9 77b0
              holdfast points delete 3fa9 --dry-run
            """
    )

    @Argument(help: ArgumentHelp("The points to delete.", valueName: "point"))
    var points: [String]
    @OptionGroup var location: VaultOptions
    @OptionGroup var machine: MachineOptions
    @Flag(help: "The machine will not come back: its newest complete point may go too.")
    var retired = false
    @Flag(help: "Only say what would be deleted.")
    var dryRun = false
    @Flag(name: .shortAndLong, help: "Do not ask.")
    var yes = false
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global, for: dryRun ? .read : .change)
        var chosen: [PointSummary] = []
        for text in points {
            if case .prefix(let digits) = try PointSelector.parse(text, now: session.now, zone: console.zone),
                digits.count < 4
            {
                throw HoldfastError(
                    .usage, "\"\(text)\" is too short to delete a point by. Write at least four digits of its id.")
            }
            let point = try session.point(text, machine: machine.machine, global)
            if !chosen.contains(where: { $0.id == point.id }) { chosen.append(point) }
        }
        let administration = try session.administration()
        let all = try session.vault.points(PointQuery())
        for point in chosen {
            if let objection = administration.objection(to: point.id, among: all, includesNewest: retired) {
                throw objection
            }
        }
        if !dryRun, !yes, console.canAsk {
            for point in chosen { try ask(about: point, session, console) }
            let isSure = try console.confirms(
                "Delete \(chosen.count == 1 ? "this point" : "these \(chosen.count) points")?")
            guard isSure else { throw HoldfastError(.cancelled, "Nothing was deleted.") }
        }
        if !dryRun { try administration.deletePoints(chosen.map(\.id), includesNewest: retired) }
        for point in chosen {
            var fields = point.fields(session)
            fields["dry_run"] = .bool(dryRun)
            try console.emit("deleted", fields)
            let time = TimeText.local(point.effective, in: console.zone)
            try console.line("\(dryRun ? "would delete" : "deleted") \(point.shortID)  \(time)  \(point.kind.title)")
        }
        if !dryRun { console.note("`holdfast vault reclaim` frees the space.") }
        return .done
    }

    /// What somebody should know before they say yes.
    private func ask(about point: PointSummary, _ session: VaultSession, _ console: Console) throws {
        var text = "\(point.shortID)  \(TimeText.local(point.effective, in: console.zone))  \(point.kind.title)"
        text += "  of \(session.machineName(point.machine))"
        if let keys = try session.openerIfAtHand(passphrase), let record = try? session.record(of: point, keys) {
            text += ": " + record.protectedPaths.map { TreePath(unchecked: $0).displayText }.joined(separator: ", ")
        }
        console.note(text)
    }
}
