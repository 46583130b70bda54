import ArgumentParser
import Model
import Vault

/// `holdfast ls`
struct Ls: Command {
    static let configuration = CommandConfiguration(
        commandName: "ls",
        abstract: "List what a point holds.",
        usage: "holdfast ls <point> [<path>] [<options>]",
        discussion: """
            \(PointHelp.text)

            Examples:
              holdfast ls latest /etc
              holdfast ls @yesterday /home/ann --long
              holdfast ls 3fa9 --recursive --json
            """
    )

    @Argument(help: ArgumentHelp("Which point.", valueName: "point"))
    var point: String
    @Argument(help: ArgumentHelp("A directory or file in it. (default: the root)", valueName: "path"))
    var path: PathArgument?
    @Flag(name: .shortAndLong, help: "Show kind, mode, owner, size and time.")
    var long = false
    @Flag(name: .shortAndLong, help: "Everything below, too.")
    var recursive = false
    @OptionGroup var machine: MachineOptions
    @OptionGroup var location: VaultOptions
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var trust: TrustOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let wanted = try path?.treePath() ?? .root
        let chosen = try session.point(
            point, machine: machine.machine, global, covering: [wanted], keys: { try session.opener(passphrase) })
        let reader = try session.open(chosen, try session.opener(passphrase), trust)
        defer { reader.close() }
        let resolved = try reader.resolve(wanted.bytes)
        let view = EntryView(console: console, isLong: long)
        if resolved.entry.kind != .directory {
            try view.show(resolved.path, resolved.entry, as: resolved.path.displayText)
        } else if recursive {
            let prefix = resolved.path.subtreePrefix
            try reader.tree.scan(from: prefix, prefix: prefix) { item in
                try Stop.check()
                let path = try item.path()
                if path.isRoot { return true }
                try view.show(path, try item.entry(), as: path.displayText)
                return true
            }
        } else {
            try reader.tree.list(resolved.path) { item in
                try Stop.check()
                try view.show(try item.path(), try item.entry(), as: TreePath.display(item.name))
                return true
            }
        }
        return .done
    }
}

/// Shows entries as lines or objects.
struct EntryView {
    let console: Console
    let isLong: Bool

    func show(_ path: TreePath, _ entry: Entry, as name: String) throws {
        if console.isJSON {
            try console.emit("entry", EntryView.fields(path, entry))
            return
        }
        var text = name
        if entry.kind == .directory { text = console.styled(name, .bold) + "/" }
        if isLong {
            if entry.kind == .symbolicLink { text += " -> \(TreePath.display(entry.target))" }
            if entry.remarks.contains(.contentMissing) { text += "  (content could not be read)" }
            if entry.remarks.contains(.fuzzy) { text += "  (changed while it was read)" }
            if entry.remarks.contains(.ancestor) { text += "  (only what was protected below it)" }
            text =
                "\(EntryView.mode(entry)) \(EntryView.owner(entry)) \(EntryView.size(entry)) "
                + "\(TimeText.localMinute(entry.mtime.timestamp, in: console.zone))  \(text)"
        }
        try console.line(text)
    }

    static func fields(_ path: TreePath, _ entry: Entry) -> [String: JSON] {
        var fields: [String: JSON] = [
            "kind": .string(entry.kind.title), "mode": .string(String(entry.mode, radix: 8)), "uid": .count(entry.uid),
            "gid": .count(entry.gid), "size": .count(entry.size), "mtime": .time(entry.mtime.timestamp),
        ]
        fields.setPath("path", path)
        if !entry.user.isEmpty { fields.setBytes("user", entry.user) }
        if !entry.group.isEmpty { fields.setBytes("group", entry.group) }
        if entry.kind == .symbolicLink { fields.setBytes("target", entry.target) }
        if let group = entry.linkGroup { fields["inode"] = .count(group.inode) }
        if entry.kind == .characterDevice || entry.kind == .blockDevice {
            fields["device"] = .string("\(entry.device >> 32):\(entry.device & 0xFFFF_FFFF)")
        }
        if !entry.attributes.isEmpty {
            fields["attributes"] = .strings(
                entry.attributes.map { JSON.text(of: $0.name) })
        }
        if entry.flags != 0 { fields["flags"] = .count(entry.flags) }
        if entry.remarks.contains(.fuzzy) { fields["changed_while_read"] = .bool(true) }
        if entry.remarks.contains(.contentMissing) { fields["content_missing"] = .bool(true) }
        if entry.remarks.contains(.ancestor) { fields["ancestor"] = .bool(true) }
        return fields
    }

    /// `drwxr-xr-x`, as `ls` writes it; `+` when there are access control lists.
    static func mode(_ entry: Entry) -> String {
        var text: String =
            switch entry.kind {
            case .regular: "-"
            case .directory: "d"
            case .symbolicLink: "l"
            case .characterDevice: "c"
            case .blockDevice: "b"
            case .fifo: "p"
            case .socket: "s"
            }
        for (shift, special, letters) in [(6, 0o4000, ("s", "S")), (3, 0o2000, ("s", "S")), (0, 0o1000, ("t", "T"))] {
            let bits = Int(entry.mode) >> shift
            text += bits & 4 != 0 ? "r" : "-"
            text += bits & 2 != 0 ? "w" : "-"
            let runs = bits & 1 != 0
            if Int(entry.mode) & special != 0 {
                text += runs ? letters.0 : letters.1
            } else {
                text += runs ? "x" : "-"
            }
        }
        let hasList = entry.attributes.contains { $0.name.starts(with: "system.posix_acl".utf8) }
        return text + (hasList ? "+" : " ")
    }

    private static func owner(_ entry: Entry) -> String {
        let user = entry.user.isEmpty ? String(entry.uid) : TreePath.display(entry.user)
        let group = entry.group.isEmpty ? String(entry.gid) : TreePath.display(entry.group)
        let text = "\(user):\(group)"
        return text + String(repeating: " ", count: max(0, 16 - Table.width(text)))
    }

    private static func size(_ entry: Entry) -> String {
        let text =
            entry.kind == .characterDevice || entry.kind == .blockDevice
            ? "\(entry.device >> 32), \(entry.device & 0xFFFF_FFFF)"
            : entry.kind == .regular ? Units.size(entry.size) : "-"
        return String(repeating: " ", count: max(0, 8 - text.count)) + text
    }
}

extension EntryKind {
    var title: String {
        switch self {
        case .regular: "file"
        case .directory: "directory"
        case .symbolicLink: "symbolic-link"
        case .characterDevice: "character-device"
        case .blockDevice: "block-device"
        case .fifo: "fifo"
        case .socket: "socket"
        }
    }
}
