import Catalog
import Model
import Synchronization
import TestSupport
import Testing
import Vault

/// The process dies, or the disk is full, at every call that changes the store in turn.
@Suite("A vault whose store fails")
struct VaultCrashTests {
    private func faulty(_ fixture: VaultFixture, _ plan: FaultStore.Plan) throws -> LocalVault {
        try fixture.open { options in options.decorate = { FaultStore($0, plan) } }
    }

    private func checkAll(_ vault: LocalVault) throws {
        for point in try vault.points(PointQuery()) {
            #expect(point.condition == .whole)
            _ = try wholeness(of: point.references, in: vault)
        }
    }

    @Test("a backup that dies at any change of the store leaves acknowledged points whole and the vault usable")
    func backup() throws {
        let fixture = try VaultFixture()
        let machine: TestMachine
        var head: MachineHead?
        do {
            let vault = try fixture.open()
            machine = try fixture.join(vault)
        }
        var acknowledged: Set<PointID> = []
        for call in 1...4 {
            for afterEffect in [false, true] {
                var plan = FaultStore.Plan(seed: 1)
                plan.crash = (call, afterEffect)
                do {
                    let vault = try faulty(fixture, plan)
                    let writer = try TestWriter(vault, machine, head: head)
                    let receipt = try writer.backup(["kept", "\(call) \(afterEffect)"], salt: "\(call) \(afterEffect)")
                    acknowledged.insert(receipt.point)
                    head = receipt.storedUpTo
                } catch is FaultStore.Crash {}
                let vault = try fixture.open()
                let points = Set(try vault.points(PointQuery()).map(\.id))
                #expect(points.isSuperset(of: acknowledged), "call \(call)")
                try checkAll(vault)
                let writer = try TestWriter(vault, machine, head: head)
                let receipt = try writer.backup(["after \(call) \(afterEffect)"], salt: "after \(call) \(afterEffect)")
                acknowledged.insert(receipt.point)
                head = receipt.storedUpTo
                writer.close()
            }
        }
        let vault = try fixture.open()
        _ = try vault.reclaim()
        try checkAll(vault)
    }

    @Test("deletion and collection that die at any change of the store go on the next time, and nothing is lost")
    func collection() throws {
        for call in 1...12 {
            for afterEffect in [false, true] {
                let fixture = try VaultFixture()
                let machine: TestMachine
                var receipts: [CommitReceipt] = []
                do {
                    let vault = try fixture.open()
                    machine = try fixture.join(vault)
                    let writer = try TestWriter(vault, machine)
                    for index in 0..<6 {
                        // Two blobs a pack, of which one is needed longer than the other.
                        try writer.store([writer.make.data("kept"), writer.make.data("gone \(index)")])
                        receipts.append(try writer.backup(["gone \(index)", "kept", "own \(index)"], salt: "\(index)"))
                    }
                    writer.close()
                }
                var plan = FaultStore.Plan(seed: 1)
                plan.crash = (call, afterEffect)
                do {
                    let vault = try faulty(fixture, plan)
                    try vault.deletePoints(receipts[..<4].map(\.point))
                    _ = try vault.reclaim()
                } catch is FaultStore.Crash {}
                let vault = try fixture.open()
                let ids = Set(try vault.points(PointQuery()).map(\.id))
                #expect(ids.isSuperset(of: receipts[4...].map(\.point)))
                try checkAll(vault)
                try vault.deletePoints(receipts[..<4].map(\.point).filter { ids.contains($0) })
                _ = try vault.reclaim()
                try checkAll(vault)
                let report = try vault.verify(VerificationRequest(level: .packs))
                #expect(report.isSound, "call \(call) \(afterEffect)")
                // Everything that was left behind is known, and goes.
                _ = try vault.reclaim()
                let known = Set(
                    try vault.catalog.packs(after: 0, limit: 1000).filter { $0.state == .stored }.map(\.name))
                #expect(try fixture.packs() == known)
                #expect(try vault.catalog.present([TestBlobMaker(machine.secrets).data("gone 1").id]) == [false])
            }
        }
    }

