import CZlib
package import Model

/// Writes a ZIP archive piece by piece, without going back in it: it can be sent while it is made. Everything goes to the same
/// output.
///
/// Files are stored as they are (method 0). As PKWARE's APPNOTE.TXT 6.3.10 says: each file's checksum comes behind it in a data
/// descriptor (general purpose bit 3), names are UTF-8 (bit 11), and what is longer than 32 bits stands in ZIP64 fields. Modes
/// and symbolic links are kept the way of Info-ZIP: made on Unix, the mode in the upper half of the external attributes.
package struct ZipWriter {
    package typealias Output = (UnsafeRawBufferPointer) throws -> Void

    private var offset: UInt64 = 0
    private var count: UInt64 = 0
    /// What stands at the end: some 60 bytes and its name for each.
    private var directory: [UInt8] = []

    package init() {}

    /// A directory; `name` without a slash at its end.
    package mutating func addDirectory(
        _ name: [UInt8], mode: UInt16, time: CivilTime, to output: @escaping Output
    ) throws {
        try add(name + [UInt8(ascii: "/")], mode: 0o040000 | UInt32(mode), time, size: 0, output) { _ in }
    }

    /// A symbolic link.
    package mutating func addLink(_ name: [UInt8], target: [UInt8], time: CivilTime, to output: @escaping Output) throws
    {
        try add(name, mode: 0o120777, time, size: UInt64(target.count), output) { write in
            try target.withUnsafeBytes { try write($0) }
        }
    }

    /// A file of which the size is known. Throws `damaged` when `content` writes something else.
    package mutating func addFile(
        _ name: [UInt8], mode: UInt16, time: CivilTime, size: UInt64, to output: @escaping Output,
        _ content: (@escaping Output) throws -> Void
    ) throws { try add(name, mode: 0o100000 | UInt32(mode), time, size: size, output, content) }

    /// The end of the archive.
    package mutating func finish(to output: @escaping Output) throws {
        let start = offset
        let length = UInt64(directory.count)
        try write(directory, output)
        directory = []
        var end: [UInt8] = []
        if start >= Self.marked32 || length >= Self.marked32 || count >= 0xFFFF {
            let record = offset
            end.append32(0x0606_4B50)
            end.append64(44)
            end.append16(45)
            end.append16(45)
            end.append32(0)
            end.append32(0)
            end.append64(count)
            end.append64(count)
            end.append64(length)
            end.append64(start)
            end.append32(0x0706_4B50)
            end.append32(0)
            end.append64(record)
            end.append32(1)
        }
        end.append32(0x0605_4B50)
        end.append16(0)
        end.append16(0)
        end.append16(UInt16(min(count, 0xFFFF)))
        end.append16(UInt16(min(count, 0xFFFF)))
        end.append32(UInt32(min(length, Self.marked32)))
        end.append32(UInt32(min(start, Self.marked32)))
        end.append16(0)
        try write(end, output)
    }

    /// Says in a 32-bit field that the number stands in a ZIP64 field.
    private static let marked32: UInt64 = 0xFFFF_FFFF

    private mutating func add(
        _ name: [UInt8], mode: UInt32, _ time: CivilTime, size: UInt64, _ output: @escaping Output,
        _ content: (@escaping Output) throws -> Void
    ) throws {
        guard name.count <= 0xFFFF else { throw HoldfastError(.usage, "a path is too long for a ZIP archive") }
        let start = offset
        let isLong = size >= Self.marked32
        let (date, clock) = Self.stamp(time)
        // A reader that goes from the front needs the size of what is stored.
        let short = UInt32(isLong ? Self.marked32 : size)
        var header: [UInt8] = []
        header.append32(0x0403_4B50)
        header.append16(isLong ? 45 : 20)
        header.append16(Self.flags)
        header.append16(0)
        header.append16(clock)
        header.append16(date)
        header.append32(0)
        header.append32(short)
        header.append32(short)
        header.append16(UInt16(name.count))
        header.append16(isLong ? 20 : 0)
        header += name
        if isLong {
            header.append16(1)
            header.append16(16)
            header.append64(size)
            header.append64(size)
        }
        try write(header, output)
        var checksum: UInt = 0
        var written: UInt64 = 0
        try content { bytes in
            written += UInt64(bytes.count)
            guard written <= size else { throw Self.otherSize }
            checksum = crc32_z(checksum, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count)
            try output(bytes)
        }
        guard written == size else { throw Self.otherSize }
        offset += size
        var descriptor: [UInt8] = []
        descriptor.append32(0x0807_4B50)
        descriptor.append32(UInt32(truncatingIfNeeded: checksum))
        if isLong {
            descriptor.append64(size)
            descriptor.append64(size)
        } else {
            descriptor.append32(short)
            descriptor.append32(short)
        }
        try write(descriptor, output)
        list(name, mode, date, clock, UInt32(truncatingIfNeeded: checksum), size, start)
    }

    private static let otherSize = HoldfastError(.damaged, "A file is not as long as its entry says.")
    /// The checksum comes behind; the name is UTF-8.
    private static let flags: UInt16 = 1 << 3 | 1 << 11

    private mutating func list(
        _ name: [UInt8], _ mode: UInt32, _ date: UInt16, _ clock: UInt16, _ checksum: UInt32, _ size: UInt64,
        _ start: UInt64
    ) {
        var long: [UInt8] = []
        if size >= Self.marked32 {
            long.append64(size)
            long.append64(size)
        }
        if start >= Self.marked32 { long.append64(start) }
        count += 1
        directory.append32(0x0201_4B50)
        // Made on Unix.
        directory.append16(3 << 8 | 45)
        directory.append16(long.isEmpty ? 20 : 45)
        directory.append16(Self.flags)
        directory.append16(0)
        directory.append16(clock)
        directory.append16(date)
        directory.append32(checksum)
        directory.append32(UInt32(min(size, Self.marked32)))
        directory.append32(UInt32(min(size, Self.marked32)))
        directory.append16(UInt16(name.count))
        directory.append16(long.isEmpty ? 0 : UInt16(long.count + 4))
        directory.append16(0)
        directory.append16(0)
        directory.append16(0)
        directory.append32(mode << 16 | (mode & 0o170000 == 0o040000 ? 0x10 : 0))
        directory.append32(UInt32(min(start, Self.marked32)))
        directory += name
        if !long.isEmpty {
            directory.append16(1)
            directory.append16(UInt16(long.count))
            directory += long
        }
    }

    /// Date and time as MS-DOS had them: from 1980 to 2107, in steps of two seconds.
    private static func stamp(_ time: CivilTime) -> (date: UInt16, clock: UInt16) {
        let year = time.date.year
        if year < 1980 { return (1 << 5 | 1, 0) }
        if year > 2107 { return (127 << 9 | 12 << 5 | 31, 23 << 11 | 59 << 5 | 29) }
        return (
            UInt16(year - 1980) << 9 | UInt16(time.date.month) << 5 | UInt16(time.date.day),
            UInt16(time.hour) << 11 | UInt16(time.minute) << 5 | UInt16(time.second / 2)
        )
    }

    private mutating func write(_ bytes: [UInt8], _ output: @escaping Output) throws {
        offset += UInt64(bytes.count)
        try bytes.withUnsafeBytes { try output($0) }
    }
}

extension [UInt8] {
    fileprivate mutating func append16(_ number: UInt16) { append(number.littleEndian) }
    fileprivate mutating func append32(_ number: UInt32) { append(number.littleEndian) }
    fileprivate mutating func append64(_ number: UInt64) { append(number.littleEndian) }

    private mutating func append<Number: FixedWidthInteger>(_ number: Number) {
        for index in 0..<(Number.bitWidth / 8) { append(UInt8(truncatingIfNeeded: number >> Number(index * 8))) }
    }
}
