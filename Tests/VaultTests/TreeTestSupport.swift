import Crypto
import Model

@testable import Vault

/// Keeps nodes in memory under plain HMACs and counts what is read and written.
final class MemoryNodes: NodeSink, NodeSource {
    var blobs: [ContentKey: (type: BlobType, plain: [UInt8])] = [:]
    var putOrder: [ContentKey] = []
    var reads = 0

    static let secret = SymmetricKey(data: (0..<32).map { UInt8($0) })

    func put(type: BlobType, plain: [UInt8], children: [ContentKey]) throws -> ContentKey {
        var mac = HMAC<SHA256>(key: MemoryNodes.secret)
        mac.update(data: [type.rawValue])
        mac.update(data: plain)
        guard let bytes = Bytes32(Array(mac.finalize())) else { throw HoldfastError(.internalError, "HMAC") }
        let key = ContentKey(bytes)
        blobs[key] = (type, plain)
        putOrder.append(key)
        return key
    }

    func node(_ key: ContentKey, type: BlobType) throws -> [UInt8] {
        reads += 1
        guard let blob = blobs[key], blob.type == type else { throw HoldfastError(.notFound, "no such node") }
        return blob.plain
    }
}

/// SplitMix64: the same numbers for the same seed everywhere.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// Random entries, paths and trees for properties.
struct TreeFixture {
    var random: SeededGenerator
    init(seed: UInt64) { random = SeededGenerator(seed) }

    static let treeSeed: UInt64 = 0x1234_5678_9ABC_DEF0

    mutating func number(_ range: Range<Int>) -> Int { Int.random(in: range, using: &random) }

    mutating func contentKey() -> ContentKey {
        ContentKey(Bytes32(w0: random.next(), w1: random.next(), w2: random.next(), w3: random.next()))
    }

    /// A name with any byte that Linux allows; short ones often, so that names are prefixes of each other.
    mutating func name() -> [UInt8] {
        let length = number(0..<40) == 0 ? number(200..<256) : number(0..<3) == 0 ? number(1..<3) : number(1..<14)
        while true {
            let alphabet = number(0..<2) == 0
            let name = (0..<length).map { _ -> UInt8 in
                alphabet ? [0x61, 0x62, 0x21, 0x01, 0xFF][number(0..<5)] : UInt8(number(1..<256))
            }
            if TreePath.isName(name) { return name }
        }
    }

    mutating func extents(_ count: Int) -> [Extent] {
        (0..<count).map { _ in
            if number(0..<8) == 0 { return Extent(key: nil, offset: 0, length: UInt64(number(1..<1 << 40))) }
            let offset = number(0..<1 << 19)
            return Extent(key: contentKey(), offset: UInt32(offset), length: UInt64(number(1..<1 << 19)))
        }
    }

    mutating func entry() -> Entry {
        var entry = Entry(
            kind: EntryKind.allCases[number(0..<EntryKind.allCases.count)], mode: UInt16(number(0..<0o10000)))
        entry.uid = number(0..<3) == 0 ? UInt32.random(in: 0...UInt32.max, using: &random) : 0
        entry.gid = number(0..<3) == 0 ? UInt32.random(in: 0...UInt32.max, using: &random) : 0
        entry.user = [Array("root".utf8), Array("daemon".utf8), [], name()][number(0..<4)]
        entry.group = [Array("root".utf8), Array("daemon".utf8), [], Array("wheel".utf8)][number(0..<4)]
        entry.size = number(0..<30) == 0 ? random.next() : UInt64(number(0..<1 << 20))
        entry.mtime = FileTime(
            seconds: number(0..<10) == 0 ? Int64(bitPattern: random.next()) : Int64(number(0..<2_000_000_000)),
            nanoseconds: UInt32(number(0..<1_000_000_000)))
        if number(0..<12) == 0 { entry.linkGroup = LinkGroup(device: random.next(), inode: random.next()) }
        if number(0..<8) == 0 { entry.target = (0..<number(1..<80)).map { _ in UInt8(number(0..<256)) } }
        if number(0..<12) == 0 { entry.device = random.next() }
        switch number(0..<12) {
        case 0:
            let names = Set((0..<number(1..<5)).map { _ in name() }).sorted { $0.lexicographicallyPrecedes($1) }
            entry.attributes = names.map {
                ExtendedAttribute(name: $0, value: (0..<number(0..<100)).map { _ in UInt8(number(0..<256)) })
            }
        case 1: entry.attributesBlob = contentKey()
        default: break
        }
        if number(0..<12) == 0 { entry.flags = UInt32(number(1..<1 << 20)) }
        if number(0..<12) == 0 { entry.remarks = Entry.Remarks(rawValue: UInt8(number(1..<8))) }
        switch number(0..<6) {
        case 0: break
        case 1: entry.content = .extents(extents(number(1..<(number(0..<6) == 0 ? 65 : 4))))
        case 2 where number(0..<4) == 0: entry.content = .list(contentKey(), count: UInt64(number(65..<1000)))
        default: entry.content = .extents(extents(1))
        }
        return entry
    }

