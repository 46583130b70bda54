import GRDB
package import Model
import Platform
package import Vault

/// The catalog in an SQLite file beside the vault.
///
/// Readers and one writer work side by side in several processes; a writing transaction waits for others up to half a minute. Packs are registered without waiting for the disk (what is lost with the power is found
/// again in the store); what is documented as durable is synchronised.
package final class SQLiteCatalog: VaultCatalog {
    package let vault: VaultID
    let pool: any DatabaseWriter
    let witness: any CatalogWitness

    /// How transactions are made whole.
    package enum Journal: Sendable {
        /// A write-ahead log: readers see the state before while a writer works. Its index is in memory that the processes
        /// share, which no network file system gives to several hosts.
        case log
        /// A rollback journal and locks on the file alone, for file systems that several hosts can reach.
        case rollback
    }

    /// Opens the catalog at `path`, making it when `create` is set.
    ///
    /// - Parameters:
    ///   - vault: the vault it must belong to.
    ///   - witness: stands beside the catalog; see `CatalogWitness`.
    /// - Throws: `notFound` when there is none, `damaged` when it is no catalog or another vault's.
    package init(
        path: String, vault: VaultID, witness: any CatalogWitness, create: Bool = false, journal: Journal = .log
    ) throws {
        if !create {
            guard (try? FileSystem.status(Array(path.utf8))) != nil else {
                throw HoldfastError(.notFound, "the vault has no catalog at \(path)", context: ["path": path])
            }
        }
        if create {
            // For the owner's eyes only, whatever the umask: SQLite gives its log the same mode.
            do throws(Errno) {
                try FileDescriptor.open(Array(path.utf8), [.readWrite, .create], mode: 0o600).close()
            } catch {
                throw HoldfastError(
                    error.isNoSpace ? .noSpace : .io, "the vault's catalog cannot be made: \(error)", cause: error)
            }
        }
        var configuration = Configuration()
        configuration.busyMode = .timeout(30)
        configuration.maximumReaderCount = 3
        configuration.label = "catalog"
        configuration.prepareDatabase { database in
            // The caches of all connections together stay below 16 MB: up to three read.
            try database.execute(sql: "PRAGMA cache_size = \(database.configuration.readonly ? -2_000 : -8_000)")
            try database.execute(sql: "PRAGMA temp_store = FILE")
            if !database.configuration.readonly {
                try database.execute(sql: "PRAGMA synchronous = NORMAL")
            }
        }
        self.vault = vault
        self.witness = witness
        do {
            switch journal {
            case .log: pool = try DatabasePool(path: path, configuration: configuration)
            case .rollback:
                try SQLiteCatalog.leaveLog(path)
                pool = try DatabaseQueue(path: path, configuration: configuration)
            }
            let step = try pool.read { try CatalogSchema.step(of: SQLiteSession(database: $0)) }
            if step != CatalogSchema.newest {
                try pool.writeWithoutTransaction { database in
                    try database.inTransaction(.immediate) {
                        let session = SQLiteSession(database: database)
                        let isNew = try CatalogSchema.step(of: session) == 0
                        try CatalogSchema.migrate(session)
                        if isNew {
                            let first = try witness.read() ?? 0
                            try session.run(
                                """
                                INSERT INTO vault_state (one, vault, witness, generation, floor, phase, threshold,
                                    pack_limit, cursor_id, cursor_pack, seeded, unpropagated)
                                VALUES (1, $1, $2, 1, 1, 0, 0, 0, NULL, 0, 0, 0)
                                """, .id(vault), .number(first &+ 1))
                        }
                        return .commit
                    }
                }
            }
            let owner: VaultID? = try pool.read { database in
                try SQLiteSession(database: database).first("SELECT vault FROM vault_state") { try $0.identifier(0) }
            }
            guard owner == vault else {
                throw HoldfastError(.damaged, "the catalog at \(path) belongs to another vault")
            }
        } catch {
            throw SQLiteFailure.translate(error)
        }
    }

    /// Brings a catalog that was used with a write-ahead log to a rollback journal: alone, so that the log's index is in this
    /// process's memory.
    private static func leaveLog(_ path: String) throws {
        var configuration = Configuration()
        configuration.busyMode = .timeout(30)
        configuration.prepareDatabase { database in
            try database.execute(sql: "PRAGMA locking_mode = EXCLUSIVE")
        }
        // Bytes 18 and 19 of the file say which it is; 2 is the log.
        guard let file = try? FileDescriptor.open(Array(path.utf8), [.readOnly, .followLink]) else { return }
        var head = [UInt8](repeating: 0, count: 20)
        _ = try? head.withUnsafeMutableBytes { (buffer) throws(Errno) in try file.readFully(into: buffer, at: 0) }
        guard head[18] == 2 || head[19] == 2 else { return }
        let queue = try DatabaseQueue(path: path, configuration: configuration)
        let mode = try queue.writeWithoutTransaction { try String.fetchOne($0, sql: "PRAGMA journal_mode = DELETE") }
        try queue.close()
        guard mode == "delete" else {
            throw HoldfastError(
                .busy, "the vault's catalog is in use by another process; try again when it has ended",
                isTemporary: true)
        }
    }

    /// Merges the log into the file and closes all connections. A connection that only reads cannot merge it, and one of
    /// those may be the last that leaves.
    package func close() throws {
        do {
            try pool.writeWithoutTransaction { _ = try $0.checkpoint(.truncate) }
            try pool.close()
        } catch {
            throw SQLiteFailure.translate(error)
        }
    }

    // MARK: Transactions

    /// A reading transaction: one consistent view.
    func read<T>(_ body: (SQLiteSession) throws -> T) throws -> T {
        do {
            return try pool.read { try body(SQLiteSession(database: $0)) }
        } catch {
            throw SQLiteFailure.translate(error)
        }
    }

    /// A writing transaction: all of `body` or nothing. A durable one is on stable storage when it returns, and changes
    /// the witness.
    @discardableResult
    func write<T>(durable: Bool = false, _ body: (SQLiteSession) throws -> T) throws -> T {
        do {
            return try pool.writeWithoutTransaction { database in
                if durable { try database.execute(sql: "PRAGMA synchronous = FULL") }
                defer { if durable { try? database.execute(sql: "PRAGMA synchronous = NORMAL") } }
                var result: T?
                try database.inTransaction(.immediate) {
                    let session = SQLiteSession(database: database)
                    result = try body(session)
                    if durable { try changeWitness(session) }
                    return .commit
                }
                guard let result else { throw SQLiteFailure.malformed }
                return result
            }
        } catch {
            throw SQLiteFailure.translate(error)
        }
    }

    // MARK: State and witness

    package func position() throws -> CatalogPosition { try read { try position($0) } }

    func position(_ session: SQLiteSession) throws -> CatalogPosition {
        let position = try session.first(
            "SELECT generation, floor, phase, threshold, pack_limit FROM vault_state"
        ) { row in
            guard row.integer(0) > 0, row.integer(0) < .max, row.integer(1) >= 0, row.integer(3) >= 0 else {
                throw SQLiteFailure.malformed
            }
            return CatalogPosition(
                generation: row.number(0), floor: row.number(1), phase: try row.value(2), threshold: row.number(3),
                packLimit: row.integer(4))
        }
        guard let position else { throw SQLiteFailure.malformed }
        return position
    }

    package func agreesWithWitness() throws -> Bool {
        func compare(_ session: SQLiteSession) throws -> Bool {
            let own = try session.first("SELECT witness FROM vault_state") { $0.number(0) }
            let stored = try witness.read()
            return own != nil && own == stored
        }
        if try read(compare) { return true }
        // Another process may have been between witness and commit: look again when nobody writes.
        return try write(compare)
    }

    package func removals() throws -> UInt64 { try read { try removals($0) } }

    func removals(_ session: SQLiteSession) throws -> UInt64 {
        let number = try session.first("SELECT removals FROM vault_state") { $0.integer(0) }
        guard let number, number >= 0, number < 1 << 62 else { throw SQLiteFailure.malformed }
        return UInt64(number)
    }

    package func renewWitness(removals number: UInt64) throws {
        try write { session in
            try session.run(
                "UPDATE vault_state SET removals = $1 WHERE removals < $1", .number(min(number, 1 << 62 - 1)))
            let own = try session.first("SELECT witness FROM vault_state") { $0.number(0) } ?? 0
            try setWitness(max(own, try witness.read() ?? 0) &+ 1, session)
        }
    }

    /// The witness is written first: a crash in between makes them differ, which costs a comparison and nothing else.
    /// A catalog that disagrees stays so until it was compared with the store.
    func changeWitness(_ session: SQLiteSession) throws {
        let own = try session.first("SELECT witness FROM vault_state") { $0.number(0) }
        guard let own, own == (try witness.read()) else { return }
        try setWitness(own &+ 1, session)
    }

    private func setWitness(_ value: UInt64, _ session: SQLiteSession) throws {
        try witness.write(value)
        try session.run("UPDATE vault_state SET witness = $1", .number(value))
    }

    // MARK: Leases

    package func openLease(_ lease: LeaseEntry, pinning points: [PointID]) throws -> UInt64 {
        try write { session in
            let position = try position(session)
            let machine: SQLValue = if let machine = lease.machine { .id(machine) } else { .null }
            try session.run(
                "INSERT INTO lease (id, kind, generation, machine, opened) VALUES ($1, $2, $3, $4, $5)",
                .id(lease.id), .integer(lease.kind.rawValue), .number(position.generation), machine, .time(lease.opened)
            )
            for point in points {
                let names = try session.all("SELECT id FROM point_reference WHERE point = $1", .id(point)) {
                    BlobID(try $0.digest(0))
                }
                for name in names {
                    try session.run(
                        "INSERT INTO lease_pin (lease, id) VALUES ($1, $2) ON CONFLICT DO NOTHING", .id(lease.id),
                        .id(name))
                    if position.phase == .marking { try shade(name, session, position) }
                }
            }
            try changeWitness(session)
            return position.generation
        }
    }

    package func leases() throws -> [LeaseEntry] {
        try read { session in
            try session.all(
                "SELECT id, kind, generation, machine, opened FROM lease ORDER BY opened",
                decode: SQLiteCatalog.decodeLease)
        }
    }

    package func lease(_ id: LeaseID) throws -> LeaseEntry? {
        try read { session in
            try session.first(
                "SELECT id, kind, generation, machine, opened FROM lease WHERE id = $1", .id(id),
                decode: SQLiteCatalog.decodeLease)
        }
    }

    private static func decodeLease(_ row: SQLiteRow) throws -> LeaseEntry {
        LeaseEntry(
            id: try row.identifier(0), kind: try row.value(1), generation: row.number(2),
            machine: row.isNull(3) ? nil : try row.identifier(3), opened: row.time(4))
    }

    package func closeLeases(_ ids: [LeaseID]) throws {
        try write { session in
            for id in ids {
                try session.run("DELETE FROM lease WHERE id = $1", .id(id))
                try session.run("DELETE FROM lease_pin WHERE lease = $1", .id(id))
            }
            try changeWitness(session)
        }
    }

    /// A live lease; throws `leaseLost` for any other.
    func lease(_ id: LeaseID, _ session: SQLiteSession) throws -> (generation: UInt64, machine: MachineID?) {
        let lease = try session.first("SELECT generation, machine FROM lease WHERE id = $1", .id(id)) { row in
            (generation: row.number(0), machine: row.isNull(1) ? nil : try row.identifier(1, as: MachineID.self))
        }
        guard let lease else {
            throw HoldfastError(
                .leaseLost, "the lease on the vault has ended; open a new one and ask again", isTemporary: true)
        }
        return lease
    }

    // MARK: Statistics

    package func statistics() throws -> CatalogStatistics {
        try read { session in
            var result = CatalogStatistics()
            let rows = try session.all(
                "SELECT class, state, origin, COUNT(*), SUM(bytes), SUM(blobs) FROM pack GROUP BY class, state, origin"
            ) { row in
                guard row.integer(4) >= 0, row.integer(4) < 1 << 60, row.integer(5) >= 0, row.integer(5) < 1 << 60
                else {
                    throw SQLiteFailure.malformed
                }
                return (
                    packClass: try row.value(0, as: PackClass.self), state: try row.value(1, as: PackEntry.State.self),
                    origin: try row.identifier(2, as: WriterID.self), packs: Int(row.integer(3)),
                    bytes: row.number(4), blobs: Int(row.integer(5))
                )
            }
            for row in rows {
                guard row.state == .stored else {
                    if row.state == .condemned { result.condemnedBytes += row.bytes }
                    continue
                }
                func add(_ total: inout CatalogStatistics.PerClass) {
                    total.packs += row.packs
                    total.bytes += row.bytes
                    total.blobs += row.blobs
                }
                switch row.packClass {
                case .data: add(&result.data)
                case .meta: add(&result.meta)
                case .points: add(&result.records)
                }
                result.bytesByOrigin[row.origin, default: 0] += row.bytes
            }
            result.points = try session.first("SELECT COUNT(*) FROM point") { Int($0.integer(0)) } ?? 0
            result.machines =
                try session.first("SELECT COUNT(DISTINCT machine) FROM point") { Int($0.integer(0)) } ?? 0
            (result.damaged, result.incomplete) = try unwellCounts(session)
            return result
        }
    }
}
