import Platform

/// The committed pages in a write-ahead log of SQLite: a file beside a database, in which transactions lie until they are put
/// into the database itself.
///
/// The format is that of "The WAL File" in SQLite's file format: a header, then frames of a header and a page. A frame counts when
/// its salts are those of the header, its checksum goes on from the frame before, and a frame that ends a transaction follows.
/// Any bytes can be read; what is not such a log has nothing committed in it.
struct WriteAheadLog {
    static let headerLength = SQLiteFiles.logHeaderLength
    private static let frameHeaderLength = 24

    /// As it was read. Whoever begins the log anew gives it other salts first.
    let header: [UInt8]
    let pageSize: Int
    /// The length of the database in pages after the last transaction; `nil` when there is none.
    private(set) var pageCount: UInt32?
    /// The frame, counted from 0, that holds a page as it was committed last.
    private var frames: [UInt32: UInt32] = [:]
    /// The pages in it, sorted.
    private var pages: [UInt32] = []

    /// Reads a log; `nil` when it is none.
    ///
    /// Throws `tooLarge` when it is longer than is read, and what `check` throws, which is called for every megabyte.
    init?(reading file: borrowing FileDescriptor, check: () throws(Errno) -> Void = {}) throws(Errno) {
        guard let header = try WriteAheadLog.readHeader(file) else { return nil }
        let magic = WriteAheadLog.big(header, 0)
        guard magic & ~1 == SQLiteFiles.logMagic, WriteAheadLog.big(header, 4) == SQLiteFiles.logVersion else {
            return nil
        }
        let pageSize = Int(WriteAheadLog.big(header, 8))
        guard pageSize >= 512, pageSize <= 65_536, pageSize.nonzeroBitCount == 1 else { return nil }
        var checksum = Checksum(isBigEndian: magic & 1 == 1)
        header.withUnsafeBytes { checksum.add(UnsafeRawBufferPointer(rebasing: $0[..<24])) }
        guard checksum.first == WriteAheadLog.big(header, 24), checksum.second == WriteAheadLog.big(header, 28)
        else { return nil }
        self.header = header
        self.pageSize = pageSize
        try readFrames(file, checksum, check)
        pages = frames.keys.sorted()
    }

