package import Model
package import Vault

/// The engine's values on the wire. Small ones are JSON with sorted keys, lists of blobs are binary, little-endian.
///
/// Both sides use these: what one writes the other reads, and a test holds every pair together.
package enum VaultMessages {
    /// Points in one page of a list.
    package static let pageSize = 500
    /// Bytes after which an answer with blobs ends: the reader asks for the rest again.
    package static let readLength = 16 << 20
    /// Longest body in bytes that a client takes: an answer with blobs may exceed its length by one blob.
    package static let maximumAnswer = 20 << 20
    /// Longest point on the wire.
    package static let maximumPoint = 4 << 20
    /// Packs that one point may bring along.
    package static let maximumRiding = 16

    // MARK: Leases

    package static func encode(_ head: MachineHead) -> JSONValue {
        .object([
            "incarnation": .string(head.incarnation.hex), "number": .integer(Int64(clamping: head.number)),
            "hash": .string(head.hash.hex),
        ])
    }

    package static func head(_ fields: JSONFields) throws -> MachineHead {
        MachineHead(
            incarnation: try fields.identifier("incarnation"),
            number: UInt64(try fields.integer("number", in: 0...Int64.max)),
            hash: LocatorHash(try fields.digest("hash")))
    }

    package static func encode(_ request: LeaseRequest) -> [UInt8] {
        var fields: [String: JSONValue] = [:]
        switch request.purpose {
        case .writer(let machine, let head, let base):
            fields["purpose"] = .string("writer")
            fields["machine"] = .string(machine.hex)
            if let head { fields["head"] = encode(head) }
            if let base { fields["base"] = .string(base.hex) }
        case .reader(let points):
            fields["purpose"] = .string("reader")
            fields["points"] = .array(points.map { .string($0.hex) })
        }
        return JSONValue.object(fields).encoded()
    }

    package static func leaseRequest(_ body: [UInt8]) throws -> LeaseRequest {
        let fields = try JSONFields(parsing: body, document: "the request for a lease")
        switch try fields.string("purpose") {
        case "writer":
            return .writer(
                machine: try fields.identifier("machine"),
                head: fields.has("head") ? try head(try fields.object("head")) : nil,
                base: fields.has("base") ? try fields.identifier("base") : nil)
        case "reader":
            return .reader(
                try fields.strings("points", atMost: 4_096).map { text in
                    guard let id = PointID(hex: text) else { throw fields.wrong("points") }
                    return id
                })
        default: throw fields.wrong("purpose")
        }
    }

    /// The answer to the request for a lease.
    /// - Parameter seconds: how long the lease lives without being used, by the server's clock.
    package static func encode(_ lease: Lease, seconds: Int) -> [UInt8] {
        var fields: [String: JSONValue] = [
            "lease": .string(lease.id.hex), "generation": .integer(Int64(clamping: lease.generation)),
            "incarnation": .string(lease.next.incarnation.hex),
            "number": .integer(Int64(clamping: lease.next.number)), "previous": .string(lease.next.previous.hex),
            "new_incarnation": .bool(lease.isNewIncarnation), "base_available": .bool(lease.baseAvailable),
            "damaged": .array(lease.damaged.prefix(maximumDamaged).map { .string($0.hex) }),
            "expires_in": .integer(Int64(seconds)),
        ]
        if let head = lease.head { fields["head"] = encode(head) }
        return JSONValue.object(fields).encoded()
    }

    /// Damaged blobs that one lease names: what is left is named by the next, after these were healed.
    private static let maximumDamaged = 8_192

    package static func lease(_ body: [UInt8]) throws -> (lease: Lease, seconds: Int) {
        let fields = try JSONFields(parsing: body, document: "the server's lease")
        let damaged = try fields.strings("damaged", atMost: maximumDamaged).compactMap { BlobID(hex: $0) }
        let lease = Lease(
            id: try fields.identifier("lease"), generation: UInt64(try fields.integer("generation", in: 0...Int64.max)),
            head: fields.has("head") ? try head(try fields.object("head")) : nil,
            next: PointPosition(
                incarnation: try fields.identifier("incarnation"),
                number: UInt64(try fields.integer("number", in: 1...Int64.max)),
                previous: LocatorHash(try fields.digest("previous"))),
            isNewIncarnation: try flag(fields, "new_incarnation"), baseAvailable: try flag(fields, "base_available"),
            damaged: damaged)
        return (lease, Int(try fields.integer("expires_in", in: 1...86_400)))
    }

    package static func flag(_ fields: JSONFields, _ name: String) throws -> Bool {
        guard case .bool(let value) = fields.members[name] else { throw fields.wrong(name) }
        return value
    }

    // MARK: Points

    package static func encode(_ receipt: CommitReceipt) -> [UInt8] {
        JSONValue.object([
            "point": .string(receipt.point.hex), "arrival": .integer(receipt.arrival.nanoseconds),
            "stored_up_to": encode(receipt.storedUpTo),
        ]).encoded()
    }

    package static func receipt(_ body: [UInt8]) throws -> CommitReceipt {
        let fields = try JSONFields(parsing: body, document: "the server's receipt")
        return CommitReceipt(
            point: try fields.identifier("point"), arrival: try time(fields, "arrival"),
            storedUpTo: try head(try fields.object("stored_up_to")))
    }

    /// A point with the packs that it brings along: several byte strings, the point first.
    package static func encode(_ point: SealedPoint, with packs: [SealedPack]) -> [UInt8] {
        encode(records: [point.encoded()] + packs.map(\.bytes))
    }

    package static func pointWithPacks(
        _ body: [UInt8], vault: VaultID
    ) throws -> (point: SealedPoint, packs: [SealedPack]) {
        let parts = try records(body) { Array($0) }
        guard let first = parts.first, parts.count <= 1 + maximumRiding else { throw ByteReader.malformed("packs") }
        return (
            try first.withUnsafeBytes { try SealedPoint.decode($0) },
            try parts.dropFirst().map { try SealedPack(parsing: $0, vault: vault) }
        )
    }

    private static func time(_ fields: JSONFields, _ name: String) throws -> Timestamp {
        Timestamp(nanoseconds: try fields.integer(name, in: Int64.min...Int64.max))
    }

    package static func encode(_ point: PointSummary) -> JSONValue {
        .object([
            "id": .string(point.id.hex), "machine": .string(point.machine.hex),
            "incarnation": .string(point.incarnation.hex), "number": .integer(Int64(clamping: point.number)),
            "time": .integer(point.time.nanoseconds), "arrival": .integer(point.arrival.nanoseconds),
            "effective": .integer(point.effective.nanoseconds), "kind": .integer(Int64(point.kind.rawValue)),
            "partial": .bool(point.isPartial), "pinned": .bool(point.isPinned), "held": .bool(point.isHeld),
            "series": .string(hex(point.series)), "hash": .string(point.hash.hex),
            "previous": .string(point.previous.hex), "references": .array(point.references.map { .string($0.hex) }),
            "condition": .integer(Int64(point.condition.rawValue)),
        ])
    }

    private static func hex(_ value: UInt64) -> String {
        Hex.encode(withUnsafeBytes(of: value.bigEndian) { Array($0) })
    }

    package static func point(_ value: JSONValue) throws -> PointSummary {
        let fields = try JSONFields(value, document: "the server's list of points")
        guard let kind = PointKind(rawValue: UInt8(try fields.integer("kind", in: 0...255))),
            let condition = PointSummary.Condition(rawValue: UInt8(try fields.integer("condition", in: 0...255)))
        else { throw fields.wrong("kind") }
        let series = try fields.bytes("series", count: 8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return PointSummary(
            id: try fields.identifier("id"), machine: try fields.identifier("machine"),
            incarnation: try fields.identifier("incarnation"),
            number: UInt64(try fields.integer("number", in: 0...Int64.max)), time: try time(fields, "time"),
            arrival: try time(fields, "arrival"), effective: try time(fields, "effective"), kind: kind,
            isPartial: try flag(fields, "partial"), isPinned: try flag(fields, "pinned"), series: series,
            hash: LocatorHash(try fields.digest("hash")), previous: LocatorHash(try fields.digest("previous")),
            references: try fields.strings("references", atMost: 64).map { text in
                guard let id = BlobID(hex: text) else { throw fields.wrong("references") }
                return id
            }, condition: condition, isHeld: try flag(fields, "held"))
    }

    /// The beginning of a list as far as it fits into one page.
    package static func page(of points: ArraySlice<PointSummary>) -> [PointSummary] {
        var length = 0
        return Array(
            points.prefix(pageSize).prefix { point in
                length += 640 + 70 * point.references.count
                return length <= 900_000
            })
    }

    /// A page of points. `next` is where the next page begins; `nil` on the last.
    package static func encode(page: [PointSummary], next: Int?) -> [UInt8] {
        var fields: [String: JSONValue] = ["points": .array(page.map { encode($0) })]
        if let next { fields["next"] = .integer(Int64(next)) }
        return JSONValue.object(fields).encoded()
    }

    package static func page(_ body: [UInt8]) throws -> (points: [PointSummary], next: Int?) {
        let fields = try JSONFields(parsing: body, document: "the server's list of points")
        let points = try fields.array("points", atMost: pageSize).map { try point($0) }
        let next = fields.has("next") ? Int(try fields.integer("next", in: 1...Int64(Int32.max))) : nil
        return (points, next)
    }

    // MARK: Records

    /// Several byte strings: `u32 count`, then for each `u32 length ‖ bytes`.
    package static func encode(records: [[UInt8]]) -> [UInt8] {
        var writer = ByteWriter()
        writer.u32(UInt32(records.count))
        for record in records {
            writer.u32(UInt32(record.count))
            writer.raw(record)
        }
        return writer.bytes
    }

    package static func records<R>(_ body: [UInt8], _ decode: (UnsafeRawBufferPointer) throws -> R) throws -> [R] {
        try body.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            let count = Int(try reader.u32())
            guard count <= bytes.count / 4 else { throw ByteReader.malformed("records") }
            var result: [R] = []
            for _ in 0..<count { result.append(try decode(try reader.slice(Int(try reader.u32())))) }
            try reader.end()
            return result
        }
    }

    // MARK: Blobs

    /// A question after blobs: `u32 count`, then for each the id (32 bytes), whether a content key follows (1 byte), and the
    /// key (32 bytes).
    package static func encode(_ questions: [BlobQuestion]) -> [UInt8] {
        var writer = ByteWriter(capacity: 4 + questions.count * 65)
        writer.u32(UInt32(questions.count))
        for question in questions {
            writer.digest(question.id.bytes)
            writer.u8(question.key == nil ? 0 : 1)
            if let key = question.key { writer.digest(key.bytes) }
        }
        return writer.bytes
    }

    package static func questions(_ body: [UInt8]) throws -> [BlobQuestion] {
        try body.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            let count = Int(try reader.u32())
            guard count <= VaultLimits.missingBatch else { throw ByteReader.malformed("too many blobs") }
            var result: [BlobQuestion] = []
            result.reserveCapacity(count)
            for _ in 0..<count {
                let id = BlobID(try reader.digest())
                switch try reader.u8() {
                case 0: result.append(BlobQuestion(id: id))
                case 1: result.append(BlobQuestion(id: id, key: ContentKey(try reader.digest())))
                default: throw ByteReader.malformed("question")
                }
            }
            try reader.end()
            return result
        }
    }

    /// One bit for each blob that was asked for, from the lowest of the first byte on: 1 when it must be sent.
    package static func encode(missing: [Bool]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: (missing.count + 7) / 8)
        for (index, isMissing) in missing.enumerated() where isMissing { bytes[index / 8] |= 1 << (index % 8) }
        return bytes
    }

    package static func missing(_ body: [UInt8], count: Int) throws -> [Bool] {
        guard body.count == (count + 7) / 8 else { throw ByteReader.malformed("bitmap") }
        return (0..<count).map { body[$0 / 8] & (1 << ($0 % 8)) != 0 }
    }

    /// `u32 count`, then the ids.
    package static func encode(ids: [BlobID]) -> [UInt8] {
        var writer = ByteWriter(capacity: 4 + ids.count * 32)
        writer.u32(UInt32(ids.count))
        for id in ids { writer.digest(id.bytes) }
        return writer.bytes
    }

    package static func ids(_ body: [UInt8]) throws -> [BlobID] {
        try body.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            let count = Int(try reader.u32())
            guard count <= VaultLimits.missingBatch else { throw ByteReader.malformed("too many blobs") }
            var result: [BlobID] = []
            for _ in 0..<count { result.append(BlobID(try reader.digest())) }
            try reader.end()
            return result
        }
    }

    /// What stands before each blob of an answer: its id, and the length of the framed bytes, 0 when no copy can be read.
    package static let frameHeader = 36

    package static func appendFrame(_ id: BlobID, _ framed: UnsafeRawBufferPointer?, to writer: inout ByteWriter) {
        writer.digest(id.bytes)
        writer.u32(UInt32(framed?.count ?? 0))
        if let framed { writer.raw(framed) }
    }

    /// Goes through the blobs of an answer.
    package static func forEachFrame(
        _ body: UnsafeRawBufferPointer, _ visit: (BlobID, UnsafeRawBufferPointer?) throws -> Void
    ) throws {
        var reader = ByteReader(body)
        var offset = 0
        while offset < body.count {
            let id = BlobID(try reader.digest())
            let length = Int(try reader.u32())
            try visit(id, length == 0 ? nil : try reader.slice(length))
            offset += frameHeader + length
        }
    }
}
