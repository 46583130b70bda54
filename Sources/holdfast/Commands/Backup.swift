import Agent
import ArgumentParser
import Capture
import Catalog
import Model
import Platform
import Synchronization
import Vault

/// `holdfast backup`
struct Backup: Command {
    static let configuration = CommandConfiguration(
        commandName: "backup",
        abstract: "Protect files and directories: make a point.",
        usage: """
            holdfast backup <path> ... [<options>]
            holdfast backup --now
            """,
        discussion: """
            Reads what changed since the last point and stores what the vault does not have. Asks for no passphrase once this \
            machine has joined the vault. Files that cannot be read, that change or vanish meanwhile are named as warnings in \
            the point; they never fail the backup (status 3 then).

            Patterns of --exclude are those of .gitignore: `*.iso` a name anywhere, `/var/cache` a path, `build/` directories \
            only, `!keep.iso` an exception. A file of --exclude-from is one as it would stand in each of the paths. The vault \
            itself is left out on its own.

            SQLite databases are captured as of one moment while programs use them. Of other databases nothing is known: \
            dump them before (`pg_dump`, `mysqldump`) and protect the dump.

            Examples:
              holdfast backup /etc /home
              holdfast backup / --one-file-system --exclude /var/cache --exclude '*.iso'
              holdfast backup /srv --label "before the update" --compression better
              holdfast backup --now                      the agent that runs stores what has changed, at once
            """
    )

    @Argument(help: ArgumentHelp("What to protect.", valueName: "path"))
    var paths: [PathArgument] = []
    @Flag(help: "Let the agent that runs store all that has changed until now, and wait for it.")
    var now = false
    @OptionGroup var selection: SelectionOptions
    @Option(help: ArgumentHelp("A word for this point; may be given several times.", valueName: "text"))
    var label: [String] = []
    @Option(help: "What made this point: manual, scheduled or checkpoint.")
    var kind = BackupKind.manual
    @Option(help: "How hard to compress: fast, better (a third of the speed) or none.")
    var compression = Compression.fast
    @Flag(help: "Open everything again after sealing, before it is sent: guards against bad memory.")
    var verifyWrites = false
    @Flag(help: "Do everything but store: say what would be new and what it would take.")
    var dryRun = false
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if now, !paths.isEmpty { throw ValidationError("--now takes no paths: the agent knows what it protects.") }
        if !now, paths.isEmpty { throw ValidationError("Missing expected argument '<path> ...'") }
        if label.count > 64 { throw ValidationError("A point has at most 64 labels.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        if now {
            let status = try AgentSocket.ask(
                ["command": .string("backup"), "seconds": .integer(3_600)], state: try global.stateDirectory())
            return try AgentView.show(status, console)
        }
        let session = try VaultSession(console, location, global, for: .fill)
        let (state, secrets) = try Enrolment.secrets(session, global)
        let source = try selection.source(
            paths, own: session.ownDirectories + [try global.stateDirectory()], console: console)
        var sealing = SealingPipeline.Options(compression: compression, verifyWrites: verifyWrites)
        sealing.workers = max(1, Machine.processorCount)
        var request = BackupRequest(
            source: source, kind: kind.pointKind, labels: label, sealing: sealing,
            readers: max(1, Machine.processorCount), hostName: Machine.hostName, program: "holdfast \(Holdfast.version)"
        )
        let vault = session.vault.vault
        let rehearsal = dryRun ? RehearsalVault(session.vault) : nil
        if dryRun { (request.partialBytes, request.partialSeconds) = (.max, 1 << 30) }
        let job = BackupJob(
            service: rehearsal ?? session.vault, secrets: secrets,
            heads: dryRun ? GivenHead(try state.head(in: vault)) : StateHeads(state, vault: vault),
            cacheDirectory: try state.cacheDirectory(of: vault), request: request)
        let progress = job.progress
        let report: BackupReport
        do {
            report = try Watch.run(
                console, progress: { progress.view }, stop: { progress.stopRequested.store(true, ordering: .relaxed) },
                { try job.run() })
        } catch is RehearsalVault.Ended {
            try showRehearsal(job, rehearsal, console)
            return job.warnings.isEmpty ? .done : .warnings
        }
        try show(report, job.progress, console)
        return report.warnings.isEmpty && report.omittedWarnings == 0 && report.historyBreak == nil ? .done : .warnings
    }

