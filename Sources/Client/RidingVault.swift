package import Model
import Synchronization
package import Vault

/// Lets small packs wait for the point that they belong to and sends all in one request: a small change then costs one
/// exchange with the server, and not three.
///
/// What `store` answered is promised for the commit only; that was so before, because nothing is visible until then. When the
/// commit fails the packs are forgotten, and the writer begins again, as it does after every failed commit.
package final class RidingVault: VaultService {
    private let inner: any VaultService
    private struct Held {
        var packs: [SealedPack] = []
        var bytes: Int { packs.reduce(0) { $0 + $1.bytes.count } }
    }

    private let held = Mutex<[LeaseID: Held]>([:])

    package init(_ inner: any VaultService) { self.inner = inner }

    package var vault: VaultID { inner.vault }

    package func openLease(_ request: LeaseRequest) throws -> Lease { try inner.openLease(request) }

    package func closeLease(_ id: LeaseID) {
        held.withLock { $0[id] = nil }
        inner.closeLease(id)
    }

    package func missing(_ blobs: [BlobQuestion], lease: LeaseID) throws -> [Bool] {
        try inner.missing(blobs, lease: lease)
    }

    package func store(_ pack: SealedPack, lease: LeaseID) throws {
        let waits = held.withLock { held in
            var own = held[lease] ?? Held()
            guard own.packs.count < VaultMessages.maximumRiding,
                own.bytes + pack.bytes.count <= VaultLimits.ridingBytes
            else { return false }
            own.packs.append(pack)
            held[lease] = own
            return true
        }
        if waits { return }
        // It may name what waits.
        for earlier in take(lease) { try inner.store(earlier, lease: lease) }
        try inner.store(pack, lease: lease)
    }

    private func take(_ lease: LeaseID) -> [SealedPack] {
        held.withLock { held in
            defer { held[lease] = nil }
            return held[lease]?.packs ?? []
        }
    }

    package func commit(_ point: SealedPoint, lease: LeaseID) throws -> CommitReceipt {
        try commit(point, with: [], lease: lease)
    }

    package func commit(_ point: SealedPoint, with packs: [SealedPack], lease: LeaseID) throws -> CommitReceipt {
        // The same packs come again when only the point's place in its chain was wrong.
        let all = held.withLock { $0[lease]?.packs ?? [] } + packs
        let receipt = try inner.commit(point, with: all, lease: lease)
        held.withLock { $0[lease] = nil }
        return receipt
    }

    package func points(_ query: PointQuery) throws -> [PointSummary] { try inner.points(query) }
    package func point(_ id: PointID) throws -> SealedPoint { try inner.point(id) }
    package func machineRecords(of machine: MachineID) throws -> [MachineRecord] {
        try inner.machineRecords(of: machine)
    }
    package func machineRecords() throws -> [MachineID: MachineRecord] { try inner.machineRecords() }
    package func redactions(of point: PointID) throws -> [RedactionRecord] { try inner.redactions(of: point) }
    package func read(_ ids: [BlobID], _ body: (BlobID, UnsafeRawBufferPointer) throws -> Void) throws {
        try send(ids)
        try inner.read(ids, body)
    }

    /// Sends what waits if something that is asked for is in it.
    ///
    /// A pack is let go of when it was taken, and not before: its writer may commit meanwhile, and then brings it along once
    /// more. What is another writer's fails for that writer, and not for who reads.
    private func send(_ ids: [BlobID]) throws {
        let wanted = Set(ids)
        let waiting = held.withLock { held in
            held.filter { $0.value.packs.contains { $0.blobs.contains { wanted.contains($0.id) } } }
        }
        for (lease, own) in waiting {
            do {
                for pack in own.packs { try inner.store(pack, lease: lease) }
            } catch {
                continue
            }
            let sent = Set(own.packs.map(\.name))
            held.withLock { $0[lease]?.packs.removeAll { sent.contains($0.name) } }
        }
    }
}
