package import Model

/// What stands in the clear in a pack.
package struct ParsedPack: Sendable {
    package let header: PackHeader
    /// In the order in which they lie in the pack.
    package let blobs: [PackedBlob]
}

/// Reads packs that may be hostile: every length is bounded before anything is allocated, and nothing but an error
/// comes of bytes that break a rule.
package enum PackReader {
    /// Reads a whole pack from its footer, and checks every blob's header, references and checksum against it.
    ///
    /// - Parameters:
    ///   - bytes: the pack.
    ///   - vault: the vault that it must belong to.
    ///   - checkingBlobs: whether the XXH3 of each blob is computed (about 10 GB/s).
    /// - Throws: `damaged`, or `unsupported` for a newer version.
    package static func parse(
        _ bytes: UnsafeRawBufferPointer, vault: VaultID, checkingBlobs: Bool = true
    ) throws -> ParsedPack {
        let (header, entries) = try outline(bytes, vault: vault)
        var blobs: [PackedBlob] = []
        blobs.reserveCapacity(entries.count)
        for entry in entries {
            let framed = UnsafeRawBufferPointer(rebasing: bytes[entry.offset..<(entry.offset + entry.framedLength)])
            let frame = try BlobFrame(framed)
            guard entry.agrees(with: frame) else { throw ByteReader.malformed("a blob and the footer disagree") }
            if checkingBlobs, !frame.isIntact(framed) {
                throw HoldfastError(.damaged, "a blob's checksum is wrong", context: ["blob": frame.id.hex])
            }
            blobs.append(entry.packed(references: try frame.references(in: framed)))
        }
        return ParsedPack(header: header, blobs: blobs)
    }

    private static func outline(
        _ bytes: UnsafeRawBufferPointer, vault: VaultID
    ) throws -> (PackHeader, [FooterEntry]) {
        let header = try PackReader.header(bytes, packLength: bytes.count, vault: vault)
        let trailer = try PackTrailer(
            UnsafeRawBufferPointer(rebasing: bytes[(bytes.count - PackTrailer.length)...]), packLength: bytes.count)
        let footer = UnsafeRawBufferPointer(rebasing: bytes[trailer.footer])
        return (header, try trailer.entries(footer, packClass: header.packClass))
    }

    /// Reads the header and bounds the length of the whole pack.
    static func header(_ bytes: UnsafeRawBufferPointer, packLength: Int, vault: VaultID) throws -> PackHeader {
        guard packLength <= FormatLimits.packLength else { throw ByteReader.malformed("a pack that is too long") }
        guard packLength >= PackHeader.length + PackTrailer.length else { throw ByteReader.malformed("cut short") }
        let header = try PackHeader(bytes)
        guard header.vault == vault else {
            throw HoldfastError(.damaged, "a pack belongs to another vault", context: ["vault": header.vault.hex])
        }
        return header
    }
}
