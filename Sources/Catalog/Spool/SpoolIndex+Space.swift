package import Model
import Vault

/// Freeing what is not needed, oldest history first, and joining what waits when room gets short.
extension SpoolIndex {
    /// Drops history that was captured before `time`. Moments that wait are never dropped.
    ///
    /// - Returns: how many moments.
    @discardableResult
    package func expire(before time: Timestamp) throws -> Int {
        try write { session in
            let old = try session.all(
                "SELECT sequence FROM moment WHERE state <> $1 AND time < $2 ORDER BY sequence LIMIT 10000",
                .integer(SpoolSchema.MomentState.waiting.rawValue), .time(time)
            ) { $0.integer(0) }
            for sequence in old { try SpoolIndex.drop(sequence, session) }
            return old.count
        }
    }

    /// Drops the oldest moment that does not wait. `false` when there is none.
    package func dropOldest() throws -> Bool {
        try write { session in
            guard
                let oldest = try session.first(
                    "SELECT sequence FROM moment WHERE state <> $1 ORDER BY sequence LIMIT 1",
                    .integer(SpoolSchema.MomentState.waiting.rawValue), decode: { $0.integer(0) })
            else { return false }
            try SpoolIndex.drop(oldest, session)
            return true
        }
    }

    private static func drop(_ sequence: Int64, _ session: SQLiteSession) throws {
        try session.run("DELETE FROM moment WHERE sequence = $1", .integer(sequence))
        try session.run("DELETE FROM change WHERE sequence = $1", .integer(sequence))
        try session.run("DELETE FROM use WHERE sequence = $1", .integer(sequence))
    }

    /// Takes packs out of the index that no moment needs. To be called while nothing is captured: what is captured is needed
    /// only when its moment is there.
    ///
    /// - Returns: their names; the files can be removed.
    package func takeUnused() throws -> [PackName] {
        try write { session in
            let packs = try session.all(
                "SELECT number, name, bytes FROM pack WHERE NOT EXISTS (SELECT 1 FROM use WHERE use.pack = pack.number)",
                decode: SpoolIndex.pack)
            for pack in packs { try SpoolIndex.remove(pack.number, session) }
            return packs.map(\.name)
        }
    }

    private static func remove(_ pack: Int64, _ session: SQLiteSession) throws {
        try session.run("DELETE FROM blob WHERE pack = $1", .integer(pack))
        try session.run("DELETE FROM pack WHERE number = $1", .integer(pack))
        try session.run("DELETE FROM use WHERE pack = $1", .integer(pack))
    }

    /// The names of all packs.
    package func packNames() throws -> Set<PackName> {
        try read { Set(try $0.all("SELECT name FROM pack") { PackName(try $0.digest(0)) }) }
    }

    /// A pack of which only some blobs are still needed.
    package struct PartlyUsed: Sendable {
        package var pack: SpoolPack
        /// What is needed of it.
        package var live: [SpoolBlob]
    }

    /// Makes one moment of those that wait, except of the first `keeping`: of each path only its last state stays.
    ///
    /// - Parameter label: what the point says of it.
    /// - Returns: packs that hold other blobs too and are worth rewriting; `nil` when fewer than two waited.
    package func joinWaiting(after kept: Int64, label: String) throws -> [PartlyUsed]? {
        try write { session -> [PartlyUsed]? in
            let moments = try session.all(
                """
                SELECT sequence, time, record, point, attempt FROM moment WHERE state = $1 AND sequence > $2
                ORDER BY sequence
                """, .integer(SpoolSchema.MomentState.waiting.rawValue), .integer(kept), decode: SpoolIndex.moment)
            guard moments.count > 1, let first = moments.first, let last = moments.last else { return nil }
            var joined = EntryMemory.Joined()
            var access: [[UInt8]: [UInt8]] = [:]
            for moment in moments {
                joined.add(try SpoolIndex.changes(of: moment.sequence, session))
                try session.prepare("SELECT path, access FROM change WHERE sequence = $1 AND what = $2").rows(
                    [.integer(moment.sequence), .integer(SpoolSchema.What.put.rawValue)]
                ) { row in
                    access[row.bytes(0)] = row.bytes(1)
                    return true
                }
            }
            let changes = joined.changes
            var record = last.record
            record.warnings = moments.flatMap(\.record.warnings)
            record.furtherWarnings = moments.reduce(0) { $0 + $1.record.furtherWarnings }
            var labels = Set(moments.flatMap(\.record.labels))
            labels.insert(label)
            record.labels = labels.sorted()
            for number in [\PointStatistics.bytesRead, \.newBytes, \.storedBytes, \.milliseconds] {
                record.statistics[keyPath: number] = moments.reduce(0) { $0 &+ $1.record.statistics[keyPath: number] }
            }
            let packs = try session.all(
                """
                SELECT DISTINCT pack.number, pack.name, pack.bytes FROM use JOIN pack ON pack.number = use.pack
                WHERE use.sequence >= $1 AND use.sequence <= $2
                """, .integer(first.sequence), .integer(last.sequence), decode: SpoolIndex.pack)
            for moment in moments {
                try session.run("DELETE FROM change WHERE sequence = $1", .integer(moment.sequence))
                try session.run("DELETE FROM use WHERE sequence = $1", .integer(moment.sequence))
                if moment.sequence != last.sequence {
                    try session.run("DELETE FROM moment WHERE sequence = $1", .integer(moment.sequence))
                }
            }
            try session.run(
                "UPDATE moment SET record = $1, point = NULL, attempt = NULL WHERE sequence = $2",
                .bytes(try record.encoded()), .integer(last.sequence))
            try SpoolIndex.note(
                SpoolIndex.rows(changes) { access[$0] ?? [] }, last.sequence, session)
            try SpoolIndex.use(changes.puts, last.sequence, session)
            return try SpoolIndex.partlyUsed(packs, changes, last.sequence, session)
        }
    }

