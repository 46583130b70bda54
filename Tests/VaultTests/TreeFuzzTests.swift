import Model
import Testing

@testable import Vault

/// Readers must take any bytes: they give a result or throw `.damaged`, they never crash, hang or take much memory.
@Suite("Hostile nodes") struct TreeFuzzTests {
    /// Changes a few bytes, cuts, inserts or repeats a part.
    private static func mutate(_ bytes: [UInt8], _ fixture: inout TreeFixture) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<fixture.number(1..<4) where !bytes.isEmpty {
            let index = fixture.number(0..<bytes.count)
            switch fixture.number(0..<8) {
            case 0: bytes[index] = UInt8(fixture.number(0..<256))
            case 1: bytes[index] ^= 1 << UInt8(fixture.number(0..<8))
            case 2: bytes[index] = 0xFF
            case 3: bytes[index] = 0
            case 4: bytes.removeSubrange(index..<min(bytes.count, index + fixture.number(1..<40)))
            case 5: bytes.insert(contentsOf: (0..<fixture.number(1..<12)).map { _ in 0xFF }, at: index)
            case 6: bytes.removeLast(bytes.count - index)
            default:
                let end = min(bytes.count, index + fixture.number(1..<60))
                bytes.insert(contentsOf: Array(bytes[index..<end]), at: index)
            }
        }
        return bytes
    }

    /// Runs `body`; an error must be `.damaged`.
    private func damagedOrFine(_ body: () throws -> Void) throws {
        do {
            try body()
        } catch let error as HoldfastError {
            #expect(error.code == .damaged, "\(error)")
        }
    }

    @Test("changed leaves, inner nodes, deltas and lists are refused or read", arguments: 1...4 as ClosedRange<UInt64>)
    func mutations(seed: UInt64) throws {
        print("seed", seed)
        var fixture = TreeFixture(seed: seed)
        let nodes = MemoryNodes()
        let entries = fixture.tree(120)
        let leaf = try nodes.node(try entries.build(nodes).root, type: .node)
        let delta = try #require(try fixture.delta(60, over: entries).encoded()).plain
        var inner: [UInt8] {
            let encoder = ItemEncoder()
            for key in entries.keys.prefix(40) {
                encoder.append(key: key, child: fixture.contentKey(), entries: 5, bytes: 77)
            }
            return encoder.finish(header: [1, 1])
        }
        var builder = ExtentListBuilder(seed: 1, sink: nodes)
        for extent in fixture.extents(200) { try builder.append(extent) }
        guard case .list(let list, _) = try builder.finish() else { return }
        let piece = try nodes.node(list, type: .extents)
        let seeds = [leaf, inner, delta]
        var refused = 0
        for round in 0..<800 {
            let bytes = TreeFuzzTests.mutate(seeds[round % 3], &fixture)
            do {
                let block = round % 3 == 2 ? try ItemBlock.delta(bytes) : try ItemBlock.node(bytes)
                // What was taken must be readable to the end, in order.
                var previous: [UInt8]?
                for index in 0..<block.count {
                    let key = block.key(index)
                    if round % 3 != 2, let previous { #expect(previous.lexicographicallyPrecedes(key)) }
                    previous = key
                    #expect(round % 3 == 2 || block.search(key) == (index, true))
                    if round % 3 == 1 { _ = try block.child(index) }
                    if round % 3 == 0 { _ = try block.entry(index) }
                }
                if round % 3 == 2 { _ = Overlay([block, block]) }
            } catch let error as HoldfastError {
                #expect(error.code == .damaged)
                refused += 1
            }
            try damagedOrFine { _ = try ExtentPiece.decode(TreeFuzzTests.mutate(piece, &fixture)) }
        }
        #expect(refused > 200)
    }

    @Test("random bytes are refused")
    func randomBytes() throws {
        var fixture = TreeFixture(seed: 99)
        for _ in 0..<2000 {
            var bytes = (0..<fixture.number(0..<80)).map { _ in UInt8(fixture.number(0..<256)) }
            if !bytes.isEmpty { bytes[0] = 1 }
            if bytes.count > 1 { bytes[1] = UInt8(fixture.number(0..<3)) }
            try damagedOrFine { _ = try ItemBlock.node(bytes) }
            try damagedOrFine { _ = try ItemBlock.delta(bytes) }
            try damagedOrFine { _ = try ExtentPiece.decode(bytes) }
        }
    }

    @Test("a tree with a changed node is refused or read, whatever is asked", arguments: 1...3 as ClosedRange<UInt64>)
    func mutatedTrees(seed: UInt64) throws {
        print("seed", seed)
        var fixture = TreeFixture(seed: seed)
        let nodes = MemoryNodes()
        let entries = TreeShapeTests.deepEntries(150, seed: seed)
        let root = try entries.build(nodes).root
        let keys = nodes.blobs.keys.sorted()
        #expect(keys.count > 5)
        let delta = try fixture.delta(10, over: entries)
        for _ in 0..<25 {
            let victim = keys[fixture.number(0..<keys.count)]
            guard let original = nodes.blobs[victim] else { continue }
            nodes.blobs[victim] = (.node, TreeFuzzTests.mutate(original.plain, &fixture))
            // Or another node in its place.
            if fixture.number(0..<3) == 0 { nodes.blobs[victim] = nodes.blobs[keys[fixture.number(0..<keys.count)]] }
            for state in [
                TreeReader(source: nodes, root: root), TreeReader(source: nodes, root: root, unsaved: [delta]),
            ] {
                try damagedOrFine { _ = try state.all() }
                try damagedOrFine { _ = try state.lookup(fixture.path(near: entries)) }
                try damagedOrFine { _ = try state.list(fixture.path(near: entries), limit: 10) }
                try damagedOrFine { _ = try TreeFold.fold(state, seed: 1, sink: MemoryNodes()) }
            }
            nodes.blobs[victim] = original
        }
    }

    @Test("a tower of nodes that name themselves ends")
    func selfReference() throws {
        final class Loop: NodeSource {
            var plain: [UInt8] = []
            func node(_ key: ContentKey, type: BlobType) throws -> [UInt8] { plain }
        }
        let key = ContentKey(.zero)
        let encoder = ItemEncoder()
        encoder.append(key: [], child: key, entries: 1, bytes: 0)
        let source = Loop()
        source.plain = encoder.finish(header: [1, 31])
        let reader = TreeReader(source: source, root: key)
        #expect(throws: HoldfastError.self) { try reader.all() }
        #expect(throws: HoldfastError.self) { try reader.lookup(.root) }
        source.plain[1] = 32
        #expect(throws: HoldfastError.self) { try TreeReader(source: source, root: key).all() }
    }

    @Test("keys that unfold into gigabytes take no memory in nodes, and are refused in deltas")
    func keyBomb() throws {
        // Each key is 60,000 bytes and one more byte than the one before.
        func plain(isDelta: Bool) -> [UInt8] {
            var writer = ByteWriter()
            writer.u8(1)
            if !isDelta { writer.u8(0) }
            writer.varint(0)
            writer.varint(0)
            writer.varint(5000)
            for index in 0..<5000 {
                if isDelta { writer.u8(2) }
                if index == 0 {
                    writer.varint(0)
                    writer.counted([0] + [UInt8](repeating: 97, count: 200))
                } else if isDelta {
                    writer.varint(200 + index)
                    writer.counted([97])
                } else {
                    writer.varint(200 + index)
                    writer.counted([97])
                }
                if !isDelta { writer.raw([1, 0, 0, 0, 0, 0, 0, 0]) }
            }
            return writer.bytes
        }
        let node = try ItemBlock.node(plain(isDelta: false))
        #expect(node.count == 5000)
        #expect(node.footprint < 400_000)
        #expect(node.key(4999).count == 201 + 4999)
        #expect(throws: HoldfastError.self) { try ItemBlock.delta(plain(isDelta: true)) }
    }
}
