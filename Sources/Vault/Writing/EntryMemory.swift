package import Model

/// What a machine knows of its protected paths between two full scans: the cache that the last scan wrote, and what has been
/// stored since.
///
/// Only what the vault has acknowledged goes in, so that a look at it tells what the newest point holds. Not for use from
/// several threads at once.
package final class EntryMemory: KnownEntries {
    /// What a stored delta changed.
    package struct Changes {
        package var puts: [CachedEntry] = []
        /// Keys of paths that are gone; what is below them is in `emptied`.
        package var gone: [[UInt8]] = []
        /// Keys of directories with nothing below them any more; what comes anew below them is in `puts`.
        package var emptied: [[UInt8]] = []

        package init() {}

        package var isEmpty: Bool { puts.isEmpty && gone.isEmpty && emptied.isEmpty }

        /// The deltas that have its effect one after the other: one, unless that does not fit into a blob.
        package func deltas() throws -> [Delta] {
            let first =
                emptied.map { Delta.Operation(key: $0, change: .deleteBelow) }
                + gone.map { Delta.Operation(key: $0, change: .delete) }
            let last = puts.map { Delta.Operation(key: $0.key, change: .put($0.entry)) }
            let whole = try Delta(first + last)
            if try whole.encoded() != nil { return [whole] }
            return try Changes.split(first[...]) + Changes.split(last[...])
        }

        private static func split(_ operations: ArraySlice<Delta.Operation>) throws -> [Delta] {
            if operations.isEmpty { return [] }
            let delta = try Delta(Array(operations))
            if try operations.count == 1 || delta.encoded() != nil { return [delta] }
            let middle = operations.startIndex + operations.count / 2
            return try split(operations[..<middle]) + split(operations[middle...])
        }
    }

    /// Several changes, one after the other, that become one with the same effect.
    package struct Joined {
        private var outcomes: [[UInt8]: CachedEntry?] = [:]
        private var emptied: Set<[UInt8]> = []

        package init() {}

        package mutating func add(_ changes: Changes) {
            let prefixes = Set(changes.emptied.compactMap { TreePath(key: $0)?.subtreePrefix })
            if !prefixes.isEmpty {
                outcomes = outcomes.filter { !EntryMemory.isBelow($0.key, prefixes) }
                emptied = emptied.filter { !EntryMemory.isBelow($0, prefixes) }
                emptied.formUnion(changes.emptied)
            }
            for key in changes.gone { outcomes[key] = .some(nil) }
            for put in changes.puts { outcomes[put.key] = put }
        }

        package var changes: Changes {
            var changes = Changes()
            changes.emptied = Array(emptied)
            for (key, outcome) in outcomes {
                if let outcome { changes.puts.append(outcome) } else { changes.gone.append(key) }
            }
            return changes
        }
    }

    /// Something that had another path before; of a directory all below it too.
    package struct Move: Hashable, Sendable {
        package var from: TreePath
        package var to: TreePath

        package init(from: TreePath, to: TreePath) {
            self.from = from
            self.to = to
        }
    }

    private let index: CacheIndex?
    private var changed: [[UInt8]: CachedEntry?] = [:]
    /// Prefixes of keys of which only what `changed` says holds.
    private var hidden: Set<[UInt8]> = []
    private var moves: [TreePath: TreePath] = [:]
    /// The cache could not be read: nothing that was answered since can be relied on.
    package private(set) var failure: (any Error)?

    package let plan = RebundlePlan()

    /// - Parameter index: what the last scan wrote down; `nil` before the first.
    package init(_ index: CacheIndex? = nil) { self.index = index }

    /// How many paths are kept in memory.
    package var count: Int { changed.count + hidden.count }

    // MARK: Asking

    /// What is known of a key.
    package func entry(_ key: [UInt8]) -> CachedEntry? {
        if failure != nil { return nil }
        if let known = changed[key] { return known }
        if isHidden(key) { return nil }
        do { return try index?.find(key) } catch {
            failure = error
            return nil
        }
    }

    /// Everything that is known below a directory, in no order.
    package func forEach(below directory: TreePath, _ body: (CachedEntry) -> Void) {
        let prefix = directory.subtreePrefix
        do {
            try index?.forEach(beginningWith: prefix) { known in
                if !known.key.isEmpty, changed[known.key] == nil, !isHidden(known.key) { body(known) }
                return true
            }
        } catch {
            failure = error
        }
        for (key, known) in changed where !key.isEmpty && key.starts(with: prefix) { if let known { body(known) } }
    }

    /// The directories that are known and wanted. Of those that something was stored of since the last scan, the names of
    /// that as well: `known(in:)` does not tell them.
    package func directories(where isWanted: (TreePath) -> Bool) -> (all: [TreePath], names: [TreePath: [[UInt8]]]) {
        var found: [TreePath] = []
        var names: [TreePath: [[UInt8]]] = [:]
        do {
            try index?.forEachIdentity { key, _, kind in
                guard kind == .directory, changed[key] == nil, !isHidden(key), let path = TreePath(key: key),
                    isWanted(path)
                else { return }
                found.append(path)
            }
        } catch {
            failure = error
        }
        for (key, known) in changed {
            guard let known, let path = TreePath(key: key) else { continue }
            if known.entry.kind == .directory, isWanted(path) { found.append(path) }
            if let parent = path.parent, isWanted(parent) { names[parent, default: []].append(Array(path.name)) }
        }
        return (found, names)
    }

    /// What the last scan found directly in a directory, as far as nothing was stored of it since.
    package func known(in directory: TreePath, _ body: (CachedEntry) -> Void) {
        do {
            try index?.forEach(beginningWith: directory.childrenPrefix) { known in
                if changed[known.key] == nil, !isHidden(known.key) { body(known) }
                return true
            }
        } catch {
            failure = error
        }
    }

    /// The paths under which files are known, by device and inode. Looks at everything that is known.
    package func paths(of files: Set<LinkGroup>) -> [TreePath] {
        var found: [TreePath] = []
        func look(_ key: [UInt8], _ identity: FileIdentity) {
            guard files.contains(LinkGroup(device: identity.device, inode: identity.inode)),
                let path = TreePath(key: key)
            else { return }
            found.append(path)
        }
        do {
            try index?.forEachIdentity { key, identity, _ in
                if changed[key] == nil, !isHidden(key) { look(key, identity) }
            }
        } catch {
            failure = error
        }
        for (key, known) in changed { if let known { look(key, known.identity) } }
        return found
    }

    private func isHidden(_ key: [UInt8]) -> Bool {
        if hidden.isEmpty || key.isEmpty { return false }
        if hidden.contains([]) { return true }
        for end in 1..<key.count where key[end - 1] == 0 && hidden.contains(Array(key[..<end])) { return true }
        return false
    }

    // MARK: For the walk

    /// Takes what was renamed before a walk; `find` then knows it under its new path.
    package func expect(_ moves: [Move]) {
        self.moves = Dictionary(moves.map { ($0.to, $0.from) }, uniquingKeysWith: { first, _ in first })
    }

    package func find(
        _ key: [UInt8], where isWanted: (FileIdentity, EntryKind, UInt64, FileTime) -> Bool
    ) -> CachedEntry? {
        var known = entry(key)
        if !moves.isEmpty, let old = oldPath(of: key), var moved = entry(old.key),
            known?.identity.inode != moved.identity.inode
        {
            moved.key = key
            known = moved
        }
        guard let known,
            isWanted(known.identity, known.entry.kind, known.entry.size, known.entry.mtime)
        else { return nil }
        return known
    }

    package func isMoved(_ key: [UInt8]) -> Bool {
        guard !moves.isEmpty, let path = TreePath(key: key) else { return false }
        return moves[path] != nil
    }

    private func oldPath(of key: [UInt8]) -> TreePath? {
        guard let path = TreePath(key: key) else { return nil }
        var above: TreePath? = path
        while let directory = above {
            if let from = moves[directory] {
                return TreePath(unchecked: from.bytes + path.bytes.dropFirst(directory.bytes.count))
            }
            above = directory.parent
        }
        return nil
    }

    package func hasKey(beginningWith prefix: [UInt8]) -> Bool {
        if changed.contains(where: { $0.value != nil && $0.key.starts(with: prefix) }) { return true }
        var found = false
        do {
            try index?.forEach(beginningWith: prefix) { known in
                if changed[known.key] == nil, !isHidden(known.key) { found = true }
                return !found
            }
        } catch {
            failure = error
        }
        return found
    }

    // MARK: Learning

    /// Takes what a point changed, once the vault has acknowledged it.
    package func apply(_ changes: Changes) {
        if !changes.emptied.isEmpty {
            let prefixes = Set(changes.emptied.compactMap { TreePath(key: $0)?.subtreePrefix })
            hidden.formUnion(prefixes)
            let before = changed
            for key in before.keys where EntryMemory.isBelow(key, prefixes) { changed[key] = nil }
        }
        for key in changes.gone { changed[key] = .some(nil) }
        for put in changes.puts { changed[put.key] = put }
    }

    private static func isBelow(_ key: [UInt8], _ prefixes: Set<[UInt8]>) -> Bool {
        if key.isEmpty { return false }
        if prefixes.contains([]) { return true }
        for end in 1..<key.count where key[end - 1] == 0 && prefixes.contains(Array(key[..<end])) { return true }
        return false
    }
}
