package import Model

/// Builds a tree from entries in the order of their keys, node by node, in memory of one node a level.
///
/// The same entries give the same nodes, whatever tree they came from: a node's end depends on what is in it and on the
/// item that follows, never on history.
package struct TreeBuilder {
    private let seed: UInt64
    private let sink: any NodeSink
    /// One for each level, the leaves first.
    private var levels: [ItemEncoder] = []
    /// How many items each level was given.
    private var itemCounts: [UInt64] = []
    private var lastKey: [UInt8]?

    /// - Parameters:
    ///   - seed: the tree seed of the domain.
    ///   - sink: takes the nodes, children before parents.
    package init(seed: UInt64, sink: any NodeSink) {
        self.seed = seed
        self.sink = sink
        addLevel()
    }

    /// Appends one entry. Keys come in strictly ascending order of their bytes; `TreePath.key` makes them.
    package mutating func append(key: [UInt8], entry: borrowing Entry) throws {
        try checkOrder(key)
        let leaf = levels[0]
        let mark = leaf.mark
        try leaf.append(key: key, entry: entry)
        if leaf.codedLength > TreeLimits.maximumNode, mark.isNotEmpty {
            leaf.rollback(to: mark)
            try close(0)
            try leaf.append(key: key, entry: entry)
        }
        itemCounts[0] += 1
        lastKey = key
        if leaf.codedLength >= TreeLimits.minimumNode, TreeBuilder.isBoundary(key, seed: seed, level: 0) {
            try close(0)
        }
    }

    /// A builder of its own with the same entries so far: finishing it gives the tree of what was appended until now.
    package func copy() -> TreeBuilder {
        var other = self
        other.levels = levels.map { $0.copy() }
        return other
    }

    /// Closes what is open and returns the tree. The builder is not used again.
    package mutating func finish() throws -> TreeSummary {
        if itemCounts[0] == 0, levels.count == 1 {
            let key = try sink.put(type: .node, plain: levels[0].finish(header: [1, 0]), children: [])
            return TreeSummary(root: key, entries: 0, bytes: 0)
        }
        var level = 0
        while true {
            // A level with a single child is not kept: the child is the root.
            if level > 0, level == levels.count - 1, itemCounts[level] == 1, let only = only[level] {
                return TreeSummary(root: only.key, entries: only.entries, bytes: only.bytes)
            }
            if levels[level].count > 0 { try close(level) }
            level += 1
        }
    }

    // MARK: Closed subtrees

    /// The node at the given level, with everything below it, as it stands in another tree of the same seed.
    struct Subtree {
        var level: Int
        var firstKey: [UInt8]
        var key: ContentKey
        var entries: UInt64
        var bytes: UInt64
    }

    /// Whether a node could begin here on this level and all levels below it.
    func isAtBoundary(_ level: Int) -> Bool {
        for index in 0...level where index < levels.count && levels[index].count > 0 { return false }
        return true
    }

    /// Appends a subtree as it is. Only where `isAtBoundary`, and only when building its entries again would close it
    /// in the same place; see `TreeFold`.
    mutating func append(_ subtree: Subtree) throws {
        precondition(isAtBoundary(subtree.level))
        try checkOrder(subtree.firstKey)
        // The keys below are not known here; whoever appends subtrees walks a tree whose order was checked.
        lastKey = subtree.firstKey
        while levels.count <= subtree.level { addLevel() }
        try appendInner(
            subtree.level + 1, key: subtree.firstKey, child: subtree.key, entries: subtree.entries,
            bytes: subtree.bytes)
    }

    // MARK: Levels

    /// The first child that each level was given: the root, when it stays the only one.
    private var only: [(key: ContentKey, entries: UInt64, bytes: UInt64)?] = []

    private mutating func addLevel() {
        levels.append(ItemEncoder())
        itemCounts.append(0)
        only.append(nil)
    }

    private func checkOrder(_ key: [UInt8]) throws {
        guard key.count <= FormatLimits.keyLength else {
            throw HoldfastError(
                .usage, "a path is longer than \(FormatLimits.keyLength) bytes and cannot be stored",
                context: ["path": TreePath(key: key)?.displayText ?? TreePath.display(key)])
        }
        if let lastKey, ByteOrder.compare(lastKey, key) >= 0 {
            throw HoldfastError(
                .internalError, "paths reached the tree in the wrong order (a fault of this program)",
                context: ["path": TreePath.display(key), "after": TreePath.display(lastKey)])
        }
    }

    /// Ends the open node of a level and names it one level up.
    private mutating func close(_ level: Int) throws {
        let encoder = levels[level]
        let plain = encoder.finish(header: [1, UInt8(level)])
        let key = try sink.put(type: .node, plain: plain, children: encoder.keys)
        let firstKey = encoder.firstKey
        let entries = encoder.entries
        let bytes = encoder.bytes
        encoder.reset()
        try appendInner(level + 1, key: firstKey, child: key, entries: entries, bytes: bytes)
    }

    private mutating func appendInner(
        _ level: Int, key: [UInt8], child: ContentKey, entries: UInt64, bytes: UInt64
    ) throws {
        guard level < FormatLimits.treeDepth else {
            throw HoldfastError(.internalError, "the tree is deeper than allowed (a fault of this program)")
        }
        if level == levels.count { addLevel() }
        let encoder = levels[level]
        let mark = encoder.mark
        encoder.append(key: key, child: child, entries: entries, bytes: bytes)
        // An inner node has two children at least: long keys must not make a tower of nodes with one child.
        if encoder.codedLength > TreeLimits.maximumNode, encoder.count > 2 {
            encoder.rollback(to: mark)
            try close(level)
            encoder.append(key: key, child: child, entries: entries, bytes: bytes)
        }
        if itemCounts[level] == 0 { only[level] = (child, entries, bytes) }
        itemCounts[level] += 1
        if encoder.count >= 2, encoder.codedLength >= TreeLimits.minimumNode,
            TreeBuilder.isBoundary(key, seed: seed, level: level)
        {
            try close(level)
        }
    }

    /// Whether a node of the level may end after an item with this key.
    static func isBoundary(_ key: [UInt8], seed: UInt64, level: Int) -> Bool {
        key.withUnsafeBytes { KeyedHash.xxh3($0, seed: seed &+ UInt64(level)) % TreeLimits.boundary == 0 }
    }
}
