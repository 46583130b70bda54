import GRDB
package import Model
package import Vault

/// Points and the other records of class 3.
extension SQLiteCatalog {
    package func commit(
        _ point: PointEntry, lease: LeaseID, now: Timestamp, write body: (Timestamp) throws -> StoredRecordPack
    ) throws -> CommitReceipt {
        let batch = [PointCommit(point: point, lease: lease)]
        let outcome = try commit(batch, now: now) { _ in try body(now) }
        guard let receipt = outcome.receipts.first else { throw SQLiteFailure.malformed }
        return try receipt.get()
    }

    package func commit(
        _ batch: [PointCommit], now: Timestamp, write body: ([Int]) throws -> StoredRecordPack
    ) throws -> (receipts: [Result<CommitReceipt, any Error>], mayComplete: Bool) {
        try write(durable: true) { session in
            var receipts: [Result<CommitReceipt, any Error>] = []
            var taken: [Int] = []
            var hasPacks = false
            for (index, commit) in batch.enumerated() {
                do {
                    var known: CommitReceipt?
                    // Of what is refused nothing stays, also not of the packs that came before what refuses it.
                    try session.database.inSavepoint {
                        known = try admit(commit, session)
                        return .commit
                    }
                    if known == nil { taken.append(index) }
                    hasPacks = hasPacks || !commit.packs.isEmpty
                    receipts.append(.success(known ?? CommitReceipt(commit.point, arrival: now)))
                } catch let error as HoldfastError where SQLiteCatalog.refusals.contains(error.code) {
                    receipts.append(.failure(error))
                }
            }
            if !taken.isEmpty {
                let stored = try body(taken)
                let position = try position(session)
                guard let number = try insert(stored.pack, session, position) else {
                    throw HoldfastError(.condemned, "a pack of points of this name is being removed", isTemporary: true)
                }
                for record in stored.records { try insert(record, pack: number, session) }
                let records = Dictionary(
                    stored.records.compactMap { record in record.point.map { ($0.id, record.id) } }
                ) {
                    first, _ in first
                }
                for index in taken {
                    var entry = batch[index].point
                    entry.arrival = now
                    guard let record = records[entry.id] else {
                        throw HoldfastError(.internalError, "the point's record is not in the pack that was written")
                    }
                    try insert(entry, record: record, condition: .whole, session)
                    try setHead(entry, session)
                }
            }
            return (receipts, hasPacks ? try hasIncomplete(session) : false)
        }
    }

    /// What says something about one point of a batch, and nothing about the catalog.
    private static let refusals: Set<HoldfastError.Code> = [
        .leaseLost, .denied, .missingBlobs, .headMoved, .condemned, .exists,
    ]

    /// Checks a point, after registering the packs that it brings. Answers the receipt of one that is stored already.
    private func admit(_ commit: PointCommit, _ session: SQLiteSession) throws -> CommitReceipt? {
        let point = commit.point
        let lease = try lease(commit.lease, session)
        guard lease.machine == point.machine else {
            throw HoldfastError(
                .denied, "the lease belongs to another machine than the point", context: ["point": point.id.hex])
        }
        if let receipt = try receipt(of: point, session) { return receipt }
        try register(commit.packs, of: lease.machine, session)
        let position = try position(session)
        var lost: [BlobID] = []
        for name in point.references where try !touch(name, session, position) { lost.append(name) }
        if !lost.isEmpty { throw SQLiteCatalog.missingBlobs(lost) }

        let head = try head(of: point.machine, point.incarnation, session)
        let expected = (head?.number ?? 0) + 1
        guard point.number == expected, point.previous == head?.hash ?? .none else {
            throw HoldfastError(
                .headMoved,
                "another writer has stored point \(head?.number ?? 0) of this machine since this backup began; "
                    + "start the backup again",
                context: ["machine": point.machine.hex, "number": String(point.number)], isTemporary: true)
        }
        return nil
    }

    /// The receipt of a point that is stored already.
    private func receipt(of point: PointEntry, _ session: SQLiteSession) throws -> CommitReceipt? {
        let known = try session.first("SELECT arrival, hash FROM point WHERE id = $1", .id(point.id)) { row in
            (arrival: row.time(0), hash: LocatorHash(try row.digest(1)))
        }
        guard let known else { return nil }
        guard known.hash == point.hash else {
            throw HoldfastError(
                .exists, "another point with this id is stored already", context: ["point": point.id.hex])
        }
        let head =
            try head(of: point.machine, point.incarnation, session)
            ?? MachineHead(incarnation: point.incarnation, number: point.number, hash: point.hash)
        return CommitReceipt(point: point.id, arrival: known.arrival, storedUpTo: head)
    }

