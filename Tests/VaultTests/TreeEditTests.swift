import Model
import Testing

@testable import Vault

extension TreeFixture {
    /// A delta of about `count` operations that mostly touch what is there.
    mutating func delta(_ count: Int, over entries: SortedEntries) throws -> Delta {
        var operations: [[UInt8]: [UInt8: Delta.Operation]] = [:]
        for _ in 0..<count {
            let path = self.path(near: entries)
            let change: Delta.Change
            switch number(0..<10) {
            case 0..<5: change = .put(entry())
            case 5..<8: change = .delete
            default:
                // The root is emptied seldom.
                if path.bytes.count < 12, number(0..<20) != 0 { continue }
                change = .deleteBelow
            }
            let operation = Delta.Operation(key: path.key, change: change)
            operations[path.key, default: [:]][change.code.rawValue] = operation
        }
        return try Delta(operations.values.flatMap { $0.values })
    }
}

@Suite("Deltas") struct DeltaTests {
    @Test("a delta gives back what was put into it", arguments: 1...20 as ClosedRange<UInt64>)
    func roundTrip(seed: UInt64) throws {
        print("seed", seed)
        var fixture = TreeFixture(seed: seed)
        let entries = fixture.tree(100)
        let delta = try fixture.delta(Int(seed) * 5, over: entries)
        let encoded = try #require(try delta.encoded())
        #expect(try Delta.decode(encoded.plain) == delta)
        #expect(Set(try ItemBlock.delta(encoded.plain).contentKeys) == Set(encoded.children))
    }

    @Test("a delta above 1 MiB does not exist")
    func tooLong() throws {
        var fixture = TreeFixture(seed: 4)
        func delta(_ count: Int) throws -> Delta {
            try Delta(
                (0..<count).map { index in
                    let path = TreePath.root.appending(Array("file-\(index)".utf8))
                    let content = EntryContent.extents([Extent(key: fixture.contentKey(), offset: 0, length: 9)])
                    return Delta.Operation(
                        key: path.key, change: .put(Entry(kind: .regular, mode: 0o644, size: 9, content: content)))
                })
        }
        let fitting = try #require(try delta(15_000).encoded())
        #expect(fitting.plain.count > 700_000)
        #expect(try delta(25_000).encoded() == nil)
    }

    @Test("an operation twice, or on a key of no path, is refused")
    func wrongOperations() throws {
        let operation = Delta.Operation(key: [0, 97], change: .delete)
        #expect(throws: HoldfastError.self) { try Delta([operation, operation]) }
        let wrong = try Delta([Delta.Operation(key: [97], change: .delete)])
        #expect(throws: HoldfastError.self) { try wrong.encoded() }
    }

