package import Catalog
import Client
import Model
import Platform
import Synchronization
import Vault

/// Looks at machines and at the server itself, and says what somebody should know of.
extension ServerCore {
    /// Lag and problems that pass by themselves are no alerts, in nanoseconds.
    static let problemPatience: Int64 = 300_000_000_000
    /// A machine's clock that is further off is worth a word.
    static let clockTolerance: Int64 = 300_000_000_000
    private static let machineKinds: Set<AlertKind> = [
        .silent, .lag, .backupFailed, .warnings, .spoolFull, .clock, .clone, .waiting,
    ]
    private static let serverKinds: Set<AlertKind> = [.damage, .certificate, .disk, .database, .vault, .ownState]

    /// What is expected of a machine.
    func objectives(of machine: ManagedMachine) -> MachineObjectives {
        policyObjectives.withLock { $0 }.find?(machine) ?? alertSettings.withLock { $0 }.objectives
    }

    /// Lets policies say what is expected of machines; `nil` for those that have none.
    package func setObjectives(_ body: @escaping @Sendable (ManagedMachine) -> MachineObjectives?) {
        policyObjectives.withLock { $0.find = body }
    }

    /// Looks at everything, raises what is new and resolves what has passed. To be called every few seconds.
    ///
    /// - Parameter all: looks also at what is looked at every few minutes only, because it takes long in a large vault.
    package func lookForAlerts(all: Bool) throws {
        try lookingForAlerts.withLock { _ in try lookAtAll(andServer: all) }
    }

    private func lookAtAll(andServer all: Bool) throws {
        // Settings that cannot be read leave those before: better the old ways than none.
        refreshAlertSettings()
        try life.flush()
        let now = clock()
        var findings: [AlertBook.Finding] = []
        let machines = try catalog.machines()
        for machine in machines {
            settleClone(machine)
            findings += self.findings(of: machine, at: now)
        }
        try alerts.reconcile(findings, of: Self.machineKinds)
        for machine in machines { try lookForMassChange(machine) }
        if all {
            try alerts.reconcile(serverFindings(), of: Self.serverKinds)
        }
        dispatcher.wake()
    }

    private func findings(of machine: ManagedMachine, at now: Timestamp) -> [AlertBook.Finding] {
        guard machine.state != .retired else { return [] }
        var findings: [AlertBook.Finding] = []
        func add(_ kind: AlertKind, _ text: String) {
            findings.append(AlertBook.Finding(key: AlertBook.Key(kind: kind, machine: machine.id), text: text))
        }
        let name = TreePath.display(machine.name.utf8)
        let id = machine.id.hex.prefix(8)
        let live = life.live(machine.id)
        let objectives = objectives(of: machine)
        if let host = live?.trail.cloneHost {
            add(
                .clone,
                live?.trail.isParked == true
                    ? "Another machine (\(TreePath.display(host.utf8))) came with the identity of \(name) and was left outside. "
                        + "`holdfast server machines --approve \(id)` lets it go on with the history in place of the one that "
                        + "is known, `--refuse \(id)` sends it away; on a copy that is to be a machine of its own run "
                        + "`holdfast enrol --new-machine`."
                    : "Two agents, on \(name) and on \(TreePath.display(host.utf8)), have one identity: one is a copy of the "
                        + "other. The one that was known first is changing its key.")
        } else if machine.waitingKey != nil {
            add(
                .waiting,
                "A machine has enrolled under the id of \(name) with another key: it was installed anew, or is a copy. "
                    + "`holdfast server machines --approve \(id)` or `--refuse \(id)`.")
        }
        // It was never let in, so nothing is expected of it.
        if machine.state == .waiting { return findings }
        var last = max(machine.lastSeen, life.seen(machine.id) ?? machine.lastSeen)
        if last.since(now) > Self.clockTolerance {
            // This server's clock was ahead. From now on, or nobody would miss the machine until that time has come.
            life.noteSeen(machine.id, at: now)
            last = now
        }
        let isAsleep = live?.report.activity == .asleep
        if objectives.isSilent(since: last, at: now, isAsleep: isAsleep) {
            let heard = "Nothing was heard of \(name) since \(TimeText.rfc3339(last))"
            add(
                .silent,
                isAsleep
                    ? "\(heard), when it went to sleep or down. Is it still in use?"
                    : live?.report.activity == .stopped
                        ? "\(heard), when its agent was stopped. Start it there: `systemctl start holdfast-agent`."
                        : "\(heard). Is it switched on, and does its agent run?")
        }
        guard let live, !isAsleep, live.report.activity != .stopped else { return findings }
        let report = live.report
        // What it says holds until it is silent; then only the silence is known.
        guard now.since(live.received) <= MachineCondition.silence * 2 else { return findings }
        if report.lag > objectives.lag {
            add(
                .lag,
                "The oldest change on \(name) that is not stored waits for "
                    + "\(Units.span(nanoseconds: UInt64(max(report.lag, 0)))).")
        }
        if let problem = report.problem, let since = live.trail.problemSince, now.since(since) >= Self.problemPatience {
            add(.backupFailed, "The protection of \(name) has a problem: \(problem)")
        }
        if report.notKeptCount > 0 {
            add(
                .warnings,
                "\(Units.count(report.notKeptCount, "path")) of \(name) cannot be kept as they are. `holdfast agent status` there "
                    + "names them.")
        }
        if let spool = report.spool, spool.isFull {
            add(
                .spoolFull,
                "The spool of \(name) is full (\(Units.size(spool.bytes)) of \(Units.size(spool.limit))): of what changes only "
                    + "the latest version is kept until it can be sent.")
        }
        if abs(report.time.since(live.received)) > Self.clockTolerance {
            add(.clock, "The clock of \(name) is wrong by more than five minutes. Backups go on; set it.")
        }
        return findings
    }

