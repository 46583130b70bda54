/// Makes one tree of a tree and the deltas over it.
package enum TreeFold {
    /// Builds the tree that holds the state of `state`, and gives its new nodes to `sink`. It is the same tree that
    /// building the state from its entries would give.
    ///
    /// Reads and writes are proportional to the changes times the depth: subtrees that the deltas say nothing about are
    /// taken over as they are. Only where something changes after such a subtree its right edge is looked at, because a
    /// node may have ended for want of room, which depends on the item that follows.
    package static func fold(_ state: TreeReader, seed: UInt64, sink: any NodeSink) throws -> TreeSummary {
        if try state.overlay().isEmpty {
            let totals = try state.baseTotals()
            return TreeSummary(root: state.root, entries: totals.entries, bytes: totals.bytes)
        }
        var builder = TreeBuilder(seed: seed, sink: sink)
        let cursor = TreeCursor(state)
        try cursor.start()
        while true {
            switch cursor.position {
            case .end: return try builder.finish()
            case .entry(let block, let index):
                if builder.isAtBoundary(0), let leaf = try cursor.untouchedLeaf(seed: seed) {
                    try builder.append(leaf)
                    try cursor.skipLeaf()
                } else {
                    try builder.append(key: cursor.key, entry: try block.entry(index))
                    try cursor.skip()
                }
            case .subtree(let level, let child):
                guard builder.isAtBoundary(level), cursor.isNextUntouched() else {
                    try cursor.open()
                    continue
                }
                try builder.append(
                    TreeBuilder.Subtree(
                        level: level, firstKey: cursor.key, key: child.key, entries: child.entries, bytes: child.bytes))
                try cursor.skip()
            }
        }
    }
}
