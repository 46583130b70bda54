import GRDB
package import Model
package import Vault

/// Blobs and packs.
extension SQLiteCatalog {
    // MARK: Presence

    package func presence(of ids: [BlobID], lease id: LeaseID) throws -> [BlobPresence] {
        // Most questions need no change: what is marked since the lease was opened stays for the lease anyway.
        var stale: [Int] = []
        var answers = [BlobPresence](repeating: .missing, count: ids.count)
        try read { session in
            let lease = try lease(id, session)
            let floor = try position(session).floor
            // Who writes nothing, and only estimates, relies on nothing.
            let trustsAll = lease.machine == nil
            let origin = lease.machine.map { WriterID(high: $0.high, low: $0.low) } ?? WriterID(high: 0, low: 0)
            let command = try session.prepare(
                """
                SELECT b.mark, b.state, b.checked > 0 OR p.origin = $2 FROM blob b JOIN pack p ON p.number = b.pack
                WHERE b.id = $1
                """)
            for (index, blob) in ids.enumerated() {
                // The one that is trusted may be the oldest: all that are answered for must stay.
                var oldest: UInt64?
                var isTrusted = trustsAll
                try command.rows([.id(blob), .id(origin)]) { row in
                    guard row.integer(1) == BlobCondition.whole.rawValue, row.number(0) >= floor else { return true }
                    oldest = min(oldest ?? .max, row.number(0))
                    if row.integer(2) != 0 { isTrusted = true }
                    return true
                }
                if let oldest {
                    answers[index] = isTrusted ? .present : .unchecked
                    if oldest < lease.generation { stale.append(index) }
                }
            }
        }
        if stale.isEmpty { return answers }
        try write { session in
            _ = try lease(id, session)
            let position = try position(session)
            for index in stale where try !touch(ids[index], session, position) { answers[index] = .missing }
        }
        return answers
    }

    package func present(_ ids: [BlobID]) throws -> [Bool] {
        try read { session in
            let floor = try position(session).floor
            let command = try session.prepare(
                "SELECT 1 FROM blob WHERE id = $1 AND state = 0 AND mark >= $2 LIMIT 1")
            return try ids.map { id in
                var isPresent = false
                try command.rows([.id(id), .number(floor)]) { _ in
                    isPresent = true
                    return false
                }
                return isPresent
            }
        }
    }

    /// Whether the blob is present; if so it is marked with the current generation.
    func touch(_ id: BlobID, _ session: SQLiteSession, _ position: CatalogPosition) throws -> Bool {
        var isPresent = false
        var isStale = false
        var isHolder = false
        var isReached = true
        try session.prepare("SELECT mark, state, refs, reached FROM blob WHERE id = $1").rows([.id(id)]) { row in
            guard row.integer(1) == BlobCondition.whole.rawValue, row.number(0) >= position.floor else { return true }
            isPresent = true
            if row.number(0) < position.generation { isStale = true }
            if row.integer(2) > 0 { isHolder = true }
            if row.number(3) < position.generation { isReached = false }
            return true
        }
        guard isPresent else { return false }
        if position.phase == .marking, isHolder, !isReached {
            try shade(id, session, position)
        } else if isStale {
            try session.run(
                "UPDATE blob SET mark = $2 WHERE id = $1 AND state = 0 AND mark < $2 AND mark >= $3", .id(id),
                .number(position.generation), .number(position.floor))
        }
        return true
    }

    /// Marks a blob in a running collection, and puts it on the frontier when it was not there yet and names others.
    /// A blob without copies goes on the frontier too, so that the collection learns of the loss.
    func shade(_ id: BlobID, _ session: SQLiteSession, _ position: CatalogPosition) throws {
        var copies = 0
        var hasWhole = false
        var isHolder = false
        var isStale = false
        var isReached = true
        try session.prepare("SELECT mark, state, refs, reached FROM blob WHERE id = $1").rows([.id(id)]) { row in
            copies += 1
            if row.integer(2) > 0 { isHolder = true }
            let isWhole = row.integer(1) == BlobCondition.whole.rawValue
            // What is asked here must be what the change below brings about, or a blob would come back for ever: with
            // a whole copy only the whole ones are looked at.
            if isWhole, !hasWhole {
                hasWhole = true
                isStale = false
                isReached = true
            }
            guard isWhole || !hasWhole else { return true }
            if row.number(0) < position.generation { isStale = true }
            if row.number(3) < position.generation { isReached = false }
            return true
        }
        guard copies == 0 || isStale || (isHolder && !isReached) else { return }
        // A damaged copy is given up as soon as there is a whole one; the last one is kept, whatever its condition.
        try session.run(
            hasWhole
                ? "UPDATE blob SET mark = $2, reached = $2 WHERE id = $1 AND state = 0"
                : "UPDATE blob SET mark = $2, reached = $2 WHERE id = $1", .id(id), .number(position.generation))
        if copies == 0 || (isHolder && !isReached) {
            try session.run("INSERT INTO frontier (id) VALUES ($1) ON CONFLICT DO NOTHING", .id(id))
        }
    }