    private func showRehearsal(_ job: BackupJob, _ rehearsal: RehearsalVault?, _ console: Console) throws {
        let files = job.progress.filesSeen.load(ordering: .relaxed)
        let bytes = job.progress.bytesSeen.load(ordering: .relaxed)
        let read = job.progress.bytesRead.load(ordering: .relaxed)
        let new = job.counters.newBytes.load(ordering: .relaxed)
        let warnings = UInt64(job.warnings.count) + job.omittedWarnings
        let stored = rehearsal?.bytes ?? 0
        for warning in job.warnings { try emit(warning, console) }
        try console.emit(
            "dry_run",
            [
                "files": .count(files), "bytes": .count(bytes), "bytes_read": .count(read), "new_bytes": .count(new),
                "stored_bytes": .count(stored), "warnings": .count(warnings),
                "files_too_large": .count(job.progress.filesTooLarge.load(ordering: .relaxed)),
            ])
        try console.line("The point would hold \(Units.count(files, "file")), \(Units.size(bytes)).")
        try console.line(
            "\(Units.size(read)) were read, of which \(Units.size(new)) are new; they would take "
                + "\(Units.size(stored)) in the vault.")
        try console.line("Nothing was stored.")
        showRemarks(job.progress, console)
        showWarnings(job.warnings, of: warnings, more: "--json lists them", console)
    }

    private func emit(_ warning: PointWarning, _ console: Console) throws {
        var fields: [String: JSON] = ["reason": .string(warning.reason.title), "text": .string(warning.text)]
        fields.setPath("path", TreePath(unchecked: warning.path))
        try console.emit("point_warning", fields)
    }

    /// What is as it was asked for, or as it usually is, and may still surprise.
    private func showRemarks(_ progress: CaptureProgress, _ console: Console) {
        func list(_ paths: [TreePath], of count: Int) -> String {
            paths.prefix(3).map(\.displayText).joined(separator: ", ")
                + (count > 3 ? " and \(Units.count(count - 3)) more" : "")
        }
        let remarks = progress.remarks.withLock { $0 }
        let tooLarge = progress.filesTooLarge.load(ordering: .relaxed)
        if tooLarge > 0 {
            console.note(
                "\(Units.count(tooLarge, "file was", "files were")) left out because of --exclude-larger-than.")
        }
        if !remarks.ownDirectories.isEmpty {
            let paths = remarks.ownDirectories
            console.note("Left out: \(list(paths, of: paths.count)) (vault or state of holdfast).")
        }
        if !remarks.emptyRoots.isEmpty {
            let paths = remarks.emptyRoots
            console.note("Nothing lies in \(list(paths, of: paths.count)).")
        }
        if remarks.openDatabaseCount > 0 {
            let count = Int(clamping: remarks.openDatabaseCount)
            console.note(
                "\(Units.count(count, "SQLite database was", "SQLite databases were")) in use, and captured as of one "
                    + "moment: \(list(remarks.openDatabases, of: count))."
            )
        }
    }

    private func showWarnings(_ warnings: [PointWarning], of count: UInt64, more: String, _ console: Console) {
        if count == 0 { return }
        let shown = warnings.prefix(10)
        console.note(console.coloured("\(Units.count(count, "warning")):", .yellow))
        for warning in shown {
            console.note("  \(TreePath(unchecked: warning.path).displayText): \(TreePath.display(warning.text.utf8))")
        }
        if count > UInt64(shown.count) {
            console.note("  ... and \(Units.count(count - UInt64(shown.count))) more: \(more)")
        }
    }

