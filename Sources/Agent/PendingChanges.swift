import Capture
import Model
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

    /// The first so many of it and the rest. What was renamed is known to both.
    func split(_ count: Int) -> (part: PendingChanges, rest: PendingChanges) {
        if self.count <= count { return (self, PendingChanges()) }
        var (part, rest) = (self, self)
        let first = shallow.sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }.prefix(count)
        part.shallow = Set(first)
        part.deep = Set(
            deep.sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }.prefix(max(count - first.count, 0)))
        rest.shallow.subtract(part.shallow)
        rest.deep.subtract(part.deep)
        return (part, rest)
    }

    /// Takes further paths to look at with the others.
    mutating func add(_ paths: some Sequence<TreePath>) { shallow.formUnion(paths) }

    /// Takes what has settled. File systems are for others to look at.
    mutating func add(_ changes: [Settling.Change], since: Int64?) {
        for change in changes {
            switch change {
            case .path(let path, let fuzzy):
                shallow.insert(path)
                isFuzzy = isFuzzy || fuzzy
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
