import Capture
import Model
import Platform
import Vault

/// What is to be looked at, or was and is not stored yet. It stays until its point is acknowledged.
struct PendingChanges {
    private(set) var shallow: Set<TreePath> = []
    private(set) var deep: Set<TreePath> = []
    private(set) var moves: [EntryMemory.Move] = []
    /// Something of it was still changing after the longest wait.
    private(set) var isFuzzy = false
    /// When the oldest change of it came; `nil` when there is none.
    private(set) var oldest: Int64?

    var isEmpty: Bool { shallow.isEmpty && deep.isEmpty }
    var count: Int { shallow.count + deep.count }
    var selection: PathSelection { PathSelection(shallow: shallow, deep: deep) }

    var paths: Set<TreePath> { shallow.union(deep) }

    /// The first so many of it and the rest; those in `last` come after all others. What was renamed is known to both.
    func split(_ count: Int, last: Set<TreePath> = []) -> (part: PendingChanges, rest: PendingChanges) {
        if self.count <= count { return (self, PendingChanges()) }
        var (part, rest) = (self, self)
        let first = Set(
            paths.sorted { a, b in
                let (aIsLast, bIsLast) = (last.contains(a), last.contains(b))
                return aIsLast == bIsLast ? a.bytes.lexicographicallyPrecedes(b.bytes) : bIsLast
            }.prefix(count))
        part.shallow = shallow.intersection(first)
        part.deep = deep.intersection(first)
        rest.shallow.subtract(first)
        rest.deep.subtract(first)
        return (part, rest)
    }

    /// Takes further paths to look at with the others.
    mutating func add(_ paths: some Sequence<TreePath>) { shallow.formUnion(paths) }

    /// Takes further paths to look at, that have waited since then.
    mutating func add(_ paths: some Sequence<TreePath>, since: Int64?) {
        shallow.formUnion(paths)
        if !isEmpty { oldest = [oldest, since].compactMap { $0 }.min() }
    }

    /// Looks at a path not any more: what it was is with somebody else now.
    mutating func remove(_ path: TreePath) {
        shallow.remove(path)
        deep.remove(path)
        if !isEmpty { return }
        self = PendingChanges()
    }

    /// Looks below a directory not any more.
    mutating func remove(deep directory: TreePath) {
        deep.remove(directory)
        if isEmpty { self = PendingChanges() }
    }

    /// Takes a path that another one gives up.
    mutating func take(_ path: TreePath, from other: inout PendingChanges) {
        if other.shallow.contains(path) { shallow.insert(path) }
        if other.deep.contains(path) { deep.insert(path) }
        isFuzzy = isFuzzy || other.isFuzzy
        oldest = [oldest, other.oldest].compactMap { $0 }.min()
        other.remove(path)
    }

    /// Takes what others have.
    mutating func formUnion(_ other: PendingChanges) {
        shallow.formUnion(other.shallow)
        deep.formUnion(other.deep)
        moves += other.moves
        isFuzzy = isFuzzy || other.isFuzzy
        oldest = [oldest, other.oldest].compactMap { $0 }.min()
    }

    /// Takes what has settled. File systems are for others to look at.
    mutating func add(_ changes: [Settling.Change], since: Int64?) {
        for change in changes {
            switch change {
            case .path(let path, let fuzzy):
                shallow.insert(path)
                if let database = path.ofDatabaseLog {
                    // Transactions go into the log, and a database is captured with it, as of one moment.
                    shallow.insert(database)
                } else {
                    isFuzzy = isFuzzy || fuzzy
                }
            case .subtree(let path, let fuzzy):
                deep.insert(path)
                isFuzzy = isFuzzy || fuzzy
            case .moved(let from, let to, let isDirectory):
                if isDirectory { deep.insert(to) } else { shallow.insert(to) }
                moves.append(EntryMemory.Move(from: from, to: to))
            case .fileSystem: continue
            }
        }
        guard !isEmpty, let since else { return }
        oldest = min(oldest ?? since, since)
    }
}

extension TreePath {
    /// What a database of this name would keep beside it.
    var databaseLogs: [TreePath] {
        guard let parent else { return [] }
        return SQLiteFiles.endings.map { name + $0 }.filter(TreePath.isName).map { parent.appending($0) }
    }
}
