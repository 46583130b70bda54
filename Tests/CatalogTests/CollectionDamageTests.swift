import Catalog
import Model
import Synchronization
import TestSupport
import Testing
import Vault

/// Collections that meet damage, loss, other machines' copies, lies, and what processes and power cuts left behind.
@Suite("Collection and damage")
struct CollectionDamageTests {
    private func reclaimIgnoringDamage(_ vault: LocalVault) throws -> CollectionReport {
        var options = CollectionOptions()
        options.ignoresDamage = true
        return try vault.reclaim(options: options)
    }

    private func checkWhole(_ vault: LocalVault) throws {
        for point in try vault.points(PointQuery()) {
            #expect(point.condition == .whole)
            _ = try wholeness(of: point.references, in: vault)
        }
    }

    // MARK: Lost nodes

    @Test(
        "a lost pack of nodes stops collection, and when it is put back its points are whole", arguments: [false, true])
    func lostNode(isRebuilt: Bool) throws {
        let fixture = try VaultFixture()
        let machine: TestMachine
        let pack: PackName
        let bytes: [UInt8]
        do {
            let vault = try fixture.open()
            machine = try fixture.join(vault)
            let writer = try TestWriter(vault, machine)
            for index in 0..<3 { try writer.backup(["same", "only \(index)"], salt: "\(index)") }
            let root = writer.make.node("1", ["same", "only 1"].map { writer.make.data($0).id })
            writer.close()
            pack = try #require(try vault.catalog.copies(of: [root.id]).first).packName
            bytes = try fixture.readFile(StoreKey.pack(pack))
            try vault.store.delete(StoreKey.pack(pack))
            if !isRebuilt { #expect(try vault.verify(VerificationRequest()).lostPacks == [pack]) }
        }
        if isRebuilt { #expect(try fixture.rebuild().damagedPoints.count == 1) }
        let vault = try fixture.open()
        for _ in 0..<2 {
            let error = #expect(throws: HoldfastError.self) { try vault.reclaim() }
            #expect(error?.code == .damaged)
            #expect(error?.message.contains("--ignore-damage") == true)
            #expect(throws: HoldfastError.self) { try vault.planCollection() }
            #expect(try vault.catalog.position().phase == .idle)
        }
        #expect(try vault.catalog.present([TestBlobMaker(machine.secrets).data("only 1").id]) == [true])
        try vault.store.put(StoreKey.pack(pack), bytes)
        #expect(try vault.verify(VerificationRequest()).isSound)
        _ = try vault.reclaim()
        try checkWhole(vault)

        // Lost again: deleting the damaged point is one way out, giving up what lay below the other.
        try vault.store.delete(StoreKey.pack(try #require(try fixture.pack(of: "1", machine, vault))))
        _ = try vault.verify(VerificationRequest())
        #expect(throws: HoldfastError.self) { try vault.reclaim() }
        let damaged = try vault.points(PointQuery()).filter { $0.condition == .damaged }
        #expect(damaged.count == 1)
        if isRebuilt {
            _ = try reclaimIgnoringDamage(vault)
        } else {
            try vault.deletePoints(damaged.map(\.id))
            _ = try vault.reclaim()
            try checkWhole(vault)
        }
        #expect(try vault.catalog.present([TestBlobMaker(machine.secrets).data("only 1").id]) == [false])
    }

    @Test("lost data stops no collection, and what is left of its point stays")
    func lostData() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let machine = try fixture.join(vault)
        let writer = try TestWriter(vault, machine)
        try writer.backup(["a"], salt: "1")
        try writer.backup(["b"], salt: "2")
        writer.close()
        let copy = try #require(try vault.catalog.copies(of: [writer.make.data("a").id]).first)
        let bytes = try fixture.readFile(StoreKey.pack(copy.packName))
        try vault.store.delete(StoreKey.pack(copy.packName))
        _ = try vault.verify(VerificationRequest())
        _ = try vault.reclaim()
        _ = try vault.reclaim()
        try vault.store.put(StoreKey.pack(copy.packName), bytes)
        #expect(try vault.verify(VerificationRequest()).isSound)
        try checkWhole(vault)
        // Nobody needs it any more: then the lost pack is forgotten.
        try vault.store.delete(StoreKey.pack(copy.packName))
        _ = try vault.verify(VerificationRequest())
        try vault.deletePoints([try vault.points(PointQuery())[0].id])
        _ = try vault.reclaim()
        #expect(try vault.catalog.pack(copy.packName) == nil)
    }

    // MARK: Other copies

    @Test("a rewritten pack's rows describe its own bytes, whatever other machines' copies look like")
    func rowsOfRewrittenPacks() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let text = (0..<400).map { "line \($0 % 37) of a file that packs well" }.joined(separator: "\n")
        let machines = [try fixture.join(vault), try fixture.join(vault)]
        var blob: TestBlob?
        for (machine, compression) in zip(machines, [Compression.fast, .better]) {
            let writer = try TestWriter(vault, machine)
            let make = TestBlobMaker(machine.secrets, compression: compression)
            let data = make.data(text)
            blob = data
            try vault.store(make.pack([data]), lease: writer.lease.id)
            // Only the second machine's packs are many enough to be rewritten.
            let small = compression == .fast ? 0 : 9
            for index in 0..<small { try writer.store([make.data("small \(index)")]) }
            let names = [data.id] + (0..<small).map { make.data("small \($0)").id }
            let root = make.node("root", names)
            try vault.store(make.pack([root]), lease: writer.lease.id)
            try writer.commit(writer.point(root: root))
            writer.close()
        }
        let id = try #require(blob).id
        #expect(Set(try vault.catalog.copies(of: [id]).map(\.sealedLength)).count == 2)
        #expect(try vault.reclaim().rewrittenPacks > 0)
        for copy in try vault.catalog.copies(of: [id]) {
            let bytes = try fixture.readFile(StoreKey.pack(copy.packName))
            let blobs = bytes.withUnsafeBytes { PackReader.scan($0, vault: vault.vault) }.blobs
            let frame = try #require(blobs.first { $0.id == id })
            #expect(frame.sealedLength == copy.sealedLength && frame.encoding == copy.encoding)
            #expect(frame.offset == copy.offset && frame.references.count == copy.referenceCount)
        }
        #expect(try vault.verify(VerificationRequest(level: .packs)).isSound)
    }

    @Test("another machine's copy that names nothing takes neither the honest copy's place nor its children")
    func lyingCopy() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let liar = try fixture.join(vault)
        let honest = try fixture.join(vault)
        // The liar knows what the other is going to store, and is first.
        let first = try TestWriter(vault, liar)
        let make = first.make
        let names = ["a", "b"].map { make.data($0).id }
        let root = make.node("root", names)
        try first.store([TestBlob(type: .node, plain: root.plain, key: root.key, id: root.id, references: [])])
        try first.commit(first.point(root: root))
        first.close()
        let second = try TestWriter(vault, honest)
        try second.store(["a", "b"].map { make.data($0) })
        try second.store([root])
        try second.commit(second.point(root: root))
        // Enough small packs of nodes to be rewritten.
        for index in 0..<9 {
            let node = make.node("more \(index)", names)
            try second.store([node])
            try second.commit(second.point(root: node))
        }
        second.close()
        for _ in 0..<3 { _ = try vault.reclaim() }
        #expect(try vault.catalog.copies(of: [root.id]).contains { $0.referenceCount == 2 })
        // The other roots name the same children: without them only the rewritten copy is left to do so.
        let points = try vault.points(PointQuery(machine: honest.id))
        try vault.deletePoints(
            points.filter { $0.references != [root.id] }.map(\.id),
            options: LocalVault.DeletionOptions(includesNewest: true))
        for _ in 0..<3 { _ = try vault.reclaim() }
        #expect(try vault.catalog.present(names) == [true, true])
    }

    @Test(
        "a copy that names less, or is known to be false, does not speak for a damaged one", arguments: [false, true])
    func lyingCopyAndDamage(isKnown: Bool) throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let writer = try TestWriter(vault, try fixture.join(vault))
        let make = writer.make
        let receipt = try writer.backup(["a", "b"], salt: "root")
        let root = make.node("root", ["a", "b"].map { make.data($0).id })
        let honest = try #require(try vault.catalog.copies(of: [root.id]).first)
        let others = ["c", "d"].map { make.data($0) }
        try writer.store(others)
        // As many names as the honest one has, or none.
        let lie = TestBlob(
            type: .node, plain: root.plain, key: root.key, id: root.id,
            references: isKnown ? others.map(\.id).sorted() : [])
        try writer.store([lie])
        if isKnown {
            let copy = try #require(try vault.catalog.copies(of: [root.id]).last)
            try vault.catalog.setCondition(.falseContents, of: [copy.reference])
        }
        writer.close()
        #expect(try vault.points(PointQuery()).map(\.id) == [receipt.point])
        try fixture.flip(honest.packName, at: Int(honest.offset) + BlobFrame.headerLength + 3)
        let error = #expect(throws: HoldfastError.self) { try vault.reclaim() }
        #expect(error?.code == .damaged)
        #expect(try vault.catalog.present(["a", "b"].map { make.data($0).id }) == [true, true])
    }

