import Model

/// Collects the items of one node or delta in their encoded form, with the tables that they refer to.
///
/// One encoder serves a level of a tree for the whole build: its buffers are used again for the next node. Per item it
/// allocates nothing.
final class ItemEncoder {
    /// What `rollback(to:)` returns to.
    struct Mark {
        fileprivate var length: Int
        fileprivate var keys: Int
        fileprivate var names: Int
        fileprivate var namesLength: Int
        fileprivate var bytes: UInt64
        fileprivate var entries: UInt64
        fileprivate var count: Int

        /// Whether there were items already.
        var isNotEmpty: Bool { count > 0 }
    }

    /// The content keys that the items name, in the order of their first use.
    private(set) var keys: [ContentKey] = []
    private(set) var count = 0
    private(set) var firstKey: [UInt8] = []
    private(set) var lastKey: [UInt8] = []
    /// Entries at or below the items.
    private(set) var entries: UInt64 = 0
    /// Sum of their sizes.
    private(set) var bytes: UInt64 = 0

    private var keyIndexes: [ContentKey: Int] = [:]
    private var names: [[UInt8]] = []
    private var nameIndexes: [[UInt8]: Int] = [:]
    private var namesLength = 0
    private var lastUser = 0
    private var lastGroup = 0

    private var base: UnsafeMutableRawPointer
    private var capacity: Int
    private var length = 0

    init(capacity: Int = TreeLimits.maximumNode + (16 << 10)) {
        self.capacity = capacity
        base = .allocate(byteCount: capacity, alignment: 16)
    }

    deinit { base.deallocate() }

    /// An encoder of its own with the same items.
    func copy() -> ItemEncoder {
        let other = ItemEncoder(capacity: capacity)
        other.base.copyMemory(from: base, byteCount: length)
        other.length = length
        other.keys = keys
        other.count = count
        other.firstKey = firstKey
        other.lastKey = lastKey
        other.entries = entries
        other.bytes = bytes
        other.keyIndexes = keyIndexes
        other.names = names
        other.nameIndexes = nameIndexes
        other.namesLength = namesLength
        other.lastUser = lastUser
        other.lastGroup = lastGroup
        return other
    }

    /// The length that decides about boundaries: the items, 32 for each content key, and the names.
    var codedLength: Int { length + 32 * keys.count + namesLength }

    var mark: Mark {
        Mark(
            length: length, keys: keys.count, names: names.count, namesLength: namesLength, bytes: bytes,
            entries: entries, count: count)
    }

    /// Forgets what was appended since `mark`. Only `finish` and `reset` may follow.
    func rollback(to mark: Mark) {
        length = mark.length
        keys.removeSubrange(mark.keys...)
        names.removeSubrange(mark.names...)
        namesLength = mark.namesLength
        bytes = mark.bytes
        entries = mark.entries
        count = mark.count
    }

    /// Starts the next node.
    func reset() {
        length = 0
        keys.removeAll(keepingCapacity: true)
        keyIndexes.removeAll(keepingCapacity: true)
        names.removeAll(keepingCapacity: true)
        nameIndexes.removeAll(keepingCapacity: true)
        namesLength = 0
        lastUser = 0
        lastGroup = 0
        bytes = 0
        entries = 0
        count = 0
        firstKey = []
        lastKey = []
    }

    /// Appends a leaf item.
    func append(key: [UInt8], entry: borrowing Entry) throws {
        reserve(key.count + (try lengthBound(entry)))
        appendKey(key)
        appendEntry(entry)
        entries = entries.addingSaturated(1)
        bytes = bytes.addingSaturated(entry.size)
        count += 1
    }

    /// Appends an inner item.
    func append(key: [UInt8], child: ContentKey, entries childEntries: UInt64, bytes childBytes: UInt64) {
        reserve(key.count + 64)
        appendKey(key)
        varint(UInt64(index(of: child)))
        varint(childEntries)
        varint(childBytes)
        entries = entries.addingSaturated(childEntries)
        bytes = bytes.addingSaturated(childBytes)
        count += 1
    }

