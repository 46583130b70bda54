import Catalog
import Glibc
import Model
import Synchronization
import TestSupport
import Testing
import Vault

/// Catalogs that say something else than the store: put back, copied while in use, or ahead of what a power cut left.
@Suite("Catalogs of another time")
struct StaleCatalogTests {
    private struct Scene {
        let fixture: VaultFixture
        let machine: TestMachine
        let make: TestBlobMaker
        var receipts: [CommitReceipt] = []

        init(points: Int) throws {
            fixture = try VaultFixture()
            let vault = try fixture.open()
            machine = try fixture.join(vault)
            make = TestBlobMaker(machine.secrets)
            let writer = try TestWriter(vault, machine)
            for index in 0..<points {
                receipts.append(try writer.backup(["only \(index)"], salt: "\(index)"))
            }
            writer.close()
        }

        var head: MachineHead { receipts[receipts.count - 1].storedUpTo }
        var ids: [PointID] { receipts.map(\.point) }
    }

    private static let files = ["catalog.sqlite", "catalog.sqlite-wal", "catalog.witness"]

    /// The catalog's files as somebody copies them.
    private static func catalog(of fixture: VaultFixture) throws -> [String: [UInt8]] {
        var copy: [String: [UInt8]] = [:]
        for name in files where try fixture.store().contains(name) { copy[name] = try fixture.readFile(name) }
        return copy
    }

    private static func putBack(_ copy: [String: [UInt8]], in fixture: VaultFixture) throws {
        try fixture.store().delete(files + ["catalog.sqlite-shm"])
        for (name, bytes) in copy { try fixture.writeFile(name, bytes) }
    }

    /// Nothing that the catalog relies on is gone from the store.
    private func checkKnown(_ vault: LocalVault, _ fixture: VaultFixture) throws {
        let there = try fixture.packs()
        for pack in try vault.catalog.packs(after: 0, limit: 10_000) where pack.state == .stored {
            #expect(there.contains(pack.name), "\(pack.packClass)")
        }
        for point in try vault.points(PointQuery()) {
            #expect(point.condition == .whole)
            _ = try vault.point(point.id)
            _ = try wholeness(of: point.references, in: vault)
        }
    }

    // MARK: Together with the witness

    @Test("a catalog that was put back together with its witness does not promise what was deleted since")
    func withWitness() throws {
        let scene = try Scene(points: 2)
        try scene.fixture.checkpoint()
        let old = try StaleCatalogTests.catalog(of: scene.fixture)
        do {
            let vault = try scene.fixture.open()
            try vault.deletePoints([scene.ids[0]])
            #expect(try vault.reclaim().deletedPacks > 0)
        }
        try StaleCatalogTests.putBack(old, in: scene.fixture)
        let vault = try scene.fixture.open()
        #expect(try vault.points(PointQuery()).map(\.id) == [scene.ids[1]])
        let writer = try TestWriter(vault, scene.machine, head: scene.head)
        #expect(try writer.missing([scene.make.data("only 0"), scene.make.data("only 1")]) == [true, false])
        try writer.backup(["only 0"], salt: "0")
        writer.close()
        try checkKnown(vault, scene.fixture)
        // Compared once: the next one to open it has nothing to do.
        #expect(try scene.fixture.open().notes.isEmpty)
    }

    @Test("a machine that remembers a newer point than a catalog that was put back goes on where it was")
    func newerHead() throws {
        let scene = try Scene(points: 1)
        try scene.fixture.checkpoint()
        let old = try StaleCatalogTests.catalog(of: scene.fixture)
        let receipt: CommitReceipt
        do {
            let writer = try TestWriter(try scene.fixture.open(), scene.machine, head: scene.head)
            receipt = try writer.backup(["newer"], salt: "newer")
            writer.close()
        }
        try StaleCatalogTests.putBack(old, in: scene.fixture)
        let vault = try scene.fixture.open()
        let writer = try TestWriter(vault, scene.machine, head: receipt.storedUpTo, base: receipt.point)
        #expect(!writer.lease.isNewIncarnation && writer.lease.baseAvailable)
    }

    @Test("a vault that was copied file by file while it was reclaimed knows what the copy lacks")
    func copiedWhileReclaimed() throws {
        // Copied before the reclaim's first deletion, before its second ...
        for count in 0..<6 {
            let scene = try Scene(points: 24)
            try scene.fixture.checkpoint()
            let old = Mutex(try StaleCatalogTests.catalog(of: scene.fixture))
            let seen = Mutex(0)
            let fixture = scene.fixture
            do {
                let vault = try fixture.open { options in
                    options.decorate = { base in
                        WatchedStore(base) { key in
                            guard key.hasPrefix("packs/") else { return }
                            let number = seen.withLock { seen in
                                seen += 1
                                return seen
                            }
                            guard number == count else { return }
                            let copy = try StaleCatalogTests.catalog(of: fixture)
                            old.withLock { $0 = copy }
                        }
                    }
                }
                try vault.deletePoints(Array(scene.ids[..<20]))
                _ = try vault.reclaim()
            }
            // The catalog's names come before those of all others, and those of removals behind those of the packs.
            let copy = try VaultFixture.copy(of: fixture)
            try StaleCatalogTests.putBack(old.withLock { $0 }, in: copy)
            let vault = try copy.open()
            #expect(try vault.points(PointQuery()).map(\.id) == Array(scene.ids[20...]), "copied at \(count)")
            try checkKnown(vault, copy)
        }
    }

    // MARK: Power cuts

    @Test(
        "a pack of points that a power cut took is lost, not forgotten, whatever the witness says",
        arguments: [-1, 0, 1, 2] as [Int64])
    func witnessAfterPowerCut(by difference: Int64) throws {
        let scene = try Scene(points: 2)
        let pack = try #require(try scene.fixture.open().catalog.records(of: scene.ids[0]).first).packName
        let bytes = try scene.fixture.readFile(StoreKey.pack(pack))
        try scene.fixture.checkpoint()
        var witness = try scene.fixture.readFile("catalog.witness")
        let value = witness.withUnsafeBytes { Int64(littleEndian: $0.loadUnaligned(as: Int64.self)) }
        witness = withUnsafeBytes(of: (value + difference).littleEndian) { Array($0) }
        try scene.fixture.writeFile("catalog.witness", witness)
        try scene.fixture.store().delete([StoreKey.pack(pack)])
        let vault = try scene.fixture.open()
        #expect(try !vault.verify(VerificationRequest()).isSound)
        #expect(try vault.points(PointQuery()).map(\.condition) == [.damaged, .whole])
        _ = try vault.reclaim()
        try vault.store.put(StoreKey.pack(pack), bytes)
        #expect(try vault.verify(VerificationRequest()).isSound)
        #expect(try vault.points(PointQuery()).map(\.id) == scene.ids)
        try checkKnown(vault, scene.fixture)
    }
}
