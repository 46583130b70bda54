package import Model
import Synchronization

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

    /// What was read of a machine's points, for one history after another: opening a record and checking its signatures takes far longer
    /// than looking at it, and there are thousands. What is in it was opened with the vault's keys, and lies in memory only.
    package final class Memory: Sendable {
        private struct Contents {
            var records: [PointID: PointRecord] = [:]
            var nodes: [ContentKey: [UInt8]] = [:]
            var size = 0
            var recordSize = 0
        }

        private let contents = Mutex(Contents())
        private static let mostOfNodes = 32 << 20
        private static let mostOfRecords = 64 << 20

        package init() {}

        /// - Parameter open: is called without the lock.
        fileprivate func record(_ id: PointID, _ open: () throws -> PointRecord) throws -> PointRecord {
            if let known = contents.withLock({ $0.records[id] }) { return known }
            let record = try open()
            contents.withLock { contents in
                if contents.recordSize > Self.mostOfRecords { (contents.records, contents.recordSize) = ([:], 0) }
                contents.records[id] = record
                contents.recordSize +=
                    512 + record.deltas.count * 32 + record.protectedPaths.reduce(0) { $0 + $1.count }
            }
            return record
        }

        fileprivate func node(_ key: ContentKey, _ read: () throws -> [UInt8]) throws -> [UInt8] {
            if let known = contents.withLock({ $0.nodes[key] }) { return known }
            let bytes = try read()
            contents.withLock { contents in
                if contents.size > Self.mostOfNodes { (contents.nodes, contents.size) = ([:], 0) }
                contents.nodes[key] = bytes
                contents.size += bytes.count + 64
            }
            return bytes
        }
    }

    private final class Nodes: NodeSource {
        private let fetcher: BlobFetcher
        private let memory: Memory

        init(_ service: any VaultService, _ memory: Memory) {
            fetcher = BlobFetcher(service: service, checker: nil)
            self.memory = memory
        }

        func node(_ key: ContentKey, type: BlobType) throws -> [UInt8] {
            try memory.node(key) { try fetcher.fetch(key, type: type) { Array($0) } }
        }
    }

    /// What is known of a row of points that protect the same.
    private struct Row {
        var references: [BlobID]
        var record: PointRecord
        var entry: Entry?
    }

    private let path: TreePath
    private let service: any VaultService
    private let keys: any PointOpener
    private let machines: [MachineRecord]
    private let nodes: Nodes
    private let memory: Memory
    private var rows: [UInt64: Row] = [:]
    private var last: Entry?

    /// - Parameters:
    ///   - machines: the records of the machine that made the points.
    ///   - memory: of earlier histories of the same machine; what was redacted since it was read is still in it.
    package init(
        path: TreePath, service: any VaultService, keys: any PointOpener, machines: [MachineRecord],
        memory: Memory = Memory()
    ) {
        self.path = path
        self.service = service
        self.keys = keys
        self.machines = machines
        self.memory = memory
        nodes = Nodes(service, memory)
    }

    /// What the next point says; points in the order of their times. `nil`: nothing new.
    package func next(_ point: PointSummary) throws -> Version? {
        let before = rows[point.series]
        if let before, before.references == point.references { return nil }
        let record = try memory.record(point.id) {
            try keys.openRecord(
                try service.point(point.id), machines: machines, redactions: try service.redactions(of: point.id))
        }
        let isProtected = record.protectedPaths.contains {
            TreePath(normalizing: $0).map { $0.contains(path) || path.contains($0) } ?? false
        }
        guard isProtected else { return nil }
        var entry = before?.entry
        if try before.map({ try saysNothing(record, after: $0.record) }) != true {
            entry = try TreeReader(source: nodes, root: record.root, deltas: record.deltas).lookup(path)
        }
        rows[point.series] = Row(references: point.references, record: record, entry: entry)
        defer { last = entry }
        return VersionHistory.change(from: last, to: entry).map { Version(change: $0, entry: entry) }
    }

    /// Whether a point has the tree and deltas of the one before and further deltas that do not name the path.
    private func saysNothing(_ record: PointRecord, after before: PointRecord) throws -> Bool {
        guard record.root == before.root, record.deltas.starts(with: before.deltas) else { return false }
        let key = path.key
        for delta in record.deltas.dropFirst(before.deltas.count) {
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
