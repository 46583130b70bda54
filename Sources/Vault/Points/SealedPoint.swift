package import Model

/// A recovery point as the vault stores it: receipt, locator, wrapped record key, sealed record, signature.
package struct SealedPoint: Hashable, Sendable {
    static let version: UInt16 = 1
    /// Longest record in bytes, so that a point with all around it stays below the bound of records.
    package static let maximumRecordLength = FormatLimits.recordLength - 16 * 1024

    /// When the vault accepted it, by the vault's clock; zero until then.
    package var arrival: Timestamp
    package let locator: PointLocator
    /// The record key for the vault: `RecordKey.wrap`.
    package let wrap: [UInt8]
    /// Nonce, AES-256-GCM of the record, tag.
    package let sealedRecord: [UInt8]
    /// The machine's Ed25519 over locator and sealed record; 64 bytes.
    package let signature: [UInt8]

    // MARK: Sealing and opening

    /// Seals and signs a point. The vault fills in `arrival` when it commits it.
    package static func seal(
        locator: PointLocator,
        record: PointRecord,
        key: RecordKey,
        signing: SigningKey
    ) throws -> SealedPoint {
        try seal(locator: locator, record: record, key: key, signing: signing, nonce: nil)
    }

    /// The same with the nonce given, for tests.
    static func seal(
        locator: PointLocator,
        record: PointRecord,
        key: RecordKey,
        signing: SigningKey,
        nonce: [UInt8]?
    ) throws -> SealedPoint {
        let clear = locator.encoded()
        let sealed = try key.seal(try record.encoded(), additional: clear, nonce: nonce)
        return SealedPoint(
            arrival: Timestamp(nanoseconds: 0),
            locator: locator,
            wrap: key.wrap,
            sealedRecord: sealed,
            signature: try signing.sign(signed(clear, sealed))
        )
    }

    private static func signed(_ locator: [UInt8], _ sealedRecord: [UInt8]) -> [UInt8] {
        Array(label: "holdfast/1/point") + locator + sealedRecord
    }

    /// Throws `damaged` unless the machine that `key` belongs to signed this point.
    package func verify(with key: VerifyingKey) throws {
        guard key.verifies(signature, of: SealedPoint.signed(locator.encoded(), sealedRecord)) else {
            throw RecordCoding.wrongSignature("point \(locator.point)")
        }
    }

    /// Opens the record. Throws `damaged` when record or locator were changed.
    package func open(with key: RecordKey) throws -> PointRecord {
        let record = try key.open(sealedRecord, additional: locator.encoded())
        return try record.withUnsafeBytes { try PointRecord.decode($0) }
    }

    // MARK: Coding

    /// The body of the blob of type `point`.
    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: wrap.count + sealedRecord.count + PointLocator.maximumLength + 96)
        writer.u16(SealedPoint.version)
        writer.i64(arrival.nanoseconds)
        writer.block(locator.encoded())
        writer.block(wrap)
        writer.block(sealedRecord)
        writer.raw(signature)
        return writer.bytes
    }

    /// Reads a body that fills `bytes`.
    package static func decode(_ bytes: UnsafeRawBufferPointer) throws -> SealedPoint {
        guard bytes.count <= FormatLimits.recordLength else { throw ByteReader.malformed("record too long") }
        var reader = ByteReader(bytes)
        let version = try reader.u16()
        guard version != 0 else { throw ByteReader.malformed("version of a point") }
        guard version <= SealedPoint.version else { throw ByteReader.newer("point", Int(version)) }
        let arrival = try reader.time()
        let locator = try PointLocator.decode(try reader.block(atMost: PointLocator.maximumLength))
        let wrap = Array(try reader.block(atMost: RecordKey.wrapLength))
        guard wrap.count == RecordKey.wrapLength else { throw ByteReader.malformed("length of a wrapped record key") }
        let sealedRecord = Array(try reader.block(atMost: maximumRecordLength + KeyCrypto.sealOverhead))
        guard sealedRecord.count >= KeyCrypto.sealOverhead else { throw ByteReader.malformed("length of a record") }
        let signature = try reader.raw(SigningKey.signatureLength)
        try reader.end()
        return SealedPoint(
            arrival: arrival,
            locator: locator,
            wrap: wrap,
            sealedRecord: sealedRecord,
            signature: signature
        )
    }

    /// The id of the blob, which changes with `arrival`.
    package var blobID: BlobID { RecordCoding.blobID(type: .point, body: encoded()) }
}
