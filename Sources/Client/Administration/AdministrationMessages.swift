package import Model
package import Vault

/// What administration asks and is answered, on the wire: JSON with sorted keys.
package enum AdministrationMessages {
    /// Longest answer that is read: reports name paths.
    package static let maximumReport = 16 << 20
    /// Entries of a list in a report that are passed on.
    static let maximumList = 4_096

    // MARK: Numbers

    private static func count(_ value: UInt64) -> JSONValue { .integer(Int64(clamping: value)) }
    private static func count(_ value: Int) -> JSONValue { .integer(Int64(value)) }

    private static func amount(_ fields: JSONFields, _ name: String) throws -> UInt64 {
        UInt64(try fields.integer(name, in: 0...Int64.max))
    }

    private static func number(_ fields: JSONFields, _ name: String) throws -> Int {
        Int(try fields.integer(name, in: 0...Int64.max))
    }

    private static func milliseconds(_ seconds: Double) -> JSONValue {
        .integer(Int64(max(0, min(seconds, 1e9)) * 1_000))
    }

    private static func seconds(_ fields: JSONFields) throws -> Double {
        Double(try fields.integer("milliseconds", in: 0...Int64.max)) / 1_000
    }

    private static func map(_ values: [WriterID: UInt64]) -> JSONValue {
        .object(Dictionary(uniqueKeysWithValues: values.map { ($0.key.hex, count($0.value)) }))
    }

    private static func map(_ fields: JSONFields, _ name: String) throws -> [WriterID: UInt64] {
        let inner = try fields.object(name)
        var result: [WriterID: UInt64] = [:]
        for key in inner.members.keys {
            guard let id = WriterID(hex: key) else { throw fields.wrong(name) }
            result[id] = try amount(inner, key)
        }
        return result
    }

    private static func reasons(_ packs: [(pack: PackName, reason: String)]) -> JSONValue {
        .array(packs.prefix(maximumList).map { .object(["pack": .string($0.pack.hex), "reason": .string($0.reason)]) })
    }

    private static func reasons(_ fields: JSONFields, _ name: String) throws -> [(pack: PackName, reason: String)] {
        try fields.array(name, atMost: maximumList).map { value in
            let item = try JSONFields(value, document: fields.document)
            guard let pack = PackName(hex: try item.string("pack")) else { throw fields.wrong(name) }
            return (pack, try item.string("reason"))
        }
    }

    private static func blobs(_ ids: [BlobID]) -> JSONValue { .array(ids.prefix(maximumList).map { .string($0.hex) }) }

    private static func blobs(_ fields: JSONFields, _ name: String) throws -> [BlobID] {
        try fields.strings(name, atMost: maximumList).map { text in
            guard let id = BlobID(hex: text) else { throw fields.wrong(name) }
            return id
        }
    }

    private static func points(_ ids: [PointID]) -> JSONValue { .array(ids.map { .string($0.hex) }) }

    package static func points(_ fields: JSONFields, _ name: String, atMost limit: Int = 65_536) throws -> [PointID] {
        try fields.strings(name, atMost: limit).map { text in
            guard let id = PointID(hex: text) else { throw fields.wrong(name) }
            return id
        }
    }

    // MARK: Overview

    package static func encode(_ overview: VaultOverview) -> [UInt8] {
        let statistics = overview.statistics
        var fields: [String: JSONValue] = [
            "config": .string(String(decoding: overview.config.encoded(), as: UTF8.self)),
            "points": count(statistics.points), "machines": count(statistics.machines),
            "damaged": count(statistics.damaged), "incomplete": count(statistics.incomplete),
            "condemned_bytes": count(statistics.condemnedBytes), "origins": map(statistics.bytesByOrigin),
        ]
        for (name, part) in [("data", statistics.data), ("meta", statistics.meta), ("records", statistics.records)] {
            fields[name] = .object([
                "packs": count(part.packs), "bytes": count(part.bytes), "blobs": count(part.blobs),
            ])
        }
        if let space = overview.space {
            fields["space"] = .object(["total": count(space.total), "available": count(space.available)])
        }
        return JSONValue.object(fields).encoded()
    }

    package static func overview(_ body: [UInt8]) throws -> VaultOverview {
        let fields = try JSONFields(parsing: body, document: "the server's numbers", atMost: maximumReport)
        func part(_ name: String) throws -> CatalogStatistics.PerClass {
            let inner = try fields.object(name)
            var part = CatalogStatistics.PerClass()
            part.packs = try number(inner, "packs")
            part.bytes = try amount(inner, "bytes")
            part.blobs = try number(inner, "blobs")
            return part
        }
        var statistics = CatalogStatistics()
        statistics.data = try part("data")
        statistics.meta = try part("meta")
        statistics.records = try part("records")
        statistics.points = try number(fields, "points")
        statistics.machines = try number(fields, "machines")
        statistics.damaged = try number(fields, "damaged")
        statistics.incomplete = try number(fields, "incomplete")
        statistics.condemnedBytes = try amount(fields, "condemned_bytes")
        statistics.bytesByOrigin = try map(fields, "origins")
        var space: StoreSpace?
        if fields.has("space") {
            let inner = try fields.object("space")
            space = StoreSpace(total: try amount(inner, "total"), available: try amount(inner, "available"))
        }
        return VaultOverview(
            config: try VaultConfig.decode(Array(try fields.string("config").utf8)), statistics: statistics,
            space: space)
    }

    // MARK: Verification

    package static func encode(_ request: VerificationRequest) -> JSONValue {
        var fields: [String: JSONValue] = [
            "level": .string(request.level.rawValue), "sample": .integer(Int64(request.sample * 1e9)),
        ]
        if let span = request.notCheckedFor { fields["not_checked_for"] = .integer(span) }
        return .object(fields)
    }

    package static func verification(_ fields: JSONFields) throws -> VerificationRequest {
        guard let level = VerificationLevel(rawValue: try fields.string("level")) else { throw fields.wrong("level") }
        var request = VerificationRequest(level: level)
        request.sample = Double(try fields.integer("sample", in: 1...1_000_000_000)) / 1e9
        if fields.has("not_checked_for") {
            request.notCheckedFor = try fields.integer("not_checked_for", in: 0...Int64.max)
        }
        return request
    }

    package static func encode(_ report: VerificationReport) -> [UInt8] {
        JSONValue.object([
            "level": .string(report.level.rawValue), "checked_packs": count(report.checkedPacks),
            "checked_bytes": count(report.checkedBytes), "checked_blobs": count(report.checkedBlobs),
            "lost_packs": .array(report.lostPacks.prefix(maximumList).map { .string($0.hex) }),
            "damaged_packs": reasons(report.damagedPacks), "found_blobs": count(report.foundBlobs),
            "damaged_blobs": count(report.damagedBlobs), "incomplete_blobs": count(report.incompleteBlobs),
            "damaged_points": .array(
                report.damagedPoints.prefix(maximumList).map { point in
                    .object([
                        "point": .string(point.point.hex), "machine": .string(point.machine.hex),
                        "time": .integer(point.time.nanoseconds),
                        "paths": .array(point.paths.prefix(256).map { .string(Hex.encode($0.bytes)) }),
                        "more_paths": .bool(point.hasMorePaths || point.paths.count > 256),
                    ])
                }),
            "findings": .array(report.findings.prefix(maximumList).map { .string($0) }),
            "milliseconds": milliseconds(report.seconds),
        ]).encoded()
    }

    package static func verificationReport(_ fields: JSONFields) throws -> VerificationReport {
        guard let level = VerificationLevel(rawValue: try fields.string("level")) else { throw fields.wrong("level") }
        var report = VerificationReport()
        report.level = level
        report.checkedPacks = try number(fields, "checked_packs")
        report.checkedBytes = try amount(fields, "checked_bytes")
        report.checkedBlobs = try number(fields, "checked_blobs")
        report.lostPacks = try fields.strings("lost_packs", atMost: maximumList).map { text in
            guard let name = PackName(hex: text) else { throw fields.wrong("lost_packs") }
            return name
        }
        report.damagedPacks = try reasons(fields, "damaged_packs")
        report.foundBlobs = try number(fields, "found_blobs")
        report.damagedBlobs = try number(fields, "damaged_blobs")
        report.incompleteBlobs = try number(fields, "incomplete_blobs")
        report.damagedPoints = try fields.array("damaged_points", atMost: maximumList).map { value in
            let item = try JSONFields(value, document: fields.document)
            var point = DamagedPoint(
                point: try item.identifier("point"), machine: try item.identifier("machine"),
                time: Timestamp(nanoseconds: try item.integer("time", in: Int64.min...Int64.max)))
            point.paths = try item.strings("paths", atMost: 256).map { text in
                guard let bytes = Hex.decode(text) else { throw fields.wrong("damaged_points") }
                return TreePath(unchecked: bytes)
            }
            point.hasMorePaths = try VaultMessages.flag(item, "more_paths")
            return point
        }
        report.findings = try fields.strings("findings", atMost: maximumList)
        report.seconds = try seconds(fields)
        return report
    }

    // MARK: Collection

    private static func encode(_ amount: CollectionPlan.Amount) -> JSONValue {
        .object(["packs": count(amount.packs), "bytes": count(amount.bytes)])
    }

    private static func planned(_ fields: JSONFields, _ name: String) throws -> CollectionPlan.Amount {
        let inner = try fields.object(name)
        var result = CollectionPlan.Amount()
        result.packs = try number(inner, "packs")
        result.bytes = try amount(inner, "bytes")
        return result
    }

    package static func encode(_ plan: CollectionPlan) -> [UInt8] {
        JSONValue.object([
            "generation": count(plan.generation), "dead": encode(plan.dead), "rewritten": encode(plan.rewritten),
            "copied_bytes": count(plan.copiedBytes), "left_bytes": count(plan.leftBytes),
            "total_bytes": count(plan.totalBytes), "live_origins": map(plan.liveBytesByOrigin),
            "origins": map(plan.bytesByOrigin), "lost": blobs(plan.lost), "unfinished": .bool(plan.isUnfinished),
        ]).encoded()
    }

    package static func plan(_ fields: JSONFields) throws -> CollectionPlan {
        var plan = CollectionPlan(generation: try amount(fields, "generation"))
        plan.dead = try planned(fields, "dead")
        plan.rewritten = try planned(fields, "rewritten")
        plan.copiedBytes = try amount(fields, "copied_bytes")
        plan.leftBytes = try amount(fields, "left_bytes")
        plan.totalBytes = try amount(fields, "total_bytes")
        plan.liveBytesByOrigin = try map(fields, "live_origins")
        plan.bytesByOrigin = try map(fields, "origins")
        plan.lost = try blobs(fields, "lost")
        plan.isUnfinished = try VaultMessages.flag(fields, "unfinished")
        return plan
    }

    package static func encode(_ report: CollectionReport) -> [UInt8] {
        JSONValue.object([
            "deleted_packs": count(report.deletedPacks), "rewritten_packs": count(report.rewrittenPacks),
            "new_packs": count(report.newPacks), "freed_bytes": count(report.freedBytes), "lost": blobs(report.lost),
            "unreadable": reasons(report.unreadable), "left_for_room": count(report.leftForRoom),
        ]).encoded()
    }

    package static func collectionReport(_ fields: JSONFields) throws -> CollectionReport {
        var report = CollectionReport()
        report.deletedPacks = try number(fields, "deleted_packs")
        report.rewrittenPacks = try number(fields, "rewritten_packs")
        report.newPacks = try number(fields, "new_packs")
        report.freedBytes = try amount(fields, "freed_bytes")
        report.lost = try blobs(fields, "lost")
        report.unreadable = try reasons(fields, "unreadable")
        report.leftForRoom = try number(fields, "left_for_room")
        return report
    }

    package static func encode(_ report: RebuildReport) -> [UInt8] {
        JSONValue.object([
            "packs": count(report.packs), "points": count(report.points),
            "damaged_points": points(Array(report.damagedPoints.prefix(maximumList))),
            "unreadable": reasons(report.unreadable),
            "unsigned": .array(report.unsigned.prefix(maximumList).map { .string($0) }),
            "chain": .array(report.chain.prefix(maximumList).map { .string($0) }),
            "milliseconds": milliseconds(report.seconds),
        ]).encoded()
    }

    package static func rebuildReport(_ fields: JSONFields) throws -> RebuildReport {
        var report = RebuildReport()
        report.packs = try number(fields, "packs")
        report.points = try number(fields, "points")
        report.damagedPoints = try points(fields, "damaged_points")
        report.unreadable = try reasons(fields, "unreadable")
        report.unsigned = try fields.strings("unsigned", atMost: maximumList)
        report.chain = try fields.strings("chain", atMost: maximumList)
        report.seconds = try seconds(fields)
        return report
    }

    package static func encode(deleting ids: [PointID], includesNewest: Bool) -> JSONValue {
        .object(["points": points(ids), "includes_newest": .bool(includesNewest)])
    }

    package static func deletion(_ fields: JSONFields) throws -> (points: [PointID], includesNewest: Bool) {
        (try points(fields, "points"), try VaultMessages.flag(fields, "includes_newest"))
    }

    package static func flag(_ fields: JSONFields, _ name: String) throws -> Bool {
        fields.has(name) ? try VaultMessages.flag(fields, name) : false
    }

    // MARK: Holds

    package static func encode(_ hold: HoldRecord.Content) -> JSONValue {
        .object([
            "hold": .string(hold.hold.hex), "placed_at": .integer(hold.placed.nanoseconds),
            "placed": .bool(hold.isPlaced), "machines": .array(hold.machines.map { .string($0.hex) }),
            "paths": .array(hold.paths.map { .string(Hex.encode($0)) }), "from": .integer(hold.from.nanoseconds),
            "until": .integer(hold.until.nanoseconds), "reference": .string(hold.reference),
        ])
    }

    package static func hold(_ value: JSONValue) throws -> HoldRecord.Content {
        let fields = try JSONFields(value, document: "the hold")
        func time(_ name: String) throws -> Timestamp {
            Timestamp(nanoseconds: try fields.integer(name, in: Int64.min...Int64.max))
        }
        return HoldRecord.Content(
            hold: try fields.identifier("hold"), placed: try time("placed_at"),
            isPlaced: try VaultMessages.flag(fields, "placed"),
            machines: try fields.strings("machines", atMost: HoldRecord.maximumMachines).map { text in
                guard let id = MachineID(hex: text) else { throw fields.wrong("machines") }
                return id
            },
            paths: try fields.strings("paths", atMost: HoldRecord.maximumPaths).map { text in
                guard let bytes = Hex.decode(text) else { throw fields.wrong("paths") }
                return bytes
            }, from: try time("from"), until: try time("until"), reference: try fields.string("reference"))
    }

    package static func encode(_ holds: [HoldRecord.Content]) -> [UInt8] {
        JSONValue.object(["holds": .array(holds.map { encode($0) })]).encoded()
    }

    package static func holds(_ body: [UInt8]) throws -> [HoldRecord.Content] {
        try JSONFields(parsing: body, document: "the server's list of holds", atMost: maximumReport)
            .array("holds", atMost: 65_536).map { try hold($0) }
    }

    // MARK: Keys

    package static func encode(_ material: KeyMaterial) -> [UInt8] {
        JSONValue.object([
            "config": .string(Hex.encode(material.config)),
            "files": .array(
                material.files.map { .object(["name": .string($0.name), "bytes": .string(Hex.encode($0.bytes))]) }),
        ]).encoded()
    }

    package static func keyMaterial(_ body: [UInt8]) throws -> KeyMaterial {
        let fields = try JSONFields(parsing: body, document: "the vault's key files", atMost: maximumReport)
        return KeyMaterial(
            config: try fields.bytes("config"),
            files: try fields.array("files", atMost: 2_048).map { value in
                let item = try JSONFields(value, document: fields.document)
                return (try item.string("name"), try item.bytes("bytes"))
            })
    }
}
