import ArgumentParser
import Client
import Model
import Synchronization
import Vault

/// `holdfast vault verify`
struct VaultVerify: Command {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Check that the vault is whole.",
        usage: "holdfast vault verify [<options>]",
        discussion: """
            Three depths: `structure` (every reference leads somewhere; quick), `packs` (all stored bytes are what they were; \
            reads the vault), `data` (every blob opens and holds what it says; needs the passphrase). The date of the last \
            check is kept for each pack, so --sample and --older-than spread a full check over many nights.

            Backups and restores may go on meanwhile. What is damaged is reported by point and, with the passphrase, by path; \
            the next backup stores again what the machine still has.

            Examples:
              holdfast vault verify
              holdfast vault verify --level packs --sample 5%
              holdfast vault verify --level data --older-than 30d
            """
    )

    @Option(help: "How deep: structure, packs or data.")
    var level = VerificationLevel.structure
    @Option(
        help: ArgumentHelp(
            "Only this share of the vault, what was checked longest ago first: 5% or 1/20.", valueName: "share"))
    var sample: ShareArgument?
    @Option(help: ArgumentHelp("Only what was not checked for so long: 30d, 12h.", valueName: "span"))
    var olderThan: SpanArgument?
    @OptionGroup var location: VaultOptions
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        var request = VerificationRequest(level: level)
        request.sample = sample?.share ?? 1
        if let olderThan {
            let now = session.now
            request.notCheckedFor = now.since(olderThan.span.before(now, in: console.zone))
        }
        if !session.isRemote {
            request.keys = level == .data ? try session.keys(passphrase) : try session.keysIfAtHand(passphrase)
        }
        let administration = try session.administration()

        let counter = VerificationCounter()
        request.progress = { checked, total in
            try counter.check()
            counter.add(checked, of: total)
        }
        let report = try Watch.run(
            console,
            progress: {
                var progress = Progress(phase: "checking")
                (progress.bytes, progress.totalBytes) = counter.values
                return progress
            }, stop: { counter.stop() }, { try administration.verify(request) })
        try show(report, session, console)
        return report.isSound ? .done : .failed
    }

    private func show(_ report: VerificationReport, _ session: VaultSession, _ console: Console) throws {
        for pack in report.damagedPacks {
            try console.emit("damaged_pack", ["pack": .string(pack.pack.hex), "reason": .string(pack.reason)])
            try console.line("damaged pack \(pack.pack.hex.prefix(12)): \(TreePath.display(pack.reason.utf8))")
        }
        for pack in report.lostPacks {
            try console.emit("lost_pack", ["pack": .string(pack.hex)])
            try console.line("lost pack \(pack.hex.prefix(12))")
        }
        for point in report.damagedPoints {
            try console.emit(
                "damaged_point",
                [
                    "point": .id(point.point), "machine": .id(point.machine), "time": .time(point.time),
                    "paths": .strings(point.paths.map(\.displayText)), "more_paths": .bool(point.hasMorePaths),
                ])
            let time = TimeText.local(point.time, in: console.zone)
            let name = session.machineName(point.machine)
            try console.line("damaged point \(point.point.hex.prefix(8)) of \(name), \(time)")
            for path in point.paths.prefix(50) { try console.line("  \(path.displayText)") }
            if point.hasMorePaths || point.paths.count > 50 { try console.line("  ... and more") }
        }
        for finding in report.findings {
            try console.emit("finding", ["text": .string(finding)])
            try console.line(TreePath.display(finding.utf8))
        }
        try console.emit(
            "verify",
            [
                "level": .string(report.level.rawValue), "sound": .bool(report.isSound),
                "checked_packs": .count(report.checkedPacks), "checked_bytes": .count(report.checkedBytes),
                "checked_blobs": .count(report.checkedBlobs), "lost_packs": .count(report.lostPacks.count),
                "damaged_packs": .count(report.damagedPacks.count), "damaged_blobs": .count(report.damagedBlobs),
                "found_blobs": .count(report.foundBlobs),
                "incomplete_blobs": .count(report.incompleteBlobs),
                "damaged_points": .count(report.damagedPoints.count), "seconds": .number(report.seconds),
            ])
        if report.damagedBlobs > 0 {
            try console.line(
                "\(Units.count(report.damagedBlobs, "copy", "copies")) of blobs are damaged, \(report.foundBlobs) of them "
                    + "found now.")
        }
        let checked =
            "\(Units.count(report.checkedPacks, "pack")), \(Units.size(report.checkedBytes)), at level "
            + "\(report.level.rawValue) in \(Units.span(nanoseconds: UInt64(max(report.seconds, 0) * 1e9)))"
        if report.isSound {
            try console.line("\(console.styled("The vault is sound.", .green)) Checked \(checked).")
        } else {
            try console.line("\(console.styled("The vault is damaged.", .red)) Checked \(checked).")
            try console.line("The next backup of each machine stores again what it still has of this.")
        }
    }
}

/// Counts bytes for the display, from any thread.
private final class VerificationCounter: Sendable {
    private let state = Mutex((checked: UInt64(0), total: UInt64(0), isStopped: false))

    func add(_ checked: UInt64, of total: UInt64) {
        state.withLock {
            $0.checked += checked
            $0.total = total
        }
    }

    func stop() { state.withLock { $0.isStopped = true } }

    func check() throws {
        if state.withLock({ $0.isStopped }) {
            throw HoldfastError(.cancelled, "Stopped. What was checked is remembered with its date.")
        }
    }

    var values: (UInt64, UInt64?) { state.withLock { ($0.checked, $0.total > 0 ? $0.total : nil) } }
}

extension VerificationLevel: ArgumentParser.ExpressibleByArgument {}

/// A share such as `5%`.
struct ShareArgument: ExpressibleByArgument {
    var share: Double

    init?(argument: String) {
        guard let share = Units.parseShare(argument), share > 0 else { return nil }
        self.share = share
    }
}

/// A span such as `30d`.
struct SpanArgument: ExpressibleByArgument {
    var span: CalendarSpan

    init?(argument: String) {
        guard let span = CalendarSpan(argument) else { return nil }
        self.span = span
    }
}
