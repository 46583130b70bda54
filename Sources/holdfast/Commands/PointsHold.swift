import ArgumentParser
import Catalog
import Client
import Model
import Vault

/// `holdfast points hold`
struct PointsHold: Command {
    static let configuration = CommandConfiguration(
        commandName: "hold",
        abstract: "Forbid that points are deleted, by anything, until the hold is released.",
        usage: "holdfast points hold [<point> ...] --reference <text> [<options>]",
        discussion: """
            For what a court, an auditor or an investigation wants kept. Names points, or a machine and a time from --from to \
            --until. Retention and deletion leave everything alone that a hold covers. Needs the passphrase: the hold is signed \
            with the vault's key.

            Examples:
              holdfast points hold 3fa9 --reference "case 2026-17"
              holdfast points hold --machine mail --from 2026-01-01 --until 2026-06-30 --reference "audit"
            """
    )

    @Argument(help: ArgumentHelp("The points to hold.", valueName: "point"))
    var points: [String] = []
    @Option(help: ArgumentHelp("The case or ticket, for people.", valueName: "text"))
    var reference: String
    @Option(help: ArgumentHelp("Hold what was made from this time on.", valueName: "time"))
    var from: String?
    @Option(help: ArgumentHelp("Hold what was made up to this time. (default: for ever)", valueName: "time"))
    var until: String?
    @OptionGroup var location: VaultOptions
    @OptionGroup var machine: MachineOptions
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if points.isEmpty, from == nil, until == nil {
            throw ValidationError("Name points, or a time with --from and --until.")
        }
        if !points.isEmpty, from != nil || until != nil {
            throw ValidationError("Name either points or a time, not both.")
        }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global, for: .change)
        let now = session.now
        var contents: [HoldRecord.Content] = []
        if points.isEmpty {
            contents.append(
                HoldRecord.Content(
                    hold: .random(), placed: now, isPlaced: true,
                    machines: [try session.machine(machine.machine, global)],
                    paths: [], from: try time(from, session)?.start ?? Timestamp(nanoseconds: .min),
                    until: try time(until, session)?.end ?? Timestamp(nanoseconds: .max), reference: reference))
        } else {
            for text in points {
                let point = try session.point(text, machine: machine.machine, global)
                // By its arrival, which never changes: effective times follow from the clock and the points before.
                contents.append(
                    HoldRecord.Content(
                        hold: .random(), placed: now, isPlaced: true, machines: [point.machine], paths: [],
                        from: point.arrival, until: point.arrival, reference: reference))
            }
        }
        let administration = try session.administration()
        for content in contents {
            try administration.place(content) { try session.keys(passphrase).vaultSigning }
            try console.emit("hold", content.fields(session))
            try console.line("hold \(content.hold.hex.prefix(8)) placed: \(content.summary(session, console))")
        }
        return .done
    }

    private func time(_ text: String?, _ session: VaultSession) throws -> WrittenTime? {
        guard let text else { return nil }
        let trimmed = text.hasPrefix("@") ? String(text.dropFirst()) : text
        guard let time = WrittenTime(trimmed, now: session.now, zone: session.console.zone) else {
            throw HoldfastError(.usage, "\"\(TreePath.display(text.utf8))\" is not a time that is understood.")
        }
        return time
    }
}

/// `holdfast points holds`
struct PointsHolds: Command {
    static let configuration = CommandConfiguration(
        commandName: "holds",
        abstract: "List the holds of the vault, placed and released.",
        usage: "holdfast points holds [<options>]"
    )

    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let holds = try session.administration().holds()
        for hold in holds {
            try console.emit("hold", hold.fields(session))
            let state = hold.isPlaced ? "placed  " : "released"
            try console.line("\(hold.hold.hex.prefix(8))  \(state)  \(hold.summary(session, console))")
        }
        if holds.isEmpty { try console.line("There are no holds.") }
        return .done
    }
}

/// `holdfast points release`
struct PointsRelease: Command {
    static let configuration = CommandConfiguration(
        commandName: "release",
        abstract: "Release a hold.",
        usage: "holdfast points release <hold> [<options>]",
        discussion: """
            Names the hold by the beginning of its id as `holdfast points holds` shows it. Needs the passphrase.

            Example:
              holdfast points release 9c1f
            """
    )

    @Argument(help: ArgumentHelp("The hold to release.", valueName: "hold"))
    var hold: String
    @OptionGroup var location: VaultOptions
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global, for: .change)
        let prefix = hold.lowercased()
        let matching = try session.administration().holds().filter { $0.isPlaced && $0.hold.hex.hasPrefix(prefix) }
        guard var content = matching.first, !prefix.isEmpty else {
            throw HoldfastError(
                .notFound, "No hold that is placed begins with \"\(TreePath.display(hold.utf8))\".",
                context: ["hint": "`holdfast points holds` lists them."])
        }
        guard matching.count == 1 else {
            throw HoldfastError(.usage, "\(matching.count) holds begin with \"\(hold)\". Write more digits.")
        }
        // The record placed last counts, so a release is never older than what it releases.
        content.placed = max(session.now, content.placed.advanced(by: 1))
        content.isPlaced = false
        try session.administration().place(content) { try session.keys(passphrase).vaultSigning }
        try console.emit("hold", content.fields(session))
        try console.line("hold \(content.hold.hex.prefix(8)) released: \(content.summary(session, console))")
        return .done
    }
}

extension HoldRecord.Content {
    /// `mail, 2026-01-01 00:00:00 to 2026-06-30 23:59:59, case 17`
    fileprivate func summary(_ session: VaultSession, _ console: Console) -> String {
        let who = machines.isEmpty ? "all machines" : machines.map { session.machineName($0) }.joined(separator: ", ")
        let start = from.nanoseconds == .min ? "the beginning" : TimeText.local(from, in: console.zone)
        let end = until.nanoseconds == .max ? "the end" : TimeText.local(until, in: console.zone)
        let when = from == until ? start : "\(start) to \(end)"
        return "\(who), \(when), \(TreePath.display(reference.utf8))"
    }

    fileprivate func fields(_ session: VaultSession) -> [String: JSON] {
        var fields: [String: JSON] = [
            "hold": .id(hold), "placed": .bool(isPlaced), "time": .time(placed),
            "machines": .array(machines.map { .id($0) }), "reference": .string(reference),
        ]
        if from.nanoseconds != .min { fields["from"] = .time(from) }
        if until.nanoseconds != .max { fields["until"] = .time(until) }
        return fields
    }
}
