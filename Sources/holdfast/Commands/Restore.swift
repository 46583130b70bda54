import ArgumentParser
import Client
import Model
import Platform
import Recovery
import Synchronization
import Vault

/// `holdfast restore`
struct Restore: Command {
    static let configuration = CommandConfiguration(
        commandName: "restore",
        abstract: "Bring files back from a point.",
        usage: """
            holdfast restore <point> [<path> ...] (--to <dir> | --in-place) [<options>]
            holdfast restore <path>@<time> (--to <dir> | --in-place) [<options>]
            holdfast restore <point> [<path> ...] --on <machine> [--to <dir> | --in-place] [<options>]
            holdfast restore --undo [--yes]
            """,
        discussion: """
            --to DIR puts every path below DIR under its full path: DIR/etc/fstab. --in-place puts them where they were. What is \
            there already with the same content is left alone, so an interrupted restore goes on where it ended, and bringing \
            a directory back takes as long as what changed in it. The same content means the same size and modification time; \
            with --check-contents files are read and compared. No symbolic link in the destination is ever followed, and no \
            vault is ever removed. What a restore in place replaces or removes goes into a point first: --undo takes the last \
            one back.

            --on MACHINE orders the restore through the server of --vault: the agent on that machine makes a plan, which is shown \
            before anything is changed, and carries it out, as far as its /etc/holdfast/allow.yaml lets it. Without --to and \
            --in-place it goes into a new folder there. `holdfast orders` lists what was ordered.

            \(PointHelp.text)

            Where a name is taken by something else, --conflict says what happens: `rename` puts the point's beside it, `always` \
            replaces, `never` leaves what is there, `newer` replaces what is older.

            Exit status: 0 when everything is as the point has it; 1 when a path that was named is not in the point (nothing \
            is touched then) or something could not be restored, was damaged, or differs after --verify; 3 when the rest of \
            what was asked for is there but something is to be said: the point has it incompletely, something else stood in \
            the way and stayed, owners or other metadata could not be set, a file was not what its size and time promised.

            Examples:
              holdfast restore latest /etc/fstab --to /tmp/restored
              holdfast restore @yesterday /home/ann/thesis --in-place
              holdfast restore notes.txt@10:15 --to /tmp/restored
              holdfast restore 3fa9 --to /mnt/new-disk --owner numbers
              holdfast restore @"10 minutes ago" /srv/www --in-place --delete --dry-run
              holdfast restore latest /etc/fstab --on mail
              holdfast restore --undo
            """
    )

