package import Model
package import Vault

/// The transactions of a collection. The algorithm that strings them together is `Collection` in the vault's engine.
extension SQLiteCatalog {
    // MARK: Marking

    package func beginMarking() throws -> CatalogPosition {
        try write(durable: true) { session in
            var position = try position(session)
            guard position.phase == .idle else { return position }
            position.generation += 1
            position.phase = .marking
            // Writers that are at work were promised what was marked since their leases were opened; so were those who
            // register what was found in the store, data before the points that name it.
            let oldest = try session.first(
                "SELECT MIN(generation) FROM lease WHERE kind IN (1, 3)"
            ) { row in row.isNull(0) ? nil : row.number(0) }
            position.threshold = max(position.floor, min(position.generation, (oldest ?? nil) ?? position.generation))
            position.packLimit = try session.first("SELECT COALESCE(MAX(number), 0) FROM pack") { $0.integer(0) } ?? 0
            try session.run(
                """
                UPDATE vault_state SET generation = $1, phase = $2, threshold = $3, pack_limit = $4, cursor_id = NULL,
                    cursor_pack = 0, seeded = 0
                """, .number(position.generation), .integer(position.phase.rawValue), .number(position.threshold),
                .integer(position.packLimit))
            try session.run("DELETE FROM frontier")
            let roots = try session.all("SELECT id FROM point_reference UNION SELECT id FROM lease_pin") {
                BlobID(try $0.digest(0))
            }
            for root in roots { try shade(root, session, position) }
            return position
        }
    }

    /// A step of the walk over all copies in the order of ids. Answers the rows after the cursor.
    private struct WalkRow {
        var id: BlobID
        var pack: Int64
        var mark: UInt64
        var reached: UInt64
        var references: Int64
        var length: Int64
        var state: Int64
    }

    private func walk(limit: Int, _ session: SQLiteSession) throws -> [WalkRow] {
        let cursor = try session.first("SELECT cursor_id, cursor_pack FROM vault_state") { row in
            row.isNull(0) ? nil : (id: try row.digest(0), pack: row.integer(1))
        }
        func decode(_ row: SQLiteRow) throws -> WalkRow {
            guard (0...Int64(FormatLimits.references)).contains(row.integer(4)),
                (0...Int64(FormatLimits.packLength)).contains(row.integer(5))
            else { throw SQLiteFailure.malformed }
            return WalkRow(
                id: BlobID(try row.digest(0)), pack: row.integer(1), mark: row.number(2), reached: row.number(3),
                references: row.integer(4), length: row.integer(5), state: row.integer(6))
        }
        let rows: [WalkRow]
        if let cursor = cursor ?? nil {
            rows = try session.all(
                """
                SELECT id, pack, mark, reached, refs, length, state FROM blob WHERE (id, pack) > ($1, $2)
                ORDER BY id, pack LIMIT $3
                """, .digest(cursor.id), .integer(cursor.pack), .number(limit), decode: decode)
        } else {
            rows = try session.all(
                "SELECT id, pack, mark, reached, refs, length, state FROM blob ORDER BY id, pack LIMIT $1",
                .number(limit), decode: decode)
        }
        if let last = rows.last {
            try session.run(
                "UPDATE vault_state SET cursor_id = $1, cursor_pack = $2", .id(last.id), .integer(last.pack))
        }
        return rows
    }

    package func seedRecentlyMarked(limit: Int) throws -> Bool {
        try write { session in
            let position = try position(session)
            let isSeeded = try session.first("SELECT seeded FROM vault_state") { $0.integer(0) != 0 }
            guard position.phase == .marking, isSeeded == false else { return false }
            let rows = try walk(limit: limit, session)
            for row in rows where row.references > 0 && row.mark >= position.threshold {
                // Nobody was promised what is incomplete, and what it names and is there was marked when it was registered.
                // After a rebuild dead nodes are that: what they named was freed. Those that points need are reached.
                if row.state == BlobCondition.incomplete.rawValue { continue }
                if row.reached < position.generation { try shade(row.id, session, position) }
            }
            if rows.count < limit {
                try session.run("UPDATE vault_state SET seeded = 1, cursor_id = NULL, cursor_pack = 0")
                return false
            }
            return true
        }
    }

    package func frontier(limit: Int) throws -> [FrontierBlob] {
        try read { session in
            let ids = try session.all("SELECT id FROM frontier LIMIT $1", .number(limit)) { BlobID(try $0.digest(0)) }
            return try ids.map { id in
                var copies: [BlobCopy] = []
                try self.copies(of: id, session, into: &copies)
                copies.sort { a, b in
                    (a.condition.isBad ? 1 : 0, a.pack) < (b.condition.isBad ? 1 : 0, b.pack)
                }
                return FrontierBlob(id: id, copies: copies)
            }
        }
    }

    package func reach(_ expanded: [(blob: BlobID, references: [BlobID])]) throws {
        try write { session in
            let position = try position(session)
            guard position.phase == .marking else { return }
            for (blob, references) in expanded {
                for name in references { try shade(name, session, position) }
                try session.run("DELETE FROM frontier WHERE id = $1", .id(blob))
            }
        }
    }

