import Model

/// Makes packs of class 3 and says what the catalog keeps of them.
struct RecordPackWriter: ~Copyable {
    private var builder: PackBuilder
    private var entries: [RecordEntry] = []
    private let writer: WriterID

    init(vault: VaultID, writer: WriterID) {
        self.writer = writer
        builder = PackBuilder(vault: vault, writer: writer, packClass: .points)
    }

    var isEmpty: Bool { builder.isEmpty }
    var byteCount: Int { builder.byteCount }

    mutating func append(_ point: SealedPoint) throws {
        try append(.point, point.encoded(), references: point.locator.references)
    }

    mutating func append(_ machine: MachineRecord) throws { try append(.machine, machine.encoded()) }
    mutating func append(_ hold: HoldRecord) throws { try append(.hold, hold.encoded()) }

    mutating func append(_ redaction: RedactionRecord) throws {
        try append(.redaction, redaction.encoded(), references: redaction.references)
    }

    private mutating func append(_ type: BlobType, _ body: [UInt8], references: [BlobID] = []) throws {
        var framed: [UInt8] = []
        let blob = try body.withUnsafeBytes {
            try BlobSealer.frame(record: type, body: $0, references: references, into: &framed)
        }
        try framed.withUnsafeBytes { try append(framed: $0, blob) }
    }

    private mutating func append(framed: UnsafeRawBufferPointer, _ blob: PackedBlob) throws {
        let placed = try builder.append(framed, blob)
        entries.append(try RecordEntry(placed, framed: framed))
    }

    /// Appends a framed record of another pack verbatim.
    ///
    /// - Parameter row: what the catalog knows of it; nothing for a record that is not relied upon, which stays that.
    mutating func append(framed: UnsafeRawBufferPointer, _ blob: PackedBlob, as row: RecordLocation?) throws {
        if builder.contains(blob.id) { return }
        let placed = try builder.append(framed, blob)
        guard let row else { return }
        entries.append(
            RecordEntry(
                id: row.id, type: row.type, subject: row.subject, time: row.time, offset: placed.offset,
                length: placed.framedLength))
    }

    consuming func finish() throws -> (sealed: SealedPack, stored: StoredRecordPack) {
        let sealed = try builder.finish()
        let pack = PackEntry(
            name: sealed.name, packClass: .points, origin: writer, bytes: UInt64(sealed.bytes.count),
            blobCount: sealed.blobs.count)
        return (sealed, StoredRecordPack(pack: pack, records: entries))
    }
}

extension RecordEntry {
    /// Decodes the framed record that `blob` describes.
    ///
    /// - Throws: `damaged` for a record that is not what it should be, `unsupported` for a newer one.
    init(_ blob: PackedBlob, framed: UnsafeRawBufferPointer) throws {
        let body = try BlobOpener.record(framed, expecting: blob.type)
        let subject: [UInt8]
        let time: Timestamp
        var entry: PointEntry?
        var references: [BlobID] = []
        switch blob.type {
        case .point:
            let point = try SealedPoint.decode(body)
            guard blob.references == point.locator.references else {
                throw ByteReader.malformed("references of a point")
            }
            subject = point.locator.point.array
            time = point.arrival
            entry = PointEntry(point)
        case .machine:
            let machine = try MachineRecord.decode(body)
            subject = machine.machine.array
            time = machine.joined
        case .hold:
            let hold = try HoldRecord.decode(body)
            subject = hold.content.hold.array
            time = hold.content.placed
        case .redaction:
            let redaction = try RedactionRecord.decode(body)
            subject = redaction.point.array
            time = redaction.time
            references = redaction.references
        case .data, .node, .extents, .delta:
            throw ByteReader.malformed("a blob in a pack of records")
        }
        self.init(
            id: blob.id, type: blob.type, subject: subject, time: time, offset: blob.offset, length: blob.framedLength,
            point: entry, references: references)
    }
}