    @Test(
        "over a store that lies nothing is lost, and what was taken for damaged is acquitted",
        arguments: 1...6 as ClosedRange<UInt64>)
    func lyingStore(seed: UInt64) throws {
        let fixture = try VaultFixture()
        let machine: TestMachine
        var receipts: [CommitReceipt] = []
        do {
            let vault = try fixture.open()
            machine = try fixture.join(vault)
            let writer = try TestWriter(vault, machine)
            for index in 0..<5 {
                try writer.store([writer.make.data("kept"), writer.make.data("gone \(index)")])
                receipts.append(try writer.backup(["gone \(index)", "kept", "own \(index)"], salt: "\(index)"))
            }
            writer.close()
            try vault.deletePoints([receipts[1].point])
        }
        var plan = FaultStore.Plan(seed: seed)
        plan.flippedBit = 0.05
        plan.shortRead = 0.03
        plan.missing = 0.03
        plan.temporaryFailure = 0.02
        plan.prefix = "packs/"
        for _ in 0..<4 {
            do {
                let vault = try faulty(fixture, plan)
                for point in try vault.points(PointQuery()) { _ = try? wholeness(of: point.references, in: vault) }
                _ = try vault.reclaim()
                _ = try vault.verify(VerificationRequest(level: .packs))
            } catch is HoldfastError {
                // Said, not hidden.
            }
            plan.seed += 100
        }
        let vault = try fixture.open()
        _ = try vault.verify(VerificationRequest(level: .packs))
        #expect(try vault.points(PointQuery()).count == 4, "seed \(seed)")
        try checkAll(vault)
        #expect(try vault.verify(VerificationRequest(level: .packs)).isSound, "seed \(seed)")
    }

