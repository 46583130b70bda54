import ArgumentParser
import Catalog
import Client
import Model
import Platform
import Server
import Vault

/// `holdfast server machines`
struct ServerMachines: Command {
    static let configuration = CommandConfiguration(
        commandName: "machines",
        abstract: "List the machines of the server, and decide about those that wait.",
        usage: "holdfast server machines [--approve | --refuse | --retire | --return <machine>] [<options>]",
        discussion: """
            A machine waits when its id is known already, with another key: it was installed anew, or is a copy of the other. \
            --approve lets it go on with that history; the other is then shut out. --refuse sends it away.

            A machine that is retired is shut out at once. Its points stay as the rules say, the newest of them no longer than \
            the others. --return takes it into service again.

            The state is what the agent said last: protected, behind (changes wait for longer than they should), warnings (some \
            paths cannot be kept), problem, asleep, silent, unreported (no agent), waiting, retired. Run this on the server's \
            machine; the list is a few seconds old.

            Examples:
              holdfast server machines
              holdfast server machines --retire old-laptop
            """
    )

    @Option(
        help: ArgumentHelp("Let the machine that waits under this id go on with its history.", valueName: "machine"))
    var approve: String?
    @Option(help: ArgumentHelp("Send away the machine that waits under this id.", valueName: "machine"))
    var refuse: String?
    @Option(
        help: ArgumentHelp("Shut a machine out for good, by its name or the beginning of its id.", valueName: "machine")
    )
    var retire: String?
    @Option(name: .customLong("return"), help: ArgumentHelp("Let a retired machine in again.", valueName: "machine"))
    var reinstate: String?
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if [approve, refuse, retire, reinstate].count(where: { $0 != nil }) > 1 {
            throw ValidationError("One of --approve, --refuse, --retire and --return.")
        }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let place = try ServerPlace(console, global)
        if let id = approve ?? refuse ?? retire ?? reinstate {
            let machine = try find(id, try place.catalog.machines())
            try decide(machine, try place.core(location), console)
            return .done
        }
        try show(place, console)
        return .done
    }

    private func decide(_ machine: ManagedMachine, _ core: ServerCore, _ console: Console) throws {
        let name = TreePath.display(machine.name.utf8)
        let text: String
        let decision: String
        if approve != nil {
            try core.approve(machine.id)
            (decision, text) = ("approved", "\(name) goes on with its history.")
        } else if refuse != nil {
            try core.refuse(machine.id)
            (decision, text) = ("refused", "What waited as \(name) was sent away.")
        } else if retire != nil {
            try core.retire(machine.id)
            (decision, text) = ("retired", "\(name) is retired. Its points stay as the rules say.")
        } else {
            try core.reinstate(machine.id)
            (decision, text) = ("returned", "\(name) is in service again.")
        }
        core.stop()
        try console.emit(
            "machine_decided",
            [
                "machine": .id(machine.id), "name": .string(machine.name), "decision": .string(decision),
                "approved": .bool(approve != nil),
            ])
        try console.line(text)
    }

    private func show(_ place: ServerPlace, _ console: Console) throws {
        var table = Table(
            ("machine", .left), ("name", .left), ("group", .left), ("state", .left), ("lag", .right),
            ("last seen", .left), ("", .left))
        let now = Timestamp(nanoseconds: SystemClock.wall)
        let objectives = try AlertSettings.load(place.catalog).objectives
        let reports = try place.catalog.reports()
        for machine in try place.catalog.machines() {
            let kept = reports[machine.id]
            let report = kept.flatMap { try? MachineReport.decode($0.report) }
            let condition = MachineCondition(machine, report, received: kept?.received, at: now, objectives)
            let state = machine.waitingKey == nil ? "\(machine.state)" : "waiting"
            let clone = kept.flatMap { MachineStanding.cloneHost(in: $0) }
            var fields: [String: JSON] = [
                "machine": .id(machine.id), "name": .string(machine.name), "group": .string(machine.group),
                "state": .string(state), "condition": .string(condition.rawValue),
                "former_names": .strings(machine.formerNames), "last_seen": .time(machine.lastSeen),
            ]
            if let report { fields.merge(Self.fields(report)) { $1 } }
            if let clone { fields["clone_host"] = .string(clone) }
            if let waiting = machine.waitingKey { fields["waiting_key"] = .string(waiting.description) }
            try console.emit("machine", fields)
            var notes = machine.formerNames.first.map { ["formerly \(TreePath.display($0.utf8))"] } ?? []
            if let waiting = machine.waitingKey {
                notes.append("one waits with the key \(waiting.fingerprint)")
            }
            if let clone { notes.append("clone of it: \(TreePath.display(clone.utf8))") }
            if let problem = report?.problem, condition == .problem { notes.append(TreePath.display(problem.utf8)) }
            let lag = condition.lag(in: report, received: kept?.received, at: now).map { Self.lag($0) } ?? "unknown"
            table.add(
                String(machine.id.hex.prefix(8)), TreePath.display(machine.name.utf8), machine.group,
                condition.rawValue, report == nil || condition == .retired ? "" : lag,
                Units.age(of: machine.lastSeen, at: now),
                notes.joined(separator: "; "))
        }
        for line in table.lines(emphasise: { console.styled($0, .bold) }) { try console.line(line) }
    }

    private static func lag(_ nanoseconds: Int64) -> String {
        nanoseconds <= 0 ? "0 s" : Units.span(nanoseconds: UInt64(nanoseconds))
    }

    private static func fields(_ report: MachineReport) -> [String: JSON] {
        var fields: [String: JSON] = [
            "lag_milliseconds": .integer(report.lag / 1_000_000), "waiting": .count(report.waiting),
            "activity": .string(report.activity.rawValue), "host": .string(report.hostName),
            "program": .string(report.program), "kernel": .string(report.kernel), "files": .count(report.files),
            "bytes": .count(report.bytes), "not_kept": .count(report.notKeptCount),
            "problem": report.problem.map { .string($0) } ?? .null,
            "watching": .array(
                report.watches.map { watch in
                    .object([
                        "mount_point": .string(watch.mountPoint), "kind": .string(watch.kind),
                        "mode": .string(watch.scanReason == nil ? "events" : "scan"),
                        "reason": watch.scanReason.map { .string($0) } ?? .null,
                        "overflows": .count(watch.overflows),
                    ])
                }),
        ]
        if let newest = report.newest {
            fields["last_point"] = .id(newest.point)
            fields["last_number"] = .count(newest.number)
            fields["last_time"] = .time(newest.time)
        }
        if let spool = report.spool {
            fields["spool"] = .object([
                "bytes": .count(spool.bytes), "limit": .count(spool.limit), "full": .bool(spool.isFull),
            ])
        }
        if let roundTrip = report.roundTrip { fields["round_trip_milliseconds"] = .integer(roundTrip / 1_000_000) }
        return fields
    }

    private func find(_ text: String, _ machines: [ManagedMachine]) throws -> ManagedMachine {
        let lowered = text.lowercased()
        let named = machines.filter { $0.name == text }
        let found = named.isEmpty ? machines.filter { !lowered.isEmpty && $0.id.hex.hasPrefix(lowered) } : named
        guard found.count == 1, let only = found.first else {
            throw HoldfastError(
                found.isEmpty ? .notFound : .usage,
                found.isEmpty ? "The server knows no such machine." : "Several machines are meant; use more of the id.")
        }
        return only
    }
}
