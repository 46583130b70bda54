import Model
import Testing

@testable import Vault

@Suite("Trees") struct TreeTests {
    @Test("a tree gives back what was put into it", arguments: [0, 1, 2, 50, 3000])
    func roundTrip(count: Int) throws {
        let seed = UInt64(count) + 17
        print("seed", seed)
        var fixture = TreeFixture(seed: seed)
        let entries = fixture.tree(count)
        let nodes = MemoryNodes()
        let summary = try entries.build(nodes)
        #expect(summary.entries == UInt64(count))
        #expect(summary.bytes == entries.values.values.reduce(0) { $0.addingSaturated($1.size) })
        let reader = TreeReader(source: nodes, root: summary.root)
        #expect(try reader.all() == entries)
        #expect(try reader.baseTotals() == (summary.entries, summary.bytes))
        for key in entries.keys { #expect(try reader.find(key)?.entry() == entries[key]) }
        for _ in 0..<500 {
            let path = fixture.path(near: entries)
            #expect(try reader.lookup(path) == entries[path.key])
        }
    }

    @Test("a scan may begin anywhere")
    func scanFrom() throws {
        var fixture = TreeFixture(seed: 5)
        let entries = fixture.tree(2000)
        let nodes = MemoryNodes()
        let reader = TreeReader(source: nodes, root: try entries.build(nodes).root)
        for _ in 0..<200 {
            let start = fixture.path(near: entries).key
            var found: [[UInt8]] = []
            try reader.scan(from: start) { item in
                found.append(item.key)
                return found.count < 5
            }
            #expect(found == Array(entries.keys[entries.lowerBound(start)...].prefix(5)))
        }
        // Beyond the end there is nothing.
        try reader.scan(from: [255, 255, 255, 255]) { item in
            #expect(!item.key.lexicographicallyPrecedes([255, 255, 255, 255]))
            return true
        }
    }

    @Test("a directory is listed by name, page by page, and what is below it on its own")
    func lists() throws {
        var fixture = TreeFixture(seed: 6)
        let entries = fixture.tree(3000)
        let nodes = MemoryNodes()
        let reader = TreeReader(source: nodes, root: try entries.build(nodes).root)
        var children: [TreePath: [[UInt8]]] = [:]
        for key in entries.keys {
            guard let path = TreePath(key: key), let parent = path.parent else { continue }
            children[parent, default: []].append(Array(path.name))
        }
        #expect(children.count > 100)
        for (directory, names) in children.sorted(by: { $0.value.count > $1.value.count }).prefix(12) {
            var listed: [[UInt8]] = []
            while true {
                let page = try reader.list(directory, after: listed.last, limit: 7)
                listed += page.map { Array($0.name) }
                if page.count < 7 { break }
            }
            #expect(listed == names)
            var below: [[UInt8]] = []
            try reader.scan(below: directory) { item in
                below.append(item.key)
                return true
            }
            #expect(below == entries.keys.filter { TreePath(key: $0).map { directory.contains($0) } ?? false })
        }
        #expect(try reader.list(.root, limit: 0).isEmpty)
    }

    @Test("a directory is listed without reading what is below it")
    func listReadsLittle() throws {
        let nodes = MemoryNodes()
        var entries: [(TreePath, Entry)] = []
        for directory in 0..<60 {
            let path = TreePath.root.appending(Array("dir\(directory)".utf8))
            entries.append((path, Entry(kind: .directory, mode: 0o755)))
            for file in 0..<300 {
                entries.append(
                    (
                        path.appending(Array("file with a longer name \(file)".utf8)),
                        Entry(
                            kind: .regular, mode: 0o644, size: 1,
                            mtime: FileTime(seconds: 1_700_000_000, nanoseconds: 5))
                    ))
            }
        }
        var builder = TreeBuilder(seed: 1, sink: nodes)
        for (path, entry) in entries.sorted(by: { ByteOrder.isLess($0.0.key, $1.0.key) }) {
            try builder.append(key: path.key, entry: entry)
        }
        let reader = TreeReader(source: nodes, root: try builder.finish().root)
        #expect(nodes.blobs.count > 20)
        #expect(try reader.list(.root, limit: 1000).count == 60)
        #expect(nodes.reads <= 3)
    }

    @Test("paths far longer than PATH_MAX, and names that begin each other, keep their order")
    func longAndNested() throws {
        var entries = SortedEntries()
        var path = TreePath.root
        for level in 0..<60 {
            path = path.appending([UInt8](repeating: UInt8(1 + level % 46), count: 255))
            entries[path.key] = Entry(kind: .directory, mode: 0o700)
        }
        for text in ["a", "a!", "a/b", "a!/b", "a/b/c", "a!b", "a\u{1}", "a\u{1}/b"] {
            guard let path = TreePath(text) else { continue }
            entries[path.key] = Entry(kind: .directory, mode: 0o755, uid: 1)
        }
        entries[[]] = Entry(kind: .directory, mode: 0o755)
        let nodes = MemoryNodes()
        let summary = try entries.build(nodes)
        let reader = TreeReader(source: nodes, root: summary.root)
        #expect(try reader.all() == entries)
        for key in entries.keys { #expect(try reader.find(key) != nil) }
        #expect(try reader.list(.root, limit: 10).map { Array($0.name) }.contains(Array("a!".utf8)))
        #expect(try reader.list(#require(TreePath("a")), limit: 10).map { Array($0.name) } == [Array("b".utf8)])
    }

    @Test("keys that share nothing and fill half a node make no tower of nodes")
    func hugeKeys() throws {
        let nodes = MemoryNodes()
        var builder = TreeBuilder(seed: 9, sink: nodes)
        for byte in 1..<UInt8(200) {
            // Not the key of any path, but the tree takes any bytes.
            let key = [UInt8](repeating: byte, count: FormatLimits.keyLength)
            try builder.append(key: key, entry: Entry(kind: .regular, mode: 0))
        }
        let summary = try builder.finish()
        #expect(nodes.blobs.values.allSatisfy { $0.plain.count <= FormatLimits.blobPlainLength })
        let reader = TreeReader(source: nodes, root: summary.root)
        var count = 0
        try reader.scan { _ in
            count += 1
            return true
        }
        #expect(count == 199)
        #expect(throws: HoldfastError.self) {
            var builder = TreeBuilder(seed: 9, sink: nodes)
            try builder.append(
                key: [UInt8](repeating: 1, count: FormatLimits.keyLength + 1), entry: Entry(kind: .regular, mode: 0))
        }
    }

    @Test("keys that do not ascend are refused")
    func order() throws {
        var builder = TreeBuilder(seed: 9, sink: MemoryNodes())
        try builder.append(key: [0, 2], entry: Entry(kind: .regular, mode: 0))
        #expect(throws: HoldfastError.self) { try builder.append(key: [0, 2], entry: Entry(kind: .regular, mode: 0)) }
        #expect(throws: HoldfastError.self) { try builder.append(key: [0, 1], entry: Entry(kind: .regular, mode: 0)) }
        try builder.append(key: [0, 3], entry: Entry(kind: .regular, mode: 0))
        #expect(try builder.finish().entries == 2)
    }

    @Test("entries that no reader would take are refused by the writer")
    func refusedEntries() throws {
        let key = ContentKey(.zero)
        var wrong: [Entry] = []
        wrong.append(Entry(kind: .regular, mode: 0o10000))
        wrong.append(Entry(kind: .regular, mode: 0, mtime: FileTime(seconds: 0, nanoseconds: 1_000_000_000)))
        wrong.append(Entry(kind: .regular, mode: 0, content: .extents([Extent(key: key, offset: 0, length: 0)])))
        wrong.append(Entry(kind: .regular, mode: 0, content: .extents([Extent(key: key, offset: 1, length: 1 << 20)])))
        wrong.append(
            Entry(
                kind: .regular, mode: 0,
                content: .extents((0..<65).map { Extent(key: key, offset: UInt32($0) * 2, length: 1) })))
        wrong.append(
            Entry(
                kind: .regular, mode: 0,
                attributes: [ExtendedAttribute(name: [98], value: []), ExtendedAttribute(name: [97], value: [])]))
        wrong.append(
            Entry(
                kind: .regular, mode: 0,
                attributes: [ExtendedAttribute(name: [98], value: [UInt8](repeating: 0, count: 16 << 10))]))
        wrong.append(Entry(kind: .regular, mode: 0, content: .list(key, count: 0)))
        for entry in wrong {
            var builder = TreeBuilder(seed: 9, sink: MemoryNodes())
            #expect(throws: HoldfastError.self) { try builder.append(key: [], entry: entry) }
        }
    }

    @Test("attributes are the same in an entry and in a blob of their own")
    func attributes() throws {
        let attributes = [
            ExtendedAttribute(name: Array("security.capability".utf8), value: [1, 2, 3]),
            ExtendedAttribute(name: Array("user.big".utf8), value: [UInt8](repeating: 7, count: 20_000)),
        ]
        let bytes = try AttributeCoding.encode(attributes)
        #expect(bytes.count == AttributeCoding.encodedLength(attributes))
        #expect(try bytes.withUnsafeBytes { try AttributeCoding.decode($0) } == attributes)
        #expect(throws: HoldfastError.self) {
            try (bytes + [0]).withUnsafeBytes { _ = try AttributeCoding.decode($0) }
        }
    }
}

