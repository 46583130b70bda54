import GRDB
import Model

/// The numbered steps that make the schema of the server's own tables. A step that has been released is never changed.
enum ServerSchema {
    static var newest: Int64 { Int64(steps.count) }

    static let steps: [[SQLText]] = [
        [
            """
            CREATE TABLE machine (
                id BLOB PRIMARY KEY,
                name TEXT NOT NULL,
                former TEXT NOT NULL,
                machine_group TEXT NOT NULL,
                state INTEGER NOT NULL,
                request_key BLOB NOT NULL,
                previous_key BLOB,
                waiting_key BLOB,
                waiting_signing BLOB,
                enrolled INTEGER NOT NULL,
                last_seen INTEGER NOT NULL
            )
            """,
            """
            CREATE TABLE access_token (
                hash BLOB PRIMARY KEY,
                role INTEGER NOT NULL,
                name TEXT NOT NULL,
                machine_group TEXT NOT NULL,
                uses INTEGER,
                expires INTEGER,
                created INTEGER NOT NULL
            )
            """,
            "CREATE TABLE setting (name TEXT PRIMARY KEY, value BLOB NOT NULL)",
        ],
        [
            "CREATE TABLE revision (number INTEGER NOT NULL, safe INTEGER NOT NULL)",
            "INSERT INTO revision (number, safe) VALUES (1, 0)",
            """
            CREATE TABLE job (
                id BLOB PRIMARY KEY,
                kind TEXT NOT NULL,
                state INTEGER NOT NULL,
                owner TEXT NOT NULL,
                parameters BLOB NOT NULL,
                started INTEGER NOT NULL,
                ended INTEGER,
                done INTEGER NOT NULL,
                total INTEGER NOT NULL,
                result BLOB,
                failure BLOB
            )
            """,
            "CREATE UNIQUE INDEX job_running ON job (kind) WHERE state = 0",
            """
            CREATE TABLE job_line (
                job BLOB NOT NULL,
                number INTEGER NOT NULL,
                time INTEGER NOT NULL,
                body TEXT NOT NULL,
                PRIMARY KEY (job, number)
            )
            """,
        ],
        life,
        PolicySchema.step,
        accounts,
        accountTokens,
        RestoreSchema.step,
    ]

    /// Finds accounts by their tokens, and keeps what changes with each use of one.
    private static let accountTokens: [SQLText] = [
        """
        CREATE TABLE account_token (
            hash BLOB PRIMARY KEY,
            account BLOB NOT NULL,
            used INTEGER NOT NULL,
            address TEXT NOT NULL
        )
        """,
        "CREATE INDEX account_token_account ON account_token (account)",
    ]

    /// People, and what they did.
    private static let accounts: [SQLText] = [
        "CREATE TABLE account (id BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, document BLOB NOT NULL)",
        """
        CREATE TABLE session (
            hash BLOB PRIMARY KEY,
            account BLOB NOT NULL,
            begun INTEGER NOT NULL,
            used INTEGER NOT NULL,
            address TEXT NOT NULL,
            browser TEXT NOT NULL
        )
        """,
        "CREATE INDEX session_account ON session (account)",
        """
        CREATE TABLE audit (
            number INTEGER PRIMARY KEY,
            time INTEGER NOT NULL,
            who TEXT NOT NULL,
            address TEXT NOT NULL,
            action TEXT NOT NULL,
            object TEXT NOT NULL,
            succeeded INTEGER NOT NULL,
            detail BLOB NOT NULL,
            previous BLOB NOT NULL,
            hash BLOB NOT NULL
        )
        """,
    ]

    /// Brings the schema to the newest step. Throws `unsupported` for one of a newer version.
    static func migrate(_ session: SQLiteSession) throws {
        try session.run("CREATE TABLE IF NOT EXISTS schema_step (step INTEGER NOT NULL)")
        let step = try session.first("SELECT MAX(step) FROM schema_step") { $0.isNull(0) ? 0 : $0.integer(0) } ?? 0
        guard step <= newest else {
            throw HoldfastError(
                .unsupported,
                "The server's database was written by a newer version of Holdfast (step \(step); this one knows \(newest)). "
                    + "Install the newer version again.")
        }
        for number in step..<newest {
            for text in steps[Int(number)] { try session.run(text) }
            try session.run("INSERT INTO schema_step (step) VALUES ($1)", .integer(number + 1))
        }
    }
}
