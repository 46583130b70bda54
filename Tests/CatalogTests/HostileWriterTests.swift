import Catalog
import Model
import TestSupport
import Testing
import Vault

/// A machine that has joined and wants to harm the others.
@Suite("A hostile writer")
struct HostileWriterTests {
    /// A node as readers see it: its plaintext begins with the table of the content keys that it names.
    private func node(key: ContentKey, naming child: TestBlob) -> TestBlob {
        TestBlob(
            type: .node, plain: [1, 0, 1] + child.key.bytes.array, key: key, id: BlobCrypto.id(of: key),
            references: [child.id])
    }

    @Test("does not get rubbish trusted by naming it below a root that verification cannot compare")
    func poisonBelowForeignRoot() throws {
        let fixture = try VaultFixture()
        // Without a secret: nothing is trusted but one's own and what was checked.
        let vault = try VaultDirectory.open(path: Array(fixture.path.utf8))
        let hostile = try TestWriter(vault, fixture.join(vault, name: "hostile"))
        let victim = try TestWriter(vault, fixture.join(vault, name: "victim"))
        let good = victim.make.data("the payroll")
        let bad = TestBlob(type: .data, plain: Array("rubbish".utf8), key: good.key, id: good.id, references: [])
        try hostile.store([bad])
        let root = node(key: hostile.make.data("any key").key, naming: good)
        try hostile.store([root])
        try hostile.commit(hostile.point(root: root))
        var request = VerificationRequest(level: .data)
        request.keys = fixture.keys
        #expect(try vault.verify(request).findings.contains { $0.contains("other secrets") })
        #expect(try victim.missing([good]) == [true])
        try victim.store([good])
        let honest = victim.make.blob(.node, [1, 0, 1] + good.key.bytes.array, [good.id])
        try victim.store([honest])
        try victim.commit(victim.point(root: honest))
        _ = try vault.verify(request)
        #expect(try vault.catalog.copies(of: [good.id]).map(\.condition) == [.falseContents, .whole])
    }

    @Test("does not make a good copy false by naming it as something that it is not")
    func wrongType() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let writer = try TestWriter(vault, fixture.join(vault))
        let blob = writer.make.data("widely shared")
        try writer.backup(["widely shared"])
        let checker = ContentChecker(keys: fixture.keys, domain: DomainSecret.vaultDomain)
        for checker in [checker, nil] {
            let fetcher = BlobFetcher(service: vault, checker: checker)
            for type in [BlobType.node, .extents, .delta] {
                let error = #expect(throws: HoldfastError.self) { try fetcher.fetch(blob.key, type: type) { _ in } }
                #expect(error?.code == .damaged)
            }
            #expect(try vault.catalog.copies(of: [blob.id]).map(\.condition) == [.whole])
        }
        #expect(try vault.points(PointQuery()).allSatisfy { $0.condition == .whole })
    }

    @Test("does not make a good copy false by naming it below a root of another domain")
    func otherDomain() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let machine = try fixture.join(vault)
        let writer = try TestWriter(vault, machine)
        let blob = writer.make.data("of the vault's domain")
        try writer.store([blob])
        let fetcher = BlobFetcher(
            service: vault, checker: ContentChecker(keys: fixture.keys, domain: DomainSecret.domain(of: machine.id)))
        #expect(try fetcher.fetch(blob.key, type: .data) { Array($0) } == blob.plain)
        #expect(try vault.catalog.copies(of: [blob.id]).map(\.condition) == [.whole])
    }

    @Test("stores no pack in the name of another machine")
    func foreignName() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let hostile = try TestWriter(vault, fixture.join(vault, name: "hostile"))
        let victim = try fixture.join(vault, name: "victim")
        let writer = WriterID(high: victim.id.high, low: victim.id.low)
        let pack = try hostile.make.pack([hostile.make.data("rubbish")], writer: writer)
        let error = #expect(throws: HoldfastError.self) { try vault.store(pack, lease: hostile.lease.id) }
        #expect(error?.code == .denied)
        #expect(try !fixture.packs().contains(pack.name))
    }

    @Test("makes the vault search its store once in a while at most, whatever heads it invents")
    func inventedHeads() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let hostile = try fixture.join(vault, name: "hostile")
        func invent() throws {
            let head = MachineHead(incarnation: .random(), number: 1_000_000, hash: LocatorHash(.zero))
            vault.closeLease(try vault.openLease(.writer(machine: hostile.id, head: head)).id)
        }
        // What a killed process has left behind.
        func leave(_ text: String) throws -> PackName {
            let maker = TestBlobMaker(hostile.secrets)
            let pack = try maker.pack([maker.data(text)])
            try fixture.store().put(StoreKey.pack(pack.name), pack.bytes, mode: .ifAbsent)
            return pack.name
        }
        let first = try leave("first")
        try invent()
        #expect(try vault.catalog.pack(first) != nil)
        let second = try leave("second")
        for _ in 0..<20 { try invent() }
        #expect(try vault.catalog.pack(second) == nil)
    }

    @Test("stores nothing under a lease for reading, under another's or under none, and never in another's name")
    func leases() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let hostile = try TestWriter(vault, fixture.join(vault, name: "hostile"))
        let victim = try TestWriter(vault, fixture.join(vault, name: "victim"))
        let name = WriterID(high: victim.machine.id.high, low: victim.machine.id.low)
        let rubbish = hostile.make.data("rubbish")
        let own = try hostile.make.pack([rubbish])
        let forged = try hostile.make.pack([rubbish], writer: name)
        let before = try fixture.packs()
        let point = try hostile.point(root: hostile.make.node("root", []))
        let reader = try vault.openLease(.reader())
        defer { vault.closeLease(reader.id) }
        for (lease, code) in [
            (reader.id, HoldfastError.Code.denied), (victim.lease.id, .denied), (LeaseID.random(), .leaseLost),
            (hostile.lease.id, .denied),
        ] {
            for pack in lease == hostile.lease.id ? [forged] : [own, forged] {
                let isForVictim = lease == victim.lease.id && pack.name == forged.name
                if !isForVictim {
                    let stored = #expect(throws: HoldfastError.self) { try vault.store(pack, lease: lease) }
                    #expect(stored?.code == code)
                }
                let riding = #expect(throws: HoldfastError.self) {
                    try vault.commit(point, with: [pack], lease: lease)
                }
                #expect(riding?.code == code)
            }
        }
        #expect(try fixture.packs() == before, "not even in the store, where a comparison would find it")
        // The way on: a head that nobody knows makes the vault look for what it does not know.
        let head = MachineHead(incarnation: .random(), number: 1_000_000, hash: LocatorHash(.zero))
        vault.closeLease(try vault.openLease(.writer(machine: hostile.machine.id, head: head)).id)
        #expect(try victim.missing([rubbish]) == [true])
    }
}
