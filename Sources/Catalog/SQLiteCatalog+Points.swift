package import Model
package import Vault

/// Points and the other records of class 3.
extension SQLiteCatalog {
    package func commit(
        _ point: PointEntry, lease leaseID: LeaseID, now: Timestamp, write body: (Timestamp) throws -> StoredRecordPack
    ) throws -> CommitReceipt {
        try write(durable: true) { session in
            let lease = try lease(leaseID, session)
            guard lease.machine == point.machine else {
                throw HoldfastError(
                    .denied, "the lease belongs to another machine than the point", context: ["point": point.id.hex])
            }
            if let receipt = try receipt(of: point, session) { return receipt }
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
            let stored = try body(now)
            var entry = point
            entry.arrival = now
            guard let number = try insert(stored.pack, session, position) else {
                throw HoldfastError(.condemned, "a pack of points of this name is being removed", isTemporary: true)
            }
            for record in stored.records { try insert(record, pack: number, session) }
            let record = stored.records.first { $0.point?.id == point.id }
            guard let record else {
                throw HoldfastError(.internalError, "the point's record is not in the pack that was written")
            }
            try insert(entry, record: record.id, condition: .whole, session)
            try setHead(entry, session)
            return CommitReceipt(
                point: point.id, arrival: now,
                storedUpTo: MachineHead(incarnation: point.incarnation, number: point.number, hash: point.hash))
        }
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
            MachineHead(incarnation: incarnation, number: row.number(0), hash: LocatorHash(try row.digest(1)))
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
                MachineHead(
                    incarnation: try row.identifier(0), number: row.number(1), hash: LocatorHash(try row.digest(2)))
            }
        }
    }

    // MARK: Rows

    private func insert(_ record: RecordEntry, pack: Int64, _ session: SQLiteSession) throws {
        try session.run(
            """
            INSERT INTO record (id, type, subject, time, pack, start, length) VALUES ($1, $2, $3, $4, $5, $6, $7)
            ON CONFLICT DO NOTHING
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
        try session.run(
            """
            INSERT INTO point (id, record, machine, incarnation, number, time, arrival, sequence, kind, partial, pinned,
                hash, previous, state, series)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
            """, .id(point.id), .id(record), .id(point.machine), .id(point.incarnation), .number(point.number),
            .time(point.time), .time(point.arrival), .integer((last ?? 0) + 1), .number(Int(point.kind.rawValue)),
            .integer(point.isPartial ? 1 : 0), .integer(point.isPinned ? 1 : 0), .id(point.hash), .id(point.previous),
            .number(Int(condition.rawValue)), .integer(Int64(bitPattern: point.series)))
        try setReferences(point.references, of: point.id, session)
    }

    private func setReferences(_ references: [BlobID], of point: PointID, _ session: SQLiteSession) throws {
        try session.run("DELETE FROM point_reference WHERE point = $1", .id(point))
        for name in references {
            try session.run(
                "INSERT INTO point_reference (point, id) VALUES ($1, $2) ON CONFLICT DO NOTHING", .id(point), .id(name))
        }
    }

    package func add(_ stored: StoredRecordPack, now: Timestamp) throws { try adopt(stored, now: now) }

    package func adopt(_ stored: StoredRecordPack, now: Timestamp) throws {
        try write(durable: true) { session in
            let position = try position(session)
            guard let number = try insert(stored.pack, session, position) else { return }
            var machines: Set<MachineID> = []
            for record in stored.records {
                if let point = record.point {
                    let known = try session.first("SELECT 1 FROM point WHERE id = $1", .id(point.id)) { _ in true }
                    if known == true { continue }
                    let rival = try session.first(
                        "SELECT 1 FROM point WHERE machine = $1 AND incarnation = $2 AND number = $3",
                        .id(point.machine), .id(point.incarnation), .number(point.number)
                    ) { _ in true }
                    try insert(record, pack: number, session)
                    try insert(point, record: record.id, condition: rival == true ? .outOfChain : .whole, session)
                    if rival != true { try setHead(point, session) }
                    if position.phase == .marking {
                        for name in point.references { try shade(name, session, position) }
                    }
                    machines.insert(point.machine)
                } else {
                    try insert(record, pack: number, session)
                    if record.type == .redaction, let point = PointID(record.subject) {
                        try setReferences(record.references, of: point, session)
                    }
                }
            }
            for machine in machines { try renewSequence(of: machine, now: now, session) }
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
        }
        var places = try session.all(
            "SELECT id, incarnation, number, arrival FROM point WHERE machine = $1 ORDER BY incarnation, number DESC",
            .id(machine)
        ) { row in
            Place(
                id: try row.identifier(0), incarnation: try row.identifier(1), number: row.number(2),
                arrival: min(row.time(3), now))
        }
        for index in places.indices.dropFirst() where places[index].incarnation == places[index - 1].incarnation {
            places[index].arrival = min(places[index].arrival, places[index - 1].arrival)
        }
        places.sort { a, b in
            a.arrival != b.arrival
                ? a.arrival < b.arrival
                : a.incarnation != b.incarnation ? a.incarnation < b.incarnation : a.number < b.number
        }
        for (index, place) in places.enumerated() {
            try session.run("UPDATE point SET sequence = $2 WHERE id = $1", .id(place.id), .number(index + 1))
        }
        try session.run(
            """
            UPDATE head SET sequence = COALESCE((SELECT MAX(sequence) FROM point WHERE point.machine = head.machine
                AND point.incarnation = head.incarnation), 0) WHERE machine = $1
            """, .id(machine))
    }

    // MARK: Questions

    private static let pointColumns =
        """
        id, machine, incarnation, number, time, arrival, sequence, kind, partial, pinned, hash, previous, state, series
        FROM point
        """
    private static let pointsOfMachine = SQLText("SELECT \(pointColumns) WHERE machine = $1 ORDER BY sequence")

    package func points(_ query: PointQuery, now: Timestamp) throws -> [PointSummary] {
        try read { session in
            let machines: [MachineID]
            if let machine = query.machine {
                machines = [machine]
            } else if query.ids.isEmpty {
                machines = try session.all("SELECT DISTINCT machine FROM point") { try $0.identifier(0) }
            } else {
                var found: Set<MachineID> = []
                for id in query.ids {
                    let machine = try session.first("SELECT machine FROM point WHERE id = $1", .id(id)) {
                        try $0.identifier(0, as: MachineID.self)
                    }
                    if let machine { found.insert(machine) }
                }
                machines = found.sorted()
            }
            var result: [PointSummary] = []
            let wanted = Set(query.ids)
            for machine in machines {
                // Effective times follow from all points of the machine, whichever are asked for.
                var points = try session.all(SQLiteCatalog.pointsOfMachine, .id(machine)) {
                    try SQLiteCatalog.point($0)
                }
                let times = EffectiveTime.of(points.map { (time: $0.time, arrival: $0.arrival) }, now: now)
                for index in points.indices { points[index].effective = times[index] }
                if !wanted.isEmpty { points.removeAll { !wanted.contains($0.id) } }
                result += points
            }
            if machines.count > 1 {
                let order = result.enumerated().sorted { a, b in
                    a.element.effective != b.element.effective
                        ? a.element.effective < b.element.effective : a.offset < b.offset
                }
                result = order.map(\.element)
            }
            if let newest = query.newest { result = Array(result.suffix(max(0, newest))) }
            for index in result.indices {
                result[index].references = try session.all(
                    "SELECT id FROM point_reference WHERE point = $1 ORDER BY id", .id(result[index].id)
                ) { BlobID(try $0.digest(0)) }
            }
            return result
        }
    }

    private static func point(_ row: SQLiteRow) throws -> PointSummary {
        PointSummary(
            id: try row.identifier(0), machine: try row.identifier(1), incarnation: try row.identifier(2),
            number: row.number(3), time: row.time(4), arrival: row.time(5), effective: row.time(5),
            kind: try row.value(7), isPartial: row.integer(8) != 0, isPinned: row.integer(9) != 0,
            series: UInt64(bitPattern: row.integer(13)),
            hash: LocatorHash(try row.digest(10)), previous: LocatorHash(try row.digest(11)), references: [],
            condition: try row.value(12), isHeld: false)
    }

    package func setCondition(_ condition: PointSummary.Condition, of points: [PointID]) throws {
        if points.isEmpty { return }
        try write { session in
            for point in points {
                // A point outside its chain stays that: being whole does not give it a place in the history.
                try session.run(
                    "UPDATE point SET state = $2 WHERE id = $1 AND state <> 2 AND state <> $2", .id(point),
                    .number(Int(condition.rawValue)))
            }
        }
    }

    private static let recordColumns = "r.id, r.type, r.subject, r.time, r.pack, p.name, r.start, r.length"
    private static let recordOfPoint = SQLText(
        """
        SELECT \(recordColumns) FROM point q JOIN record r ON r.id = q.record JOIN pack p ON p.number = r.pack
        WHERE q.id = $1
        """)
    private static let recordsOfType = SQLText(
        "SELECT \(recordColumns) FROM record r JOIN pack p ON p.number = r.pack WHERE r.type = $1 ORDER BY r.time, r.id"
    )
    private static let recordsOfPack = SQLText(
        "SELECT \(recordColumns) FROM record r JOIN pack p ON p.number = r.pack WHERE r.pack = $1 ORDER BY r.start")

    private static func location(_ row: SQLiteRow) throws -> RecordLocation {
        RecordLocation(
            id: BlobID(try row.digest(0)), type: try row.value(1), subject: row.bytes(2), time: row.time(3),
            pack: row.integer(4), packName: PackName(try row.digest(5)), offset: row.number(6),
            length: Int(row.integer(7)))
    }

    package func record(of point: PointID) throws -> RecordLocation? {
        try read { session in
            try session.first(SQLiteCatalog.recordOfPoint, .id(point)) { try SQLiteCatalog.location($0) }
        }
    }

    package func records(of type: BlobType) throws -> [RecordLocation] {
        try read { session in
            try session.all(SQLiteCatalog.recordsOfType, .number(Int(type.rawValue))) {
                try SQLiteCatalog.location($0)
            }
        }
    }

    package func records(inPack number: Int64) throws -> [RecordLocation] {
        try read { session in
            try session.all(SQLiteCatalog.recordsOfPack, .integer(number)) { try SQLiteCatalog.location($0) }
        }
    }

    package func replaceRecordPacks(
        _ old: [Int64], with new: StoredRecordPack?, deleting points: [PointID]
    ) throws {
        try write(durable: true) { session in
            let position = try position(session)
            for point in points {
                try session.run(
                    "DELETE FROM record WHERE id IN (SELECT record FROM point WHERE id = $1)", .id(point))
                try session.run("DELETE FROM point_reference WHERE point = $1", .id(point))
                try session.run("DELETE FROM point WHERE id = $1", .id(point))
            }
            if let new {
                guard let number = try insert(new.pack, session, position) else {
                    throw HoldfastError(.condemned, "a pack of this name is being removed", isTemporary: true)
                }
                for record in new.records {
                    let moved = try session.run(
                        "UPDATE record SET pack = $2, start = $3, length = $4 WHERE id = $1", .id(record.id),
                        .integer(number), .number(record.offset), .number(record.length))
                    if moved == 0 { try insert(record, pack: number, session) }
                }
            }
            for pack in old {
                let left = try session.first("SELECT COUNT(*) FROM record WHERE pack = $1", .integer(pack)) {
                    $0.integer(0)
                }
                guard left == 0 else {
                    throw HoldfastError(
                        .busy, "a point was stored meanwhile; try again", isTemporary: true)
                }
                try session.run(
                    "UPDATE pack SET state = 1, since = $2 WHERE number = $1", .integer(pack),
                    .number(position.generation))
            }
        }
    }
}
