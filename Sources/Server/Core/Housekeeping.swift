import Catalog
import Client
import Model
import Platform
import Policy
import Synchronization
import Vault

/// When a server deletes what the rules do not keep, and frees the space.
package struct Housekeeping: Sendable {
    /// Seconds between two rounds of retention.
    package var retention: Int64 = 3_600
    /// Seconds between two rounds that free space; nobody has to wait for it.
    package var reclaim: Int64 = 86_400
    /// Seconds after the start in which nothing is deleted: somebody who has started a server to look has time to stop it.
    package var pause: Int64 = 300
    /// Seconds for which the rules of a machine have to stay as they are before the server deletes by them: a slip of whoever
    /// changes them, or a machine that has come back under the defaults, can be put right until then.
    package var settling: Int64 = 86_400
    /// Nothing is deleted or freed unless somebody asks for it.
    package var isOff = false

    package init() {}
}

/// How far it is. Times are those of the monotonic clock, in nanoseconds.
struct HousekeepingState {
    var plan = Housekeeping()
    var retentionDue: Int64?
    var reclaimDue: Int64?
    /// By the server's clock.
    var lastRetention: Timestamp?
    var removed: UInt64 = 0
    /// Why a machine's points could not be looked at the last time, or all.
    var failures: [String] = []
    var notices: [String] = []
}

extension ServerCore {
    /// Who begins these jobs.
    static let housekeeper = "the server"
    /// With this begins the name of the machine as which a server protects itself; no host name has a space in it, so that a
    /// host of this name that was never enrolled is not taken for it.
    static let ownPrefix = "holdfast-server "

    /// Changes what is deleted when.
    package func keepHouse(_ plan: Housekeeping) {
        housekeeping.withLock { state in
            state.plan = plan
            state.retentionDue = nil
            state.reclaimDue = nil
        }
    }

    /// What is worth a line in the log since the last question.
    func takeNotices() -> [String] {
        housekeeping.withLock { state in
            defer { state.notices = [] }
            return state.notices
        }
    }

    /// Begins what is due. Called every few seconds.
    func keepHouse() {
        let now = SystemClock.monotonic
        let plan = housekeeping.withLock { $0.plan }
        if plan.isOff { return }
        let isFirst = housekeeping.withLock { $0.retentionDue == nil }
        if isFirst {
            let last = lastReclaim()
            housekeeping.withLock { state in
                state.retentionDue = now + plan.pause * 1_000_000_000
                let wait = last.map { max(plan.reclaim - clock().since($0) / 1_000_000_000, 0) } ?? plan.reclaim
                state.reclaimDue = now + max(min(wait, plan.reclaim), 2 * plan.pause) * 1_000_000_000
            }
        }
        begin("retention", now, \.retentionDue, every: plan.retention)
        begin("reclaim", now, \.reclaimDue, every: plan.reclaim)
    }

    private func lastReclaim() -> Timestamp? {
        (try? catalog.jobs(newest: JobRunner.kept))?.first { $0.kind == "reclaim" && $0.state == .done }?.started
    }

    private func begin(
        _ kind: String, _ now: Int64, _ due: WritableKeyPath<HousekeepingState, Int64?>, every seconds: Int64
    ) {
        guard housekeeping.withLock({ $0[keyPath: due].map { $0 <= now } ?? false }) else { return }
        var next = seconds
        do {
            let nothing = try JSONFields(
                .object(kind == "reclaim" ? ["ignore_damage": .bool(false)] : [:]), document: "the job")
            _ = try begin(kind: kind, nothing, owner: Self.housekeeper)
        } catch let error as HoldfastError {
            // Another of its kind runs, or the vault is busy: soon again.
            next = min(seconds, 300)
            if !error.isTemporary {
                housekeeping.withLock { $0.notices.append("\(kind) cannot begin: \(error.message)") }
            }
        } catch {
            next = min(seconds, 300)
        }
        housekeeping.withLock { $0[keyPath: due] = now + next * 1_000_000_000 }
    }

    // MARK: Retention

