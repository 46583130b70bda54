import Model
import Platform
import Vault

/// Logs of SQLite beside what is given back.
///
/// A database is captured as of one moment with what was committed in its log, and without that (docs/decisions/0060-databases.md).
/// A log of another moment that lies beside it afterwards would be played into it at the next opening and damage it, or take back
/// what was restored. But it may hold all that was committed since: it goes only together with the database to which it belongs,
/// directly before that is replaced. What stays keeps its log.
struct DatabaseLogs: Sendable {
    /// One of them.
    struct Log {
        let name: TerminatedName
        let status: FileStatus
        /// What the restore gives back under its name.
        let restored: Entry?

        /// Whether what lies there is what the point has, as far as size and time tell.
        var isSame: Bool {
            restored.map { $0.size == status.size && FileInstant($0.mtime) == status.modified } ?? false
        }
    }

    /// A name that a log would have.
    private struct Name {
        let name: TerminatedName
        let restored: Entry?
    }

    static let inUse =
        "a program has this database open: it and its log are left alone. Stop the program, then restore it again"
    static let late = "the log of this database was changed after the restore had begun; both are left alone"
    static let tooLong =
        "the log of this database is longer than a point can take in: both are left alone, as nothing could bring them back. "
        + "Open it with its program and close that, so that it empties the log, then restore it again"
    /// For logs of the point.
    static let ofAnother =
        "it belongs to the point's version of a database that stays as it is: beside that it would damage it; it is left out"
    static let ofNone = "it belongs to a database that was not restored, and alone it would damage what stands there"
    /// A log with a header alone holds nothing.
    private static let logHeader = UInt64(SQLiteFiles.logHeaderLength)

    private let database: [UInt8]
    private let names: [Name]
    private let index: TerminatedName

    /// Of what is restored under a name.
    ///
    /// - Parameter restored: what the restore gives back under a log's name, which is followed by its ending.
    init(
        of name: TerminatedName, restored: (_ name: TerminatedName, _ ending: [UInt8]) -> Entry? = { _, _ in nil }
    ) {
        let database = Array(name.name)
        self.database = database
        names = SQLiteFiles.endings.prefix(2).map { ending in
            let name = TerminatedName(database + ending)
            return Name(name: name, restored: restored(name, ending))
        }
        index = TerminatedName(database + SQLiteFiles.endings[2])
    }

    /// Whether an entry can be a database.
    static func concern(_ entry: Entry) -> Bool {
        entry.kind == .regular && SQLiteFiles.mayBeDatabase(size: entry.size)
    }

    /// Whether what stands there can be a database.
    static func concern(_ status: FileStatus?) -> Bool {
        guard let status, status.kind == .regular else { return false }
        return SQLiteFiles.mayBeDatabase(size: status.size)
    }

    /// Whether something that can be a database has a name.
    static func stands(_ database: [UInt8], at directory: Int32) -> Bool {
        concern(status(TerminatedName(database), directory)) || SQLiteFiles.isDatabase(at: directory, database)
    }

    /// The logs that lie there with something in them.
    func lying(at directory: Int32) -> [Log] {
        names.compactMap { known in
            guard let status = DatabaseLogs.status(known.name, directory), status.size > DatabaseLogs.logHeader,
                SQLiteFiles.isLog(at: directory, Array(known.name.name))
            else { return nil }
            return Log(name: known.name, status: status, restored: known.restored)
        }
    }

    /// Those that are not as the point has them: with them the database is another one.
    func others(at directory: Int32) -> [Log] { lying(at: directory).filter { !$0.isSame } }

    /// What goes before the database gets its name and does not come again: the logs, and their index with them.
    func going(at directory: Int32) -> [Log] {
        var found = lying(at: directory).filter { $0.restored == nil }
        if !found.isEmpty, let status = DatabaseLogs.status(index, directory) {
            found.append(Log(name: index, status: status, restored: nil))
        }
        return found
    }

    /// Those of `going` that a point has as files of their own, not as a part of their database.
    func recorded(at directory: Int32) -> [Log] {
        lying(at: directory).filter {
            $0.restored == nil && !DatabaseLogs.isInDatabase($0.name.name, at: directory)
        }
    }

