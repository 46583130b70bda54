import Model

/// A decoded node or delta: checked from end to end, its items in place.
///
/// The keys stay in their prefix-compressed form, because unfolding them could turn a hostile blob of 1 MiB into
/// gigabytes; searching works on that form. Whatever was checked here is not checked again by those who use it.
final class ItemBlock {
    struct Item {
        /// How many bytes of the key before begin this key.
        var shared: UInt32
        /// Where the rest of the key lies in `plain`, and how long it is.
        var rest: UInt32
        var restLength: UInt32
        /// Where the entry, or what names the child, begins in `plain`.
        var payload: UInt32
        /// The code of a delta's operation; 0 in nodes.
        var code: UInt8
    }

    struct Child {
        var key: ContentKey
        var entries: UInt64
        var bytes: UInt64
    }

    /// 0 for leaves and deltas.
    let level: Int
    let count: Int
    let firstKey: [UInt8]
    let lastKey: [UInt8]
    /// Entries at and below this node, and the sum of their sizes.
    let entries: UInt64
    let bytes: UInt64
    /// The length that decides about boundaries.
    let codedLength: Int
    /// About how much memory this takes.
    let footprint: Int

    private let names: [[UInt8]]
    private let keyCount: Int
    private let keysOffset: Int
    /// The blob's plaintext, owned.
    private let plain: UnsafeRawBufferPointer
    /// Owned.
    private let items: UnsafeMutableBufferPointer<Item>

    /// Decodes a node; throws `.damaged` for anything that the format does not allow.
    static func node(_ plain: [UInt8]) throws -> ItemBlock { try ItemBlock(plain, isDelta: false) }

    /// Decodes a delta.
    static func delta(_ plain: [UInt8]) throws -> ItemBlock { try ItemBlock(plain, isDelta: true) }

