import GRDB
import Model

/// The numbered steps that make the schema. A step that has been released is never changed; a change is a new step.
enum CatalogSchema {
    /// The newest step that this version knows.
    static var newest: Int64 { Int64(steps.count) }

    static let steps: [[SQLText]] = [
        [
            """
            CREATE TABLE vault_state (
                one INTEGER PRIMARY KEY CHECK (one = 1),
                vault BLOB NOT NULL,
                witness INTEGER NOT NULL,
                generation INTEGER NOT NULL,
                floor INTEGER NOT NULL,
                phase INTEGER NOT NULL,
                threshold INTEGER NOT NULL,
                pack_limit INTEGER NOT NULL,
                cursor_id BLOB,
                cursor_pack INTEGER NOT NULL,
                seeded INTEGER NOT NULL,
                unpropagated INTEGER NOT NULL
            )
            """,
            """
            CREATE TABLE pack (
                number INTEGER PRIMARY KEY,
                name BLOB NOT NULL UNIQUE,
                class INTEGER NOT NULL,
                origin BLOB NOT NULL,
                bytes INTEGER NOT NULL,
                blobs INTEGER NOT NULL,
                state INTEGER NOT NULL,
                since INTEGER NOT NULL,
                live_bytes INTEGER NOT NULL,
                live_blobs INTEGER NOT NULL,
                counted INTEGER NOT NULL,
                checked_structure INTEGER NOT NULL,
                checked_pack INTEGER NOT NULL,
                checked_data INTEGER NOT NULL
            )
            """,
            "CREATE INDEX pack_not_stored ON pack (state) WHERE state <> 0",
            // One row per copy: the same blob may lie in several packs.
            """
            CREATE TABLE blob (
                id BLOB NOT NULL,
                pack INTEGER NOT NULL,
                type INTEGER NOT NULL,
                encoding INTEGER NOT NULL,
                secret INTEGER NOT NULL,
                refs INTEGER NOT NULL,
                length INTEGER NOT NULL,
                start INTEGER NOT NULL,
                mark INTEGER NOT NULL,
                reached INTEGER NOT NULL,
                state INTEGER NOT NULL,
                checked INTEGER NOT NULL,
                PRIMARY KEY (id, pack)
            ) WITHOUT ROWID
            """,
            "CREATE INDEX blob_unwell ON blob (id, pack) WHERE state <> 0",
            // Blobs with references that a running collection still has to follow.
            "CREATE TABLE frontier (id BLOB PRIMARY KEY) WITHOUT ROWID",
            // One row per copy here too: what a killed rewriting left behind is a copy like any other.
            """
            CREATE TABLE record (
                id BLOB NOT NULL,
                pack INTEGER NOT NULL,
                type INTEGER NOT NULL,
                subject BLOB NOT NULL,
                time INTEGER NOT NULL,
                start INTEGER NOT NULL,
                length INTEGER NOT NULL,
                PRIMARY KEY (id, pack)
            ) WITHOUT ROWID
            """,
            "CREATE INDEX record_pack ON record (pack)",
            "CREATE INDEX record_subject ON record (type, subject)",
            """
            CREATE TABLE point (
                id BLOB PRIMARY KEY,
                record BLOB NOT NULL,
                machine BLOB NOT NULL,
                incarnation BLOB NOT NULL,
                number INTEGER NOT NULL,
                time INTEGER NOT NULL,
                arrival INTEGER NOT NULL,
                sequence INTEGER NOT NULL,
                kind INTEGER NOT NULL,
                partial INTEGER NOT NULL,
                pinned INTEGER NOT NULL,
                hash BLOB NOT NULL,
                previous BLOB NOT NULL,
                state INTEGER NOT NULL,
                series INTEGER NOT NULL
            ) WITHOUT ROWID
            """,
            "CREATE INDEX point_machine ON point (machine, sequence)",
            "CREATE INDEX point_number ON point (machine, incarnation, number)",
            """
            CREATE TABLE point_reference (
                point BLOB NOT NULL,
                id BLOB NOT NULL,
                PRIMARY KEY (point, id)
            ) WITHOUT ROWID
            """,
            // Survives the deletion of points, so that a writer can go on behind a deleted one.
            """
            CREATE TABLE head (
                machine BLOB NOT NULL,
                incarnation BLOB NOT NULL,
                number INTEGER NOT NULL,
                hash BLOB NOT NULL,
                sequence INTEGER NOT NULL,
                PRIMARY KEY (machine, incarnation)
            ) WITHOUT ROWID
            """,
            """
            CREATE TABLE lease (
                id BLOB PRIMARY KEY,
                kind INTEGER NOT NULL,
                generation INTEGER NOT NULL,
                machine BLOB,
                opened INTEGER NOT NULL
            ) WITHOUT ROWID
            """,
            """
            CREATE TABLE lease_pin (
                lease BLOB NOT NULL,
                id BLOB NOT NULL,
                PRIMARY KEY (lease, id)
            ) WITHOUT ROWID
            """,
        ],
        [
            // The last removal that the catalog knows of; the store has its number too.
            "ALTER TABLE vault_state ADD COLUMN removals INTEGER NOT NULL DEFAULT 0",
            // Every opening asks whether records of points are hidden.
            "CREATE INDEX pack_of_records ON pack (number) WHERE class = 3 AND state = 0",
        ],
        [
            // A bound of the effective times up to a point in its series, itself included (`EffectiveTime.bound`): with it the
            // time of one point is known without reading all of its machine. Of points that are there already the last
            // arrival is one.
            "ALTER TABLE point ADD COLUMN bound INTEGER NOT NULL DEFAULT 9223372036854775807",
            """
            UPDATE point SET bound = found.latest FROM (
                SELECT id, MAX(arrival) OVER (PARTITION BY machine, series ORDER BY sequence, id) AS latest FROM point
            ) AS found WHERE found.id = point.id
            """,
            "CREATE INDEX point_series ON point (machine, series, sequence)",
            "CREATE INDEX point_outside ON point (machine) WHERE state = 2",
        ],
    ]

    /// The step that the database is at; 0 for an empty one.
    static func step(of session: SQLiteSession) throws -> Int64 {
        let exists = try session.first("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migration'") {
            _ in true
        }
        guard exists == true else { return 0 }
        return try session.first("SELECT COALESCE(MAX(number), 0) FROM migration") { $0.integer(0) } ?? 0
    }

    /// Brings the database to the newest step. Call inside a writing transaction.
    static func migrate(_ session: SQLiteSession) throws {
        let current = try step(of: session)
        guard current <= newest else {
            throw HoldfastError(
                .unsupported,
                "the vault's catalog was written by a newer version of holdfast (schema \(current), this one knows "
                    + "\(newest)); use that version")
        }
        if current == 0 {
            try session.run("CREATE TABLE migration (number INTEGER PRIMARY KEY)")
        }
        for number in current..<newest {
            for statement in steps[Int(number)] { try session.database.execute(sql: statement.sqlite) }
            try session.run("INSERT INTO migration (number) VALUES ($1)", .integer(number + 1))
        }
    }
}
