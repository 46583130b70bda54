import Catalog
import Model
import Synchronization
import TestSupport
import Testing
import Vault

/// Records of class 3 in several packs: merged, left behind by killed processes, forged, damaged, lost and back again.
@Suite("Copies of records")
struct RecordCopyTests {
    /// A vault with a machine that has made some points, each in a small pack of its own.
    private struct Scene {
        let fixture: VaultFixture
        let machine: TestMachine
        var receipts: [CommitReceipt] = []

        init(points: Int) throws {
            fixture = try VaultFixture()
            let vault = try fixture.open()
            machine = try fixture.join(vault)
            let writer = try TestWriter(vault, machine)
            for index in 0..<points {
                receipts.append(try writer.backup(["same", "only \(index)"], salt: "\(index)"))
            }
            writer.close()
        }

        var ids: [PointID] { receipts.map(\.point) }
        var head: MachineHead { receipts[receipts.count - 1].storedUpTo }

        func packs(of point: PointID, _ vault: LocalVault) throws -> [PackName] {
            try vault.catalog.records(of: point).map(\.packName)
        }

        func removeCatalog() throws {
            try fixture.store().delete(["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"])
        }
    }

    private func listed(_ vault: LocalVault) throws -> [PointID] { try vault.points(PointQuery()).map(\.id) }

    private func checkWhole(_ vault: LocalVault) throws {
        for point in try vault.points(PointQuery()) {
            #expect(point.condition == .whole)
            _ = try vault.point(point.id)
            _ = try wholeness(of: point.references, in: vault)
        }
    }

    // MARK: Old catalogs and killed rewritings

    @Test("a catalog from before the records were merged finds every point in the merged pack")
    func oldCatalogAndMergedRecords() throws {
        let scene = try Scene(points: 20)
        try scene.fixture.checkpoint()
        let old = try scene.fixture.readFile("catalog.sqlite")
        do {
            let vault = try scene.fixture.open()
            let before = try RecordPacks.names(in: vault).count
            _ = try vault.reclaim()
            #expect(before > 16)
            #expect(try RecordPacks.names(in: vault).count == 1)
        }
        try scene.removeCatalog()
        try scene.fixture.writeFile("catalog.sqlite", old)
        for _ in 0..<2 {
            let vault = try scene.fixture.open()
            #expect(try listed(vault) == scene.ids)
            #expect(try vault.machineRecords()[scene.machine.id] != nil)
            try checkWhole(vault)
            #expect(try vault.verify(VerificationRequest(level: .structure)).isSound)
            #expect(try vault.reclaim().deletedPacks == 0)
            try checkWhole(vault)
        }
        let writer = try TestWriter(try scene.fixture.open(), scene.machine, head: scene.head)
        #expect(!writer.lease.isNewIncarnation)
    }

    @Test("a deleted point does not come back from a pack that a killed merge or commit left behind")
    func deletedStaysDeleted() throws {
        let scene = try Scene(points: 5)
        let vault = try scene.fixture.open()
        // Killed between storing the merged pack and the catalog's transaction; both are there now.
        let merged = try RecordPacks.merged(try RecordPacks.names(in: vault), of: vault)
        try vault.store.put(StoreKey.pack(merged.name), merged.bytes)
        // A commit that failed after its record was stored, and was tried again at another time.
        let again = try RecordPacks.pack(try vault.point(scene.ids[1]), arrival: Timestamp(seconds: 1_700_500_000))
        try vault.store.put(StoreKey.pack(again.name), again.bytes)
        try vault.deletePoints([scene.ids[0], scene.ids[1]])
        #expect(try listed(vault) == Array(scene.ids[2...]))
        #expect(try !scene.fixture.packs().contains(merged.name) && !scene.fixture.packs().contains(again.name))
        _ = try vault.reclaim()
        #expect(Set(try listed(try rebuilt(scene))) == Set(scene.ids[2...]))
        #expect(try scene.fixture.open().machineRecords()[scene.machine.id] != nil)
    }

    private func rebuilt(_ scene: Scene) throws -> LocalVault {
        let other = try VaultFixture.copy(of: scene.fixture)
        return try other.open()
    }

    // MARK: Damage and loss