    /// Bytes of the packs that moments need which wait.
    package func waitingBytes() throws -> UInt64 {
        try read { session in
            try session.all(
                """
                SELECT bytes FROM pack WHERE EXISTS (
                    SELECT 1 FROM use JOIN moment ON moment.sequence = use.sequence
                    WHERE use.pack = pack.number AND moment.state = $1)
                """, .integer(SpoolSchema.MomentState.waiting.rawValue)
            ) { $0.number(0) }.reduce(0, +)
        }
    }

    /// What `waitingBytes` would be after `joinWaiting` and rewriting what that says.
    package func waitingBytesJoined(after kept: Int64) throws -> UInt64 {
        try read { session in
            let waiting: SQLValue = .integer(SpoolSchema.MomentState.waiting.rawValue)
            let moments = try session.all(
                "SELECT sequence FROM moment WHERE state = $1 AND sequence > $2 ORDER BY sequence", waiting,
                .integer(kept)
            ) { $0.integer(0) }
            var joined = EntryMemory.Joined()
            for sequence in moments { joined.add(try SpoolIndex.changes(of: sequence, session)) }
            let live = Set(joined.changes.puts.flatMap(\.contentKeys).map { BlobCrypto.id(of: $0) })
            let packs = try session.all(
                """
                SELECT pack.number, pack.bytes, min(moment.sequence) FROM use
                JOIN pack ON pack.number = use.pack JOIN moment ON moment.sequence = use.sequence
                WHERE moment.state = $1 GROUP BY pack.number
                """, waiting
            ) { (number: $0.integer(0), bytes: $0.number(1), first: $0.integer(2)) }
            var sum: UInt64 = 0
            for pack in packs {
                if pack.first <= kept {
                    sum += pack.bytes
                    continue
                }
                let needed = try session.all("SELECT id, length FROM blob WHERE pack = $1", .integer(pack.number)) {
                    (id: BlobID(try $0.digest(0)), length: $0.number(1))
                }.reduce(UInt64(0)) { $0 + (live.contains($1.id) ? $1.length : 0) }
                sum += needed * 2 < pack.bytes ? needed : pack.bytes
            }
            return sum
        }
    }

    /// Which of `packs` are needed by one moment alone, and that by less than half.
    private static func partlyUsed(
        _ packs: [SpoolPack], _ changes: EntryMemory.Changes, _ sequence: Int64, _ session: SQLiteSession
    ) throws -> [PartlyUsed] {
        let live = Set(changes.puts.flatMap(\.contentKeys).map { BlobCrypto.id(of: $0) })
        var found: [PartlyUsed] = []
        for pack in packs {
            let users = try session.all("SELECT sequence FROM use WHERE pack = $1", .integer(pack.number)) {
                $0.integer(0)
            }
            guard users == [sequence] else { continue }
            let blobs = try session.all(
                "SELECT id, key, start, length FROM blob WHERE pack = $1 ORDER BY start", .integer(pack.number)
            ) {
                SpoolBlob(
                    id: BlobID(try $0.digest(0)), key: $0.isNull(1) ? nil : ContentKey(try $0.digest(1)),
                    start: $0.number(2), length: Int($0.integer(3)))
            }
            let needed = blobs.filter { live.contains($0.id) }
            let size = needed.reduce(0) { $0 + $1.length }
            if UInt64(size) * 2 < pack.bytes { found.append(PartlyUsed(pack: pack, live: needed)) }
        }
        return found
    }

    /// Puts a new pack, with what is needed of an old one, in the old one's place.
    package func replace(_ old: SpoolPack, with name: PackName, bytes: UInt64, _ blobs: [SpoolBlob]) throws {
        try write { session in
            let users = try session.all("SELECT sequence FROM use WHERE pack = $1", .integer(old.number)) {
                $0.integer(0)
            }
            try SpoolIndex.remove(old.number, session)
            // Under the number of the old one: packs are sent in the order of their numbers, and later ones may name its blobs.
            let number = old.number
            try session.run(
                "INSERT INTO pack (number, name, bytes, is_sent) VALUES ($1, $2, $3, 0)", .integer(number), .id(name),
                .number(bytes))
            try SpoolIndex.note(blobs, in: number, session)
            for user in users {
                try session.run("INSERT INTO use (pack, sequence) VALUES ($1, $2)", .integer(number), .integer(user))
            }
        }
    }

    /// Gives room in the index's file back to the disk.
    package func shrink() throws {
        _ = try write { session in try session.prepare("PRAGMA incremental_vacuum(256)").rows([]) { _ in true } }
    }
}