    @Test("cycles among copies that are not whole do not keep a collection going for ever")
    func cycle() throws {
        let fixture = try CatalogFixture()
        let catalog = try fixture.open()
        let a = CatalogSamples.blob(.node).id
        let b = CatalogSamples.blob(.node).id
        func register(_ id: BlobID, _ names: [BlobID]) throws -> CopyReference {
            let pack = CatalogSamples.pack([CatalogSamples.blob(.node, names: names, id: id)])
            try catalog.register(pack.entry, blobs: pack.blobs, lease: nil)
            return CopyReference(id: id, pack: try #require(try catalog.pack(pack.entry.name)).number)
        }
        let lease = LeaseEntry(id: .random(), kind: .writer, machine: .random(), opened: Timestamp(seconds: 1))
        _ = try catalog.openLease(lease, pinning: [])
        // A copy of each that names the other, and one of each that is damaged.
        let whole = [try register(a, [b]), try register(b, [a]), try register(a, [b])]
        try catalog.setCondition(.whole, of: whole)
        try catalog.setCondition(.damaged, of: [try register(a, [b]), try register(b, [a])])
        _ = try catalog.beginMarking()
        while try catalog.seedRecentlyMarked(limit: 10) {}
        var steps = 0
        while steps < 20 {
            let frontier = try catalog.frontier(limit: 1)
            if frontier.isEmpty { break }
            try catalog.reach(frontier.map { ($0.id, $0.id == a ? [b] : [a]) })
            steps += 1
        }
        #expect(steps < 20)
        #expect(try catalog.finishMarking())
    }

    // MARK: A catalog with flipped bits

    @Test(
        "numbers in the catalog that cannot be are refused, not counted with",
        arguments: [
            "UPDATE blob SET start = -1", "UPDATE blob SET refs = -5", "UPDATE blob SET refs = 4611686018427387904",
            "UPDATE blob SET length = -1", "UPDATE blob SET length = 4294967295", "UPDATE blob SET secret = 70000",
            "UPDATE record SET start = -1", "UPDATE record SET length = 9223372036854775807",
            "UPDATE pack SET bytes = -1", "UPDATE pack SET blobs = -1", "UPDATE pack SET live_bytes = -1",
            "UPDATE vault_state SET generation = -1", "UPDATE point SET number = -1", "UPDATE head SET number = -1",
        ])
    func impossibleNumbers(sql: String) throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let machine = try fixture.join(vault)
        let writer = try TestWriter(vault, machine)
        let receipt = try writer.backup(["a"], salt: "1")
        writer.close()
        try fixture.changeCatalog(sql)
        func attempt(_ body: () throws -> Void) {
            do { try body() } catch let error as HoldfastError {
                #expect([.damaged, .denied, .notFound].contains(error.code), "\(error)")
            } catch { Issue.record(error) }
        }
        attempt { _ = try vault.points(PointQuery()) }
        attempt { _ = try vault.point(receipt.point) }
        attempt { _ = try vault.machineRecords() }
        attempt { try vault.read([writer.make.data("a").id]) { _, _ in } }
        attempt { _ = try vault.catalog.statistics() }
        attempt { _ = try TestWriter(vault, machine, head: receipt.storedUpTo).backup(["b"], salt: "2") }
        attempt { _ = try vault.planCollection() }
        attempt { _ = try vault.reclaim() }
        attempt { _ = try vault.verify(VerificationRequest(level: .packs)) }
    }

