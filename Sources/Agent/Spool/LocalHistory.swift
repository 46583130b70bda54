package import Catalog
package import Model
import Platform
package import Vault

/// The versions of the last days that lie on this machine: shown to whoever could read them when they were captured.
package final class LocalHistory: Sendable {
    private let spool: Spool
    private let secret: DomainSecret

    package init(spool: Spool, secret: DomainSecret) {
        self.spool = spool
        self.secret = secret
    }

    /// The versions of a path, oldest first, as far as `person` may see them. When it went away is seen by who could read a
    /// version of it.
    package func versions(
        of path: TreePath, for person: LocalPerson = LocalPerson(uid: 0, gid: 0, groups: [])
    ) throws -> [SpoolVersion] {
        var sees = false
        return try spool.index.versions(of: path).filter { version in
            guard let entry = version.entry else { return sees || person.isRoot }
            sees = try PathAccess(decoding: version.access).permits(entry.entry, to: person)
            return sees
        }
    }

    /// One version. Throws `notFound` when there is none that `person` may see.
    package func version(of path: TreePath, sequence: Int64, for person: LocalPerson) throws -> SpoolVersion {
        guard let found = try versions(of: path, for: person).first(where: { $0.sequence == sequence }) else {
            throw HoldfastError(.notFound, "The history on this machine has no such version of \(path.displayText).")
        }
        return found
    }

    /// Streams the content of a regular file; see `EntryContents.read`. Throws `damaged` when a part of it is not on this machine.
    package func read(_ entry: Entry, _ body: (UnsafeRawBufferPointer) throws -> Bool) throws {
        let contents = EntryContents(source: spool, checker: ContentChecker(secrets: [secret]))
        do { try contents.read(entry, body) } catch let error as HoldfastError where error.code == .damaged {
            throw HoldfastError(
                .damaged,
                "A part of this version is not kept on this machine any more; restore it from the vault.", cause: error)
        }
    }
}

// MARK: Through the agent's socket

extension LocalHistory {
    /// Versions in one answer: the newest before the one that the question names.
    private static let page = 2_000

    /// Answers `history` and `read`; `nil` for other questions.
    package func answer(_ question: JSONFields, _ person: LocalPerson) throws -> AgentSocket.Reply? {
        switch try question.string("command") {
        case "history":
            let path = try LocalHistory.path(question)
            let before = question.has("before") ? try question.integer("before", in: 1...Int64.max) : .max
            let all = try versions(of: path, for: person).filter { $0.sequence < before }
            let page = all.suffix(LocalHistory.page)
            return .fields([
                "versions": .array(page.map(LocalHistory.row)), "more": .bool(page.count < all.count),
            ])
        case "read":
            let path = try LocalHistory.path(question)
            let sequence = try question.integer("sequence", in: 1...Int64.max)
            let version = try version(of: path, sequence: sequence, for: person)
            guard let entry = version.entry?.entry else {
                throw HoldfastError(.notFound, "\(path.displayText) was gone at that time.")
            }
            guard entry.kind == .regular || entry.kind == .symbolicLink else {
                throw HoldfastError(
                    .unsupported,
                    "\(path.displayText) is no file; the history on this machine gives back files. Name a vault for others."
                )
            }
            guard case .object(var fields) = LocalHistory.row(version) else { return nil }
            let length = entry.kind == .symbolicLink ? UInt64(entry.target.count) : entry.size
            fields["length"] = .integer(Int64(clamping: length))
            return .stream(fields) { [self] write in
                if entry.kind == .symbolicLink {
                    try entry.target.withUnsafeBytes { try write($0) }
                } else {
                    try read(entry) {
                        try write($0)
                        return true
                    }
                }
            }
        default: return nil
        }
    }

    private static func path(_ question: JSONFields) throws -> TreePath {
        guard let bytes = Hex.decode(try question.string("path")), let path = TreePath(normalizing: bytes) else {
            throw HoldfastError(.usage, "The question names no path.")
        }
        return path
    }

    private static func row(_ version: SpoolVersion) -> JSONValue {
        var row: [String: JSONValue] = [
            "sequence": .integer(version.sequence), "time": .integer(version.time.nanoseconds),
            "sent": .bool(version.isSent),
        ]
        if let entry = version.entry?.entry {
            row["kind"] = .integer(Int64(entry.kind.rawValue))
            row["size"] = .integer(Int64(clamping: entry.size))
            row["mode"] = .integer(Int64(entry.mode))
            row["seconds"] = .integer(entry.mtime.seconds)
            row["nanoseconds"] = .integer(Int64(entry.mtime.nanoseconds))
            // What tells whether content changed from one to the next.
            row["content"] = .string(String(entry.content.hashValue))
        }
        return .object(row)
    }
}
