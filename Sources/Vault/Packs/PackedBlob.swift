package import Model

/// A blob as it lies in a pack: everything about it that stands in the clear.
package struct PackedBlob: Hashable, Sendable {
    package var id: BlobID
    package var type: BlobType
    package var encoding: BlobEncoding
    /// The number of the convergence secret that its content key was derived with; 0 for records.
    package var secretNumber: UInt16
    /// The blobs that this one names, sorted, each once.
    package var references: [BlobID]
    /// Bytes of what is sealed, nonce and tag included.
    package var sealedLength: UInt32
    /// Where the blob's header begins, from the start of the pack (or of the buffer it was appended to).
    package var offset: UInt64

    package init(
        id: BlobID,
        type: BlobType,
        encoding: BlobEncoding,
        secretNumber: UInt16,
        references: [BlobID] = [],
        sealedLength: UInt32,
        offset: UInt64
    ) {
        self.id = id
        self.type = type
        self.encoding = encoding
        self.secretNumber = secretNumber
        self.references = references
        self.sealedLength = sealedLength
        self.offset = offset
    }

    /// Bytes of the whole framed blob: header, references and what is sealed.
    package var framedLength: Int { BlobFrame.headerLength + 32 * references.count + Int(sealedLength) }

    /// Where the framed blob lies in its pack.
    package var range: Range<UInt64> { offset..<(offset + UInt64(framedLength)) }
}