    /// Appends an operation of a delta.
    func append(code: UInt8, key: [UInt8], entry: Entry?) throws {
        reserve(key.count + 64 + (try entry.map { try lengthBound($0) } ?? 0))
        u8(code)
        appendKey(key)
        if let entry { appendEntry(entry) }
        count += 1
    }

    /// The whole blob: `header`, the tables, the items.
    func finish(header: [UInt8]) -> [UInt8] {
        var writer = ByteWriter(capacity: header.count + codedLength + 24)
        writer.raw(header)
        writer.varint(keys.count)
        for key in keys { writer.digest(key.bytes) }
        writer.varint(names.count)
        for name in names { writer.counted(name) }
        writer.varint(count)
        writer.raw(UnsafeRawBufferPointer(start: base, count: length))
        return writer.bytes
    }

    // MARK: Items

    private func appendKey(_ key: [UInt8]) {
        key.withUnsafeBytes { key in
            let shared = lastKey.withUnsafeBytes { ByteOrder.sharedPrefix($0, key, min($0.count, key.count)) }
            varint(UInt64(shared))
            let rest = UnsafeRawBufferPointer(rebasing: key[shared...])
            varint(UInt64(rest.count))
            raw(rest)
        }
        if count == 0 { firstKey = key }
        lastKey = key
    }

    private func appendEntry(_ entry: borrowing Entry) {
        u8(entry.kind.rawValue)
        var presence: UInt64 = 0
        if !entry.user.isEmpty { presence |= EntryField.user }
        if !entry.group.isEmpty { presence |= EntryField.group }
        if entry.linkGroup != nil { presence |= EntryField.linkGroup }
        if !entry.target.isEmpty { presence |= EntryField.target }
        if entry.device != 0 { presence |= EntryField.device }
        if !entry.attributes.isEmpty { presence |= EntryField.attributes }
        if entry.attributesBlob != nil { presence |= EntryField.attributesBlob }
        if entry.flags != 0 { presence |= EntryField.flags }
        if entry.remarks.rawValue != 0 { presence |= EntryField.remarks }
        switch entry.content {
        case .none: break
        case .extents(let extents): if !extents.isEmpty { presence |= EntryField.extents }
        case .list: presence |= EntryField.extentList
        }
        varint(presence)
        varint(UInt64(entry.mode))
        varint(UInt64(entry.uid))
        varint(UInt64(entry.gid))
        varint(entry.size)
        let seconds = entry.mtime.seconds
        varint(UInt64(bitPattern: (seconds << 1) ^ (seconds >> 63)))
        varint(UInt64(entry.mtime.nanoseconds))
        if presence == 0 { return }

        if presence & EntryField.user != 0 {
            lastUser = index(of: entry.user, hint: lastUser)
            varint(UInt64(lastUser))
        }
        if presence & EntryField.group != 0 {
            lastGroup = index(of: entry.group, hint: lastGroup)
            varint(UInt64(lastGroup))
        }
        if let group = entry.linkGroup {
            varint(group.device)
            varint(group.inode)
        }
        if presence & EntryField.target != 0 {
            varint(UInt64(entry.target.count))
            entry.target.withUnsafeBytes { raw($0) }
        }
        if presence & EntryField.device != 0 {
            varint(entry.device >> 32)
            varint(entry.device & 0xFFFF_FFFF)
        }
        if presence & EntryField.attributes != 0 {
            varint(UInt64(entry.attributes.count))
            for attribute in entry.attributes {
                varint(UInt64(attribute.name.count))
                attribute.name.withUnsafeBytes { raw($0) }
                varint(UInt64(attribute.value.count))
                attribute.value.withUnsafeBytes { raw($0) }
            }
        }
        if let blob = entry.attributesBlob { varint(UInt64(index(of: blob))) }
        if presence & EntryField.flags != 0 { varint(UInt64(entry.flags)) }
        if presence & EntryField.remarks != 0 { u8(entry.remarks.rawValue) }
        switch entry.content {
        case .none: break
        case .extents(let extents):
            if extents.isEmpty { break }
            varint(UInt64(extents.count))
            for extent in extents { appendExtent(extent) }
        case .list(let key, let count):
            varint(UInt64(index(of: key)))
            varint(count)
        }
    }