    @Test("what is no pack of this vault is reported and left alone")
    func strangePacks() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let machine = try fixture.join(vault)
        let writer = try TestWriter(vault, machine)
        try writer.backup(["a"], salt: "1")
        writer.close()
        let other = try VaultFixture()
        let stranger = try other.join(try other.open())
        let foreign = try TestBlobMaker(stranger.secrets).pack([TestBlobMaker(stranger.secrets).data("x")])
        let garbage = PackName(Bytes32(w0: 1, w1: 2, w2: 3, w3: 4))
        try vault.store.put(StoreKey.pack(foreign.name), foreign.bytes)
        try vault.store.put(StoreKey.pack(garbage), Array(repeating: 9, count: 500))
        try vault.store.put(StoreKey.pack(PackName(Bytes32(w0: 1, w1: 2, w2: 3, w3: 5))), [])
        let report = try vault.verify(VerificationRequest(level: .packs))
        #expect(report.damagedPacks.count == 3)
        #expect(report.damagedPoints.isEmpty)
        // What is garbage now may have been records of points. What is another vault's as its name proves was none.
        let error = #expect(throws: HoldfastError.self) { try vault.reclaim() }
        #expect(error?.message.hasPrefix("2 packs") == true)
        var options = CollectionOptions()
        options.ignoresDamage = true
        _ = try vault.reclaim(options: options)
        _ = try vault.reclaim()
        #expect(try fixture.packs().isSuperset(of: [foreign.name, garbage]))
        try checkAll(vault)
    }

    /// A disk that is full until the reserve is given back.
    private final class FullDisk: BlobStore, SpaceReserve {
        let base: DirectoryStore
        let isFull: Mutex<Bool>
        let released = Mutex(0)
        init(_ base: DirectoryStore, isFull: Bool) {
            self.base = base
            self.isFull = Mutex(isFull)
        }
        var location: String { base.location }
        func put(_ key: String, _ bytes: UnsafeRawBufferPointer, mode: PutMode) throws -> Bool {
            if isFull.withLock({ $0 }) { throw HoldfastError(.noSpace, "the disk is full") }
            return try base.put(key, bytes, mode: mode)
        }
        func get(_ key: String, atMost limit: Int) throws -> [UInt8] { try base.get(key, atMost: limit) }
        func read(_ key: String, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
            try base.read(key, at: offset, into: buffer)
        }
        func head(_ key: String) throws -> UInt64? { try base.head(key) }
        func list(_ prefix: String, _ body: (StoredObject) throws -> Bool) throws { try base.list(prefix, body) }
        func delete(_ keys: [String]) throws { try base.delete(keys) }
        func space() throws -> StoreSpace? { try base.space() }
        func createReserve() throws -> Bool { true }
        func releaseReserve() throws -> Bool {
            isFull.withLock { $0 = false }
            released.withLock { $0 += 1 }
            return true
        }
    }

    @Test("on a full disk a backup is told so and loses nothing; deletion uses the reserve and frees room")
    func fullDisk() throws {
        let fixture = try VaultFixture()
        let machine: TestMachine
        var receipts: [CommitReceipt] = []
        do {
            let vault = try fixture.open()
            machine = try fixture.join(vault)
            let writer = try TestWriter(vault, machine)
            for index in 0..<3 { receipts.append(try writer.backup(["\(index)"], salt: "\(index)")) }
            writer.close()
        }
        let disk = Mutex<FullDisk?>(nil)
        let vault = try fixture.open { options in
            options.decorate = { base in
                let full = FullDisk(base, isFull: true)
                disk.withLock { $0 = full }
                return full
            }
        }
        let writer = try TestWriter(vault, machine, head: receipts[2].storedUpTo)
        let error = #expect(throws: HoldfastError.self) { try writer.backup(["more"], salt: "more") }
        #expect(error?.code == .noSpace)
        writer.close()
        try checkAll(vault)
        try vault.deletePoints([receipts[0].point])
        _ = try vault.reclaim()
        #expect(disk.withLock { $0?.released.withLock { $0 } } == 1)
        try checkAll(vault)
        #expect(try vault.points(PointQuery()).count == 2)
        let again = try TestWriter(vault, machine, head: receipts[2].storedUpTo)
        try again.backup(["more"], salt: "more")
    }

    @Test("a hostile writer's packs are refused and harm nobody")
    func hostilePacks() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let machine = try fixture.join(vault)
        let honest = try TestWriter(vault, machine)
        let receipt = try honest.backup(["a", "b"], salt: "root")
        // Of another vault.
        let other = try VaultFixture()
        let stranger = try other.join(try other.open())
        let foreign = try TestBlobMaker(stranger.secrets).pack([TestBlobMaker(stranger.secrets).data("x")])
        #expect(throws: HoldfastError.self) { try SealedPack(parsing: foreign.bytes, vault: vault.vault) }
        // Of class points.
        let location = try #require(try vault.catalog.records(of: receipt.point).first)
        let bytes = try vault.store.get(StoreKey.pack(location.packName), atMost: 1 << 20)
        let points = try SealedPack(parsing: bytes, vault: vault.vault)
        let error = #expect(throws: HoldfastError.self) { try vault.store(points, lease: honest.lease.id) }
        #expect(error?.code == .denied)
        // A copy of an honest node that names nothing: who collects must not believe that copy alone.
        let make = honest.make
        let root = make.node("root", ["a", "b"].map { make.data($0).id })
        let liar = TestBlob(type: .node, plain: root.plain, key: root.key, id: root.id, references: [])
        try honest.store([liar])
        honest.close()
        _ = try vault.reclaim()
        _ = try vault.reclaim()
        try vault.read(["a", "b"].map { make.data($0).id }) { _, _ in }
        try checkAll(vault)
    }

    @Test("on a shared file system one host owns the vault, another takes it over only when told to")
    func owner() throws {
        let store = MemoryStore()
        let vault = VaultID.random()
        let first = try VaultOwner.claim(vault: vault, in: store, takesOver: false, host: "one", machine: "1")
        try first.confirm()
        let again = try VaultOwner.claim(vault: vault, in: store, takesOver: false, host: "one", machine: "1")
        #expect(again.claim == first.claim)
        let error = #expect(throws: HoldfastError.self) {
            try VaultOwner.claim(vault: vault, in: store, takesOver: false, host: "two", machine: "2")
        }
        #expect(error?.code == .busy && error?.message.contains("one") == true)
        let second = try VaultOwner.claim(vault: vault, in: store, takesOver: true, host: "two", machine: "2")
        #expect(second.claim.number == 2)
        try second.confirm()
        #expect(throws: HoldfastError.self) { try first.confirm() }
    }
}
