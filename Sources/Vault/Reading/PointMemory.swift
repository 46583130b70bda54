package import Model
import Synchronization

/// Of a point's record what is asked for of many points: a whole one may have megabytes of warnings and rules.
package struct PointOutline: SecretValue {
    package let root: ContentKey
    package let deltas: [ContentKey]
    /// As paths in bytes; see `PointRecord.protectedPaths`.
    package let protectedPaths: [[UInt8]]
    package let statistics: PointStatistics

    package init(_ record: PointRecord) {
        root = record.root
        deltas = record.deltas
        protectedPaths = record.protectedPaths
        statistics = record.statistics
    }

    /// Bytes that it takes in memory, or a few more; an array has some of its own.
    fileprivate var size: Int { 512 + deltas.count * 32 + protectedPaths.reduce(0) { $0 + 64 + $1.count } }
}

/// What was read of a machine's points, for all who go through many of them: opening a record and checking its signature takes far
/// longer than looking at it, and there are thousands. What is in it was opened with the vault's keys, and lies in memory only; what was
/// redacted since it was read is still in it.
package final class PointMemory: Sendable {
    private struct Contents {
        var outlines: [PointID: PointOutline] = [:]
        var nodes: [ContentKey: [UInt8]] = [:]
        var outlineSize = 0
        var nodeSize = 0
    }

    private let contents = Mutex(Contents())
    private static let mostOfOutlines = 64 << 20
    private static let mostOfNodes = 32 << 20

    package init() {}

    func hasOutline(of point: PointID) -> Bool { contents.withLock { $0.outlines[point] != nil } }

    /// - Parameter open: is called without the lock.
    func outline(of point: PointID, _ open: () throws -> PointOutline) throws -> PointOutline {
        if let known = contents.withLock({ $0.outlines[point] }) { return known }
        let outline = try open()
        contents.withLock { contents in
            if contents.outlineSize > Self.mostOfOutlines { (contents.outlines, contents.outlineSize) = ([:], 0) }
            guard contents.outlines.updateValue(outline, forKey: point) == nil else { return }
            contents.outlineSize += outline.size
        }
        return outline
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
