package import Model

/// Bits of the presence field: which optional fields of an entry follow, in this order.
enum EntryField {
    static let user: UInt64 = 1 << 0
    static let group: UInt64 = 1 << 1
    static let linkGroup: UInt64 = 1 << 2
    static let target: UInt64 = 1 << 3
    static let device: UInt64 = 1 << 4
    static let attributes: UInt64 = 1 << 5
    static let attributesBlob: UInt64 = 1 << 6
    static let flags: UInt64 = 1 << 7
    static let remarks: UInt64 = 1 << 8
    static let extents: UInt64 = 1 << 9
    static let extentList: UInt64 = 1 << 10
    static let all: UInt64 = (1 << 11) - 1
}

/// How far a reader has come in the tables of content keys and names. Indices must appear in the order of their first
/// use, so that an encoding is unique and a table holds nothing that is not used.
struct TableUse {
    var keysSeen: Int
    let keyCount: Int
    var namesSeen: Int
    let nameCount: Int

    @inline(__always)
    mutating func key(_ index: UInt64) throws -> Int {
        if index < UInt64(keysSeen) { return Int(index) }
        guard index == UInt64(keysSeen), keysSeen < keyCount else {
            throw ByteReader.malformed("index of a content key out of order")
        }
        keysSeen += 1
        return Int(index)
    }

    @inline(__always)
    mutating func name(_ index: UInt64) throws -> Int {
        if index < UInt64(namesSeen) { return Int(index) }
        guard index == UInt64(namesSeen), namesSeen < nameCount else {
            throw ByteReader.malformed("index of a name out of order")
        }
        namesSeen += 1
        return Int(index)
    }

    /// Refuses a table with more than was used.
    func end() throws {
        guard keysSeen == keyCount, namesSeen == nameCount else { throw ByteReader.malformed("unused table entries") }
    }
}

/// An encoded entry taken apart without allocating: numbers as they are, everything longer as its place in the node.
struct EntryLayout {
    var kind = EntryKind.regular
    var presence: UInt64 = 0
    var mode: UInt16 = 0
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    var size: UInt64 = 0
    var mtime = FileTime(seconds: 0, nanoseconds: 0)
    var user = 0
    var group = 0
    var linkGroup = LinkGroup(device: 0, inode: 0)
    var targetStart = 0
    var targetLength = 0
    var device: UInt64 = 0
    /// Offset of the field's first byte, the count.
    var attributesStart = 0
    var attributesKey = 0
    var flags: UInt32 = 0
    var remarks: UInt8 = 0
    /// Offset of the first extent.
    var extentsStart = 0
    var extentsCount = 0
    var listKey = 0
    var listCount: UInt64 = 0

    /// Reads and checks one entry.
    @inline(__always)
    init(_ reader: inout ByteReader, _ use: inout TableUse) throws {
        guard let kind = EntryKind(rawValue: try reader.u8()) else { throw ByteReader.malformed("kind of an entry") }
        self.kind = kind
        presence = try reader.varint()
        mode = UInt16(try reader.varint(atMost: 0o7777))
        uid = UInt32(try reader.varint(atMost: Int(UInt32.max)))
        gid = UInt32(try reader.varint(atMost: Int(UInt32.max)))
        size = try reader.varint()
        let seconds = try reader.zigzag()
        mtime = FileTime(seconds: seconds, nanoseconds: UInt32(try reader.varint(atMost: 999_999_999)))
        if presence != 0 { try readFields(&reader, &use) }
    }