    private func head(
        of machine: MachineID, _ incarnation: IncarnationID, _ session: SQLiteSession
    ) throws -> MachineHead? {
        try session.first(
            "SELECT number, hash FROM head WHERE machine = $1 AND incarnation = $2", .id(machine), .id(incarnation)
        ) { row in
            guard row.integer(0) > 0 else { throw SQLiteFailure.malformed }
            return MachineHead(incarnation: incarnation, number: row.number(0), hash: LocatorHash(try row.digest(1)))
        }
    }

    /// Call after the point's row was inserted: the head takes its place in the machine's order from it.
    private func setHead(_ point: PointEntry, _ session: SQLiteSession) throws {
        try session.run(
            """
            INSERT INTO head (machine, incarnation, number, hash, sequence)
            SELECT machine, incarnation, number, hash, sequence FROM point WHERE id = $1
            ON CONFLICT (machine, incarnation) DO UPDATE SET number = excluded.number, hash = excluded.hash,
                sequence = excluded.sequence WHERE excluded.number > head.number
            """, .id(point.id))
    }

    package func heads(of machine: MachineID) throws -> [MachineHead] {
        try read { session in
            try session.all(
                "SELECT incarnation, number, hash FROM head WHERE machine = $1 ORDER BY sequence DESC, number DESC",
                .id(machine)
            ) { row in
                guard row.integer(1) > 0 else { throw SQLiteFailure.malformed }
                return MachineHead(
                    incarnation: try row.identifier(0), number: row.number(1), hash: LocatorHash(try row.digest(2)))
            }
        }
    }

    // MARK: Rows

    private func insert(_ record: RecordEntry, pack: Int64, _ session: SQLiteSession) throws {
        try session.run(
            """
            INSERT INTO record (id, type, subject, time, pack, start, length) VALUES ($1, $2, $3, $4, $5, $6, $7)
            ON CONFLICT (id, pack) DO UPDATE SET start = excluded.start, length = excluded.length
            """, .id(record.id), .number(Int(record.type.rawValue)), .bytes(record.subject), .time(record.time),
            .integer(pack), .number(record.offset), .number(record.length))
    }

    /// The points of a machine stand in one order, which is the order in which they were accepted.
    private func insert(
        _ point: PointEntry, record: BlobID, condition: PointSummary.Condition, _ session: SQLiteSession
    ) throws {
        let last = try session.first(
            "SELECT COALESCE(MAX(sequence), 0) FROM point WHERE machine = $1", .id(point.machine)
        ) { $0.integer(0) }
        let floor = try session.first(
            "SELECT bound FROM point WHERE machine = $1 AND series = $2 ORDER BY sequence DESC LIMIT 1",
            .id(point.machine), .integer(Int64(bitPattern: point.series))
        ) { $0.time(0) }
        let bound = EffectiveTime.bound(
            after: floor ?? Timestamp(nanoseconds: .min), time: point.time, arrival: point.arrival)
        try session.run(
            """
            INSERT INTO point (id, record, machine, incarnation, number, time, arrival, sequence, kind, partial, pinned,
                hash, previous, state, series, bound)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
            """, .id(point.id), .id(record), .id(point.machine), .id(point.incarnation), .number(point.number),
            .time(point.time), .time(point.arrival), .integer((last ?? 0) + 1), .number(Int(point.kind.rawValue)),
            .integer(point.isPartial ? 1 : 0), .integer(point.isPinned ? 1 : 0), .id(point.hash), .id(point.previous),
            .number(Int(condition.rawValue)), .integer(Int64(bitPattern: point.series)),
            .time(bound))
        try setReferences(point.references, of: point.id, session)
    }

    private func setReferences(_ references: [BlobID], of point: PointID, _ session: SQLiteSession) throws {
        try session.run("DELETE FROM point_reference WHERE point = $1", .id(point))
        for name in references {
            try session.run(
                "INSERT INTO point_reference (point, id) VALUES ($1, $2) ON CONFLICT DO NOTHING", .id(point), .id(name))
        }
    }

    package func add(_ stored: StoredRecordPack, now: Timestamp) throws { try adopt([stored], now: now) }

    package func adopt(_ packs: [StoredRecordPack], now: Timestamp) throws {
        if packs.isEmpty { return }
        try write(durable: true) { session in
            let position = try position(session)
            var machines: Set<MachineID> = []
            for stored in packs {
                guard let number = try insert(stored.pack, session, position) else { continue }
                for record in stored.records {
                    try insert(record, pack: number, session)
                    if let point = record.point {
                        if try adopt(point, record, session, position) { machines.insert(point.machine) }
                    } else if record.type == .redaction, let point = PointID(record.subject) {
                        try redact(point, record, session, position)
                    }
                }
            }
            for machine in machines { try renewSequence(of: machine, now: now, session) }
        }
    }

