package import Catalog
import Client
package import Model
package import Vault

/// How everything stands, for people who do not look every day: who is protected, what happened in the last week, and how full the
/// vault is.
package struct ProtectionReport: Sendable {
    package struct Machine: Sendable {
        package var id: MachineID
        package var name: String
        package var group: String
        package var condition: MachineCondition
        package var newest: Timestamp?
        package var lag: Int64?
        package var bytes: UInt64
        package var stored: UInt64
        package var problem: String?
    }

    package struct Work: Sendable {
        package var kind: String
        package var done = 0
        package var failed = 0
        package var running = 0
    }

    package var title: String
    package var time: Timestamp
    /// What is told of events begins here.
    package var since: Timestamp
    /// Those that need somebody first, then those that are not protected now, and each by name.
    package var machines: [Machine]
    package var counts: [MachineCondition: Int]
    package var lag: LagSummary
    package var raised: [AlertRecord]
    package var open: [AlertRecord]
    package var work: [Work]
    package var stored: UInt64
    package var storedBefore: UInt64?
    package var points: Int
    package var space: StoreSpace?
    package var outlook: UsageHistory.Outlook
    /// Why the vault could not be looked at.
    package var vaultTrouble: String?

    /// Conditions in which a machine's protection has to be looked at by somebody.
    package static let needy: Set<MachineCondition> = [.problem, .silent, .lost, .unreported, .waiting]

    package var needing: [Machine] { machines.filter { Self.needy.contains($0.condition) } }

    /// Conditions in which a machine is not protected now, though nothing is known to be wrong with it, with what is said of one
    /// and of several.
    private static let exposures: [(condition: MachineCondition, one: String, several: String)] = [
        (.paused, "is paused", "are paused"), (.behind, "is behind", "are behind"),
        (.beginning, "makes its first backup", "make their first backup"),
    ]

    package static let exposed = Set(exposures.map(\.condition))

    /// Not protected now, and not among those that need somebody.
    package var exposed: [Machine] { machines.filter { Self.exposed.contains($0.condition) } }

    fileprivate static func rank(_ condition: MachineCondition) -> Int {
        needy.contains(condition) ? 0 : exposed.contains(condition) ? 1 : 2
    }

    /// How serious it is.
    package enum Standing: Sendable {
        /// All that there is is protected.
        case good
        /// Some machine is not protected now.
        case partial
        /// Somebody is needed.
        case bad
    }

    package var standing: Standing {
        if !needing.isEmpty { return .bad }
        return machines.isEmpty || !exposed.isEmpty ? .partial : .good
    }

    /// One sentence, for whoever reads no further: nobody is called protected who is not.
    package var verdict: String {
        let all = machines.count
        if all == 0 { return "No machine is protected yet." }
        let bad = needing.count
        let others = Self.exposures.map { each in (each, count: counts[each.condition, default: 0]) }
            .filter { $0.count > 0 }
        if all == 1 {
            return "The machine \(bad == 1 ? "needs somebody" : others.first?.0.one ?? "is protected")."
        }
        let known = Units.count(all, "machine")
        let start: String
        if bad > 0 {
            start = "\(Units.count(bad)) of \(known) need\(bad == 1 ? "s" : "") somebody"
        } else if others.isEmpty {
            start = "All \(known) are protected"
        } else {
            let well = all - others.map(\.count).reduce(0, +)
            start =
                well == 0
                ? "None of \(known) is protected"
                : "\(Units.count(well)) of \(known) \(well == 1 ? "is" : "are") protected"
        }
        let rest = others.map { each, count in "\(Units.count(count)) \(count == 1 ? each.one : each.several)" }
        return ([start] + rest).joined(separator: ", ") + "."
    }
}

/// How far machines are behind, in nanoseconds.
package struct LagSummary: Hashable, Sendable {
    /// `nil` where there is no machine, or where the one in question is not heard of.
    package var median: Int64?
    package var worst: Int64?
    /// Machines that are not heard of, so that nobody knows how far they are behind.
    package var unknown: Int

    /// Of an even number the larger of the two in the middle: nobody is made to look better than half of them are. What is not
    /// known is worse than all that is.
    package init(_ lags: [Int64?]) {
        let sorted = lags.map { $0 ?? Int64.max }.sorted()
        func known(_ lag: Int64?) -> Int64? { lag == Int64.max ? nil : lag }
        median = sorted.isEmpty ? nil : known(sorted[sorted.count / 2])
        worst = known(sorted.last)
        unknown = lags.count { $0 == nil }
    }

    /// What is said instead of the worst where that is not known.
    package var unknownText: String {
        unknown == 0 ? "unknown" : "unknown (\(Units.count(unknown, "machine")) not heard of)"
    }
}

extension ServerCore {
    /// How everything stands, for those who may see some machines.
    ///
    /// - Parameters:
    ///   - machines: those that the report is about; retired ones are left out.
    ///   - days: what happened in so many last days is told.
    package func protectionReport(of machines: [ManagedMachine], days: Int64 = 7) -> ProtectionReport {
        let now = clock()
        let since = now.advanced(by: -days * 86_400_000_000_000)
        let overviews = machines.filter { $0.state != .retired }.map { overview(of: $0) }
        let held = try? usage()
        let history = usageHistory()
        let rows = overviews.map { each in
            ProtectionReport.Machine(
                id: each.machine.id, name: each.machine.name, group: each.machine.group, condition: each.condition,
                newest: each.report?.newest?.time, lag: each.lag, bytes: each.report?.bytes ?? 0,
                stored: held?.holds.bytesByOrigin[WriterID(high: each.machine.id.high, low: each.machine.id.low)] ?? 0,
                problem: each.report?.problem)
        }
        let known = Set(machines.map(\.id))
        let alerts = ((try? catalog.alerts(resolved: 1_000)) ?? []).filter {
            $0.machine.map { known.contains($0) } ?? true
        }
        let holds = held?.holds
        return ProtectionReport(
            title: title, time: now, since: since,
            machines: rows.sorted { a, b in
                let (x, y) = (ProtectionReport.rank(a.condition), ProtectionReport.rank(b.condition))
                return x != y ? x < y : a.name < b.name
            },
            counts: Dictionary(rows.map { ($0.condition, 1) }, uniquingKeysWith: +),
            lag: LagSummary(overviews.filter { $0.machine.state == .active }.map(\.lag)),
            raised: alerts.filter { $0.raised >= since }, open: alerts.filter { $0.state != .resolved },
            work: work(since: since), stored: holds.map { $0.data.bytes + $0.meta.bytes + $0.records.bytes } ?? 0,
            storedBefore: history.stored(daysAgo: Int(days)), points: holds?.points ?? 0, space: held?.space ?? nil,
            outlook: history.outlook, vaultTrouble: held == nil ? "The vault cannot be looked at now." : nil)
    }

    /// Jobs that were begun since then, by kind.
    package func work(since: Timestamp) -> [ProtectionReport.Work] {
        var kinds: [String: ProtectionReport.Work] = [:]
        for job in (try? catalog.jobs(newest: JobRunner.kept)) ?? [] where job.started >= since {
            var work = kinds[job.kind] ?? ProtectionReport.Work(kind: job.kind)
            switch job.state {
            case .done: work.done += 1
            case .running: work.running += 1
            case .failed, .interrupted: work.failed += 1
            case .cancelled: break
            }
            kinds[job.kind] = work
        }
        return kinds.values.sorted { $0.kind < $1.kind }
    }
}