    /// The work of a job: decides about the points of every machine by its effective policy, and deletes.
    ///
    /// - Parameter waits: nothing is deleted of machines whose rules have changed lately.
    func applyRetention(_ context: JobRunner.Context, isPlan: Bool, waits: Bool) throws -> [UInt8] {
        let vault = try self.vault
        // Taken before points are listed: one that arrives meanwhile is later than the plan.
        let now = clock()
        var report = RetentionReport(machines: [])
        var doomed: (usual: [PointID], retired: [PointID]) = ([], [])
        var left = RetentionReport.maximumDecisions
        do {
            let subjects = try subjects(vault)
            let fresh = waits ? try freshRules(subjects, now) : [:]
            for subject in subjects {
                try context.check()
                var result = try decide(subject, vault, now, &left)
                if let until = fresh[subject.machine], result.machine.removed > 0 {
                    context.log(
                        "\(subject.name): \(Units.count(result.machine.removed, "point")) stay until "
                            + "\(TimeText.rfc3339(until)): the rules have changed less than a day ago")
                    result.removed = []
                    result.machine.kept += result.machine.removed
                    result.machine.removed = 0
                }
                report.machines.append(result.machine)
                if subject.isRetired { doomed.retired += result.removed } else { doomed.usual += result.removed }
                if let failure = result.machine.failure {
                    context.log("\(subject.name): nothing was deleted: \(failure)")
                } else if result.machine.removed > 0 {
                    context.log(
                        "\(subject.name): \(Units.count(result.machine.removed, "point")) "
                            + "\(isPlan ? "would be removed" : "to remove"), \(Units.count(result.machine.kept)) stay")
                }
            }
            if !isPlan {
                // What somebody is about to get back stays until they have it.
                let wanted = try restores.pointsInUse()
                doomed.usual.removeAll { wanted.contains($0) }
                doomed.retired.removeAll { wanted.contains($0) }
                try vault.deletePoints(doomed.usual)
                try vault.deletePoints(doomed.retired, options: .init(includesNewest: true))
            }
        } catch {
            if !isPlan { noteFailure(error, now) }
            throw error
        }
        if !isPlan {
            let failures = report.machines.compactMap { machine in machine.failure.map { "\(machine.name): \($0)" } }
            note(failures: failures, removed: report.removed, now)
        }
        return report.encoded()
    }

    /// The setting that says since when which rules hold.
    private static let rulesSetting = "retention-rules"

    /// Machines whose rules have changed too lately to delete by them, and until when. Takes note of the rules of now.
    private func freshRules(_ subjects: [Subject], _ now: Timestamp) throws -> [MachineID: Timestamp] {
        let known = try catalog.setting(Self.rulesSetting).map { bytes -> JSONFields in
            try JSONFields(parsing: bytes, document: "the rules that hold", atMost: 256 << 20)
        }
        let settling = housekeeping.withLock { $0.plan.settling } * 1_000_000_000
        var fresh: [MachineID: Timestamp] = [:]
        var kept: [String: JSONValue] = [:]
        for subject in subjects {
            guard let policy = subject.policy else {
                // Nothing is deleted; what held before is what is compared with later.
                if let row = known?.members[subject.machine.hex] { kept[subject.machine.hex] = row }
                continue
            }
            let text = policy.retentionFingerprint + (subject.isRetired ? "\nretired" : "")
            let rules = Hex.encode(Array(text.utf8).withUnsafeBytes { BlobCrypto.sha256($0) }.array.prefix(16))
            var since = now
            if let row = try known.flatMap({ $0.has(subject.machine.hex) ? try $0.object(subject.machine.hex) : nil }),
                try row.string("rules") == rules
            {
                // A time to come was noted by a clock that was ahead.
                since = min(now, Timestamp(nanoseconds: try row.integer("since", in: Int64.min...Int64.max)))
            }
            kept[subject.machine.hex] = .object(["rules": .string(rules), "since": .integer(since.nanoseconds)])
            if now.since(since) < settling { fresh[subject.machine] = since.advanced(by: settling) }
        }
        if kept != known?.members ?? [:] { try catalog.set(Self.rulesSetting, JSONValue.object(kept).encoded()) }
        return fresh
    }

    private struct Subject {
        var machine: MachineID
        var name: String
        var isRetired: Bool
        /// Of the machine's own clock.
        var zone: String
        /// What holds; `nil` when it cannot be known.
        var policy: EffectivePolicy?
        var failure: String?
    }