    @Argument(help: ArgumentHelp("Which point.", valueName: "point"))
    var point: String?
    @Argument(help: ArgumentHelp("What of it. (default: everything)", valueName: "path"))
    var paths: [PathArgument] = []
    @Option(help: ArgumentHelp("Restore below this directory.", valueName: "dir"))
    var to: PathArgument?
    @Flag(help: "Restore to where it was.")
    var inPlace = false
    @Option(
        help: ArgumentHelp(
            "rename, always, never or newer. (default: always in place, rename below a directory)", valueName: "rule"))
    var conflict: RestoreRequest.Conflict?
    @Flag(help: "Remove what the point does not have below the restored paths.")
    var delete = false
    @Flag(help: "With --delete: remove also what the backup was told to leave out.")
    var deleteExcluded = false
    @Option(
        help: ArgumentHelp(
            "Whose the files are: names (a living system), numbers (a new one), me, or map:FILE.", valueName: "owners"))
    var owner = OwnerArgument.names
    @Flag(help: "Compare files that are there by content; what differs is restored.")
    var checkContents = false
    @Flag(help: "As --check-contents, and read everything back at the end and compare it with the vault.")
    var verify = false
    @Flag(help: "Do not wait until everything is on the disk.")
    var noSync = false
    @Flag(help: "Only say what would happen.")
    var dryRun = false
    @Option(help: ArgumentHelp("Let the agent of this machine do it.", valueName: "machine"))
    var on: String?
    @Option(
        help: ArgumentHelp(
            "With --on: the order ends when nothing is heard of the machine for so long. (default: 7d)",
            valueName: "duration"))
    var within: SpanArgument?
    @Flag(help: "With --on: do not wait for what comes of it.")
    var detach = false
    @Flag(help: "Take the last restore in place back.")
    var undo = false
    @Flag(
        help:
            "Do not ask before a restore is taken back that is old, was interrupted, or whose files were changed since; with --on: before it begins."
    )
    var yes = false
    @OptionGroup var machine: MachineOptions
    @OptionGroup var location: VaultOptions
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var trust: TrustOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if undo {
            guard point == nil, paths.isEmpty, to == nil, !inPlace, !delete, conflict == nil, !verify, !checkContents
            else {
                throw ValidationError(
                    "--undo takes no point, no paths and no destination: it takes the last restore back.")
            }
            guard !deleteExcluded, owner.isDefault, !noSync, machine.machine == nil else {
                throw ValidationError(
                    "--undo goes with --yes and --dry-run only: it brings back what was, as it was.")
            }
            guard on == nil else {
                throw ValidationError("What was ordered is taken back by `holdfast orders undo ORDER`.")
            }
            return
        }
        if on != nil { return try validateOrder() }
        if within != nil || detach { throw ValidationError("--within and --detach go with --on.") }
        if yes { throw ValidationError("--yes goes with --undo and --on.") }
        if point == nil {
            throw ValidationError("Which point? For example: holdfast restore latest /etc/fstab --to DIR")
        }
        if (to == nil) == !inPlace { throw ValidationError("Say where to: either --to DIR or --in-place.") }
        if deleteExcluded, !delete { throw ValidationError("--delete-excluded goes with --delete.") }
    }

    /// What an order cannot say.
    private func validateOrder() throws {
        if point == nil {
            throw ValidationError("Which point? For example: holdfast restore latest /etc/fstab --on mail")
        }
        if to != nil, inPlace { throw ValidationError("Say where to: either --to DIR or --in-place.") }
        if let to, to.bytes.first != UInt8(ascii: "/") {
            throw ValidationError("With --on, --to takes an absolute path: the directory is on that machine.")
        }
        if deleteExcluded || checkContents || noSync || !owner.isDefault {
            throw ValidationError("--delete-excluded, --check-contents, --no-sync and --owner do not go with --on.")
        }
        if dryRun, yes || detach { throw ValidationError("--dry-run goes neither with --yes nor with --detach.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        if let on { return try order(on, console) }
        if !undo, !location.isNamed, let status = try restoreFromHere(console) { return status }
        let session = try VaultSession(console, location, global)
        if undo { return try takeBack(session, console) }
        let (point, paths) = try Restore.meant(point ?? "latest", paths)
        let wanted = paths.isEmpty ? [.root] : try paths.map { try $0.treePath() }
        let chosen = try session.point(
            point, machine: machine.machine, global, covering: wanted,
            keys: { try session.opener(passphrase) })
        if inPlace { try session.requireOwnPoint(chosen, machine: machine.machine, global) }
        let keys = try session.opener(passphrase)
        let reader = try session.open(chosen, keys, trust)
        defer { reader.close() }

        var request = RestoreRequest(
            paths: wanted,
            destination: to.map { .directory($0.bytes) } ?? .inPlace)
        request.conflict = conflict
        request.deleteExtra = delete
        request.owners = try owner.policy()
        request.deletesExcluded = deleteExcluded
        request.verify = verify
        request.checksContents = checkContents
        request.sync = !noSync
        request.own = try OwnPlaces(session.ownDirectories + [try global.stateDirectory()])
        // A rehearsal remembers nothing.
        let store =
            inPlace && !dryRun ? UndoStore(directory: try StateDirectory(path: try global.stateDirectory()).path) : nil
        let job = RestoreJob(reader: reader, request: request, undo: store)
        if inPlace || dryRun {
            let planning = job.planning
            let plan = try Watch.run(
                console,
                progress: {
                    Progress(phase: "comparing", files: planning.entries.load(ordering: .relaxed))
                }, stop: { planning.stopRequested.store(true, ordering: .relaxed) }, { try job.plan() })
            if dryRun {
                try RestoreView.show(plan, console)
                return ExitStatus(plan.exitStatus)
            }
            RestoreView.showOwners(plan.unknownUsers, plan.unknownGroups, "are", console)
        }
        let checkpoint = Checkpoint(session: session, global: global, keys: { try session.keys(passphrase) })
        let progress = job.progress
        let report: RestoreReport
        do {
            report = try Watch.run(
                console, progress: { progress.view }, stop: { progress.stopRequested.store(true, ordering: .relaxed) },
                {
                    try job.run { paths in
                        try checkpoint.make(
                            of: paths, label: "before restoring \(chosen.shortID)", planned: { try job.plannedPaths() },
                            console)
                    }
                })
        } catch var error as HoldfastError where error.code == .cancelled {
            // By its id: `latest` may be another point by then.
            error.context["hint"] = "Go on with `holdfast restore \(chosen.shortID) ...`, the same paths and options."
            throw error
        }
        try RestoreView.show(report, point: chosen.id, destination: request.destination.root, inPlace, console)
        if inPlace, report.filesWritten + report.removed + report.metadataOnly + report.othersWritten > 0 {
            console.note("`holdfast restore --undo` takes this back.")
        }
        return ExitStatus(report.exitStatus)
    }

    /// Lets the agent of a machine do it.
    private func order(_ name: String, _ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let ordering = RestoreOrdering(restores: try session.restores(), session: session, console: console)
        let target = try session.machine(named: name)
        let (point, paths) = try Restore.meant(point ?? "latest", paths)
        let wanted = paths.isEmpty ? [.root] : try paths.map { try $0.treePath() }
        // An id may be any machine's; `latest` and times are those of the machine itself unless another is named.
        var source: String? = machine.machine ?? name
        if machine.machine == nil, case .prefix = try PointSelector.parse(point, now: session.now, zone: console.zone) {
            source = nil
        }
        let chosen = try session.point(
            point, machine: source, global, covering: wanted, keys: { try session.opener(passphrase) })
        var destination = RestoreWish.Destination.newFolder
        if inPlace { destination = .inPlace }
        if let to { destination = .folder([UInt8(ascii: "/")] + (try to.treePath()).bytes) }
        var wish = RestoreWish(
            source: chosen.machine, target: target, point: chosen.id, paths: wanted, destination: destination)
        wish.existing = conflict.flatMap { RestoreWish.Existing(rawValue: $0.rawValue) }
        wish.deletesExtra = delete
        wish.verifies = verify
        wish.asksFirst = !yes
        if let within {
            let now = session.now
            wish.patience = now.since(within.span.before(now, in: console.zone)) / 1_000_000_000
        }
        return try ordering.carryOut(wish, asks: !yes, detaches: detach, isRehearsal: dryRun)
    }

    /// Without a vault: one file at some time, from what the agent of this machine keeps. `nil` when it is something else that
    /// is wanted.
    private func restoreFromHere(_ console: Console) throws -> ExitStatus? {
        let (point, paths) = try Restore.meant(point ?? "latest", paths)
        guard let to, paths.count == 1, let path = paths.first, machine.machine == nil, !delete, !dryRun else {
            return nil
        }
        let now = Timestamp(nanoseconds: SystemClock.wall)
        let selector = try PointSelector.parse(point, now: now, zone: console.zone)
        if case .prefix = selector { return nil }
        return try LocalAgent(global).restore(
            try path.treePath(), at: selector, to: try to.fromWorkingDirectory(), console)
    }

    /// `PATH@TIME` is that path at that time. No point is written with an `@` inside.
    static func meant(_ point: String, _ paths: [PathArgument]) throws -> (point: String, paths: [PathArgument]) {
        guard let at = point.lastIndex(of: "@"), at != point.startIndex,
            let path = PathArgument(argument: String(point[..<at]))
        else { return (point, paths) }
        let time = String(point[at...])
        return (time.lowercased() == "@latest" ? "latest" : time, [path] + paths)
    }

    private func takeBack(_ session: VaultSession, _ console: Console) throws -> ExitStatus {
        guard let state = try StateDirectory.existing(path: try global.stateDirectory()) else {
            throw HoldfastError(.notFound, "There is no restore in place to take back.")
        }
        let job = try UndoJob(
            store: UndoStore(directory: state.path), own: try OwnPlaces(session.ownDirectories + [state.path]))
        guard job.record.vault == session.vault.vault else {
            throw HoldfastError(
                .usage,
                "The last restore in place was from another vault, \(job.record.vault.hex.prefix(8)). Name that one with --vault."
            )
        }
        let mustAsk = UndoView.announce(job, session, console)
        if dryRun {
            for (action, paths) in [("return", job.returning), ("remove", job.removing)] {
                for path in paths {
                    var fields: [String: JSON] = ["action": .string(action)]
                    fields.setPath("path", path)
                    try console.emit("planned", fields)
                    try console.line("\(action) \(path.displayText)")
                }
            }
            var fields: [String: JSON] = [
                "point": .id(job.record.before ?? job.record.restored), "complete": .bool(job.record.isComplete),
                "return": .count(job.returning.count), "remove": .count(job.removing.count),
            ]
            fields.setBytes("destination", job.record.root)
            try console.emit("undo_plan", fields)
            return .done
        }
        if mustAsk, !yes { try UndoView.ask(console) }
        let keys = try session.opener(passphrase)
        let checkpoint = Checkpoint(session: session, global: global, keys: { try session.keys(passphrase) })
        let progress = job.progress
        let report = try Watch.run(
            console, progress: { progress.view }, stop: { progress.stopRequested.store(true, ordering: .relaxed) },
            {
                try job.run(
                    open: { try PointReader(service: session.vault, keys: keys, point: $0) },
                    protect: {
                        try checkpoint.make(
                            of: $0, label: "before taking a restore back", planned: { job.plannedPaths }, console)
                    })
            })
        try RestoreView.show(
            report, point: job.record.before ?? job.record.restored, destination: job.record.root, true, console)
        return ExitStatus(report.exitStatus)
    }
}

/// What is said before a restore is taken back.
enum UndoView {
    /// An older one is hardly what somebody means who has just restored something.
    private static let soon: Int64 = 3_600

    /// Says what would be taken back.
    ///
    /// - Returns: whether it may be something else than what was meant, or takes newer work with it.
    static func announce(_ job: UndoJob, _ session: VaultSession, _ console: Console) -> Bool {
        let record = job.record
        let time = TimeText.local(record.time, in: console.zone)
        console.note(
            "The restore of \(time) (of point \(record.restored.hex.prefix(8))): "
                + "\(Units.count(job.returning.count, "path returns", "paths return")) as before it, "
                + "\(Units.count(job.removing.count)) that it made \(job.removing.count == 1 ? "is" : "are") removed.")
        for path in (job.returning + job.removing).prefix(5) { console.note("  \(path.displayText)") }
        if job.returning.count + job.removing.count > 5 { console.note("  ...") }
        var mustAsk = session.now.nanoseconds - record.time.nanoseconds > soon * 1_000_000_000
        if !record.isComplete {
            // Nobody knows what of it was done, and what is newer than it.
            mustAsk = true
            console.note(
                record.isUnfinishedUndo
                    ? "To take it back was begun and did not come to its end; this goes on with it."
                    : "It was interrupted; what it did until then is taken back.")
        }
        if !record.earlier.isEmpty {
            mustAsk = true
            console.note(
                "It was interrupted and run again: both runs are taken back. What was there when the second one began returns."
            )
        }
        if job.hasAbandoned {
            mustAsk = true
            console.note("A later restore was interrupted before it changed anything; this one is older than that.")
        }
        let changed = job.changedSince()
        if changed.count > 0 {
            mustAsk = true
            console.note(
                "\(Units.count(changed.count, "path was", "paths were")) changed since "
                    + (record.isComplete ? "then" : "it began, by it or by somebody else")
                    + ", for example \(changed.samples.first?.displayText ?? ""): kept in a point first, then taken back "
                    + "as well.")
        }
        return mustAsk
    }

    /// Throws unless somebody at the terminal agrees.
    static func ask(_ console: Console) throws {
        let answer: [UInt8]
        do {
            let terminal = try FileDescriptor.open("/dev/tty", .readWrite)
            try terminal.writeAll(Array("Take it back? [y/N] ".utf8))
            let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 256, alignment: 1)
            defer { room.deallocate() }
            answer = Array(room[..<(try terminal.read(into: room))])
        } catch {
            throw HoldfastError(
                .usage, "This restore is old, was interrupted, or its files were changed since. Nothing was changed.",
                context: ["hint": "Add --yes to take it back all the same, --dry-run to see every path."])
        }
        if answer.first == UInt8(ascii: "y") || answer.first == UInt8(ascii: "Y") { return }
        throw HoldfastError(.cancelled, "Nothing was changed.")
    }
}

