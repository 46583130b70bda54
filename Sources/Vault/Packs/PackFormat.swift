package import Model

/// The 48 bytes at the start of a pack.
package struct PackHeader: Hashable, Sendable {
    package static let length = 48
    static let magic = Array("HOLDPACK".utf8)

    package var packClass: PackClass
    package var vault: VaultID
    /// The run of a writer that made the pack.
    package var writer: WriterID

    package init(packClass: PackClass, vault: VaultID, writer: WriterID) {
        self.packClass = packClass
        self.vault = vault
        self.writer = writer
    }

    /// Reads the header at the start of `bytes`.
    ///
    /// - Throws: `damaged` when it is none, `unsupported` when it is of a newer version.
    package init(_ bytes: UnsafeRawBufferPointer) throws {
        var reader = ByteReader(bytes)
        guard try reader.slice(8).elementsEqual(PackHeader.magic) else { throw ByteReader.malformed("not a pack") }
        let version = try reader.u16()
        guard version >= 1 else { throw ByteReader.malformed("version of a pack") }
        guard version <= FormatLimits.version else {
            throw HoldfastError(
                .unsupported,
                "a pack has format \(version); this version of holdfast reads up to \(FormatLimits.version)")
        }
        guard let packClass = PackClass(rawValue: try reader.u8()) else {
            throw ByteReader.malformed("class of a pack")
        }
        guard try reader.slice(5).allSatisfy({ $0 == 0 }) else { throw ByteReader.malformed("header of a pack") }
        guard let vault = VaultID(try reader.slice(16)), let writer = WriterID(try reader.slice(16)) else {
            throw ByteReader.malformed("header of a pack")
        }
        self.init(packClass: packClass, vault: vault, writer: writer)
    }

    /// The 48 bytes.
    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: PackHeader.length)
        writer.raw(PackHeader.magic)
        writer.u16(FormatLimits.version)
        writer.u8(packClass.rawValue)
        writer.raw([0, 0, 0, 0, 0])
        writer.raw(vault.array)
        writer.raw(self.writer.array)
        return writer.bytes
    }
}

/// The 56 bytes for each blob in the footer of a pack.
struct FooterEntry {
    static let length = 56

    let id: BlobID
    let type: BlobType
    let encoding: BlobEncoding
    let secretNumber: UInt16
    let referenceCount: Int
    let sealedLength: Int
    let offset: Int

    var framedLength: Int { BlobFrame.headerLength + 32 * referenceCount + sealedLength }

    init(_ reader: inout ByteReader) throws {
        id = BlobID(try reader.digest())
        guard let type = BlobType(rawValue: try reader.u8()), let encoding = BlobEncoding(rawValue: try reader.u8())
        else { throw ByteReader.malformed("footer of a pack") }
        self.type = type
        self.encoding = encoding
        secretNumber = try reader.u16()
        referenceCount = Int(try reader.u32())
        sealedLength = Int(try reader.u32())
        guard try reader.u32() == 0 else { throw ByteReader.malformed("footer of a pack") }
        let offset = try reader.u64()
        guard offset < UInt64(FormatLimits.packLength),
            BlobFrame.isPlausible(
                type: type, encoding: encoding, secretNumber: secretNumber, references: referenceCount,
                sealed: sealedLength)
        else { throw ByteReader.malformed("footer of a pack") }
        self.offset = Int(offset)
    }

    static func append(_ blob: PackedBlob, to writer: inout ByteWriter) {
        writer.digest(blob.id.bytes)
        writer.u8(blob.type.rawValue)
        writer.u8(blob.encoding.rawValue)
        writer.u16(blob.secretNumber)
        writer.u32(UInt32(blob.references.count))
        writer.u32(blob.sealedLength)
        writer.u32(0)
        writer.u64(blob.offset)
    }

    /// Whether the blob's own header says the same.
    func agrees(with frame: BlobFrame) -> Bool {
        frame.id == id && frame.type == type && frame.encoding == encoding && frame.secretNumber == secretNumber
            && frame.referenceCount == referenceCount && frame.sealedLength == sealedLength
    }

    func packed(references: [BlobID]) -> PackedBlob {
        PackedBlob(
            id: id, type: type, encoding: encoding, secretNumber: secretNumber, references: references,
            sealedLength: UInt32(sealedLength), offset: UInt64(offset))
    }
}

/// The last 32 bytes of a pack.
struct PackTrailer {
    static let length = 32
    static let magic = Array("PACKEND1".utf8)

    let count: Int
    let footerOffset: Int
    let footerChecksum: UInt64

    /// Where the footer lies in the pack.
    var footer: Range<Int> { footerOffset..<(footerOffset + count * FooterEntry.length) }

    init(count: Int, footerOffset: Int, footerChecksum: UInt64) {
        self.count = count
        self.footerOffset = footerOffset
        self.footerChecksum = footerChecksum
    }

    /// Reads the trailer in the last 32 bytes of a pack of `packLength` bytes.
    init(_ bytes: UnsafeRawBufferPointer, packLength: Int) throws {
        var reader = ByteReader(bytes)
        let count = try reader.u32()
        let zero = try reader.u32()
        let offset = try reader.u64()
        footerChecksum = try reader.u64()
        guard try reader.slice(8).elementsEqual(PackTrailer.magic) else {
            throw ByteReader.malformed("a pack without its end")
        }
        guard zero == 0, count >= 1, count <= UInt32(FormatLimits.packBlobs),
            offset >= UInt64(PackHeader.length), offset < UInt64(packLength),
            UInt64(packLength) - offset == UInt64(count) * UInt64(FooterEntry.length) + UInt64(PackTrailer.length)
        else { throw ByteReader.malformed("trailer of a pack") }
        self.count = Int(count)
        footerOffset = Int(offset)
    }

    func append(to writer: inout ByteWriter) {
        writer.u32(UInt32(count))
        writer.u32(0)
        writer.u64(UInt64(footerOffset))
        writer.u64(footerChecksum)
        writer.raw(PackTrailer.magic)
    }

    /// The entries of the footer, in the order of the blobs.
    ///
    /// The blobs must fill the pack from the header to the footer without gap or overlap, and no blob may stand twice,
    /// so that every reader sees the same blobs in the same places.
    func entries(_ footer: UnsafeRawBufferPointer, packClass: PackClass) throws -> [FooterEntry] {
        guard XXH3.hash(footer) == footerChecksum else { throw ByteReader.malformed("footer of a pack") }
        var reader = ByteReader(footer)
        var entries: [FooterEntry] = []
        entries.reserveCapacity(count)
        var ids = Set<BlobID>(minimumCapacity: count)
        var position = PackHeader.length
        for _ in 0..<count {
            let entry = try FooterEntry(&reader)
            guard entry.offset == position, entry.type.packClass == packClass, ids.insert(entry.id).inserted else {
                throw ByteReader.malformed("footer of a pack")
            }
            position += entry.framedLength
            guard position <= footerOffset else { throw ByteReader.malformed("footer of a pack") }
            entries.append(entry)
        }
        guard position == footerOffset else { throw ByteReader.malformed("footer of a pack") }
        return entries
    }
}