    /// A sorted map of about `count` random paths, directories before what is in them where they have entries.
    mutating func tree(_ count: Int) -> SortedEntries {
        var entries = SortedEntries()
        var directories: [TreePath] = [.root]
        while entries.count < count {
            let parent = directories[number(0..<directories.count)]
            let path = parent.appending(name())
            if path.bytes.count > 20_000 { continue }
            entries[path.key] = entry()
            if number(0..<6) == 0 { directories.append(path) }
        }
        return entries
    }

    /// A path that is in the map or near one that is.
    mutating func path(near entries: SortedEntries) -> TreePath {
        guard !entries.keys.isEmpty, let path = TreePath(key: entries.keys[number(0..<entries.count)]) else {
            return TreePath.root.appending(name())
        }
        switch number(0..<4) {
        case 0: return path.appending(name())
        case 1: return path.parent?.appending(name()) ?? path
        case 2: return path.parent ?? path
        default: return path
        }
    }
}

/// The model that trees are compared with: a sorted array of keys and a dictionary.
struct SortedEntries: Equatable {
    private(set) var values: [[UInt8]: Entry] = [:]
    private(set) var keys: [[UInt8]] = []
    var count: Int { values.count }

    init(values: [[UInt8]: Entry] = [:]) {
        self.values = values
        keys = values.keys.sorted { ByteOrder.isLess($0, $1) }
    }

    subscript(key: [UInt8]) -> Entry? {
        get { values[key] }
        set {
            let wasThere = values.updateValue(newValue ?? Entry(kind: .regular, mode: 0), forKey: key) != nil
            if newValue == nil { values[key] = nil }
            if wasThere == (newValue != nil) { return }
            let index = lowerBound(key)
            if wasThere { keys.remove(at: index) } else { keys.insert(key, at: index) }
        }
    }

    /// The index of the first key that is not below `key`.
    func lowerBound(_ key: [UInt8]) -> Int {
        var low = 0
        var high = keys.count
        while low < high {
            let middle = (low + high) / 2
            if keys[middle].lexicographicallyPrecedes(key) { low = middle + 1 } else { high = middle }
        }
        return low
    }

    mutating func removeBelow(_ path: TreePath) {
        let prefix = path.subtreePrefix
        keys.removeAll { key in
            guard !key.isEmpty, key.starts(with: prefix) else { return false }
            values[key] = nil
            return true
        }
    }

    /// The exact meaning of a delta: emptied directories first, then deletions, then what is put.
    mutating func apply(_ delta: Delta) {
        for operation in delta.operations {
            if case .deleteBelow = operation.change, let path = TreePath(key: operation.key) { removeBelow(path) }
        }
        for operation in delta.operations { if case .delete = operation.change { self[operation.key] = nil } }
        for operation in delta.operations {
            if case .put(let entry) = operation.change { self[operation.key] = entry }
        }
    }

    func build(_ nodes: MemoryNodes, seed: UInt64 = TreeFixture.treeSeed) throws -> TreeSummary {
        var builder = TreeBuilder(seed: seed, sink: nodes)
        for key in keys {
            guard let entry = values[key] else { continue }
            try builder.append(key: key, entry: entry)
        }
        return try builder.finish()
    }
}

extension TreeReader {
    /// Everything by scanning.
    func all() throws -> SortedEntries {
        var entries = SortedEntries()
        var previous: [UInt8]?
        try scan { item in
            if let previous, !previous.lexicographicallyPrecedes(item.key) {
                throw HoldfastError(.internalError, "scan out of order")
            }
            previous = item.key
            entries[item.key] = try item.entry()
            return true
        }
        return entries
    }
}
