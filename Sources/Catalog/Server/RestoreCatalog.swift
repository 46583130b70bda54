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
    /// Whether anything can still happen.
    package var isOpen: Bool
    package var document: [UInt8]

    package init(
        id: JobID, target: MachineID, source: MachineID, point: PointID, created: Timestamp, isOpen: Bool,
        document: [UInt8]
    ) {
        self.id = id
        self.target = target
        self.source = source
        self.point = point
        self.created = created
        self.isOpen = isOpen
        self.document = document
    }
}

/// Orders to restore something on machines. They are no part of what is put into safety: a server that was lost has nothing
/// under way.
package protocol RestoreCatalog: Sendable {
    /// Adds an order. `false` when its machine has `most` open ones already.
    func add(_ order: RestoreRow, openAtMost most: Int) throws -> Bool
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
    /// The newest, of one machine that restores or of all, newest first.
    func restores(newest count: Int, target: MachineID?) throws -> [RestoreRow]
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
            is_open INTEGER NOT NULL,
            document BLOB NOT NULL
        )
        """,
        "CREATE INDEX restore_open ON restore_order (target) WHERE is_open = 1",
        "CREATE INDEX restore_created ON restore_order (created)",
        "CREATE INDEX restore_target ON restore_order (target, created)",
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
        "SELECT id, target, source, point, created, is_open, document FROM restore_order WHERE id = $1"
    private static let openOfOne: SQLText = """
        SELECT id, target, source, point, created, is_open, document FROM restore_order
        WHERE is_open = 1 AND target = $1 ORDER BY created, id
        """
    private static let openOfAll: SQLText = """
        SELECT id, target, source, point, created, is_open, document FROM restore_order
        WHERE is_open = 1 ORDER BY created, id
        """
    private static let newestRestores: SQLText = """
        SELECT id, target, source, point, created, is_open, document FROM restore_order
        ORDER BY created DESC, id LIMIT $1
        """

    private static let newestOfOne: SQLText = """
        SELECT id, target, source, point, created, is_open, document FROM restore_order
        WHERE target = $2 ORDER BY created DESC, id LIMIT $1
        """

    private static func row(_ row: SQLiteRow) throws -> RestoreRow {
        RestoreRow(
            id: try row.identifier(0), target: try row.identifier(1), source: try row.identifier(2),
            point: try row.identifier(3), created: row.time(4), isOpen: row.integer(5) == 1, document: row.bytes(6))
    }

    package func add(_ order: RestoreRow, openAtMost most: Int) throws -> Bool {
        try write { session in
            let count =
                try session.first(
                    "SELECT COUNT(*) FROM restore_order WHERE is_open = 1 AND target = $1", .id(order.target)
                ) { $0.integer(0) } ?? 0
            if count >= Int64(most) { return false }
            try session.run(
                """
                INSERT INTO restore_order (id, target, source, point, created, is_open, document)
                VALUES ($1, $2, $3, $4, $5, $6, $7)
                """, .id(order.id), .id(order.target), .id(order.source), .id(order.point), .time(order.created),
                .number(order.isOpen ? 1 : 0), .bytes(order.document))
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

    package func restores(newest count: Int, target: MachineID?) throws -> [RestoreRow] {
        try read { session in
            if let target {
                return try session.all(Self.newestOfOne, .number(count), .id(target), decode: Self.row)
            }
            return try session.all(Self.newestRestores, .number(count), decode: Self.row)
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