    // MARK: Registration

    private enum Registration {
        case done(hasIncomplete: Bool)
        case condemned
        case missing([BlobID])
    }

    @discardableResult
    package func register(_ pack: PackEntry, blobs: [PackedBlob], lease leaseID: LeaseID?) throws -> Bool {
        let outcome: Registration = try write { session in
            let machine = try leaseID.flatMap { try lease($0, session).machine }
            guard try register(pack, blobs, of: machine, isLeased: leaseID != nil, session) else { return .condemned }
            return .done(hasIncomplete: try hasIncomplete(session))
        } recovering: {
            .missing($0)
        }
        switch outcome {
        case .done(let hasIncomplete): return hasIncomplete
        case .condemned: throw SQLiteCatalog.condemned(pack.name)
        case .missing(let ids): throw SQLiteCatalog.missingBlobs(ids)
        }
    }

    /// Registers a pack in a transaction. `false` when its name is condemned; throws `MissingBlobs`, after which the
    /// transaction must not be kept.
    private func register(
        _ pack: PackEntry, _ blobs: [PackedBlob], of machine: MachineID?, isLeased: Bool, _ session: SQLiteSession
    ) throws -> Bool {
        var pack = pack
        if let machine { pack.origin = WriterID(high: machine.high, low: machine.low) }
        let position = try position(session)
        guard let number = try insert(pack, session, position) else { return false }
        let lost = try insert(blobs, into: number, session, position, isAdopted: !isLeased, isRefusing: isLeased)
        if !lost.isEmpty { throw MissingBlobs(ids: lost) }
        return true
    }

    func hasIncomplete(_ session: SQLiteSession) throws -> Bool {
        try session.first("SELECT 1 FROM blob WHERE state <> 0 LIMIT 1") { _ in true } ?? false
    }

    /// Registers the packs that a point brings along. Throws what refuses one of them, after which the savepoint must not be
    /// kept.
    func register(_ packs: [(entry: PackEntry, blobs: [PackedBlob])], of machine: MachineID?, _ session: SQLiteSession)
        throws
    {
        for pack in packs {
            do {
                guard try register(pack.entry, pack.blobs, of: machine, isLeased: true, session) else {
                    throw SQLiteCatalog.condemned(pack.entry.name)
                }
            } catch let error as MissingBlobs {
                throw SQLiteCatalog.missingBlobs(error.ids)
            }
        }
    }

    private static func condemned(_ name: PackName) -> HoldfastError {
        HoldfastError(
            .condemned, "the vault is removing a pack of this name; its blobs must be packed anew",
            context: ["pack": name.hex], isTemporary: true)
    }

    /// Thrown inside a transaction to roll it back.
    private struct MissingBlobs: Error { let ids: [BlobID] }

    private func write(
        _ body: (SQLiteSession) throws -> Registration, recovering: ([BlobID]) -> Registration
    ) throws -> Registration {
        do { return try write(body) } catch let error as MissingBlobs { return recovering(error.ids) }
    }

    static func missingBlobs(_ ids: [BlobID]) -> HoldfastError {
        var error = HoldfastError(
            .missingBlobs, "\(ids.count) blobs that are named are not in the vault; send them first", isTemporary: true)
        error.blobs = ids
        return error
    }

