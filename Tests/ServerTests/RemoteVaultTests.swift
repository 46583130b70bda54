import Client
import Model
import Server
import TestSupport
import Testing
import Vault

@Suite("A vault behind a server", .serialized)
struct RemoteVaultTests {
    @Test("it keeps the rules of every vault", arguments: VaultServiceContract.checks)
    func contract(check: VaultServiceContract.Check) async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol()
            let remote = RemoteVault(ServerConnection(machine.credentials), vault: machine.secrets.vault)
            try check.run(on: remote, machine: TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
        }
    }
}
