import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing

@testable import Capture

/// What a tree looks like: enough to see every difference that a backup would keep.
private struct TreeState {
    struct Node: Hashable {
        var mode: UInt32
        var links: UInt64
        var inode: UInt64
        var size: Int64
        var modified: Int64
        var content: Int
    }
    var nodes: [TreePath: Node] = [:]

    init(of root: String) {
        visit(root)
    }

    private mutating func visit(_ path: String) {
        var status = stat()
        guard lstat(path, &status) == 0, let tree = TreePath(path) else { return }
        var node = Node(
            mode: status.st_mode, links: UInt64(status.st_nlink), inode: UInt64(status.st_ino),
            size: Int64(status.st_size),
            modified: Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec), content: 0)
        if status.st_mode & S_IFMT == S_IFDIR {
            // What a directory's own times and size tell, its names tell as well.
            node.size = 0
            node.modified = 0
            node.links = 0
            nodes[tree] = node
            for name in (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? [] { visit("\(path)/\(name)") }
            return
        }
        if status.st_mode & S_IFMT == S_IFREG {
            node.content = (FileManager.default.contents(atPath: path) ?? Data()).hashValue
        }
        nodes[tree] = node
    }

    /// Paths that differ and that no fact covers.
    static func missed(from before: TreeState, to after: TreeState, _ facts: [DirtyFact], ignoringInodes: Bool)
        -> [TreePath]
    {
        var trees: [DirtyFact] = []
        var single: Set<TreePath> = []
        for fact in facts {
            switch fact {
            case .file(let path, _): single.insert(path)
            case .entry(_, _, .created): single.insert(fact.path)
            default: trees.append(fact)
            }
        }
        func isCovered(_ path: TreePath) -> Bool { single.contains(path) || trees.contains { $0.covers(path) } }
        var missed: [TreePath] = []
        for path in Set(before.nodes.keys).union(after.nodes.keys) {
            var (old, new) = (before.nodes[path], after.nodes[path])
            // The number of links is no part of a backup, and an overlay gives a file a new number when it copies it up.
            old?.links = 0
            new?.links = 0
            if ignoringInodes {
                old?.inode = 0
                new?.inode = 0
            }
            if old == new || isCovered(path) { continue }
            if new == nil {
                // It is gone, and a directory above it is told which is gone or no directory any more.
                var above = path.parent
                var isKnown = false
                while let directory = above, !isKnown {
                    let isDirectory = after.nodes[directory].map { $0.mode & S_IFMT == S_IFDIR } ?? false
                    isKnown = !isDirectory && isCovered(directory)
                    above = directory.parent
                }
                if isKnown { continue }
            }
            missed.append(path)
        }
        return missed
    }
}

/// Does random things to the files of a tree.
private struct Vandal {
    let root: String
    let outside: String
    var random: SeededGenerator

    init(root: String, outside: String, seed: UInt64) {
        self.root = root
        self.outside = outside
        random = SeededGenerator(seed: seed)
    }

    private mutating func place(_ start: String? = nil) -> String {
        var path = start ?? (Int.random(in: 0..<8, using: &random) == 0 ? outside : root)
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            path += "/" + ["a", "b", "c", "d", "e"][Int.random(in: 0..<5, using: &random)]
        }
        return path
    }

    private mutating func text() -> String { String(random.next(), radix: 36) }

    mutating func act() {
        let path = place()
        let other = place()
        switch Int.random(in: 0..<17, using: &random) {
        case 0, 1, 2: mkdir(path, 0o755)
        case 3, 4: put(path, text())
        case 5:
            let file = open(path, O_WRONLY | O_APPEND | O_CLOEXEC)
            let more = text()
            _ = more.withCString { write(file, $0, strlen($0)) }
            close(file)
        case 6: unlink(path)
        case 7: rmdir(path)
        case 8, 9, 10: rename(path, other)
        case 11: symlink(text(), path)
        case 12: link(path, other)
        case 13: chmod(path, [0o600, 0o644, 0o755][Int.random(in: 0..<3, using: &random)])
        case 14:
            // As editors save.
            let new = path + ".new"
            put(new, text())
            rename(new, path)
        case 15:
            try? withCName(Array(path.utf8)) { a throws(Errno) in
                try withCName(Array(other.utf8)) { b throws(Errno) in
                    try FileSystem.rename(
                        at: FileSystem.currentDirectory, a, to: FileSystem.currentDirectory, b, .exchange)
                }
            }
        default:
            if Int.random(in: 0..<4, using: &random) == 0 { try? FileManager.default.removeItem(atPath: path) }
        }
    }
}

