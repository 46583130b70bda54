package import Model

/// Makes a file's content of its extents in file order: joins neighbours, keeps few in the entry and cuts many into
/// pieces at places that the contents choose, so that a change in a huge file makes one piece and its parents new.
package struct ExtentListBuilder {
    private let seed: UInt64
    private let sink: any NodeSink
    /// The extent that the next one may continue.
    private var open: Extent?
    /// Until they are too many for an entry.
    private var inline: [Extent] = []
    private var levels: [PieceEncoder] = []
    private var count: UInt64 = 0
    private var total: UInt64 = 0

    /// - Parameters:
    ///   - seed: the extents seed of the domain.
    ///   - sink: takes the pieces, children before parents.
    package init(seed: UInt64, sink: any NodeSink) {
        self.seed = seed
        self.sink = sink
    }

    /// The bytes appended so far.
    package var length: UInt64 { total }

    /// Appends what comes next in the file. Slices of one blob that follow each other become one, and so do holes.
    package mutating func append(_ extent: Extent) throws {
        try ExtentCoding.check(extent)
        guard total.addingSaturated(extent.length) <= UInt64(Int64.max) else {
            throw HoldfastError(.internalError, "a file is longer than a file can be (a fault of this program)")
        }
        total += extent.length
        guard let last = open else {
            open = extent
            return
        }
        if last.key == extent.key,
            extent.key == nil || UInt64(last.offset) + last.length == UInt64(extent.offset)
        {
            open?.length += extent.length
            return
        }
        try settle(last)
        open = extent
    }

    /// What stands in the entry. The builder is not used again.
    package mutating func finish() throws -> EntryContent {
        if let last = open {
            open = nil
            try settle(last)
        }
        if count == 0 { return .none }
        if levels.isEmpty { return .extents(inline) }
        var level = 0
        while true {
            if level > 0, level == levels.count - 1, levels[level].isSingle, let only = levels[level].first {
                return .list(only, count: count)
            }
            if levels[level].count > 0 { try close(level) }
            level += 1
        }
    }

    private mutating func settle(_ extent: Extent) throws {
        count += 1
        if levels.isEmpty {
            if inline.count < Entry.maximumInlineExtents {
                inline.append(extent)
                return
            }
            levels.append(PieceEncoder())
            for earlier in inline { try appendExtent(earlier) }
            inline = []
        }
        try appendExtent(extent)
    }

    private mutating func appendExtent(_ extent: Extent) throws {
        levels[0].append(extent)
        try closeAfter(extent.key, 0)
    }

    private mutating func closeAfter(_ key: ContentKey?, _ level: Int) throws {
        let count = levels[level].count
        guard count >= TreeLimits.minimumPiece else { return }
        if count >= TreeLimits.maximumPiece || ExtentListBuilder.isBoundary(key, seed: seed, level: level) {
            try close(level)
        }
    }

    private mutating func close(_ level: Int) throws {
        let piece = levels[level]
        let key = try sink.put(type: .extents, plain: piece.finish(level: level), children: piece.keys)
        let extents = piece.extents
        let bytes = piece.bytes
        levels[level].reset()
        if level + 1 == levels.count {
            guard levels.count < FormatLimits.treeDepth else {
                throw HoldfastError(.internalError, "a list of extents is too deep (a fault of this program)")
            }
            levels.append(PieceEncoder())
        }
        levels[level + 1].append(child: key, extents: extents, bytes: bytes)
        try closeAfter(key, level + 1)
    }

    /// Whether a piece of the level may end after an item with this content key.
    static func isBoundary(_ key: ContentKey?, seed: UInt64, level: Int) -> Bool {
        let bytes = key?.bytes ?? .zero
        let hash = KeyedHash.xxh3((bytes.w0, bytes.w1, bytes.w2, bytes.w3), seed: seed &+ UInt64(level))
        return hash % TreeLimits.pieceBoundary == 0
    }
}

/// The items of one piece of a list of extents.
private struct PieceEncoder {
    private(set) var keys: [ContentKey] = []
    private(set) var count = 0
    private(set) var extents: UInt64 = 0
    private(set) var bytes: UInt64 = 0
    /// The first child that the level was given: the root, when it stays the only one.
    private(set) var first: ContentKey?
    private var total = 0
    private var indexes: [ContentKey: Int] = [:]
    private var items = ByteWriter()

    var isSingle: Bool { total == 1 }

    mutating func append(_ extent: Extent) {
        if let key = extent.key {
            items.varint(index(of: key) + 1)
            items.varint(UInt64(extent.offset))
        } else {
            items.varint(0)
        }
        items.varint(extent.length)
        extents += 1
        bytes += extent.length
        count += 1
    }

    mutating func append(child: ContentKey, extents childExtents: UInt64, bytes childBytes: UInt64) {
        items.varint(index(of: child))
        items.varint(childExtents)
        items.varint(childBytes)
        extents += childExtents
        bytes += childBytes
        count += 1
        if total == 0 { first = child }
        total += 1
    }

