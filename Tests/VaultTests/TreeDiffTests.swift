import Model
import Testing

@testable import Vault

@Suite("Differences of trees") struct TreeDiffTests {
    private struct Found: Equatable {
        var key: [UInt8]
        var before: Entry?
        var after: Entry?
    }

    private func diff(_ a: TreeReader, _ b: TreeReader, below path: TreePath = .root) throws -> [Found] {
        var found: [Found] = []
        try TreeDiff.diff(a, b, below: path) { change in
            found.append(
                Found(key: change.key, before: try change.before?.entry(), after: try change.after?.entry()))
            return true
        }
        return found
    }

    private func naive(_ a: SortedEntries, _ b: SortedEntries, below path: TreePath = .root) -> [Found] {
        Set(a.keys).union(b.keys).sorted { $0.lexicographicallyPrecedes($1) }
            .filter { key in TreePath(key: key).map { path.contains($0) } ?? false }
            .filter { a[$0] != b[$0] }
            .map { Found(key: $0, before: a[$0], after: b[$0]) }
    }

    @Test("the difference is what comparing every entry gives", arguments: 1...10 as ClosedRange<UInt64>)
    func equalsNaive(seed: UInt64) throws {
        print("seed", seed)
        var fixture = TreeFixture(seed: seed)
        let before = fixture.tree([0, 20, 700, 1500][Int(seed) % 4])
        var after = before
        let nodes = MemoryNodes()
        let root = try before.build(nodes).root
        var deltas: [ContentKey] = []
        for _ in 0..<3 {
            let delta = try fixture.delta(fixture.number(1..<60), over: after)
            deltas.append(try #require(try delta.store(in: nodes)))
            after.apply(delta)
        }
        let a = TreeReader(source: nodes, root: root)
        let b = TreeReader(source: nodes, root: try after.build(nodes).root)
        let state = TreeReader(source: nodes, root: root, deltas: deltas)
        #expect(try diff(a, b) == naive(before, after))
        #expect(try diff(b, a) == naive(after, before))
        #expect(try diff(a, state) == naive(before, after))
        #expect(try diff(state, b).isEmpty)
        for _ in 0..<3 {
            let path = fixture.path(near: before)
            #expect(try diff(a, b, below: path) == naive(before, after, below: path))
            #expect(try diff(state, a, below: path) == naive(after, before, below: path))
        }
    }

    @Test("the difference ends when it is told to")
    func stops() throws {
        var fixture = TreeFixture(seed: 3)
        let nodes = MemoryNodes()
        let a = TreeReader(source: nodes, root: try SortedEntries().build(nodes).root)
        let b = TreeReader(source: nodes, root: try fixture.tree(100).build(nodes).root)
        var count = 0
        try TreeDiff.diff(a, b) { _ in
            count += 1
            return count < 7
        }
        #expect(count == 7)
    }

    @Test("the work is proportional to the difference, with and without deltas")
    func readsLittle() throws {
        let nodes = MemoryNodes()
        let before = TreeShapeTests.deepEntries(2500, seed: 4)
        let root = try before.build(nodes).root
        let depth = 1 + (try nodes.blobs.values.map { try ItemBlock.node($0.plain).level }.max() ?? 0)
        #expect(depth >= 3 && nodes.blobs.count > 50)
        var fixture = TreeFixture(seed: 9)
        for round in 0..<6 {
            var operations: [Delta.Operation] = []
            let key = before.keys[fixture.number(0..<before.count)]
            switch round % 3 {
            case 0: operations.append(Delta.Operation(key: key, change: .delete))
            case 1: operations.append(Delta.Operation(key: key, change: .put(Entry(kind: .fifo, mode: 0))))
            default:
                // Many insertions in one place move the boundaries there.
                for number in 0..<60 {
                    operations.append(
                        Delta.Operation(
                            key: key + Array("-\(number)-and-a-longer-name".utf8),
                            change: .put(Entry(kind: .fifo, mode: 1))))
                }
            }
            let delta = try Delta(operations)
            let stored = try #require(try delta.store(in: nodes))
            let state = TreeReader(source: nodes, root: root, deltas: [stored])
            let written = nodes.putOrder.count
            let folded = try TreeFold.fold(state, seed: TreeFixture.treeSeed, sink: nodes)
            // A change may move the ends of a few nodes after it; all that are new must be read.
            let new = nodes.putOrder.count - written
            for after in [state, TreeReader(source: nodes, root: folded.root)] {
                nodes.reads = 0
                #expect(try diff(TreeReader(source: nodes, root: root), after).count == operations.count)
                #expect(nodes.reads <= 6 * depth + 3 * new, "\(nodes.reads) reads in round \(round)")
            }
        }
    }

    @Test("equal roots are not read at all")
    func equalRoots() throws {
        var fixture = TreeFixture(seed: 3)
        let nodes = MemoryNodes()
        let root = try fixture.tree(1000).build(nodes).root
        nodes.reads = 0
        #expect(
            try diff(TreeReader(source: nodes, root: root), TreeReader(source: nodes, root: root)).isEmpty)
        #expect(nodes.reads == 0)
    }
}
