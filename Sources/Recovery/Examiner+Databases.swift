import Model
import Platform
import Vault

/// What became of a database of the point, as far as its logs care.
enum DatabaseFate {
    /// It stands there as the point has it.
    case there
    /// The point's gets its name.
    case restored
    /// The point's gets, or has already, another name.
    case beside(TerminatedName, isThere: Bool)
    /// Something else stands there and stays.
    case stays
}

/// A file of the point that may be a database.
struct KnownDatabase {
    /// It has the size of one.
    let isLikely: Bool
    let fate: DatabaseFate
}

/// What is known of names of a directory, for later names that begin with them. Names come in their order, so few are held.
struct EarlierNames<Value> {
    private var directory: RestoreDirectory?
    private var items: [(name: ArraySlice<UInt8>, value: Value)] = []

    /// A name is the next; what it does not begin with is not needed any more.
    mutating func come(to name: TerminatedName, in directory: RestoreDirectory) {
        if self.directory !== directory {
            items.removeAll()
            self.directory = directory
        }
        while let last = items.last, !name.name.starts(with: last.name) { items.removeLast() }
    }

    mutating func note(_ name: TerminatedName, _ value: Value) { items.append((name.name, value)) }

    func find(_ name: [UInt8]) -> Value? { items.last { $0.name.elementsEqual(name) }?.value }
}

/// Logs that a point has as files of their own: journals of transactions that were never ended, and logs of databases that are
/// encrypted or of an unknown kind. Each means something beside its own database alone, and damages every other one.
extension Examiner {
    /// What is to happen to a log; `nil` when a file is none, or is for itself.
    func follow(
        _ name: TerminatedName, _ entry: Entry, in directory: RestoreDirectory,
        _ byItself: () throws(Errno) -> Decision
    ) throws(Errno) -> Decision? {
        guard entry.kind == .regular, !directory.isMissing, let database = SQLiteFiles.database(of: name.name) else {
            return nil
        }
        let known = databases.find(database)
        let handle = try directory.handle()
        let stands = !directory.isNew && DatabaseLogs.stands(database, at: handle.raw)
        guard known?.isLikely == true || stands else { return nil }
        // The next program that opens the database makes it anew. Beside one that is in use it would be the wrong one.
        if SQLiteFiles.isIndex(name.name, size: entry.size) { return .keep(warning: nil) }
        switch known?.fate {
        case .there?: return nil
        case .restored?:
            isFollowing = true
            return try replacing(name, handle, isNew: directory.isNew)
        case .beside(let other, let isThere)?:
            isFollowing = true
            let ending = name.name.dropFirst(database.count)
            return try following(other, isThere: isThere, ending, entry, handle)
        case .stays?: break
        case nil: if !stands { return nil }
        }
        switch try byItself() {
        case .same: return .same
        // It would have stayed for itself.
        case .keep(let warning): return .keep(warning: warning)
        default: return .keep(warning: DatabaseLogs.ofAnother)
        }
    }

    /// The log of a database that gets its name: whatever lies there is of another one.
    private func replacing(
        _ name: TerminatedName, _ handle: OpenHandle, isNew: Bool
    ) throws(Errno) -> Decision? {
        if isNew { return .create }
        let status = try name.withPointer { (pointer) throws(Errno) in
            try FileSystem.statusIfAny(at: handle.raw, pointer)
        }
        guard let status else { return .create }
        if status.kind != .regular {
            isFollowing = false
            return nil
        }
        let decision = Decision.replace(status)
        return late(decision) ? .keep(warning: PlanMoment.words) : decision
    }

    /// The log of a database that goes under another name.
    private func following(
        _ other: TerminatedName, isThere: Bool, _ ending: some Collection<UInt8>, _ entry: Entry, _ handle: OpenHandle
    ) throws(Errno) -> Decision {
        guard other.name.count + ending.count <= 255 else {
            return .keep(warning: "the name of its database is too long to have a log beside it")
        }
        let name = TerminatedName(other.name + ending)
        let status = try name.withPointer { (pointer) throws(Errno) in
            try FileSystem.statusIfAny(at: handle.raw, pointer)
        }
        guard let status else { return .rename(name, nil) }
        if status.kind == .directory {
            return .keep(warning: "a directory has the name that it would get, \(TreePath.display(name.name))")
        }
        let isSame = status.kind == .regular ? try hasSameContent(name, entry, status, handle) : false
        // A database that is made takes the logs beside it away.
        if isSame, isThere { return .keep(warning: nil) }
        let decision = Decision.rename(name, status)
        return late(decision) ? .keep(warning: PlanMoment.words) : decision
    }

