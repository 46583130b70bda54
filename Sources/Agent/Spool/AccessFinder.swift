import Model
import Vault

/// Finds who could reach what is captured: by the directories above it, as they are captured with it or known from before.
final class AccessFinder {
    private let memory: EntryMemory
    private var changed: [[UInt8]: Entry] = [:]
    private var known: [TreePath: PathAccess] = [:]

    init(_ changes: EntryMemory.Changes, _ memory: EntryMemory) {
        self.memory = memory
        for put in changes.puts where put.entry.kind == .directory { changed[put.key] = put.entry }
    }

    func access(to key: [UInt8]) -> [UInt8] {
        guard let path = TreePath(key: key), let parent = path.parent else { return [] }
        if let known = known[parent] { return known.encoded() }
        let found = PathAccess(of: path) { directory in
            let key = directory.key
            return changed[key] ?? memory.entry(key)?.entry
        }
        known[parent] = found
        return found.encoded()
    }
}
