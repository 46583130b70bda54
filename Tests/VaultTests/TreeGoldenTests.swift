import Model
import TestSupport
import Testing

@testable import Vault

/// Encodings that must never change: what they write is in vaults for ever. The files are beside this one.
@Suite("Golden trees") struct TreeGoldenTests {
    private func hexLines(_ bytes: [UInt8]) -> String {
        stride(from: 0, to: bytes.count, by: 32)
            .map { Hex.encode(bytes[$0..<min($0 + 32, bytes.count)]) + "\n" }.joined()
    }

    private func key(_ byte: UInt8) -> ContentKey {
        let word = UInt64(byte) &* 0x0101_0101_0101_0101
        return ContentKey(Bytes32(w0: word, w1: word, w2: word, w3: word))
    }

    /// One entry of every kind with every field.
    private var entries: [(String, Entry)] {
        let root = Array("root".utf8)
        let time = FileTime(seconds: 1_763_683_200, nanoseconds: 123_456_789)
        return [
            ("", Entry(kind: .directory, mode: 0o755, user: root, group: root, mtime: time)),
            ("dev", Entry(kind: .directory, mode: 0o755, mtime: time, remarks: .ancestor)),
            ("dev/null", Entry(kind: .characterDevice, mode: 0o666, mtime: time, device: 1 << 32 | 3)),
            ("dev/sda", Entry(kind: .blockDevice, mode: 0o660, gid: 6, group: Array("disk".utf8), device: 8 << 32)),
            ("dev/pipe", Entry(kind: .fifo, mode: 0o600, mtime: FileTime(seconds: -1, nanoseconds: 999_999_999))),
            ("dev/log", Entry(kind: .socket, mode: 0o777, uid: .max, gid: .max, flags: 0x10)),
            (
                "etc/fstab",
                Entry(
                    kind: .regular, mode: 0o644, user: root, group: root, size: 300, mtime: time,
                    content: .extents([Extent(key: key(1), offset: 4096, length: 300)]))
            ),
            (
                "etc/hosts",
                Entry(
                    kind: .regular, mode: 0o644, user: root, group: root, size: 20, mtime: time,
                    linkGroup: LinkGroup(device: 66_305, inode: 1_234_567),
                    attributes: [
                        ExtendedAttribute(name: Array("security.capability".utf8), value: [1, 0, 0, 2]),
                        ExtendedAttribute(name: Array("user.note".utf8), value: []),
                    ], content: .extents([Extent(key: key(1), offset: 4396, length: 20)]))
            ),
            ("etc/mtab", Entry(kind: .symbolicLink, mode: 0o777, target: Array("../proc/self/mounts".utf8))),
            (
                "var/image",
                Entry(
                    kind: .regular, mode: 0o600, size: 1 << 40, mtime: time, attributesBlob: key(9), remarks: .fuzzy,
                    content: .extents([
                        Extent(key: key(2), offset: 0, length: 1 << 20),
                        Extent(key: nil, offset: 0, length: (1 << 40) - (1 << 20) - 512),
                        Extent(key: key(3), offset: 1, length: 512),
                    ]))
            ),
            (
                "var/large",
                Entry(kind: .regular, mode: 0o600, size: 1 << 30, mtime: time, content: .list(key(7), count: 4096))
            ),
            ("var/unreadable", Entry(kind: .regular, mode: 0, size: 9, remarks: [.contentMissing, .fuzzy])),
        ]
    }

