import GRDB
package import Model
import Platform
import Vault

/// The server's tables in an SQLite file.
package final class SQLiteServerCatalog: ServerCatalog {
    private let pool: DatabasePool

    /// Opens the file at `path`, making it when there is none.
    package init(path: String) throws {
        do throws(Errno) {
            try FileDescriptor.open(Array(path.utf8), [.readWrite, .create], mode: 0o600).close()
        } catch {
            throw HoldfastError(
                error.isNoSpace ? .noSpace : error.isDenied ? .denied : .io,
                "The server's database \(path) cannot be opened: \(error).", context: ["path": path], cause: error)
        }
        var configuration = Configuration()
        configuration.busyMode = .timeout(30)
        configuration.maximumReaderCount = 4
        configuration.label = "server"
        configuration.prepareDatabase { database in
            // What is answered to a request is kept, whatever happens to the power.
            if !database.configuration.readonly { try database.execute(sql: "PRAGMA synchronous = FULL") }
        }
        do {
            pool = try DatabasePool(path: path, configuration: configuration)
            try pool.writeWithoutTransaction { database in
                try database.inTransaction(.immediate) {
                    try ServerSchema.migrate(SQLiteSession(database: database))
                    return .commit
                }
            }
        } catch {
            throw SQLiteFailure.translate(error)
        }
    }

    func read<T>(_ body: (SQLiteSession) throws -> T) throws -> T {
        do { return try pool.read { try body(SQLiteSession(database: $0)) } } catch {
            throw SQLiteFailure.translate(error)
        }
    }

    /// - Parameter isChange: changes what is put into safety; see `revision`.
    func write<T>(isChange: Bool = false, _ body: (SQLiteSession) throws -> T) throws -> T {
        do {
            return try pool.writeWithoutTransaction { database in
                var result: T?
                try database.inTransaction(.immediate) {
                    let session = SQLiteSession(database: database)
                    result = try body(session)
                    if isChange { try session.run("UPDATE revision SET number = number + 1") }
                    return .commit
                }
                guard let result else { throw SQLiteFailure.malformed }
                return result
            }
        } catch { throw SQLiteFailure.translate(error) }
    }

    // MARK: Machines

    package func add(_ machine: ManagedMachine) throws {
        try write(isChange: true) { session in
            guard try machineRow(machine.id, session) == nil else {
                throw HoldfastError(.exists, "There is a machine with this id.", context: ["machine": machine.id.hex])
            }
            try session.prepare(
                """
                INSERT INTO machine (id, name, former, machine_group, state, request_key, previous_key, waiting_key,
                    waiting_signing, enrolled, last_seen)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
                """
            ).run(Self.values(machine))
        }
    }

    package func update(_ machine: ManagedMachine) throws {
        try write(isChange: true) { try update(machine, $0) }
    }

    private func update(_ machine: ManagedMachine, _ session: SQLiteSession) throws {
        let count = try session.prepare(
            """
            UPDATE machine SET name = $2, former = $3, machine_group = $4, state = $5, request_key = $6,
                previous_key = $7, waiting_key = $8, waiting_signing = $9, enrolled = $10, last_seen = $11
            WHERE id = $1
            """
        ).run(Self.values(machine))
        guard count == 1 else { throw Self.noMachine(machine.id) }
    }

    private static func noMachine(_ id: MachineID) -> HoldfastError {
        HoldfastError(.notFound, "There is no machine with this id.", context: ["machine": id.hex])
    }

    @discardableResult
    package func change(
        _ id: MachineID, _ body: (inout ManagedMachine) throws -> Void
    ) throws -> ManagedMachine {
        try write { session in
            guard let known = try machineRow(id, session) else { throw Self.noMachine(id) }
            var changed = known
            try body(&changed)
            if changed != known {
                try update(changed, session)
                try session.run("UPDATE revision SET number = number + 1")
            }
            return changed
        }
    }

    package func removeWaiting(_ id: MachineID) throws -> Bool {
        try write { session in
            let count = try session.prepare("DELETE FROM machine WHERE id = $1 AND state = $2").run([
                .id(id), .number(Int(ManagedMachine.State.waiting.rawValue)),
            ])
            if count > 0 { try session.run("UPDATE revision SET number = number + 1") }
            return count > 0
        }
    }

    private static func values(_ machine: ManagedMachine) -> [SQLValue] {
        [
            .id(machine.id), .text(machine.name), .text(machine.formerNames.joined(separator: "\n")),
            .text(machine.group), .number(Int(machine.state.rawValue)), .digest(machine.key.bytes),
            machine.previousKey.map { .digest($0.bytes) } ?? .null,
            machine.waitingKey.map { .digest($0.bytes) } ?? .null,
            machine.waitingSigning.map { .digest($0.bytes) } ?? .null, .time(machine.enrolled), .time(machine.lastSeen),
        ]
    }

    private static let machineColumns =
        "id, name, former, machine_group, state, request_key, previous_key, waiting_key, waiting_signing, enrolled, last_seen"

    private static func decodeMachine(_ row: SQLiteRow) throws -> ManagedMachine {
        func key(_ column: Int32) throws -> VerifyingKey? {
            row.isNull(column) ? nil : VerifyingKey(bytes: try row.digest(column))
        }
        return ManagedMachine(
            id: try row.identifier(0), name: row.text(1),
            formerNames: row.text(2).split(separator: "\n").map(String.init), group: row.text(3),
            state: try row.value(4), key: VerifyingKey(bytes: try row.digest(5)), previousKey: try key(6),
            waitingKey: try key(7), waitingSigning: try key(8), enrolled: row.time(9), lastSeen: row.time(10))
    }

    private func machineRow(_ id: MachineID, _ session: SQLiteSession) throws -> ManagedMachine? {
        try session.first(
            SQLText("SELECT \(Self.machineColumns) FROM machine WHERE id = $1"), .id(id), decode: Self.decodeMachine)
    }

    package func machine(_ id: MachineID) throws -> ManagedMachine? { try read { try machineRow(id, $0) } }

    package func machines() throws -> [ManagedMachine] {
        try read {
            try $0.all(
                SQLText("SELECT \(Self.machineColumns) FROM machine ORDER BY name, id"), decode: Self.decodeMachine)
        }
    }

    package func seen(_ id: MachineID, at time: Timestamp) throws {
        try write {
            _ = try $0.run("UPDATE machine SET last_seen = $2 WHERE id = $1 AND last_seen < $2", .id(id), .time(time))
        }
    }

    // MARK: Tokens

    package func add(_ token: AccessToken) throws {
        try write(isChange: true) {
            _ = try $0.run(
                """
                INSERT INTO access_token (hash, role, name, machine_group, uses, expires, created)
                VALUES ($1, $2, $3, $4, $5, $6, $7)
                """, .digest(token.hash), .number(Int(token.role.rawValue)), .text(token.name), .text(token.group),
                token.uses.map { .number($0) } ?? .null, token.expires.map { .time($0) } ?? .null, .time(token.created))
        }
    }

    private static let tokenColumns = "hash, role, name, machine_group, uses, expires, created"

    private static func decodeToken(_ row: SQLiteRow) throws -> AccessToken {
        AccessToken(
            hash: try row.digest(0), role: try row.value(1), name: row.text(2), group: row.text(3),
            uses: row.isNull(4) ? nil : Int(row.integer(4)), expires: row.isNull(5) ? nil : row.time(5),
            created: row.time(6))
    }

    package func token(hash: Bytes32) throws -> AccessToken? {
        try read {
            try $0.first(
                SQLText("SELECT \(Self.tokenColumns) FROM access_token WHERE hash = $1"), .digest(hash),
                decode: Self.decodeToken)
        }
    }

    package func tokens() throws -> [AccessToken] {
        try read {
            try $0.all(
                SQLText("SELECT \(Self.tokenColumns) FROM access_token ORDER BY created, hash"),
                decode: Self.decodeToken)
        }
    }

    package func use(tokenHash: Bytes32, at time: Timestamp) throws -> Bool {
        try write(isChange: true) { session in
            let count = try session.run(
                """
                UPDATE access_token SET uses = uses - 1
                WHERE hash = $1 AND uses > 0 AND (expires IS NULL OR expires > $2)
                """, .digest(tokenHash), .time(time))
            if count == 1 { return true }
            return try session.first(
                "SELECT 1 FROM access_token WHERE hash = $1 AND uses IS NULL AND (expires IS NULL OR expires > $2)",
                .digest(tokenHash), .time(time)
            ) { _ in true } ?? false
        }
    }

    package func giveBack(tokenHash: Bytes32) throws {
        try write(isChange: true) {
            _ = try $0.run(
                "UPDATE access_token SET uses = uses + 1 WHERE hash = $1 AND uses IS NOT NULL", .digest(tokenHash))
        }
    }

    package func remove(tokenHash: Bytes32) throws -> Bool {
        try write(isChange: true) { try $0.run("DELETE FROM access_token WHERE hash = $1", .digest(tokenHash)) == 1 }
    }

    // MARK: Settings

    package func setting(_ name: String) throws -> [UInt8]? {
        try read { try $0.first("SELECT value FROM setting WHERE name = $1", .text(name)) { $0.bytes(0) } }
    }

    package func settings() throws -> [String: [UInt8]] {
        try read { session in
            let rows = try session.all("SELECT name, value FROM setting") { ($0.text(0), $0.bytes(1)) }
            return Dictionary(uniqueKeysWithValues: rows)
        }
    }

    package func revision() throws -> (number: Int64, safe: Int64) {
        try read { session in
            guard
                let row = try session.first(
                    "SELECT number, safe FROM revision", decode: { ($0.integer(0), $0.integer(1)) })
            else { throw SQLiteFailure.malformed }
            return (number: row.0, safe: row.1)
        }
    }

    package func markSafe(_ revision: Int64) throws {
        try write { _ = try $0.run("UPDATE revision SET safe = $1 WHERE safe < $1", .integer(revision)) }
    }

    package func set(_ name: String, _ value: [UInt8]) throws { try set(name, value, isChange: true) }

    package func set(_ name: String, _ value: [UInt8], replacing known: [UInt8]?) throws -> Bool {
        try write(isChange: true) {
            guard let known else {
                return try $0.run(
                    "INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING", .text(name),
                    .bytes(value)) == 1
            }
            return try $0.run(
                "UPDATE setting SET value = $2 WHERE name = $1 AND value = $3", .text(name), .bytes(value),
                .bytes(known)
            ) == 1
        }
    }

    package func keep(_ name: String, _ value: [UInt8]) throws { try set(name, value, isChange: false) }

    private func set(_ name: String, _ value: [UInt8], isChange: Bool) throws {
        try write(isChange: isChange) {
            _ = try $0.run(
                """
                INSERT INTO setting (name, value) VALUES ($1, $2)
                ON CONFLICT (name) DO UPDATE SET value = excluded.value
                """, .text(name), .bytes(value))
        }
    }
}
