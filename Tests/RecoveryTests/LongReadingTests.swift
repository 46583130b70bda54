import Capture
import Model
import Synchronization
import Testing
import Vault

@Suite("Readers that stay open for days")
struct LongReadingTests {
    /// Knows which leases are held; forgets them as a server that is restarted does.
    private final class Forgetful: VaultService {
        private let real: any VaultService
        private let held = Mutex<Set<LeaseID>>([])
        init(_ real: any VaultService) { self.real = real }

        var leases: Int { held.withLock { $0.count } }
        func restart() { held.withLock { $0 = [] } }

        var vault: VaultID { real.vault }
        func openLease(_ request: LeaseRequest) throws -> Lease {
            let lease = try real.openLease(request)
            held.withLock { _ = $0.insert(lease.id) }
            return lease
        }
        func closeLease(_ id: LeaseID) { held.withLock { _ = $0.remove(id) } }
        func missing(_ blobs: [BlobQuestion], lease: LeaseID) throws -> [Bool] { try real.missing(blobs, lease: lease) }
        func store(_ pack: SealedPack, lease: LeaseID) throws { try real.store(pack, lease: lease) }
        func commit(_ point: SealedPoint, lease: LeaseID) throws -> CommitReceipt {
            try real.commit(point, lease: lease)
        }
        func points(_ query: PointQuery) throws -> [PointSummary] { try real.points(query) }
        func point(_ id: PointID) throws -> SealedPoint { try real.point(id) }
        func machineRecords(of machine: MachineID) throws -> [MachineRecord] { try real.machineRecords(of: machine) }
        func machineRecords() throws -> [MachineID: MachineRecord] { try real.machineRecords() }
        func read(_ ids: [BlobID], _ body: (BlobID, UnsafeRawBufferPointer) throws -> Void) throws {
            try real.read(ids, body)
        }
    }

    @Test("a reader takes a new lease when it is told to, holds one at a time, and gives the last one back")
    func renewal() throws {
        let fixture = try RestoreFixture()
        try fixture.write("a", [1, 2, 3])
        let point = try fixture.backUp().point
        let service = Forgetful(fixture.vault)
        let reader = try fixture.open(point, through: service)
        #expect(service.leases == 1)
        try reader.renewLease()
        #expect(service.leases == 1)
        service.restart()
        try reader.renewLease()
        #expect(service.leases == 1)
        reader.close()
        #expect(service.leases == 0)
        try reader.renewLease()
        #expect(service.leases == 0, "a closed reader has taken a lease")
    }
}