    private func show(_ report: BackupReport, _ progress: CaptureProgress, _ console: Console) throws {
        let statistics = report.statistics
        let warnings = UInt64(report.warnings.count) + report.omittedWarnings
        for warning in report.warnings { try emit(warning, console) }
        let remarks = progress.remarks.withLock { $0 }
        try console.emit(
            "backup",
            [
                "point": .id(report.point), "number": .count(report.number), "time": .time(report.time),
                "entries": .count(statistics.entries), "files": .count(statistics.files),
                "directories": .count(statistics.directories), "bytes": .count(statistics.bytes),
                "bytes_read": .count(statistics.bytesRead), "new_bytes": .count(statistics.newBytes),
                "stored_bytes": .count(statistics.storedBytes), "milliseconds": .count(statistics.milliseconds),
                "warnings": .count(warnings),
                "files_too_large": .count(progress.filesTooLarge.load(ordering: .relaxed)),
                "open_databases": .count(remarks.openDatabaseCount),
                "left_out": .strings(remarks.ownDirectories.map { JSON.text(of: [UInt8(ascii: "/")] + $0.bytes) }),
                "new_incarnation": .bool(report.isNewIncarnation),
                "history_break": report.historyBreak.map { .string($0.title) } ?? .null,
                "used_cache": .bool(report.usedCache), "peak_memory": .count(ProcessLimits.peakMemory),
            ])
        if console.isJSON { return }
        let nanoseconds = statistics.milliseconds * 1_000_000
        try console.line(
            "Point \(console.styled(String(report.point.hex.prefix(8)), .bold)) holds "
                + "\(Units.count(statistics.files, "file")) and \(Units.count(statistics.directories, "directory", "directories")), "
                + "\(Units.size(statistics.bytes)).")
        try console.line(
            "Read \(Units.size(statistics.bytesRead)), of which \(Units.size(statistics.newBytes)) were new; stored "
                + "\(Units.size(statistics.storedBytes)) in \(Units.span(nanoseconds: nanoseconds)).")
        if let history = report.historyBreak {
            console.warn(history.explanation)
        } else if report.isNewIncarnation {
            console.note("This is the first point of this machine's history in the vault.")
        }
        showRemarks(progress, console)
        showWarnings(
            report.warnings, of: warnings, more: "`holdfast points --warnings \(report.point.hex.prefix(8))`", console)
    }
}

extension HistoryBreak {
    /// For JSON.
    var title: String {
        switch self {
        case .machineReverted: "machine-reverted"
        case .pointsMissing: "points-missing"
        case .stateLost: "state-lost"
        }
    }

    /// What happened and what to do.
    var explanation: String {
        switch self {
        case .machineReverted(let remembered, let vault):
            "This machine remembers its point \(remembered.number), but the vault holds later ones, up to number "
                + "\(vault.number). It was put back to an earlier state, or a copy of it writes to the vault too. All points "
                + "are kept; this one begins a new history. If a copy runs, let it join under its own name: "
                + "`holdfast vault join --name NAME` with a state directory of its own."
        case .pointsMissing(let remembered, let vault):
            "The vault does not hold point \(remembered.number) of this machine, which it acknowledged; the newest it holds "
                + (vault.map { "is number \($0.number)" } ?? "is none")
                + ". Somebody put the vault back to an earlier state, or points were lost. This point holds everything as it "
                + "is now. Run `holdfast vault verify --level packs`, and find out who has access to the vault."
        case .stateLost(let vault):
            "The vault holds \(Units.count(vault.number, "point")) of this machine that it does not remember: its state "
                + "directory was lost or is a new one. All points are kept; this one begins a new history."
        }
    }
}

/// The kinds of points that a command line makes.
enum BackupKind: String, ExpressibleByArgument, CaseIterable {
    case manual, scheduled, checkpoint

    var pointKind: PointKind {
        switch self {
        case .manual: .manual
        case .scheduled: .scheduled
        case .checkpoint: .checkpoint
        }
    }
}

extension Compression: ArgumentParser.ExpressibleByArgument {}

extension CaptureProgress {
    /// As the display wants it.
    var view: Progress {
        var view = Progress(phase: "protecting")
        view.files = filesSeen.load(ordering: .relaxed)
        view.bytes = bytesDone.load(ordering: .relaxed)
        if walkIsComplete.load(ordering: .relaxed) {
            view.totalBytes = bytesSeen.load(ordering: .relaxed)
        }
        return view
    }
}
