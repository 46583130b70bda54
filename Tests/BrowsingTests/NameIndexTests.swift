import Catalog
import Model
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Browsing

/// A vault that counts what is read of it, and of which some blobs cannot be.
final class LossyVault: VaultService {
    private let inner: LocalVault
    private let state = Mutex<(read: [BlobID], lost: Set<BlobID>, lostPoints: Set<PointID>)>(([], [], []))

    init(_ inner: LocalVault) { self.inner = inner }

    /// What was asked for since the last time.
    func takeRead() -> [BlobID] {
        state.withLock { state in
            defer { state.read = [] }
            return state.read
        }
    }

    func lose(_ blobs: Set<BlobID>, points: Set<PointID> = []) {
        state.withLock { ($0.lost, $0.lostPoints) = (blobs, points) }
    }

    var vault: VaultID { inner.vault }
    func openLease(_ request: LeaseRequest) throws -> Lease { try inner.openLease(request) }
    func closeLease(_ id: LeaseID) { inner.closeLease(id) }
    func missing(_ blobs: [BlobQuestion], lease: LeaseID) throws -> [Bool] {
        try inner.missing(blobs, lease: lease)
    }
    func store(_ pack: SealedPack, lease: LeaseID) throws { try inner.store(pack, lease: lease) }
    func commit(_ point: SealedPoint, lease: LeaseID) throws -> CommitReceipt {
        try inner.commit(point, lease: lease)
    }
    func points(_ query: PointQuery) throws -> [PointSummary] { try inner.points(query) }
    func point(_ id: PointID) throws -> SealedPoint {
        if state.withLock({ $0.lostPoints.contains(id) }) { throw HoldfastError(.damaged, "a point is lost") }
        return try inner.point(id)
    }
    func machineRecords() throws -> [MachineID: MachineRecord] { try inner.machineRecords() }
    func machineRecords(of machine: MachineID) throws -> [MachineRecord] { try inner.machineRecords(of: machine) }

    func read(_ ids: [BlobID], _ body: (BlobID, UnsafeRawBufferPointer) throws -> Void) throws {
        let lost = state.withLock { state in
            state.read += ids
            return ids.filter { state.lost.contains($0) }
        }
        try inner.read(ids.filter { !lost.contains($0) }, body)
        if lost.isEmpty { return }
        var error = HoldfastError(.damaged, "blobs are damaged or lost")
        error.blobs = lost
        throw error
    }
}

@Suite("Names over all times")
struct NameIndexTests {
    /// Points that share nearly all of a tree with many nodes.
    private static func history() throws -> (
        fixture: VaultFixture, vault: LossyVault, points: [PointSummary], records: () throws -> PointRecords
    ) {
        let fixture = try VaultFixture()
        let local = try fixture.open { $0.access = .change }
        let machine = try fixture.join(local)
        let writer = try TestWriter(local, machine)
        let names = (0..<8_000).map { TestName.file("/d/name-of-some-length-\(1_000_000 + $0 * 7_919 % 100_003)") }
        for index in 0..<12 {
            try writer.backup(
                names + [.file("/z/changes", "\(index)")], time: Timestamp(seconds: 1_700_001_000 + Int64(index)))
        }
        writer.close()
        let vault = LossyVault(local)
        let keys = fixture.keys
        return (
            fixture, vault, try vault.points(PointQuery(machine: machine.id)),
            { try PointRecords(of: machine.id, service: vault, keys: keys) }
        )
    }

    @Test("what cannot be read of the points of a machine is passed over, and costs nothing until it is tried again")
    func collecting() throws {
        let (fixture, vault, points, records) = try Self.history()
        defer { withExtendedLifetime(fixture) {} }
        let newest = try #require(points.last)
        var all: Set<[UInt8]> = []
        PathCollector().collect(newest, from: try records()) { all.insert($0) }
        let nodes = vault.takeRead()
        // The last one read is a leaf; the first the root.
        let leaf = try #require(nodes.last)
        try #require(nodes.count > 2)
        vault.lose([leaf])
        let collector = PathCollector()
        var found: Set<[UInt8]> = []
        for point in points.reversed() { collector.collect(point, from: try records()) { found.insert($0) } }
        #expect(vault.takeRead().count { $0 == leaf } == 1, "once, however many points have it")
        #expect(collector.isPartial && !found.isEmpty && found.count < all.count)
        #expect(points.allSatisfy { collector.knows($0.id) })
        collector.retry(from: try records()) { found.insert($0) }
        #expect(collector.isPartial && vault.takeRead() == [leaf])
        vault.lose([])
        collector.retry(from: try records()) { found.insert($0) }
        #expect(!collector.isPartial && vault.takeRead() == [leaf] && found.isSuperset(of: all))
    }

    @Test(
        "a search does not wait for what is damaged: it is tried again after minutes, and until then some names are missing"
    )
    func searching() throws {
        let (fixture, vault, points, records) = try Self.history()
        defer { withExtendedLifetime(fixture) {} }
        PathCollector().collect(try #require(points.last), from: try records()) { _ in }
        let leaf = try #require(vault.takeRead().last)
        vault.lose([leaf], points: [points[3].id])
        let index = NameIndex()
        func search(at seconds: Int64) throws -> NameIndex.Found {
            index.search(
                ["name-of"], below: .root, limit: 10_000, points: points, records: try records(),
                now: seconds * 1_000_000_000)
        }
        let first = try search(at: 5)
        #expect(first.isPartial && !first.paths.isEmpty && first.paths.count < 8_000)
        _ = vault.takeRead()
        let second = try search(at: 500)
        #expect(second.isPartial && second.paths.count == first.paths.count && vault.takeRead().isEmpty)
        #expect(try search(at: 700).isPartial && vault.takeRead() == [leaf])
        #expect(try search(at: 800).isPartial && vault.takeRead().isEmpty)
        vault.lose([])
        let last = try search(at: 1_400)
        #expect(!last.isPartial && last.paths.count == 8_000)
        _ = vault.takeRead()
        #expect(try !search(at: 9_000).isPartial && vault.takeRead().isEmpty)
    }
}
