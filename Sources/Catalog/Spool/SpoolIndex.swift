import GRDB
package import Model
import Platform
import Synchronization
package import Vault

/// What a spool holds: moments, what changed in each, packs and the blobs in them, in an SQLite file.
///
/// Writing waits for no disk: `synchronize` does, and what a power cut takes with it is found by the next scan. One thread
/// captures and frees, another one sends, and any may ask.
package final class SpoolIndex: Sendable {
    private let path: String
    private let current: Mutex<DatabasePool>
    private var pool: DatabasePool { current.withLock { $0 } }

    /// Opens the file at `path`, making it when there is none or it is of another version or damaged.
    package init(path: String) throws {
        do throws(Errno) {
            try FileDescriptor.open(Array(path.utf8), [.readWrite, .create], mode: 0o600).close()
        } catch {
            throw HoldfastError(
                error.isNoSpace ? .noSpace : .io, "The spool's index \(path) cannot be opened: \(error).", cause: error)
        }
        self.path = path
        let pool: DatabasePool
        do {
            pool = try SpoolIndex.open(path)
        } catch {
            let known = SQLiteFailure.translate(error) as? HoldfastError
            guard known?.code == .damaged || known?.code == .unsupported else { throw SQLiteFailure.translate(error) }
            pool = try SpoolIndex.make(path)
        }
        current = Mutex(pool)
    }

    /// An empty index in the place of the one that is there. Nothing that counts is lost: the scan that follows finds what is
    /// on the disk.
    private static func make(_ path: String) throws -> DatabasePool {
        for end in ["", "-wal", "-shm"] {
            try? FileSystem.remove(at: FileSystem.currentDirectory, path + end)
        }
        do {
            try FileDescriptor.open(Array(path.utf8), [.readWrite, .create], mode: 0o600).close()
            return try open(path)
        } catch { throw translate(error) }
    }

    /// Makes the index anew, empty. To be called while nobody else writes.
    package func startAnew() throws {
        let old = pool
        let new = try SpoolIndex.make(path)
        current.withLock { $0 = new }
        try? old.close()
    }

    /// Whether the file is what SQLite has written. Reads all of it.
    package func isIntact() throws -> Bool {
        do {
            return try read { session in
                try session.first("PRAGMA integrity_check(1)") { $0.text(0) == "ok" } ?? false
            }
        } catch let error as HoldfastError where error.code == .spoolDamaged { return false }
    }

    private static func open(_ path: String) throws -> DatabasePool {
        var configuration = Configuration()
        configuration.busyMode = .timeout(30)
        configuration.maximumReaderCount = 2
        configuration.label = "spool"
        configuration.prepareDatabase { database in
            try database.execute(sql: "PRAGMA cache_size = -2000")
            if !database.configuration.readonly {
                try database.execute(sql: "PRAGMA synchronous = NORMAL")
                // Freed pages go back to the disk with `PRAGMA incremental_vacuum`.
                try database.execute(sql: "PRAGMA auto_vacuum = INCREMENTAL")
            }
        }
        let pool = try DatabasePool(path: path, configuration: configuration)
        try pool.writeWithoutTransaction { database in
            try database.inTransaction(.immediate) {
                let session = SQLiteSession(database: database)
                let tables = try session.first("SELECT count(*) FROM sqlite_schema WHERE name = 'spool'") {
                    $0.integer(0)
                }
                if tables == 0 {
                    for statement in SpoolSchema.statements { try session.run(SQLText(statement)) }
                    try session.run("INSERT INTO spool (one, version) VALUES (1, $1)", .integer(SpoolSchema.version))
                }
                guard try session.first("SELECT version FROM spool", decode: { $0.integer(0) }) == SpoolSchema.version
                else { throw HoldfastError(.unsupported, "the spool is of another version") }
                return .commit
            }
        }
        return pool
    }

    func read<T>(_ body: (SQLiteSession) throws -> T) throws -> T {
        do { return try pool.read { try body(SQLiteSession(database: $0)) } } catch {
            throw SpoolIndex.translate(error)
        }
    }

    func write<T>(_ body: (SQLiteSession) throws -> T) throws -> T {
        do {
            return try pool.writeWithoutTransaction { database in
                var result: T?
                try database.inTransaction(.immediate) {
                    result = try body(SQLiteSession(database: database))
                    return .commit
                }
                guard let result else { throw SQLiteFailure.malformed }
                return result
            }
        } catch { throw SpoolIndex.translate(error) }
    }

    private static func translate(_ error: any Error) -> any Error {
        guard var known = SQLiteFailure.translate(error) as? HoldfastError else { return error }
        known.message = known.message.replacing("the vault's catalog", with: "the spool's index")
        if known.code == .damaged { known.code = .spoolDamaged }
        return known
    }

    /// Everything that was written survives a power cut from here on.
    package func synchronize() throws {
        do { _ = try pool.writeWithoutTransaction { try $0.checkpoint(.truncate) } } catch {
            throw SpoolIndex.translate(error)
        }
    }

    /// For tests: as if another version had written it.
    func pretendVersion(_ version: Int64) throws {
        _ = try write { try $0.run("UPDATE spool SET version = $1", .integer(version)) }
    }

    // MARK: What the newest state is

    /// What was noted last; `nil` before the first full scan.
    package func base() throws -> SpoolBase? {
        try read { session in
            try session.first("SELECT base, totals, point, incarnation, root, deltas, source FROM spool") { row in
                if row.isNull(0) || row.isNull(2) { return nil }
                return SpoolBase(
                    source: row.bytes(6), scan: try row.identifier(0),
                    state: try SpoolIndex.state(
                        point: row.identifier(2), incarnation: row.identifier(3), root: row.digest(4),
                        deltas: row.bytes(5)),
                    totals: try row.bytes(1).withUnsafeBytes { try PointRecord.decode($0).statistics })
            } ?? nil
        }
    }

    private static func state(
        point: PointID, incarnation: IncarnationID, root: Bytes32, deltas: [UInt8]
    ) throws -> ContinuousState {
        guard deltas.count % 32 == 0 else { throw SQLiteFailure.malformed }
        let keys = stride(from: 0, to: deltas.count, by: 32).compactMap { start in
            Bytes32(Array(deltas[start..<(start + 32)])).map { ContentKey($0) }
        }
        return ContinuousState(point: point, incarnation: incarnation, root: ContentKey(root), deltas: keys)
    }

    private static func encode(_ statistics: PointStatistics) throws -> [UInt8] {
        var record = PointRecord(root: ContentKey(.zero))
        record.statistics = statistics
        return try record.encoded()
    }

    /// A full scan was stored: what changed since the one before is forgotten, except as history. Of moments that wait (those
    /// of a first scan) it is what is still to come.
    package func rebase(_ base: SpoolBase) throws {
        try write { session in
            try session.run(
                """
                UPDATE spool SET base = $1, totals = $2, point = $3, incarnation = $4, root = $5, deltas = $6, source = $7
                """,
                .id(base.scan), .bytes(try SpoolIndex.encode(base.totals)), .id(base.state.point),
                .id(base.state.incarnation), .id(base.state.root), .bytes(base.state.deltas.flatMap(\.bytes.array)),
                .bytes(base.source))
            try session.run(
                """
                DELETE FROM known WHERE path NOT IN (
                    SELECT change.path FROM change JOIN moment ON moment.sequence = change.sequence WHERE moment.state = $1)
                """, .integer(SpoolSchema.MomentState.waiting.rawValue))
        }
    }

    /// Nothing can be built on what was noted. Moments that wait cannot be sent any more; they stay as history.
    package func forget() throws {
        try write { session in
            try session.run(
                "UPDATE spool SET base = NULL, point = NULL, incarnation = NULL, root = NULL, deltas = NULL")
            try session.run("DELETE FROM known")
            try session.run(
                "UPDATE moment SET state = $1 WHERE state = $2", .integer(SpoolSchema.MomentState.orphaned.rawValue),
                .integer(SpoolSchema.MomentState.waiting.rawValue))
        }
    }

    /// What was captured since the last full scan, all moments together.
    package func known() throws -> EntryMemory.Changes {
        try read { session in
            var changes = EntryMemory.Changes()
            try session.prepare("SELECT path, is_emptied, entry FROM known").rows([]) { row in
                let key = row.bytes(0)
                if row.integer(1) != 0 {
                    changes.emptied.append(key)
                } else if row.isNull(2) {
                    changes.gone.append(key)
                } else {
                    changes.puts.append(try CachedEntry(decoding: row.bytes(2), key: key))
                }
                return true
            }
            return changes
        }
    }

    // MARK: Packs

    /// Which of the blobs the spool does not hold.
    package func missing(_ ids: [BlobID]) throws -> [Bool] {
        try read { session in
            let find = try session.prepare("SELECT 1 FROM blob WHERE id = $1")
            return try ids.map { id in
                var isMissing = true
                try find.rows([.id(id)]) { _ in
                    isMissing = false
                    return false
                }
                return isMissing
            }
        }
    }

    /// Registers a pack. One that is there already stays as it is.
    package func add(_ name: PackName, bytes: UInt64, _ blobs: [SpoolBlob]) throws {
        try write { session in
            if try session.first("SELECT number FROM pack WHERE name = $1", .id(name), decode: { $0.integer(0) }) != nil
            {
                return
            }
            try session.run("INSERT INTO pack (name, bytes, is_sent) VALUES ($1, $2, 0)", .id(name), .number(bytes))
            let number = try session.first("SELECT last_insert_rowid()") { $0.integer(0) } ?? 0
            try SpoolIndex.note(blobs, in: number, session)
        }
    }

    static func note(_ blobs: [SpoolBlob], in pack: Int64, _ session: SQLiteSession) throws {
        let insert = try session.prepare(
            "INSERT OR IGNORE INTO blob (id, key, pack, start, length) VALUES ($1, $2, $3, $4, $5)")
        for blob in blobs {
            try insert.run([
                .id(blob.id), blob.key.map { .id($0) } ?? .null, .integer(pack), .number(blob.start),
                .number(blob.length),
            ])
        }
    }

    /// Where blobs lie, by the name of the pack; those that the spool does not hold are left out.
    package func places(of ids: [BlobID]) throws -> [(pack: PackName, blob: SpoolBlob)] {
        try read { session in
            let find = try session.prepare(
                """
                SELECT pack.name, blob.id, blob.start, blob.length FROM blob JOIN pack ON pack.number = blob.pack
                WHERE blob.id = $1
                """)
            var found: [(PackName, SpoolBlob)] = []
            for id in ids {
                try find.rows([.id(id)]) { row in
                    found.append(
                        (
                            PackName(try row.digest(0)),
                            SpoolBlob(id: id, key: nil, start: row.number(2), length: Int(row.integer(3)))
                        ))
                    return false
                }
            }
            return found
        }
    }

    /// The blobs of a pack that lie in it by the index, in the order in which they lie.
    package func blobs(of pack: Int64) throws -> [SpoolBlob] {
        try read { session in
            try session.all("SELECT id, key, start, length FROM blob WHERE pack = $1 ORDER BY start", .integer(pack)) {
                SpoolBlob(
                    id: BlobID(try $0.digest(0)), key: $0.isNull(1) ? nil : ContentKey(try $0.digest(1)),
                    start: $0.number(2), length: Int($0.integer(3)))
            }
        }
    }

    /// The packs that a moment needs and the vault does not have yet, oldest first.
    package func unsentPacks(of sequence: Int64) throws -> [SpoolPack] {
        try read { session in
            try session.all(
                """
                SELECT pack.number, pack.name, pack.bytes FROM use JOIN pack ON pack.number = use.pack
                WHERE use.sequence = $1 AND pack.is_sent = 0 ORDER BY pack.number
                """, .integer(sequence), decode: SpoolIndex.pack)
        }
    }

    static func pack(_ row: SQLiteRow) throws -> SpoolPack {
        SpoolPack(number: row.integer(0), name: PackName(try row.digest(1)), bytes: row.number(2))
    }

    // MARK: Moments

    /// Adds a moment: what changed, what its point will say, and the numbers of the state.
    ///
    /// - Parameter access: who can reach what is put; kept as it is.
    /// - Returns: its sequence number.
    package func append(
        _ changes: EntryMemory.Changes, _ record: PointRecord, time: Timestamp, totals: PointStatistics,
        access: (_ key: [UInt8]) -> [UInt8] = { _ in [] }
    ) throws -> Int64 {
        let rows = SpoolIndex.rows(changes, access)
        let encoded = try record.encoded()
        let totals = try SpoolIndex.encode(totals)
        return try write { session in
            try session.run(
                "INSERT INTO moment (time, state, record) VALUES ($1, $2, $3)", .time(time),
                .integer(SpoolSchema.MomentState.waiting.rawValue), .bytes(encoded))
            let sequence = try session.first("SELECT last_insert_rowid()") { $0.integer(0) } ?? 0
            try SpoolIndex.note(rows, sequence, session)
            try SpoolIndex.use(changes.puts, sequence, session)
            try SpoolIndex.learn(changes, session)
            try session.run("UPDATE spool SET totals = $1", .bytes(totals))
            return sequence
        }
    }

    /// A row of `change` without its moment.
    struct Row {
        var key: [UInt8]
        var what: SpoolSchema.What
        var entry: [UInt8]?
        var access: [UInt8]?
    }

    static func rows(_ changes: EntryMemory.Changes, _ access: ([UInt8]) -> [UInt8]) -> [Row] {
        changes.emptied.map { Row(key: $0, what: .emptied) } + changes.gone.map { Row(key: $0, what: .gone) }
            + changes.puts.map { Row(key: $0.key, what: .put, entry: $0.encoded(), access: access($0.key)) }
    }

    static func note(_ rows: [Row], _ sequence: Int64, _ session: SQLiteSession) throws {
        let insert = try session.prepare(
            "INSERT OR REPLACE INTO change (path, sequence, what, entry, access) VALUES ($1, $2, $3, $4, $5)")
        for row in rows {
            try insert.run([
                .bytes(row.key), .integer(sequence), .integer(row.what.rawValue), row.entry.map { .bytes($0) } ?? .null,
                row.access.map { .bytes($0) } ?? .null,
            ])
        }
    }

    /// Notes which packs hold what a moment puts.
    static func use(_ puts: [CachedEntry], _ sequence: Int64, _ session: SQLiteSession) throws {
        let find = try session.prepare("SELECT pack FROM blob WHERE id = $1")
        var packs: Set<Int64> = []
        var seen: Set<ContentKey> = []
        for put in puts {
            for key in put.contentKeys where seen.insert(key).inserted {
                try find.rows([.id(BlobCrypto.id(of: key))]) { row in
                    packs.insert(row.integer(0))
                    return false
                }
            }
        }
        let insert = try session.prepare("INSERT OR IGNORE INTO use (pack, sequence) VALUES ($1, $2)")
        for pack in packs { try insert.run([.integer(pack), .integer(sequence)]) }
    }

    /// The same as `EntryMemory.apply`, on the disk.
    private static func learn(_ changes: EntryMemory.Changes, _ session: SQLiteSession) throws {
        for key in changes.emptied {
            guard let path = TreePath(key: key) else { continue }
            let prefix = path.subtreePrefix
            if prefix.isEmpty {
                try session.run("DELETE FROM known WHERE path <> $1", .bytes([]))
            } else {
                // Keys below it begin with the prefix; 0xFF stands in no name's place after it that would be left out.
                try session.run(
                    "DELETE FROM known WHERE path > $1 AND path < $2", .bytes(prefix), .bytes(SpoolIndex.after(prefix)))
            }
            try session.run(
                "INSERT OR REPLACE INTO known (path, is_emptied, entry) VALUES ($1, 1, NULL)", .bytes(key))
        }
        let insert = try session.prepare("INSERT OR REPLACE INTO known (path, is_emptied, entry) VALUES ($1, 0, $2)")
        for key in changes.gone { try insert.run([.bytes(key), .null]) }
        for put in changes.puts { try insert.run([.bytes(put.key), .bytes(put.encoded())]) }
    }

    /// The least byte string above all that begin with `prefix`, which ends with a zero.
    static func after(_ prefix: [UInt8]) -> [UInt8] {
        var after = prefix
        after[after.count - 1] += 1
        return after
    }

    /// The oldest moment that waits to be sent.
    package func firstWaiting() throws -> SpoolMoment? {
        try read { session in
            try session.first(
                """
                SELECT sequence, time, record, point, attempt FROM moment WHERE state = $1 ORDER BY sequence LIMIT 1
                """, .integer(SpoolSchema.MomentState.waiting.rawValue), decode: SpoolIndex.moment)
        }
    }

    static func moment(_ row: SQLiteRow) throws -> SpoolMoment {
        SpoolMoment(
            sequence: row.integer(0), time: row.time(1),
            record: try row.bytes(2).withUnsafeBytes { try PointRecord.decode($0) },
            attempt: row.isNull(4) ? nil : try SpoolIndex.decode(state: row.bytes(4)))
    }

    private static func encode(state: ContinuousState) -> [UInt8] {
        var out = ByteWriter()
        out.u64(state.point.high)
        out.u64(state.point.low)
        out.u64(state.incarnation.high)
        out.u64(state.incarnation.low)
        out.digest(state.root.bytes)
        for key in state.deltas { out.digest(key.bytes) }
        return out.bytes
    }

    private static func decode(state bytes: [UInt8]) throws -> ContinuousState {
        try bytes.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            let point = PointID(high: try reader.u64(), low: try reader.u64())
            let incarnation = IncarnationID(high: try reader.u64(), low: try reader.u64())
            var state = ContinuousState(point: point, incarnation: incarnation, root: ContentKey(try reader.digest()))
            while !reader.isAtEnd { state.deltas.append(ContentKey(try reader.digest())) }
            return state
        }
    }

    /// What a moment changed.
    package func changes(of sequence: Int64) throws -> EntryMemory.Changes {
        try read { try SpoolIndex.changes(of: sequence, $0) }
    }

    static func changes(of sequence: Int64, _ session: SQLiteSession) throws -> EntryMemory.Changes {
        var changes = EntryMemory.Changes()
        try session.prepare("SELECT path, what, entry FROM change WHERE sequence = $1").rows([.integer(sequence)]) {
            row in
            let key = row.bytes(0)
            switch SpoolSchema.What(rawValue: row.integer(1)) {
            case .gone: changes.gone.append(key)
            case .emptied: changes.emptied.append(key)
            case .put: changes.puts.append(try CachedEntry(decoding: row.bytes(2), key: key))
            case nil: throw SQLiteFailure.malformed
            }
            return true
        }
        return changes
    }

    /// Notes what is about to be committed: after a crash the vault is asked for this point before it is sent anew.
    package func attempt(_ sequence: Int64, _ state: ContinuousState) throws {
        _ = try write { session in
            try session.run(
                "UPDATE moment SET point = $1, attempt = $2 WHERE sequence = $3", .id(state.point),
                .bytes(SpoolIndex.encode(state: state)), .integer(sequence))
        }
    }

    /// The vault has stored a moment: it and its packs are history, and the state is what comes next is built on.
    package func acknowledge(_ sequence: Int64, _ state: ContinuousState) throws {
        _ = try write { session in
            try session.run(
                "UPDATE moment SET state = $1, point = $2, attempt = NULL WHERE sequence = $3",
                .integer(SpoolSchema.MomentState.sent.rawValue), .id(state.point), .integer(sequence))
            try session.run(
                "UPDATE pack SET is_sent = 1 WHERE number IN (SELECT pack FROM use WHERE sequence = $1)",
                .integer(sequence))
            try session.run(
                "UPDATE spool SET point = $1, incarnation = $2, root = $3, deltas = $4", .id(state.point),
                .id(state.incarnation), .id(state.root), .bytes(state.deltas.flatMap(\.bytes.array)))
        }
    }

    /// The vault lacks blobs that it was thought to have: the packs of a moment are sent once more.
    package func sendAgain(_ sequence: Int64) throws {
        _ = try write { session in
            try session.run(
                "UPDATE pack SET is_sent = 0 WHERE number IN (SELECT pack FROM use WHERE sequence = $1)",
                .integer(sequence))
        }
    }

    /// When the oldest moment that waits was captured; `nil` when none does. Cheap, for after each moment that was sent.
    package func oldestWaiting() throws -> Timestamp? {
        try read { session in
            try session.first(
                "SELECT time FROM moment WHERE state = $1 ORDER BY sequence LIMIT 1",
                .integer(SpoolSchema.MomentState.waiting.rawValue)
            ) { $0.time(0) }
        }
    }

    /// How much is kept.
    package func summary() throws -> SpoolSummary {
        try read { session in
            var summary = SpoolSummary()
            summary.bytes = try session.first("SELECT coalesce(sum(bytes), 0) FROM pack") { $0.number(0) } ?? 0
            try session.prepare("SELECT count(*), min(time) FROM moment").rows([]) { row in
                summary.moments = Int(row.integer(0))
                if !row.isNull(1) { summary.oldest = row.time(1) }
                return false
            }
            try session.prepare("SELECT count(*), min(time), max(sequence) FROM moment WHERE state = $1").rows(
                [.integer(SpoolSchema.MomentState.waiting.rawValue)]
            ) { row in
                summary.waiting = Int(row.integer(0))
                if !row.isNull(1) { summary.oldestWaiting = row.time(1) }
                if !row.isNull(2) { summary.newestWaiting = row.integer(2) }
                return false
            }
            return summary
        }
    }
}

extension HoldfastError.Code {
    /// What the spool holds is not what was put there; a scan finds what is on the disk.
    package static let spoolDamaged = HoldfastError.Code("spool-damaged")
}