/// Random operations of three threads at once. `HOLDFAST_WATCH_SEED` repeats their choices, though not their interplay, and
/// `HOLDFAST_WATCH_ROUNDS` makes a run longer.
@Suite("Watching random changes", .serialized, .enabled(if: canWatch, "watching needs CAP_SYS_ADMIN and mounts"))
struct WatchFuzzTests {
    @Test(
        "every path that differs between two looks was told, itself or as part of a subtree",
        arguments: WatchFixture.Kind.allCases, [true, false])
    func nothingIsMissed(_ kind: WatchFixture.Kind, pairsRenames: Bool) throws {
        guard let fixture = WatchFixture(kind) else { return }
        let environment = ProcessInfo.processInfo.environment
        let seed = environment["HOLDFAST_WATCH_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 0...UInt64.max)
        let rounds = environment["HOLDFAST_WATCH_ROUNDS"].flatMap { Int($0) } ?? 40
        print("watch fuzz on \(kind): HOLDFAST_WATCH_SEED=\(seed)")
        let known = KnownNames()
        try fixture.start {
            $0.pairsRenames = pairsRenames
            // Soon after it happened, or when much else has happened since.
            $0.batchInterval = [1_000_000, 20_000_000, 400_000_000][Int(seed % 3)]
            $0.otherNames = { known.names(of: $0) }
        }
        var before = TreeState(of: fixture.root)
        known.replace(before)
        var changed = 0
        for round in 0..<rounds {
            let (root, outside) = (fixture.root, "\(fixture.top)/outside")
            // Several at once, so that paths change while events are read.
            try runThreads(3, name: "vandal") { number in
                var vandal = Vandal(root: root, outside: outside, seed: seed &+ UInt64(round * 3 + number))
                for _ in 0..<150 { vandal.act() }
            }
            let facts = fixture.facts()
            // Nothing is told by a look at everything.
            let losses = facts.filter { if case .fileSystem = $0 { true } else { false } }
            #expect(losses.isEmpty, "round \(round): \(losses.map(\.line))")
            let after = TreeState(of: fixture.root)
            changed += Set(before.nodes.keys).symmetricDifference(after.nodes.keys).count
            let missed = TreeState.missed(from: before, to: after, facts, ignoringInodes: kind == .overlay)
            #expect(missed.isEmpty, "round \(round): \(missed.map(\.displayText)); \(facts.count) facts")
            for path in missed {
                print("missed \(path.displayText): \(before.nodes[path] as Any) \(after.nodes[path] as Any)")
                for fact in facts { print("  \(fact.line)") }
            }
            // Nor does settling lose anything, with much room or little.
            for limit in [16, 64, 100_000] {
                let settled = settle(facts, limit: limit)
                let lost = TreeState.missed(from: before, to: after, settled, ignoringInodes: kind == .overlay)
                #expect(lost.isEmpty, "round \(round), \(limit) paths: \(lost.map(\.displayText))")
            }
            if !missed.isEmpty { break }
            before = after
            known.replace(after)
        }
        #expect(changed > 100)
    }

    /// What comes out of settling, as facts that say no more than it does.
    private func settle(_ facts: [DirtyFact], limit: Int) -> [DirtyFact] {
        var settling = Settling(durations: .standard, limit: limit)
        for fact in facts { settling.add(fact, at: 0) }
        return settling.due(at: .max).map { change in
            switch change {
            case .path(let path, _): .file(path, .closed)
            case .moved(_, let to, let isDirectory): isDirectory ? .subtree(to) : .file(to, .closed)
            case .subtree(let path, _): .subtree(path)
            case .fileSystem(let path, let loss): .fileSystem(path, lost: loss)
            }
        }
    }

    @Test("the check finds a single event that is lost on purpose")
    func checkCanFail() throws {
        guard let fixture = WatchFixture(.ext4) else { return }
        for name in ["kept", "victim"] { put("\(fixture.root)/\(name)", "old") }
        let counter = LossCounter()
        try fixture.start { $0.drops = { counter.isToDrop($0) } }
        let before = TreeState(of: fixture.root)
        for name in ["kept", "victim"] { put("\(fixture.root)/\(name)", "new content") }
        let facts = fixture.facts()
        let missed = TreeState.missed(from: before, to: TreeState(of: fixture.root), facts, ignoringInodes: false)
        #expect(missed == [fixture.inRoot("victim")])
        #expect(counter.count == 1)
    }
}

/// The names of files at the last look, as a catalog keeps them.
private final class KnownNames: Sendable {
    private let paths = Mutex<[UInt64: [TreePath]]>([:])

    func replace(_ state: TreeState) {
        let files = state.nodes.filter { $0.value.mode & S_IFMT != S_IFDIR }
        let grouped = Dictionary(grouping: files.keys, by: { files[$0]?.inode ?? 0 })
        paths.withLock { $0 = grouped }
    }

    func names(of node: CaptureSource.FileNode) -> [TreePath] { paths.withLock { $0[node.inode] ?? [] } }
}

/// Drops the events of one file.
private final class LossCounter: Sendable {
    private let dropped = Mutex(0)
    var count: Int { dropped.withLock { $0 } }
    func isToDrop(_ name: [UInt8]) -> Bool {
        guard name == Array("victim".utf8) else { return false }
        dropped.withLock { $0 += 1 }
        return true
    }
}

extension DirtyFact {
    /// One line for somebody who looks for what went wrong.
    fileprivate var line: String {
        switch self {
        case .file(let path, let writer): "file \(path.displayText) \(writer)"
        case .entry(_, _, let change): "\(change) \(path.displayText)"
        case .renamed(let from, let to, let isDirectory):
            "renamed \(from.displayText) to \(to.displayText)\(isDirectory ? "/" : "")"
        case .subtree(let path): "subtree \(path.displayText)"
        case .fileSystem(let path, let loss): "\(path.displayText): \(loss)"
        }
    }
}