    private mutating func readFields(_ reader: inout ByteReader, _ use: inout TableUse) throws {
        guard presence & ~EntryField.all == 0 else { throw ByteReader.malformed("unknown field of an entry") }
        if presence & EntryField.user != 0 { user = try use.name(try reader.varint()) }
        if presence & EntryField.group != 0 { group = try use.name(try reader.varint()) }
        if presence & EntryField.linkGroup != 0 {
            linkGroup.device = try reader.varint()
            linkGroup.inode = try reader.varint()
        }
        if presence & EntryField.target != 0 {
            targetLength = try reader.varint(atMost: TreeLimits.targetLength)
            guard targetLength > 0 else { throw ByteReader.malformed("empty target") }
            targetStart = reader.offset
            _ = try reader.slice(targetLength)
        }
        if presence & EntryField.device != 0 {
            let major = try reader.varint(atMost: Int(UInt32.max))
            let minor = try reader.varint(atMost: Int(UInt32.max))
            device = UInt64(major) << 32 | UInt64(minor)
            guard device != 0 else { throw ByteReader.malformed("device number zero") }
        }
        if presence & EntryField.attributes != 0 {
            attributesStart = reader.offset
            try AttributeCoding.skip(&reader)
            guard reader.offset - attributesStart <= Entry.maximumInlineAttributes else {
                throw ByteReader.malformed("attributes too long for an entry")
            }
        }
        if presence & EntryField.attributesBlob != 0 {
            guard presence & EntryField.attributes == 0 else { throw ByteReader.malformed("attributes in two places") }
            attributesKey = try use.key(try reader.varint())
        }
        if presence & EntryField.flags != 0 {
            flags = UInt32(try reader.varint(atMost: Int(UInt32.max)))
            guard flags != 0 else { throw ByteReader.malformed("no inode flags") }
        }
        if presence & EntryField.remarks != 0 {
            remarks = try reader.u8()
            guard remarks != 0 else { throw ByteReader.malformed("no remarks") }
        }
        if presence & EntryField.extents != 0 {
            extentsCount = try reader.varint(atMost: Entry.maximumInlineExtents)
            guard extentsCount > 0 else { throw ByteReader.malformed("no extents") }
            extentsStart = reader.offset
            var total: UInt64 = 0
            for _ in 0..<extentsCount {
                let extent = try ExtentCoding.read(&reader, &use)
                total = try ExtentCoding.add(total, extent.length)
            }
        }
        if presence & EntryField.extentList != 0 {
            guard presence & EntryField.extents == 0 else { throw ByteReader.malformed("extents in two places") }
            listKey = try use.key(try reader.varint())
            listCount = try reader.varint()
            guard listCount > 0 else { throw ByteReader.malformed("empty list of extents") }
        }
    }
}

/// Extents as they stand in entries and in pieces of lists.
enum ExtentCoding {
    struct Raw {
        /// Index of the content key; -1 for a hole.
        var key: Int
        var offset: UInt32
        var length: UInt64
    }

    @inline(__always)
    static func read(_ reader: inout ByteReader, _ use: inout TableUse) throws -> Raw {
        let reference = try reader.varint()
        if reference == 0 {
            let length = try reader.varint()
            guard length > 0 else { throw ByteReader.malformed("empty hole") }
            return Raw(key: -1, offset: 0, length: length)
        }
        let key = try use.key(reference - 1)
        let offset = try reader.varint(atMost: FormatLimits.blobPlainLength)
        let length = try reader.varint(atMost: FormatLimits.blobPlainLength - offset)
        guard length > 0 else { throw ByteReader.malformed("empty extent") }
        return Raw(key: key, offset: UInt32(offset), length: UInt64(length))
    }

    /// Adds lengths; the sum must be a file size that Linux knows (a signed 64-bit number).
    @inline(__always)
    static func add(_ total: UInt64, _ length: UInt64) throws -> UInt64 {
        let (sum, overflow) = total.addingReportingOverflow(length)
        guard !overflow, sum <= UInt64(Int64.max) else {
            throw ByteReader.malformed("content longer than a file can be")
        }
        return sum
    }

    /// What `read` would refuse is a fault of the caller.
    static func check(_ extent: Extent) throws {
        let limit = UInt64(FormatLimits.blobPlainLength)
        let fits: Bool
        if extent.key == nil {
            fits = extent.offset == 0 && extent.length <= UInt64(Int64.max)
        } else {
            fits = UInt64(extent.offset) <= limit && extent.length <= limit - UInt64(extent.offset)
        }
        guard fits, extent.length > 0 else {
            throw HoldfastError(.internalError, "an extent lies outside of its blob (a fault of this program)")
        }
    }
}

