import Catalog
import Model
import Synchronization
import TestSupport
import Testing
import Vault

/// What holds where several hosts can reach the vault.
@Suite("A vault that several hosts can reach")
struct SharedCatalogTests {
    @Test("the catalog keeps its contract with a rollback journal", arguments: VaultCatalogContract.checks)
    func catalogContract(check: VaultCatalogContract.Check) throws {
        let fixture = try CatalogFixture()
        try check.run(on: fixture.open(journal: .rollback))
    }

    @Test("the vault keeps its contract with a rollback journal", arguments: VaultServiceContract.checks)
    func vaultContract(check: VaultServiceContract.Check) throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open { $0.journal = .rollback }
        try check.run(on: vault, machine: try fixture.join(vault))
    }

    @Test("no memory is shared between processes, and a catalog goes from one journal to the other and back")
    func journals() throws {
        let fixture = try VaultFixture()
        let machine: TestMachine
        var receipts: [CommitReceipt] = []
        do {
            let vault = try fixture.open()
            machine = try fixture.join(vault)
            let writer = try TestWriter(vault, machine)
            receipts.append(try writer.backup(["one"], salt: "1"))
            writer.close()
        }
        for (index, journal) in [SQLiteCatalog.Journal.rollback, .log, .rollback].enumerated() {
            let vault = try fixture.open { $0.journal = journal }
            let second = try fixture.open { $0.journal = journal }
            #expect(vault.notes.isEmpty && second.notes.isEmpty)
            let writer = try TestWriter(second, machine, head: receipts[index].storedUpTo)
            receipts.append(try writer.backup(["more \(index)"], salt: "more \(index)"))
            writer.close()
            #expect(try vault.points(PointQuery()).map(\.id) == receipts.map(\.point))
            let store = try fixture.store()
            for name in ["catalog.sqlite-shm", "catalog.sqlite-wal"] {
                #expect(try store.contains(name) == (journal == .log), "\(name)")
            }
            try vault.deletePoints([])
            _ = try vault.reclaim()
            #expect(try vault.verify(VerificationRequest(level: .packs)).isSound)
        }
    }

    /// An owner whose vault is taken away.
    private final class Owner: VaultOwnership {
        private let isLost = Mutex(false)
        func lose() { isLost.withLock { $0 = true } }
        func confirm() throws {
            if isLost.withLock({ $0 }) { throw HoldfastError(.busy, "another host owns the vault now") }
        }
    }

    @Test("a host whose vault was taken over writes nothing into the catalog any more")
    func takenOver() throws {
        let fixture = try VaultFixture()
        let machine = try fixture.join(fixture.open())
        let witness = WitnessFile(path: Array((fixture.path + "/catalog.witness").utf8))
        let owner = Owner()
        let catalog = try SQLiteCatalog(
            path: fixture.path + "/catalog.sqlite", vault: fixture.config.vault, witness: witness, journal: .rollback)
        let old = try LocalVault(
            config: fixture.config, store: fixture.store(), catalog: catalog,
            guards: LeaseFiles(vaultPath: Array(fixture.path.utf8)), owner: owner)
        let writer = try TestWriter(old, machine)
        try writer.store([writer.make.data("before")])
        owner.lose()
        let before = try fixture.readFile("catalog.sqlite")
        func isRefused(_ body: () throws -> Void) {
            let error = #expect(throws: HoldfastError.self) { try body() }
            #expect(error?.code == .busy)
        }
        isRefused { try writer.store([writer.make.data("after")]) }
        isRefused { try writer.commit(writer.point(root: writer.make.node("root", []))) }
        isRefused { try old.compare() }
        isRefused { _ = try old.verify(VerificationRequest(level: .packs)) }
        isRefused { _ = try old.reclaim() }
        writer.close()
        #expect(try fixture.readFile("catalog.sqlite") == before)
    }
}