    /// What a decision means for the logs of a database.
    func fate(of decision: Decision) -> DatabaseFate {
        switch decision {
        case .create, .replace: return .restored
        case .same, .metadata: return .there
        case .rename(let other, _): return .beside(other, isThere: false)
        case .keep:
            if let beside { return .beside(beside, isThere: true) }
            return isThere ? .there : .stays
        }
    }

    /// Why something that would be replaced stays: programs have it open, or what is committed in its log is in no point.
    func obstacle(
        to decision: Decision, _ name: TerminatedName, _ entry: Entry, in directory: RestoreDirectory
    ) throws(Errno) -> String? {
        if directory.isNew || directory.isMissing { return nil }
        var target = name
        var standing: FileStatus?
        switch decision {
        case .create: break
        case .replace(let status): standing = status
        case .rename(let other, let status): (target, standing) = (other, status)
        case .same, .metadata, .keep: return nil
        }
        let path = directory.destinationPath(target.name)
        let database = entry.kind == .regular ? SQLiteFiles.database(of: target.name) : nil
        guard database != nil || DatabaseLogs.concern(entry) || DatabaseLogs.concern(standing) else { return nil }
        if let words = moment?.whySpared(path) { return words }
        let handle = try directory.handle()
        var words: String?
        if let database, DatabaseLogs.stands(database, at: handle.raw),
            SQLiteFiles.isInUse(at: handle.raw, database)
        {
            words = DatabaseLogs.inUse
        } else if DatabaseLogs.concern(entry) || DatabaseLogs.concern(standing) {
            words = logs(of: target, from: name, in: directory, now: handle).obstacle(at: handle.raw, moment)
        }
        if let words { moment?.spare(path, words) }
        return words
    }

    /// Why something that is to make room, or is not in the point, stays.
    func obstacle(
        removing name: TerminatedName, _ status: FileStatus, in directory: RestoreDirectory, _ handle: OpenHandle
    ) -> String? {
        let path = directory.destinationPath(name.name)
        if let words = moment?.whySpared(path) { return words }
        let words = DatabaseLogs.obstacle(removing: name, status, at: handle.raw, moment)
        if let words { moment?.spare(path, words) }
        return words
    }

    /// The logs beside what is restored under a name.
    ///
    /// - Parameters:
    ///   - source: its name in the point, when that is another one.
    ///   - now: those that lie there now; otherwise those that may lie there later, too.
    func logs(
        of name: TerminatedName, from source: TerminatedName? = nil, in directory: RestoreDirectory,
        now: OpenHandle? = nil
    ) -> DatabaseLogs {
        DatabaseLogs(of: name) { log, ending in
            // The point is not asked for what nearly never is there.
            if let now, DatabaseLogs.status(log, now.raw) == nil { return nil }
            let path = TreePath(unchecked: directory.sourcePath((source ?? name).name + ending))
            guard let entry = (try? reader.entry(of: path)) ?? nil, entry.kind == .regular,
                !entry.remarks.contains(.contentMissing), isChosen(path)
            else { return nil }
            return entry
        }
    }

    /// Whether a path was asked for, or is below what was.
    private func isChosen(_ path: TreePath) -> Bool {
        var above: TreePath? = path
        while let here = above {
            if chosen.contains(here) { return true }
            above = here.parent
        }
        return false
    }
}

extension PointReader {
    /// Paths that are asked for, and the logs that the point has of databases among them: a database alone is not what it was.
    func withLogs(_ paths: [TreePath]) -> [TreePath] {
        var all = paths
        for path in paths where !path.isRoot {
            guard let parent = path.parent, let entry = (try? entry(of: path)) ?? nil, DatabaseLogs.concern(entry)
            else {
                continue
            }
            for ending in SQLiteFiles.endings.prefix(2) {
                let log = parent.appending(Array(path.name) + ending)
                if let found = (try? self.entry(of: log)) ?? nil, found.kind == .regular { all.append(log) }
            }
        }
        return all
    }
}
