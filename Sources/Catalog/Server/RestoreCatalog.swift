package import Model

/// An order to restore something on a machine, as it is kept: what is looked for as columns, the rest as a document of whoever
/// keeps it.
package struct RestoreRow: Hashable, Sendable {
    /// The order.
    package let id: JobID
    /// Who restores it.
    package let target: MachineID
    /// Whose point it is.
    package let source: MachineID
    package let point: PointID
    package let created: Timestamp
    /// The account that wanted it; `nil` when it was none.
    package let account: AccountID?
    /// Whether anything can still happen.
    package var isOpen: Bool
    package var document: [UInt8]

    package init(
        id: JobID, target: MachineID, source: MachineID, point: PointID, created: Timestamp,
        account: AccountID? = nil, isOpen: Bool, document: [UInt8]
    ) {
        self.id = id
        self.target = target
        self.source = source
        self.point = point
        self.created = created
        self.account = account
        self.isOpen = isOpen
        self.document = document
    }
}

/// Which orders are looked for.
package enum RestoreSelection: Sendable {
    case all
    /// Whose point and whose disk it is are both among these.
    case between(Set<MachineID>)
    case target(MachineID)
    case account(AccountID)
}

/// Orders to restore something on machines. They are no part of what is put into safety: a server that was lost has nothing
/// under way.
package protocol RestoreCatalog: Sendable {
    /// Adds an order. `false` when its machine has `most` open ones already, or `own` of the same account.
    func add(_ order: RestoreRow, openAtMost most: Int, ofAccount own: Int?) throws -> Bool
    func restore(_ id: JobID) throws -> RestoreRow?
    /// Changes an order in one step: nobody changes it between the look and the change. Throws `notFound`, and what `body`
    /// throws.
    ///
    /// - Parameter body: changes the order, and answers lines that are added to its log.
    @discardableResult
    func changeRestore(
        _ id: JobID, at time: Timestamp, _ body: (inout RestoreRow) throws -> [String]
    ) throws -> RestoreRow
    /// The open ones, of one machine or of all, oldest first.
    func openRestores(target: MachineID?) throws -> [RestoreRow]
    /// The newest, newest first.
    func restores(newest count: Int, _ which: RestoreSelection) throws -> [RestoreRow]
    /// Lines of an order's log after line `number`, at most `limit`.
    func restoreLog(of id: JobID, after number: Int64, limit: Int) throws -> [JobLine]
    /// Forgets all but the newest that have ended.
    func forgetRestores(keeping count: Int) throws
}

enum RestoreSchema {
    static let step: [SQLText] = [
        """
        CREATE TABLE restore_order (
            id BLOB PRIMARY KEY,
            target BLOB NOT NULL,
            source BLOB NOT NULL,
            point BLOB NOT NULL,
            created INTEGER NOT NULL,
            account BLOB,
            is_open INTEGER NOT NULL,
            document BLOB NOT NULL
        )
        """,
        "CREATE INDEX restore_open ON restore_order (target) WHERE is_open = 1",
        "CREATE INDEX restore_created ON restore_order (created)",
        "CREATE INDEX restore_target ON restore_order (target, created)",
        "CREATE INDEX restore_account ON restore_order (account, created) WHERE account IS NOT NULL",
        """
        CREATE TABLE restore_line (
            restore_order BLOB NOT NULL,
            number INTEGER NOT NULL,
            time INTEGER NOT NULL,
            body TEXT NOT NULL,
            PRIMARY KEY (restore_order, number)
        )
        """,
    ]
}

extension SQLiteServerCatalog {
    private static let one: SQLText =
        "SELECT id, target, source, point, created, account, is_open, document FROM restore_order WHERE id = $1"
    private static let openOfOne: SQLText = """
        SELECT id, target, source, point, created, account, is_open, document FROM restore_order
        WHERE is_open = 1 AND target = $1 ORDER BY created, id
        """
    private static let openOfAll: SQLText = """
        SELECT id, target, source, point, created, account, is_open, document FROM restore_order
        WHERE is_open = 1 ORDER BY created, id
        """
    private static let newestOfAll: SQLText = """
        SELECT id, target, source, point, created, account, is_open, document FROM restore_order
        ORDER BY created DESC, id LIMIT $1
        """
    private static let newestOfSome: SQLText = """
        SELECT id, target, source, point, created, account, is_open, document FROM restore_order
        WHERE hex(target) IN (SELECT value FROM json_each($2)) AND hex(source) IN (SELECT value FROM json_each($2))
        ORDER BY created DESC, id LIMIT $1
        """
    private static let newestOfTarget: SQLText = """
        SELECT id, target, source, point, created, account, is_open, document FROM restore_order
        WHERE target = $2 ORDER BY created DESC, id LIMIT $1
        """
    private static let newestOfAccount: SQLText = """
        SELECT id, target, source, point, created, account, is_open, document FROM restore_order
        WHERE account = $2 ORDER BY created DESC, id LIMIT $1
        """

