import Catalog
import Model
import TestSupport
import Testing
import Vault

@testable import Mounting

@Suite("Open points of a mounted vault")
struct PointShelfTests {
    @Test("at the end all leases are given back")
    func leases() throws {
        let fixture = try VaultFixture()
        let local = try fixture.open { $0.access = .change }
        let machine = try fixture.join(local)
        let writer = try TestWriter(local, machine)
        let ids = try (0..<5).map { number in
            try writer.backup([.file("/f\(number)")], time: Timestamp(seconds: 1_700_010_000 + Int64(number)))
        }
        writer.close()
        let vault = GatedVault(local)
        let shelf = PointShelf(
            service: vault, keys: fixture.keys, acceptsUnsigned: false, renewsLeases: false,
            cache: BlobCache(limit: 1 << 20))
        try shelf.start()
        for id in ids {
            let place = Mounting.PointPlace(id: id, machine: machine.id, title: "", time: Timestamp(seconds: 0))
            #expect(try shelf.open(place).entry(of: .root)?.kind == .directory)
        }
        #expect(vault.leases == 5)
        shelf.stop()
        #expect(vault.leases == 0)
    }

    @Test("points that nobody has any more are forgotten, and those that somebody has stay what they are")
    func places() {
        let table = PlaceTable()
        func place(_ id: PointID = .random()) -> Mounting.PointPlace {
            Mounting.PointPlace(id: id, machine: MachineID(high: 1, low: 1), title: "", time: Timestamp(seconds: 0))
        }
        let held = (0..<100).map { _ in table.keep(place()) }
        for _ in 0..<20_000 { _ = table.keep(place()) }
        #expect(table.count <= 1_024)
        for each in held { #expect(table.find(each.id) === each && table.keep(place(each.id)) === each) }
    }
}