extension ExitStatus {
    /// As a restore reports it.
    init(_ status: Int32) { self = ExitStatus(rawValue: status) ?? .failed }
}

/// What a restore did, for people and programs.
enum RestoreView {
    static func show(
        _ report: RestoreReport, point: PointID, destination: [UInt8], _ isInPlace: Bool, _ console: Console
    ) throws {
        try emit(report.issues, console)
        var fields: [String: JSON] = [
            "point": .id(point), "entries": .count(report.entries), "files_written": .count(report.filesWritten),
            "bytes_written": .count(report.bytesWritten), "files_unchanged": .count(report.filesUnchanged),
            "bytes_unchanged": .count(report.bytesUnchanged), "others_written": .count(report.othersWritten),
            "metadata_only": .count(report.metadataOnly), "removed": .count(report.removed),
            "kept": .count(report.kept), "renamed": .count(report.renamed), "verified": .count(report.verified),
            "milliseconds": .count(report.milliseconds), "issues": .count(report.issueCounts.values.reduce(0, +)),
            "peak_memory": .count(ProcessLimits.peakMemory),
        ]
        fields.setBytes("destination", destination)
        setOwners(report.unknownUsers, report.unknownGroups, &fields)
        try console.emit("restore", fields)
        if console.isJSON { return }

        let nanoseconds = report.milliseconds * 1_000_000
        let place = isInPlace ? "in place" : "to \(TreePath.display(destination))"
        let rest = Units.count(
            report.othersWritten, "directory, link or device", "directories, links and devices")
        try console.line(
            "Restored \(Units.count(report.filesWritten, "file")), \(Units.size(report.bytesWritten)) and \(rest) "
                + "\(place) in \(Units.span(nanoseconds: nanoseconds))"
                + " (\(Units.rate(bytes: report.bytesWritten, nanoseconds: nanoseconds))).")
        var others: [String] = []
        if report.filesUnchanged > 0 {
            others.append("\(Units.count(report.filesUnchanged, "file was", "files were")) there already")
        }
        if report.metadataOnly > 0 { others.append("\(Units.count(report.metadataOnly)) needed metadata only") }
        if report.removed > 0 { others.append("\(Units.count(report.removed)) removed") }
        if report.kept > 0 { others.append("\(Units.count(report.kept)) left as they were") }
        if report.renamed > 0 { others.append("\(Units.count(report.renamed)) put beside what is there") }
        if report.verified > 0 { others.append("\(Units.count(report.verified, "file")) read back and compared") }
        if !others.isEmpty { try console.line("\(others.joined(separator: "; ")).") }
        if !isInPlace { showOwners(report.unknownUsers, report.unknownGroups, "were", console) }
        let count = report.issueCounts.values.reduce(0, +)
        guard count > 0 else { return }
        // Not a note: with --quiet somebody still has to know what is missing.
        console.warn(
            report.exitStatus == 1
                ? "Not everything was restored: \(Units.count(count, "path has", "paths have")) trouble."
                : "\(Units.count(count, "warning")).")
        list(report.issues, count, console)
    }

