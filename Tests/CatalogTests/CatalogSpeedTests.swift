import Catalog
import Model
import Platform
import TestSupport
import Testing
import Vault

/// Prints what the catalog costs; asserts nothing about time.
@Suite("What the catalog costs", .enabled(if: Machine.environment("HOLDFAST_MEASURE") != nil))
struct CatalogSpeedTests {
    @Test("registering 20,000 blobs, asking for 256, opening")
    func costs() throws {
        let fixture = try CatalogFixture()
        let catalog = try fixture.open()
        try catalog.renewWitness()
        let lease = LeaseEntry(id: .random(), kind: .writer, machine: .random(), opened: Timestamp(seconds: 1))
        _ = try catalog.openLease(lease, pinning: [])
        let packs = (0..<200).map { _ in CatalogSamples.pack(blobs: 100) }
        let clock = ContinuousClock()
        let registering = try clock.measure {
            for pack in packs { try catalog.register(pack.entry, blobs: pack.blobs, lease: lease.id) }
        }
        let ids = packs.flatMap(\.blobs).map(\.id)
        let names = (0..<70).map { index in
            CatalogSamples.blob(.node, names: Array(Set((0..<280).map { ids[(index * 280 + $0) % ids.count] })))
        }
        let meta = CatalogSamples.pack(names)
        let naming = try clock.measure { try catalog.register(meta.entry, blobs: meta.blobs, lease: lease.id) }
        let batch = (0..<256).map { ids[($0 * 7919) % ids.count] }
        _ = try catalog.missing(batch, lease: lease.id)
        let asking = try clock.measure { for _ in 0..<100 { _ = try catalog.missing(batch, lease: lease.id) } }
        try catalog.close()
        let opening = try clock.measure {
            let again = try fixture.open(create: false)
            _ = try again.agreesWithWitness()
            try again.close()
        }
        print("register 20,000 in 200 packs: \(registering)")
        print("register 70 nodes that name 19,600: \(naming)")
        print("missing(256): \(asking / 100)")
        print("open, compare, close: \(opening)")
    }

    @Test("opening a vault, a lease, closing")
    func opening() throws {
        let fixture = try VaultFixture()
        var vault = try fixture.open()
        let machine = try fixture.join(vault)
        let writer = try TestWriter(vault, machine)
        let receipt = try writer.backup((0..<500).map { "\($0)" })
        writer.close()
        vault = try fixture.open()
        let clock = ContinuousClock()
        var opened: LocalVault?
        print("vault open: \(try clock.measure { opened = try fixture.open() })")
        let other = try #require(opened)
        var lease: Lease?
        print(
            "lease: \(try clock.measure { lease = try other.openLease(.writer(machine: machine.id, head: receipt.storedUpTo, base: receipt.point)) })"
        )
        let id = try #require(lease).id
        print("close: \(clock.measure { other.closeLease(id) })")
    }
}
