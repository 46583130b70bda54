import ArgumentParser
import Catalog
import Client
import Model
import Vault

/// `holdfast retention`
struct Retention: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "retention",
        abstract: "Which points are kept.",
        subcommands: [RetentionApply.self]
    )
}

/// `holdfast retention apply`
struct RetentionApply: Command {
    static let configuration = CommandConfiguration(
        commandName: "apply",
        abstract: "Keep points by rules, delete the others, and say why each is kept.",
        usage: """
            holdfast retention apply --keep-... <rule> ... [<options>]
            holdfast retention apply --vault <server> [--dry-run]
            """,
        discussion: """
            A rule is a count or a span: --keep-daily 7 keeps the newest point of each of the last seven days that have one, \
            --keep-daily 30d those of the last thirty days. Spans count back from the machine's newest point, so a machine that \
            was off keeps its history. The rules apply to each series by itself: the points of the same protected paths. \
            Checkpoints (what an in-place restore replaced) stay for --keep-checkpoints. A point stays while one rule keeps it. Days, weeks (Monday to Sunday) and months are \
            those of the machine's time zone.

            The newest complete and undamaged point of each series, pinned points and points under a hold are kept whatever the rules say. \
            The space is freed by `holdfast vault reclaim`.

            Without rules, on a server, each machine's policy decides, as it does every hour by itself; --dry-run shows what that \
            would do.

            Examples:
              holdfast retention apply --keep-last 3 --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run
              holdfast retention apply --keep-continuous 24h --keep-hourly 3d --keep-daily 30d --keep-yearly 10
            """
    )

    @Option(help: ArgumentHelp("Keep every point of this span, for example 24h.", valueName: "span"))
    var keepContinuous: SpanArgument?
    @Option(help: ArgumentHelp("Keep the newest points.", valueName: "rule"))
    var keepLast: ReachArgument?
    @Option(help: ArgumentHelp("Keep one point an hour.", valueName: "rule"))
    var keepHourly: ReachArgument?
    @Option(help: ArgumentHelp("Keep one point a day.", valueName: "rule"))
    var keepDaily: ReachArgument?
    @Option(help: ArgumentHelp("Keep one point a week.", valueName: "rule"))
    var keepWeekly: ReachArgument?
    @Option(help: ArgumentHelp("Keep one point a month.", valueName: "rule"))
    var keepMonthly: ReachArgument?
    @Option(help: ArgumentHelp("Keep one point a year.", valueName: "rule"))
    var keepYearly: ReachArgument?
    @Option(help: ArgumentHelp("Keep checkpoints of this span. (default: 30d)", valueName: "span"))
    var keepCheckpoints: SpanArgument?
    @Option(
        help: ArgumentHelp(
            "The time zone of the machine, such as Europe/Berlin. (default: this machine's)", valueName: "zone"))
    var timeZone: String?
    @Flag(help: "Apply the rules to every machine of the vault, each on its own.")
    var allMachines = false
    @Flag(help: "The machine will not come back: its newest point follows the rules too.")
    var retired = false
    @Flag(help: "Only say what would happen.")
    var dryRun = false
    @OptionGroup var machine: MachineOptions
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    private var rules: RetentionRules {
        var periods: [RetentionRules.Period: RetentionRules.Reach] = [:]
        periods[.hourly] = keepHourly?.reach
        periods[.daily] = keepDaily?.reach
        periods[.weekly] = keepWeekly?.reach
        periods[.monthly] = keepMonthly?.reach
        periods[.yearly] = keepYearly?.reach
        var rules = RetentionRules(continuous: keepContinuous?.span, last: keepLast?.reach, periods: periods)
        if let span = keepCheckpoints?.span { rules.checkpoints = span }
        return rules
    }