/// Extended attributes as bytes: field 5 of an entry, or a data blob of their own when they are larger than
/// `Entry.maximumInlineAttributes`.
package enum AttributeCoding {
    /// `varint count ‖ count x (counted name ‖ counted value)`. The attributes must be sorted by name, each name once.
    package static func encode(_ attributes: [ExtendedAttribute]) throws -> [UInt8] {
        var writer = ByteWriter(capacity: encodedLength(attributes))
        try check(attributes)
        writer.varint(attributes.count)
        for attribute in attributes {
            writer.counted(attribute.name)
            writer.counted(attribute.value)
        }
        return writer.bytes
    }

    /// Reads what `encode` wrote; the bytes may be hostile.
    package static func decode(_ bytes: UnsafeRawBufferPointer) throws -> [ExtendedAttribute] {
        var reader = ByteReader(bytes)
        let attributes = try read(&reader)
        try reader.end()
        return attributes
    }

    /// How many bytes `encode` makes: above `Entry.maximumInlineAttributes` they go into a blob.
    package static func encodedLength(_ attributes: [ExtendedAttribute]) -> Int {
        func varintLength(_ value: Int) -> Int { value < 1 << 7 ? 1 : value < 1 << 14 ? 2 : 3 }
        return attributes.reduce(varintLength(attributes.count)) { length, attribute in
            length + varintLength(attribute.name.count) + attribute.name.count
                + varintLength(attribute.value.count) + attribute.value.count
        }
    }

    static func check(_ attributes: [ExtendedAttribute]) throws {
        var previous: [UInt8] = []
        for attribute in attributes {
            guard !attribute.name.isEmpty, attribute.name.count <= TreeLimits.attributeNameLength,
                attribute.value.count <= TreeLimits.attributeValueLength,
                previous.lexicographicallyPrecedes(attribute.name)
            else {
                throw HoldfastError(
                    .internalError, "extended attributes are not sorted or too long (a fault of this program)")
            }
            previous = attribute.name
        }
    }

    static func read(_ reader: inout ByteReader) throws -> [ExtendedAttribute] {
        // An attribute takes three bytes or more.
        let count = try reader.varint(atMost: reader.remaining / 3)
        var attributes: [ExtendedAttribute] = []
        attributes.reserveCapacity(count)
        for _ in 0..<count {
            let name = try reader.counted(atMost: TreeLimits.attributeNameLength)
            let value = try reader.counted(atMost: TreeLimits.attributeValueLength)
            guard !name.isEmpty, attributes.last.map({ $0.name.lexicographicallyPrecedes(name) }) ?? true else {
                throw ByteReader.malformed("attributes are not sorted")
            }
            attributes.append(ExtendedAttribute(name: name, value: value))
        }
        return attributes
    }

    /// Checks what `read` checks without building anything; the count must not be 0.
    static func skip(_ reader: inout ByteReader) throws {
        let count = try reader.varint(atMost: reader.remaining / 3)
        guard count > 0 else { throw ByteReader.malformed("no attributes") }
        var previous = UnsafeRawBufferPointer(start: nil, count: 0)
        for _ in 0..<count {
            let name = try reader.slice(try reader.varint(atMost: TreeLimits.attributeNameLength))
            _ = try reader.slice(try reader.varint(atMost: TreeLimits.attributeValueLength))
            guard ByteOrder.compare(previous, name) < 0 else { throw ByteReader.malformed("attributes are not sorted") }
            previous = name
        }
    }
}

/// Byte strings in the order of their bytes.
enum ByteOrder {
    /// Negative, zero or positive as `memcmp`, the shorter first when one begins the other.
    @inline(__always)
    static func compare(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
        let common = min(a.count, b.count)
        let shared = sharedPrefix(a, b, common)
        if shared < common { return Int(a[shared]) - Int(b[shared]) }
        return a.count - b.count
    }

    static func compare(_ a: [UInt8], _ b: [UInt8]) -> Int {
        a.withUnsafeBytes { left in b.withUnsafeBytes { compare(left, $0) } }
    }

    static func isLess(_ a: [UInt8], _ b: [UInt8]) -> Bool { compare(a, b) < 0 }

    /// How many bytes both begin with, at most `limit`, which neither's count may be below.
    @inline(__always)
    static func sharedPrefix(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer, _ limit: Int) -> Int {
        guard limit > 0, let left = a.baseAddress, let right = b.baseAddress else { return 0 }
        var index = 0
        while index + 8 <= limit {
            let difference =
                left.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                ^ right.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            if difference != 0 { return index + UInt64(littleEndian: difference).trailingZeroBitCount / 8 }
            index += 8
        }
        while index < limit,
            left.load(fromByteOffset: index, as: UInt8.self) == right.load(fromByteOffset: index, as: UInt8.self)
        {
            index += 1
        }
        return index
    }
}
