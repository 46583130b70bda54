import Agent
import Glibc
import Model
import Platform
import Vault

/// The agent on this machine, asked for versions that lie here. Needs neither a vault nor root.
struct LocalAgent {
    /// A version of a path in the local history.
    struct Version {
        var sequence: Int64
        var time: Timestamp
        /// `nil` when the path was gone.
        var kind: EntryKind?
        var size: UInt64
        var isSent: Bool
        var mtime: FileTime?
        fileprivate var mode: UInt16
        fileprivate var content: String
    }

    private let directories: [[UInt8]]

    /// The agent that runs with the state directory, or else the machine's.
    init(_ global: GlobalOptions) throws {
        directories = [try global.stateDirectory()] + [LocalAgent.publicDirectory(makes: false)].compactMap { $0 }
    }

    /// Where everybody finds the machine's agent: what systemd says, else `/run/holdfast` for root's.
    static func publicDirectory(makes: Bool) -> [UInt8]? {
        if let named = System.environment("HOLDFAST_RUNTIME_DIRECTORY") ?? System.environment("RUNTIME_DIRECTORY") {
            return named
        }
        guard makes else { return AgentSocket.publicDirectory }
        guard geteuid() == 0 else { return nil }
        do throws(Errno) {
            try withCName(AgentSocket.publicDirectory) { (name) throws(Errno) in
                try FileSystem.makeDirectory(at: FileSystem.currentDirectory, name, mode: 0o755)
                try FileSystem.setMode(at: FileSystem.currentDirectory, name, 0o755)
            }
        } catch {
            guard error == .exists else { return nil }
        }
        return AgentSocket.publicDirectory
    }

    private func ask<R>(_ body: ([UInt8]) throws -> R) throws -> R {
        for directory in directories {
            do { return try body(directory) } catch let error as HoldfastError
                where error.code == .notFound && error.cause is Errno
            { continue }
        }
        throw HoldfastError(
            .usage, "Which vault? Name it with --vault LOCATION, or set HOLDFAST_VAULT once and for all.",
            context: ["hint": "Without one, the agent of this machine is asked for its local history; none runs here."])
    }

    /// The versions of a path, oldest first.
    func versions(of path: TreePath) throws -> [Version] {
        var pages: [[Version]] = []
        var question: [String: JSONValue] = [
            "command": .string("history"), "path": .string(Hex.encode(path.bytes)),
        ]
        while true {
            let answer = try ask { try AgentSocket.ask(question, state: $0) }
            let page = try answer.array("versions", atMost: 1_000_000).map { row in
                try LocalAgent.version(try JSONFields(row, document: "a version of the agent's answer"))
            }
            pages.append(page)
            guard try answer.boolean("more"), let first = page.first else { return pages.reversed().flatMap { $0 } }
            question["before"] = .integer(first.sequence)
        }
    }

    private static func version(_ row: JSONFields) throws -> Version {
        var version = Version(
            sequence: try row.integer("sequence", in: 1...Int64.max),
            time: Timestamp(nanoseconds: try row.integer("time", in: Int64.min...Int64.max)), kind: nil, size: 0,
            isSent: try row.boolean("sent"), mtime: nil, mode: 0, content: "")
        guard row.has("kind") else { return version }
        version.kind = EntryKind(rawValue: UInt8(try row.integer("kind", in: 1...255)))
        version.size = UInt64(try row.integer("size", in: 0...Int64.max))
        version.mode = UInt16(try row.integer("mode", in: 0...0o7777))
        version.mtime = FileTime(
            seconds: try row.integer("seconds", in: Int64.min...Int64.max),
            nanoseconds: UInt32(try row.integer("nanoseconds", in: 0...999_999_999)))
        version.content = try row.string("content")
        return version
    }

    // MARK: Commands

    /// `holdfast versions` without a vault.
    func show(_ path: TreePath, _ console: Console) throws -> ExitStatus {
        let versions = try versions(of: path)
        guard !versions.isEmpty else {
            throw HoldfastError(
                .notFound,
                "The history on this machine, of the last days, has no version of \(path.displayText) that you may see.",
                context: ["path": path.displayText, "hint": "The vault may have more: name it with --vault."])
        }
        var table = Table(("time", .left), ("what changed", .left), ("size", .right), ("kept", .left))
        var before: Version?
        for version in versions {
            let change = LocalAgent.change(from: before, to: version)
            before = version
            let kept = version.isSent ? "here and in the vault" : "here, to be sent"
            var fields: [String: JSON] = [
                "time": .time(version.time), "change": .string(change), "size": .count(version.size),
                "sent": .bool(version.isSent),
            ]
            fields.setPath("path", path)
            if let mtime = version.mtime {
                fields["mtime"] = .time(Timestamp(seconds: mtime.seconds, nanoseconds: Int64(mtime.nanoseconds)))
            }
            try console.emit("version", fields)
            table.add(
                TimeText.local(version.time, in: console.zone), change,
                version.kind == nil ? "" : Units.size(version.size), kept)
        }
        if console.isJSON { return .done }
        try console.line("\(path.displayText) on this machine (times in \(console.zone.identifier))")
        try console.table(table)
        return .done
    }

    private static func change(from before: Version?, to after: Version) -> String {
        guard after.kind != nil else { return "removed" }
        guard let before, before.kind != nil else { return before == nil ? "changed" : "added" }
        if before.kind != after.kind { return "type" }
        return before.content != after.content || before.size != after.size ? "content" : "metadata"
    }

