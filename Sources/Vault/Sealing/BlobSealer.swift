package import Model

/// Turns plaintexts into framed blobs: compresses, seals, checksums, each in place in the buffer that grows.
///
/// One for each worker thread: it owns the contexts of zstd and of the cipher, which every blob reuses. What it
/// appends is contiguous and complete; `PackBuilder` copies it verbatim.
package final class BlobSealer {
    private let compression: Compression
    private let compressor: ZstdCompressor?
    private let cipher = SealingCipher()
    private var nonces: NoncePool
    /// Target of the trial on the first bytes of a blob.
    private var trial: [UInt8]
    /// Whether the blob before this one shrank: then this one very likely does, and the trial is skipped.
    private var lastOneShrank = true

    package convenience init(compression: Compression = .fast) {
        self.init(compression: compression, fixedNonce: nil)
    }

    /// With `fixedNonce` every blob gets the same nonce: for golden vectors only.
    init(compression: Compression, fixedNonce: [UInt8]?) {
        self.compression = compression
        compressor = compression == .none ? nil : ZstdCompressor(level: compression.level)
        nonces = NoncePool(fixed: fixedNonce)
        trial = [UInt8](repeating: 0, count: BlobSealer.trialLength)
    }

    /// Appends the complete framed blob (header, references, what is sealed) to `out`.
    ///
    /// - Parameters:
    ///   - type: data, node, extents or delta.
    ///   - key: the content key of `plain`.
    ///   - id: `BlobCrypto.id(of: key)`, which the caller has from its search for duplicates.
    ///   - secretNumber: the number of the convergence secret behind `key`, from 1.
    ///   - references: the blobs that the plaintext names, sorted, each once; none for data.
    ///   - plain: at most 1 MiB.
    ///   - out: grows by the framed blob; reserve capacity to keep it from moving.
    /// - Returns: what a footer needs; its offset counts from the start of `out`.
    /// - Throws: `internal` when the arguments break these rules; `out` is as before then.
    package func seal(
        type: BlobType,
        key: ContentKey,
        id: BlobID,
        secretNumber: UInt16,
        references: [BlobID],
        plain: UnsafeRawBufferPointer,
        into out: inout [UInt8]
    ) throws -> PackedBlob {
        guard type.packClass != .points, secretNumber > 0, plain.count <= type.maximumPlainLength else {
            throw HoldfastError(.internalError, "a blob of \(plain.count) bytes and type \(type) cannot be sealed")
        }
        try BlobSealer.check(references, of: type)

        let worthwhile = isCompressionWorthwhile(plain)
        let textOffset = BlobFrame.headerLength + 32 * references.count + SealingCipher.nonceLength
        let most = textOffset + 4 + max(plain.count, 64) + SealingCipher.tagLength
        let offset = out.count
        var sealedLength = 0
        var encoding = BlobEncoding.raw
        // The capacity is reserved by hand: `append(addingCapacity:)` alone would grow to the exact size, and copy
        // the whole buffer for every blob.
        if out.capacity - out.count < most { out.reserveCapacity(max(out.count + most, out.capacity * 2)) }
        try out.append(addingCapacity: most) { span in
            try span.withUnsafeMutableBufferPointer { buffer, initialised in
                let frame = UnsafeMutableRawBufferPointer(buffer)
                let body = UnsafeMutableRawBufferPointer(rebasing: frame[(textOffset + 4)...])
                var encodedLength = plain.count
                if worthwhile, let compressor, plain.count > 1,
                    let length = compressor.compress(
                        plain, into: UnsafeMutableRawBufferPointer(rebasing: body[..<(plain.count - 1)]))
                {
                    encodedLength = length
                    encoding = .zstd
                } else {
                    body.copyMemory(from: plain)
                }
                frame.storeLittleEndian(UInt32(plain.count), at: textOffset)
                sealedLength = SealingCipher.nonceLength + 4 + encodedLength + SealingCipher.tagLength
                BlobFrame.store(
                    type: type, encoding: encoding, secretNumber: secretNumber, references: references.count,
                    sealed: sealedLength, id: id, to: frame)
                var position = BlobFrame.headerLength
                for reference in references {
                    reference.bytes.store(to: UnsafeMutableRawBufferPointer(rebasing: frame[position...]))
                    position += 32
                }
                let start = frame.baseAddress!
                nonces.take(start + position)
                try cipher.seal(
                    key: BlobCrypto.sealingKey(of: key),
                    nonce: start + position,
                    additional: UnsafeRawBufferPointer(rebasing: frame[..<position]),
                    text: UnsafeMutableRawBufferPointer(start: start + textOffset, count: 4 + encodedLength),
                    tag: start + textOffset + 4 + encodedLength)
                let framedLength = position + sealedLength
                let checksum = XXH3.hash(UnsafeRawBufferPointer(rebasing: frame[..<framedLength]))
                frame.storeLittleEndian(checksum, at: BlobFrame.checksumOffset)
                initialised = framedLength
            }
        }
        if worthwhile { lastOneShrank = encoding == .zstd }
        return PackedBlob(
            id: id, type: type, encoding: encoding, secretNumber: secretNumber, references: references,
            sealedLength: UInt32(sealedLength), offset: UInt64(offset))
    }

    /// Appends a record (types 16 to 19) as a framed blob to `out`: its body stands as it is, records are sealed inside.
    ///
    /// - Parameter references: the blobs that the record names, sorted, each once.
    /// - Throws: `internal` for another type, a body that is empty or above 4 MiB, or unsorted references.
    package static func frame(
        record type: BlobType, body: UnsafeRawBufferPointer, references: [BlobID], into out: inout [UInt8]
    ) throws -> PackedBlob {
        guard type.packClass == .points, !body.isEmpty, body.count <= type.maximumPlainLength else {
            throw HoldfastError(.internalError, "a record of \(body.count) bytes and type \(type) cannot be framed")
        }
        try check(references, of: type)
        let id = BlobCrypto.recordID(type: type, body: body)
        let offset = out.count
        let bodyOffset = BlobFrame.headerLength + 32 * references.count
        let length = bodyOffset + body.count
        if out.capacity - out.count < length { out.reserveCapacity(max(out.count + length, out.capacity * 2)) }
        out.append(addingCapacity: length) { span in
            span.withUnsafeMutableBufferPointer { buffer, initialised in
                let frame = UnsafeMutableRawBufferPointer(buffer)
                BlobFrame.store(
                    type: type, encoding: .raw, secretNumber: 0, references: references.count, sealed: body.count,
                    id: id, to: frame)
                for (index, reference) in references.enumerated() {
                    let start = BlobFrame.headerLength + 32 * index
                    reference.bytes.store(to: UnsafeMutableRawBufferPointer(rebasing: frame[start...]))
                }
                UnsafeMutableRawBufferPointer(rebasing: frame[bodyOffset...]).copyMemory(from: body)
                let checksum = XXH3.hash(UnsafeRawBufferPointer(rebasing: frame[..<length]))
                frame.storeLittleEndian(checksum, at: BlobFrame.checksumOffset)
                initialised = length
            }
        }
        return PackedBlob(
            id: id, type: type, encoding: .raw, secretNumber: 0, references: references,
            sealedLength: UInt32(body.count), offset: UInt64(offset))
    }

    // MARK: Rules

    private static func check(_ references: [BlobID], of type: BlobType) throws {
        guard references.isEmpty || (type.hasReferences && references.count <= FormatLimits.references) else {
            throw HoldfastError(.internalError, "a blob of type \(type) cannot name \(references.count) blobs")
        }
        var index = 1
        while index < references.count {
            guard references[index - 1] < references[index] else {
                throw HoldfastError(.internalError, "the references of a blob are not sorted")
            }
            index += 1
        }
    }

    /// Bytes that are tried before a long blob is compressed.
    private static let trialLength = 8 * 1024

    /// Whether it is worth compressing all of `plain`. After a blob that did not shrink, the first 8 KiB are tried
    /// alone: photographs and archives come in rows, and compressing each of them in vain would cost twice what
    /// sealing costs.
    private func isCompressionWorthwhile(_ plain: UnsafeRawBufferPointer) -> Bool {
        guard let compressor else { return false }
        if lastOneShrank || plain.count < 4 * BlobSealer.trialLength { return true }
        let sample = UnsafeRawBufferPointer(rebasing: plain[..<BlobSealer.trialLength])
        // One part in 32 must go: less is not worth the time of decompression.
        let limit = BlobSealer.trialLength - BlobSealer.trialLength / 32
        return trial.withUnsafeMutableBytes {
            compressor.compress(sample, into: UnsafeMutableRawBufferPointer(rebasing: $0[..<limit])) != nil
        }
    }
}
