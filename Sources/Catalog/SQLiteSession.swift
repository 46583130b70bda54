import GRDB
import GRDBSQLite
import Model

/// A value bound to a placeholder.
enum SQLValue {
    case null
    case integer(Int64)
    /// 32 bytes.
    case digest(Bytes32)
    /// 16 bytes, as two big-endian words.
    case identifier(UInt64, UInt64)
    case bytes([UInt8])
    case text(String)

    static func number(_ value: UInt64) -> SQLValue { .integer(Int64(bitPattern: value)) }
    static func number(_ value: Int) -> SQLValue { .integer(Int64(value)) }
    static func id(_ value: some DigestIdentifier) -> SQLValue { .digest(value.bytes) }
    static func id(_ value: some RandomIdentifier) -> SQLValue { .identifier(value.high, value.low) }
    static func time(_ value: Timestamp) -> SQLValue { .integer(value.nanoseconds) }
}

/// SQL text in the subset that SQLite and PostgreSQL share, with `$n` placeholders.
///
/// SQLite numbers `$n` in the order of their first use, which would bind silently wrong; `?n` means what it says.
struct SQLText: ExpressibleByStringLiteral, Sendable {
    let sqlite: String

    init(stringLiteral value: String) { self.init(value) }

    init(_ value: String) {
        var text: [UInt8] = []
        for byte in value.utf8 { text.append(byte == UInt8(ascii: "$") ? UInt8(ascii: "?") : byte) }
        sqlite = String(decoding: text, as: UTF8.self)
    }
}

/// One transaction's view of the database: cached statements, bound and decoded by hand.
struct SQLiteSession {
    let database: Database

    /// The prepared statement of `sql`, from the connection's cache.
    func prepare(_ sql: SQLText) throws -> SQLiteCommand {
        SQLiteCommand(statement: try database.cachedStatement(sql: sql.sqlite))
    }

    /// Runs a statement that answers nothing; the count of rows it changed.
    @discardableResult
    func run(_ sql: SQLText, _ values: SQLValue...) throws -> Int { try prepare(sql).run(values) }

    /// The first row, decoded.
    func first<T>(_ sql: SQLText, _ values: SQLValue..., decode: (SQLiteRow) throws -> T) throws -> T? {
        var result: T?
        try prepare(sql).rows(values) { row in
            result = try decode(row)
            return false
        }
        return result
    }

    /// All rows, decoded.
    func all<T>(_ sql: SQLText, _ values: SQLValue..., decode: (SQLiteRow) throws -> T) throws -> [T] {
        var result: [T] = []
        try prepare(sql).rows(values) { row in
            result.append(try decode(row))
            return true
        }
        return result
    }
}

/// A prepared statement of the connection in use.
struct SQLiteCommand {
    private let statement: Statement
    private let handle: OpaquePointer

    init(statement: Statement) {
        self.statement = statement
        handle = statement.sqliteStatement
    }

    /// Runs to the end; the count of rows changed.
    @discardableResult
    func run(_ values: [SQLValue]) throws -> Int {
        try rows(values) { _ in true }
        return Int(sqlite3_changes(sqlite3_db_handle(handle)))
    }

    /// Hands each row to `body` until it answers `false`.
    func rows(_ values: [SQLValue], _ body: (SQLiteRow) throws -> Bool) throws {
        sqlite3_reset(handle)
        try bind(values)
        defer { sqlite3_reset(handle) }
        while true {
            let code = sqlite3_step(handle)
            if code == SQLITE_DONE { return }
            guard code == SQLITE_ROW else { throw failure(code) }
            if try !body(SQLiteRow(handle: handle)) { return }
        }
    }

    private func bind(_ values: [SQLValue]) throws {
        // SQLITE_TRANSIENT: SQLite copies the bytes before the call returns.
        let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        for (position, value) in values.enumerated() {
            let index = Int32(position + 1)
            let code: Int32
            switch value {
            case .null: code = sqlite3_bind_null(handle, index)
            case .integer(let number): code = sqlite3_bind_int64(handle, index, number)
            case .digest(let digest):
                code = withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { buffer in
                    digest.store(to: buffer)
                    return sqlite3_bind_blob(handle, index, buffer.baseAddress, 32, transient)
                }
            case .identifier(let high, let low):
                code = withUnsafeTemporaryAllocation(byteCount: 16, alignment: 8) { buffer in
                    buffer.storeBytes(of: high.bigEndian, toByteOffset: 0, as: UInt64.self)
                    buffer.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
                    return sqlite3_bind_blob(handle, index, buffer.baseAddress, 16, transient)
                }
            case .bytes(let bytes):
                code = bytes.withUnsafeBytes { buffer in
                    guard let base = buffer.baseAddress else { return sqlite3_bind_zeroblob(handle, index, 0) }
                    return sqlite3_bind_blob(handle, index, base, Int32(buffer.count), transient)
                }
            case .text(let text): code = sqlite3_bind_text(handle, index, text, -1, transient)
            }
            guard code == SQLITE_OK else { throw failure(code) }
        }
    }