@Suite("Shape of trees") struct TreeShapeTests {
    /// A machine-like tree: directories of files with a few hundred bytes of metadata in all.
    static func entries(directories: Int, files: Int, seed: UInt64) -> SortedEntries {
        var fixture = TreeFixture(seed: seed)
        var keys: [([UInt8], Entry)] = []
        for directory in 0..<directories {
            let path = TreePath.root.appending(Array("usr".utf8)).appending(Array("directory-\(directory)".utf8))
            keys.append((path.key, Entry(kind: .directory, mode: 0o755, user: Array("root".utf8))))
            for file in 0..<files {
                var entry = Entry(kind: .regular, mode: 0o644, user: Array("root".utf8), group: Array("root".utf8))
                entry.size = UInt64(fixture.number(1..<200_000))
                entry.mtime = FileTime(seconds: 1_700_000_000, nanoseconds: UInt32(fixture.number(0..<1_000_000_000)))
                entry.content = .extents([Extent(key: fixture.contentKey(), offset: 0, length: entry.size)])
                keys.append((path.appending(Array("file-\(file * 7919 % 100_003).so".utf8)).key, entry))
            }
        }
        return SortedEntries(keys)
    }

    /// Few entries, but a tree of three levels: every path has about 4,000 bytes of its own.
    static func deepEntries(_ count: Int, seed: UInt64) -> SortedEntries {
        var fixture = TreeFixture(seed: seed)
        var pairs: [([UInt8], Entry)] = []
        for _ in 0..<count {
            var bytes: [UInt8] = []
            for component in 0..<20 {
                if component > 0 { bytes.append(UInt8(ascii: "/")) }
                for _ in 0..<25 {
                    // Eight random bytes, none of them a zero or a slash.
                    var word = fixture.random.next()
                    for _ in 0..<8 {
                        bytes.append(0x61 &+ UInt8(word & 15))
                        word >>= 4
                    }
                }
            }
            pairs.append((TreePath(unchecked: bytes).key, Entry(kind: .regular, mode: 0o600, size: 5)))
        }
        return SortedEntries(pairs)
    }

