import ArgumentParser
import Model
import Vault

/// `holdfast points`: the group, and the list when nothing else is said.
struct Points: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "points",
        abstract: "What can be restored: list, delete, hold and release points.",
        discussion: """
            Examples:
              holdfast points                       the points of this machine
              holdfast points --machine mail        those of another one
              holdfast points delete 3fa9           one point less; `holdfast vault reclaim` frees the space
            """,
        subcommands: [PointsList.self, PointsDelete.self, PointsHold.self, PointsHolds.self, PointsRelease.self],
        defaultSubcommand: PointsList.self
    )
}

/// `holdfast points list`
struct PointsList: Command {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List points, oldest first.",
        usage: "holdfast points [<options>]",
        discussion: """
            Kind, time and state of points stand in the clear and need no passphrase. Sizes, labels and warnings are sealed: \
            they are shown when a passphrase file is at hand, and with --details after asking.

            Examples:
              holdfast points
              holdfast points --all-machines --newest 5
              holdfast points --density
              holdfast points --warnings 3fa9
            """
    )

    @OptionGroup var location: VaultOptions
    @OptionGroup var machine: MachineOptions
    @Flag(help: "Points of every machine.")
    var allMachines = false
    @Option(help: ArgumentHelp("Only the newest so many of each machine.", valueName: "count"))
    var newest: Int?
    @Flag(help: "Show only how densely points lie over the last hour, day, month and year.")
    var density = false
    @Flag(help: "Ask for the passphrase when there is none at hand, to show sizes, labels and warnings.")
    var details = false
    @Option(help: ArgumentHelp("Show every warning of this point.", valueName: "point"))
    var warnings: String?
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if let newest, newest < 1 { throw ValidationError("--newest takes a number from 1 on.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        if let warnings { return try showWarnings(of: warnings, session, console) }
        if density { return try showDensity(session, console) }
        let keys = details ? try session.opener(passphrase) : try session.openerIfAtHand(passphrase)
        for (index, machine) in try machines(session).enumerated() {
            let points = try session.vault.points(PointQuery(machine: machine, newest: newest))
            if index > 0 { try console.line() }
            try show(points, of: machine, keys, session, console)
        }
        if keys == nil, !console.isJSON {
            console.note("Sizes, labels and warnings are sealed; --details asks for the passphrase and shows them.")
        }
        return .done
    }

    /// Where to look for a moment of the past, at a glance.
    private func showDensity(_ session: VaultSession, _ console: Console) throws -> ExitStatus {
        for (index, machine) in try machines(session).enumerated() {
            let points = try session.vault.points(PointQuery(machine: machine, newest: newest))
            if index > 0 { try console.line() }
            let name = console.styled(session.machineName(machine), .bold)
            try console.line("\(name): \(Units.count(points.count, "point"))")
            try show(PointDensity.all(of: points.map(\.effective), at: session.now), of: machine, console)
        }
        return .done
    }

    private func show(_ densities: [PointDensity], of machine: MachineID, _ console: Console) throws {
        var table = Table(("", .left), ("", .left), ("", .left))
        for density in densities {
            try console.emit("density", density.fields(machine))
            table.add("  " + density.span.title, density.bars, density.text)
        }
        if !console.isJSON, !table.isEmpty { try console.table(table) }
    }

    private func machines(_ session: VaultSession) throws -> [MachineID] {
        guard allMachines else { return [try session.machine(machine.machine, global)] }
        return Set(try session.vault.points(PointQuery()).map(\.machine)).union(session.machines.keys).sorted {
            (session.machineName($0), $0) < (session.machineName($1), $1)
        }
    }

    private func show(
        _ points: [PointSummary], of machine: MachineID, _ keys: (any PointOpener)?, _ session: VaultSession,
        _ console: Console
    ) throws {
        var table =
            keys == nil
            ? Table(("point", .left), ("time", .left), ("kind", .left), ("state", .left))
            : Table(
                ("point", .left), ("time", .left), ("kind", .left), ("files", .right), ("size", .right),
                ("stored", .right), ("state", .left), ("label", .left))
        for point in points {
            var fields = point.fields(session)
            let time = TimeText.local(point.effective, in: console.zone)
            var state = PointsList.state(of: point)
            if let keys {
                guard let record = record(point, keys, session, console) else { continue }
                PointsList.add(record, to: &fields)
                if record.warningCount > 0 { state.append(Units.count(record.warningCount, "warning")) }
                table.add(
                    point.shortID, time, point.kind.title, Units.count(record.statistics.files),
                    Units.size(record.statistics.bytes), Units.size(record.statistics.storedBytes),
                    state.joined(separator: ", "),
                    record.labels.map { TreePath.display($0.utf8) }.joined(separator: ", "))
            } else {
                table.add(point.shortID, time, point.kind.title, state.joined(separator: ", "))
            }
            try console.emit("point", fields)
        }
        if console.isJSON { return }
        let name = console.styled(session.machineName(machine), .bold)
        try console.line("\(name): \(Units.count(points.count, "point")) (times in \(console.zone.identifier))")
        if points.contains(where: { $0.kind == .continuous }) {
            for density in PointDensity.all(of: points.map(\.effective), at: session.now) {
                try console.line("  \(density.span.title): \(density.bars)  \(density.text)")
            }
        }
        if !points.isEmpty { try console.table(table) }
    }

    /// The sealed part; a point whose record does not open is named and left out.
    private func record(
        _ point: PointSummary, _ keys: any PointOpener, _ session: VaultSession, _ console: Console
    ) -> PointRecord? {
        do {
            return try keys.openRecord(
                try session.vault.point(point.id), machines: try session.vault.machineRecords(of: point.machine))
        } catch {
            console.warn(
                "Point \(point.shortID) cannot be opened: \(HoldfastError(wrapping: error).message)",
                fields: ["point": .id(point.id)])
            return nil
        }
    }

    private static func state(of point: PointSummary) -> [String] {
        var state: [String] = []
        if point.isPartial { state.append("partial") }
        if point.condition != .whole { state.append(point.condition.title) }
        if point.isPinned { state.append("pinned") }
        if point.isHeld { state.append("held") }
        return state
    }

    static func add(_ record: PointRecord, to fields: inout [String: JSON]) {
        let statistics = record.statistics
        fields["labels"] = .strings(record.labels)
        fields["host"] = .string(record.host)
        fields["program"] = .string(record.program)
        fields["paths"] = .strings(
            record.protectedPaths.map { JSON.text(of: [UInt8(ascii: "/")] + $0) })
        fields["entries"] = .count(statistics.entries)
        fields["files"] = .count(statistics.files)
        fields["directories"] = .count(statistics.directories)
        fields["bytes"] = .count(statistics.bytes)
        fields["bytes_read"] = .count(statistics.bytesRead)
        fields["new_bytes"] = .count(statistics.newBytes)
        fields["stored_bytes"] = .count(statistics.storedBytes)
        fields["milliseconds"] = .count(statistics.milliseconds)
        fields["warnings"] = .count(record.warningCount)
    }

    private func showWarnings(of text: String, _ session: VaultSession, _ console: Console) throws -> ExitStatus {
        let point = try session.point(text, machine: machine.machine, global)
        let record = try session.opener(passphrase).openRecord(
            try session.vault.point(point.id), machines: try session.vault.machineRecords(of: point.machine))
        for warning in record.warnings {
            let path = TreePath(unchecked: warning.path)
            var fields: [String: JSON] = ["reason": .string(warning.reason.title), "text": .string(warning.text)]
            fields.setPath("path", path)
            try console.emit("point_warning", fields)
            try console.line("\(path.displayText): \(TreePath.display(warning.text.utf8))")
        }
        if record.furtherWarnings > 0 {
            try console.line("... and \(Units.count(record.furtherWarnings)) more that were counted only.")
        }
        if record.warningCount == 0 { try console.line("Point \(point.shortID) has no warnings.") }
        return .done
    }
}

extension PointWarning.Reason {
    var title: String {
        switch self {
        case .denied: "denied"
        case .vanished: "vanished"
        case .changed: "changed"
        case .io: "io"
        case .metadata: "metadata"
        case .unsupported: "unsupported"
        case .mount: "mount"
        default: "other"
        }
    }
}
