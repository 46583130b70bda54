package import Model

/// A path erased from a point, signed by the vault: a new root beside the hash of the locator it replaces the record of.
package struct RedactionRecord: Hashable, Sendable {
    static let version: UInt8 = 1
    private static let signatureLabel = Array(label: "holdfast/1/redaction")

    package let point: PointID
    package let time: Timestamp
    /// Hash of the point's locator, which stays as it is.
    package let locatorHash: LocatorHash
    /// The path that was erased, in bytes.
    package let path: [UInt8]
    /// Ids of the new root and deltas, sorted, each once.
    package let references: [BlobID]
    package let wrap: [UInt8]
    package let sealedRecord: [UInt8]
    /// By the vault's key; 64 bytes.
    package let signature: [UInt8]

    // MARK: Sealing and opening

    /// Seals and signs a redaction of the point that `locator` is of. `references` may be in any order.
    package static func seal(
        locator: PointLocator,
        time: Timestamp,
        path: [UInt8],
        references: [BlobID],
        record: PointRecord,
        key: RecordKey,
        signing: SigningKey
    ) throws -> RedactionRecord {
        try seal(
            locator: locator,
            time: time,
            path: path,
            references: references,
            record: record,
            key: key,
            signing: signing,
            nonce: nil
        )
    }

    /// The same with the nonce given, for tests.
    static func seal(
        locator: PointLocator,
        time: Timestamp,
        path: [UInt8],
        references: [BlobID],
        record: PointRecord,
        key: RecordKey,
        signing: SigningKey,
        nonce: [UInt8]?
    ) throws -> RedactionRecord {
        let sorted = Set(references).sorted()
        guard path.count <= FormatLimits.keyLength, sorted.count <= PointLocator.maximumReferences else {
            throw HoldfastError(.usage, "The path to erase is too long, or the point has too many references.")
        }
        let unsigned = RedactionRecord(
            point: locator.point,
            time: time,
            locatorHash: locator.hash,
            path: path,
            references: sorted,
            wrap: key.wrap,
            sealedRecord: try key.seal(try record.encoded(), additional: additional(locator), nonce: nonce),
            signature: []
        )
        let clear = unsigned.clearBytes
        guard clear.count + SigningKey.signatureLength <= FormatLimits.recordLength else {
            throw HoldfastError(.usage, "The record of the point is too long to be redacted.")
        }
        return RedactionRecord(unsigned, signature: try signing.sign(signatureLabel + clear))
    }

    private init(_ other: RedactionRecord, signature: [UInt8]) {
        self.init(
            point: other.point,
            time: other.time,
            locatorHash: other.locatorHash,
            path: other.path,
            references: other.references,
            wrap: other.wrap,
            sealedRecord: other.sealedRecord,
            signature: signature
        )
    }

    private init(
        point: PointID,
        time: Timestamp,
        locatorHash: LocatorHash,
        path: [UInt8],
        references: [BlobID],
        wrap: [UInt8],
        sealedRecord: [UInt8],
        signature: [UInt8]
    ) {
        self.point = point
        self.time = time
        self.locatorHash = locatorHash
        self.path = path
        self.references = references
        self.wrap = wrap
        self.sealedRecord = sealedRecord
        self.signature = signature
    }

    private static func additional(_ locator: PointLocator) -> [UInt8] { signatureLabel + locator.encoded() }

    /// Throws `damaged` unless the vault signed it.
    package func verify(with key: VerifyingKey) throws {
        guard key.verifies(signature, of: RedactionRecord.signatureLabel + clearBytes) else {
            throw RecordCoding.wrongSignature("redaction of point \(point)")
        }
    }

    /// Opens the new record of the point that `locator` is of.
    package func open(with key: RecordKey, locator: PointLocator) throws -> PointRecord {
        guard locator.point == point, locator.hash == locatorHash else {
            throw HoldfastError(.damaged, "The redaction is of another point than \(locator.point).")
        }
        let record = try key.open(sealedRecord, additional: RedactionRecord.additional(locator))
        return try record.withUnsafeBytes { try PointRecord.decode($0) }
    }

    // MARK: Coding

    private var clearBytes: [UInt8] {
        var writer = ByteWriter(capacity: 256 + wrap.count + sealedRecord.count + references.count * 32)
        writer.u8(RedactionRecord.version)
        writer.raw(point.array)
        writer.i64(time.nanoseconds)
        writer.digest(locatorHash.bytes)
        writer.counted(path)
        writer.references(references)
        writer.block(wrap)
        writer.block(sealedRecord)
        return writer.bytes
    }

    /// The body of the blob of type `redaction`.
    package func encoded() -> [UInt8] { clearBytes + signature }

    /// Reads a body that fills `bytes`.
    package static func decode(_ bytes: UnsafeRawBufferPointer) throws -> RedactionRecord {
        guard bytes.count <= FormatLimits.recordLength else { throw ByteReader.malformed("record too long") }
        var reader = ByteReader(bytes)
        try reader.version(version, of: "redaction")
        let point: PointID = try reader.identifier()
        let time = try reader.time()
        let locatorHash = LocatorHash(try reader.digest())
        let path = try reader.counted(atMost: FormatLimits.keyLength)
        let references = try reader.references(atMost: PointLocator.maximumReferences)
        let wrap = Array(try reader.block(atMost: RecordKey.wrapLength))
        guard wrap.count == RecordKey.wrapLength else { throw ByteReader.malformed("length of a wrapped record key") }
        let sealedRecord = Array(
            try reader.block(atMost: SealedPoint.maximumRecordLength + KeyCrypto.sealOverhead)
        )
        guard sealedRecord.count >= KeyCrypto.sealOverhead else { throw ByteReader.malformed("length of a record") }
        let signature = try reader.raw(SigningKey.signatureLength)
        try reader.end()
        return RedactionRecord(
            point: point,
            time: time,
            locatorHash: locatorHash,
            path: path,
            references: references,
            wrap: wrap,
            sealedRecord: sealedRecord,
            signature: signature
        )
    }

    /// The id of the blob.
    package var blobID: BlobID { RecordCoding.blobID(type: .redaction, body: encoded()) }
}