    /// The number of the pack's row, made when there is none; `nil` when the name is condemned.
    func insert(_ pack: PackEntry, _ session: SQLiteSession, _ position: CatalogPosition) throws -> Int64? {
        let known = try session.first("SELECT number, state, class FROM pack WHERE name = $1", .id(pack.name)) { row in
            (
                number: row.integer(0), state: try row.value(1, as: PackEntry.State.self),
                packClass: try row.value(2, as: PackClass.self)
            )
        }
        if let known {
            if known.state == .deleted {
                // The sender has just brought the object back: it has to go once more.
                try session.run(
                    "UPDATE pack SET state = 1, since = $2 WHERE number = $1", .integer(known.number),
                    .number(position.generation))
            }
            if known.state == .lost {
                // Welcome back. Its blobs' rows are there, and become what they were as they are registered.
                try session.run(
                    "UPDATE pack SET state = 0, since = $2, bytes = $3, blobs = $4 WHERE number = $1",
                    .integer(known.number), .number(position.generation), .number(pack.bytes),
                    .number(pack.blobCount))
                return known.number
            }
            if known.state == .stored, known.packClass == .points {
                // A pack that could not be read before, or not in full, may turn out to be something else.
                try session.run(
                    "UPDATE pack SET class = $2, origin = $3, bytes = $4, blobs = $5 WHERE number = $1",
                    .integer(known.number), .number(Int(pack.packClass.rawValue)), .id(pack.origin),
                    .number(pack.bytes), .number(pack.blobCount))
            }
            return known.state == .stored ? known.number : nil
        }
        try session.run(
            """
            INSERT INTO pack (name, class, origin, bytes, blobs, state, since, live_bytes, live_blobs, counted,
                checked_structure, checked_pack, checked_data)
            VALUES ($1, $2, $3, $4, $5, 0, $6, 0, 0, 0, 0, 0, 0)
            """, .id(pack.name), .number(Int(pack.packClass.rawValue)), .id(pack.origin), .number(pack.bytes),
            .number(pack.blobCount), .number(position.generation))
        return try session.first("SELECT number FROM pack WHERE name = $1", .id(pack.name)) { $0.integer(0) }
    }

    /// Inserts the rows of a pack's blobs. Answers what they name and is not present, when that is refused.
    private func insert(
        _ blobs: [PackedBlob], into pack: Int64, _ session: SQLiteSession, _ position: CatalogPosition,
        isAdopted: Bool, isRefusing: Bool
    ) throws -> [BlobID] {
        let command = try session.prepare(
            """
            INSERT INTO blob (id, pack, type, encoding, secret, refs, length, start, mark, reached, state, checked)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0)
            ON CONFLICT (id, pack) DO UPDATE SET mark = excluded.mark, reached = excluded.reached,
                state = CASE WHEN blob.state = 3 THEN 3 ELSE excluded.state END
            """)
        var known: Set<BlobID> = []
        var lost: Set<BlobID> = []
        for blob in blobs {
            var isWhole = true
            for name in blob.references where !known.contains(name) {
                if try touch(name, session, position) {
                    known.insert(name)
                } else {
                    isWhole = false
                    lost.insert(name)
                }
            }
            let isHolder = !blob.references.isEmpty
            let isShaded = isHolder && position.phase == .marking
            try command.run([
                .id(blob.id), .integer(pack), .number(Int(blob.type.rawValue)),
                .number(Int(blob.encoding.rawValue)), .number(Int(blob.secretNumber)), .number(blob.references.count),
                .number(Int(blob.sealedLength)), .number(blob.offset), .number(position.generation),
                isShaded ? .number(position.generation) : .integer(0),
                .integer((isWhole ? BlobCondition.whole : .incomplete).rawValue),
            ])
            if isShaded {
                try session.run("INSERT INTO frontier (id) VALUES ($1) ON CONFLICT DO NOTHING", .id(blob.id))
            }
        }
        return isRefusing ? lost.sorted() : []
    }

    // MARK: Copies

    static let copyColumns =
        """
        b.id, b.pack, p.name, b.type, b.encoding, b.secret, b.refs, b.length, b.start, b.mark, b.state, b.checked
        FROM blob b JOIN pack p ON p.number = b.pack
        """
    private static let copiesOfBlob = SQLText("SELECT \(copyColumns) WHERE b.id = $1")

