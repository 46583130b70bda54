package import Model

/// Reads the state at a point: a tree, and deltas over it.
///
/// Everything that comes from the source is treated as hostile: whatever the format does not allow throws `.damaged`,
/// with bounded memory and without recursion. Not for use from several threads at once.
package final class TreeReader {
    package let root: ContentKey
    /// Oldest first.
    package let deltas: [ContentKey]

    private let source: any NodeSource
    private var cache: NodeCache
    private let unsaved: [Delta]
    private var loadedOverlay: Overlay?

    /// - Parameters:
    ///   - source: gives the blobs.
    ///   - root: the root node.
    ///   - deltas: at most `FormatLimits.deltas`, oldest first.
    ///   - unsaved: deltas that are newer than those and are not stored yet.
    ///   - cacheBytes: how much memory decoded nodes may take.
    package init(
        source: any NodeSource, root: ContentKey, deltas: [ContentKey] = [], unsaved: [Delta] = [],
        cacheBytes: Int = 16 << 20
    ) {
        self.source = source
        self.root = root
        self.deltas = deltas
        self.unsaved = unsaved
        cache = NodeCache(limit: cacheBytes)
    }

    // MARK: Questions

    /// The entry of a path; `nil` when the path is not there. An ancestor that was not protected has an entry with the
    /// remark `.ancestor`.
    package func lookup(_ path: TreePath) throws -> Entry? { try find(path.key)?.entry() }

    /// The item with exactly this key.
    package func find(_ key: [UInt8]) throws -> TreeItem? {
        let overlay = try self.overlay()
        if !overlay.isEmpty {
            let index = overlay.lowerBound(key)
            if index < overlay.outcomes.count, overlay.compare(index, key) == 0 {
                guard overlay.outcomes[index].isPut else { return nil }
                return TreeItem(key: key, block: overlay.block(index), index: overlay.outcomes[index].item)
            }
            if overlay.hides(key) { return nil }
        }
        var node = try rootNode()
        var bound: [UInt8]?
        while node.level > 0 {
            let found = node.search(key)
            if !found.isExact, found.index == 0 { return nil }
            let index = found.isExact ? found.index : found.index - 1
            if index + 1 < node.count { bound = node.key(index + 1) }
            node = try child(of: node, at: index, firstKey: node.key(index), bound: bound)
        }
        let found = node.search(key)
        return found.isExact ? TreeItem(key: key, block: node, index: found.index) : nil
    }

    /// The children of a directory in the order of their names, without reading what is below them.
    ///
    /// - Parameters:
    ///   - directory: whether it is there at all is not checked; use `lookup`.
    ///   - name: begin after this name; for going on with a page.
    ///   - body: gets one child after the other until it returns false.
    package func list(
        _ directory: TreePath, after name: [UInt8]? = nil, _ body: (TreeItem) throws -> Bool
    ) throws {
        let prefix = directory.childrenPrefix
        var start = prefix
        if let name {
            // The lowest key above the name's own.
            start += name
            start.append(0)
        }
        try scan(from: start, prefix: prefix, body)
    }

    /// At most `limit` children of a directory in the order of their names.
    package func list(_ directory: TreePath, after name: [UInt8]? = nil, limit: Int) throws -> [TreeItem] {
        var items: [TreeItem] = []
        if limit <= 0 { return items }
        try list(directory, after: name) { item in
            items.append(item)
            return items.count < limit
        }
        return items
    }

    /// Everything whose key is not below `start` and begins with `prefix`, in the order of the keys, until `body`
    /// returns false. Without arguments the whole tree; with a directory's `subtreePrefix` as both what is below it.
    package func scan(
        from start: [UInt8] = [], prefix: [UInt8] = [], _ body: (TreeItem) throws -> Bool
    ) throws {
        let cursor = TreeCursor(self)
        try cursor.seek(ByteOrder.isLess(start, prefix) ? prefix : start)
        while let item = try cursor.next() {
            guard item.key.starts(with: prefix) else { return }
            guard try body(item) else { return }
        }
    }

    /// A directory's or file's own entry and everything below it, in the order of the keys.
    package func scan(below path: TreePath, _ body: (TreeItem) throws -> Bool) throws {
        if path.isRoot { return try scan(body) }
        if let own = try find(path.key), try !body(own) { return }
        let prefix = path.subtreePrefix
        try scan(from: prefix, prefix: prefix, body)
    }

    /// A cursor that gives entry after entry; for walking beside something else in the same order.
    package func cursor() -> TreeCursor { TreeCursor(self) }

    /// Entries and bytes of the tree below the deltas. With deltas the state has others.
    package func baseTotals() throws -> (entries: UInt64, bytes: UInt64) {
        let node = try rootNode()
        return (node.entries, node.bytes)
    }

    /// The extents of an entry in the order of the file, each with the place in the file where it begins, until `body`
    /// returns false.
    ///
    /// - Parameter start: the first extent is the one that holds this byte; nothing is read of those before it.
    package func extents(
        of entry: Entry, from start: UInt64 = 0, _ body: (Extent, _ position: UInt64) throws -> Bool
    ) throws {
        try EntryContents.extents(of: entry, from: start, nodes: source, body)
    }

    // MARK: Nodes

    func overlay() throws -> Overlay {
        if let loadedOverlay { return loadedOverlay }
        guard deltas.count + unsaved.count <= FormatLimits.deltas + 1 else {
            throw ByteReader.malformed("more than \(FormatLimits.deltas) deltas over a tree")
        }
        var blocks = try deltas.map { try ItemBlock.delta(try source.node($0, type: .delta)) }
        for delta in unsaved {
            guard let encoded = try delta.encoded() else {
                throw HoldfastError(.internalError, "a delta is too long; fold instead (a fault of this program)")
            }
            blocks.append(try ItemBlock.delta(encoded.plain))
        }
        let overlay = Overlay(blocks)
        loadedOverlay = overlay
        return overlay
    }

    func rootNode() throws -> ItemBlock { try load(root, keep: true) }

    /// Loads the child of an inner node and checks that it is what the node says.
    ///
    /// - Parameters:
    ///   - firstKey: the key of the item.
    ///   - bound: all keys of the child are below it; `nil` for none.
    ///   - keep: false for leaves that a scan passes once.
    func child(
        of node: ItemBlock, at index: Int, firstKey: [UInt8], bound: [UInt8]?, keep: Bool = true
    ) throws -> ItemBlock {
        let item = try node.child(index)
        let child = try load(item.key, keep: keep || node.level > 1)
        guard child.level == node.level - 1, child.count > 0, child.entries == item.entries, child.bytes == item.bytes,
            child.firstKey == firstKey
        else { throw ByteReader.malformed("a node is not what the node above says") }
        if let bound, ByteOrder.compare(child.lastKey, bound) >= 0 {
            throw ByteReader.malformed("a node reaches into its neighbour")
        }
        return child
    }

    private func load(_ key: ContentKey, keep: Bool) throws -> ItemBlock {
        if let node = cache.find(key) { return node }
        let node = try ItemBlock.node(try source.node(key, type: .node))
        if keep { cache.insert(key, node) }
        return node
    }
}

