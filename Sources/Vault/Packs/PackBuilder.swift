package import Model

/// A finished pack: immutable bytes and their name.
package struct SealedPack: Sendable {
    /// SHA-256 of `bytes`.
    package let name: PackName
    package let bytes: [UInt8]
    package let packClass: PackClass
    package let writer: WriterID
    /// In the order in which they lie in the pack; offsets count from its start.
    package let blobs: [PackedBlob]

    package init(name: PackName, bytes: [UInt8], packClass: PackClass, writer: WriterID, blobs: [PackedBlob]) {
        self.name = name
        self.bytes = bytes
        self.packClass = packClass
        self.writer = writer
        self.blobs = blobs
    }

    /// Reads a whole pack that came from elsewhere, with all checks of `PackReader.parse`.
    package init(parsing bytes: [UInt8], vault: VaultID) throws {
        let pack = try bytes.withUnsafeBytes { try PackReader.parse($0, vault: vault) }
        self.init(
            name: bytes.withUnsafeBytes { BlobCrypto.packName(of: $0) }, bytes: bytes,
            packClass: pack.header.packClass, writer: pack.header.writer, blobs: pack.blobs)
    }
}

extension SealedPack {
    /// The same blobs under another name: the first one last. A pack of one blob comes out as it is.
    func reordered(in vault: VaultID) throws -> SealedPack {
        var builder = PackBuilder(vault: vault, writer: writer, packClass: packClass)
        for blob in blobs.dropFirst() + blobs.prefix(1) { try builder.append(from: bytes, blob) }
        return try builder.finish()
    }
}

/// Collects framed blobs of one class into one pack, then into the next.
package struct PackBuilder: Sendable {
    private let header: PackHeader
    private var bytes: [UInt8]
    private var blobs: [PackedBlob] = []
    private var ids: Set<BlobID> = []

    /// - Parameter buffer: memory to reuse (the bytes of a pack that is stored and no longer used); what it
    ///   holds is thrown away, its capacity is kept. Without one, room for a pack of the usual size is taken.
    package init(vault: VaultID, writer: WriterID, packClass: PackClass, buffer: consuming [UInt8] = []) {
        header = PackHeader(packClass: packClass, vault: vault, writer: writer)
        bytes = []
        begin(buffer)
    }

    private mutating func begin(_ buffer: consuming [UInt8]) {
        bytes = buffer
        bytes.removeAll(keepingCapacity: true)
        bytes.reserveCapacity(PackBuilder.capacity)
        bytes.append(contentsOf: header.encoded())
        blobs = []
        ids = []
    }

    /// A pack is closed once it has reached its target: the last blob and the footer come on top.
    private static let capacity = FormatLimits.packTarget + (1 << 20) + (128 << 10)

    /// Bytes of the pack so far, without footer and trailer.
    package var byteCount: Int { max(bytes.count, PackHeader.length) }
    /// Blobs so far.
    package var count: Int { blobs.count }
    /// Whether no blob was appended yet.
    package var isEmpty: Bool { blobs.isEmpty }
    /// Whether the pack has reached the size at which it is closed.
    package var isFull: Bool { bytes.count >= FormatLimits.packTarget || blobs.count >= FormatLimits.packBlobs }
    /// Whether the blob `id` is in the pack.
    package func contains(_ id: BlobID) -> Bool { ids.contains(id) }

    /// Appends a framed blob verbatim.
    ///
    /// - Parameters:
    ///   - framed: the bytes that `BlobSealer` made, or a range of another pack.
    ///   - blob: what it is; its offset is ignored.
    /// - Returns: `blob` with its offset in this pack.
    /// - Throws: `internal` when the blob is of another class, stands in the pack already, has another length than
    ///   `blob` says, or would make the pack longer than readers accept.
    @discardableResult
    package mutating func append(_ framed: UnsafeRawBufferPointer, _ blob: PackedBlob) throws -> PackedBlob {
        if bytes.isEmpty { begin([]) }
        let footer = (blobs.count + 1) * FooterEntry.length + PackTrailer.length
        guard blob.type.packClass == header.packClass, framed.count == blob.framedLength,
            bytes.count + framed.count + footer <= FormatLimits.packLength, blobs.count < FormatLimits.packBlobs
        else { throw HoldfastError(.internalError, "a blob does not fit into this pack") }
        guard ids.insert(blob.id).inserted else {
            throw HoldfastError(.internalError, "a blob would stand twice in one pack", context: ["blob": blob.id.hex])
        }
        var placed = blob
        placed.offset = UInt64(bytes.count)
        bytes.append(contentsOf: framed)
        blobs.append(placed)
        return placed
    }

    /// Appends the framed blob that lies in `buffer` where `blob` says.
    @discardableResult
    package mutating func append(from buffer: [UInt8], _ blob: PackedBlob) throws -> PackedBlob {
        try buffer.withUnsafeBytes { bytes in
            guard blob.offset <= UInt64(bytes.count), blob.framedLength <= bytes.count - Int(blob.offset) else {
                throw HoldfastError(.internalError, "a blob does not lie in its buffer")
            }
            let start = Int(blob.offset)
            return try append(UnsafeRawBufferPointer(rebasing: bytes[start..<(start + blob.framedLength)]), blob)
        }
    }

    /// Writes footer and trailer, names the pack, and begins the next one.
    ///
    /// Hashing takes about 15 ms for a full pack: call it outside of locks.
    ///
    /// - Parameter buffer: memory for the next pack, as in `init`; without one, none is taken before it is needed.
    /// - Throws: `internal` when the pack is empty.
    package mutating func finish(reusing buffer: consuming [UInt8]? = nil) throws -> SealedPack {
        guard !blobs.isEmpty else { throw HoldfastError(.internalError, "an empty pack cannot be finished") }
        var footer = ByteWriter(capacity: blobs.count * FooterEntry.length + PackTrailer.length)
        for blob in blobs { FooterEntry.append(blob, to: &footer) }
        let trailer = PackTrailer(
            count: blobs.count, footerOffset: bytes.count,
            footerChecksum: footer.bytes.withUnsafeBytes { XXH3.hash($0) })
        trailer.append(to: &footer)
        // Moved out, not copied: the builder lets go of them.
        var whole: [UInt8] = []
        swap(&whole, &bytes)
        whole.append(contentsOf: footer.bytes)
        let name = whole.withUnsafeBytes { BlobCrypto.packName(of: $0) }
        let pack = SealedPack(
            name: name, bytes: whole, packClass: header.packClass, writer: header.writer, blobs: blobs)
        blobs = []
        ids = []
        if let buffer { begin(buffer) }
        return pack
    }
}
