package import Model
import Platform
import Synchronization

/// Opens the records of a machine's points for who goes through many of them: who may sign is found once, and what was opened is
/// remembered.
package struct PointRecords: Sendable {
    let service: any VaultService
    let memory: PointMemory
    private let keys: any PointOpener
    private let signers: PointSigners

    /// Fewer points than this are opened by who asks for them.
    private static let worthThreads = 64

    /// - Parameters:
    ///   - machine: that made the points.
    ///   - memory: of what was read of the same machine before.
    package init(
        of machine: MachineID, service: any VaultService, keys: any PointOpener, memory: PointMemory = PointMemory()
    ) throws {
        self.service = service
        self.keys = keys
        self.memory = memory
        signers = PointSigners(try service.machineRecords(of: machine), of: keys.vaultVerifying)
    }

    /// What matters of a point's record, or of the one that a redaction put in its place. Throws as `PointOpener.openRecord`.
    package func outline(of point: PointID) throws -> PointOutline {
        try memory.outline(of: point) {
            PointOutline(
                try keys.openRecord(
                    try service.point(point), signers: signers, redactions: try service.redactions(of: point)))
        }
    }

    /// Opens the records of many points with all processors, and remembers them. What cannot be opened is told to who asks for it.
    package func openAhead(_ points: [PointSummary]) {
        let missing = points.lazy.map(\.id).filter { !memory.hasOutline(of: $0) }.map { $0 } as [PointID]
        guard missing.count >= Self.worthThreads else { return }
        let queue = Queue(missing)
        let helpers = (1..<max(1, min(Machine.processorCount, 8))).compactMap { _ in
            try? WorkerThread(name: "records") { queue.drain { _ = try? outline(of: $0) } }
        }
        queue.drain { _ = try? outline(of: $0) }
        for helper in helpers { helper.join() }
    }

    func makeFetcher() -> BlobFetcher { BlobFetcher(service: service, checker: nil) }

    private final class Queue: Sendable {
        private let points: [PointID]
        private let next = Atomic(0)

        init(_ points: [PointID]) { self.points = points }

        func drain(_ body: (PointID) -> Void) {
            while true {
                let place = next.add(1, ordering: .relaxed).oldValue
                guard place < points.count else { return }
                body(points[place])
            }
        }
    }
}
