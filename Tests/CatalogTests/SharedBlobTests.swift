import Catalog
import Model
import TestSupport
import Testing
import Vault

/// Several machines share a vault, and one of them may be hostile.
@Suite("Blobs that another machine sent")
struct SharedBlobTests {
    /// A vault without a secret to check with.
    private func plain(_ fixture: VaultFixture) throws -> LocalVault {
        try VaultDirectory.open(path: Array(fixture.path.utf8))
    }

    @Test("do not count without a check, and one's own do")
    func unchecked() throws {
        let fixture = try VaultFixture()
        let vault = try plain(fixture)
        let first = try TestWriter(vault, fixture.join(vault, name: "first"))
        let second = try TestWriter(vault, fixture.join(vault, name: "second"))
        let blob = first.make.data("shared")
        try first.store([blob])
        #expect(try first.missing([blob]) == [false])
        #expect(try second.missing([blob]) == [true])
        try second.store([blob])
        #expect(try second.missing([blob]) == [false])
    }

    @Test("count once they were opened with the asker's content key, and are opened once only")
    func proof() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let first = try TestWriter(vault, fixture.join(vault, name: "first"))
        let second = try TestWriter(vault, fixture.join(vault, name: "second"))
        let blob = first.make.data("shared")
        try first.store([blob])
        #expect(try vault.missing([BlobQuestion(id: blob.id)], lease: second.lease.id) == [true])
        let wrong = first.make.data("another").key
        #expect(try vault.missing([BlobQuestion(id: blob.id, key: wrong)], lease: second.lease.id) == [true])
        #expect(try second.missing([blob]) == [false])
        // From now on it is answered without the key, also by a vault that cannot check.
        #expect(try vault.missing([BlobQuestion(id: blob.id)], lease: second.lease.id) == [false])
        let later = try plain(fixture)
        let third = try TestWriter(later, fixture.join(later, name: "third"))
        #expect(try third.missing([blob]) == [false])
    }

    @Test("that hold other contents than their name says poison nobody")
    func poison() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let hostile = try TestWriter(vault, fixture.join(vault, name: "hostile"))
        let victim = try TestWriter(vault, fixture.join(vault, name: "victim"))
        let good = victim.make.data("the payroll")
        // Under the name and key of what the victim has, sealed correctly, lies something else.
        let bad = TestBlob(
            type: .data, plain: Array("rubbish".utf8), key: good.key, id: good.id, references: [])
        try hostile.store([bad])
        #expect(try victim.missing([good]) == [true])
        try victim.backup(["the payroll"])
        let reader = BlobFetcher(
            service: vault, checker: ContentChecker(keys: fixture.keys, domain: DomainSecret.vaultDomain))
        let read = try reader.fetch(good.key, type: .data) { Array($0) }
        #expect(read == good.plain)
    }

    @Test("are a machine's own again after the catalog was rebuilt from its packs")
    func rebuilt() throws {
        let fixture = try VaultFixture()
        let machine: TestMachine
        let blob: TestBlob
        do {
            let vault = try plain(fixture)
            machine = try fixture.join(vault)
            let writer = try TestWriter(vault, machine)
            blob = writer.make.data("mine")
            let pack = try writer.make.pack([blob], writer: WriterID(high: machine.id.high, low: machine.id.low))
            try vault.store(pack, lease: writer.lease.id)
            let root = writer.make.node("root", [blob.id])
            try writer.store([root])
            try writer.commit(writer.point(root: root))
            writer.close()
        }
        _ = try fixture.rebuild()
        let vault = try plain(fixture)
        let writer = try TestWriter(vault, machine)
        #expect(try writer.missing([blob]) == [false])
    }
}
