package import Model

/// The 60 bytes before each blob of a pack, and the bounds of everything they announce.
///
/// ```
/// 0   "BLOB"      4  type        5  encoding    6  u16 secret number   8  u32 count of references
/// 12  u32 sealed  16 u32 zero    20 blob id     52 u64 XXH3
/// ```
package struct BlobFrame: Sendable {
    package static let headerLength = 60
    static let checksumOffset = 52
    /// "BLOB" read as a little-endian number.
    static let magic: UInt32 = 0x424F_4C42

    package let type: BlobType
    package let encoding: BlobEncoding
    package let secretNumber: UInt16
    package let referenceCount: Int
    package let sealedLength: Int
    package let id: BlobID
    let checksum: UInt64

    /// Bytes of the whole framed blob.
    package var framedLength: Int { BlobFrame.headerLength + 32 * referenceCount + sealedLength }

    /// Reads and bounds the header at the start of `bytes`. What follows it need not be there.
    ///
    /// - Throws: `damaged` when a field has no meaning or lies outside its bounds.
    package init(_ bytes: UnsafeRawBufferPointer) throws {
        guard let frame = BlobFrame(plausible: bytes) else { throw ByteReader.malformed("header of a blob") }
        self = frame
    }

    /// Like `init(_:)`, without the cost of an error: a scanner asks at every magic it meets.
    init?(plausible bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= BlobFrame.headerLength,
            bytes.littleEndian(at: 0, as: UInt32.self) == BlobFrame.magic,
            let type = BlobType(rawValue: bytes[4]),
            let encoding = BlobEncoding(rawValue: bytes[5]),
            bytes.littleEndian(at: 16, as: UInt32.self) == 0
        else { return nil }
        self.type = type
        self.encoding = encoding
        secretNumber = bytes.littleEndian(at: 6, as: UInt16.self)
        referenceCount = Int(bytes.littleEndian(at: 8, as: UInt32.self))
        sealedLength = Int(bytes.littleEndian(at: 12, as: UInt32.self))
        id = BlobID(Bytes32(UnsafeRawBufferPointer(rebasing: bytes[20..<52])))
        checksum = bytes.littleEndian(at: BlobFrame.checksumOffset, as: UInt64.self)
        guard
            BlobFrame.isPlausible(
                type: type, encoding: encoding, secretNumber: secretNumber, references: referenceCount,
                sealed: sealedLength)
        else { return nil }
    }

    /// Whether the announced numbers lie within the bounds of the type.
    static func isPlausible(
        type: BlobType, encoding: BlobEncoding, secretNumber: UInt16, references: Int, sealed: Int
    ) -> Bool {
        guard references == 0 || (type.hasReferences && references <= FormatLimits.references) else { return false }
        if type.packClass == .points {
            return encoding == .raw && secretNumber == 0 && sealed >= 1 && sealed <= type.maximumPlainLength
        }
        return secretNumber > 0 && sealed >= FormatLimits.sealOverhead
            && sealed <= type.maximumPlainLength + FormatLimits.sealOverhead
    }

    /// The XXH3 of a framed blob: of all its bytes with the field of the checksum as zero.
    ///
    /// XXH3 takes a stream in the same time as one piece, but the field is in the middle: it is cleared for the time of
    /// the hash in a copy of the header, and header and rest are hashed as a stream.
    static func checksum(_ framed: UnsafeRawBufferPointer) -> UInt64 {
        var hash = XXH3Stream()
        withUnsafeTemporaryAllocation(byteCount: headerLength, alignment: 8) { header in
            header.copyMemory(from: UnsafeRawBufferPointer(rebasing: framed[..<headerLength]))
            header.storeBytes(of: 0, toByteOffset: checksumOffset, as: UInt64.self)
            hash.update(UnsafeRawBufferPointer(header))
        }
        hash.update(UnsafeRawBufferPointer(rebasing: framed[headerLength...]))
        return hash.finish()
    }

    /// Whether the whole framed blob in `framed` has the checksum that its header announces.
    package func isIntact(_ framed: UnsafeRawBufferPointer) -> Bool {
        framed.count == framedLength && BlobFrame.checksum(framed) == checksum
    }

    /// The blobs named by the framed blob (or its first part) in `framed`.
    ///
    /// - Throws: `damaged` when they are not sorted or one stands twice.
    package func references(in framed: UnsafeRawBufferPointer) throws -> [BlobID] {
        if referenceCount == 0 { return [] }
        guard framed.count >= BlobFrame.headerLength + 32 * referenceCount else {
            throw ByteReader.malformed("references cut short")
        }
        var references: [BlobID] = []
        references.reserveCapacity(referenceCount)
        for index in 0..<referenceCount {
            let start = BlobFrame.headerLength + 32 * index
            let id = BlobID(Bytes32(UnsafeRawBufferPointer(rebasing: framed[start..<(start + 32)])))
            if let last = references.last, last >= id {
                throw ByteReader.malformed("references not sorted")
            }
            references.append(id)
        }
        return references
    }

    /// Writes the header with a checksum of zero to the first 60 bytes of `target`.
    static func store(
        type: BlobType, encoding: BlobEncoding, secretNumber: UInt16, references: Int, sealed: Int, id: BlobID,
        to target: UnsafeMutableRawBufferPointer
    ) {
        target.storeLittleEndian(magic, at: 0)
        target[4] = type.rawValue
        target[5] = encoding.rawValue
        target.storeLittleEndian(secretNumber, at: 6)
        target.storeLittleEndian(UInt32(references), at: 8)
        target.storeLittleEndian(UInt32(sealed), at: 12)
        target.storeLittleEndian(UInt32(0), at: 16)
        id.bytes.store(to: UnsafeMutableRawBufferPointer(rebasing: target[20..<52]))
        target.storeLittleEndian(UInt64(0), at: checksumOffset)
    }
}

extension UnsafeRawBufferPointer {
    /// The little-endian number at `offset`, which must lie within the buffer.
    @inline(__always)
    func littleEndian<T: FixedWidthInteger & BitwiseCopyable>(at offset: Int, as type: T.Type) -> T {
        T(littleEndian: loadUnaligned(fromByteOffset: offset, as: type))
    }
}

extension UnsafeMutableRawBufferPointer {
    /// Writes `value` as a little-endian number at `offset`, which must lie within the buffer.
    @inline(__always)
    func storeLittleEndian<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
    }
}
