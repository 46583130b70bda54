import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

/// The pipeline beside a vault that answers late, or refuses.
@Suite("The sealing pipeline")
struct SealingPipelineTests {
    /// A vault in memory that a test gets between.
    private final class OtherService: VaultService {
        let base = MemoryVault()
        let beforeMissing: @Sendable () -> Void
        let beforeStore: @Sendable (SealedPack) throws -> Void

        init(
            beforeMissing: @escaping @Sendable () -> Void = {},
            beforeStore: @escaping @Sendable (SealedPack) throws -> Void = { _ in }
        ) {
            self.beforeMissing = beforeMissing
            self.beforeStore = beforeStore
        }

        var vault: VaultID { base.vault }
        func openLease(_ request: LeaseRequest) throws -> Lease { try base.openLease(request) }
        func closeLease(_ id: LeaseID) { base.closeLease(id) }
        func missing(_ blobs: [BlobQuestion], lease: LeaseID) throws -> [Bool] {
            beforeMissing()
            return try base.missing(blobs, lease: lease)
        }
        func store(_ pack: SealedPack, lease: LeaseID) throws {
            try beforeStore(pack)
            try base.store(pack, lease: lease)
        }
        func commit(_ point: SealedPoint, lease: LeaseID) throws -> CommitReceipt {
            try base.commit(point, lease: lease)
        }
        func points(_ query: PointQuery) throws -> [PointSummary] { try base.points(query) }
        func point(_ id: PointID) throws -> SealedPoint { try base.point(id) }
        func machineRecords() throws -> [MachineID: MachineRecord] { try base.machineRecords() }
        func machineRecords(of machine: MachineID) throws -> [MachineRecord] {
            try base.machineRecords(of: machine)
        }
        func read(_ ids: [BlobID], _ body: (BlobID, UnsafeRawBufferPointer) throws -> Void) throws {
            try base.read(ids, body)
        }
    }

    private func pipeline(_ service: any VaultService) throws -> SealingPipeline {
        let secrets = try VaultKeys.makeVault(
            kind: .serverReadable, secrets: [], created: Timestamp(seconds: 1_700_000_000)
        ).keys
        let machine = MachineID.random()
        let lease = try service.openLease(.writer(machine: machine)).id
        let pipeline = SealingPipeline(
            service: service, lease: lease, vault: service.vault, machine: machine,
            secret: secrets.domainSecret(domain: DomainSecret.vaultDomain, number: 1),
            options: SealingPipeline.Options(workers: 2))
        try pipeline.start()
        return pipeline
    }

    private func submit(_ text: String, to pipeline: SealingPipeline) throws -> BlobTicket {
        let bytes = Array(text.utf8)
        let slab = Slab(capacity: bytes.count)
        bytes.withUnsafeBytes { slab.base.copyMemory(from: $0.baseAddress!, byteCount: bytes.count) }
        return try pipeline.submit([SlabRange(slab: slab, range: 0..<bytes.count)])
    }

    @Test("contents that another worker is about to seal may be named only when they lie in a pack")
    func twins() throws {
        struct State {
            var questions = 0
            var isOver = false
        }
        let state = Monitor(State())
        let service = OtherService(beforeMissing: {
            state.update { $0.questions += 1 }
            // The first worker hangs here until the node was stored, or shows by waiting that it cannot be.
            _ = state.waitUntil({ $0.isOver }, nanoseconds: 300_000_000)
        })
        let pipeline = try pipeline(service)
        defer { pipeline.stop() }
        let first = try submit("the same", to: pipeline)
        state.wait { $0.questions > 0 ? () : nil }
        let second = try submit("the same", to: pipeline)
        let key = try pipeline.wait(for: second)
        _ = try pipeline.put(type: .node, plain: [1, 2, 3], children: [key], known: [])
        try pipeline.flush()
        state.update { $0.isOver = true }
        #expect(try pipeline.wait(for: first) == key)
        #expect(service.base.packCount(.data) == 1 && service.base.packCount(.meta) == 1)
    }

    @Test("blobs of a pack whose name is being removed are stored under another name", arguments: [1, 2, 5])
    func condemnedName(blobs count: Int) throws {
        let condemned = Mutex<PackName?>(nil)
        let service = OtherService(beforeStore: { pack in
            let name = condemned.withLock { name in
                if name == nil { name = pack.name }
                return name
            }
            if pack.name == name { throw HoldfastError(.condemned, "a pack of this name is being removed") }
        })
        let pipeline = try pipeline(service)
        defer { pipeline.stop() }
        let tickets = try (0..<count).map { try submit("contents \($0)", to: pipeline) }
        let keys = try tickets.map { try pipeline.wait(for: $0) }
        try pipeline.flush()
        var found = 0
        try service.read(keys.map { BlobCrypto.id(of: $0) }) { _, _ in found += 1 }
        #expect(found == count)
    }
}
