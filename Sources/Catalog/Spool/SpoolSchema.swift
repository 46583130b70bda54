/// The tables of a spool's index. The index is made anew when it is of another version: what it holds is found again by a
/// scan, except for versions that no longer are on the disk.
enum SpoolSchema {
    static let version: Int64 = 1

    /// What a row of `change` and `known` says of its path.
    enum What: Int64 {
        case gone = 0
        case put = 1
        /// Nothing is below it any more.
        case emptied = 2
    }

    /// How far a moment has come.
    enum MomentState: Int64 {
        case waiting = 0
        case sent = 1
        /// What it builds on was lost; it is history on this machine only.
        case orphaned = 2
    }

    static let statements = [
        """
        CREATE TABLE spool (
            one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, source BLOB, base BLOB,
            point BLOB,
            incarnation BLOB, root BLOB, deltas BLOB, totals BLOB
        )
        """,
        """
        CREATE TABLE moment (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, state INTEGER NOT NULL,
            record BLOB NOT NULL, point BLOB, attempt BLOB
        )
        """,
        "CREATE INDEX moment_state ON moment (state, sequence)",
        """
        CREATE TABLE change (
            path BLOB NOT NULL, sequence INTEGER NOT NULL, what INTEGER NOT NULL, entry BLOB, access BLOB,
            PRIMARY KEY (path, sequence, what)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX change_sequence ON change (sequence)",
        """
        CREATE TABLE known (
            path BLOB NOT NULL, is_emptied INTEGER NOT NULL, entry BLOB, PRIMARY KEY (path, is_emptied)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE pack (
            number INTEGER PRIMARY KEY AUTOINCREMENT, name BLOB NOT NULL UNIQUE, bytes INTEGER NOT NULL,
            is_sent INTEGER NOT NULL
        )
        """,
        """
        CREATE TABLE blob (
            id BLOB PRIMARY KEY, key BLOB, pack INTEGER NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL
        ) WITHOUT ROWID
        """,
        "CREATE INDEX blob_pack ON blob (pack)",
        "CREATE TABLE use (pack INTEGER NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (pack, sequence)) WITHOUT ROWID",
        "CREATE INDEX use_sequence ON use (sequence)",
    ]
}