    @Test("a point's record that is lost leaves the point listed, what it needs in place, and is welcome back")
    func lostRecord() throws {
        let scene = try Scene(points: 3)
        let vault = try scene.fixture.open()
        let pack = try #require(try scene.packs(of: scene.ids[1], vault).first)
        let bytes = try scene.fixture.readFile(StoreKey.pack(pack))
        try vault.store.delete(StoreKey.pack(pack))
        let report = try vault.verify(VerificationRequest(level: .structure))
        #expect(report.lostPacks == [pack])
        #expect(report.damagedPoints.map(\.point) == [scene.ids[1]])
        let error = #expect(throws: HoldfastError.self) { try vault.point(scene.ids[1]) }
        #expect(error?.code == .damaged)
        _ = try vault.reclaim()
        _ = try vault.verify(VerificationRequest(level: .structure))
        #expect(try vault.points(PointQuery(ids: [scene.ids[1]])).map(\.condition) == [.damaged])
        try vault.store.put(StoreKey.pack(pack), bytes)
        #expect(try vault.verify(VerificationRequest(level: .structure)).isSound)
        try checkWhole(vault)
        // Lost again, and given up by whoever deletes it.
        try vault.store.delete(StoreKey.pack(pack))
        _ = try vault.verify(VerificationRequest(level: .structure))
        try vault.deletePoints([scene.ids[1]])
        #expect(try listed(vault) == [scene.ids[0], scene.ids[2]])
        #expect(try vault.reclaim().deletedPacks > 0)
        #expect(try vault.verify(VerificationRequest(level: .structure)).isSound)
    }

    @Test(
        "a damaged record of a machine or a point does not keep the vault from being reclaimed, and is not thrown away")
    func damagedRecordAndReclaim() throws {
        let scene = try Scene(points: 20)
        let vault = try scene.fixture.open()
        let victim = try #require(try vault.catalog.records(of: scene.ids[3]).first)
        try scene.fixture.flip(victim.packName, at: Int(victim.offset) + 200)
        for _ in 0..<2 {
            _ = try vault.reclaim()
            #expect(try vault.catalog.position().phase == .idle)
        }
        #expect(try scene.fixture.packs().contains(victim.packName))
        #expect(try RecordPacks.names(in: vault).count == 2)
        #expect(try listed(vault) == scene.ids)
    }

    @Test("points are deleted beside a damaged record; the damaged one is carried along, the deleted one is gone")
    func deletionBesideDamage() throws {
        let scene = try Scene(points: 20)
        let vault = try scene.fixture.open()
        _ = try vault.reclaim()
        let victim = try #require(try vault.catalog.records(of: scene.ids[3]).first)
        let deleted = try #require(try vault.catalog.records(of: scene.ids[5]).first)
        #expect(victim.packName == deleted.packName)
        try scene.fixture.flip(victim.packName, at: Int(victim.offset) + victim.length - 80)
        try vault.deletePoints([scene.ids[5]])
        #expect(try listed(vault) == scene.ids.filter { $0 != scene.ids[5] })
        #expect(try !scene.fixture.packs().contains(victim.packName))
        // The very bit turned back: it was carried along, damage and all.
        let moved = try #require(try vault.catalog.records(of: scene.ids[3]).first)
        try scene.fixture.flip(moved.packName, at: Int(moved.offset) + moved.length - 80)
        _ = try vault.point(scene.ids[3])
        #expect(Set(try listed(try rebuilt(scene))) == Set(scene.ids.filter { $0 != scene.ids[5] }))
    }

    @Test("after a rebuild over a damaged record nothing is freed until somebody gives it up")
    func gapStopsCollection() throws {
        let scene = try Scene(points: 3)
        do {
            let vault = try scene.fixture.open()
            let victim = try #require(try vault.catalog.records(of: scene.ids[1]).first)
            try scene.fixture.flip(victim.packName, at: Int(victim.offset) + 200)
        }
        let packs = try scene.fixture.packs()
        let report = try scene.fixture.rebuild()
        #expect(report.points == 2 && report.unreadable.count == 1)
        let vault = try scene.fixture.open()
        let error = #expect(throws: HoldfastError.self) { try vault.reclaim() }
        #expect(error?.code == .damaged)
        #expect(try scene.fixture.packs() == packs)
        var options = CollectionOptions()
        options.ignoresDamage = true
        _ = try vault.reclaim(options: options)
        _ = try vault.reclaim()
        try checkWhole(vault)
    }

    // MARK: Forgery