    package func liveContents(threshold: UInt64, _ body: (PackEntry) throws -> Void) throws {
        try read { session in
            // 60 bytes of header and 32 for each reference lie around what is sealed.
            try session.prepare(
                SQLText(
                    """
                    SELECT \(SQLiteCatalog.livePackColumns), COALESCE(l.bytes, 0), COALESCE(l.blobs, 0)
                    FROM pack p LEFT JOIN (
                        SELECT pack, SUM(60 + 32 * refs + length) AS bytes, COUNT(*) AS blobs FROM blob
                        WHERE mark >= $1 GROUP BY pack) l ON l.pack = p.number
                    ORDER BY p.number
                    """)
            ).rows([.number(threshold)]) { row in
                var pack = PackEntry(
                    number: row.integer(0), name: PackName(try row.digest(1)), packClass: try row.value(2),
                    origin: try row.identifier(3), bytes: row.number(4), blobCount: Int(row.integer(5)),
                    state: try row.value(6))
                guard (0...(Int64(1) << 40)).contains(row.integer(7)), (0...(Int64(1) << 32)).contains(row.integer(4))
                else { throw SQLiteFailure.malformed }
                pack.liveBytes = row.number(7)
                pack.liveBlobs = Int(row.integer(8))
                try body(pack)
                return true
            }
        }
    }

    private static let livePackColumns = "p.number, p.name, p.class, p.origin, p.bytes, p.blobs, p.state"

    package func finishMarking() throws -> Bool {
        try write(durable: true) { session in
            let position = try position(session)
            let isSeeded = try session.first("SELECT seeded FROM vault_state") { $0.integer(0) != 0 }
            let isEmpty = try session.first("SELECT 1 FROM frontier LIMIT 1") { _ in true } == nil
            guard position.phase == .marking, isSeeded == true, isEmpty else { return false }
            try session.run(
                "UPDATE vault_state SET floor = threshold, phase = $1, cursor_id = NULL, cursor_pack = 0",
                .integer(CatalogPosition.Phase.sweeping.rawValue))
            return true
        }
    }

    package func abandonMarking() throws {
        try write { session in
            guard try position(session).phase == .marking else { return }
            try session.run("DELETE FROM frontier")
            try session.run(
                "UPDATE vault_state SET phase = 0, cursor_id = NULL, cursor_pack = 0, seeded = 0")
        }
    }

    // MARK: Sweeping

    package func sweep(limit: Int) throws -> Bool {
        let isDone = try write { session in
            let position = try position(session)
            guard position.phase == .sweeping else { return true }
            let rows = try walk(limit: limit, session)
            var live: [Int64: (bytes: Int64, blobs: Int64)] = [:]
            for row in rows {
                if row.mark < position.floor {
                    try session.run("DELETE FROM blob WHERE id = $1 AND pack = $2", .id(row.id), .integer(row.pack))
                } else {
                    live[row.pack, default: (0, 0)].bytes += 60 + 32 * row.references + row.length
                    live[row.pack, default: (0, 0)].blobs += 1
                }
            }
            for (pack, total) in live {
                // The first count of a collection replaces the one of the collection before.
                try session.run(
                    """
                    UPDATE pack SET live_bytes = CASE WHEN counted = $2 THEN live_bytes ELSE 0 END + $3,
                        live_blobs = CASE WHEN counted = $2 THEN live_blobs ELSE 0 END + $4, counted = $2
                    WHERE number = $1
                    """, .integer(pack), .number(position.generation), .integer(total.bytes), .integer(total.blobs))
            }
            return rows.count < limit
        }
        guard isDone else { return true }
        try write(durable: true) { session in
            let position = try position(session)
            guard position.phase == .sweeping else { return }
            try session.run(
                "UPDATE pack SET live_bytes = 0, live_blobs = 0 WHERE counted <> $1 AND live_bytes <> 0",
                .number(position.generation))
            try session.run(
                "UPDATE vault_state SET phase = $1, cursor_id = NULL, cursor_pack = 0",
                .integer(CatalogPosition.Phase.reclaiming.rawValue))
        }
        return false
    }

    package func blobs(inPack number: Int64) throws -> [BlobID] {
        try read { session in
            try session.all("SELECT id FROM blob WHERE pack = $1", .integer(number)) { BlobID(try $0.digest(0)) }
        }
    }

    // MARK: Packs

    package func condemn(_ number: Int64, listing ids: [BlobID]) throws -> Bool {
        try write(durable: true) { session in
            let position = try position(session)
            for id in ids where try isLive(id, in: number, session, position) { return false }
            try condemn(number, ids, session, position)
            return true
        }
    }

    private func isLive(
        _ id: BlobID, in pack: Int64, _ session: SQLiteSession, _ position: CatalogPosition
    ) throws -> Bool {
        try session.first(
            "SELECT 1 FROM blob WHERE id = $1 AND pack = $2 AND mark >= $3", .id(id), .integer(pack),
            .number(position.floor)
        ) { _ in true } == true
    }

