import Client
import Model
import Synchronization
import Testing

@testable import Catalog
@testable import Server

@Suite("What is expected of machines", .serialized)
struct ObjectivesTests {
    @Test("it can be asked for as often as machines are looked at, for years")
    func manyLooks() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try #require(
                try server.core.catalog.machine(try server.enrol("one").credentials.machine))
            server.core.setObjectives { _ in MachineObjectives(lag: 7, silent: 1) }
            for _ in 0..<300_000 { _ = server.core.policyObjectives.withLock { $0 } }
            #expect(server.core.objectives(of: machine).lag == 7)
        }
    }
}
