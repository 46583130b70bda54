import Model
import Synchronization

/// What was read of a machine's points, for all who go through many of them: opening a record and checking its signature takes far
/// longer than looking at it, and there are thousands. What is in it was opened with the vault's keys, and lies in memory only; what was
/// redacted since it was read is still in it.
package final class PointMemory: Sendable {
    private struct Contents {
        var records: [PointID: PointRecord] = [:]
        var nodes: [ContentKey: [UInt8]] = [:]
        var recordSize = 0
        var nodeSize = 0
    }

    private let contents = Mutex(Contents())
    private static let mostOfRecords = 64 << 20
    private static let mostOfNodes = 32 << 20

    package init() {}

    func hasRecord(of point: PointID) -> Bool { contents.withLock { $0.records[point] != nil } }

    /// - Parameter open: is called without the lock.
    func record(of point: PointID, _ open: () throws -> PointRecord) throws -> PointRecord {
        if let known = contents.withLock({ $0.records[point] }) { return known }
        let record = try open()
        contents.withLock { contents in
            if contents.recordSize > Self.mostOfRecords { (contents.records, contents.recordSize) = ([:], 0) }
            guard contents.records.updateValue(record, forKey: point) == nil else { return }
            contents.recordSize += 512 + record.deltas.count * 32 + record.protectedPaths.reduce(0) { $0 + $1.count }
        }
        return record
    }

    /// - Parameter read: is called without the lock.
    func node(_ key: ContentKey, _ read: () throws -> [UInt8]) throws -> [UInt8] {
        if let known = contents.withLock({ $0.nodes[key] }) { return known }
        let bytes = try read()
        contents.withLock { contents in
            if contents.nodeSize > Self.mostOfNodes { (contents.nodes, contents.nodeSize) = ([:], 0) }
            guard contents.nodes.updateValue(bytes, forKey: key) == nil else { return }
            contents.nodeSize += bytes.count + 64
        }
        return bytes
    }
}