    private static func setOwners(
        _ users: [UnknownOwner], _ groups: [UnknownOwner], _ fields: inout [String: JSON]
    ) {
        for (key, owners) in [("unknown_users", users), ("unknown_groups", groups)] {
            fields[key] = .array(
                owners.prefix(1000).map { owner in
                    var fields: [String: JSON] = ["number": .count(UInt64(owner.number)), "paths": .count(owner.count)]
                    fields.setBytes("name", owner.name)
                    return .object(fields)
                })
        }
    }

    private static func emit(_ issues: [RestoreIssue], _ console: Console) throws {
        for issue in issues {
            var fields: [String: JSON] = [
                "kind": .string(issue.kind.rawValue), "text": .string(issue.text), "count": .count(issue.count),
            ]
            fields.setPath("path", TreePath(unchecked: issue.path))
            try console.emit("issue", fields)
        }
    }

    /// The first issues, the worst kinds first, and how many paths are not shown.
    private static func list(_ issues: [RestoreIssue], _ count: Int, _ console: Console) {
        let limit = 20
        let sorted = issues.filter(\.kind.isFailure) + issues.filter { !$0.kind.isFailure }
        for issue in sorted.prefix(limit) {
            let path = issue.path.isEmpty ? "" : TreePath(unchecked: issue.path).displayText + ": "
            console.note("  \(path)\(TreePath.display(issue.text.utf8))")
        }
        let rest = count - sorted.prefix(limit).reduce(0) { $0 + $1.count }
        if rest <= 0 { return }
        let isListed = sorted.reduce(0) { $0 + $1.count } == count
        console.note("  ... and \(Units.count(rest)) more; --json lists \(isListed ? "them" : "the first of them").")
    }