    private func condemn(
        _ number: Int64, _ ids: [BlobID], _ session: SQLiteSession, _ position: CatalogPosition
    ) throws {
        for id in ids { try session.run("DELETE FROM blob WHERE id = $1 AND pack = $2", .id(id), .integer(number)) }
        try session.run(
            "UPDATE pack SET state = 1, since = $2 WHERE number = $1 AND state = 0", .integer(number),
            .number(position.generation))
    }

    package func replacePacks(
        _ old: [(number: Int64, ids: [BlobID])], with new: PackEntry, blobs: [MovedBlob]
    ) throws -> [Int64] {
        try write(durable: true) { session in
            let position = try position(session)
            guard let target = try insert(new, session, position) else {
                throw HoldfastError(.condemned, "a pack of this name is being removed", isTemporary: true)
            }
            let replaced = Set(old.map(\.number))
            for moved in blobs {
                let blob = moved.blob
                // The copy takes over mark and condition of the copy it was made from: moving a blob is no use of it.
                // What describes the bytes comes from the bytes: other copies may be compressed otherwise, or lie.
                try session.run(
                    """
                    INSERT INTO blob (id, pack, type, encoding, secret, refs, length, start, mark, reached, state, checked)
                    SELECT id, $2, $4, $5, $6, $7, $8, $3, mark, reached, state, checked FROM blob
                    WHERE id = $1 AND pack = $9 AND state <> 1
                    ON CONFLICT (id, pack) DO NOTHING
                    """, .id(blob.id), .integer(target), .number(blob.offset), .number(Int(blob.type.rawValue)),
                    .number(Int(blob.encoding.rawValue)), .number(Int(blob.secretNumber)),
                    .number(blob.references.count), .number(Int(blob.sealedLength)), .integer(moved.source))
            }
            var condemned: [Int64] = []
            for (number, ids) in old {
                var isReplaced = true
                for id in ids where try isLive(id, in: number, session, position) {
                    var others: [BlobCopy] = []
                    try copies(of: id, session, into: &others)
                    let own = others.first { $0.pack == number }
                    let hasOther = try others.contains { other in
                        guard !replaced.contains(other.pack), other.mark >= position.floor,
                            other.condition == .whole || other.condition == own?.condition,
                            other.condition != .damaged
                        else { return false }
                        // A copy of somebody else's making may name less than this one: it is no reason to let this one go.
                        return try other.pack == target || other.checked.nanoseconds > 0
                            || isOfSameOrigin(other.pack, number, session)
                    }
                    if !hasOther {
                        isReplaced = false
                        break
                    }
                }
                if isReplaced {
                    try condemn(number, ids, session, position)
                    condemned.append(number)
                }
            }
            return condemned
        }
    }

    private func isOfSameOrigin(_ a: Int64, _ b: Int64, _ session: SQLiteSession) throws -> Bool {
        try session.first(
            "SELECT 1 FROM pack a JOIN pack b ON b.origin = a.origin WHERE a.number = $1 AND b.number = $2",
            .integer(a), .integer(b)
        ) { _ in true } == true
    }

    private static let condemnedText = SQLText("SELECT \(packColumns) WHERE state = 1 AND state <> 0 ORDER BY number")

    package func condemnedPacks() throws -> [PackEntry] {
        try read { session in
            try session.all(SQLiteCatalog.condemnedText) { try SQLiteCatalog.pack($0) }
        }
    }

    package func announceRemoval(above number: UInt64) throws -> (number: UInt64, packs: [PackEntry]) {
        try write(durable: true) { session in
            let next = max(number, try removals(session)) + 1
            try session.run("UPDATE vault_state SET removals = $1", .number(next))
            return (next, try session.all(SQLiteCatalog.condemnedText) { try SQLiteCatalog.pack($0) })
        }
    }

    package func packsDeleted(_ numbers: [Int64]) throws {
        if numbers.isEmpty { return }
        try write(durable: true) { session in
            let position = try position(session)
            for number in numbers {
                try session.run(
                    "UPDATE pack SET state = 2, since = $2 WHERE number = $1 AND state = 1", .integer(number),
                    .number(position.generation))
            }
        }
    }

    package func finishCollection() throws {
        try write(durable: true) { session in
            let oldest = try session.first("SELECT MIN(generation) FROM lease") { row in
                row.isNull(0) ? nil : row.number(0)
            }
            // A sender that was at work when the object was deleted may still bring it back.
            try session.run(
                "DELETE FROM pack WHERE state = 2 AND since < $1",
                .number((oldest ?? nil) ?? UInt64(Int64.max)))
            // Lost packs of which nothing is needed any more; rows that are left in one are never whole.
            try session.run(
                """
                DELETE FROM pack WHERE state = 3 AND class <> 3
                    AND number NOT IN (SELECT pack FROM blob WHERE state <> 0)
                """)
            try session.run(
                "UPDATE vault_state SET phase = 0, cursor_id = NULL, cursor_pack = 0, seeded = 0")
        }
    }
}
