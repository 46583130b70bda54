import Catalog

/// What somebody may have to know of. The names stand in messages and in `--json` and do not change.
package enum AlertKind: String, Sendable, CaseIterable {
    // Of a machine, found by looking at what it said.
    /// Nothing has been heard of it for longer than expected; one that said that it sleeps is not late for
    /// two weeks.
    case silent
    /// Changes wait longer than they should.
    case lag
    /// It cannot write to the vault.
    case backupFailed = "backup-failed"
    /// Paths that are protected cannot be kept as they are.
    case warnings
    /// There is no room for what waits to be sent.
    case spoolFull = "spool-full"
    /// Its clock is wrong.
    case clock
    /// Two agents have one identity.
    case clone
    /// A machine waits for approval under its id.
    case waiting
    /// Many files were replaced or deleted at once.
    case massChange = "mass-change"

    // Of a machine, told by what it does.
    /// The vault did not take a point or a pack of it.
    case rejected

    // Of the server.
    case damage
    case certificate
    case disk
    case database
    case vault
    case ownState = "own-state"

    var severity: AlertRecord.Severity {
        switch self {
        case .lag, .warnings, .clock, .waiting: .warning
        case .certificate, .disk, .silent, .backupFailed, .spoolFull, .clone, .massChange, .rejected, .damage,
            .database,
            .vault, .ownState:
            .critical
        }
    }

    /// It is raised and ended by what happens, and by nobody's looking.
    var isEvent: Bool { self == .rejected }

    /// It says that something has happened, and nothing that happens later takes that back: somebody looks at it and says so.
    var endsByJudgement: Bool { self == .massChange }
}