    /// Whether a point does not have a log as a file of its own: what is in it is in its database, or nothing is in it.
    static func isInDatabase(_ name: some Collection<UInt8>, at directory: Int32) -> Bool {
        guard let database = SQLiteFiles.database(of: name), SQLiteFiles.isDatabase(at: directory, database) else {
            return false
        }
        let name = Array(name)
        if name.suffix(4).elementsEqual(SQLiteFiles.endings[0]) {
            return !SQLiteFiles.isUnknownLog(at: directory, name)
        }
        return !SQLiteFiles.isLog(at: directory, name)
    }

    static func status(_ name: TerminatedName, _ directory: Int32) -> FileStatus? {
        let status = try? name.withPointer { (pointer) throws(Errno) in
            try FileSystem.status(at: directory, pointer)
        }
        return status?.kind == .regular ? status : nil
    }

    /// Why what stands under the name must not be replaced or removed.
    ///
    /// - Parameter moment: what was changed since then is in no point.
    func obstacle(at directory: Int32, _ moment: PlanMoment?) -> String? {
        let isDatabase = SQLiteFiles.isDatabase(at: directory, database)
        // One that is encrypted begins as it likes, and is known by what lies beside it.
        if !isDatabase, !SQLiteFiles.hasCompany(at: directory, database) { return nil }
        if SQLiteFiles.isInUse(at: directory, database) { return DatabaseLogs.inUse }
        guard let moment else { return nil }
        let lying = lying(at: directory)
        if lying.contains(where: { moment.isBefore($0.status) }) { return DatabaseLogs.late }
        let log = database + SQLiteFiles.endings[0]
        let isTooLong =
            lying.contains { $0.name.name.elementsEqual(log) }
            && DatabaseLogs.isInDatabase(log, at: directory) && SQLiteFiles.isTooLong(at: directory, log)
        return isTooLong ? DatabaseLogs.tooLong : nil
    }

    /// Throws `databaseInUse`, `logTooLong` or `stale` when the logs must stay.
    func check(at directory: Int32, _ moment: PlanMoment?) throws(Errno) {
        switch obstacle(at: directory, moment) {
        case nil: break
        case DatabaseLogs.inUse?: throw .databaseInUse
        case DatabaseLogs.tooLong?: throw .logTooLong
        default: throw .stale
        }
    }

    /// Removes the logs, also those that come again, after a `check`; what is to have their database's name gets it next.
    ///
    /// - Returns: how many were removed that do not come again.
    func clear(at directory: Int32, _ moment: PlanMoment?) throws(Errno) -> UInt64 {
        var logs = lying(at: directory)
        if !logs.isEmpty, let status = DatabaseLogs.status(index, directory) {
            logs.append(Log(name: index, status: status, restored: nil))
        }
        var removed: UInt64 = 0
        for log in logs {
            moment?.noteNames(log.status)
            try Removal.makeChangeable(at: directory, log.name, log.status)
            try log.name.withPointer { (pointer) throws(Errno) in try FileSystem.remove(at: directory, pointer) }
            if log.restored == nil { removed += 1 }
        }
        return removed
    }

    /// Why something that is to be removed stays: it is a database in use, or belongs to one.
    static func obstacle(
        removing name: TerminatedName, _ status: FileStatus, at directory: Int32, _ moment: PlanMoment?
    ) -> String? {
        guard status.kind == .regular else { return nil }
        if let database = SQLiteFiles.database(of: name.name), stands(database, at: directory) {
            return SQLiteFiles.isInUse(at: directory, database) ? inUse : nil
        }
        return concern(status) ? DatabaseLogs(of: name).obstacle(at: directory, moment) : nil
    }

    /// Whether a file is a part of a database that stands beside it: it stays or goes with that.
    static func isPart(_ name: TerminatedName, at directory: Int32) -> Bool {
        guard let database = SQLiteFiles.database(of: name.name) else { return false }
        if SQLiteFiles.isDatabase(at: directory, database) { return true }
        // One that is encrypted begins as it likes.
        return concern(status(TerminatedName(database), directory))
            && SQLiteFiles.isLog(at: directory, Array(name.name))
    }
}

extension Errno {
    /// A program has the database open that was to be replaced (ETXTBSY, which nothing here gives otherwise).
    static let databaseInUse = Errno(code: 26)
    /// The log of a database that was to be replaced is in no point (EMSGSIZE, which nothing here gives otherwise).
    static let logTooLong = Errno(code: 90)
}