    private static func row(_ row: SQLiteRow) throws -> RestoreRow {
        RestoreRow(
            id: try row.identifier(0), target: try row.identifier(1), source: try row.identifier(2),
            point: try row.identifier(3), created: row.time(4), account: row.isNull(5) ? nil : try row.identifier(5),
            isOpen: row.integer(6) == 1, document: row.bytes(7))
    }

    package func add(_ order: RestoreRow, openAtMost most: Int, ofAccount own: Int?) throws -> Bool {
        try write { session in
            let account = order.account.map { SQLValue.id($0) } ?? .null
            let (count, theirs) =
                try session.first(
                    "SELECT COUNT(*), COUNT(*) FILTER (WHERE account = $2) FROM restore_order WHERE is_open = 1 AND target = $1",
                    .id(order.target), account
                ) { ($0.integer(0), $0.integer(1)) } ?? (0, 0)
            if count >= Int64(most) || own.map({ theirs >= Int64($0) }) ?? false { return false }
            try session.run(
                """
                INSERT INTO restore_order (id, target, source, point, created, account, is_open, document)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                """, .id(order.id), .id(order.target), .id(order.source), .id(order.point), .time(order.created),
                account, .number(order.isOpen ? 1 : 0), .bytes(order.document))
            return true
        }
    }

    package func restore(_ id: JobID) throws -> RestoreRow? {
        try read { try $0.first(Self.one, .id(id), decode: Self.row) }
    }

    @discardableResult
    package func changeRestore(
        _ id: JobID, at time: Timestamp, _ body: (inout RestoreRow) throws -> [String]
    ) throws -> RestoreRow {
        try write { session in
            guard let known = try session.first(Self.one, .id(id), decode: Self.row) else {
                throw HoldfastError(.notFound, "There is no such order.", context: ["order": id.hex])
            }
            var changed = known
            for line in try body(&changed) {
                try session.run(
                    """
                    INSERT INTO restore_line (restore_order, number, time, body)
                    SELECT $1, COALESCE(MAX(number), 0) + 1, $2, $3 FROM restore_line WHERE restore_order = $1
                    """, .id(id), .time(time), .text(line))
            }
            if changed != known {
                try session.run(
                    "UPDATE restore_order SET is_open = $2, document = $3 WHERE id = $1", .id(id),
                    .number(changed.isOpen ? 1 : 0), .bytes(changed.document))
            }
            return changed
        }
    }

    package func openRestores(target: MachineID?) throws -> [RestoreRow] {
        try read { session in
            if let target { return try session.all(Self.openOfOne, .id(target), decode: Self.row) }
            return try session.all(Self.openOfAll, decode: Self.row)
        }
    }

    package func restores(newest count: Int, _ which: RestoreSelection) throws -> [RestoreRow] {
        try read { session in
            switch which {
            case .all: return try session.all(Self.newestOfAll, .number(count), decode: Self.row)
            case .target(let machine):
                return try session.all(Self.newestOfTarget, .number(count), .id(machine), decode: Self.row)
            case .account(let account):
                return try session.all(Self.newestOfAccount, .number(count), .id(account), decode: Self.row)
            case .between(let machines):
                let names = "[" + machines.map { "\"\($0.hex.uppercased())\"" }.joined(separator: ",") + "]"
                return try session.all(Self.newestOfSome, .number(count), .text(names), decode: Self.row)
            }
        }
    }

    package func restoreLog(of id: JobID, after number: Int64, limit: Int) throws -> [JobLine] {
        try read {
            try $0.all(
                """
                SELECT number, time, body FROM restore_line WHERE restore_order = $1 AND number > $2
                ORDER BY number LIMIT $3
                """, .id(id), .integer(number), .number(limit)
            ) { JobLine(number: $0.integer(0), time: $0.time(1), text: $0.text(2)) }
        }
    }

    package func forgetRestores(keeping count: Int) throws {
        try write {
            let gone = try $0.run(
                """
                DELETE FROM restore_order WHERE is_open = 0
                    AND id IN (
                        SELECT id FROM (
                            SELECT id, row_number() OVER (PARTITION BY target ORDER BY created DESC, id) AS place
                            FROM restore_order
                        ) WHERE place > $1
                    )
                """, .number(count))
            if gone > 0 {
                _ = try $0.run("DELETE FROM restore_line WHERE restore_order NOT IN (SELECT id FROM restore_order)")
            }
        }
    }
}