    /// `holdfast restore PATH@TIME --to DIR` without a vault: the version of that time, with the rights of whoever asks.
    func restore(_ path: TreePath, at selector: PointSelector, to directory: [UInt8], _ console: Console) throws
        -> ExitStatus
    {
        let versions = try versions(of: path)
        let chosen: Version?
        switch selector {
        case .latest: chosen = versions.last { $0.kind != nil }
        case .time(let time): chosen = versions.last { $0.time <= time.end }
        case .prefix:
            throw HoldfastError(.usage, "A point is looked for in a vault: name it with --vault. Here a time does.")
        }
        guard let chosen, let mtime = chosen.mtime else {
            let oldest = versions.first.map { " The oldest here is of \(TimeText.local($0.time, in: console.zone))." }
            throw HoldfastError(
                .notFound,
                "The history on this machine has no version of \(path.displayText) from then that you may see."
                    + (oldest ?? ""),
                context: ["path": path.displayText, "hint": "The vault may have more: name it with --vault."])
        }
        try fetch(path, chosen, mtime, to: directory)
        var fields: [String: JSON] = ["time": .time(chosen.time), "size": .count(chosen.size)]
        fields.setPath("path", path)
        fields.setBytes("destination", directory)
        try console.emit("restored_version", fields)
        if !console.isJSON {
            try console.line(
                "Restored \(path.displayText) of \(TimeText.local(chosen.time, in: console.zone)), "
                    + "\(Units.size(chosen.size)), to \(TreePath.display(directory))\(path.displayText), "
                    + "from the history on this machine.")
        }
        return .done
    }

    /// Writes below the directory under the path's full name; what stands there already stays.
    private func fetch(_ path: TreePath, _ version: Version, _ mtime: FileTime, to directory: [UInt8]) throws {
        let name = Array(path.name)
        let place = try LocalAgent.place(path, directory)
        let question: [String: JSONValue] = [
            "command": .string("read"), "path": .string(Hex.encode(path.bytes)), "sequence": .integer(version.sequence),
        ]
        let part = Array(".holdfast-\(UInt64.random(in: 0 ... .max)).part".utf8)
        var link: [UInt8] = []
        do {
            let file = try withCName(part) { (name) throws(Errno) in
                try FileDescriptor.open(at: place.raw, name, [.writeOnly, .create, .exclusive], mode: 0o600)
            }
            try ask { directory in
                try AgentSocket.stream(question, directory: directory) { bytes in
                    if version.kind == .symbolicLink { link += Array(bytes) } else { try file.writeAll(bytes) }
                }
            }
            if version.kind == .symbolicLink {
                try withCName(name) { (name) throws(Errno) in
                    try withCName(link) { (link) throws(Errno) in
                        try FileSystem.makeSymbolicLink(to: link, at: place.raw, name)
                    }
                }
                try withCName(part) { (name) throws(Errno) in try FileSystem.remove(at: place.raw, name) }
            } else {
                try FileSystem.setMode(descriptor: file.raw, version.mode & 0o777)
                try file.sync()
                try withCName(part) { (part) throws(Errno) in
                    try FileSystem.setTimes(
                        at: place.raw, part,
                        modified: FileInstant(seconds: mtime.seconds, nanoseconds: mtime.nanoseconds))
                    try withCName(name) { (name) throws(Errno) in
                        try FileSystem.rename(at: place.raw, part, to: place.raw, name, .keep)
                    }
                }
            }
        } catch {
            try? withCName(part) { (name) throws(Errno) in try FileSystem.remove(at: place.raw, name) }
            if let errno = error as? Errno { throw LocalAgent.failure(path, directory, errno) }
            throw error
        }
    }

    private static func place(_ path: TreePath, _ directory: [UInt8]) throws -> FileDescriptor {
        do throws(Errno) { return try makePlace(path, directory) } catch { throw failure(path, directory, error) }
    }

    /// The directory for a path below another one, made as far as it is not there, for nobody else: what was private by the
    /// directories above it stays so. Throws `exists` when the path is there.
    private static func makePlace(_ path: TreePath, _ directory: [UInt8]) throws(Errno) -> FileDescriptor {
        do throws(Errno) {
            try withCName(directory) { (name) throws(Errno) in
                try FileSystem.makeDirectory(at: FileSystem.currentDirectory, name, mode: 0o700)
            }
        } catch { if error != .exists { throw error } }
        let target = try DirectoryPath.open(directory)
        let place = try DirectoryPath.makeDirectories(path.parent?.bytes ?? [], beneath: target.raw, mode: 0o700)
        let number = place.raw
        let isThere = try withCName(Array(path.name)) { (name) throws(Errno) in
            try FileSystem.statusIfAny(at: number, name) != nil
        }
        if isThere { throw .exists }
        return place
    }

    private static func failure(_ path: TreePath, _ directory: [UInt8], _ error: Errno) -> HoldfastError {
        if error == .exists {
            return HoldfastError(
                .exists,
                "\(TreePath.display(directory))\(path.displayText) is there already; nothing was changed.",
                context: ["hint": "Name another directory with --to."])
        }
        return HoldfastError(
            error.isNoSpace ? .noSpace : error.isDenied ? .denied : .io,
            "\(path.displayText) cannot be restored to \(TreePath.display(directory)): \(error).", cause: error)
    }
}