    static func copy(_ row: SQLiteRow) throws -> BlobCopy {
        guard let secret = UInt16(exactly: row.integer(5)), let length = UInt32(exactly: row.integer(7)),
            row.integer(9) >= 0
        else { throw SQLiteFailure.malformed }
        let copy = BlobCopy(
            id: BlobID(try row.digest(0)), pack: row.integer(1), packName: PackName(try row.digest(2)),
            type: try row.value(3), encoding: try row.value(4), secretNumber: secret,
            referenceCount: Int(row.integer(6)), sealedLength: length, offset: row.number(8), mark: row.number(9),
            condition: try row.value(10), checked: row.time(11))
        guard copy.isPlausible else { throw SQLiteFailure.malformed }
        return copy
    }

    func copies(of id: BlobID, _ session: SQLiteSession, into result: inout [BlobCopy]) throws {
        try session.prepare(SQLiteCatalog.copiesOfBlob).rows([.id(id)]) { row in
            result.append(try SQLiteCatalog.copy(row))
            return true
        }
    }

    package func copies(of ids: [BlobID]) throws -> [BlobCopy] {
        var result: [BlobCopy] = []
        try read { session in
            for id in ids { try copies(of: id, session, into: &result) }
        }
        result.sort { a, b in a.pack != b.pack ? a.pack < b.pack : a.offset < b.offset }
        return result
    }

    @discardableResult
    package func setCondition(_ condition: BlobCondition, of copies: [CopyReference]) throws -> Int {
        if copies.isEmpty { return 0 }
        return try write { session in
            var changed = 0
            for copy in copies {
                changed += try session.run(
                    condition == .damaged
                        ? "UPDATE blob SET state = $3 WHERE id = $1 AND pack = $2 AND state NOT IN (1, 3)"
                        : "UPDATE blob SET state = $3 WHERE id = $1 AND pack = $2 AND state <> $3", .id(copy.id),
                    .integer(copy.pack), .integer(condition.rawValue))
            }
            if changed > 0, condition.isBad {
                try session.run("UPDATE vault_state SET unpropagated = unpropagated + 1")
            }
            return changed
        }
    }

    private static let unwellFirst = SQLText(
        "SELECT \(copyColumns) WHERE b.state <> 0 AND p.state = 0 ORDER BY b.id, b.pack LIMIT $1")
    private static let unwellNext = SQLText(
        """
        SELECT \(copyColumns) WHERE b.state <> 0 AND p.state = 0 AND (b.id, b.pack) > ($1, $2) ORDER BY b.id, b.pack
        LIMIT $3
        """)

    package func unwellCopies(after: CopyReference?, limit: Int) throws -> [BlobCopy] {
        try read { session in
            guard let after else {
                return try session.all(SQLiteCatalog.unwellFirst, .number(limit)) { try SQLiteCatalog.copy($0) }
            }
            return try session.all(SQLiteCatalog.unwellNext, .id(after.id), .integer(after.pack), .number(limit)) {
                try SQLiteCatalog.copy($0)
            }
        }
    }

    package func unwellCounts() throws -> (damaged: Int, incomplete: Int) { try read { try unwellCounts($0) } }

    func unwellCounts(_ session: SQLiteSession) throws -> (damaged: Int, incomplete: Int) {
        var result = (damaged: 0, incomplete: 0)
        // Copies in packs that are lost are not counted: the packs were.
        try session.prepare(
            """
            SELECT b.state, COUNT(*) FROM blob b JOIN pack p ON p.number = b.pack WHERE b.state <> 0 AND p.state = 0
            GROUP BY b.state
            """
        ).rows([]) { row in
            if row.integer(0) == BlobCondition.incomplete.rawValue {
                result.incomplete = Int(row.integer(1))
            } else {
                result.damaged += Int(row.integer(1))
            }
            return true
        }
        return result
    }

    package func unpropagatedDamage() throws -> Int64 {
        try read { try $0.first("SELECT unpropagated FROM vault_state") { $0.integer(0) } ?? 0 }
    }

    package func setDamagePropagated(_ count: Int64) throws {
        try write { session in
            try session.run("UPDATE vault_state SET unpropagated = 0 WHERE unpropagated = $1", .integer(count))
        }
    }

    // MARK: Packs

    static let packColumns =
        """
        number, name, class, origin, bytes, blobs, state, live_bytes, live_blobs, checked_structure, checked_pack,
        checked_data FROM pack
        """
    private static let packsAfter = SQLText("SELECT \(packColumns) WHERE number > $1 ORDER BY number LIMIT $2")
    private static let packByName = SQLText("SELECT \(packColumns) WHERE name = $1")

