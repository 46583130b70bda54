import Catalog
import Model
import Synchronization
import TestSupport
import Testing
import Vault

/// The level that opens everything, over real trees.
@Suite("Verification with keys")
struct DataVerificationTests {
    /// Keeps the nodes of a tree as blobs.
    private final class Sink: NodeSink {
        let make: TestBlobMaker
        var nodes: [TestBlob] = []
        init(_ make: TestBlobMaker) { self.make = make }
        func put(type: BlobType, plain: [UInt8], children: [ContentKey]) throws -> ContentKey {
            let blob = make.blob(type, plain, children.map { BlobCrypto.id(of: $0) })
            nodes.append(blob)
            return blob.key
        }
    }

    private struct Scene {
        let fixture: VaultFixture
        let vault: LocalVault
        let machine: TestMachine
        let files: [(name: String, blob: TestBlob)]
        let receipt: CommitReceipt

        /// `swap` seals other contents under the content key of the first file.
        init(poisons: Bool = false) throws {
            fixture = try VaultFixture()
            vault = try fixture.open()
            machine = try fixture.join(vault)
            let writer = try TestWriter(vault, machine)
            files = (0..<300).map { index in
                let number = String(1000 + index)
                return ("file\(number)", writer.make.data(Array(repeating: UInt8(index % 251), count: 300 + index)))
            }
            var blobs = files.map(\.blob)
            if poisons {
                let victim = blobs[0]
                blobs[0] = TestBlob(
                    type: .data, plain: Array("poison".utf8), key: victim.key, id: victim.id, references: [])
            }
            try writer.store(blobs)
            let sink = Sink(writer.make)
            var builder = TreeBuilder(seed: machine.secrets.domainSecret.treeSeed, sink: sink)
            for (name, blob) in files {
                var entry = Entry(kind: .regular, mode: 0o644)
                entry.size = UInt64(blob.plain.count)
                entry.content = .extents([Extent(key: blob.key, offset: 0, length: entry.size)])
                try builder.append(key: TreePath(unchecked: Array(name.utf8)).key, entry: entry)
            }
            let root = try builder.finish().root
            try writer.store(sink.nodes)
            receipt = try writer.commit(writer.point(root: try #require(sink.nodes.first { $0.key == root })))
            writer.close()
        }

        func request(_ level: VerificationLevel = .data) -> VerificationRequest {
            var request = VerificationRequest(level: level)
            request.keys = fixture.keys
            return request
        }
    }

    @Test("a sound vault is sound at every level, and every blob is opened once")
    func sound() throws {
        let scene = try Scene()
        for level in VerificationLevel.allCases {
            let report = try scene.vault.verify(scene.request(level))
            #expect(report.isSound, "\(level): \(report)")
        }
        let report = try scene.vault.verify(scene.request())
        #expect(report.checkedBlobs > 300)
        #expect(throws: HoldfastError.self) { try scene.vault.verify(VerificationRequest(level: .data)) }
    }

    @Test("damage is reported by path")
    func paths() throws {
        let scene = try Scene()
        let victim = scene.files[17]
        let copy = try #require(try scene.vault.catalog.copies(of: [victim.blob.id]).first)
        try scene.fixture.flip(copy.packName, at: Int(copy.range.upperBound) - 20)
        let report = try scene.vault.verify(scene.request())
        #expect(report.damagedPoints.map(\.point) == [scene.receipt.point])
        #expect(report.damagedPoints[0].paths == [TreePath(unchecked: Array(victim.name.utf8))])
        #expect(report.damagedBlobs == 1)
    }

    @Test("contents that are not what their content key says are found by opening them, and only so")
    func poison() throws {
        let scene = try Scene(poisons: true)
        #expect(try scene.vault.verify(scene.request(.structure)).isSound)
        #expect(try scene.vault.verify(scene.request(.packs)).isSound)
        let report = try scene.vault.verify(scene.request())
        #expect(report.damagedPoints.first?.paths == [TreePath(unchecked: Array(scene.files[0].name.utf8))])
    }

    @Test("false contents are not acquitted by bytes that match their pack's name, only by being opened")
    func poisonStays() throws {
        let scene = try Scene(poisons: true)
        let victim = scene.files[0].blob.id
        func condition() throws -> BlobCondition? { try scene.vault.catalog.copies(of: [victim]).first?.condition }
        let report = try scene.vault.verify(scene.request())
        #expect(report.foundBlobs == 1 && !report.isSound)
        #expect(try condition() == .falseContents)
        for level in [VerificationLevel.packs, .structure, .packs] {
            #expect(try !scene.vault.verify(scene.request(level)).isSound, "\(level)")
            #expect(try condition() == .falseContents)
        }
        // The same pack once more: the same bytes.
        let copy = try #require(try scene.vault.catalog.copies(of: [victim]).first)
        let bytes = try scene.fixture.readFile(StoreKey.pack(copy.packName))
        let blobs = try PackIndexReader.read(copy.packName, from: scene.vault.store, vault: scene.vault.vault).blobs
        try scene.vault.catalog.register(
            PackEntry(
                name: copy.packName, packClass: .data, origin: .random(), bytes: UInt64(bytes.count),
                blobCount: blobs.count), blobs: blobs, lease: nil)
        #expect(try condition() == .falseContents)
        let writer = try TestWriter(scene.vault, scene.machine, head: scene.receipt.storedUpTo)
        #expect(try writer.missing([scene.files[0].blob]) == [true])
        #expect(writer.lease.damaged.contains(victim))
        // Contents that are sent again heal the point.
        try writer.store([scene.files[0].blob])
        #expect(try scene.vault.points(PointQuery()).allSatisfy(\.isSound))
        // What was only thought to be false is acquitted when it opens.
        let other = try #require(try scene.vault.catalog.copies(of: [scene.files[1].blob.id]).first)
        try scene.vault.catalog.setCondition(.falseContents, of: [other.reference])
        _ = try scene.vault.verify(scene.request())
        #expect(try scene.vault.catalog.copies(of: [other.id]).map(\.condition) == [.whole])
    }

    @Test("a reader that cannot open what was stored says so for good")
    func readerFindsPoison() throws {
        let scene = try Scene(poisons: true)
        let fetcher = BlobFetcher(
            service: scene.vault, checker: ContentChecker(keys: scene.fixture.keys, domain: DomainSecret.vaultDomain))
        let victim = scene.files[0].blob
        #expect(throws: HoldfastError.self) { try fetcher.fetch(victim.key, type: .data) { _ in } }
        #expect(try scene.vault.catalog.copies(of: [victim.id]).map(\.condition) == [.falseContents])
    }

    @Test(
        "sectors that cannot be read are damage like any other, and the check goes on behind them", arguments: [1, 2])
    func badSectors(seed: UInt64) throws {
        let scene = try Scene()
        let faults = FaultHolder()
        let vault = try scene.fixture.open { options in
            options.decorate = { directory in faults.wrap(directory, seed: seed) }
        }
        var request = VerificationRequest(level: .data)
        request.keys = scene.fixture.keys
        var plan = FaultStore.Plan(seed: seed)
        plan.temporaryFailure = 0.03
        plan.prefix = StoreKey.packsPrefix
        faults.set(plan)
        let report = try vault.verify(request)
        #expect(report.foundBlobs > 0 && report.checkedBlobs > 0, "seed \(seed)")
        #expect(!report.isSound)
        // The disk answers again: all of it was right.
        faults.set(FaultStore.Plan(seed: seed))
        _ = try vault.verify(request)
        #expect(try vault.verify(request).isSound, "seed \(seed)")
    }

    @Test("a sample takes the packs that were checked longest ago; the date of the last check is kept")
    func sample() throws {
        let scene = try Scene()
        var request = VerificationRequest(level: .packs)
        request.sample = 0.01
        // At least one pack; a further one while the share is not reached: packs of records are a few hundred bytes.
        let first = try scene.vault.verify(request).checkedPacks
        let dates = try scene.vault.catalog.packs(after: 0, limit: 100).map(\.checkedPack)
        #expect((1..<dates.count).contains(first))
        #expect(dates.count { $0 > Timestamp(seconds: 0) } == first)
        request.sample = 1
        request.notCheckedFor = 3_600_000_000_000
        let rest = try scene.vault.verify(request)
        #expect(rest.checkedPacks == dates.count - first)
        #expect(try scene.vault.verify(request).checkedPacks == 0)
    }
}

/// Breaks the store of a vault that is opened later.
private final class FaultHolder: Sendable {
    private let store = Mutex<FaultStore?>(nil)
    func wrap(_ base: any BlobStore, seed: UInt64) -> any BlobStore {
        let made = FaultStore(base, FaultStore.Plan(seed: seed))
        store.withLock { $0 = made }
        return made
    }
    func set(_ plan: FaultStore.Plan) { store.withLock { $0?.set(plan) } }
}
