package import Model

/// Decides when what is dirty is quiet enough to be captured.
///
/// A pure state machine: times come from outside (nanoseconds of any clock that goes forward), `due` hands out what is
/// ready, `next` says when to ask again. A path goes in as a fact, and comes out once, after it has been quiet for a
/// while; one that never is quiet comes out at the latest after `Durations.most`, as fuzzy. Memory is bounded: when there
/// are too many paths, siblings become their directory.
package struct Settling {
    /// How long something must be quiet, in nanoseconds.
    package struct Durations: Hashable, Sendable {
        /// After the file was closed, or a name came, or metadata changed.
        package var afterClose: Int64
        /// After a write by somebody who has the file still open.
        package var afterWrite: Int64
        /// At the latest so long after the first change.
        package var most: Int64
        /// Deletions wait, so that what a rename took away and brings elsewhere is known first.
        package var deletion: Int64

        package init(afterClose: Int64, afterWrite: Int64, most: Int64, deletion: Int64) {
            self.afterClose = max(afterClose, 0)
            self.afterWrite = max(afterWrite, 0)
            self.most = max(most, 0)
            self.deletion = max(deletion, 0)
        }

        /// 1 s after a close, 5 s after a write, at most 60 s, deletions 2 s.
        package static let standard = Durations(
            afterClose: 1_000_000_000, afterWrite: 5_000_000_000, most: 60_000_000_000, deletion: 2_000_000_000)
        /// Nothing waits.
        package static let none = Durations(afterClose: 0, afterWrite: 0, most: 0, deletion: 0)
    }

    /// What is ready to be looked at. None of them says what will be found.
    package enum Change: Hashable, Sendable {
        /// Look at this path: what is there is to be captured; when nothing is there, it and all below it was deleted.
        /// `isFuzzy`: it was still changing.
        case path(TreePath, isFuzzy: Bool)
        /// As `path` for `to`, and what is there was at `from`: where both are the same file by device and inode and nothing
        /// changed, the entry can be moved without reading. All below a directory is to be looked at. `from` comes of its
        /// own as `path` or `subtree`.
        case moved(from: TreePath, to: TreePath, isDirectory: Bool)
        /// Look at this path and all below it, which may be nothing.
        case subtree(TreePath, isFuzzy: Bool)
        /// Scan what is protected of the file system mounted here.
        case fileSystem(TreePath, DirtyFact.Loss)

        /// The path to look at.
        package var path: TreePath {
            switch self {
            case .path(let path, _), .subtree(let path, _), .fileSystem(let path, _): path
            case .moved(_, let to, _): to
            }
        }
    }

    private enum Kind {
        case path
        case moved(from: TreePath, isDirectory: Bool)
        case subtree
    }

    private struct Item {
        var kind: Kind
        var first: Int64
        var last: Int64
        var quiet: Int64
        /// When the heap has it; what the heap says otherwise is out of date.
        var queued: Int64
    }

    private let durations: Durations
    private let limit: Int
    private let byteLimit: Int
    private var items: [TreePath: Item] = [:]
    private var heap = DueHeap()
    /// Paths that do not come out before a time, however long they change.
    private var holds: [TreePath: Int64] = [:]
    private var subtrees = 0
    private var bytes = 0
    /// Lost file systems do not wait.
    private var losses: [Change] = []

    /// - Parameters:
    ///   - limit: the most paths that are kept apart, at least 16.
    ///   - byteLimit: the most bytes their names may take.
    package init(durations: Durations = .standard, limit: Int = 100_000, byteLimit: Int = 32 << 20) {
        self.durations = durations
        self.limit = max(limit, 16)
        self.byteLimit = max(byteLimit, 64 << 10)
    }

    /// How many paths wait.
    package var count: Int { items.count + losses.count }
    package var isEmpty: Bool { count == 0 }

    /// When the first change came that still waits; a look at all of them, for status.
    package var oldest: Int64? { items.values.lazy.map(\.first).min() }

    // MARK: In

    /// Takes a fact that was learnt at `now`.
    package mutating func add(_ fact: DirtyFact, at now: Int64) {
        switch fact {
        case .file(let path, .metadata):
            // Neither does it end the wait for a writer, nor must content be read that a rename brought.
            let before = items[path]
            touch(path, before?.kind ?? .path, quiet: max(before?.quiet ?? 0, durations.afterClose), at: now)
        case .file(let path, let writer):
            touch(path, .path, quiet: writer == .open ? durations.afterWrite : durations.afterClose, at: now)
        case .entry(let directory, let name, .created):
            touch(directory.appending(name), .path, quiet: durations.afterClose, at: now)
        case .entry(let directory, let name, .deleted):
            touch(directory.appending(name), .path, quiet: durations.deletion, at: now)
        case .entry(let directory, let name, .directoryDeleted):
            touch(directory.appending(name), .subtree, quiet: durations.deletion, at: now)
        case .renamed(let from, let to, let isDirectory): rename(from, to, isDirectory, at: now)
        case .subtree(let path): touch(path, .subtree, quiet: durations.afterClose, at: now)
        case .fileSystem(let path, let loss):
            let change = Change.fileSystem(path, loss)
            if !losses.contains(change) { losses.append(change) }
        }
        if items.count > limit || bytes > byteLimit { collapse(at: now) }
    }

    private mutating func rename(_ from: TreePath, _ to: TreePath, _ isDirectory: Bool, at now: Int64) {
        var kind = Kind.moved(from: from, isDirectory: isDirectory)
        if let before = items[from] {
            switch before.kind {
            case .path, .subtree:
                // It changed before it was renamed: moving the entry would not do.
                kind = isDirectory ? .subtree : .path
            case .moved(let origin, _):
                kind = .moved(from: origin, isDirectory: isDirectory)
                // The entry is still at the origin: that it is gone from there must not be known before.
                if items[origin] != nil { touch(origin, .path, quiet: durations.deletion, at: now) }
            }
        }
        // Another directory may stand there soon: what was below it is gone all the same.
        touch(from, isDirectory ? .subtree : .path, quiet: durations.deletion, at: now)
        touch(to, kind, quiet: durations.afterClose, at: now)
    }

    private mutating func touch(_ path: TreePath, _ kind: Kind, quiet: Int64, at now: Int64) {
        var path = path
        var kind = kind
        if subtrees > 0, let above = pendingSubtree(above: path) {
            path = above
            kind = .subtree
        }
        if var item = items[path] {
            item.kind = joined(item.kind, kind)
            item.last = max(item.last, now)
            item.quiet = quiet
            store(path, item, before: items[path]?.kind)
        } else {
            bytes += path.bytes.count
            store(path, Item(kind: kind, first: now, last: now, quiet: quiet, queued: .max), before: nil)
        }
    }

    private func joined(_ old: Kind, _ new: Kind) -> Kind {
        switch (old, new) {
        case (.subtree, _), (_, .subtree): .subtree
        // A directory that came by a rename brought all below it along, whatever happened at its place before or after.
        case (.moved(_, true), _), (_, .moved(_, true)): .subtree
        // What was there first is replaced by the rename; a change after it means that it must be read.
        case (_, .moved(_, false)): new
        case (.moved, _): .path
        case (.path, .path): .path
        }
    }

    private mutating func store(_ path: TreePath, _ item: Item, before: Kind?) {
        var item = item
        if let before, case .subtree = before { subtrees -= 1 }
        if case .subtree = item.kind { subtrees += 1 }
        let due = dueTime(path, item)
        // Later dues are found when the earlier one is reached: one entry per path, nearly.
        if due < item.queued {
            item.queued = due
            heap.push(due, path)
        }
        items[path] = item
    }

    private func dueTime(_ path: TreePath, _ item: Item) -> Int64 {
        max(min(item.last + item.quiet, item.first + durations.most), holds[path] ?? .min)
    }

    /// The topmost directory above a path that waits as a whole.
    private func pendingSubtree(above path: TreePath) -> TreePath? {
        var end = 0
        while end < path.bytes.count {
            let directory = TreePath(unchecked: Array(path.bytes[..<end]))
            if let item = items[directory], case .subtree = item.kind { return directory }
            let start = end == 0 ? 0 : end + 1
            guard let slash = path.bytes[start...].firstIndex(of: UInt8(ascii: "/")) else { return nil }
            end = slash
        }
        return nil
    }

    /// Keeps paths from coming out before a time: what is read over and over must not take all of the machine. Only so many of
    /// them are remembered.
    package mutating func hold(_ paths: some Collection<TreePath>, until time: Int64, at now: Int64) {
        holds = holds.filter { $0.value > now }
        for path in paths.prefix(max(Settling.holdLimit - holds.count, 0)) { holds[path] = time }
    }

    func isHeld(_ path: TreePath) -> Bool { holds[path] != nil }

    private static let holdLimit = 1_000

    // MARK: Out

    /// Hands out what is ready, the earliest first; each once.
    package mutating func due(at now: Int64, limit: Int = .max) -> [Change] {
        var found: [Change] = []
        if now == .max { holds = [:] }
        while found.count < limit, !losses.isEmpty { found.append(losses.removeFirst()) }
        while found.count < limit, let due = next, due <= now, let (_, path) = heap.pop(),
            let item = remove(path)
        {
            let isFuzzy = now < item.last + item.quiet
            switch item.kind {
            case .path: found.append(.path(path, isFuzzy: isFuzzy))
            case .moved(let from, let isDirectory): found.append(.moved(from: from, to: path, isDirectory: isDirectory))
            case .subtree: found.append(.subtree(path, isFuzzy: isFuzzy))
            }
        }
        return found
    }

    /// When `due` has something to hand out; `nil` when nothing waits.
    package var next: Int64? {
        mutating get {
            if !losses.isEmpty { return .min }
            while let (time, path) = heap.first {
                guard var item = items[path], item.queued == time else {
                    _ = heap.pop()
                    continue
                }
                let due = dueTime(path, item)
                if due <= time { return time }
                _ = heap.pop()
                item.queued = due
                items[path] = item
                heap.push(due, path)
            }
            return nil
        }
    }

    private mutating func remove(_ path: TreePath) -> Item? {
        guard let item = items.removeValue(forKey: path) else { return nil }
        bytes -= path.bytes.count
        if case .subtree = item.kind { subtrees -= 1 }
        return item
    }

    // MARK: Bounds

    /// Joins siblings into their directories, those with the most first, and one level further up when that does not do,
    /// until half the room is free.
    private mutating func collapse(at now: Int64) {
        while items.count > limit / 2 || bytes > byteLimit / 2 {
            var children: [TreePath: (count: Int, bytes: Int)] = [:]
            for path in items.keys {
                guard let parent = path.parent else { continue }
                children[parent, default: (0, 0)].count += 1
                children[parent, default: (0, 0)].bytes += path.bytes.count
            }
            if children.isEmpty { break }
            // Where nothing has siblings, everything goes one level up.
            let hasSiblings = children.values.contains { $0.count > 1 }
            var spare = items.count - limit / 2
            var spareBytes = bytes - byteLimit / 2
            var chosen: Set<TreePath> = []
            for (parent, sum) in children.sorted(by: {
                ($0.value.count, $0.value.bytes) > ($1.value.count, $1.value.bytes)
            })
            where spare > 0 || spareBytes > 0 {
                if hasSiblings, sum.count == 1, spare > 0 { break }
                chosen.insert(parent)
                spare -= sum.count - 1
                spareBytes -= sum.bytes - parent.bytes.count
            }
            lift(chosen)
        }
        if items.count < heap.count / 4 { heap.rebuild(items.map { ($0.value.queued, $0.key) }) }
    }

    /// Replaces what waits directly below some directories by the directories.
    private mutating func lift(_ parents: Set<TreePath>) {
        var joined: [TreePath: Item] = [:]
        for (path, item) in items {
            guard let parent = path.parent, parents.contains(parent) else { continue }
            _ = remove(path)
            // Of what was moved the old place waits of its own.
            if var known = joined[parent] {
                known.first = min(known.first, item.first)
                if item.last + item.quiet > known.last + known.quiet {
                    known.last = item.last
                    known.quiet = item.quiet
                }
                joined[parent] = known
            } else {
                joined[parent] = Item(
                    kind: .subtree, first: item.first, last: item.last, quiet: item.quiet, queued: .max)
            }
        }
        // From the top down, so that what lies below another is taken in by it.
        for (parent, item) in joined.sorted(by: { $0.key.bytes.count < $1.key.bytes.count }) {
            if subtrees > 0, let above = pendingSubtree(above: parent), var known = items[above] {
                known.first = min(known.first, item.first)
                known.last = max(known.last, item.last)
                known.quiet = max(known.quiet, item.quiet)
                store(above, known, before: .subtree)
                continue
            }
            let before = items[parent]
            if before == nil { bytes += parent.bytes.count }
            var new = item
            if let before {
                new.first = min(before.first, item.first)
                if before.last + before.quiet > item.last + item.quiet {
                    new.last = before.last
                    new.quiet = before.quiet
                }
                new.queued = before.queued
            }
            store(parent, new, before: before?.kind)
        }
    }
}

/// Times with paths, the earliest first.
private struct DueHeap {
    private var entries: [(time: Int64, path: TreePath)] = []

    var count: Int { entries.count }
    var first: (time: Int64, path: TreePath)? { entries.first }

    mutating func push(_ time: Int64, _ path: TreePath) {
        entries.append((time, path))
        rise(entries.count - 1)
    }

    mutating func pop() -> (time: Int64, path: TreePath)? {
        guard let top = entries.first else { return nil }
        entries.swapAt(0, entries.count - 1)
        entries.removeLast()
        sink(0)
        return top
    }

    mutating func rebuild(_ new: [(Int64, TreePath)]) {
        entries = new.map { (time: $0.0, path: $0.1) }
        for index in stride(from: entries.count / 2 - 1, through: 0, by: -1) { sink(index) }
    }

    private mutating func rise(_ start: Int) {
        var index = start
        while index > 0, entries[index].time < entries[(index - 1) / 2].time {
            entries.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    private mutating func sink(_ start: Int) {
        var index = start
        while true {
            var least = index
            for child in [2 * index + 1, 2 * index + 2]
            where child < entries.count && entries[child].time < entries[least].time { least = child }
            if least == index { return }
            entries.swapAt(index, least)
            index = least
        }
    }
}
