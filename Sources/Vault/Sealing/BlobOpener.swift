package import Model

/// Opens framed blobs: bounds, decrypts, decompresses, into buffers that every blob reuses.
///
/// One for each thread. The plaintext is lent to a closure and is overwritten by the next blob.
package final class BlobOpener {
    private let cipher = SealingCipher()
    private let decompressor = ZstdDecompressor()
    private var text = ReusedBuffer()
    private var plain = ReusedBuffer()

    package init() {}

    /// Opens the framed blob `framed` and lends its plaintext to `body`.
    ///
    /// The tag proves that the bytes are those that somebody who held the content key sealed under it; that they
    /// also *are* what the content key says is proved by `openVerified` alone.
    ///
    /// - Parameters:
    ///   - framed: header, references and what is sealed, exactly.
    ///   - key: the blob's content key.
    ///   - type: the type that whoever named the blob expects.
    /// - Throws: `damaged` when bounds, id, tag or compression do not fit; `misnamed` when the blob is of another type, which
    ///   is the fault of whoever named it; whatever `body` throws.
    package func open<R>(
        _ framed: UnsafeRawBufferPointer,
        key: ContentKey,
        expecting type: BlobType,
        _ body: (UnsafeRawBufferPointer) throws -> R
    ) throws -> R {
        let frame = try BlobFrame(framed)
        guard framed.count == frame.framedLength else { throw BlobOpener.damaged("its length is wrong", frame) }
        guard frame.type == type, type.packClass != .points else {
            throw HoldfastError(
                .misnamed, "a blob is named as something that it is not", context: ["blob": frame.id.hex])
        }
        guard frame.id == BlobCrypto.id(of: key) else { throw BlobOpener.damaged("it is another blob", frame) }

        let start = framed.baseAddress!
        let additionalLength = BlobFrame.headerLength + 32 * frame.referenceCount
        let textOffset = additionalLength + SealingCipher.nonceLength
        let textLength = frame.sealedLength - SealingCipher.nonceLength - SealingCipher.tagLength
        let target = text.reserve(textLength)
        let isGenuine = withAdditionalData(framed, length: additionalLength) { additional in
            cipher.open(
                key: BlobCrypto.sealingKey(of: key),
                nonce: start + additionalLength,
                additional: additional,
                sealed: UnsafeRawBufferPointer(start: start + textOffset, count: textLength),
                tag: start + textOffset + textLength,
                into: target.baseAddress!)
        }
        guard isGenuine else { throw BlobOpener.damaged("its seal is broken", frame) }

        let opened = UnsafeRawBufferPointer(target)
        let plainLength = Int(opened.littleEndian(at: 0, as: UInt32.self))
        let encoded = UnsafeRawBufferPointer(rebasing: opened[4...])
        guard plainLength <= type.maximumPlainLength else { throw BlobOpener.damaged("it is too long", frame) }
        switch frame.encoding {
        case .raw:
            guard plainLength == encoded.count else { throw BlobOpener.damaged("its inner length is wrong", frame) }
            return try body(encoded)
        case .zstd:
            let expanded = plain.reserve(plainLength)
            try decompressor.decompress(encoded, into: expanded)
            return try body(UnsafeRawBufferPointer(expanded))
        }
    }

    /// Like `open`, and proves that the plaintext is what the content key says, with the convergence secret that the
    /// blob was derived with.
    ///
    /// - Parameter derivers: of the blob's domain; the one with the blob's secret number is used.
    /// - Throws: `damaged` when the plaintext has another content key; `keyNeeded` when that secret is not among
    ///   `derivers`.
    package func openVerified<R>(
        _ framed: UnsafeRawBufferPointer,
        key: ContentKey,
        expecting type: BlobType,
        derivers: [BlobKeyDeriver],
        _ body: (UnsafeRawBufferPointer) throws -> R
    ) throws -> R {
        let frame = try BlobFrame(framed)
        guard let deriver = derivers.first(where: { $0.number == frame.secretNumber }) else {
            throw HoldfastError(.keyNeeded, "convergence secret \(frame.secretNumber) is needed to check this blob")
        }
        return try open(framed, key: key, expecting: type) { plain in
            guard deriver.contentKey(type, plain) == key else {
                throw BlobOpener.damaged("its plaintext is not what its key says", frame)
            }
            return try body(plain)
        }
    }

    /// The body of the framed record `framed`, in place.
    ///
    /// - Throws: `damaged` when bounds, type or id do not fit.
    package static func record(_ framed: UnsafeRawBufferPointer, expecting type: BlobType) throws
        -> UnsafeRawBufferPointer
    {
        let frame = try BlobFrame(framed)
        guard framed.count == frame.framedLength else { throw damaged("its length is wrong", frame) }
        guard frame.type == type, type.packClass == .points else { throw damaged("its type is wrong", frame) }
        let body = UnsafeRawBufferPointer(rebasing: framed[(BlobFrame.headerLength + 32 * frame.referenceCount)...])
        guard BlobCrypto.recordID(type: type, body: body) == frame.id else {
            throw damaged("its name is not that of its body", frame)
        }
        return body
    }

    private static func damaged(_ what: String, _ frame: BlobFrame) -> HoldfastError {
        HoldfastError(.damaged, "a blob is damaged: \(what)", context: ["blob": frame.id.hex])
    }

    /// Lends header and references with the checksum as zero, as they were when the blob was sealed.
    private func withAdditionalData(
        _ framed: UnsafeRawBufferPointer, length: Int, _ body: (UnsafeRawBufferPointer) -> Bool
    ) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: length, alignment: 8) { copy in
            copy.copyMemory(from: UnsafeRawBufferPointer(rebasing: framed[..<length]))
            copy.storeLittleEndian(UInt64(0), at: BlobFrame.checksumOffset)
            return body(UnsafeRawBufferPointer(copy))
        }
    }
}

extension HoldfastError.Code {
    /// A blob is not of the type that it is named as. It says nothing about the blob: anybody can name what is others'.
    package static let misnamed = HoldfastError.Code("misnamed")
}

/// Memory that grows to the longest use and is never cleared.
struct ReusedBuffer: ~Copyable {
    private var memory = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    deinit { memory.deallocate() }

    /// The first `count` bytes; at least one byte lies behind the pointer.
    mutating func reserve(_ count: Int) -> UnsafeMutableRawBufferPointer {
        if memory.count < max(count, 1) {
            memory.deallocate()
            // A quarter more, so that a row of slightly longer blobs does not move it each time.
            memory = .allocate(byteCount: max(count + count / 4, 64 * 1024), alignment: 64)
        }
        return UnsafeMutableRawBufferPointer(rebasing: memory[..<count])
    }
}