    @Test("a put stands against a deletion in the same delta; an emptied directory may be filled again")
    func order() throws {
        var entries = SortedEntries()
        let file = Entry(kind: .regular, mode: 1)
        for text in ["d", "d/a", "d/b", "d/c", "e"] { entries[try #require(TreePath(text)).key] = file }
        let nodes = MemoryNodes()
        let root = try entries.build(nodes).root
        func key(_ text: String) throws -> [UInt8] { try #require(TreePath(text)).key }
        let replaced = Entry(kind: .regular, mode: 2)
        let delta = try Delta([
            Delta.Operation(key: key("d"), change: .deleteBelow),
            Delta.Operation(key: key("d/b"), change: .put(replaced)),
            Delta.Operation(key: key("d/b"), change: .delete),
            Delta.Operation(key: key("e"), change: .delete),
        ])
        let reader = TreeReader(source: nodes, root: root, unsaved: [delta])
        #expect(try reader.lookup(#require(TreePath("d"))) == file)
        #expect(try reader.lookup(#require(TreePath("d/a"))) == nil)
        #expect(try reader.lookup(#require(TreePath("d/b"))) == replaced)
        #expect(try reader.lookup(#require(TreePath("e"))) == nil)
        #expect(try reader.all().count == 2)
        // A newer delta that empties the directory takes back what the older one put there.
        let newer = try Delta([Delta.Operation(key: key("d"), change: .deleteBelow)])
        #expect(try TreeReader(source: nodes, root: root, unsaved: [delta, newer]).all().keys == [try key("d")])
        #expect(try TreeReader(source: nodes, root: root, unsaved: [newer, delta]).all().count == 2)
    }

    @Test("emptying the root leaves the root's own entry")
    func emptyRoot() throws {
        var entries = SortedEntries()
        let directory = Entry(kind: .directory, mode: 0o755)
        entries[[]] = directory
        entries[try #require(TreePath("a")).key] = directory
        entries[try #require(TreePath("a/b")).key] = directory
        let nodes = MemoryNodes()
        let root = try entries.build(nodes).root
        let delta = try Delta([Delta.Operation(key: [], change: .deleteBelow)])
        let reader = TreeReader(source: nodes, root: root, unsaved: [delta])
        #expect(try reader.all().keys == [[]])
        #expect(try reader.lookup(.root) == directory)
        #expect(try reader.lookup(#require(TreePath("a"))) == nil)
        #expect(try TreeFold.fold(reader, seed: TreeFixture.treeSeed, sink: nodes).entries == 1)
    }

    @Test(
        "the collector's delta has the effect of the changes in their order", arguments: 1...30 as ClosedRange<UInt64>)
    func collector(seed: UInt64) throws {
        print("seed", seed)
        var fixture = TreeFixture(seed: seed)
        let start = fixture.tree(60)
        var expected = start
        var collector = DeltaCollector()
        for _ in 0..<80 {
            let path = fixture.path(near: expected)
            switch fixture.number(0..<8) {
            case 0..<4:
                let entry = fixture.entry()
                collector.put(path, entry)
                expected[path.key] = entry
            case 4..<6:
                collector.delete(path)
                expected[path.key] = nil
            case 6:
                collector.deleteBelow(path)
                expected.removeBelow(path)
            default:
                collector.deleteTree(path)
                expected.removeBelow(path)
                expected[path.key] = nil
            }
        }
        var result = start
        result.apply(try collector.delta())
        #expect(result == expected)
    }
}

@Suite("States and folding") struct TreeEditTests {
    @Test(
        "root and deltas, folded, and built again from the entries are the same",
        arguments: 1...12 as ClosedRange<UInt64>)
    func foldEqualsRebuild(seed: UInt64) throws {
        print("seed", seed)
        var fixture = TreeFixture(seed: seed)
        var entries = fixture.tree([0, 1, 30, 700, 1500][Int(seed) % 5])
        let nodes = MemoryNodes()
        var root = try entries.build(nodes).root
        for round in 0..<3 {
            var keys: [ContentKey] = []
            for _ in 0..<fixture.number(1..<6) {
                let delta = try fixture.delta(fixture.number(1..<[4, 40, 300][round]), over: entries)
                keys.append(try #require(try delta.store(in: nodes)))
                entries.apply(delta)
            }
            let state = TreeReader(source: nodes, root: root, deltas: keys)
            #expect(try state.all() == entries)
            for _ in 0..<20 {
                let path = fixture.path(near: entries)
                #expect(try state.lookup(path) == entries[path.key])
                let prefix = path.childrenPrefix
                let names = entries.keys.filter { $0.starts(with: prefix) }.map { Array($0[prefix.count...]) }
                #expect(try state.list(path, limit: 5).map { Array($0.name) } == Array(names.prefix(5)))
            }
            let folded = try TreeFold.fold(state, seed: TreeFixture.treeSeed, sink: nodes)
            let rebuilt = try entries.build(nodes)
            #expect(folded == rebuilt)
            root = folded.root
        }
    }

    @Test("nodes that ended for want of room are looked at again when what follows them changes")
    func foldAfterFullNodes() throws {
        // Entries of about 3 KiB: nearly every node ends because the next entry does not fit.
        var fixture = TreeFixture(seed: 12)
        var pairs: [([UInt8], Entry)] = []
        for number in 0..<500 {
            let path = TreePath.root.appending(Array("file-\(10_000 + number)".utf8))
            pairs.append(
                (
                    path.key,
                    Entry(kind: .regular, mode: 0o644, content: .extents(fixture.extents(fixture.number(40..<65))))
                ))
        }
        var entries = SortedEntries(pairs)
        let nodes = MemoryNodes()
        var root = try entries.build(nodes).root
        for round in 0..<32 {
            // Mostly the first entry of a leaf: the leaf before ended because this one did not fit.
            let leaves = try leafFirstKeys(root, nodes)
            let key =
                round % 4 == 0
                ? entries.keys[fixture.number(0..<entries.count)] : leaves[fixture.number(0..<leaves.count)]
            var operations: [Delta.Operation] = []
            switch fixture.number(0..<3) {
            case 0: operations = [Delta.Operation(key: key, change: .delete)]
            case 1: operations = [Delta.Operation(key: key, change: .put(Entry(kind: .fifo, mode: 0)))]
            default:
                let entry = Entry(kind: .regular, mode: 1, content: .extents(fixture.extents(60)))
                operations = [Delta.Operation(key: key + [0x61], change: .put(entry))]
            }
            let delta = try Delta(operations)
            entries.apply(delta)
            let state = TreeReader(source: nodes, root: root, unsaved: [delta])
            let folded = try TreeFold.fold(state, seed: TreeFixture.treeSeed, sink: nodes)
            #expect(folded == (try entries.build(nodes)))
            root = folded.root
        }
    }

    /// The first keys of all leaves of a tree.
    private func leafFirstKeys(_ root: ContentKey, _ nodes: MemoryNodes) throws -> [[UInt8]] {
        let node = try ItemBlock.node(try nodes.node(root, type: .node))
        if node.level == 0 { return [node.firstKey] }
        return try (0..<node.count).flatMap { try leafFirstKeys(try node.child($0).key, nodes) }
    }

    @Test("folding a tree of long paths, where inner nodes end for want of room, is building it again")
    func foldDeepTree() throws {
        var fixture = TreeFixture(seed: 21)
        var entries = TreeShapeTests.deepEntries(1000, seed: 22)
        let nodes = MemoryNodes()
        var root = try entries.build(nodes).root
        for round in 0..<15 {
            var operations: [[UInt8]: Delta.Operation] = [:]
            let leaves = try leafFirstKeys(root, nodes)
            for number in 0..<[1, 3, 20][round % 3] {
                let key =
                    number % 2 == 0
                    ? entries.keys[fixture.number(0..<entries.count)] : leaves[fixture.number(0..<leaves.count)]
                switch fixture.number(0..<3) {
                case 0: operations[key] = Delta.Operation(key: key, change: .delete)
                case 1:
                    // A size of another order changes the lengths of the inner items above.
                    let entry = Entry(kind: .regular, mode: 0, size: fixture.random.next() >> UInt64(round))
                    operations[key] = Delta.Operation(key: key, change: .put(entry))
                default:
                    let new = key + fixture.name().prefix(40)
                    operations[new] = Delta.Operation(key: new, change: .put(Entry(kind: .fifo, mode: 0)))
                }
            }
            let delta = try Delta(Array(operations.values))
            entries.apply(delta)
            let state = TreeReader(source: nodes, root: root, unsaved: [delta])
            let folded = try TreeFold.fold(state, seed: TreeFixture.treeSeed, sink: nodes)
            #expect(folded == (try entries.build(nodes)))
            root = folded.root
        }
    }

    @Test("folding reads and writes in proportion to the changes")
    func foldCost() throws {
        let entries = TreeShapeTests.deepEntries(2500, seed: 3)
        let nodes = MemoryNodes()
        let root = try entries.build(nodes).root
        let depth = 1 + (try nodes.blobs.values.map { try ItemBlock.node($0.plain).level }.max() ?? 0)
        #expect(depth >= 3 && nodes.blobs.count > 50)
        var fixture = TreeFixture(seed: 14)
        for changes in [1, 5] {
            let keys = (0..<changes).map { _ in entries.keys[fixture.number(0..<entries.count)] }
            let delta = try Delta(Set(keys).map { Delta.Operation(key: $0, change: .delete) })
            nodes.reads = 0
            let written = nodes.putOrder.count
            let state = TreeReader(source: nodes, root: root, unsaved: [delta])
            _ = try TreeFold.fold(state, seed: TreeFixture.treeSeed, sink: nodes)
            #expect(nodes.reads <= 6 * depth * changes)
            #expect(nodes.putOrder.count - written <= 6 * depth * changes)
        }
    }

    @Test("folding without deltas is the tree itself")
    func foldNothing() throws {
        var fixture = TreeFixture(seed: 15)
        let nodes = MemoryNodes()
        let summary = try fixture.tree(500).build(nodes)
        let written = nodes.putOrder.count
        let state = TreeReader(source: nodes, root: summary.root)
        #expect(try TreeFold.fold(state, seed: TreeFixture.treeSeed, sink: nodes) == summary)
        #expect(nodes.putOrder.count == written)
    }

    @Test("more deltas than allowed are refused")
    func tooManyDeltas() throws {
        let nodes = MemoryNodes()
        let root = try SortedEntries().build(nodes).root
        let delta = try #require(
            try Delta([Delta.Operation(key: [0, 97], change: .delete)]).store(in: nodes))
        let state = TreeReader(source: nodes, root: root, deltas: [ContentKey](repeating: delta, count: 32))
        #expect(try state.all().count == 0)
        let hostile = TreeReader(source: nodes, root: root, deltas: [ContentKey](repeating: delta, count: 40))
        #expect(throws: HoldfastError.self) { try hostile.all() }
    }
}