    /// The header as it is now; `nil` when there is none.
    static func readHeader(_ file: borrowing FileDescriptor) throws(Errno) -> [UInt8]? {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: headerLength, alignment: 8)
        defer { buffer.deallocate() }
        guard try file.readFully(into: buffer, at: 0) == headerLength else { return nil }
        return Array(buffer)
    }

    /// Whether a file is a log of a version that is not known here, as `wal2`. What merely looks damaged counts as empty, as it does
    /// for SQLite.
    static func isUnknown(_ file: borrowing FileDescriptor) throws(Errno) -> Bool {
        guard let header = try readHeader(file) else { return false }
        return big(header, 0) & ~1 == SQLiteFiles.logMagic && big(header, 4) != SQLiteFiles.logVersion
    }

    private mutating func readFrames(
        _ file: borrowing FileDescriptor, _ start: Checksum, _ check: () throws(Errno) -> Void
    ) throws(Errno) {
        let length = WriteAheadLog.frameHeaderLength + pageSize
        let perRead = max(1, (1 << 20) / length)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: perRead * length, alignment: 8)
        defer { buffer.deallocate() }
        var checksum = start
        /// Pages of a transaction whose end was not met yet.
        var open: [(page: UInt32, frame: UInt32)] = []
        var number = 0
        while true {
            try check()
            let count = try file.readFully(into: buffer, at: offset(of: number) - 24) / length
            for index in 0..<count {
                let frame = UnsafeRawBufferPointer(rebasing: buffer[(index * length)..<((index + 1) * length)])
                guard isNext(frame, &checksum) else { return }
                if number == SQLiteFiles.maximumFrames { throw .tooLarge }
                open.append((WriteAheadLog.big(frame, 0), UInt32(number)))
                let committed = WriteAheadLog.big(frame, 4)
                if committed != 0 {
                    for (page, frame) in open { frames[page] = frame }
                    open.removeAll(keepingCapacity: true)
                    pageCount = committed
                }
                number += 1
            }
            if count < perRead { return }
        }
    }

    private func isNext(_ frame: UnsafeRawBufferPointer, _ checksum: inout Checksum) -> Bool {
        guard WriteAheadLog.big(frame, 0) != 0 else { return false }
        for index in 8..<16 where frame[index] != header[index + 8] { return false }
        checksum.add(UnsafeRawBufferPointer(rebasing: frame[..<8]))
        checksum.add(UnsafeRawBufferPointer(rebasing: frame[WriteAheadLog.frameHeaderLength...]))
        return checksum.first == WriteAheadLog.big(frame, 16) && checksum.second == WriteAheadLog.big(frame, 20)
    }

    /// Where the page of a frame begins in the log.
    private func offset(of frame: Int) -> UInt64 {
        UInt64(WriteAheadLog.headerLength + frame * (WriteAheadLog.frameHeaderLength + pageSize) + 24)
    }

    /// Puts what is committed of the bytes of the database from `offset` on over what `buffer` has of them.
    func overlay(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, from file: borrowing FileDescriptor)
        throws(Errno)
    {
        if frames.isEmpty { return }
        var done = 0
        while done < buffer.count {
            let position = offset + UInt64(done)
            let inPage = Int(position % UInt64(pageSize))
            let count = min(pageSize - inPage, buffer.count - done)
            let page = position / UInt64(pageSize) + 1
            if page <= UInt64(UInt32.max), let frame = frames[UInt32(page)] {
                let target = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<(done + count)])
                let start = self.offset(of: Int(frame)) + UInt64(inPage)
                // Cut short: somebody began it anew, which is seen when the reading is over.
                _ = try file.readFully(into: target, at: start)
            }
            done += count
        }
    }

    /// The first bytes of the database at or after `position` of which pages lie here that follow each other; `nil`: none do.
    func range(from position: UInt64) -> Range<UInt64>? {
        let wanted = position / UInt64(pageSize) + 1
        guard wanted <= UInt64(UInt32.max) else { return nil }
        var (low, high) = (0, pages.count)
        while low < high {
            let middle = (low + high) / 2
            if UInt64(pages[middle]) < wanted { low = middle + 1 } else { high = middle }
        }
        guard low < pages.count else { return nil }
        var last = low
        while last + 1 < pages.count, pages[last + 1] == pages[last] + 1 { last += 1 }
        let start = (UInt64(pages[low]) - 1) * UInt64(pageSize)
        return max(start, position)..<(UInt64(pages[last]) * UInt64(pageSize))
    }

    fileprivate static func big(_ bytes: [UInt8], _ offset: Int) -> UInt32 {
        bytes.withUnsafeBytes { big($0, offset) }
    }

    private static func big(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt32 {
        UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    /// The running checksum of a log.
    private struct Checksum {
        let isBigEndian: Bool
        var first: UInt32 = 0
        var second: UInt32 = 0

        init(isBigEndian: Bool) { self.isBigEndian = isBigEndian }

        /// - Parameter bytes: a multiple of 8.
        mutating func add(_ bytes: UnsafeRawBufferPointer) {
            var (a, b) = (first, second)
            for offset in stride(from: 0, to: bytes.count - 7, by: 8) {
                var x = bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
                var y = bytes.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self)
                if isBigEndian {
                    x = UInt32(bigEndian: x)
                    y = UInt32(bigEndian: y)
                } else {
                    x = UInt32(littleEndian: x)
                    y = UInt32(littleEndian: y)
                }
                a = a &+ x &+ b
                b = b &+ y &+ a
            }
            (first, second) = (a, b)
        }
    }
}
