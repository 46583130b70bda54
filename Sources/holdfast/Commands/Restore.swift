import ArgumentParser
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
        usage: "holdfast restore <point> [<path> ...] (--to <dir> | --in-place) [<options>]",
        discussion: """
            --to DIR puts every path below DIR under its full path: DIR/etc/fstab. --in-place puts them where they were. What is \
            there already with the same content is left alone, so an interrupted restore goes on where it ended, and bringing \
            a directory back takes as long as what changed in it. No symbolic link in the destination is ever followed.

            \(PointHelp.text)

            Where a name is taken by something else, --conflict says what happens: `rename` puts the point's beside it, `always` \
            replaces, `never` leaves what is there, `newer` replaces what is older.

            Examples:
              holdfast restore latest /etc/fstab --to /tmp/restored
              holdfast restore @yesterday /home/ann/thesis --in-place
              holdfast restore 3fa9 --to /mnt/new-disk --owner numbers
              holdfast restore @"10 minutes ago" /srv/www --in-place --delete
            """
    )

    @Argument(help: ArgumentHelp("Which point.", valueName: "point"))
    var point: String
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
    @Option(
        help: ArgumentHelp(
            "Whose the files are: names (a living system), numbers (a new one), me, or map:FILE.", valueName: "owners"))
    var owner = OwnerArgument.names
    @Flag(help: "Read everything that was written back and compare it with the vault.")
    var verify = false
    @OptionGroup var machine: MachineOptions
    @OptionGroup var location: VaultOptions
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if (to == nil) == !inPlace { throw ValidationError("Say where to: either --to DIR or --in-place.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location)
        let chosen = try session.point(point, machine: machine.machine, global)
        let reader = try session.open(chosen, try session.keys(passphrase))
        defer { reader.close() }

        var request = RestoreRequest(
            paths: paths.isEmpty ? [.root] : try paths.map { try $0.treePath() },
            destination: to.map { .directory($0.bytes) } ?? .inPlace)
        request.conflict = conflict
        request.deleteExtra = delete
        request.owners = try owner.policy()
        request.verify = verify
        request.untouchable = [session.path, try global.stateDirectory()].compactMap { TreePath(normalizing: $0) }
        let restorer = Restorer(reader: reader, request: request)
        let progress = restorer.progress
        let entries = reader.record.statistics.entries
        let report = try Watch.run(
            console, progress: { progress.view(ofEntries: paths.isEmpty ? entries : nil) },
            stop: { progress.stopRequested.store(true, ordering: .relaxed) },
            { try restorer.run() })
        try RestoreView.show(report, point: chosen, request, console)
        return report.issueCounts.isEmpty ? .done : .warnings
    }
}

/// What a restore did, for people and programs.
enum RestoreView {
    static func show(
        _ report: RestoreReport, point: PointSummary, _ request: RestoreRequest, _ console: Console
    ) throws {
        for issue in report.issues {
            var fields: [String: JSON] = ["kind": .string(issue.kind.rawValue), "text": .string(issue.text)]
            fields.setPath("path", TreePath(unchecked: issue.path))
            try console.emit("issue", fields)
        }
        var fields: [String: JSON] = [
            "point": .id(point.id), "entries": .count(report.entries), "files_written": .count(report.filesWritten),
            "bytes_written": .count(report.bytesWritten), "files_unchanged": .count(report.filesUnchanged),
            "bytes_unchanged": .count(report.bytesUnchanged), "others_written": .count(report.othersWritten),
            "metadata_only": .count(report.metadataOnly), "removed": .count(report.removed),
            "kept": .count(report.kept), "renamed": .count(report.renamed), "verified": .count(report.verified),
            "milliseconds": .count(report.milliseconds), "issues": .count(report.issueCounts.values.reduce(0, +)),
            "peak_memory": .count(ProcessLimits.peakMemory),
        ]
        fields.setBytes("destination", request.destination.root)
        try console.emit("restore", fields)
        if console.isJSON { return }

        let nanoseconds = report.milliseconds * 1_000_000
        let place = request.isInPlace ? "in place" : "to \(TreePath.display(request.destination.root))"
        try console.line(
            "Restored \(Units.count(report.filesWritten, "file")), \(Units.size(report.bytesWritten)) and "
                + "\(Units.count(report.othersWritten)) directories, links and devices \(place) in \(Units.span(nanoseconds: nanoseconds))"
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
        showOwners(report, console)
        let count = report.issueCounts.values.reduce(0, +)
        guard count > 0 else { return }
        console.note(console.coloured("\(Units.count(count, "warning")):", .yellow))
        for issue in report.issues.prefix(20) {
            let path = issue.path.isEmpty ? "" : TreePath(unchecked: issue.path).displayText + ": "
            console.note("  \(path)\(TreePath.display(issue.text.utf8))")
        }
        if count > min(report.issues.count, 20) {
            console.note("  ... and \(Units.count(count - min(report.issues.count, 20))) more; --json lists them.")
        }
    }

    private static func showOwners(_ report: RestoreReport, _ console: Console) {
        for (kind, owners) in [("user", report.unknownUsers), ("group", report.unknownGroups)] where !owners.isEmpty {
            let list = owners.prefix(8).map { "\(TreePath.display($0.name)) (\($0.number))" }.joined(separator: ", ")
            console.note(
                "This machine does not know the \(kind)\(owners.count == 1 ? "" : "s") \(list)"
                    + (owners.count > 8 ? " and \(owners.count - 8) more" : "") + "; their numbers were used.")
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
    func view(ofEntries total: UInt64?) -> Progress {
        var view = Progress(phase: "restoring")
        view.files = filesWritten.load(ordering: .relaxed) + filesUnchanged.load(ordering: .relaxed)
        view.bytes = bytesWritten.load(ordering: .relaxed) + bytesUnchanged.load(ordering: .relaxed)
        return view
    }
}