    private func appendExtent(_ extent: Extent) {
        if let key = extent.key {
            varint(UInt64(index(of: key) + 1))
            varint(UInt64(extent.offset))
        } else {
            varint(0)
        }
        varint(extent.length)
    }

    /// At least the encoded length of `entry`; refuses what no reader would take.
    private func lengthBound(_ entry: borrowing Entry) throws -> Int {
        var bound = 160
        guard entry.mode <= 0o7777, entry.mtime.nanoseconds <= 999_999_999,
            entry.user.count <= TreeLimits.nameLength, entry.group.count <= TreeLimits.nameLength,
            entry.target.count <= TreeLimits.targetLength
        else {
            throw HoldfastError(.internalError, "an entry has a value out of its range (a fault of this program)")
        }
        bound += entry.target.count
        if !entry.attributes.isEmpty {
            try AttributeCoding.check(entry.attributes)
            let length = AttributeCoding.encodedLength(entry.attributes)
            guard entry.attributesBlob == nil, length <= Entry.maximumInlineAttributes else {
                throw HoldfastError(.internalError, "attributes are too long for an entry (a fault of this program)")
            }
            bound += length
        }
        switch entry.content {
        case .none: break
        case .extents(let extents):
            guard extents.count <= Entry.maximumInlineExtents else {
                throw HoldfastError(.internalError, "too many extents for an entry (a fault of this program)")
            }
            for extent in extents { try ExtentCoding.check(extent) }
            bound += extents.count * 24
        case .list(_, let count):
            guard count > 0 else {
                throw HoldfastError(.internalError, "an empty list of extents (a fault of this program)")
            }
        }
        return bound
    }

    // MARK: Tables

    /// Neighbours mostly lie in the same bundle, so the last key is tried before the table.
    private func index(of key: ContentKey) -> Int {
        if let last = keys.last, last == key { return keys.count - 1 }
        if let index = keyIndexes[key], index < keys.count, keys[index] == key { return index }
        keys.append(key)
        keyIndexes[key] = keys.count - 1
        return keys.count - 1
    }

    private func index(of name: [UInt8], hint: Int) -> Int {
        if hint < names.count, names[hint] == name { return hint }
        if names.count <= 8 {
            for index in names.indices where names[index] == name { return index }
        } else if let index = nameIndexes[name], index < names.count, names[index] == name {
            return index
        }
        names.append(name)
        nameIndexes[name] = names.count - 1
        namesLength += name.count + (name.count < 128 ? 1 : 2)
        return names.count - 1
    }

    // MARK: Bytes

    /// Makes room; the writing functions below rely on it.
    @inline(__always)
    private func reserve(_ more: Int) {
        if length + more > capacity { grow(more) }
    }

    private func grow(_ more: Int) {
        let wanted = max(capacity * 2, length + more)
        let larger = UnsafeMutableRawPointer.allocate(byteCount: wanted, alignment: 16)
        larger.copyMemory(from: base, byteCount: length)
        base.deallocate()
        base = larger
        capacity = wanted
    }

    @inline(__always)
    private func u8(_ value: UInt8) {
        base.storeBytes(of: value, toByteOffset: length, as: UInt8.self)
        length += 1
    }

    @inline(__always)
    private func varint(_ value: UInt64) {
        var rest = value
        var at = length
        while rest >= 0x80 {
            base.storeBytes(of: UInt8(truncatingIfNeeded: rest) | 0x80, toByteOffset: at, as: UInt8.self)
            rest >>= 7
            at += 1
        }
        base.storeBytes(of: UInt8(truncatingIfNeeded: rest), toByteOffset: at, as: UInt8.self)
        length = at + 1
    }

    @inline(__always)
    private func raw(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress else { return }
        (base + length).copyMemory(from: start, byteCount: bytes.count)
        length += bytes.count
    }
}
