import Catalog
import Model
import Synchronization
import TestSupport
import Testing
import Vault

/// Packs with records of points that cannot be read, or not in full, when the catalog is made anew: nobody knows what the
/// points in them need, so nothing may be freed.
@Suite("Packs that hide points")
struct HiddenRecordTests {
    private struct Scene {
        let fixture: VaultFixture
        let machine: TestMachine
        let writer: TestBlobMaker
        var points: [PointID] = []

        init(points count: Int) throws {
            fixture = try VaultFixture()
            let vault = try fixture.open()
            machine = try fixture.join(vault)
            writer = TestBlobMaker(machine.secrets)
            let writer = try TestWriter(vault, machine)
            for index in 0..<count { points.append(try writer.backup(["only \(index)"], salt: "\(index)").point) }
            writer.close()
        }

        func removeCatalog() throws {
            try fixture.store().delete(["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"])
        }

        func pack(of point: PointID) throws -> PackName {
            try #require(try fixture.open().catalog.records(of: point).first).packName
        }

        /// Reclaiming and planning refuse and free nothing.
        func checkRefusal(_ vault: LocalVault, _ what: String) throws {
            let packs = try fixture.packs()
            let error = #expect(throws: HoldfastError.self, "\(what)") { try vault.reclaim() }
            #expect(error?.code == .damaged && error?.message.contains("--ignore-damage") == true, "\(what)")
            #expect(throws: HoldfastError.self, "\(what)") { try vault.planCollection() }
            #expect(try fixture.packs() == packs, "\(what)")
        }

        func checkWhole(_ vault: LocalVault) throws {
            #expect(Set(try vault.points(PointQuery()).map(\.id)) == Set(points))
            for point in try vault.points(PointQuery()) {
                #expect(point.condition == .whole)
                _ = try vault.point(point.id)
                _ = try wholeness(of: point.references, in: vault)
            }
        }
    }

    @Test("a flipped bit anywhere in the header of a pack of points stops reclaiming, and is told of")
    func header() throws {
        let scene = try Scene(points: 2)
        let name = try scene.pack(of: scene.points[0])
        let bytes = try scene.fixture.readFile(StoreKey.pack(name))
        for offset in 0..<PackHeader.length {
            // The class of a pack of points is one bit away from that of data, and from that of meta.
            for mask in offset == 10 ? [1, 2, 16] : [UInt8(1) << UInt8(offset % 8)] {
                var damaged = bytes
                damaged[offset] ^= mask
                try scene.fixture.writeFile(StoreKey.pack(name), damaged)
                try scene.removeCatalog()
                for _ in 0..<2 {
                    let vault = try scene.fixture.open()
                    #expect(vault.notes.contains { $0.contains("cannot be read") }, "byte \(offset)")
                    try scene.checkRefusal(vault, "byte \(offset)")
                }
            }
        }
        // Put right, with the catalog that was made beside the damage.
        try scene.fixture.writeFile(StoreKey.pack(name), bytes)
        let vault = try scene.fixture.open()
        _ = try vault.reclaim()
        try scene.checkWhole(vault)
        #expect(try !scene.fixture.open().notes.contains { $0.contains("cannot be read") })
    }

    @Test("records behind a damaged header are found all the same")
    func recordsBehindHeader() throws {
        let scene = try Scene(points: 2)
        let name = try scene.pack(of: scene.points[0])
        for offset in [0, 10, 20, 40] {
            try scene.fixture.flip(name, at: offset)
            try scene.removeCatalog()
            try scene.checkWhole(try scene.fixture.open())
            try scene.fixture.flip(name, at: offset)
        }
        // Given up on purpose: what was found is kept.
        try scene.fixture.flip(name, at: 20)
        try scene.removeCatalog()
        var options = CollectionOptions()
        options.ignoresDamage = true
        let vault = try scene.fixture.open()
        #expect(try vault.reclaim(options: options).unreadable.map(\.pack).contains(name))
        _ = try vault.reclaim()
        try scene.checkWhole(vault)
    }

    @Test("a pack of points that cannot be read for a while stops reclaiming for that while")
    func badSector() throws {
        let scene = try Scene(points: 3)
        let key = StoreKey.pack(try scene.pack(of: scene.points[1]))
        try scene.removeCatalog()
        let isBad = Mutex(true)
        let vault = try scene.fixture.open { options in
            options.decorate = { base in
                BadSectorStore(base) { name, _ in name == key && isBad.withLock { $0 } }
            }
        }
        #expect(vault.notes.contains { $0.contains("cannot be read") })
        try scene.checkRefusal(vault, "unreadable")
        isBad.withLock { $0 = false }
        _ = try vault.reclaim()
        try scene.checkWhole(vault)
    }

    @Test("an unreadable pack that is known to hold data alone does not stop reclaiming, and is told of")
    func dataPack() throws {
        let scene = try Scene(points: 2)
        let orphan = try scene.writer.pack([scene.writer.data(Array(repeating: 1, count: 500))])
        let vault = try scene.fixture.open()
        try vault.store.put(StoreKey.pack(orphan.name), Array(orphan.bytes[..<120]))
        #expect(try vault.reclaim().unreadable.map(\.pack) == [orphan.name])
        #expect(try scene.fixture.packs().contains(orphan.name))
        try scene.checkWhole(vault)
    }

    @Test("a merged pack of points that was cut off, behind a record or in one, is not taken for complete")
    func cutOff() throws {
        let scene = try Scene(points: 18)
        _ = try scene.fixture.open().reclaim()
        let name = try scene.pack(of: scene.points[0])
        let bytes = try scene.fixture.readFile(StoreKey.pack(name))
        let blobs = bytes.withUnsafeBytes { PackReader.scan($0, vault: scene.fixture.config.vault) }.blobs
        #expect(blobs.count == 19)
        for blob in blobs {
            for length in [Int(blob.offset), Int(blob.offset) + 70, Int(blob.range.upperBound)] {
                try scene.fixture.writeFile(StoreKey.pack(name), Array(bytes[..<length]))
                let report = try scene.fixture.rebuild()
                #expect(report.unreadable.contains { $0.pack == name }, "cut to \(length)")
                let vault = try scene.fixture.open()
                #expect(vault.notes.contains { $0.contains("cannot be read") }, "cut to \(length)")
                try scene.checkRefusal(vault, "cut to \(length)")
            }
        }
        try scene.fixture.writeFile(StoreKey.pack(name), bytes)
        let vault = try scene.fixture.open()
        _ = try vault.reclaim()
        try scene.checkWhole(vault)
    }
}
