import Catalog
import Model
import TestSupport
import Testing
import Vault

@Suite("The local vault")
struct LocalVaultTests {
    @Test("keeps the contract of a vault service", arguments: VaultServiceContract.checks)
    func contract(check: VaultServiceContract.Check) throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        try check.run(on: vault, machine: try fixture.join(vault))
    }
}
