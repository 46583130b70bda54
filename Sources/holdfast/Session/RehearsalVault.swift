import Model
import Synchronization
import Vault

/// A vault to which nothing is written: answers like the real one, counts what it is given, and ends the backup where it
/// would become visible.
final class RehearsalVault: VaultService {
    /// Thrown where the point would be committed.
    struct Ended: Error {}

    private let real: any VaultService
    private let stored = Mutex<UInt64>(0)

    init(_ real: any VaultService) { self.real = real }

    /// Bytes of the packs that would have been stored.
    var bytes: UInt64 { stored.withLock { $0 } }

    var vault: VaultID { real.vault }

    func openLease(_ request: LeaseRequest) throws -> Lease { try real.openLease(request) }

    func closeLease(_ id: LeaseID) { real.closeLease(id) }

    func missing(_ blobs: [BlobQuestion], lease: LeaseID) throws -> [Bool] {
        try real.missing(blobs, lease: lease)
    }

    func store(_ pack: SealedPack, lease: LeaseID) throws { stored.withLock { $0 += UInt64(pack.bytes.count) } }

    func commit(_ point: SealedPoint, lease: LeaseID) throws -> CommitReceipt { throw Ended() }

    func points(_ query: PointQuery) throws -> [PointSummary] { try real.points(query) }

    func point(_ id: PointID) throws -> SealedPoint { try real.point(id) }
    func machineRecords(of machine: MachineID) throws -> [MachineRecord] { try real.machineRecords(of: machine) }
    func machineRecords() throws -> [MachineID: MachineRecord] { try real.machineRecords() }
    func redactions(of point: PointID) throws -> [RedactionRecord] { try real.redactions(of: point) }

    func read(_ ids: [BlobID], _ body: (BlobID, UnsafeRawBufferPointer) throws -> Void) throws {
        try real.read(ids, body)
    }
}
