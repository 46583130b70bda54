package import Model

/// Goes through the paths of many points of a machine: what points share is passed once, so all of a long history costs little
/// more than its newest point and its changes.
package final class PathCollector {
    private let fetcher: BlobFetcher
    private let keys: any PointOpener
    private let service: any VaultService
    private let machines: [MachineRecord]
    /// Nodes and deltas that were passed.
    private var passed: Set<ContentKey> = []
    private var points: Set<PointID> = []

    /// - Parameter machines: the records of the machine that made the points.
    package init(service: any VaultService, keys: any PointOpener, machines: [MachineRecord]) {
        self.service = service
        self.keys = keys
        self.machines = machines
        fetcher = BlobFetcher(service: service, checker: nil)
    }

    /// Whether a point was passed.
    package func knows(_ point: PointID) -> Bool { points.contains(point) }

    /// Gives the keys of the paths in a point that no point before it had in the same place of its tree; one that was changed
    /// comes again.
    ///
    /// Throws what cannot be read as `damaged`; the point is passed over by the next call then.
    package func collect(_ point: PointSummary, _ body: (_ key: [UInt8]) throws -> Void) throws {
        guard points.insert(point.id).inserted else { return }
        let record = try keys.openRecord(
            try service.point(point.id), machines: machines, redactions: try service.redactions(of: point.id))
        for key in record.deltas where passed.insert(key).inserted {
            for operation in try Delta.decode(try bytes(key, .delta)).operations {
                if case .put = operation.change { try body(operation.key) }
            }
        }
        var waiting = [record.root]
        while let key = waiting.popLast() {
            guard passed.insert(key).inserted else { continue }
            let node = try ItemBlock.node(try bytes(key, .node))
            for index in 0..<node.count {
                if node.level > 0 { waiting.append(try node.child(index).key) } else { try body(node.key(index)) }
            }
        }
    }

    private func bytes(_ key: ContentKey, _ type: BlobType) throws -> [UInt8] {
        try fetcher.fetch(key, type: type) { Array($0) }
    }
}
