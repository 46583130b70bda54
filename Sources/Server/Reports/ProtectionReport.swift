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
    /// Those that need somebody first, then by name.
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

    /// One sentence.
    package var verdict: String {
        let active = machines.count
        if active == 0 { return "No machine is protected yet." }
        let bad = needing.count
        let beginning = counts[.beginning, default: 0]
        if bad == 0, beginning > 0 {
            return active == 1
                ? "The machine makes its first backup."
                : "\(Units.count(active - beginning)) of \(Units.count(active, "machine")) are protected, the others make their first backup."
        }
        if bad == 0 {
            return active == 1
                ? "The machine is protected." : "All \(Units.count(active)) machines are protected."
        }
        return "\(Units.count(bad)) of \(Units.count(active, "machine")) need\(bad == 1 ? "s" : "") somebody."
    }
}

/// How far machines are behind, in nanoseconds.
package struct LagSummary: Hashable, Sendable {
    package var median: Int64?
    package var worst: Int64?

    /// Of an even number the larger of the two in the middle: nobody is made to look better than half of them are.
    package init(_ lags: [Int64]) {
        let sorted = lags.sorted()
        median = sorted.isEmpty ? nil : sorted[sorted.count / 2]
        worst = sorted.last
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
                newest: each.report?.newest?.time, lag: each.report?.lag, bytes: each.report?.bytes ?? 0,
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
                let (x, y) = (
                    ProtectionReport.needy.contains(a.condition), ProtectionReport.needy.contains(b.condition)
                )
                return x != y ? x : a.name < b.name
            },
            counts: Dictionary(rows.map { ($0.condition, 1) }, uniquingKeysWith: +),
            lag: LagSummary(overviews.compactMap { $0.machine.state == .active ? $0.report?.lag : nil }),
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