    /// Makes a row for a point that was found, unless it has one. Answers whether the machine's order changed.
    private func adopt(
        _ point: PointEntry, _ record: RecordEntry, _ session: SQLiteSession, _ position: CatalogPosition
    ) throws -> Bool {
        let known = try session.first("SELECT state FROM point WHERE id = $1", .id(point.id)) {
            try $0.value(0, as: PointSummary.Condition.self)
        }
        if let known, known != .outOfChain || !record.isSigned { return false }
        let rival = try session.first(
            "SELECT 1 FROM point WHERE machine = $1 AND incarnation = $2 AND number = $3 AND id <> $4 AND state <> 2",
            .id(point.machine), .id(point.incarnation), .number(point.number), .id(point.id)
        ) { _ in true }
        let hasPlace = record.isSigned && rival == nil
        if known != nil {
            guard hasPlace else { return false }
            // What stood under this id was not signed, or its machine was not known yet.
            try session.run("DELETE FROM point WHERE id = $1", .id(point.id))
        }
        try insert(point, record: record.id, condition: hasPlace ? .whole : .outOfChain, session)
        if hasPlace { try setHead(point, session) }
        if position.phase == .marking {
            for name in point.references { try shade(name, session, position) }
        }
        return true
    }

    /// Lets a redaction say what its point names, when there is the point and no newer redaction of it.
    private func redact(
        _ point: PointID, _ record: RecordEntry, _ session: SQLiteSession, _ position: CatalogPosition
    ) throws {
        let isKnown = try session.first("SELECT 1 FROM point WHERE id = $1", .id(point)) { _ in true }
        let newer = try session.first(
            "SELECT 1 FROM record WHERE type = $1 AND subject = $2 AND (time > $3 OR time = $3 AND id > $4)",
            .number(Int(BlobType.redaction.rawValue)), .bytes(record.subject), .time(record.time), .id(record.id)
        ) { _ in true }
        guard isKnown == true, newer == nil else { return }
        try setReferences(record.references, of: point, session)
        if position.phase == .marking {
            for name in record.references { try shade(name, session, position) }
        }
    }

    /// Points found in the store come in any order. They were accepted in the order of their arrival, but for arrivals
    /// that a wrong clock wrote: within an incarnation the numbers say the truth.
    private func renewSequence(of machine: MachineID, now: Timestamp, _ session: SQLiteSession) throws {
        struct Place {
            var id: PointID
            var incarnation: IncarnationID
            var number: UInt64
            var arrival: Timestamp
            var series: Int64
            var time: Timestamp
            var noted: Timestamp
        }
        var places = try session.all(
            """
            SELECT id, incarnation, number, arrival, series, time FROM point WHERE machine = $1
            ORDER BY incarnation, number DESC
            """, .id(machine)
        ) { row in
            Place(
                id: try row.identifier(0), incarnation: try row.identifier(1), number: row.number(2),
                arrival: min(row.time(3), now), series: row.integer(4), time: row.time(5), noted: row.time(3))
        }
        for index in places.indices.dropFirst() where places[index].incarnation == places[index - 1].incarnation {
            places[index].arrival = min(places[index].arrival, places[index - 1].arrival)
        }
        places.sort { a, b in
            a.arrival != b.arrival
                ? a.arrival < b.arrival
                : a.incarnation != b.incarnation ? a.incarnation < b.incarnation : a.number < b.number
        }
        var bounds: [Int64: Timestamp] = [:]
        for (index, place) in places.enumerated() {
            let bound = EffectiveTime.bound(
                after: bounds[place.series] ?? Timestamp(nanoseconds: .min), time: place.time, arrival: place.noted)
            bounds[place.series] = bound
            try session.run(
                "UPDATE point SET sequence = $2, bound = $3 WHERE id = $1", .id(place.id), .number(index + 1),
                .time(bound))
        }
        try session.run(
            """
            UPDATE head SET sequence = COALESCE((SELECT MAX(sequence) FROM point WHERE point.machine = head.machine
                AND point.incarnation = head.incarnation), 0) WHERE machine = $1
            """, .id(machine))
    }

    // MARK: Questions