    /// What a restore would do.
    static func show(_ plan: RestorePlan, _ console: Console) throws {
        let actions: [(name: String, text: String, tally: RestorePlan.Tally)] = [
            ("create", "made", plan.creates), ("directory", "directories made", plan.directories),
            ("metadata", "get their metadata back", plan.metadata), ("overwrite", "replaced", plan.overwrites),
            ("remove", "removed", plan.removes), ("keep", "stay as they are", plan.kept),
            ("rename", "put beside what is there", plan.renames),
        ]
        var fields: [String: JSON] = [
            "point": .id(plan.point), "entries": .count(plan.entries), "in_place": .bool(plan.isInPlace),
            "unchanged": .count(plan.unchanged.count), "bytes_to_write": .count(plan.bytesToWrite),
            "lacks_room": .bool(plan.lacksRoom), "issues": .count(plan.issueCounts.values.reduce(0, +)),
        ]
        if let free = plan.freeBytes { fields["free_bytes"] = .count(free) }
        fields.setBytes("destination", plan.destination)
        setOwners(plan.unknownUsers, plan.unknownGroups, &fields)
        for action in actions {
            fields[action.name] = .object(["count": .count(action.tally.count), "bytes": .count(action.tally.bytes)])
            for path in action.tally.samples {
                var sample: [String: JSON] = ["action": .string(action.name)]
                sample.setPath("path", TreePath(unchecked: path))
                try console.emit("planned", sample)
            }
        }
        try emit(plan.issues, console)
        try console.emit("restore_plan", fields)
        if console.isJSON { return }
        for action in actions where action.tally.count > 0 {
            let size = action.tally.bytes > 0 ? ", \(Units.size(action.tally.bytes))" : ""
            try console.line("\(Units.count(action.tally.count)) \(action.text)\(size):")
            for path in action.tally.samples.prefix(20) {
                try console.line("  \(TreePath(unchecked: path).displayText)")
            }
            if action.tally.count > 20 { try console.line("  ... and \(Units.count(action.tally.count - 20)) more") }
        }
        try console.line("\(Units.count(plan.unchanged.count)) are there already. Nothing was changed.")
        showOwners(plan.unknownUsers, plan.unknownGroups, "are", console)
        if plan.lacksRoom {
            console.warn(
                "\(Units.size(plan.bytesToWrite)) would be written, and \(Units.size(plan.freeBytes ?? 0)) are free there."
            )
        }
        let count = plan.issueCounts.values.reduce(0, +)
        if count == 0 { return }
        console.warn("\(Units.count(count, "warning")).")
        list(plan.issues, count, console)
    }

