package import Model

/// Reads what stands in the clear in a stored pack without reading the blobs: header, footer, and in packs that can have
/// them the references. For rebuilding the catalog and for collection.
package enum PackIndexReader {
    /// The end of a pack that is read at first: the footer of about a thousand blobs.
    private static let tail = 64 * 1024

    /// Reads the pack `name` of `store`.
    ///
    /// The stored bytes are not compared with the name, nor blobs with their checksums: `verify` does that.
    ///
    /// - Throws: `notFound`; `damaged` (then `PackReader.scan` finds what is left); `unsupported`; what the store throws.
    package static func read(_ name: PackName, from store: any BlobStore, vault: VaultID) throws -> ParsedPack {
        let key = StoreKey.pack(name)
        guard let size = try store.head(key) else {
            throw HoldfastError(.notFound, "pack \(name.hex) is not in the store", context: ["pack": name.hex])
        }
        do {
            return try read(key, size: size, from: store, vault: vault)
        } catch let error as HoldfastError where error.code == .damaged || error.code == .unsupported {
            var error = error
            error.context["pack"] = name.hex
            throw error
        }
    }

    /// The ids of a pack's blobs from its end alone, for one whose blobs or header are damaged; `nil` when the end is too.
    static func ids(of name: PackName, _ packClass: PackClass, in store: any BlobStore) -> [BlobID]? {
        let key = StoreKey.pack(name)
        guard let size = try? store.head(key), size <= UInt64(FormatLimits.packLength),
            size >= UInt64(PackHeader.length + PackTrailer.length),
            let end = try? store.get(key, (size - UInt64(PackTrailer.length))..<size),
            let trailer = try? end.withUnsafeBytes({ try PackTrailer($0, packLength: Int(size)) }),
            let footer = try? store.get(key, UInt64(trailer.footer.lowerBound)..<UInt64(trailer.footer.upperBound)),
            let entries = try? footer.withUnsafeBytes({ try trailer.entries($0, packClass: packClass) })
        else { return nil }
        return entries.map(\.id)
    }

    private static func read(_ key: String, size: UInt64, from store: any BlobStore, vault: VaultID) throws
        -> ParsedPack
    {
        guard size <= UInt64(FormatLimits.packLength) else { throw ByteReader.malformed("a pack that is too long") }
        let length = Int(size)
        let headerBytes = try store.get(key, 0..<UInt64(min(PackHeader.length, length)))
        let header = try headerBytes.withUnsafeBytes { try PackReader.header($0, packLength: length, vault: vault) }

        let tailLength = min(tail, length)
        let tailBytes = try store.get(key, UInt64(length - tailLength)..<size)
        let trailer = try tailBytes.withUnsafeBytes {
            try PackTrailer(
                UnsafeRawBufferPointer(rebasing: $0[(tailLength - PackTrailer.length)...]), packLength: length)
        }
        let entries: [FooterEntry]
        let tailStart = length - tailLength
        if trailer.footerOffset >= tailStart {
            entries = try tailBytes.withUnsafeBytes { bytes in
                let range = (trailer.footerOffset - tailStart)..<(trailer.footer.upperBound - tailStart)
                return try trailer.entries(UnsafeRawBufferPointer(rebasing: bytes[range]), packClass: header.packClass)
            }
        } else {
            let footer = try store.get(key, UInt64(trailer.footer.lowerBound)..<UInt64(trailer.footer.upperBound))
            entries = try footer.withUnsafeBytes { try trailer.entries($0, packClass: header.packClass) }
        }

        var blobs: [PackedBlob] = []
        blobs.reserveCapacity(entries.count)
        for entry in entries {
            var references: [BlobID] = []
            if entry.referenceCount > 0 {
                let start = UInt64(entry.offset)
                let bytes = try store.get(
                    key, start..<(start + UInt64(BlobFrame.headerLength + 32 * entry.referenceCount)))
                references = try bytes.withUnsafeBytes { bytes in
                    let frame = try BlobFrame(bytes)
                    guard entry.agrees(with: frame) else {
                        throw ByteReader.malformed("a blob and the footer disagree")
                    }
                    return try frame.references(in: bytes)
                }
            }
            blobs.append(entry.packed(references: references))
        }
        return ParsedPack(header: header, blobs: blobs)
    }
}