    private mutating func index(of key: ContentKey) -> Int {
        if let index = indexes[key] { return index }
        keys.append(key)
        indexes[key] = keys.count - 1
        return keys.count - 1
    }

    func finish(level: Int) -> [UInt8] {
        var writer = ByteWriter(capacity: items.bytes.count + 32 * keys.count + 16)
        writer.u8(1)
        writer.u8(UInt8(level))
        writer.varint(keys.count)
        for key in keys { writer.digest(key.bytes) }
        writer.varint(count)
        writer.raw(items.bytes)
        return writer.bytes
    }

    mutating func reset() {
        keys.removeAll(keepingCapacity: true)
        indexes.removeAll(keepingCapacity: true)
        items.bytes.removeAll(keepingCapacity: true)
        count = 0
        extents = 0
        bytes = 0
    }
}

/// A decoded piece of a list of extents, checked from end to end.
struct ExtentPiece {
    struct Child {
        var key: ContentKey
        var extents: UInt64
        var bytes: UInt64
    }

    private(set) var level = 0
    /// At level 0.
    private(set) var extents: [Extent] = []
    /// Above level 0.
    private(set) var children: [Child] = []
    /// Extents in and below the piece, and the sum of their lengths.
    private(set) var count: UInt64 = 0
    private(set) var bytes: UInt64 = 0

    static func decode(_ plain: [UInt8]) throws -> ExtentPiece {
        guard plain.count <= FormatLimits.blobPlainLength else { throw ByteReader.malformed("a piece above 1 MiB") }
        return try plain.withUnsafeBytes { try ExtentPiece($0) }
    }

    private init(_ plain: UnsafeRawBufferPointer) throws {
        var reader = ByteReader(plain)
        guard try reader.u8() == 1 else {
            throw HoldfastError(
                .damaged, "a list of extents has an unknown version; it is damaged or was written by a newer version")
        }
        level = Int(try reader.u8())
        guard level < FormatLimits.treeDepth else { throw ByteReader.malformed("a list deeper than allowed") }
        let keyCount = try reader.varint(atMost: reader.remaining / 32)
        guard keyCount <= FormatLimits.references else { throw ByteReader.malformed("too many content keys") }
        var keys: [ContentKey] = []
        keys.reserveCapacity(keyCount)
        for _ in 0..<keyCount { keys.append(ContentKey(try reader.digest())) }
        let items = try reader.varint(atMost: min(reader.remaining / 2, TreeLimits.maximumPiece))
        guard items > 0 else { throw ByteReader.malformed("an empty list of extents") }
        var use = TableUse(keysSeen: 0, keyCount: keyCount, namesSeen: 0, nameCount: 0)
        for _ in 0..<items {
            if level == 0 {
                let raw = try ExtentCoding.read(&reader, &use)
                let key = raw.key < 0 ? nil : keys[raw.key]
                extents.append(Extent(key: key, offset: raw.offset, length: raw.length))
                count += 1
                bytes = try ExtentCoding.add(bytes, raw.length)
            } else {
                let key = keys[try use.key(try reader.varint())]
                let child = Child(key: key, extents: try reader.varint(), bytes: try reader.varint())
                // Each extent has a byte at least.
                guard child.extents > 0, child.extents <= child.bytes else {
                    throw ByteReader.malformed("counts of a piece")
                }
                children.append(child)
                count = count.addingSaturated(child.extents)
                bytes = try ExtentCoding.add(bytes, child.bytes)
            }
        }
        try use.end()
        try reader.end()
    }
}

/// Reads lists of extents from hostile blobs: one piece a level in memory, no recursion.
struct ExtentListReader {
    let source: any NodeSource

    /// Gives the extents from the one that holds byte `start`, each with the place in the file where it begins.
    func read(
        _ root: ContentKey, count: UInt64, from start: UInt64, _ body: (Extent, UInt64) throws -> Bool
    ) throws {
        let top = try piece(root)
        guard top.count == count else { throw ByteReader.malformed("a list of extents has another count") }
        var stack: [(piece: ExtentPiece, index: Int)] = [(top, 0)]
        var position: UInt64 = 0
        while let (piece, index) = stack.last {
            if piece.level == 0 {
                for extent in piece.extents {
                    let end = try ExtentCoding.add(position, extent.length)
                    if end > start, try !body(extent, position) { return }
                    position = end
                }
                stack.removeLast()
                continue
            }
            guard index < piece.children.count else {
                stack.removeLast()
                continue
            }
            stack[stack.count - 1].index += 1
            let child = piece.children[index]
            let end = try ExtentCoding.add(position, child.bytes)
            if end <= start {
                position = end
                continue
            }
            let next = try self.piece(child.key)
            guard next.level == piece.level - 1, next.count == child.extents, next.bytes == child.bytes else {
                throw ByteReader.malformed("a list of extents is not what the piece above says")
            }
            stack.append((next, 0))
        }
    }

    private func piece(_ key: ContentKey) throws -> ExtentPiece {
        try ExtentPiece.decode(try source.node(key, type: .extents))
    }
}
