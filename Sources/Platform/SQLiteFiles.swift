/// What the programs that use an SQLite database agree about: the files beside it, their first bytes, and the ranges that they
/// lock (https://www.sqlite.org/fileformat2.html, https://www.sqlite.org/walformat.html).
package enum SQLiteFiles {
    private typealias OthersLock = FileDescriptor.OthersLock

    /// The bytes that are locked in a database (`os.h`), and in the index of its log (`wal.c`, `os_unix.c`).
    package enum Place {
        package static let pending: Range<UInt64> = 0x4000_0000..<0x4000_0001
        package static let reserved: Range<UInt64> = 0x4000_0001..<0x4000_0002
        package static let shared: Range<UInt64> = 0x4000_0002..<(0x4000_0002 + 510)
        /// All of the three.
        package static let any: Range<UInt64> = pending.lowerBound..<shared.upperBound
        /// Held by everybody who has the log's index open.
        package static let users: Range<UInt64> = 128..<129
    }

    /// What the names of the files beside a database have behind its own.
    package static let endings = ["-wal", "-journal", "-shm"].map { Array($0.utf8) }

    private static let magic = Array("SQLite format 3\0".utf8)
    /// The length of a database's header in bytes.
    private static let headerLength = 100
    /// The first bytes of a write-ahead log, in both orders of bytes, and of a journal that is to be rolled back.
    private static let logMagics: [[UInt8]] = [
        [0x37, 0x7F, 0x06, 0x82], [0x37, 0x7F, 0x06, 0x83], [0xD9, 0xD5, 0x05, 0xF9, 0x20, 0xA1, 0x63, 0xD7],
    ]
    /// Databases are whole pages, and no page is smaller, in bytes.
    private static let smallestPage: UInt64 = 512

    /// Whether a file of a size can be a database, encrypted ones too.
    package static func mayBeDatabase(size: UInt64) -> Bool { size >= smallestPage && size % smallestPage == 0 }

    /// The name of the database to which a file belongs by its own name.
    package static func database(of name: some Collection<UInt8>) -> [UInt8]? {
        for ending in endings where name.count > ending.count && name.suffix(ending.count).elementsEqual(ending) {
            return Array(name.dropLast(ending.count))
        }
        return nil
    }

    /// Whether a name is that of a regular file which begins as a database does.
    package static func isDatabase(at directory: Int32, _ name: [UInt8]) -> Bool {
        start(at: directory, name, length: headerLength).map { $0.count == headerLength && $0.starts(with: magic) }
            ?? false
    }

    /// Whether something lies in a log that the next program which opens the database would take to be of it.
    package static func isLog(at directory: Int32, _ name: [UInt8]) -> Bool {
        start(at: directory, name, length: 8).map { start in logMagics.contains { start.starts(with: $0) } } ?? false
    }

    /// Whether a program has a database open, as far as its locks tell: one with a log has them for as long as it is open,
    /// one without while it reads or writes. What is only read is waited for, up to half a second.
    package static func isInUse(at directory: Int32, _ name: [UInt8]) -> Bool {
        if let index = open(at: directory, name + endings[2]),
            (try? index.othersLock(on: Place.users)) ?? OthersLock.none != OthersLock.none
        {
            return true
        }
        guard let file = open(at: directory, name) else { return false }
        for attempt in 0..<10 {
            switch (try? file.othersLock(on: Place.any)) ?? .none {
            case .none: return false
            case .writing: return true
            case .reading: if attempt < 9 { SystemClock.pause(milliseconds: 50) }
            }
        }
        return true
    }

    private static func open(at directory: Int32, _ name: [UInt8]) -> FileDescriptor? {
        do throws(Errno) {
            let file = try withCName(name) { (pointer) throws(Errno) in
                try FileDescriptor.openForReading(at: directory, pointer)
            }
            if try file.status().kind != .regular { return nil }
            return file
        } catch { return nil }
    }

    private static func start(at directory: Int32, _ name: [UInt8], length: Int) -> [UInt8]? {
        guard let file = open(at: directory, name) else { return nil }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: length, alignment: 8)
        defer { buffer.deallocate() }
        return (try? file.readFully(into: buffer, at: 0)).map { Array(buffer[..<$0]) }
    }
}