    static func pack(_ row: SQLiteRow) throws -> PackEntry {
        // Larger than any pack, small enough that sums of millions do not overflow.
        let most = Int64(1) << 32
        for column in [4, 5, 7, 8] as [Int32] where !(0...most).contains(row.integer(column)) {
            throw SQLiteFailure.malformed
        }
        return try entry(row)
    }

    private static func entry(_ row: SQLiteRow) throws -> PackEntry {
        PackEntry(
            number: row.integer(0), name: PackName(try row.digest(1)), packClass: try row.value(2),
            origin: try row.identifier(3), bytes: row.number(4), blobCount: Int(row.integer(5)),
            state: try row.value(6),
            liveBytes: row.number(7), liveBlobs: Int(row.integer(8)), checkedStructure: row.time(9),
            checkedPack: row.time(10), checkedData: row.time(11))
    }

    package func packs(after number: Int64, limit: Int) throws -> [PackEntry] {
        try read { session in
            try session.all(SQLiteCatalog.packsAfter, .integer(number), .number(limit)) { try SQLiteCatalog.pack($0) }
        }
    }

    package func pack(_ name: PackName) throws -> PackEntry? {
        try read { session in
            try session.first(SQLiteCatalog.packByName, .id(name)) { try SQLiteCatalog.pack($0) }
        }
    }

    package func packs(_ names: [PackName]) throws -> [PackEntry?] {
        try read { session in
            try names.map { try session.first(SQLiteCatalog.packByName, .id($0)) { try SQLiteCatalog.pack($0) } }
        }
    }

    package func dropPacks(_ numbers: [Int64], forgetting: Bool) throws {
        if numbers.isEmpty { return }
        try write(durable: true) { session in
            for start in stride(from: 0, to: numbers.count, by: 500) {
                let list = numbers[start..<min(start + 500, numbers.count)].map(String.init).joined(separator: ",")
                for sql in forgetting ? SQLiteCatalog.forgetting(list) : SQLiteCatalog.losing(list) {
                    try session.database.execute(sql: sql)
                }
            }
            try forgetLostRecordPacks(session)
            try session.run("UPDATE vault_state SET unpropagated = unpropagated + 1")
        }
    }

    private static func losing(_ list: String) -> [String] {
        [
            "UPDATE pack SET state = 3 WHERE state = 0 AND number IN (\(list))",
            "UPDATE blob SET state = 1 WHERE state NOT IN (1, 3) AND pack IN (\(list))",
            """
            DELETE FROM record WHERE pack IN (\(list)) AND EXISTS (SELECT 1 FROM record other
                JOIN pack p ON p.number = other.pack WHERE p.state = 0 AND other.id = record.id)
            """,
            "UPDATE point SET state = 1 WHERE state = 0 AND NOT EXISTS (\(storedRecordOfPoint))",
        ]
    }

    /// 16 to 19 are the types of records: points, machines, holds, redactions.
    private static func forgetting(_ list: String) -> [String] {
        losing(list) + [
            "DELETE FROM record WHERE pack IN (\(list)) AND type <> 18",
            "DELETE FROM point WHERE NOT EXISTS (SELECT 1 FROM record WHERE type = 16 AND subject = point.id)",
            "DELETE FROM point_reference WHERE NOT EXISTS (SELECT 1 FROM point WHERE point.id = point_reference.point)",
            "DELETE FROM blob WHERE pack IN (\(list))",
            "DELETE FROM pack WHERE class <> 3 AND state = 3 AND number IN (\(list))",
        ]
    }

    package func setChecked(_ number: Int64, level: VerificationLevel, at time: Timestamp) throws {
        try write { session in
            switch level {
            case .structure:
                try session.run(
                    "UPDATE pack SET checked_structure = $2 WHERE number = $1", .integer(number), .time(time))
            case .packs:
                try session.run("UPDATE pack SET checked_pack = $2 WHERE number = $1", .integer(number), .time(time))
            case .data:
                try session.run("UPDATE pack SET checked_data = $2 WHERE number = $1", .integer(number), .time(time))
            }
        }
    }

    package func setChecked(_ copies: [CopyReference], at time: Timestamp) throws {
        try write { session in
            for copy in copies {
                try session.run(
                    "UPDATE blob SET checked = $3 WHERE id = $1 AND pack = $2", .id(copy.id), .integer(copy.pack),
                    .time(time))
            }
        }
    }
}