    // MARK: What cannot be read

    @Test(
        "a bad sector in a pack that would be rewritten leaves that pack alone, and the rest is freed",
        arguments: [0, 48] as [UInt64])
    func badSector(from start: UInt64) throws {
        let fixture = try VaultFixture()
        let bad = Mutex<Set<String>>([])
        let vault = try fixture.open { options in
            options.decorate = { base in
                BadSectorStore(base) { key, offset in offset >= start && bad.withLock { $0.contains(key) } }
            }
        }
        let machine = try fixture.join(vault)
        let writer = try TestWriter(vault, machine)
        for index in 0..<10 {
            try writer.store([writer.make.data("kept \(index)"), writer.make.data("gone \(index)")])
            try writer.backup(["kept \(index)"], salt: "\(index)")
        }
        writer.close()
        let copy = try #require(try vault.catalog.copies(of: [writer.make.data("kept 4").id]).first)
        bad.withLock { _ = $0.insert(StoreKey.pack(copy.packName)) }
        let report = try vault.reclaim()
        #expect(report.unreadable.map(\.pack) == [copy.packName])
        #expect(report.rewrittenPacks >= 9)
        #expect(try vault.catalog.position().phase == .idle)
        #expect(try fixture.packs().contains(copy.packName))
        bad.withLock { $0 = [] }
        try checkWhole(vault)
    }

    // MARK: Beside comparisons, and after power cuts

