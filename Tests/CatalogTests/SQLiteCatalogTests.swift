import Catalog
import Model
import TestSupport
import Testing
import Vault

@Suite("The catalog in SQLite")
struct SQLiteCatalogTests {
    @Test("keeps the contract of a vault catalog", arguments: VaultCatalogContract.checks)
    func contract(check: VaultCatalogContract.Check) throws {
        let fixture = try CatalogFixture()
        try check.run(on: fixture.open())
    }

    @Test("a catalog of a newer version is refused and left as it is")
    func newerSchema() throws {
        let fixture = try CatalogFixture()
        try fixture.open().close()
        try fixture.raiseSchema()
        let error = #expect(throws: HoldfastError.self) { try fixture.open() }
        #expect(error?.code == .unsupported)
    }

    @Test("a catalog of another vault is refused")
    func otherVault() throws {
        let fixture = try CatalogFixture()
        try fixture.open().close()
        let error = #expect(throws: HoldfastError.self) { try fixture.open(vault: .random()) }
        #expect(error?.code == .damaged)
    }

    @Test("a file that is no catalog is said to be damaged, a missing one to be missing")
    func noCatalog() throws {
        let fixture = try CatalogFixture()
        #expect(throws: HoldfastError.self) { try fixture.open(create: false) }
        try fixture.write(Array(repeating: 7, count: 4096))
        let error = #expect(throws: HoldfastError.self) { try fixture.open() }
        #expect(error?.code == .damaged)
    }

    @Test("what is durable survives the loss of the connection, and two connections see each other's work")
    func twoConnections() throws {
        let fixture = try CatalogFixture()
        let a = try fixture.open()
        let b = try fixture.open()
        let lease = LeaseEntry(id: .random(), kind: .writer, machine: .random(), opened: Timestamp(seconds: 1))
        _ = try a.openLease(lease, pinning: [])
        #expect(try b.leases().map(\.id) == [lease.id])
        let pack = CatalogSamples.pack(blobs: 3)
        try b.register(pack.entry, blobs: pack.blobs, lease: lease.id)
        #expect(try a.missing(pack.blobs.map(\.id), lease: lease.id) == [false, false, false])
        try a.renewWitness()
        #expect(try b.agreesWithWitness())
    }

    @Test("a catalog that is put back from before disagrees with its witness, whatever was done since")
    func witness() throws {
        let fixture = try CatalogFixture()
        let first = try fixture.open()
        #expect(try !first.agreesWithWitness(), "a new catalog was never compared with its store")
        try first.renewWitness()
        #expect(try first.agreesWithWitness())
        try first.close()
        let old = try fixture.read()
        let second = try fixture.open()
        let lease = LeaseEntry(id: .random(), kind: .writer, machine: .random(), opened: Timestamp(seconds: 1))
        _ = try second.openLease(lease, pinning: [])
        #expect(try second.agreesWithWitness())
        try second.close()
        try fixture.write(old)
        let third = try fixture.open()
        #expect(try !third.agreesWithWitness())
        // No ordinary work makes it agree again.
        _ = try third.openLease(lease, pinning: [])
        #expect(try !third.agreesWithWitness())
        try third.renewWitness()
        #expect(try third.agreesWithWitness())
    }
}
