import Catalog
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Mounting

/// A vault that answers no question about machines and points while it is shut.
final class GatedVault: VaultService {
    private struct State {
        var isShut = false
        var isBroken = false
        var waiting = 0
        var asked = 0
        var leases: Set<LeaseID> = []
    }

    private let inner: any VaultService
    private let state = Monitor(State())

    init(_ inner: any VaultService) { self.inner = inner }

    func shut() { state.update { $0.isShut = true } }
    func open() { state.update { $0.isShut = false } }
    /// What is asked from now on, and what waits, fails.
    func breakDown() {
        state.update { state in
            state.isBroken = true
            state.isShut = false
        }
    }
    var asked: Int { state.withLock { $0.asked } }
    var leases: Int { state.withLock { $0.leases.count } }
    /// Waits until so many questions wait for an answer.
    func waitForQuestions(_ count: Int) -> Bool {
        state.waitUntil({ $0.waiting == count }, nanoseconds: 20_000_000_000)
    }

    private func ask() throws {
        state.update { state in
            state.waiting += 1
            state.asked += 1
        }
        defer { state.update { $0.waiting -= 1 } }
        let isBroken = state.wait { $0.isShut ? nil : $0.isBroken }
        if isBroken { throw HoldfastError(.io, "away", isTemporary: true) }
    }

    var vault: VaultID { inner.vault }

    func openLease(_ request: LeaseRequest) throws -> Lease {
        let lease = try inner.openLease(request)
        state.update { _ = $0.leases.insert(lease.id) }
        return lease
    }

    func closeLease(_ id: LeaseID) {
        state.update { _ = $0.leases.remove(id) }
        inner.closeLease(id)
    }

    func points(_ query: PointQuery) throws -> [PointSummary] {
        try ask()
        return try inner.points(query)
    }

    func machineRecords() throws -> [MachineID: MachineRecord] {
        try ask()
        return try inner.machineRecords()
    }

    func machineRecords(of machine: MachineID) throws -> [MachineRecord] { try inner.machineRecords(of: machine) }
    func point(_ id: PointID) throws -> SealedPoint { try inner.point(id) }
    func commit(_ point: SealedPoint, lease: LeaseID) throws -> CommitReceipt {
        try inner.commit(point, lease: lease)
    }
    func missing(_ blobs: [BlobQuestion], lease: LeaseID) throws -> [Bool] { try inner.missing(blobs, lease: lease) }
    func store(_ pack: SealedPack, lease: LeaseID) throws { try inner.store(pack, lease: lease) }
    func read(_ ids: [BlobID], _ body: (BlobID, UnsafeRawBufferPointer) throws -> Void) throws {
        try inner.read(ids, body)
    }
}

@Suite("Lists of machines and points of a mounted vault")
struct VaultIndexTests {
    private let fixture: VaultFixture
    private let vault: GatedVault
    private let machine: TestMachine

    init() throws {
        fixture = try VaultFixture()
        let local = try fixture.open { $0.access = .change }
        machine = try fixture.join(local, name: "anna")
        let writer = try TestWriter(local, machine)
        _ = try writer.backup([.file("/f", "text")], time: Timestamp(seconds: 1_700_010_000))
        writer.close()
        vault = GatedVault(local)
    }

    private func index(age: Int64) -> VaultIndex {
        VaultIndex(
            service: vault, only: nil, findsStrangers: false, zone: .utc, complaints: Complaints { _ in }, age: age)
    }

    /// Whether it ends while the vault does not answer. What hangs goes on when the vault is opened.
    private func ends(_ body: @escaping @Sendable () -> Void) throws -> (isSo: Bool, thread: WorkerThread) {
        let isDone = Monitor(false)
        let thread = try WorkerThread(name: "looks") {
            body()
            isDone.update { $0 = true }
        }
        return (isDone.waitUntil({ $0 }, nanoseconds: 20_000_000_000), thread)
    }

    @Test("while one asks a vault that does not answer, the others get what is known")
    func away() throws {
        let index = index(age: 0)
        let id = machine.id
        #expect(try index.machines().machines.map(\.id) == [id])
        #expect(try index.points(of: id).points.count == 1)
        vault.shut()
        let first = try WorkerThread(name: "asks") { _ = try? index.machines() }
        let isAsked = vault.waitForQuestions(1)
        #expect(isAsked)
        let seen = Mutex<[Int]>([])
        let (isSo, second) = try ends {
            let counts = [
                (try? index.machines().machines.count) ?? -1, (try? index.points(of: id).points.count) ?? -1,
                index.known(id)?.points.count ?? -1,
            ]
            seen.withLock { $0 = counts }
        }
        vault.breakDown()
        first.join()
        second.join()
        #expect(isSo && seen.withLock { $0 } == [1, 1, 1])
        // After a failure nobody waits, and nobody asks for a while.
        let asked = vault.asked
        #expect(try index.machines().machines.count == 1 && index.points(of: id).points.count == 1)
        #expect(vault.asked == asked)
    }

    @Test("of many who know nothing one asks, the others wait, and a failure reaches all")
    func first() throws {
        vault.shut()
        let index = index(age: 600_000_000_000)
        let counts = Mutex<[Int]>([])
        let threads = try (0..<8).map { number in
            try WorkerThread(name: "looks-\(number)") {
                let count = (try? index.machines().machines.count) ?? -1
                counts.withLock { $0.append(count) }
            }
        }
        #expect(vault.waitForQuestions(1))
        vault.open()
        for thread in threads { thread.join() }
        #expect(counts.withLock { $0 } == Array(repeating: 1, count: 8) && vault.asked == 1)
        vault.breakDown()
        #expect(throws: HoldfastError.self) { _ = try index.points(of: machine.id) }
        let asked = vault.asked
        #expect(throws: HoldfastError.self) { _ = try index.points(of: machine.id) }
        #expect(vault.asked == asked)
    }
}
