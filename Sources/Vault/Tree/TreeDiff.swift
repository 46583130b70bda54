package import Model

/// What differs between two states.
package enum TreeDiff {
    /// One path that differs. Removed when there is nothing after, added when there was nothing before.
    package struct Change {
        package let key: [UInt8]
        package let before: TreeItem?
        package let after: TreeItem?

        /// The path; a key that no path has throws `.damaged`.
        package func path() throws -> TreePath {
            guard let path = TreePath(key: key) else { throw ByteReader.malformed("key of no path") }
            return path
        }
    }

    /// Gives every path at or below `path` whose entry differs from `a` to `b`, in the order of the keys, until `body`
    /// returns false.
    ///
    /// The work is proportional to the difference: subtrees with the same content key are passed, also where the nodes
    /// around them differ.
    package static func diff(
        _ a: TreeReader, _ b: TreeReader, below path: TreePath = .root, _ body: (Change) throws -> Bool
    ) throws {
        if a.root == b.root, try a.overlay().isEmpty, try b.overlay().isEmpty { return }
        if path.isRoot {
            _ = try walk(a, b, prefix: [], body)
            return
        }
        let own = path.key
        let before = try a.find(own)
        let after = try b.find(own)
        if try !isSame(before, after), try !body(Change(key: own, before: before, after: after)) { return }
        _ = try walk(a, b, prefix: path.subtreePrefix, body)
    }

    private static func isSame(_ a: TreeItem?, _ b: TreeItem?) throws -> Bool {
        switch (a, b) {
        case (nil, nil): true
        case (let a?, let b?): try a.hasSameEntry(as: b)
        default: false
        }
    }

    private static func walk(
        _ a: TreeReader, _ b: TreeReader, prefix: [UInt8], _ body: (Change) throws -> Bool
    ) throws -> Bool {
        let left = TreeCursor(a)
        let right = TreeCursor(b)
        if prefix.isEmpty {
            try left.start()
            try right.start()
        } else {
            try left.start(at: prefix)
            try right.start(at: prefix)
        }
        while true {
            let hasLeft = isInside(left, prefix)
            let hasRight = isInside(right, prefix)
            if !hasLeft && !hasRight { return true }
            let order = !hasLeft ? 1 : !hasRight ? -1 : ByteOrder.compare(left.key, right.key)
            if order < 0 {
                if case .entry(let block, let index) = left.position {
                    let item = TreeItem(key: left.key, block: block, index: index)
                    guard try body(Change(key: item.key, before: item, after: nil)) else { return false }
                    try left.skip()
                } else {
                    try left.open()
                }
                continue
            }
            if order > 0 {
                if case .entry(let block, let index) = right.position {
                    let item = TreeItem(key: right.key, block: block, index: index)
                    guard try body(Change(key: item.key, before: nil, after: item)) else { return false }
                    try right.skip()
                } else {
                    try right.open()
                }
                continue
            }
            switch (left.position, right.position) {
            case (.subtree(let leftLevel, let leftChild), .subtree(let rightLevel, let rightChild)):
                if leftLevel == rightLevel, leftChild.key == rightChild.key {
                    try left.skip()
                    try right.skip()
                } else {
                    // The higher one, so that both come to the same level; of equals both.
                    if leftLevel >= rightLevel { try left.open() }
                    if rightLevel >= leftLevel { try right.open() }
                }
            case (.subtree, _): try left.open()
            case (_, .subtree): try right.open()
            case (.entry(let leftBlock, let leftIndex), .entry(let rightBlock, let rightIndex)):
                let before = TreeItem(key: left.key, block: leftBlock, index: leftIndex)
                let after = TreeItem(key: right.key, block: rightBlock, index: rightIndex)
                if try !before.hasSameEntry(as: after) {
                    guard try body(Change(key: before.key, before: before, after: after)) else { return false }
                }
                try left.skip()
                try right.skip()
            default: return true
            }
        }
    }

    /// Whether the cursor is at something that begins with the prefix. A subtree may also hold what does not; that is
    /// found when it is opened.
    private static func isInside(_ cursor: TreeCursor, _ prefix: [UInt8]) -> Bool {
        if case .end = cursor.position { return false }
        return cursor.key.starts(with: prefix)
    }
}
