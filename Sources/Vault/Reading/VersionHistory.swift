package import Model

/// Finds when one path changed, from point to point.
///
/// Most points say nothing of most paths: a point with the same references as the one before is not opened, and of one that
/// adds deltas to the same tree only those are read. Nodes are read once, however many trees share them.
package final class VersionHistory {
    /// What became of the path.
    package enum Change: String, Sendable {
        case added, removed, content, metadata
        /// A file where a directory was, and so on.
        case type
    }

    package struct Version: Sendable {
        package var change: Change
        /// As it is now; `nil` when it is gone.
        package var entry: Entry?
    }

    private final class Nodes: NodeSource {
        private let fetcher: BlobFetcher
        private let memory: PointMemory

        init(_ records: PointRecords) {
            fetcher = records.makeFetcher()
            memory = records.memory
        }

        func node(_ key: ContentKey, type: BlobType) throws -> [UInt8] {
            try memory.node(key) { try fetcher.fetch(key, type: type) { Array($0) } }
        }
    }

    /// What is known of a row of points that protect the same.
    private struct Row {
        var references: [BlobID]
        var outline: PointOutline
        var entry: Entry?
    }

    private let path: TreePath
    private let records: PointRecords
    private let nodes: Nodes
    private var rows: [UInt64: Row] = [:]
    private var last: Entry?

    /// - Parameter records: of the machine that made the points.
    package init(path: TreePath, records: PointRecords) {
        self.path = path
        self.records = records
        nodes = Nodes(records)
    }

    /// What the next point says; points in the order of their times. `nil`: nothing new.
    package func next(_ point: PointSummary) throws -> Version? {
        let before = rows[point.series]
        if let before, before.references == point.references { return nil }
        let outline = try records.outline(of: point.id)
        let isProtected = outline.protectedPaths.contains {
            TreePath(normalizing: $0).map { $0.contains(path) || path.contains($0) } ?? false
        }
        guard isProtected else { return nil }
        var entry = before?.entry
        if try before.map({ try saysNothing(outline, after: $0.outline) }) != true {
            entry = try TreeReader(source: nodes, root: outline.root, deltas: outline.deltas).lookup(path)
        }
        rows[point.series] = Row(references: point.references, outline: outline, entry: entry)
        defer { last = entry }
        return VersionHistory.change(from: last, to: entry).map { Version(change: $0, entry: entry) }
    }

    /// Whether a point has the tree and deltas of the one before and further deltas that do not name the path.
    private func saysNothing(_ outline: PointOutline, after before: PointOutline) throws -> Bool {
        guard outline.root == before.root, outline.deltas.starts(with: before.deltas) else { return false }
        let key = path.key
        for delta in outline.deltas.dropFirst(before.deltas.count) {
            for operation in try Delta.decode(try nodes.node(delta, type: .delta)).operations {
                if operation.key == key, operation.change != .deleteBelow { return false }
                guard operation.change == .deleteBelow, let above = TreePath(key: operation.key) else { continue }
                if above != path, above.contains(path) { return false }
            }
        }
        return true
    }

    private static func change(from before: Entry?, to after: Entry?) -> Change? {
        switch (before, after) {
        case (nil, nil): return nil
        case (nil, _?): return .added
        case (_?, nil): return .removed
        case (let before?, let after?):
            if before == after { return nil }
            if before.kind != after.kind { return .type }
            return before.content != after.content || before.size != after.size || before.target != after.target
                ? .content : .metadata
        }
    }
}