    func validate() throws {
        if rules.isEmpty, PolicyPlace.server(location) == nil || machine.machine != nil || retired {
            throw ValidationError(
                "Give at least one rule, such as --keep-daily 7. Without rules nothing would be deleted.")
        }
        if allMachines, machine.machine != nil || retired {
            throw ValidationError("--all-machines goes with neither --machine nor --retired.")
        }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global, for: dryRun ? .read : .change)
        if rules.isEmpty { return try applyPolicies(session, console) }
        let zone = try self.zone(console)
        let machines =
            allMachines
            ? Set(try session.vault.points(PointQuery()).map(\.machine)).sorted()
            : [try session.machine(machine.machine, global)]
        var plans: [(machine: MachineID, plan: RetentionPlan)] = []
        // Taken before the points are listed: one that arrives meanwhile is later than the plan.
        let now = session.now
        for machine in machines {
            let listed = try session.vault.points(PointQuery(machine: machine))
            warnOfClock(listed, now, machine, session, console)
            let points = listed.enumerated().map { $1.retentionPoint(ordinal: $0, now: now) }
            plans.append((machine, RetentionPlan(points: points, rules: rules, zone: zone, isRetired: retired)))
        }
        let removed = plans.flatMap(\.plan.removed)
        if !dryRun {
            try session.administration().deletePoints(removed.map(\.id), includesNewest: retired)
        }
        for (machine, plan) in plans { try show(plan, of: machine, zone, session, console) }
        let kept = plans.reduce(0) { $0 + $1.plan.kept.count }
        try console.emit(
            "retention", ["kept": .count(kept), "removed": .count(removed.count), "dry_run": .bool(dryRun)])
        try console.line(
            "\(Units.count(kept, "point")) kept, \(Units.count(removed.count)) \(dryRun ? "would be removed" : "removed")."
        )
        if !removed.isEmpty, !dryRun { console.note("`holdfast vault reclaim` frees the space.") }
        return .done
    }

    /// Lets the server apply its policies.
    private func applyPolicies(_ session: VaultSession, _ console: Console) throws -> ExitStatus {
        guard let server = try session.administration() as? RemoteAdministration else {
            throw HoldfastError(.usage, "Which rules? Give some, such as --keep-daily 7.")
        }
        let report = try server.applyRetention(isPlan: dryRun)
        for machine in report.machines {
            for decision in machine.decisions {
                try console.emit(
                    "decision",
                    [
                        "point": .id(decision.point), "machine": .id(machine.machine), "time": .time(decision.time),
                        "series": .string(PointSummary.title(ofSeries: decision.series)),
                        "keep": .bool(!decision.reasons.isEmpty), "reasons": .strings(decision.reasons),
                        "dry_run": .bool(dryRun),
                    ])
            }
            let name = console.styled(TreePath.display(machine.name.utf8), .bold)
            if let failure = machine.failure {
                console.warn("Nothing was deleted of \(TreePath.display(machine.name.utf8)): \(failure)")
                continue
            }
            let removed = "\(Units.count(machine.removed)) \(dryRun ? "would be removed" : "removed")"
            try console.line(
                "\(name) (days of \(machine.zone)): \(Units.count(machine.kept, "point")) kept, \(removed)")
            guard dryRun, machine.removed > 0 else { continue }
            var table = Table(("", .left), ("point", .left), ("time", .left), ("why", .left))
            let zone = LocalZone.load(machine.zone) ?? console.zone
            for decision in machine.decisions {
                let state = decision.isPartial ? " (partial)" : decision.isDamaged ? " (damaged)" : ""
                table.add(
                    decision.reasons.isEmpty ? "remove" : "keep", String(decision.point.hex.prefix(8)),
                    TimeText.local(decision.time, in: zone) + state, decision.reasons.joined(separator: ", "))
            }
            try console.table(table)
        }
        try console.emit(
            "retention",
            ["kept": .count(report.kept), "removed": .count(report.removed), "dry_run": .bool(dryRun)])
        try console.line(
            "\(Units.count(report.kept, "point")) kept, \(Units.count(report.removed)) "
                + "\(dryRun ? "would be removed" : "removed").")
        return .done
    }

    /// A clock that contradicts the vault's points is said, whichever of the two is wrong.
    private func warnOfClock(
        _ points: [PointSummary], _ now: Timestamp, _ machine: MachineID, _ session: VaultSession, _ console: Console
    ) {
        let ahead = points.filter { $0.arrival > now.advanced(by: RetentionApply.clockTolerance) }
        guard let latest = ahead.map(\.arrival).max() else { return }
        console.warn(
            "The clock says \(TimeText.local(now, in: console.zone)), but \(Units.count(ahead.count, "point")) of "
                + "\(session.machineName(machine)) arrived later, the last \(TimeText.local(latest, in: console.zone)). "
                + "They are kept. If the clock is right now and was wrong then, `holdfast points delete` removes them.")
    }

    /// Differences of clocks that are not worth a warning: five minutes.
    private static let clockTolerance: Int64 = 300_000_000_000

    private func zone(_ console: Console) throws -> TimeZoneRules {
        guard let timeZone else { return console.zone }
        guard let zone = LocalZone.load(timeZone) else {
            throw HoldfastError(
                .usage,
                "There is no time zone \"\(TreePath.display(timeZone.utf8))\" on this machine. "
                    + "Names look like Europe/Berlin.")
        }
        return zone
    }

    private func show(
        _ plan: RetentionPlan, of machine: MachineID, _ zone: TimeZoneRules, _ session: VaultSession, _ console: Console
    ) throws {
        var table = Table(("", .left), ("point", .left), ("time", .left), ("why", .left))
        // By series, so that what follows the same rules stands together; checkpoints last.
        let order = plan.series.map { series in
            plan.decisions.filter { !$0.point.isCheckpoint && $0.point.series == series }
        }
        let groups = order + [plan.decisions.filter(\.point.isCheckpoint)]
        for decision in groups.flatMap({ $0.reversed() }) {
            let reasons = decision.reasons.map(\.description)
            try console.emit(
                "decision",
                [
                    "point": .id(decision.point.id), "machine": .id(machine), "time": .time(decision.point.time),
                    "series": .string(PointSummary.title(ofSeries: decision.point.series)),
                    "keep": .bool(decision.isKept), "reasons": .strings(reasons), "dry_run": .bool(dryRun),
                ])
            let state = decision.point.isPartial ? " (partial)" : decision.point.isDamaged ? " (damaged)" : ""
            table.add(
                decision.isKept ? "keep" : "remove", String(decision.point.id.hex.prefix(8)),
                TimeText.local(decision.point.time, in: zone) + state, reasons.joined(separator: ", "))
        }
        try console.line("\(console.styled(session.machineName(machine), .bold)) (times in \(zone.identifier)):")
        try console.table(table)
    }
}

/// A count or a span of a rule.
struct ReachArgument: ExpressibleByArgument {
    var reach: RetentionRules.Reach

    init?(argument: String) {
        guard let reach = RetentionRules.Reach(argument) else { return nil }
        self.reach = reach
    }
}
