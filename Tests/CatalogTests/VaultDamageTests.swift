import Catalog
import Model
import TestSupport
import Testing
import Vault

/// Bad days: damage, lost and old catalogs, killed processes, full disks.
@Suite("A vault on bad days")
struct VaultDamageTests {
    /// A vault with a machine that has made a few points.
    private struct Scene {
        let fixture: VaultFixture
        let machine: TestMachine
        var receipts: [CommitReceipt] = []

        init(points: Int = 3) throws {
            fixture = try VaultFixture()
            let vault = try fixture.open()
            machine = try fixture.join(vault)
            let writer = try TestWriter(vault, machine)
            for index in 0..<points {
                receipts.append(try writer.backup(["same", "only \(index)", "other \(index)"], salt: "\(index)"))
            }
            writer.close()
        }

        var path: String { fixture.path }
        var head: MachineHead { receipts[receipts.count - 1].storedUpTo }

        func pack(ofBlob blob: TestBlob, _ vault: LocalVault) throws -> BlobCopy {
            try #require(try vault.catalog.copies(of: [blob.id]).first)
        }
    }

    private func summaries(_ vault: LocalVault) throws -> [PointSummary] { try vault.points(PointQuery()) }

    // MARK: Catalog

    @Test("a lost catalog is rebuilt when the vault is opened, without a key, and is the same")
    func lostCatalog() throws {
        let scene = try Scene()
        let before = try summaries(try scene.fixture.open())
        try removeCatalog(scene.path)
        let vault = try scene.fixture.open()
        #expect(try summaries(vault) == before)
        #expect(vault.notes.contains { $0.contains("rebuilt") })
        #expect(try vault.catalog.unwellCounts() == (0, 0))
        for point in before { _ = try wholeness(of: point.references, in: vault) }
        // The writer goes on where it was.
        let writer = try TestWriter(vault, scene.machine, head: scene.head, base: scene.receipts[2].point)
        #expect(!writer.lease.isNewIncarnation)
        #expect(writer.lease.baseAvailable)
        try writer.backup(["same", "new"], salt: "new")
    }

    @Test("a damaged catalog is rebuilt when the vault is opened")
    func damagedCatalog() throws {
        let scene = try Scene()
        let before = try summaries(try scene.fixture.open())
        try removeCatalog(scene.path)
        try scene.fixture.writeFile("catalog.sqlite", Array(repeating: 0x41, count: 8192))
        let vault = try scene.fixture.open()
        #expect(try summaries(vault) == before)
    }

    @Test("a catalog from yesterday is compared with the store before anything relies on it")
    func yesterdaysCatalog() throws {
        let scene = try Scene()
        try scene.fixture.checkpoint()
        let old = try scene.fixture.readFile("catalog.sqlite")
        // Since then: a new point, an old one deleted and its blobs collected.
        do {
            let vault = try scene.fixture.open()
            let writer = try TestWriter(vault, scene.machine, head: scene.head)
            try writer.backup(["brand new"], salt: "new")
            writer.close()
            try vault.deletePoints([scene.receipts[0].point])
            _ = try vault.reclaim()
        }
        let expected = try summaries(try scene.fixture.open()).map(\.id)
        try scene.fixture.checkpoint()
        try removeCatalog(scene.path)
        try scene.fixture.writeFile("catalog.sqlite", old)

        let vault = try scene.fixture.open()
        #expect(try summaries(vault).map(\.id) == expected)
        let writer = try TestWriter(vault, scene.machine)
        // What is gone from the store is not answered as present.
        #expect(try writer.missing([writer.make.data("only 0")]) == [true])
        #expect(try writer.missing([writer.make.data("only 1"), writer.make.data("brand new")]) == [false, false])
        for point in try summaries(vault) { _ = try wholeness(of: point.references, in: vault) }
    }

    @Test("a rebuild finds the same packs, blobs and points as the catalog had")
    func rebuildEqualsOriginal() throws {
        let scene = try Scene(points: 6)
        let before: (points: [PointSummary], packs: Set<PackName>, statistics: CatalogStatistics)
        do {
            let vault = try scene.fixture.open()
            try vault.deletePoints([scene.receipts[1].point])
            _ = try vault.reclaim()
            before = try (summaries(vault), scene.fixture.packs(), vault.catalog.statistics())
        }
        let report = try scene.fixture.rebuild()
        #expect(report.points == 5 && report.unreadable.isEmpty && report.unsigned.isEmpty && report.chain.isEmpty)
        let vault = try scene.fixture.open()
        let after = try vault.catalog.statistics()
        #expect(try summaries(vault) == before.points)
        #expect(after.data == before.statistics.data && after.meta == before.statistics.meta)
        #expect(try vault.machineRecords().keys.contains(scene.machine.id))
    }