    /// Who the point means and this machine does not know. - Parameter tense: "are" before the restore, "were" after it.
    static func showOwners(
        _ users: [UnknownOwner], _ groups: [UnknownOwner], _ tense: String, _ console: Console
    ) {
        for (kind, owners) in [("user", users), ("group", groups)] where !owners.isEmpty {
            let list = owners.prefix(8).map { "\(TreePath.display($0.name)) (\($0.number))" }.joined(separator: ", ")
            console.note(
                "This machine does not know the \(kind)\(owners.count == 1 ? "" : "s") \(list)"
                    + (owners.count > 8 ? " and \(owners.count - 8) more" : "") + "; their numbers \(tense) used.")
        }
    }
}

/// The argument of `--owner`.
enum OwnerArgument: ExpressibleByArgument, CustomStringConvertible {
    case names, numbers, me
    case map(PathArgument)

    init?(argument: String) {
        switch argument {
        case "names": self = .names
        case "numbers": self = .numbers
        case "me": self = .me
        default:
            guard argument.hasPrefix("map:"), let path = PathArgument(argument: String(argument.dropFirst(4))) else {
                return nil
            }
            self = .map(path)
        }
    }

    /// As when nothing was said.
    var isDefault: Bool { if case .names = self { true } else { false } }

    var description: String {
        switch self {
        case .names: "names"
        case .numbers: "numbers"
        case .me: "me"
        case .map(let path): "map:\(path)"
        }
    }

    func policy() throws -> OwnerPolicy {
        switch self {
        case .names: return .names
        case .numbers: return .numbers
        case .me: return .me
        case .map(let path):
            do {
                let bytes = try DirectoryPath.openFile(path.bytes, [.readOnly, .followLink]).readAll(limit: 16 << 20)
                return .map(try OwnerMap(parsing: bytes))
            } catch let error as Errno {
                throw HoldfastError(.notFound, "The table of owners \(path) cannot be read: \(error).", cause: error)
            }
        }
    }
}

extension RestoreRequest.Conflict: ArgumentParser.ExpressibleByArgument {}

extension RestoreProgress {
    /// As the display wants it.
    var view: Progress {
        var view = Progress(phase: "restoring")
        view.files = filesWritten.load(ordering: .relaxed) + filesUnchanged.load(ordering: .relaxed)
        view.bytes = bytesWritten.load(ordering: .relaxed) + bytesUnchanged.load(ordering: .relaxed)
        return view
    }
}