    @Test("a forged point takes neither number nor head, whichever is found first", arguments: 0..<4)
    func forgedPoint(round: Int) throws {
        let scene = try Scene(points: 3)
        var forged: PointID?
        do {
            let vault = try scene.fixture.open()
            let genuine = try vault.point(scene.ids[2]).locator
            let writer = try TestWriter(vault, scene.machine, head: scene.head)
            let root = writer.make.node("2", ["same", "only 2"].map { writer.make.data($0).id })
            let point = try writer.point(
                root: root,
                position: PointPosition(
                    incarnation: genuine.incarnation, number: genuine.number, previous: genuine.previous),
                // Once under the genuine point's own id.
                id: round == 0 ? scene.ids[2] : .random(), signing: .random())
            writer.close()
            let pack = try RecordPacks.pack(point, arrival: Timestamp(seconds: 1_700_000_500))
            try vault.store.put(StoreKey.pack(pack.name), pack.bytes)
            if round > 0 { forged = point.locator.point }
        }
        let report = try scene.fixture.rebuild()
        #expect(report.unsigned.count == 1)
        let vault = try scene.fixture.open()
        let points = try vault.points(PointQuery())
        #expect(points.filter(\.isSound).map(\.id) == scene.ids)
        #expect(points.filter { $0.condition == .outOfChain }.map(\.id) == [forged].compactMap(\.self))
        #expect(try vault.catalog.heads(of: scene.machine.id).first == scene.head)
        #expect(try vault.point(scene.ids[2]).locator.hash == scene.head.hash)
        let writer = try TestWriter(vault, scene.machine, head: scene.head)
        #expect(!writer.lease.isNewIncarnation)
        try writer.backup(["next"], salt: "next")
    }

    @Test("points of a machine whose record is missing are kept outside the history until the record is found")
    func unknownMachine() throws {
        let scene = try Scene(points: 3)
        let name: PackName
        let bytes: [UInt8]
        do {
            let vault = try scene.fixture.open()
            name = try #require(try vault.catalog.records(of: .machine).first).packName
            bytes = try scene.fixture.readFile(StoreKey.pack(name))
            try vault.store.delete(StoreKey.pack(name))
        }
        let report = try scene.fixture.rebuild()
        #expect(report.unsigned.count == 3)
        let vault = try scene.fixture.open()
        #expect(try vault.points(PointQuery()).map(\.condition) == [.outOfChain, .outOfChain, .outOfChain])
        #expect(try vault.catalog.heads(of: scene.machine.id).isEmpty)
        _ = try vault.reclaim()
        try vault.store.put(StoreKey.pack(name), bytes)
        _ = try vault.verify(VerificationRequest(level: .structure))
        #expect(try listed(vault) == scene.ids)
        try checkWhole(vault)
        #expect(try vault.catalog.heads(of: scene.machine.id).first == scene.head)
    }

    // MARK: Holds

    @Test("a hold that is placed while points are being deleted stops the deletion")
    func holdDuringDeletion() throws {
        let scene = try Scene(points: 20)
        _ = try scene.fixture.open().reclaim()
        let other = try scene.fixture.open()
        let hold = try HoldRecord(
            HoldRecord.Content(
                hold: .random(), placed: Timestamp(seconds: 10), isPlaced: true, machines: [], paths: [],
                from: Timestamp(nanoseconds: .min), until: Timestamp(nanoseconds: .max), reference: "case 8"),
            signing: scene.fixture.keys.vaultSigning)
        let isPlaced = Mutex(false)
        let vault = try scene.fixture.open { options in
            options.decorate = { base in
                WatchedStore(base) { key in
                    // The pack without the point is on its way: the objections were looked at before.
                    guard key.hasPrefix("packs/"), !isPlaced.withLock({ $0 }) else { return }
                    isPlaced.withLock { $0 = true }
                    try other.add(hold)
                }
            }
        }
        let error = #expect(throws: HoldfastError.self) { try vault.deletePoints([scene.ids[0]]) }
        #expect(error?.code == .busy)
        #expect(isPlaced.withLock { $0 })
        #expect(try listed(other) == scene.ids)
        let again = #expect(throws: HoldfastError.self) { try vault.deletePoints([scene.ids[0]]) }
        #expect(again?.code == .forbidden)
    }