    @Test("a vault in use is not rebuilt under its users")
    func rebuildInUse() throws {
        let scene = try Scene(points: 1)
        let vault = try scene.fixture.open()
        #expect(throws: HoldfastError.self) { try scene.fixture.rebuild() }
        _ = try summaries(vault)
    }

    // MARK: Killed processes

    @Test("a killed writer leaves nothing visible, its lease ends at once, and its packs are known or adopted")
    func killedWriter() throws {
        let scene = try Scene(points: 1)
        let orphan: SealedPack
        do {
            let vault = try scene.fixture.open()
            let writer = try TestWriter(vault, scene.machine, head: scene.head)
            try writer.store([writer.make.data("registered")])
            // Killed between store and registration.
            orphan = try writer.make.pack([writer.make.data("orphan")])
            try vault.store.put(StoreKey.pack(orphan.name), orphan.bytes)
        }
        let vault = try scene.fixture.open()
        #expect(try vault.catalog.leases().isEmpty)
        #expect(try summaries(vault).count == 1)
        let writer = try TestWriter(vault, scene.machine, head: scene.head)
        #expect(try writer.missing([writer.make.data("registered"), writer.make.data("orphan")]) == [false, false])
        writer.close()
        _ = try vault.reclaim()
        #expect(try !scene.fixture.packs().contains(orphan.name))
    }

    @Test("traces of leases that never reached the catalog are removed")
    func strayLease() throws {
        let scene = try Scene(points: 1)
        let name = String(repeating: "a", count: 32)
        try scene.fixture.writeFile("leases/\(name)", [])
        let vault = try scene.fixture.open()
        #expect(try !vault.store.contains("leases/\(name)"))
        #expect(try summaries(vault).count == 1)
    }

