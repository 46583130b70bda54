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
    }

    static let inUse =
        "a program has this database open: it and its log are left alone. Stop the program, then restore it again"
    static let late = "the log of this database was changed after the restore had begun; both are left alone"
    /// A log with a header alone holds nothing.
    private static let logHeader: UInt64 = 32

    private let database: [UInt8]
    /// The names of logs that the point does not have.
    private let names: [TerminatedName]
    private let index: TerminatedName

    /// Of what is restored under a name.
    ///
    /// - Parameter isInPoint: whether the point has a name: then that is restored as well.
    init(of name: TerminatedName, isInPoint: (TerminatedName) -> Bool = { _ in false }) {
        let database = Array(name.name)
        self.database = database
        names = SQLiteFiles.endings.prefix(2).map { TerminatedName(database + $0) }.filter { !isInPoint($0) }
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

    /// The logs that lie there with something in them.
    func lying(at directory: Int32) -> [Log] {
        names.compactMap { name in
            guard let status = DatabaseLogs.status(name, directory), status.size > DatabaseLogs.logHeader,
                SQLiteFiles.isLog(at: directory, Array(name.name))
            else { return nil }
            return Log(name: name, status: status)
        }
    }

    /// What has to go before the database gets its name: the logs, and their index with them.
    func going(at directory: Int32) -> [Log] {
        var found = lying(at: directory)
        if !found.isEmpty, let status = DatabaseLogs.status(index, directory) {
            found.append(Log(name: index, status: status))
        }
        return found
    }

    /// Those of `going` that a point has as files of their own, not as a part of their database.
    func recorded(at directory: Int32) -> [Log] {
        let isPart = SQLiteFiles.isDatabase(at: directory, database)
        return lying(at: directory).filter { !isPart || $0.name.name.suffix(4) != SQLiteFiles.endings[0][...] }
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
        let lying = lying(at: directory)
        if lying.isEmpty, !SQLiteFiles.isDatabase(at: directory, database) { return nil }
        if SQLiteFiles.isInUse(at: directory, database) { return DatabaseLogs.inUse }
        return lying.contains { moment?.isBefore($0.status) == true } ? DatabaseLogs.late : nil
    }

    /// Removes the logs; what is to have their database's name gets it next.
    ///
    /// Throws `databaseInUse` or `stale`, and nothing was removed, when they must stay.
    func clear(at directory: Int32, _ moment: PlanMoment?) throws(Errno) -> UInt64 {
        if let words = obstacle(at: directory, moment) {
            throw words == DatabaseLogs.inUse ? Errno.databaseInUse : Errno.stale
        }
        var removed: UInt64 = 0
        for log in going(at: directory) {
            moment?.noteNames(log.status)
            try Removal.makeChangeable(at: directory, log.name, log.status)
            try log.name.withPointer { (pointer) throws(Errno) in try FileSystem.remove(at: directory, pointer) }
            removed += 1
        }
        return removed
    }

    /// Why something that is to be removed stays: it is a database in use, or belongs to one.
    static func obstacle(
        removing name: TerminatedName, _ status: FileStatus, at directory: Int32, _ moment: PlanMoment?
    ) -> String? {
        guard status.kind == .regular else { return nil }
        if let database = SQLiteFiles.database(of: name.name), SQLiteFiles.isDatabase(at: directory, database) {
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
}