    package func setCondition(_ condition: PointSummary.Condition, of points: [PointID]) throws {
        if points.isEmpty { return }
        try write { session in
            for point in points {
                // A point outside its chain stays that: being whole does not give it a place in the history. And without
                // its record a point is not whole, whatever became of what it names.
                try session.run(
                    condition == .whole
                        ? SQLiteCatalog.setWhole : "UPDATE point SET state = $2 WHERE id = $1 AND state <> 2",
                    .id(point), .number(Int(condition.rawValue)))
            }
        }
    }

    /// For each row of `point`: a copy of its record in a pack that is stored. 16 is the type of a point's record.
    static let storedRecordOfPoint =
        """
        SELECT 1 FROM record r JOIN pack p ON p.number = r.pack WHERE r.type = 16 AND r.subject = point.id AND p.state = 0
        """
    private static let setWhole = SQLText(
        "UPDATE point SET state = $2 WHERE id = $1 AND state <> 2 AND EXISTS (\(storedRecordOfPoint))")

    private static let recordColumns =
        "r.id, r.type, r.subject, r.time, r.pack, p.name, r.start, r.length FROM record r JOIN pack p ON p.number = r.pack"
    private static let recordsOfPoint = SQLText(
        """
        SELECT \(recordColumns) JOIN point q ON q.id = r.subject
        WHERE r.type = 16 AND r.subject = $1 AND p.state = 0 ORDER BY r.id <> q.record, r.pack
        """)
    private static let recordsOfType = SQLText(
        "SELECT \(recordColumns) WHERE r.type = $1 AND p.state = 0 ORDER BY r.time, r.id, r.pack")
    private static let recordsNamed = SQLText("SELECT \(recordColumns) WHERE r.id = $1 AND p.state = 0 ORDER BY r.pack")
    private static let lostOfType = SQLText(
        """
        SELECT \(recordColumns) WHERE r.type = $1 AND p.state = 3 AND NOT EXISTS (
            SELECT 1 FROM record o JOIN pack s ON s.number = o.pack WHERE o.id = r.id AND s.state = 0)
        ORDER BY r.time, r.id, r.pack
        """)
    private static let recordsOfPack = SQLText("SELECT \(recordColumns) WHERE r.pack = $1 ORDER BY r.start")
    private static let packsAbout = SQLText(
        """
        SELECT DISTINCT \(packColumns) WHERE state = 0 AND number IN (
            SELECT pack FROM record WHERE type IN (16, 19) AND subject = $1)
        """)
    private static let packsWithGaps = SQLText(
        """
        SELECT \(packColumns) WHERE class = 3 AND state = 0
            AND blobs > (SELECT COUNT(*) FROM record WHERE record.pack = pack.number) ORDER BY number
        """)

    private static func location(_ row: SQLiteRow) throws -> RecordLocation {
        let location = RecordLocation(
            id: BlobID(try row.digest(0)), type: try row.value(1), subject: row.bytes(2), time: row.time(3),
            pack: row.integer(4), packName: PackName(try row.digest(5)), offset: row.number(6),
            length: Int(row.integer(7)))
        guard location.isPlausible else { throw SQLiteFailure.malformed }
        return location
    }

    package func records(of point: PointID) throws -> [RecordLocation] {
        try read { session in
            try session.all(SQLiteCatalog.recordsOfPoint, .id(point)) { try SQLiteCatalog.location($0) }
        }
    }

    package func records(of type: BlobType) throws -> [RecordLocation] {
        try read { session in
            try session.all(SQLiteCatalog.recordsOfType, .number(Int(type.rawValue))) {
                try SQLiteCatalog.location($0)
            }
        }
    }

    package func records(named id: BlobID) throws -> [RecordLocation] {
        try read { session in
            try session.all(SQLiteCatalog.recordsNamed, .id(id)) { try SQLiteCatalog.location($0) }
        }
    }

    package func lostRecords(of type: BlobType) throws -> [RecordLocation] {
        try read { session in
            try session.all(SQLiteCatalog.lostOfType, .number(Int(type.rawValue))) { try SQLiteCatalog.location($0) }
        }
    }

    package func recordPacks(about points: [PointID]) throws -> [PackEntry] {
        var found: [Int64: PackEntry] = [:]
        try read { session in
            for point in points {
                for pack in try session.all(SQLiteCatalog.packsAbout, .id(point), decode: SQLiteCatalog.pack) {
                    found[pack.number] = pack
                }
            }
        }
        return found.values.sorted { $0.number < $1.number }
    }

    package func recordPacksWithGaps() throws -> [PackEntry] {
        try read { try $0.all(SQLiteCatalog.packsWithGaps) { try SQLiteCatalog.pack($0) } }
    }

