import Model

/// A place in the state of a tree with deltas. Moves forwards from entry to entry, and for those inside this module also
/// from subtree to subtree, so that what is known already is not read.
///
/// Holds one node a level and no more.
package final class TreeCursor {
    /// What is at the cursor.
    enum Position {
        case end
        /// A subtree of the base that no delta says anything about. The level is that of its top node.
        case subtree(level: Int, ItemBlock.Child)
        case entry(ItemBlock, Int)
    }

    private struct Frame {
        let node: ItemBlock
        var index: Int
        /// The whole key of the item at `index`.
        var key: [UInt8]
    }

    private(set) var position = Position.end
    /// The key at the cursor: the entry's, or the first of the subtree.
    private(set) var key: [UInt8] = []

    private let reader: TreeReader
    private var frames: [Frame] = []
    private var overlay: Overlay?
    private var outcome = 0
    private var isStarted = false
    /// Whether the entry at the cursor comes from a delta.
    private var isFromOverlay = false

    init(_ reader: TreeReader) { self.reader = reader }

    // MARK: For walking entries

    /// The next entry, or `nil` at the end. The first call gives the first entry, or the one that `seek` found.
    package func next() throws -> TreeItem? {
        if isStarted { try skip() } else { try start() }
        return try openDown()
    }

    /// Places the cursor so that `next` gives the first entry whose key is not below `target`.
    package func seek(_ target: [UInt8]) throws {
        try start(at: target)
        isStarted = false
        pendingSeek = true
    }

    private var pendingSeek = false

    /// The entry at the cursor, opening subtrees on the way.
    private func openDown() throws -> TreeItem? {
        while true {
            switch position {
            case .end: return nil
            case .entry(let block, let index): return TreeItem(key: key, block: block, index: index)
            case .subtree: try open()
            }
        }
    }

    // MARK: For walking subtrees

    /// Goes to the first item; a subtree stays closed.
    func start() throws {
        isStarted = true
        if pendingSeek {
            pendingSeek = false
            return
        }
        try loadOverlay()
        frames = []
        outcome = 0
        try push(try reader.rootNode())
        try settle()
    }

    /// Goes to the first entry whose key is not below `target`; what stands before it in its nodes is passed.
    func start(at target: [UInt8]) throws {
        isStarted = true
        pendingSeek = false
        try loadOverlay()
        frames = []
        outcome = overlay?.lowerBound(target) ?? 0
        try push(try reader.rootNode())
        while let top = frames.last {
            let found = top.node.search(target)
            if top.node.level == 0 {
                if found.index < top.node.count {
                    place(found.index)
                } else {
                    frames.removeLast()
                    advanceBase()
                }
                break
            }
            place(found.isExact ? found.index : max(found.index - 1, 0))
            try pushChild()
        }
        try settle()
    }

    /// Opens the subtree at the cursor: its first item is at the cursor then.
    func open() throws {
        guard case .subtree = position else { return }
        try pushChild()
        try settle()
    }

    /// Passes what is at the cursor, a whole subtree at once.
    func skip() throws {
        if case .end = position { return }
        if isFromOverlay {
            outcome += 1
        } else {
            advanceBase()
        }
        try settle()
    }

    /// The key before which everything at the cursor lies; `nil` when nothing follows in the base.
    private var bound: [UInt8]? { bound(above: frames.count) }

    private func bound(above depth: Int) -> [UInt8]? {
        for frame in frames[..<depth].reversed() where frame.index + 1 < frame.node.count {
            return TreeCursor.key(after: frame)
        }
        return nil
    }

    /// Whether a subtree follows the item at the cursor in the base about which the deltas say nothing.
    func isNextUntouched() -> Bool {
        for depth in frames.indices.reversed() where frames[depth].index + 1 < frames[depth].node.count {
            guard let overlay, !overlay.isEmpty else { return true }
            let low = TreeCursor.key(after: frames[depth])
            // Where the item after the next begins, on this level or above.
            let frame = frames[depth]
            var high: [UInt8]?
            if frame.index + 2 < frame.node.count {
                high = frame.node.key(frame.index + 2)
            } else {
                high = bound(above: depth)
            }
            return !overlay.touches(low, high)
        }
        return false
    }

    /// The leaf whose first entry is at the cursor, when nothing is said about its entries and a key ends it, so that
    /// it stays as it is whatever follows.
    func untouchedLeaf(seed: UInt64) throws -> TreeBuilder.Subtree? {
        guard !isFromOverlay, let top = frames.last, top.node.level == 0, top.index == 0 else { return nil }
        let leaf = top.node
        guard leaf.codedLength >= TreeLimits.minimumNode, TreeBuilder.isBoundary(leaf.lastKey, seed: seed, level: 0)
        else { return nil }
        if let overlay, overlay.touches(top.key, bound(above: frames.count - 1)) { return nil }
        let key = try frames.dropLast().last.map { try $0.node.child($0.index).key } ?? reader.root
        return TreeBuilder.Subtree(
            level: 0, firstKey: leaf.firstKey, key: key, entries: leaf.entries, bytes: leaf.bytes)
    }

    /// Passes the rest of the leaf in which the cursor is.
    func skipLeaf() throws {
        guard !isFromOverlay, !frames.isEmpty else { return }
        frames.removeLast()
        advanceBase()
        try settle()
    }

    // MARK: The base

    private func loadOverlay() throws {
        let loaded = try reader.overlay()
        overlay = loaded.isEmpty ? nil : loaded
    }

    private func push(_ node: ItemBlock) throws {
        guard frames.count < FormatLimits.treeDepth else { throw ByteReader.malformed("a tree deeper than allowed") }
        // Only the empty tree has no items.
        if node.count == 0 { return }
        frames.append(Frame(node: node, index: 0, key: node.firstKey))
    }

    private func pushChild() throws {
        guard let top = frames.last else { return }
        try push(
            try reader.child(of: top.node, at: top.index, firstKey: top.key, bound: bound, keep: false))
    }

    private func place(_ index: Int) {
        let top = frames.count - 1
        if index == frames[top].index { return }
        frames[top].index = index
        frames[top].key = frames[top].node.key(index)
    }

    private static func key(after frame: Frame) -> [UInt8] {
        var key = Array(frame.key[..<frame.node.shared(frame.index + 1)])
        key.append(contentsOf: frame.node.rest(frame.index + 1))
        return key
    }

    /// To the next item of the base, on this level or above.
    private func advanceBase() {
        // The cursor's own copy would make the frame's key copy itself before it changes.
        key = []
        position = .end
        while !frames.isEmpty {
            let top = frames.count - 1
            let index = frames[top].index + 1
            let node = frames[top].node
            if index < node.count {
                frames[top].index = index
                frames[top].key.removeLast(frames[top].key.count - node.shared(index))
                frames[top].key.append(contentsOf: node.rest(index))
                return
            }
            frames.removeLast()
        }
    }

    // MARK: The deltas

    /// Finds what is at the cursor: an item of the base or an entry of a delta, whichever is first and counts.
    private func settle() throws {
        guard let overlay else {
            try setBase()
            return
        }
        while true {
            let hasOutcome = outcome < overlay.outcomes.count
            guard let top = frames.last else {
                if !hasOutcome {
                    position = .end
                    isFromOverlay = false
                    return
                }
                if overlay.outcomes[outcome].isPut { return setOutcome(overlay) }
                outcome += 1
                continue
            }
            let order = hasOutcome ? overlay.compare(outcome, top.key) : 1
            if order < 0 {
                if overlay.outcomes[outcome].isPut { return setOutcome(overlay) }
                outcome += 1
                continue
            }
            if top.node.level == 0 {
                if order == 0 || overlay.hides(top.key) {
                    advanceBase()
                    continue
                }
                try setBase()
                return
            }
            let high = bound
            if !overlay.touches(top.key, high) {
                try setBase()
                return
            }
            let hasOutcomeInside = hasOutcome && high.map { overlay.compare(outcome, $0) < 0 } ?? true
            if !hasOutcomeInside, overlay.hidesAll(top.key, high) {
                advanceBase()
                continue
            }
            try pushChild()
        }
    }

    private func setBase() throws {
        isFromOverlay = false
        guard let top = frames.last else {
            position = .end
            return
        }
        key = top.key
        if top.node.level == 0 {
            position = .entry(top.node, top.index)
        } else {
            position = .subtree(level: top.node.level - 1, try top.node.child(top.index))
        }
    }

    private func setOutcome(_ overlay: Overlay) {
        isFromOverlay = true
        key = overlay.key(outcome)
        position = .entry(overlay.block(outcome), overlay.outcomes[outcome].item)
    }
}