    private init(_ bytes: [UInt8], isDelta: Bool) throws {
        guard bytes.count <= FormatLimits.blobPlainLength else { throw ByteReader.malformed("a node above 1 MiB") }
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(bytes.count, 1), alignment: 16)
        copy.copyBytes(from: bytes)
        let plain = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(copy)[..<bytes.count])
        var items = UnsafeMutableBufferPointer<Item>(start: nil, count: 0)
        do {
            var reader = ByteReader(plain)
            guard try reader.u8() == 1 else {
                throw HoldfastError(
                    .damaged, "a tree node has an unknown version; it is damaged or was written by a newer version")
            }
            level = isDelta ? 0 : Int(try reader.u8())
            guard level < FormatLimits.treeDepth else { throw ByteReader.malformed("a tree deeper than allowed") }
            keyCount = try reader.varint(atMost: reader.remaining / 32)
            guard keyCount <= FormatLimits.references else { throw ByteReader.malformed("too many content keys") }
            keysOffset = reader.offset
            _ = try reader.slice(keyCount * 32)
            var names: [[UInt8]] = []
            var namesLength = 0
            let nameCount = try reader.varint(atMost: level > 0 ? 0 : reader.remaining / 2)
            names.reserveCapacity(nameCount)
            for _ in 0..<nameCount {
                let start = reader.offset
                let name = try reader.counted(atMost: TreeLimits.nameLength)
                guard !name.isEmpty else { throw ByteReader.malformed("empty name") }
                names.append(name)
                namesLength += reader.offset - start
            }
            self.names = names
            // The smallest item: two bytes of key, and nine of an entry, three of a child, or one code.
            count = try reader.varint(atMost: reader.remaining / (isDelta ? 3 : level > 0 ? 5 : 10))
            guard level == 0 || count > 0 else { throw ByteReader.malformed("an inner node without children") }
            items = .allocate(capacity: count)
            let itemsStart = reader.offset
            var use = TableUse(keysSeen: 0, keyCount: keyCount, namesSeen: 0, nameCount: nameCount)
            var walk = Walk()
            if isDelta {
                try walk.readOperations(&reader, &use, items, count)
            } else if level == 0 {
                try walk.readEntries(&reader, &use, items, count)
            } else {
                try walk.readChildren(&reader, &use, items, count)
            }
            try use.end()
            try reader.end()
            firstKey = walk.firstKey
            lastKey = walk.key
            entries = walk.entries
            self.bytes = walk.bytes
            codedLength = reader.offset - itemsStart + 32 * keyCount + namesLength
            footprint = plain.count + count * MemoryLayout<Item>.stride + nameCount * 48 + lastKey.count + 512
        } catch {
            copy.deallocate()
            items.deallocate()
            throw error
        }
        self.plain = plain
        self.items = items
    }

    deinit {
        UnsafeMutableRawBufferPointer(mutating: plain).deallocate()
        items.deallocate()
    }

    /// Reads the items one after the other, checking the order of their keys on the way.
    private struct Walk {
        var firstKey: [UInt8] = []
        /// The key of the item read last.
        var key: [UInt8] = []
        var entries: UInt64 = 0
        var bytes: UInt64 = 0

        mutating func readEntries(
            _ reader: inout ByteReader, _ use: inout TableUse, _ items: UnsafeMutableBufferPointer<Item>, _ count: Int
        ) throws {
            for index in 0..<count {
                try readKey(&reader, &items[index], isFirst: index == 0, mayRepeat: false)
                let layout = try EntryLayout(&reader, &use)
                bytes = bytes.addingSaturated(layout.size)
            }
            entries = UInt64(count)
        }

        mutating func readChildren(
            _ reader: inout ByteReader, _ use: inout TableUse, _ items: UnsafeMutableBufferPointer<Item>, _ count: Int
        ) throws {
            for index in 0..<count {
                try readKey(&reader, &items[index], isFirst: index == 0, mayRepeat: false)
                _ = try use.key(try reader.varint())
                let childEntries = try reader.varint()
                guard childEntries > 0 else { throw ByteReader.malformed("an empty child") }
                entries = entries.addingSaturated(childEntries)
                bytes = bytes.addingSaturated(try reader.varint())
            }
        }

        mutating func readOperations(
            _ reader: inout ByteReader, _ use: inout TableUse, _ items: UnsafeMutableBufferPointer<Item>, _ count: Int
        ) throws {
            var previous: UInt8 = 0
            var keysLength = 0
            for index in 0..<count {
                let code = try reader.u8()
                guard DeltaCode(rawValue: code) != nil else { throw ByteReader.malformed("code of an operation") }
                try readKey(&reader, &items[index], isFirst: index == 0, mayRepeat: code > previous)
                items[index].code = code
                previous = code
                keysLength += key.count
                guard keysLength <= TreeLimits.deltaKeysLength else { throw ByteReader.malformed("keys too long") }
                guard TreePath(key: key) != nil else { throw ByteReader.malformed("key of no path") }
                if code == DeltaCode.put.rawValue { _ = try EntryLayout(&reader, &use) }
            }
        }

        /// The order is seen from the first byte that differs: the shared part must be as long as can be.
        @inline(__always)
        private mutating func readKey(
            _ reader: inout ByteReader, _ item: inout Item, isFirst: Bool, mayRepeat: Bool
        ) throws {
            let shared = try reader.varint(atMost: key.count)
            let length = try reader.varint(atMost: FormatLimits.keyLength - shared)
            let start = reader.offset
            let rest = try reader.slice(length)
            item = Item(
                shared: UInt32(shared), rest: UInt32(start), restLength: UInt32(length), payload: UInt32(reader.offset),
                code: 0)
            if isFirst {
                firstKey = Array(rest)
                key = firstKey
                key.reserveCapacity(256)
                return
            }
            if length == 0 {
                guard mayRepeat, shared == key.count else { throw ByteReader.malformed("keys out of order") }
                return
            }
            if shared < key.count {
                guard rest[0] > key[shared] else { throw ByteReader.malformed("keys out of order") }
                key.removeLast(key.count - shared)
            }
            key.append(contentsOf: rest)
        }
    }

    // MARK: Items

    @inline(__always)
    func shared(_ index: Int) -> Int { Int(items[index].shared) }

    /// The part of the key that is not shared with the key before; valid while the block lives.
    @inline(__always)
    func rest(_ index: Int) -> UnsafeRawBufferPointer {
        let item = items[index]
        let start = Int(item.rest)
        return UnsafeRawBufferPointer(rebasing: plain[start..<(start + Int(item.restLength))])
    }

    func code(_ index: Int) -> UInt8 { items[index].code }

    /// The content key with the given index of the table.
    func contentKey(_ index: Int) -> ContentKey {
        precondition(index < keyCount)
        let start = keysOffset + 32 * index
        return ContentKey(Bytes32(UnsafeRawBufferPointer(rebasing: plain[start..<(start + 32)])))
    }

    /// Every content key that the block names.
    var contentKeys: [ContentKey] { (0..<keyCount).map { contentKey($0) } }

    func child(_ index: Int) throws -> Child {
        var reader = self.reader(index)
        let key = contentKey(Int(try reader.varint()))
        return Child(key: key, entries: try reader.varint(), bytes: try reader.varint())
    }

    func layout(_ index: Int) throws -> EntryLayout {
        var reader = self.reader(index)
        var use = fullUse
        return try EntryLayout(&reader, &use)
    }

    /// The whole entry.
    func entry(_ index: Int) throws -> Entry {
        var reader = self.reader(index)
        var use = fullUse
        let layout = try EntryLayout(&reader, &use)
        var entry = Entry(
            kind: layout.kind, mode: layout.mode, uid: layout.uid, gid: layout.gid, size: layout.size,
            mtime: layout.mtime)
        let presence = layout.presence
        if presence == 0 { return entry }
        if presence & EntryField.user != 0 { entry.user = names[layout.user] }
        if presence & EntryField.group != 0 { entry.group = names[layout.group] }
        if presence & EntryField.linkGroup != 0 { entry.linkGroup = layout.linkGroup }
        // Offsets of the layout count from the payload, where its reader began.
        let payload = Int(items[index].payload)
        if presence & EntryField.target != 0 {
            let start = payload + layout.targetStart
            entry.target = Array(plain[start..<(start + layout.targetLength)])
        }
        entry.device = layout.device
        if presence & EntryField.attributes != 0 {
            var field = ByteReader(UnsafeRawBufferPointer(rebasing: plain[(payload + layout.attributesStart)...]))
            entry.attributes = try AttributeCoding.read(&field)
        }
        if presence & EntryField.attributesBlob != 0 { entry.attributesBlob = contentKey(layout.attributesKey) }
        entry.flags = layout.flags
        entry.remarks = Entry.Remarks(rawValue: layout.remarks)
        if presence & EntryField.extents != 0 {
            var field = ByteReader(UnsafeRawBufferPointer(rebasing: plain[(payload + layout.extentsStart)...]))
            var extents: [Extent] = []
            extents.reserveCapacity(layout.extentsCount)
            for _ in 0..<layout.extentsCount {
                let raw = try ExtentCoding.read(&field, &use)
                extents.append(
                    Extent(key: raw.key < 0 ? nil : contentKey(raw.key), offset: raw.offset, length: raw.length))
            }
            entry.content = .extents(extents)
        } else if presence & EntryField.extentList != 0 {
            entry.content = .list(contentKey(layout.listKey), count: layout.listCount)
        }
        return entry
    }

    private func reader(_ index: Int) -> ByteReader {
        ByteReader(UnsafeRawBufferPointer(rebasing: plain[Int(items[index].payload)...]))
    }

    private var fullUse: TableUse {
        TableUse(keysSeen: keyCount, keyCount: keyCount, namesSeen: names.count, nameCount: names.count)
    }

    // MARK: Keys

    /// The whole key of an item: pieces it together from this item backwards.
    func key(_ index: Int) -> [UInt8] {
        let item = items[index]
        let length = Int(item.shared) + Int(item.restLength)
        return [UInt8](unsafeUninitializedCapacity: length) { buffer, initialized in
            let target = UnsafeMutableRawBufferPointer(buffer)
            var needed = length
            var at = index
            while needed > 0 {
                let item = items[at]
                let shared = Int(item.shared)
                if shared < needed {
                    let start = Int(item.rest)
                    UnsafeMutableRawBufferPointer(rebasing: target[shared..<needed])
                        .copyMemory(
                            from: UnsafeRawBufferPointer(rebasing: plain[start..<(start + needed - shared)]))
                    needed = shared
                }
                at -= 1
            }
            initialized = length
        }
    }

    /// The first item whose key is not below `target`, and whether it is `target`; `count` when there is none.
    ///
    /// Looks at the bytes of an item's key only where the answer depends on them.
    func search(_ target: UnsafeRawBufferPointer) -> (index: Int, isExact: Bool) {
        // All keys before `index` are below the target; the last of them shares `matched` bytes with it.
        var matched = 0
        for index in 0..<count {
            let shared = Int(items[index].shared)
            // More in common with the key before than that one has with the target: below it in the same way.
            if shared > matched && index > 0 { continue }
            // Left the key before where that one still agreed with the target: above it.
            if shared < matched { return (index, false) }
            let rest = self.rest(index)
            let left = UnsafeRawBufferPointer(rebasing: target[matched...])
            let common = ByteOrder.sharedPrefix(rest, left, min(rest.count, left.count))
            if common == rest.count {
                if common == left.count { return (index, true) }
                matched += common
                continue
            }
            if common == left.count || rest[common] > left[common] { return (index, false) }
            matched += common
        }
        return (count, false)
    }

    func search(_ target: [UInt8]) -> (index: Int, isExact: Bool) { target.withUnsafeBytes { search($0) } }
}

/// The codes of a delta's operations.
package enum DeltaCode: UInt8, Sendable {
    case put = 1
    case delete = 2
    case deleteBelow = 3
}