    @Test("a point that was stored but not registered when its writer was killed is found")
    func killedInCommit() throws {
        let scene = try Scene(points: 1)
        let point: SealedPoint
        do {
            let vault = try scene.fixture.open()
            let writer = try TestWriter(vault, scene.machine, head: scene.head)
            let root = writer.make.node("late", [])
            try writer.store([root])
            point = try writer.point(root: root)
            // The catalog's transaction fails after the pack has reached the store.
            struct Killed: Error {}
            #expect(throws: Killed.self) {
                _ = try vault.catalog.commit(PointEntry(point), lease: writer.lease.id, now: Timestamp(seconds: 5)) {
                    _ in
                    var accepted = point
                    accepted.arrival = Timestamp(seconds: 1_800_000_000)
                    let body = accepted.encoded()
                    var framed: [UInt8] = []
                    let blob = try body.withUnsafeBytes {
                        try BlobSealer.frame(
                            record: .point, body: $0, references: point.locator.references, into: &framed)
                    }
                    var builder = PackBuilder(vault: vault.vault, writer: .random(), packClass: .points)
                    try framed.withUnsafeBytes { _ = try builder.append($0, blob) }
                    let pack = try builder.finish()
                    try vault.store.put(StoreKey.pack(pack.name), pack.bytes)
                    throw Killed()
                }
            }
        }
        let vault = try scene.fixture.open()
        #expect(try summaries(vault).map(\.id) == [scene.receipts[0].point, point.locator.point])
        let writer = try TestWriter(vault, scene.machine, head: MachineHead(after: point.locator))
        #expect(!writer.lease.isNewIncarnation)
    }

    // MARK: Damage

    @Test("of two copies the good one is read, and the bad one is recorded")
    func twoCopies() throws {
        let scene = try Scene(points: 1)
        let vault = try scene.fixture.open()
        let writer = try TestWriter(vault, scene.machine, head: scene.head)
        let blob = writer.make.data("same")
        try writer.store([blob, writer.make.data("beside")])
        let copies = try vault.catalog.copies(of: [blob.id])
        #expect(copies.count == 2)
        try scene.fixture.flip(copies[0].packName, at: Int(copies[0].offset) + 70)
        var opened = 0
        try vault.read([blob.id]) { _, framed in
            try BlobOpener().open(framed, key: blob.key, expecting: .data) { opened += $0.count }
        }
        #expect(opened == blob.plain.count)
        let after = try vault.catalog.copies(of: [blob.id])
        #expect(after.map(\.condition) == [.damaged, .whole])
        #expect(try summaries(vault).allSatisfy { $0.condition == .whole })
    }

    @Test("damage is found by verification, reported by point, and healed by the next backup")
    func damageAndHealing() throws {
        let scene = try Scene()
        let vault = try scene.fixture.open()
        let make = TestBlobMaker(scene.machine.secrets)
        let copy = try scene.pack(ofBlob: make.data("same"), vault)
        try scene.fixture.flip(copy.packName, at: Int(copy.offset) + 80)

        // Structure does not look at contents; the packs' names do.
        #expect(try vault.verify(VerificationRequest(level: .structure)).damagedPoints.isEmpty)
        let report = try vault.verify(VerificationRequest(level: .packs))
        #expect(report.damagedPacks.map(\.pack) == [copy.packName])
        #expect(Set(report.damagedPoints.map(\.point)) == Set(scene.receipts.map(\.point)))
        #expect(!report.isSound)
        #expect(try summaries(vault).allSatisfy { $0.condition == .damaged })

        // The lease tells the writer what to read again.
        let writer = try TestWriter(vault, scene.machine, head: scene.head, base: scene.receipts[2].point)
        #expect(!writer.lease.baseAvailable)
        #expect(writer.lease.damaged.contains(make.data("same").id))
        #expect(try writer.missing([make.data("same"), make.data("only 1")]) == [true, false])
        try writer.store([make.data("same")])
        #expect(try summaries(vault).allSatisfy { $0.condition == .whole }, "one stored pack heals all points")
        try writer.backup(["same", "only 2", "other 2"], salt: "2")
        writer.close()
        #expect(try vault.verify(VerificationRequest(level: .structure)).isSound)
        for point in try summaries(vault) { _ = try wholeness(of: point.references, in: vault) }
        // Collection gives the damaged copy up, and everything stays whole.
        _ = try vault.reclaim()
        for point in try summaries(vault) { _ = try wholeness(of: point.references, in: vault) }
    }

    @Test("a lost pack makes points damaged, is never forgotten silently, and is healed")
    func lostPack() throws {
        let scene = try Scene()
        let make = TestBlobMaker(scene.machine.secrets)
        do {
            let vault = try scene.fixture.open()
            let copy = try scene.pack(ofBlob: make.data("only 1"), vault)
            try vault.store.delete(StoreKey.pack(copy.packName))
            let report = try vault.verify(VerificationRequest(level: .structure))
            #expect(report.lostPacks == [copy.packName])
            #expect(report.damagedPoints.map(\.point) == [scene.receipts[1].point])
        }
        // The same from the store alone.
        let rebuilt = try scene.fixture.rebuild()
        #expect(rebuilt.points == 3)
        #expect(rebuilt.damagedPoints == [scene.receipts[1].point])
        let vault = try scene.fixture.open()
        // The rebuilt catalog cannot know that what is lost was data: nothing is freed unless somebody says so.
        let error = #expect(throws: HoldfastError.self) { try vault.reclaim() }
        #expect(error?.code == .damaged)
        // Collection keeps what is left of a damaged point.
        var options = CollectionOptions()
        options.ignoresDamage = true
        #expect(try vault.reclaim(options: options).lost.count == 2)
        _ = try vault.reclaim(options: options)
        let point = try #require(try summaries(vault).first { $0.condition == .damaged })
        try vault.read(point.references) { _, _ in }
        let writer = try TestWriter(vault, scene.machine, head: scene.head)
        try writer.store([make.data("only 1"), make.data("other 1")])
        #expect(try summaries(vault).allSatisfy { $0.condition == .whole })
    }

    @Test("a collection does not free anything when it cannot see what a point needs")
    func collectionMeetsDamage() throws {
        let scene = try Scene()
        let vault = try scene.fixture.open()
        let make = TestBlobMaker(scene.machine.secrets)
        let root = make.node("1", ["same", "only 1", "other 1"].map { make.data($0).id })
        let copy = try #require(try vault.catalog.copies(of: [root.id]).first)
        // A bit of a reference.
        try scene.fixture.flip(copy.packName, at: Int(copy.offset) + BlobFrame.headerLength + 5)
        let packs = try scene.fixture.packs()
        #expect(throws: HoldfastError.self) { try vault.reclaim() }
        #expect(try scene.fixture.packs() == packs)
        // The machine sends the node again: then it goes on.
        let writer = try TestWriter(vault, scene.machine, head: scene.head)
        try writer.store([root])
        writer.close()
        _ = try vault.reclaim()
        for point in try summaries(vault) { _ = try wholeness(of: point.references, in: vault) }
    }

    // MARK: Points

    @Test("points are deleted from the store too; the newest whole one and held ones stay")
    func deletion() throws {
        let scene = try Scene()
        let vault = try scene.fixture.open()
        let hold = try HoldRecord(
            HoldRecord.Content(
                hold: .random(), placed: Timestamp(seconds: 10), isPlaced: true, machines: [scene.machine.id],
                paths: [],
                from: Timestamp(seconds: 0), until: Timestamp(nanoseconds: .max), reference: "case 7"),
            signing: scene.fixture.keys.vaultSigning)
        try vault.add(hold)
        #expect(try summaries(vault).allSatisfy(\.isHeld))
        #expect(throws: HoldfastError.self) { try vault.deletePoints([scene.receipts[0].point]) }
        var content = hold.content
        content.isPlaced = false
        content.placed = Timestamp(seconds: 20)
        try vault.add(try HoldRecord(content, signing: scene.fixture.keys.vaultSigning))
        #expect(throws: HoldfastError.self) { try vault.deletePoints([scene.receipts[2].point]) }
        #expect(throws: HoldfastError.self) { try vault.deletePoints([scene.receipts[0].point, .random()]) }
        #expect(try summaries(vault).count == 3, "all or none")
        try vault.deletePoints([scene.receipts[0].point, scene.receipts[1].point])
        #expect(try summaries(vault).map(\.id) == [scene.receipts[2].point])
        let freed = try vault.reclaim()
        #expect(freed.deletedPacks + freed.rewrittenPacks > 0)
        _ = try wholeness(of: try summaries(vault)[0].references, in: vault)
        let writer = try TestWriter(vault, scene.machine)
        #expect(try writer.missing([writer.make.data("only 0"), writer.make.data("same")]) == [true, false])
    }

    @Test("a reader's lease keeps what a deleted point names until it ends")
    func readerPins() throws {
        let scene = try Scene()
        let vault = try scene.fixture.open()
        let references = try summaries(vault)[0].references
        let lease = try vault.openLease(.reader([scene.receipts[0].point]))
        try vault.deletePoints([scene.receipts[0].point])
        _ = try vault.reclaim()
        #expect(try wholeness(of: references, in: vault).count == 4)
        vault.closeLease(lease.id)
        _ = try vault.reclaim()
        #expect(throws: HoldfastError.self) { try wholeness(of: references, in: vault) }
    }

    @Test("a pack that is being removed is refused under its name, and its blobs are taken packed anew")
    func condemnedName() throws {
        let scene = try Scene(points: 1)
        let vault = try scene.fixture.open()
        let first = try TestWriter(vault, scene.machine, head: scene.head)
        let blob = first.make.data("garbage")
        let pack = try first.make.pack([blob])
        try vault.store(pack, lease: first.lease.id)
        first.close()
        // This writer was at work while the pack was deleted.
        let second = try TestWriter(try scene.fixture.open(), scene.machine, head: scene.head)
        _ = try vault.reclaim()
        second.close()
        let third = try TestWriter(vault, scene.machine, head: scene.head)
        _ = try vault.reclaim()
        #expect(try !scene.fixture.packs().contains(pack.name))
        let code = #expect(throws: HoldfastError.self) { try vault.store(pack, lease: third.lease.id) }
        #expect(code?.code == .condemned)
        #expect(try !scene.fixture.packs().contains(pack.name))
        try third.store([blob])
        #expect(try third.missing([blob]) == [false])
        third.close()
        // When nobody can still be sending it, the name is forgotten.
        _ = try vault.reclaim()
        let fourth = try TestWriter(vault, scene.machine, head: scene.head)
        try vault.store(pack, lease: fourth.lease.id)
    }

    // MARK: Help

    private func removeCatalog(_ path: String) throws {
        let store = try DirectoryStore(path: path)
        try store.delete(["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"])
    }
}
