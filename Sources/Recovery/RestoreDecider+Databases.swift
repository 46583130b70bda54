import Model
import Platform

/// Logs of SQLite beside a database that is given back.
///
/// A database is captured as of one moment with what was committed in its log, and without that (docs/decisions/0060-databases.md).
/// A log of another moment that lies beside it afterwards would be played into it at the next opening and damage it, or take back
/// what was restored.
extension RestoreDecider {
    private static let logEndings = ["-wal", "-journal", "-shm"]
    /// The first bytes of a write-ahead log, in both orders of bytes, and of a journal that is to be rolled back
    /// (https://www.sqlite.org/fileformat2.html).
    private static let magics: [[UInt8]] = [
        [0x37, 0x7F, 0x06, 0x82], [0x37, 0x7F, 0x06, 0x83], [0xD9, 0xD5, 0x05, 0xF9, 0x20, 0xA1, 0x63, 0xD7],
    ]
    /// Databases are whole pages, and no page is smaller.
    private static let smallestPage: UInt64 = 512

    /// Removes logs beside what may be a database, that are not of the point.
    ///
    /// - Returns: `false` when one is there that must not be removed: then the database is not to be replaced either.
    func clearLogs(beside name: TerminatedName, _ entry: Entry, in directory: RestoreDirectory) throws -> Bool {
        guard entry.kind == .regular, entry.size >= Self.smallestPage, entry.size % Self.smallestPage == 0 else {
            return true
        }
        let handle = try directory.handle()
        var isLogged = false
        for ending in Self.logEndings {
            let log = TerminatedName(Array(name.name) + Array(ending.utf8))
            let status = try log.withPointer { (pointer) throws(Errno) in
                try FileSystem.statusIfAny(at: handle.raw, pointer)
            }
            guard let status, status.kind == .regular else { continue }
            // The index of the log has no mark of its own; it goes with it.
            guard ending == "-shm" ? isLogged : Self.isLog(log, at: handle.raw) else { continue }
            let path = TreePath(unchecked: directory.sourcePath(log.name))
            guard try pointEntry(of: path) == nil else { continue }
            try remove(log, in: directory)
            let isThere = try log.withPointer { (pointer) throws(Errno) in
                try FileSystem.statusIfAny(at: handle.raw, pointer) != nil
            }
            if isThere { return false }
            isLogged = true
        }
        return true
    }

    private static func isLog(_ name: TerminatedName, at directory: Int32) -> Bool {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 8, alignment: 8)
        defer { buffer.deallocate() }
        let count = try? name.withPointer { (pointer) throws(Errno) in
            try FileDescriptor.open(at: directory, pointer, [.readOnly, .nonBlocking]).readFully(into: buffer, at: 0)
        }
        let start = Array(buffer.prefix(count ?? 0))
        return magics.contains { start.starts(with: $0) }
    }
}