    @Test("a leaf with every kind and every field") func leaf() throws {
        let nodes = MemoryNodes()
        var builder = TreeBuilder(seed: 0x0102_0304_0506_0708, sink: nodes)
        let pairs = try entries.map { (try #require(TreePath($0.0)).key, $0.1) }
        for (key, entry) in pairs.sorted(by: { ByteOrder.isLess($0.0, $1.0) }) {
            try builder.append(key: key, entry: entry)
        }
        let root = try builder.finish().root
        try assertSnapshot(hexLines(try nodes.node(root, type: .node)), named: "tree-leaf.hex")
    }

    @Test("the empty tree") func emptyTree() throws {
        let nodes = MemoryNodes()
        let root = try SortedEntries().build(nodes).root
        #expect(try nodes.node(root, type: .node) == [1, 0, 0, 0, 0])
    }

    @Test("an inner node") func inner() throws {
        let encoder = ItemEncoder()
        encoder.append(key: [], child: key(1), entries: 300, bytes: 123_456)
        encoder.append(key: Array("etc\0\0fstab".utf8), child: key(2), entries: 200, bytes: 0)
        encoder.append(key: Array("etc\0\0hosts".utf8), child: key(3), entries: 1, bytes: .max)
        try assertSnapshot(hexLines(encoder.finish(header: [1, 1])), named: "tree-inner.hex")
    }

    @Test("the nodes of a tree with boundaries on two levels") func boundaries() throws {
        let nodes = MemoryNodes()
        var builder = TreeBuilder(seed: 0x0102_0304_0506_0708, sink: nodes)
        for number in 0..<6000 {
            let path = TreePath.root.appending(Array("usr".utf8)).appending(Array("file-\(100_000 + number)".utf8))
            var entry = Entry(
                kind: .regular, mode: 0o644, size: UInt64(number), mtime: FileTime(seconds: 1, nanoseconds: 2))
            if number % 3 == 0 {
                entry.content = .extents([Extent(key: key(UInt8(number % 251)), offset: 0, length: 7)])
            }
            try builder.append(key: path.key, entry: entry)
        }
        let summary = try builder.finish()
        var text = "root \(summary.root.hex) entries \(summary.entries) bytes \(summary.bytes)\n"
        for node in nodes.putOrder {
            let block = try ItemBlock.node(try nodes.node(node, type: .node))
            text += "level \(block.level) items \(block.count) length \(block.codedLength) \(node.hex)\n"
        }
        try assertSnapshot(text, named: "tree-boundaries.txt")
    }

    @Test("a delta with every operation") func delta() throws {
        let entry = try #require(entries.first { $0.0 == "etc/hosts" }).1
        let delta = try Delta([
            Delta.Operation(key: TreePath.root.key, change: .put(entries[0].1)),
            Delta.Operation(key: try #require(TreePath("etc/hosts")).key, change: .put(entry)),
            Delta.Operation(key: try #require(TreePath("etc/hostname")).key, change: .delete),
            Delta.Operation(key: try #require(TreePath("tmp")).key, change: .put(entries[0].1)),
            Delta.Operation(key: try #require(TreePath("tmp")).key, change: .deleteBelow),
        ])
        try assertSnapshot(hexLines(try #require(try delta.encoded()).plain), named: "tree-delta.hex")
    }

    @Test("pieces of a list of extents") func extents() throws {
        let nodes = MemoryNodes()
        var builder = ExtentListBuilder(seed: 0x1112_1314_1516_1718, sink: nodes)
        var fixture = TreeFixture(seed: 7)
        for number in 0..<3000 {
            if number % 50 == 0 { try builder.append(Extent(key: nil, offset: 0, length: 4096)) }
            try builder.append(Extent(key: fixture.contentKey(), offset: UInt32(number), length: UInt64(1 + number)))
        }
        guard case .list(let root, let count) = try builder.finish() else { return }
        var text = "count \(count)\n"
        for key in nodes.putOrder {
            let piece = try ExtentPiece.decode(try nodes.node(key, type: .extents))
            text += "level \(piece.level) items \(piece.extents.count + piece.children.count) extents \(piece.count) "
            text += "bytes \(piece.bytes) \(key.hex)\n"
        }
        text += "root\n" + hexLines(try nodes.node(root, type: .extents))
        try assertSnapshot(text, named: "tree-extents.txt")
        var small = ExtentListBuilder(seed: 0, sink: nodes)
        for number in 0..<70 {
            let hole = number % 7 == 6
            try small.append(
                Extent(
                    key: hole ? nil : self.key(UInt8(number % 5)), offset: hole ? 0 : UInt32(number * 1000), length: 300
                ))
        }
        guard case .list(let piece, _) = try small.finish() else { return }
        try assertSnapshot(hexLines(try nodes.node(piece, type: .extents)), named: "tree-extents-piece.hex")
    }

    @Test("cuts of chunks and ends of bundles") func cuts() throws {
        var random = SeededGenerator(1)
        let chunker = Chunker(gearTable: (0..<256).map { _ in random.next() })
        var text = ""
        var content: [UInt8] = []
        for _ in 0..<(5 << 17) {
            withUnsafeBytes(of: random.next().littleEndian) { content.append(contentsOf: $0) }
        }
        content.withUnsafeBytes { bytes in
            var start = 0
            while start < bytes.count,
                let length = chunker.cut(UnsafeRawBufferPointer(rebasing: bytes[start...]), isLast: true)
            {
                text += "chunk \(length)\n"
                start += length
            }
            let rule = BundleRule(seed: 0x2122_2324_2526_2728)
            start = 0
            for size in [1, 100, 4096, 40_000, 65_536, 65_536, 65_536, 65_536, 30_000, 65_536, 60_000, 64_000] {
                let hash = rule.hash(UnsafeRawBufferPointer(rebasing: bytes[start..<(start + size)]))
                text += "file \(size) hash \(Hex.encode(withUnsafeBytes(of: hash.bigEndian) { Array($0) }))"
                text += " ends \(BundleRule.endsAfter(hash: hash, size: size))\n"
                start += size
            }
        }
        try assertSnapshot(text, named: "chunks.txt")
    }
}