    @Test("a hold whose record is lost is not forgotten: everything is held until it is back or replaced")
    func lostHold() throws {
        let scene = try Scene(points: 3)
        let vault = try scene.fixture.open()
        var content = HoldRecord.Content(
            hold: .random(), placed: Timestamp(seconds: 10), isPlaced: true, machines: [.random()], paths: [],
            from: Timestamp(seconds: 0), until: Timestamp(nanoseconds: .max), reference: "case 9")
        try vault.add(try HoldRecord(content, signing: scene.fixture.keys.vaultSigning))
        #expect(try vault.points(PointQuery()).allSatisfy { !$0.isHeld })
        let pack = try #require(try vault.catalog.records(of: .hold).first).packName
        try vault.store.delete(StoreKey.pack(pack))
        _ = try vault.verify(VerificationRequest(level: .structure))
        let error = #expect(throws: HoldfastError.self) { try vault.holds() }
        #expect(error?.code == .damaged)
        #expect(try vault.points(PointQuery()).allSatisfy(\.isHeld))
        content.isPlaced = false
        content.placed = Timestamp(seconds: 20)
        try vault.add(try HoldRecord(content, signing: scene.fixture.keys.vaultSigning))
        #expect(try vault.holds() == [content])
        #expect(try vault.points(PointQuery()).allSatisfy { !$0.isHeld })
    }

    // MARK: Redactions

    private func redaction(
        _ scene: Scene, _ point: PointID, _ locator: PointLocator, at time: Int64, root: TestBlob
    ) throws -> RedactionRecord {
        try RedactionRecord.seal(
            locator: locator, time: Timestamp(seconds: time), path: Array("x".utf8), references: [root.id],
            record: PointRecord(root: root.key),
            key: RecordKey.fresh(for: scene.machine.secrets.publicKey, vault: scene.machine.secrets.vault),
            signing: scene.fixture.keys.vaultSigning)
    }

    @Test("of a point's redactions the newest counts, in whatever order they are found, and they go with their point")
    func redactions() throws {
        let scene = try Scene(points: 3)
        let vault = try scene.fixture.open()
        let writer = try TestWriter(vault, scene.machine, head: scene.head)
        let roots = ["a", "b"].map { writer.make.node("redacted \($0)", [writer.make.data("same").id]) }
        try writer.store(roots)
        let locator = try vault.point(scene.ids[0]).locator
        let newer = try redaction(scene, scene.ids[0], locator, at: 200, root: roots[1])
        let older = try redaction(scene, scene.ids[0], locator, at: 100, root: roots[0])
        let packs = try [newer, older].map { try RecordPacks.pack($0, vault: vault.vault) }
        for pack in packs {
            try vault.store.put(StoreKey.pack(pack.name), pack.bytes)
            _ = try vault.compare()
            #expect(try vault.points(PointQuery(ids: [scene.ids[0]]))[0].references == [roots[1].id])
        }
        writer.close()
        // The references that the newest redaction replaced are no roots any more; its own are.
        _ = try vault.reclaim()
        _ = try vault.reclaim()
        #expect(try vault.catalog.present([roots[1].id, writer.make.data("only 0").id]) == [true, false])
        // The same from the store alone.
        let other = try rebuilt(scene)
        #expect(try other.points(PointQuery(ids: [scene.ids[0]]))[0].references == [roots[1].id])
        try vault.deletePoints([scene.ids[0]])
        #expect(try vault.catalog.records(of: .redaction).isEmpty)
        #expect(try scene.fixture.packs().isDisjoint(with: packs.map(\.name)))
        _ = try vault.reclaim()
        #expect(try vault.catalog.present([roots[1].id]) == [false])
    }

    @Test("a redaction of a point that is not there keeps nothing alive")
    func strayRedaction() throws {
        let scene = try Scene(points: 2)
        let vault = try scene.fixture.open()
        let writer = try TestWriter(vault, scene.machine, head: scene.head)
        let root = writer.make.node("stray", [writer.make.data("same").id])
        try writer.store([root])
        let locator = try writer.point(root: root).locator
        let pack = try RecordPacks.pack(
            try redaction(scene, locator.point, locator, at: 100, root: root), vault: vault.vault)
        try vault.store.put(StoreKey.pack(pack.name), pack.bytes)
        writer.close()
        _ = try vault.compare()
        #expect(try !vault.catalog.records(of: .redaction).isEmpty)
        _ = try vault.reclaim()
        _ = try vault.reclaim()
        #expect(try vault.catalog.present([root.id]) == [false])
    }
}
