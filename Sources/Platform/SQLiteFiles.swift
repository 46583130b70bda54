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
    /// What a write-ahead log begins with but for its last bit, and the version of those that are known here.
    package static let logMagic: UInt32 = 0x377F_0682
    package static let logVersion: UInt32 = 3_007_000
    package static let logHeaderLength = 32
    /// More pages of a log are not read: 4 GB of the smallest usual ones.
    package static let maximumFrames = 1 << 20
    /// The index of a log comes in pieces of so many bytes.
    private static let indexPiece: UInt64 = 32 << 10
    /// Databases are whole pages, and no page is smaller, in bytes.
    package static let smallestPage: UInt64 = 512

    /// Whether a file of a size can be a database, encrypted ones too.
    package static func mayBeDatabase(size: UInt64) -> Bool { size >= smallestPage && size % smallestPage == 0 }

    /// Whether a file is by its name and size the index of a log, which is made anew whenever it is needed.
    package static func isIndex(_ name: some Collection<UInt8>, size: UInt64) -> Bool {
        name.suffix(4).elementsEqual(endings[2]) && size > 0 && size % indexPiece == 0
    }

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

    /// Whether a write-ahead log is of a version that is not known here, as `wal2`.
    package static func isUnknownLog(at directory: Int32, _ name: [UInt8]) -> Bool {
        guard let header = start(at: directory, name, length: logHeaderLength), header.count == logHeaderLength else {
            return false
        }
        return big(header, 0) & ~1 == logMagic && big(header, 4) != logVersion
    }

    /// Whether a write-ahead log goes on after the last page that is read of one: then nothing that is read of its database
    /// has what is committed in it.
    package static func isTooLong(at directory: Int32, _ name: [UInt8]) -> Bool {
        guard let header = start(at: directory, name, length: logHeaderLength), header.count == logHeaderLength,
            big(header, 0) & ~1 == logMagic
        else { return false }
        let frame = UInt64(24) + UInt64(big(header, 8))
        let last = UInt64(logHeaderLength) + UInt64(maximumFrames) * frame
        guard let next = start(at: directory, name, length: 24, from: last), next.count == 24 else { return false }
        // What was in it before it was begun anew has other salts.
        return big(next, 0) != 0 && next[8..<16] == header[16..<24]
    }

    private static func big(_ bytes: [UInt8], _ offset: Int) -> UInt32 {
        bytes[offset..<(offset + 4)].reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// Whether a file with the name of one beside a database lies there.
    package static func hasCompany(at directory: Int32, _ name: [UInt8]) -> Bool {
        endings.contains { ending in
            let status = try? withCName(name + ending) { (pointer) throws(Errno) in
                try FileSystem.status(at: directory, pointer)
            }
            return status?.kind == .regular
        }
    }

    /// Whether a program has a database open, as far as its locks tell: one with a log has them for as long as it is open,
    /// one without while it reads or writes. What a program only reads is waited for, up to half a second, and what this
    /// program reads itself, for as long as it holds a database that nobody has open, and a little longer.
    package static func isInUse(at directory: Int32, _ name: [UInt8]) -> Bool {
        if let index = open(at: directory, name + endings[2]),
            (try? index.othersLock(on: Place.users)) ?? OthersLock.none != OthersLock.none
        {
            return true
        }
        guard let file = open(at: directory, name) else { return false }
        var (readings, holdings) = (0, 0)
        while readings < longestReading, holdings < longestHolding {
            switch (try? file.othersLock(on: Place.any)) ?? .none {
            case .none: return false
            case .writing: return true
            case .reading: readings += 1
            case .holding: holdings += 1
            }
            SystemClock.pause(milliseconds: 50)
        }
        return true
    }

    /// In twentieths of a second.
    private static let longestReading = 10
    private static let longestHolding = 70

    private static func open(at directory: Int32, _ name: [UInt8]) -> FileDescriptor? {
        do throws(Errno) {
            let file = try withCName(name) { (pointer) throws(Errno) in
                try FileDescriptor.openForReading(at: directory, pointer)
            }
            if try file.status().kind != .regular { return nil }
            return file
        } catch { return nil }
    }

    private static func start(
        at directory: Int32, _ name: [UInt8], length: Int, from offset: UInt64 = 0
    ) -> [UInt8]? {
        guard let file = open(at: directory, name) else { return nil }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: length, alignment: 8)
        defer { buffer.deallocate() }
        return (try? file.readFully(into: buffer, at: offset)).map { Array(buffer[..<$0]) }
    }
}
