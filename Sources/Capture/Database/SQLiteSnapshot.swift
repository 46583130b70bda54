import Model
import Platform

/// An SQLite database as of one moment, read while programs use it.
///
/// What is read is the file with the committed pages of its write-ahead log over it: what a program would see that opened it now.
/// It is done with reading alone: nothing is made or written beside the database, no program waits for it, and no memory is
/// shared with programs (a shared index that is cut short would end this process). That nothing changed meanwhile is known in
/// one of two ways:
///
/// * without holding anything, by comparing before and after: the log was not begun anew and nothing was put from it into
///   the database; or no transaction was written (the counter in the header, under SQLite's own lock for reading);
/// * holding what a reading program holds, for a limited time: see `SQLiteHold`.
///
/// See docs/decisions/0060-databases.md.
final class SQLiteSnapshot {
    /// What the first bytes of a database say.
    private struct Header {
        static let length = 100
        private static let magic = Array("SQLite format 3\0".utf8)

        /// Goes on with each transaction that is written into the file.
        let changes: UInt32

        init?(reading file: borrowing FileDescriptor) throws(Errno) {
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Header.length, alignment: 8)
            defer { buffer.deallocate() }
            guard try file.readFully(into: buffer, at: 0) == Header.length,
                buffer[..<Header.magic.count].elementsEqual(Header.magic)
            else { return nil }
            changes = UInt32(bigEndian: buffer.loadUnaligned(fromByteOffset: 24, as: UInt32.self))
        }
    }

    /// How long programs may be hindered: from committing where there is no log, from emptying the log where there is one.
    private static let longestShare: Int64 = 2_000_000_000
    private static let longestLogHold: Int64 = 60_000_000_000

    let file: DirectoryHandle
    let size: UInt64
    /// When the content changed last: the log's time where that is later.
    let modified: FileInstant
    /// Programs have it open, or something lies in a file beside it.
    let isInUse: Bool
    private let log: (file: DirectoryHandle, pages: WriteAheadLog)?
    private let status: FileStatus
    private let statusTime: Int64
    private let changes: UInt32
    private let directory: Int32
    private let name: [UInt8]
    private var hold: SQLiteHold?
    /// A journal that is needed lies beside it.
    private let isJournalLeft: Bool
    /// Programs use its log.
    private let isLogUsed: Bool

    var isLogged: Bool { log != nil }
    /// There is a log that nobody here can read.
    let hasUnknownLog: Bool
    /// Whether it may be longer than what was written of it. What a log says of its length proves nothing.
    var isSparse: Bool { log != nil || status.blocks < status.size / 512 }

    /// No database is shorter, in bytes.
    static let smallest: UInt64 = 512

    /// Whether a file is a database by its first bytes.
    static func isDatabase(_ file: borrowing FileDescriptor) -> Bool { (try? Header(reading: file)) != nil }

    /// Takes what is there now; `nil` when that cannot be done right now, as while a transaction is written.
    ///
    /// - Parameters:
    ///   - file: the database, open for reading.
    ///   - directory: where it lies, with the files beside it.
    ///   - holds: keeps it from changing until `release`, for a limited time.
    ///   - isStopped: asked while a log is read; then `again` is thrown.
    static func take(
        _ file: DirectoryHandle, at directory: Int32, _ name: [UInt8], holds: Bool, isStopped: () -> Bool = { false }
    ) throws(Errno) -> SQLiteSnapshot? {
        let index = try? beside(name, "-shm", at: directory)
        let users = (try? index?.descriptor.othersLock(on: SQLiteFiles.Place.users)) ?? .none
        var hold: SQLiteHold?
        if holds {
            let isLogged = users != .none
            hold = SQLiteHold(
                file, index: isLogged ? index : nil, nanoseconds: isLogged ? longestLogHold : longestShare)
            if hold == nil { return nil }
        }
        if let log = try beside(name, "-wal", at: directory) {
            let size = try log.descriptor.status().size
            if size >= WriteAheadLog.headerLength || users != .none {
                return try SQLiteSnapshot(
                    file, directory, name, log: log, isUsed: users != .none, hold, isStopped)
            }
        }
        return try SQLiteSnapshot(file, directory, name, hold)
    }

    private init?(
        _ file: DirectoryHandle, _ directory: Int32, _ name: [UInt8], log: DirectoryHandle, isUsed: Bool,
        _ hold: SQLiteHold?, _ isStopped: () -> Bool
    ) throws(Errno) {
        self.file = file
        self.directory = directory
        self.name = name
        self.hold = hold
        isLogUsed = isUsed
        isJournalLeft = false
        // In this order: what is put from the log into the database after the status was read is seen by the next status.
        statusTime = SystemClock.wall
        status = try file.descriptor.status()
        let logStatus = try log.descriptor.status()
        guard let header = try Header(reading: file.descriptor) else { return nil }
        changes = header.changes
        let pages = try WriteAheadLog(reading: log.descriptor) { () throws(Errno) in
            if isStopped() { throw .again }
            try SQLiteSnapshot.look(at: hold)
        }
        self.log = pages.map { (log, $0) }
        hasUnknownLog = pages == nil ? try WriteAheadLog.isUnknown(log.descriptor) : false
        if let pages, let count = pages.pageCount {
            size = UInt64(count) * UInt64(pages.pageSize)
            modified = max(status.modified, logStatus.modified)
        } else {
            size = status.size
            modified = status.modified
        }
        isInUse = true
    }

    private init?(_ file: DirectoryHandle, _ directory: Int32, _ name: [UInt8], _ hold: SQLiteHold?) throws(Errno) {
        self.file = file
        self.directory = directory
        self.name = name
        self.hold = hold
        log = nil
        hasUnknownLog = false
        isLogUsed = false
        let isShared = hold != nil || SQLiteHold.share(file)
        defer { if isShared, hold == nil { file.descriptor.unlock(SQLiteFiles.Place.shared) } }
        let journal = try SQLiteSnapshot.journal(name, at: directory, file)
        // Pages are being written to the file, and are not yet what was committed.
        if !isShared, journal != .none { return nil }
        if journal == .young { return nil }
        isJournalLeft = journal == .left
        statusTime = SystemClock.wall
        status = try file.descriptor.status()
        guard let header = try Header(reading: file.descriptor) else { return nil }
        changes = header.changes
        size = status.size
        modified = status.modified
        isInUse = !isShared || journal != .none
    }

    // MARK: Files beside it

    private static func beside(_ name: [UInt8], _ ending: String, at directory: Int32) throws(Errno)
        -> DirectoryHandle?
    {
        do throws(Errno) {
            let file = try withCName(name + Array(ending.utf8)) { (name) throws(Errno) in
                DirectoryHandle(try FileDescriptor.openForReading(at: directory, name))
            }
            return try file.descriptor.status().kind == .regular ? file : nil
        } catch {
            if error.isGone || error == .symbolicLink || error == .noDevice || error == .nameTooLong {
                // With a longer name it cannot be there.
                return nil
            }
            throw error
        }
    }

    private enum Journal {
        /// Nothing lies in it.
        case none
        /// Of a transaction that is under way.
        case used
        /// Nobody seems to hold the database, but it was just written to: locks are not seen everywhere, as those through
        /// an overlay of a container in the directory below it.
        case young
        /// Of a transaction that nobody will end: who opens the database next takes it back.
        case left
    }

    /// A journal and its database that nobody has changed for so long belong to no transaction that is under way, in seconds.
    private static let restTime: Int64 = 5
    /// A change time further in the future says nothing, in seconds.
    private static let wrongClock: Int64 = 3600

    private static func journal(_ name: [UInt8], at directory: Int32, _ file: DirectoryHandle) throws(Errno) -> Journal
    {
        guard let journal = try beside(name, "-journal", at: directory) else { return .none }
        var first: UInt8 = 0
        let count = try withBytes(of: &first) { (bytes) throws(Errno) in
            try journal.descriptor.readFully(into: bytes, at: 0)
        }
        if count == 0 || first == 0 { return .none }
        if try file.descriptor.othersLock(on: SQLiteFiles.Place.reserved) == .writing { return .used }
        let changed = max(try journal.descriptor.status().changed, try file.descriptor.status().changed)
        let age = SystemClock.wall / 1_000_000_000 - changed.seconds
        return age <= restTime && age > -wrongClock ? .young : .left
    }

    /// Waits until it can be told whether a journal was left behind, for about as long as that takes at most.
    ///
    /// - Returns: whether it can be told.
    @discardableResult
    static func settleJournal(
        _ name: [UInt8], at directory: Int32, _ file: DirectoryHandle, _ patience: JournalPatience = JournalPatience(),
        isStopped: () -> Bool
    ) -> Bool {
        guard (try? journal(name, at: directory, file)) == .young else { return true }
        patience.begin()
        defer { patience.end() }
        for _ in 0..<65 {
            if isStopped() || patience.isSpent { return false }
            SystemClock.pause(milliseconds: 100)
            guard (try? journal(name, at: directory, file)) == .young else { return true }
        }
        return false
    }

    /// Whether a journal was left behind, which is waited for; `nil` when a name is not that of a database's journal.
    static func isLeftBehind(
        _ name: [UInt8], at directory: Int32, _ patience: JournalPatience = JournalPatience(), isStopped: () -> Bool
    ) -> Bool? {
        let ending = SQLiteFiles.endings[1]
        guard name.count > ending.count, name.suffix(ending.count).elementsEqual(ending) else { return nil }
        let base = Array(name.dropLast(ending.count))
        guard let file = try? beside(base, "", at: directory), isDatabase(file.descriptor) else { return nil }
        settleJournal(base, at: directory, file, patience, isStopped: isStopped)
        return (try? journal(base, at: directory, file)) == .left
    }

    private static func withBytes(
        of byte: inout UInt8, _ body: (UnsafeMutableRawBufferPointer) throws(Errno) -> Int
    ) throws(Errno) -> Int {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1, alignment: 1)
        defer { buffer.deallocate() }
        let count = try body(buffer)
        if count > 0 { byte = buffer[0] }
        return count
    }

    /// Whether a file beside a database is needed to read it: only a journal that was left behind is. What is in a log is in
    /// the database as it is captured, and an older or later log or journal beside it would damage it.
    ///
    /// - Returns: `nil` when `name` is not that of a file beside a database.
    static func isNeeded(_ name: UnsafeRawBufferPointer, at directory: Int32) -> Bool? {
        // These endings have an "l" or an "m" last: nearly all names are done with here.
        guard let last = name.last, last == UInt8(ascii: "l") || last == UInt8(ascii: "m") else { return nil }
        for ending in ["-wal", "-shm", "-journal"] {
            let length = name.count - ending.utf8.count
            guard length > 0, name[length...].elementsEqual(ending.utf8) else { continue }
            let base = Array(name[..<length])
            guard let file = try? beside(base, "", at: directory), isDatabase(file.descriptor) else { return nil }
            if ending == "-wal" {
                // What cannot be read of it is kept as it is.
                guard let log = try? beside(Array(name), "", at: directory) else { return false }
                return (try? WriteAheadLog.isUnknown(log.descriptor)) == true
            }
            // A young one is looked at again when it is read.
            guard ending == "-journal", let found = try? journal(base, at: directory, file) else { return false }
            return found == .left || found == .young
        }
        return nil
    }

    /// The name of the database to which something belongs that is named as a log.
    static func database(ofLog name: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        let ending = "-wal"
        guard name.last == UInt8(ascii: "l"), name.count > ending.utf8.count,
            name[(name.count - ending.utf8.count)...].elementsEqual(ending.utf8)
        else { return nil }
        return UnsafeRawBufferPointer(rebasing: name[..<(name.count - ending.utf8.count)])
    }

    /// Whether there is a log beside a file.
    static func hasLog(_ name: [UInt8], at directory: Int32) -> Bool {
        ((try? FileSystem.status(at: directory, name + Array("-wal".utf8)))?.size ?? 0) > 0
    }

    // MARK: Reading

    /// Reads as `FileDescriptor.readFully`. Throws `again` or `timedOut` when it could not be held any longer.
    func readFully(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(Errno) -> Int {
        try SQLiteSnapshot.look(at: hold)
        guard let log else { return try file.descriptor.readFully(into: buffer, at: offset) }
        let wanted = Int(min(UInt64(buffer.count), size - min(offset, size)))
        let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
        let count = try file.descriptor.readFully(into: part, at: offset)
        if count < wanted {
            UnsafeMutableRawBufferPointer(rebasing: part[count...]).initializeMemory(as: UInt8.self, repeating: 0)
        }
        try log.pages.overlay(part, at: offset, from: log.file.descriptor)
        return wanted
    }

    /// The first range of data at or after `offset`: in the file or in its log. The length that a log says is only said: a few
    /// bytes can name more than any disk holds.
    func nextData(from offset: UInt64) throws(Errno) -> FileDescriptor.DataRange? {
        let end = min(size, status.size)
        func inFile(_ offset: UInt64) throws(Errno) -> Range<UInt64>? {
            guard offset < end, let found = try file.descriptor.nextData(from: offset, size: end) else { return nil }
            return found.offset..<min(found.offset + found.length, end)
        }
        func inLog(_ offset: UInt64) -> Range<UInt64>? {
            guard let found = log?.pages.range(from: offset), found.lowerBound < size else { return nil }
            return found.lowerBound..<min(found.upperBound, size)
        }
        let found = [try inFile(offset), inLog(offset)]
        guard var range = found.compactMap({ $0 }).min(by: { $0.lowerBound < $1.lowerBound }) else {
            return nil
        }
        // What joins is one, wherever it lies: chunks end where a range does.
        var isGrowing = true
        while isGrowing {
            isGrowing = false
            for next in [inLog(range.upperBound), try inFile(range.upperBound)] {
                guard let next, next.lowerBound <= range.upperBound, next.upperBound > range.upperBound else {
                    continue
                }
                range = range.lowerBound..<next.upperBound
                isGrowing = true
            }
        }
        return FileDescriptor.DataRange(offset: range.lowerBound, length: range.upperBound - range.lowerBound)
    }

    private static func look(at hold: SQLiteHold?) throws(Errno) {
        guard let ended = hold?.ended else { return }
        throw ended == .timedOut ? .timedOut : .again
    }

    /// Whether what was read since it was taken is one moment.
    ///
    /// Throws as `readFully`.
    ///
    /// - Parameter isTrusted: whether a change after `time` is seen by a status that was read then.
    func isOneMoment(_ isTrusted: (_ status: FileStatus, _ time: Int64) -> Bool) throws(Errno) -> Bool {
        let isSame = try isUnchanged(isTrusted)
        // At the end: it may have been given up meanwhile.
        try SQLiteSnapshot.look(at: hold)
        return isSame
    }

    private func isUnchanged(_ isTrusted: (_ status: FileStatus, _ time: Int64) -> Bool) throws(Errno) -> Bool {
        let after = try file.descriptor.status()
        let isSame = after.isUnchanged(since: status)
        if let log {
            guard try WriteAheadLog.readHeader(log.file.descriptor) == log.pages.header else { return false }
            // The log was found by its name: it is of the file that has the other one.
            let named = try FileSystem.status(at: directory, name)
            if !named.isSameFile(as: status) { throw .stale }
            return hold != nil && isLogUsed ? true : isSame && isTrusted(status, statusTime)
        }
        let journal = try SQLiteSnapshot.journal(name, at: directory, file)
        if journal == .young || (journal == .left) != isJournalLeft { return false }
        if hold != nil { return after.size == status.size && after.modified == status.modified }
        if try SQLiteSnapshot.beside(name, "-wal", at: directory) != nil {
            // Somebody began to use it with a log: the file itself is as it was unless the log came into it.
            return isSame && isTrusted(status, statusTime)
        }
        guard SQLiteHold.share(file) else {
            return journal == .none && isSame && isTrusted(status, statusTime)
        }
        defer { file.descriptor.unlock(SQLiteFiles.Place.shared) }
        guard let header = try Header(reading: file.descriptor) else { return false }
        return header.changes == changes && after.size == status.size && after.modified == status.modified
    }

    /// Gives up what is held.
    func release() { hold = nil }
}
