package import Model

/// Appends the primitives of the format to a growing array.
package struct ByteWriter {
    package var bytes: [UInt8] = []

    package init(capacity: Int = 0) { bytes.reserveCapacity(capacity) }

    @inline(__always)
    package mutating func u8(_ value: UInt8) { bytes.append(value) }

    package mutating func u16(_ value: UInt16) { fixed(value.littleEndian) }
    package mutating func u32(_ value: UInt32) { fixed(value.littleEndian) }
    package mutating func u64(_ value: UInt64) { fixed(value.littleEndian) }
    package mutating func i64(_ value: Int64) { fixed(value.littleEndian) }

    private mutating func fixed<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
    }

    /// Unsigned LEB128, shortest form.
    @inline(__always)
    package mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    @inline(__always)
    package mutating func varint(_ value: Int) { varint(UInt64(value)) }

    /// Zigzag, then unsigned LEB128.
    package mutating func zigzag(_ value: Int64) {
        varint(UInt64(bitPattern: (value << 1) ^ (value >> 63)))
    }

    package mutating func raw(_ value: some Sequence<UInt8>) { bytes.append(contentsOf: value) }
    package mutating func raw(_ value: UnsafeRawBufferPointer) { bytes.append(contentsOf: value) }

    /// A varint of the length, then the bytes.
    package mutating func counted(_ value: some Collection<UInt8>) {
        varint(value.count)
        bytes.append(contentsOf: value)
    }

    package mutating func digest(_ value: Bytes32) {
        fixed(value.w0.bigEndian)
        fixed(value.w1.bigEndian)
        fixed(value.w2.bigEndian)
        fixed(value.w3.bigEndian)
    }
}

/// Reads the primitives of the format from bytes that may be hostile: every read is bounded, nothing is allocated
/// before its length was checked against what is left.
package struct ByteReader {
    package let base: UnsafeRawBufferPointer
    package private(set) var offset: Int = 0

    /// `bytes` must outlive the reader.
    package init(_ bytes: UnsafeRawBufferPointer) { base = bytes }

    package var remaining: Int { base.count - offset }
    package var isAtEnd: Bool { offset == base.count }

    /// The error of all malformed input here.
    package static func malformed(_ what: String) -> HoldfastError {
        HoldfastError(.damaged, "malformed data: \(what)")
    }

    @inline(__always)
    private mutating func take(_ count: Int) throws -> Int {
        guard count >= 0, count <= base.count - offset else { throw ByteReader.malformed("cut short") }
        let start = offset
        offset += count
        return start
    }

    @inline(__always)
    package mutating func u8() throws -> UInt8 { base[try take(1)] }

    package mutating func u16() throws -> UInt16 {
        UInt16(littleEndian: base.loadUnaligned(fromByteOffset: try take(2), as: UInt16.self))
    }
    package mutating func u32() throws -> UInt32 {
        UInt32(littleEndian: base.loadUnaligned(fromByteOffset: try take(4), as: UInt32.self))
    }
    package mutating func u64() throws -> UInt64 {
        UInt64(littleEndian: base.loadUnaligned(fromByteOffset: try take(8), as: UInt64.self))
    }
    package mutating func i64() throws -> Int64 { Int64(bitPattern: try u64()) }

    /// Nanoseconds since 1970; years that no clock shows are refused, so that nobody's arithmetic leaves its range.
    package mutating func time() throws -> Timestamp {
        let time = Timestamp(nanoseconds: try i64())
        guard time.isPlausible else { throw ByteReader.malformed("time of a record") }
        return time
    }

    /// Unsigned LEB128; anything but the shortest form is refused, so that an encoding is unique.
    @inline(__always)
    package mutating func varint() throws -> UInt64 {
        let first = try u8()
        if first < 0x80 { return UInt64(first) }
        return try varintSlow(first)
    }

    private mutating func varintSlow(_ first: UInt8) throws -> UInt64 {
        var value = UInt64(first & 0x7F)
        var shift: UInt64 = 7
        while true {
            let byte = try u8()
            if shift == 63, byte > 1 { throw ByteReader.malformed("number too large") }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 {
                if byte == 0 { throw ByteReader.malformed("number not in shortest form") }
                return value
            }
            shift += 7
            if shift > 63 { throw ByteReader.malformed("number too large") }
        }
    }

    /// A varint that must not exceed `limit`.
    @inline(__always)
    package mutating func varint(atMost limit: Int) throws -> Int {
        let value = try varint()
        guard value <= UInt64(limit) else { throw ByteReader.malformed("number above its bound") }
        return Int(value)
    }

    package mutating func zigzag() throws -> Int64 {
        let value = try varint()
        return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
    }

    /// The next `count` bytes in place; valid as long as the base is.
    @inline(__always)
    package mutating func slice(_ count: Int) throws -> UnsafeRawBufferPointer {
        let start = try take(count)
        return UnsafeRawBufferPointer(rebasing: base[start..<(start + count)])
    }

    package mutating func raw(_ count: Int) throws -> [UInt8] { Array(try slice(count)) }

    /// A varint of the length, at most `limit`, then the bytes.
    package mutating func counted(atMost limit: Int) throws -> [UInt8] {
        try raw(try varint(atMost: limit))
    }

    package mutating func digest() throws -> Bytes32 { Bytes32(try slice(32)) }

    /// Refuses bytes after the end of a structure.
    package func end() throws {
        guard isAtEnd else { throw ByteReader.malformed("bytes after the end") }
    }
}
