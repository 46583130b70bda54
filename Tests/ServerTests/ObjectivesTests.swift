import Client
import Model
import Synchronization
import Testing
import Vault

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

    @Test(
        "a machine of which nothing is stored is not protected, one that is paused says so, and one that is away too long is lost"
    )
    func conditions() {
        let now = Timestamp(seconds: 1_795_000_000)
        let machine = ManagedMachine(
            id: .random(), name: "a", group: "g", key: SigningKey.random().verifyingKey, enrolled: now, lastSeen: now)
        var report = sampleReport(time: now)
        func condition(after seconds: Int64 = 0, hasPoints: Bool = true) -> MachineCondition {
            MachineCondition(
                machine, report, received: now, at: now.advanced(by: seconds * 1_000_000_000),
                MachineObjectives(lag: 1_000_000_000, silent: 86_400_000_000_000), hasPoints: hasPoints)
        }
        #expect(condition() == .protected && condition(hasPoints: false) == .protected, "its report names a point")
        // After a restart it reports none until there is another; the vault knows.
        report.newest = nil
        #expect(condition() == .protected && condition(hasPoints: false) == .beginning)
        report.activity = .paused
        #expect(condition() == .paused)
        report.problem = "protection is paused for more than a day"
        #expect(condition() == .problem)
        #expect(condition(after: 3_600) == .silent && condition(after: 2 * 86_400) == .lost)
    }
}