/// One entry of a tree, not yet taken apart. It may be kept; it keeps its node alive.
package struct TreeItem {
    /// The key of the path.
    package let key: [UInt8]
    private let block: ItemBlock
    private let index: Int

    init(key: [UInt8], block: ItemBlock, index: Int) {
        self.key = key
        self.block = block
        self.index = index
    }

    /// What nearly every reader wants first; allocates nothing.
    package struct Head: Hashable, Sendable {
        package var kind: EntryKind
        package var mode: UInt16
        package var uid: UInt32
        package var gid: UInt32
        package var size: UInt64
        package var mtime: FileTime
        package var linkGroup: LinkGroup?
        package var remarks: Entry.Remarks
    }

    /// The path; a key that no path has throws `.damaged`.
    package func path() throws -> TreePath {
        guard let path = TreePath(key: key) else { throw ByteReader.malformed("key of no path") }
        return path
    }

    /// The last component of the path as it stands in the key, unchecked.
    package var name: ArraySlice<UInt8> { key[(key.lastIndex(of: 0).map { $0 + 1 } ?? 0)...] }

    package func head() throws -> Head {
        let layout = try block.layout(index)
        return Head(
            kind: layout.kind, mode: layout.mode, uid: layout.uid, gid: layout.gid, size: layout.size,
            mtime: layout.mtime,
            linkGroup: layout.presence & EntryField.linkGroup != 0 ? layout.linkGroup : nil,
            remarks: Entry.Remarks(rawValue: layout.remarks))
    }

    /// The whole entry.
    package func entry() throws -> Entry { try block.entry(index) }

    /// Whether both have the same entry.
    func hasSameEntry(as other: TreeItem) throws -> Bool {
        if block === other.block, index == other.index { return true }
        let a = try block.layout(index)
        let b = try other.block.layout(other.index)
        guard a.kind == b.kind, a.presence == b.presence, a.size == b.size, a.mtime == b.mtime, a.mode == b.mode,
            a.uid == b.uid, a.gid == b.gid
        else { return false }
        return try entry() == other.entry()
    }
}

/// Decoded nodes that were used last, bounded by the memory they take.
struct NodeCache {
    private let limit: Int
    private var nodes: [ContentKey: (node: ItemBlock, used: UInt64)] = [:]
    private var size = 0
    private var clock: UInt64 = 0

    init(limit: Int) { self.limit = limit }

    mutating func find(_ key: ContentKey) -> ItemBlock? {
        guard let index = nodes.index(forKey: key) else { return nil }
        clock += 1
        nodes.values[index].used = clock
        return nodes.values[index].node
    }

    mutating func insert(_ key: ContentKey, _ node: ItemBlock) {
        clock += 1
        if let old = nodes.updateValue((node, clock), forKey: key) { size -= old.node.footprint }
        size += node.footprint
        if size > limit { shrink() }
    }

    /// Drops what was not used for longest until a quarter is free again: seldom enough that sorting costs nothing.
    private mutating func shrink() {
        let target = limit - limit / 4
        for (key, value) in nodes.sorted(by: { $0.value.used < $1.value.used }) {
            if size <= target { break }
            size -= value.node.footprint
            nodes[key] = nil
        }
    }
}
