import Model
import Testing

@testable import Vault

@Suite("Lists of extents") struct ExtentListTests {
    private static let seed: UInt64 = 0xABCD_EF01

    private func build(_ extents: [Extent], _ nodes: MemoryNodes) throws -> EntryContent {
        var builder = ExtentListBuilder(seed: ExtentListTests.seed, sink: nodes)
        for extent in extents { try builder.append(extent) }
        #expect(builder.length == extents.reduce(0) { $0 + $1.length })
        return try builder.finish()
    }

    private func read(_ content: EntryContent, _ nodes: MemoryNodes, from start: UInt64 = 0) throws -> [Extent] {
        let empty = try SortedEntries().build(nodes)
        let reader = TreeReader(source: nodes, root: empty.root)
        var extents: [Extent] = []
        let entry = Entry(kind: .regular, mode: 0, content: content)
        var expected: UInt64?
        try reader.extents(of: entry, from: start) { extent, position in
            if let expected { #expect(position == expected) }
            expected = position + extent.length
            extents.append(extent)
            return true
        }
        return extents
    }

    private func distinct(_ count: Int, seed: UInt64) -> [Extent] {
        var fixture = TreeFixture(seed: seed)
        return (0..<count).map { _ in
            Extent(key: fixture.contentKey(), offset: 0, length: UInt64(fixture.number(1..<500_000)))
        }
    }

    @Test("lists of every length give back what was put into them", arguments: [0, 1, 64, 65, 128, 700, 20_000])
    func roundTrip(count: Int) throws {
        let extents = distinct(count, seed: UInt64(count))
        let nodes = MemoryNodes()
        let content = try build(extents, nodes)
        switch content {
        case .none: #expect(count == 0)
        case .extents(let inline): #expect(count > 0 && count <= 64 && inline == extents)
        case .list(_, let total): #expect(count > 64 && total == UInt64(count))
        }
        #expect(try read(content, nodes) == extents)
    }

    @Test("neighbours in a blob and neighbouring holes become one extent")
    func joins() throws {
        var fixture = TreeFixture(seed: 1)
        let a = fixture.contentKey()
        let b = fixture.contentKey()
        let content = try build(
            [
                Extent(key: nil, offset: 0, length: 5), Extent(key: nil, offset: 0, length: 6),
                Extent(key: a, offset: 10, length: 5), Extent(key: a, offset: 15, length: 1),
                Extent(key: a, offset: 17, length: 3), Extent(key: b, offset: 20, length: 2),
                Extent(key: b, offset: 20, length: 2), Extent(key: nil, offset: 0, length: 1),
            ], MemoryNodes())
        let joined = [
            Extent(key: nil, offset: 0, length: 11), Extent(key: a, offset: 10, length: 6),
            Extent(key: a, offset: 17, length: 3), Extent(key: b, offset: 20, length: 2),
            Extent(key: b, offset: 20, length: 2), Extent(key: nil, offset: 0, length: 1),
        ]
        #expect(content == .extents(joined))
    }

    @Test("reading may begin at any byte and then reads one piece a level")
    func randomAccess() throws {
        let extents = distinct(20_000, seed: 7)
        let nodes = MemoryNodes()
        let content = try build(extents, nodes)
        let total = extents.reduce(0) { $0 + $1.length }
        var fixture = TreeFixture(seed: 8)
        for _ in 0..<50 {
            let start = UInt64(fixture.number(0..<Int(total)))
            var position: UInt64 = 0
            let index = try #require(
                extents.firstIndex { extent in
                    position += extent.length
                    return position > start
                })
            nodes.reads = 0
            let reader = TreeReader(source: nodes, root: ContentKey(.zero))
            let entry = Entry(kind: .regular, mode: 0, content: content)
            var found: [Extent] = []
            try reader.extents(of: entry, from: start) { extent, place in
                if found.isEmpty { #expect(place <= start && start < place + extent.length) }
                found.append(extent)
                return found.count < 3
            }
            #expect(found == Array(extents[index...].prefix(3)))
            #expect(nodes.reads <= 4)
        }
        #expect(try read(content, nodes, from: total).isEmpty)
    }

    @Test("a change in a huge file makes one piece and its parents new")
    func locality() throws {
        var extents = distinct(40_000, seed: 9)
        let nodes = MemoryNodes()
        _ = try build(extents, nodes)
        let before = nodes.blobs.count
        #expect(before > 40)
        extents[17_000] = Extent(key: TreeFixture(seed: 77).withKey(), offset: 3, length: 17)
        _ = try build(extents, nodes)
        #expect(nodes.blobs.count - before <= 3)
    }

    @Test("holes in turn with data do not cut after every item")
    func alternatingHoles() throws {
        var extents: [Extent] = []
        for extent in distinct(5000, seed: 10) {
            extents.append(extent)
            extents.append(Extent(key: nil, offset: 0, length: 4096))
        }
        let nodes = MemoryNodes()
        let content = try build(extents, nodes)
        #expect(try read(content, nodes) == extents)
        for blob in nodes.blobs.values where blob.type == .extents {
            let piece = try ExtentPiece.decode(blob.plain)
            #expect(piece.extents.count <= TreeLimits.maximumPiece)
        }
    }

    @Test("a list that is not what its entry or the piece above says is refused")
    func hostile() throws {
        let nodes = MemoryNodes()
        guard case .list(let root, let count) = try build(distinct(3000, seed: 11), nodes) else {
            Issue.record("a list was expected")
            return
        }
        #expect(throws: HoldfastError.self) { try read(.list(root, count: count + 1), nodes) }
        let top = try ExtentPiece.decode(try nodes.node(root, type: .extents))
        let leaf = try #require(top.children.first)
        // A list that names itself would never end; levels end it.
        #expect(throws: HoldfastError.self) { try read(.list(leaf.key, count: leaf.extents + 1), nodes) }
        nodes.blobs[leaf.key] = nodes.blobs[root]
        #expect(throws: HoldfastError.self) { try read(.list(root, count: count), nodes) }
    }
}

extension TreeFixture {
    /// One key of its own.
    func withKey() -> ContentKey {
        var copy = self
        return copy.contentKey()
    }
}
