package import Model

/// Goes through the paths of many points of a machine: what points share is passed once, so all of a long history costs little
/// more than its newest point and its changes.
///
/// What cannot be read is passed over and remembered: it costs nothing again until `retry`.
package final class PathCollector {
    /// Nodes and deltas that were passed.
    private var passed: Set<ContentKey> = []
    /// Those of them that could not be read; what hangs below them was not reached.
    private var unread: [ContentKey: BlobType] = [:]
    private var points: Set<PointID> = []
    /// Points whose records could not be opened.
    private var unopened: Set<PointID> = []
    /// Something of what could not be read may be there in a moment.
    package private(set) var mayPass = false

    package init() {}

    /// Whether a point was passed, or is one that could not be opened.
    package func knows(_ point: PointID) -> Bool { points.contains(point) || unopened.contains(point) }

    /// Whether something could not be read.
    package var isPartial: Bool { !unread.isEmpty || !unopened.isEmpty }

    /// Gives the keys of the paths in a point that no point before it had in the same place of its tree; one that was changed
    /// comes again.
    package func collect(_ point: PointSummary, from records: PointRecords, _ body: (_ key: [UInt8]) -> Void) {
        guard !knows(point.id) else { return }
        let outline: PointOutline
        do { outline = try records.outline(of: point.id) } catch {
            unopened.insert(point.id)
            note(error)
            return
        }
        points.insert(point.id)
        let fetcher = records.makeFetcher()
        for key in outline.deltas { pass(delta: key, records, fetcher, body) }
        pass(tree: outline.root, fetcher, body)
    }

    /// Tries once more what could not be read, and lets points that could not be opened be collected again.
    package func retry(from records: PointRecords, _ body: (_ key: [UInt8]) -> Void) {
        let again = unread
        (unread, unopened, mayPass) = ([:], [], false)
        let fetcher = records.makeFetcher()
        for (key, type) in again {
            passed.remove(key)
            if type == .delta { pass(delta: key, records, fetcher, body) } else { pass(tree: key, fetcher, body) }
        }
    }

    /// Forgets what could not be opened of points that are gone.
    package func keep(_ points: Set<PointID>) { unopened.formIntersection(points) }

    private func pass(
        delta key: ContentKey, _ records: PointRecords, _ fetcher: BlobFetcher, _ body: ([UInt8]) -> Void
    ) {
        guard passed.insert(key).inserted else { return }
        do {
            let delta = try records.memory.node(key) { try fetcher.fetch(key, type: .delta) { Array($0) } }
            for operation in try Delta.decode(delta).operations {
                if case .put = operation.change { body(operation.key) }
            }
        } catch {
            unread[key] = .delta
            note(error)
        }
    }

    private func pass(tree root: ContentKey, _ fetcher: BlobFetcher, _ body: ([UInt8]) -> Void) {
        var waiting = [root]
        while let key = waiting.popLast() {
            guard passed.insert(key).inserted else { continue }
            do {
                let node = try ItemBlock.node(try fetcher.fetch(key, type: .node) { Array($0) })
                for index in 0..<node.count {
                    if node.level > 0 { waiting.append(try node.child(index).key) } else { body(node.key(index)) }
                }
            } catch {
                unread[key] = .node
                note(error)
            }
        }
    }

    private func note(_ error: any Error) {
        if (error as? HoldfastError)?.isTemporary == true { mayPass = true }
    }
}
