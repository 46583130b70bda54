package import Model

/// Goes through the paths of many points of a machine: what points share is passed once, so all of a long history costs little
/// more than its newest point and its changes.
package final class PathCollector {
    /// Nodes and deltas that were passed.
    private var passed: Set<ContentKey> = []
    private var points: Set<PointID> = []

    package init() {}

    /// Whether a point was passed.
    package func knows(_ point: PointID) -> Bool { points.contains(point) }

    /// Gives the keys of the paths in a point that no point before it had in the same place of its tree; one that was changed
    /// comes again.
    ///
    /// Throws what cannot be read as `damaged`; the next call reads the point anew then.
    package func collect(
        _ point: PointSummary, from records: PointRecords, _ body: (_ key: [UInt8]) throws -> Void
    ) throws {
        guard !points.contains(point.id) else { return }
        var entered: [ContentKey] = []
        do {
            try walk(try records.record(of: point.id), records, &entered, body)
            points.insert(point.id)
        } catch {
            // What hangs below them was not reached.
            passed.subtract(entered)
            throw error
        }
    }

    private func walk(
        _ record: PointRecord, _ records: PointRecords, _ entered: inout [ContentKey], _ body: ([UInt8]) throws -> Void
    ) throws {
        let fetcher = records.makeFetcher()
        for key in record.deltas where enter(key, &entered) {
            let delta = try records.memory.node(key) { try fetcher.fetch(key, type: .delta) { Array($0) } }
            for operation in try Delta.decode(delta).operations {
                if case .put = operation.change { try body(operation.key) }
            }
        }
        var waiting = [record.root]
        while let key = waiting.popLast() {
            guard enter(key, &entered) else { continue }
            let node = try ItemBlock.node(try fetcher.fetch(key, type: .node) { Array($0) })
            for index in 0..<node.count {
                if node.level > 0 { waiting.append(try node.child(index).key) } else { try body(node.key(index)) }
            }
        }
    }

    private func enter(_ key: ContentKey, _ entered: inout [ContentKey]) -> Bool {
        guard passed.insert(key).inserted else { return false }
        entered.append(key)
        return true
    }
}
