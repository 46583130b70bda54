import ArgumentParser
import Model
import Vault

/// `holdfast diff`
struct Diff: Command {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "What changed from one point to another, and what it weighs.",
        usage: "holdfast diff <from> <to> [<path>] [<options>]",
        discussion: """
            Marks: + added, - removed, M content changed, T became something else, m only metadata (owner, mode, time, \
            attributes) changed. The work grows with the difference, not with the size of the points.

            \(PointHelp.text)

            Examples:
              holdfast diff @yesterday latest
              holdfast diff 3fa9 latest /etc
            """
    )

    @Argument(help: ArgumentHelp("The older point.", valueName: "from"))
    var from: String
    @Argument(help: ArgumentHelp("The newer point.", valueName: "to"))
    var to: String
    @Argument(help: ArgumentHelp("Only at and below this path.", valueName: "path"))
    var path: PathArgument?
    @Flag(help: "Leave out what changed in its metadata only.")
    var contentOnly = false
    @OptionGroup var machine: MachineOptions
    @OptionGroup var location: VaultOptions
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var trust: TrustOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let wanted = try path?.treePath() ?? .root
        let older = try session.point(
            from, machine: machine.machine, global, covering: [wanted], keys: { try session.opener(passphrase) })
        let newer = try session.point(
            to, machine: machine.machine, global, covering: [wanted], keys: { try session.opener(passphrase) })
        let keys = try session.opener(passphrase)
        let before = try session.open(older, keys, trust)
        defer { before.close() }
        let after = try session.open(newer, keys, trust)
        defer { after.close() }

        if try before.entry(of: wanted) == nil, try after.entry(of: wanted) == nil {
            throw HoldfastError(.notFound, "\(wanted.displayText) is in neither of the two points.")
        }
        var weight = DiffWeight()
        try TreeDiff.diff(before.tree, after.tree, below: wanted) { change in
            try Stop.check()
            let kind = try weight.add(change, before.tree, after.tree)
            if contentOnly, kind == .metadata { return true }
            try show(change, kind, console)
            return true
        }
        try show(weight, older, newer, console)
        return .done
    }

    private func show(_ change: TreeDiff.Change, _ kind: ChangeKind, _ console: Console) throws {
        let path = try change.path()
        let before = try change.before?.head()
        let after = try change.after?.head()
        if console.isJSON {
            var fields: [String: JSON] = ["change": .string(kind.title)]
            fields.setPath("path", path)
            if let before { fields["before"] = Diff.fields(before) }
            if let after { fields["after"] = Diff.fields(after) }
            try console.emit("change", fields)
            return
        }
        let isDirectory = (after ?? before)?.kind == .directory
        let text = "\(kind.mark) \(path.displayText)\(isDirectory && !path.isRoot ? "/" : "")"
        let style: Style =
            switch kind {
            case .added: .green
            case .removed: .red
            case .content, .type: .yellow
            case .metadata: .dim
            }
        try console.line(console.styled(text, style))
    }

    private static func fields(_ head: TreeItem.Head) -> JSON {
        .object([
            "kind": .string(head.kind.title), "size": .count(head.size), "mtime": .time(head.mtime.timestamp),
            "mode": .string(String(head.mode, radix: 8)),
        ])
    }

    private func show(_ weight: DiffWeight, _ older: PointSummary, _ newer: PointSummary, _ console: Console) throws {
        try console.emit(
            "diff",
            [
                "from": .id(older.id), "to": .id(newer.id), "added": .count(weight.added),
                "removed": .count(weight.removed), "content": .count(weight.content), "types": .count(weight.types),
                "metadata": .count(weight.metadata), "added_bytes": .count(weight.addedBytes),
                "removed_bytes": .count(weight.removedBytes), "changed_bytes": .count(weight.changedBytes),
            ])
        try console.line(
            "\(older.shortID) -> \(newer.shortID): \(Units.count(weight.added)) added (\(Units.size(weight.addedBytes))), "
                + "\(Units.count(weight.removed)) removed (\(Units.size(weight.removedBytes))), "
                + "\(Units.count(weight.content)) changed (\(Units.size(weight.changedBytes)) of new content)"
                + (weight.types > 0 ? ", \(Units.count(weight.types)) became something else" : "")
                + ", \(Units.count(weight.metadata)) in metadata only.")
    }
}

/// How a path differs.
enum ChangeKind {
    case added, removed, content, type, metadata

    var mark: String {
        switch self {
        case .added: "+"
        case .removed: "-"
        case .content: "M"
        case .type: "T"
        case .metadata: "m"
        }
    }

    var title: String {
        switch self {
        case .added: "added"
        case .removed: "removed"
        case .content: "content"
        case .type: "type"
        case .metadata: "metadata"
        }
    }
}

/// Counts changes and what they weigh.
struct DiffWeight {
    var added: UInt64 = 0
    var removed: UInt64 = 0
    var content: UInt64 = 0
    var types: UInt64 = 0
    var metadata: UInt64 = 0
    var addedBytes: UInt64 = 0
    var removedBytes: UInt64 = 0
    /// Bytes of changed files that lie in other blobs than before.
    var changedBytes: UInt64 = 0

    /// Counts one change and says what kind it is.
    mutating func add(_ change: TreeDiff.Change, _ before: TreeReader, _ after: TreeReader) throws -> ChangeKind {
        guard let old = change.before else {
            added += 1
            addedBytes &+= try change.after?.head().size ?? 0
            return .added
        }
        guard let new = change.after else {
            removed += 1
            removedBytes &+= try old.head().size
            return .removed
        }
        let oldEntry = try old.entry()
        let newEntry = try new.entry()
        if oldEntry.kind != newEntry.kind {
            types += 1
            return .type
        }
        if oldEntry.content == newEntry.content, oldEntry.size == newEntry.size, oldEntry.target == newEntry.target {
            metadata += 1
            return .metadata
        }
        content += 1
        changedBytes &+= try DiffWeight.newBytes(oldEntry, before, newEntry, after)
        return .content
    }

    /// Bytes of the new content that are not slices of blobs that the old content has.
    private static func newBytes(
        _ old: Entry, _ before: TreeReader, _ new: Entry, _ after: TreeReader
    ) throws -> UInt64 {
        var known: Set<Extent> = []
        // A file of so many pieces is weighed by its length alone: memory stays small.
        let limit = 1 << 18
        try before.extents(of: old) { extent, _ in
            known.insert(extent)
            return known.count < limit
        }
        var bytes: UInt64 = 0
        try after.extents(of: new) { extent, _ in
            if extent.key != nil, !known.contains(extent) { bytes &+= extent.length }
            return true
        }
        return bytes
    }
}
