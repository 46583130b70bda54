package import Model
import Synchronization
package import Vault

/// A vault in memory: the rules of `VaultService` without store, catalog or time. Tests of writers and readers use it
/// where nothing has to survive, and break it on purpose.
package final class MemoryVault: VaultService {
    package struct Faults: Sendable {
        /// The next so many packs are answered as condemned.
        package var condemned = 0
        /// After so many packs the disk is full.
        package var packsUntilFull = Int.max
        /// What openLease reports as damaged.
        package var damaged: [BlobID] = []
    }

    private struct State {
        var blobs: [BlobID: [UInt8]] = [:]
        var references: [BlobID: [BlobID]] = [:]
        var points: [SealedPoint] = []
        var machines: [MachineRecord] = []
        var head: [MachineID: MachineHead] = [:]
        var leases: Set<LeaseID> = []
        var packs: [PackName: PackClass] = [:]
        var writers: Set<WriterID> = []
        var faults = Faults()
        var questions = 0
    }

    package let vault: VaultID
    private let state = Mutex(State())

    package init(vault: VaultID = .random()) { self.vault = vault }

    /// What goes wrong from now on.
    package func inject(_ change: @Sendable (inout Faults) -> Void) { state.withLock { change(&$0.faults) } }

    /// How many packs of a class are stored.
    package func packCount(_ packClass: PackClass) -> Int {
        state.withLock { $0.packs.values.count { $0 == packClass } }
    }

    /// Bytes of all blobs with their frames.
    package var storedBytes: Int { state.withLock { $0.blobs.values.reduce(0) { $0 + $1.count } } }

    /// How many ids were asked for with `missing`.
    package var questions: Int { state.withLock { $0.questions } }

    /// Whether everything that the committed points name is there.
    package var isWhole: Bool {
        state.withLock { state in
            var stack = state.points.flatMap { $0.locator.references }
            var seen: Set<BlobID> = []
            while let id = stack.popLast() {
                if !seen.insert(id).inserted { continue }
                guard state.blobs[id] != nil else { return false }
                stack += state.references[id] ?? []
            }
            return true
        }
    }

    package func openLease(_ request: LeaseRequest) throws -> Lease {
        state.withLock { state in
            let id = LeaseID.random()
            state.leases.insert(id)
            guard case .writer(let machine, let known, let base) = request.purpose else {
                return Lease(
                    id: id, generation: 1, head: nil,
                    next: PointPosition(incarnation: .random(), number: 1, previous: .none), isNewIncarnation: false,
                    baseAvailable: false, damaged: [])
            }
            let head = state.head[machine]
            let fits = head != nil && head == known
            let next =
                fits
                ? PointPosition(incarnation: head!.incarnation, number: head!.number + 1, previous: head!.hash)
                : PointPosition(incarnation: .random(), number: 1, previous: .none)
            return Lease(
                id: id, generation: 1, head: head, next: next, isNewIncarnation: !fits,
                baseAvailable: state.points.contains { $0.locator.point == base }, damaged: state.faults.damaged)
        }
    }

    /// Lets readers know a machine.
    package func register(_ machine: MachineRecord) { state.withLock { $0.machines.append(machine) } }

    package func machineRecords() throws -> [MachineID: MachineRecord] {
        let records = state.withLock { $0.machines }
        return Dictionary(records.map { ($0.machine, $0) }) { $0.joined < $1.joined ? $1 : $0 }
    }

    package func machineRecords(of machine: MachineID) throws -> [MachineRecord] {
        state.withLock { $0.machines.filter { $0.machine == machine } }
    }

    /// Who stands in the headers of the packs.
    package var writers: Set<WriterID> { state.withLock { $0.writers } }

    package func closeLease(_ id: LeaseID) { state.withLock { _ = $0.leases.remove(id) } }

    package func missing(_ blobs: [BlobQuestion], lease: LeaseID) throws -> [Bool] {
        state.withLock { state in
            state.questions += blobs.count
            return blobs.map { state.blobs[$0.id] == nil || state.faults.damaged.contains($0.id) }
        }
    }

    package func store(_ pack: SealedPack, lease: LeaseID) throws {
        // Everything is read back from the bytes, as a store would hand it out.
        let parsed = try SealedPack(parsing: pack.bytes, vault: vault)
        try state.withLock { state in
            guard state.leases.contains(lease) else { throw HoldfastError(.leaseLost, "no such lease") }
            if state.faults.condemned > 0 {
                state.faults.condemned -= 1
                throw HoldfastError(.condemned, "the pack is being deleted")
            }
            if state.packs.count >= state.faults.packsUntilFull { throw HoldfastError(.noSpace, "the disk is full") }
            for blob in parsed.blobs {
                let absent = blob.references.filter { state.blobs[$0] == nil }
                if !absent.isEmpty {
                    var error = HoldfastError(.missingBlobs, "blobs are missing")
                    error.blobs = absent
                    throw error
                }
                state.blobs[blob.id] = Array(parsed.bytes[Int(blob.range.lowerBound)..<Int(blob.range.upperBound)])
                state.references[blob.id] = blob.references
            }
            state.packs[parsed.name] = parsed.packClass
            state.writers.insert(parsed.writer)
        }
    }

    package func commit(_ point: SealedPoint, lease: LeaseID) throws -> CommitReceipt {
        try state.withLock { state in
            let absent = point.locator.references.filter { state.blobs[$0] == nil }
            if !absent.isEmpty {
                var error = HoldfastError(.missingBlobs, "blobs are missing")
                error.blobs = absent
                throw error
            }
            let locator = point.locator
            if let head = state.head[locator.machine], head.incarnation == locator.incarnation,
                locator.number != head.number + 1 || locator.previous != head.hash
            {
                throw HoldfastError(.headMoved, "another writer was quicker")
            }
            state.points.append(point)
            let head = MachineHead(incarnation: locator.incarnation, number: locator.number, hash: locator.hash)
            state.head[locator.machine] = head
            return CommitReceipt(point: locator.point, arrival: locator.time, storedUpTo: head)
        }
    }

    package func points(_ query: PointQuery) throws -> [PointSummary] {
        state.withLock { state in
            state.points.map { point in
                let locator = point.locator
                return PointSummary(
                    id: locator.point, machine: locator.machine, incarnation: locator.incarnation,
                    number: locator.number, time: locator.time, arrival: locator.time, effective: locator.time,
                    kind: locator.kind, isPartial: locator.isPartial, isPinned: locator.isPinned,
                    series: locator.series, hash: locator.hash,
                    previous: locator.previous, references: locator.references, condition: .whole, isHeld: false)
            }.filter { query.machine == nil || $0.machine == query.machine }
        }
    }

    package func point(_ id: PointID) throws -> SealedPoint {
        guard let point = state.withLock({ $0.points.first { $0.locator.point == id } }) else {
            throw HoldfastError(.notFound, "no such point")
        }
        return point
    }

    package func read(_ ids: [BlobID], _ body: (BlobID, UnsafeRawBufferPointer) throws -> Void) throws {
        var absent: [BlobID] = []
        for id in ids {
            guard let framed = state.withLock({ $0.blobs[id] }) else {
                absent.append(id)
                continue
            }
            try framed.withUnsafeBytes { try body(id, $0) }
        }
        if !absent.isEmpty {
            var error = HoldfastError(.damaged, "blobs are missing")
            error.blobs = absent
            throw error
        }
    }
}