    @Test("nodes have 8 to 128 KiB, about 32 on average, also where every entry has its own blob")
    func nodeSizes() throws {
        let nodes = MemoryNodes()
        let summary = try TreeShapeTests.entries(directories: 40, files: 300, seed: 1).build(nodes)
        #expect(summary.entries == 40 * 301)
        var leaves: [Int] = []
        for blob in nodes.blobs.values {
            let node = try ItemBlock.node(blob.plain)
            #expect(node.codedLength <= TreeLimits.maximumNode)
            if node.level == 0 { leaves.append(node.codedLength) }
        }
        // The last may be short.
        #expect(leaves.count { $0 < TreeLimits.minimumNode } <= 1)
        let average = leaves.reduce(0, +) / leaves.count
        #expect(average > 20 << 10 && average < 48 << 10, "average \(average)")
    }

    @Test("a change of metadata makes one node a level new, an insertion few")
    func locality() throws {
        let nodes = MemoryNodes()
        var entries = TreeShapeTests.entries(directories: 20, files: 300, seed: 2)
        _ = try entries.build(nodes)
        let depth = 1 + (try nodes.blobs.values.map { try ItemBlock.node($0.plain).level }.max() ?? 0)
        var fixture = TreeFixture(seed: 8)
        for _ in 0..<6 {
            let before = Set(nodes.blobs.keys)
            let key = entries.keys[fixture.number(0..<entries.count)]
            entries[key]?.mtime.nanoseconds ^= 1
            _ = try entries.build(nodes)
            #expect(nodes.blobs.count - before.count <= depth)
        }
        for number in 0..<6 {
            let before = Set(nodes.blobs.keys)
            let near = entries.keys[fixture.number(0..<entries.count)]
            entries[near + Array("-new-\(number)".utf8)] = Entry(kind: .fifo, mode: 0)
            _ = try entries.build(nodes)
            #expect(nodes.blobs.count - before.count <= 4 * depth)
        }
    }
}

extension SortedEntries {
    /// From pairs in any order, faster than one by one.
    init(_ pairs: [([UInt8], Entry)]) {
        self.init(values: Dictionary(pairs) { $1 })
    }
}