    private func failure(_ code: Int32) -> HoldfastError {
        let connection = sqlite3_db_handle(handle)
        return SQLiteFailure.error(
            code: sqlite3_extended_errcode(connection), message: String(cString: sqlite3_errmsg(connection)))
    }
}

/// The current row of a statement; valid until the next step.
struct SQLiteRow {
    fileprivate let handle: OpaquePointer

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }
    func number(_ column: Int32) -> UInt64 { UInt64(bitPattern: sqlite3_column_int64(handle, column)) }
    func time(_ column: Int32) -> Timestamp { Timestamp(nanoseconds: sqlite3_column_int64(handle, column)) }
    func isNull(_ column: Int32) -> Bool { sqlite3_column_type(handle, column) == SQLITE_NULL }

    func digest(_ column: Int32) throws -> Bytes32 {
        guard sqlite3_column_bytes(handle, column) == 32, let base = sqlite3_column_blob(handle, column) else {
            throw SQLiteFailure.malformed
        }
        return Bytes32(UnsafeRawBufferPointer(start: base, count: 32))
    }

    func identifier<T: RandomIdentifier>(_ column: Int32, as: T.Type = T.self) throws -> T {
        guard sqlite3_column_bytes(handle, column) == 16, let base = sqlite3_column_blob(handle, column) else {
            throw SQLiteFailure.malformed
        }
        return T(
            high: UInt64(bigEndian: base.loadUnaligned(as: UInt64.self)),
            low: UInt64(bigEndian: base.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    }

    func bytes(_ column: Int32) -> [UInt8] {
        let count = Int(sqlite3_column_bytes(handle, column))
        guard count > 0, let base = sqlite3_column_blob(handle, column) else { return [] }
        return Array(UnsafeRawBufferPointer(start: base, count: count))
    }

    func text(_ column: Int32) -> String { String(decoding: bytes(column), as: UTF8.self) }

    /// A number that names a case of a closed set.
    func value<T: RawRepresentable>(_ column: Int32, as: T.Type = T.self) throws -> T
    where T.RawValue: FixedWidthInteger {
        guard let raw = T.RawValue(exactly: integer(column)), let value = T(rawValue: raw) else {
            throw SQLiteFailure.malformed
        }
        return value
    }
}

/// SQLite's failures in words for the person who runs the vault.
enum SQLiteFailure {
    static var malformed: HoldfastError {
        HoldfastError(
            .damaged, "the vault's catalog is damaged; run `holdfast vault rebuild` (no backup is lost by it)")
    }

    static func error(code: Int32, message: String, cause: (any Error)? = nil) -> HoldfastError {
        switch code & 0xFF {
        case SQLITE_CORRUPT, SQLITE_NOTADB:
            var error = malformed
            error.cause = cause
            return error
        case SQLITE_FULL:
            return HoldfastError(.noSpace, "the disk that holds the vault's catalog is full", cause: cause)
        case SQLITE_BUSY, SQLITE_LOCKED:
            return HoldfastError(
                .busy, "another process has kept the vault's catalog busy for too long; try again", cause: cause,
                isTemporary: true)
        case SQLITE_READONLY, SQLITE_PERM, SQLITE_AUTH:
            return HoldfastError(.denied, "the vault's catalog cannot be written: \(message)", cause: cause)
        case SQLITE_CANTOPEN:
            return HoldfastError(.io, "the vault's catalog cannot be opened: \(message)", cause: cause)
        case SQLITE_IOERR:
            // Extended code of a full disk that shows itself only when the log is written.
            return HoldfastError(.io, "reading or writing the vault's catalog failed: \(message)", cause: cause)
        default:
            return HoldfastError(.internalError, "the vault's catalog failed (\(code)): \(message)", cause: cause)
        }
    }

    /// Any error of a transaction as the project's own.
    static func translate(_ error: any Error) -> any Error {
        guard let error = error as? DatabaseError else { return error }
        return self.error(
            code: error.extendedResultCode.rawValue, message: error.message ?? "no message", cause: error)
    }
}