    package func forgiveGaps(_ packs: [Int64]) throws {
        if packs.isEmpty { return }
        try write { session in
            for pack in packs {
                try session.run(
                    "UPDATE pack SET blobs = (SELECT COUNT(*) FROM record WHERE record.pack = $1) WHERE number = $1",
                    .integer(pack))
            }
        }
    }

    package func records(inPack number: Int64) throws -> [RecordLocation] {
        try read { session in
            try session.all(SQLiteCatalog.recordsOfPack, .integer(number)) { try SQLiteCatalog.location($0) }
        }
    }

    // MARK: Rewriting

    package func replaceRecordPacks(_ old: [Int64], with new: StoredRecordPack?, _ change: RecordChange) throws {
        try write(durable: true) { session in
            let position = try position(session)
            if let holds = change.holds {
                let now = try session.all("SELECT DISTINCT id FROM record WHERE type = 18") { BlobID(try $0.digest(0)) }
                guard Set(now) == holds else {
                    throw HoldfastError(
                        .busy, "a hold was placed or released meanwhile; the rest was not deleted. Try again",
                        isTemporary: true)
                }
            }
            if let new {
                guard let number = try insert(new.pack, session, position) else {
                    throw HoldfastError(.condemned, "a pack of this name is being removed", isTemporary: true)
                }
                for record in new.records {
                    // Only what was relied upon before: a copy makes nothing better.
                    try session.run(
                        """
                        INSERT INTO record (id, pack, type, subject, time, start, length)
                        SELECT id, $2, type, subject, time, $3, $4 FROM record WHERE id = $1 AND pack <> $2 LIMIT 1
                        ON CONFLICT (id, pack) DO NOTHING
                        """, .id(record.id), .integer(number), .number(record.offset), .number(record.length))
                }
            }
            for pack in old {
                try session.run(
                    "UPDATE pack SET state = 1, since = $2 WHERE number = $1 AND state = 0", .integer(pack),
                    .number(position.generation))
            }
            let deleted = Set(change.deleting.map(\.array))
            for pack in old { try removeRecords(of: pack, deleted, change, session) }
            for point in change.deleting {
                try session.run(
                    """
                    DELETE FROM record WHERE type IN (16, 19) AND subject = $1
                        AND pack IN (SELECT number FROM pack WHERE state = 3)
                    """, .id(point))
                let isLeft = try session.first("SELECT 1 FROM record WHERE type = 16 AND subject = $1", .id(point)) {
                    _ in true
                }
                guard isLeft == nil else { continue }
                try session.run("DELETE FROM point_reference WHERE point = $1", .id(point))
                try session.run("DELETE FROM point WHERE id = $1", .id(point))
            }
            try forgetLostRecordPacks(session)
        }
    }

    /// Removes the rows of a pack that is condemned already. Whatever is not deleted must be somewhere else.
    private func removeRecords(
        of pack: Int64, _ deleted: Set<[UInt8]>, _ change: RecordChange, _ session: SQLiteSession
    ) throws {
        let rows = try session.all("SELECT id, type, subject FROM record WHERE pack = $1", .integer(pack)) { row in
            (id: BlobID(try row.digest(0)), type: try row.value(1, as: BlobType.self), subject: row.bytes(2))
        }
        try session.run("DELETE FROM record WHERE pack = $1", .integer(pack))
        for row in rows {
            if row.type == .point || row.type == .redaction, deleted.contains(row.subject) { continue }
            let other = try session.first(
                "SELECT 1 FROM record r JOIN pack p ON p.number = r.pack WHERE r.id = $1 AND p.state = 0", .id(row.id)
            ) { _ in true }
            if other == true { continue }
            guard change.unreadable.contains(row.id) else {
                throw HoldfastError(.busy, "a record was stored meanwhile; try again", isTemporary: true)
            }
            if row.type == .point {
                try session.run("UPDATE point SET state = 1 WHERE id = $1 AND state = 0", .bytes(row.subject))
            }
        }
    }

    /// Forgets lost packs of class 3 that hold nothing that is not in another pack.
    func forgetLostRecordPacks(_ session: SQLiteSession) throws {
        try session.run(
            """
            DELETE FROM pack WHERE state = 3 AND class = 3
                AND NOT EXISTS (SELECT 1 FROM record WHERE record.pack = pack.number)
            """)
    }
}

extension CommitReceipt {
    /// Of a point that has been taken.
    fileprivate init(_ point: PointEntry, arrival: Timestamp) {
        self.init(
            point: point.id, arrival: arrival,
            storedUpTo: MachineHead(incarnation: point.incarnation, number: point.number, hash: point.hash))
    }
}