    @Test("what a comparison has registered stays until what names it is registered, whatever collection runs beside")
    func adoptionBesideCollection() throws {
        let fixture = try CatalogFixture()
        let catalog = try fixture.open()
        let lease = LeaseEntry(id: .random(), kind: .adoption, opened: Timestamp(seconds: 1))
        _ = try catalog.openLease(lease, pinning: [])
        let data = CatalogSamples.pack(blobs: 2)
        try catalog.register(data.entry, blobs: data.blobs, lease: nil)
        for isOver in [false, true] {
            if isOver { try catalog.closeLeases([lease.id]) }
            _ = try catalog.beginMarking()
            while try catalog.seedRecentlyMarked(limit: 10) {}
            #expect(try catalog.finishMarking())
            while try catalog.sweep(limit: 10) {}
            try catalog.finishCollection()
            #expect(try catalog.present(data.blobs.map(\.id)) == [!isOver, !isOver])
        }
    }

    @Test(
        "packs that a power cut took from the catalog, with the lease of their writer, are found and freed by reclaim")
    func orphans() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let machine = try fixture.join(vault)
        let writer = try TestWriter(vault, machine)
        try writer.backup(["a"], salt: "1")
        writer.close()
        let orphan = try writer.make.pack([writer.make.data("orphan")])
        try vault.store.put(StoreKey.pack(orphan.name), orphan.bytes)
        #expect(try vault.planCollection().dead.packs == 1)
        #expect(try vault.reclaim().deletedPacks == 1)
        #expect(try !fixture.packs().contains(orphan.name))
        try checkWhole(vault)
        // The trace of a lease without a row: the next process looks for packs.
        let other = try writer.make.pack([writer.make.data("another")])
        try vault.store.put(StoreKey.pack(other.name), other.bytes)
        try fixture.writeFile("leases/\(String(repeating: "a", count: 32))", [])
        #expect(try fixture.open().catalog.pack(other.name)?.state == .stored)
    }

    @Test("after a rebuild, nodes that nobody needs and whose children are gone do not stop a reclaim beside a writer")
    func deadNodesAfterRebuild() throws {
        let fixture = try VaultFixture()
        let machine: TestMachine
        do {
            let vault = try fixture.open()
            machine = try fixture.join(vault)
            let writer = try TestWriter(vault, machine)
            let make = writer.make
            let gone = make.data("gone")
            try writer.store([gone])
            let kept = (0..<20).map { make.data("kept \($0)") }
            try writer.store(kept)
            // Both roots in one pack, which is needed for the second and stays.
            let roots = [make.node("first", [gone.id]), make.node("second", kept.map(\.id))]
            try writer.store(roots)
            let point = try writer.commit(writer.point(root: roots[0])).point
            try writer.commit(writer.point(root: roots[1]))
            writer.close()
            try vault.deletePoints([point])
            #expect(try vault.reclaim().deletedPacks > 0)
        }
        _ = try fixture.rebuild()
        let vault = try fixture.open()
        let writer = try TestWriter(vault, machine)
        for _ in 0..<2 { _ = try vault.reclaim() }
        writer.close()
        try checkWhole(vault)
    }

    @Test("planning deletes nothing, not even what an interrupted collection was about to delete")
    func dryRun() throws {
        struct Stopped: Error {}
        for stopAfter in 0..<12 {
            let fixture = try VaultFixture()
            let vault = try fixture.open()
            let machine = try fixture.join(vault)
            let writer = try TestWriter(vault, machine)
            for index in 0..<6 {
                try writer.store([writer.make.data("kept"), writer.make.data("gone \(index)")])
                try writer.store([writer.make.data("dead \(index)")])
                try writer.backup(["kept", "own \(index)"], salt: "\(index)")
            }
            writer.close()
            let count = Mutex(0)
            var options = CollectionOptions()
            options.checkpoint = {
                try count.withLock { count in
                    count += 1
                    if count > stopAfter { throw Stopped() }
                }
            }
            do { _ = try vault.reclaim(options: options) } catch is Stopped {}
            let packs = try fixture.packs()
            let phase = try vault.catalog.position().phase
            let plan = try vault.planCollection()
            #expect(try fixture.packs() == packs, "stopped after \(stopAfter)")
            #expect(plan.isUnfinished == (phase == .sweeping || phase == .reclaiming))
            if plan.isUnfinished { #expect(plan.dead.packs > 0 || plan.rewritten.packs > 0) }
            _ = try vault.reclaim()
            try checkWhole(vault)
            #expect(try vault.catalog.present([writer.make.data("dead 1").id]) == [false])
        }
    }
}

extension VaultFixture {
    /// The pack with the root that `TestWriter.backup` made with a salt, of the contents "same" and "only `salt`".
    fileprivate func pack(of salt: String, _ machine: TestMachine, _ vault: LocalVault) throws -> PackName? {
        let make = TestBlobMaker(machine.secrets)
        let root = make.node(salt, ["same", "only \(salt)"].map { make.data($0).id })
        return try vault.catalog.copies(of: [root.id]).first?.packName
    }
}
