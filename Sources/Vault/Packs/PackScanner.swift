import Glibc
package import Model

/// What a scan found in a damaged pack.
package struct ScannedPack: Sendable {
    /// The header, when it is readable and of the right vault.
    package let header: PackHeader?
    /// The blobs whose checksum is right, in the order in which they lie in the pack.
    package let blobs: [PackedBlob]
    /// Bytes between header and footer that belong to no intact blob.
    package let lostBytes: Int
    /// Whether the scan was given up: the bytes are made so that it would take for ever.
    package let gaveUp: Bool
}

extension PackReader {
    /// Finds the intact blobs of a pack whose footer or some of whose blobs are damaged: each blob begins with a magic
    /// and carries a checksum, so after damage the next magic is where reading goes on.
    ///
    /// Blobs of any class are answered when the header is damaged, else those of its class. A blob found twice is
    /// answered once.
    ///
    /// - Parameter believesHeader: `false` for bytes that are known to be damaged: a flipped bit in the header must hide
    ///   nothing, so blobs of any class are answered, whichever vault and class it names.
    package static func scan(
        _ bytes: UnsafeRawBufferPointer, vault: VaultID, believesHeader: Bool = true
    ) -> ScannedPack {
        let header = bytes.count <= FormatLimits.packLength ? (try? PackHeader(bytes)) : nil
        let isNamed = header.map { $0.vault == vault } ?? true
        let isOurs = isNamed || !believesHeader
        let packClass = believesHeader ? header?.packClass : nil
        var blobs: [PackedBlob] = []
        var ids: Set<BlobID> = []
        var position = min(PackHeader.length, bytes.count)
        var lost = 0
        // Bytes that may be hashed in vain: a pack made of nothing but magics would take minutes otherwise.
        var patience = 16 * bytes.count + (64 << 20)
        while isOurs, let found = nextMagic(in: bytes, from: position), patience > 0 {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[found...])
            guard let frame = BlobFrame(plausible: rest), frame.framedLength <= rest.count,
                packClass.map({ $0 == frame.type.packClass }) ?? true
            else {
                lost += found + 1 - position
                position = found + 1
                continue
            }
            let framed = UnsafeRawBufferPointer(rebasing: rest[..<frame.framedLength])
            patience -= framed.count
            guard frame.isIntact(framed), let references = try? frame.references(in: framed) else {
                lost += found + 1 - position
                position = found + 1
                continue
            }
            lost += found - position
            position = found + framed.count
            if ids.insert(frame.id).inserted {
                blobs.append(
                    PackedBlob(
                        id: frame.id, type: frame.type, encoding: frame.encoding, secretNumber: frame.secretNumber,
                        references: references, sealedLength: UInt32(frame.sealedLength), offset: UInt64(found)))
            }
        }
        // The footer is no loss when nothing but it follows the last blob; what exactly follows is not worth more.
        let tail = bytes.count - position
        if tail > blobs.count * FooterEntry.length + PackTrailer.length {
            lost += tail - blobs.count * FooterEntry.length - PackTrailer.length
        }
        return ScannedPack(
            header: isNamed ? header : nil, blobs: blobs, lostBytes: lost, gaveUp: patience <= 0)
    }

    /// The offset of the next "BLOB" at or after `position`.
    private static func nextMagic(in bytes: UnsafeRawBufferPointer, from position: Int) -> Int? {
        let magic: [UInt8] = [0x42, 0x4C, 0x4F, 0x42]
        var start = position
        while bytes.count - start >= BlobFrame.headerLength {
            guard let hit = memchr(bytes.baseAddress! + start, Int32(magic[0]), bytes.count - start) else { return nil }
            let offset = UnsafeRawPointer(hit) - bytes.baseAddress!
            guard bytes.count - offset >= BlobFrame.headerLength else { return nil }
            if bytes.littleEndian(at: offset, as: UInt32.self) == BlobFrame.magic { return offset }
            start = offset + 1
        }
        return nil
    }
}