    /// Every machine that was let in, and the server itself. Others of the vault are nobody's here: nothing of theirs is deleted
    /// because somebody waits under their id.
    private func subjects(_ vault: LocalVault) throws -> [Subject] {
        let machines = try catalog.machines().filter { $0.state != .waiting }
        let placements = try catalog.placements()
        let book = policies(by: Self.housekeeper)
        var subjects = machines.map { machine -> Subject in
            var subject = Subject(
                machine: machine.id, name: machine.name, isRetired: machine.state == .retired,
                zone: placements[machine.id]?.zone ?? "")
            do { subject.policy = try book.effective(of: machine.id) } catch {
                subject.failure = (error as? HoldfastError)?.message ?? "\(error)"
            }
            // With the key of the vault the points before it are under a hold.
            if keys == nil, alerts.newest(.massChange, of: machine.id) != nil {
                subject.policy = nil
                subject.failure = "many of its files have changed at once: `holdfast alerts ack` says that it was meant"
            }
            return subject
        }
        let known = Set(machines.map(\.id))
        for (id, record) in try vault.machineRecords()
        where !known.contains(id) && record.name.hasPrefix(Self.ownPrefix) {
            subjects.append(
                Subject(machine: id, name: record.name, isRetired: false, zone: "", policy: EffectivePolicy()))
        }
        return subjects
    }

    private func decide(
        _ subject: Subject, _ vault: LocalVault, _ now: Timestamp, _ left: inout Int
    ) throws -> (machine: RetentionReport.Machine, removed: [PointID]) {
        let local = SystemZones.load(subject.zone) ?? SystemZones.current
        var result = RetentionReport.Machine(
            machine: subject.machine, name: subject.name, zone: local.identifier, kept: 0, removed: 0, decisions: [],
            failure: subject.failure)
        guard let policy = subject.policy else { return (result, []) }
        let zone = policy.zone(local: local, zones: SystemZones.source)
        result.zone = zone.identifier
        let points = try vault.points(PointQuery(machine: subject.machine)).enumerated().map {
            $1.retentionPoint(ordinal: $0, now: now)
        }
        let decisions = policy.retentionPlan(of: points, in: zone, isRetired: subject.isRetired)
        let removed = decisions.filter { !$0.isKept }.map(\.point.id)
        result.kept = decisions.count - removed.count
        result.removed = removed.count
        result.decisions = decisions.prefix(left).map { decision in
            RetentionReport.Decision(
                point: decision.point.id, time: decision.point.time, series: decision.point.series,
                isPartial: decision.point.isPartial, isDamaged: decision.point.isDamaged,
                reasons: decision.reasons.map(\.description))
        }
        left -= result.decisions.count
        return (result, removed)
    }

    /// What passes by itself, because somebody else deletes or frees space just now, is tried again soon.
    private func noteFailure(_ error: any Error, _ time: Timestamp) {
        let known = error as? HoldfastError
        if known?.code == .cancelled { return }
        if known?.isTemporary == true {
            let soon = SystemClock.monotonic + 300_000_000_000
            housekeeping.withLock { $0.retentionDue = $0.retentionDue.map { min($0, soon) } }
            return
        }
        note(failures: [known?.message ?? "\(error)"], removed: 0, time)
    }

    private func note(failures: [String], removed: Int, _ time: Timestamp) {
        housekeeping.withLock { state in
            if failures != state.failures {
                state.notices += failures.prefix(20).map { "retention: nothing was deleted of \($0)" }
            }
            state.failures = failures
            if failures.isEmpty || removed > 0 { state.lastRetention = time }
            state.removed += UInt64(removed)
            if removed > 0 { state.notices.append("retention removed \(Units.count(removed, "point"))") }
        }
    }

    // MARK: What is shown

    func housekeepingGauges() -> [ServerMetrics.Gauge] {
        let state = housekeeping.withLock { $0 }
        var gauges = [
            ServerMetrics.Gauge(
                "retention_removed_points", "Points that retention has removed since the start.",
                Double(state.removed)),
            ServerMetrics.Gauge(
                "retention_failures", "Machines whose retention could not be applied the last time.",
                Double(state.failures.count)),
            ServerMetrics.Gauge("orders_waiting", "Machines that wait for orders.", Double(bell.count)),
        ]
        if let last = state.lastRetention {
            gauges.append(
                ServerMetrics.Gauge(
                    "retention_last_seconds", "When retention was applied last, seconds since 1970.",
                    Double(last.seconds)))
        }
        return gauges
    }

    func retentionCheck() -> Health.Check {
        let failures = housekeeping.withLock { $0.failures }
        guard let first = failures.first else { return Health.Check(name: "retention", status: .ok, reason: "") }
        let more = failures.count > 1 ? " (and \(Units.count(failures.count - 1)) more)" : ""
        return Health.Check(
            name: "retention", status: .degraded, reason: "Retention could not be applied: \(first)\(more)")
    }
}