    private func serverFindings() -> [AlertBook.Finding] {
        var findings: [AlertBook.Finding] = []
        func add(_ kind: AlertKind, _ text: String) {
            findings.append(AlertBook.Finding(key: AlertBook.Key(kind: kind), text: text))
        }
        let kinds: [String: AlertKind] = [
            "database": .database, "vault": .vault, "disk": .disk, "certificate": .certificate, "own-state": .ownState,
        ]
        for check in health().checks where check.status != .ok {
            if let kind = kinds[check.name] { add(kind, check.reason) }
        }
        if let statistics = try? holder.current?.catalog.statistics(), statistics.damaged > 0 {
            add(
                .damage,
                "\(Units.count(statistics.damaged, "blob")) in the vault are damaged. `holdfast vault verify` says which files "
                    + "and points that touches; the machines' next backups heal what they still have.")
        }
        return findings
    }

    /// Runs what stores something of a machine, and raises an alert when the vault does not take it for what it is: that is
    /// no failure that passes by itself. The next point that is taken resolves it, when no other is refused soon after.
    func noting<R>(_ machine: MachineID, isPoint: Bool = false, _ body: () throws -> R) throws -> R {
        let key = AlertBook.Key(kind: .rejected, machine: machine)
        do {
            let result = try body()
            if isPoint { alerts.resolve(key) }
            return result
        } catch let error as HoldfastError where [.damaged, .denied, .unsupported, .exists].contains(error.code) {
            // The system refusing the server is the server's affair.
            if !(error.cause is Errno) {
                _ = try? alerts.raise(
                    key,
                    "The vault did not take what a machine sent: \(error.message). Nothing that was stored before is touched."
                )
            }
            throw error
        }
    }

    // MARK: Mass changes

    /// Points from so long before a mass change are kept, in nanoseconds.
    private static let pinnedBefore: Int64 = 7 * 86_400_000_000_000
    /// While nobody has looked at a mass change, another one of the machine is told of, and held, once in this time: it may be
    /// the one that matters. In nanoseconds.
    private static let massChangeInterval: Int64 = 86_400_000_000_000

    private func lookForMassChange(_ machine: ManagedMachine) throws {
        guard let (text, since) = life.live(machine.id)?.trail.massChange() else { return }
        let name = TreePath.display(machine.name.utf8)
        let now = clock()
        if let newest = alerts.newest(.massChange, of: machine.id), abs(now.since(newest)) < Self.massChangeInterval {
            return
        }
        let key = AlertBook.Key(kind: .massChange, machine: machine.id, subject: TimeText.rfc3339(since))
        let pinned: String
        if let keys, let vault = holder.current {
            let hold = HoldRecord.Content(
                hold: .random(), placed: now, isPlaced: true, machines: [machine.id], paths: [],
                from: since.advanced(by: -Self.pinnedBefore), until: since, reference: "before a mass change on \(name)"
            )
            do {
                try vault.add(try HoldRecord(hold, signing: keys.vaultSigning))
                pinned =
                    "The points before that are held, whatever the rules say; `holdfast points release "
                    + "\(hold.hold.hex.prefix(8))` lets go of them when all is well."
            } catch {
                // A full disk must not keep anybody from hearing of it.
                pinned =
                    "The points before that could not be held (\((error as? HoldfastError)?.message ?? "\(error)")): run "
                    + "`holdfast points hold`."
            }
        } else {
            pinned =
                "This server cannot hold points of an owner-only vault: run `holdfast points hold` with its passphrase. Until this "
                + "alert is acknowledged nothing of the machine is deleted by itself."
        }
        try alerts.raise(
            key,
            "On \(name) \(text): if nobody there did that, it may be ransomware. \(pinned) "
                + "`holdfast alerts ack` says that it was meant.")
        life.change(machine.id) { $0.forgetSamples() }
    }

    // MARK: Clones

    /// Whether two agents have taken turns under one identity, and nobody is left outside yet.
    func isCloned(_ machine: MachineID) -> Bool {
        life.live(machine).map { $0.trail.original != nil && !$0.trail.isParked } ?? false
    }

    /// After a person has decided about a machine that was left outside.
    private func settleClone(_ machine: ManagedMachine) {
        if machine.waitingKey == nil, life.live(machine.id)?.trail.isParked == true {
            life.change(machine.id) { $0.decided() }
        }
    }
}
