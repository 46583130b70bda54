import Client
import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Server

/// What costs the server no more in a large vault than in a small one.
@Suite("Growth", .serialized)
struct GrowthTests {
    @Test("health is looked at by one at a time, and a look that does not end is trouble")
    func health() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let core = server.core
            #expect(core.health().checks.first { $0.name == "vault" }?.status == .ok)
            // Somebody looks.
            core.lastHealth.withLock { memory in
                memory.time = 0
                memory.looking = SystemClock.monotonic
                memory.known?.checks = [.init(name: "before", status: .ok, reason: "")]
            }
            #expect(core.health().checks.map(\.name) == ["before"])
            core.lastHealth.withLock { $0.looking = SystemClock.monotonic - 60_000_000_000 }
            #expect(core.health().status == .failing)
            core.lastHealth.withLock { $0.looking = nil }
            #expect(core.health().checks.contains { $0.name == "database" })
            // The vault's drive is gone.
            try FileManager.default.moveItem(
                atPath: server.vault.path + "/config.json", toPath: server.vault.path + "/away")
            core.lastHealth.withLock { $0.time = 0 }
            #expect(core.health().checks.first { $0.name == "vault" }?.status == .failing)
            try FileManager.default.moveItem(
                atPath: server.vault.path + "/away", toPath: server.vault.path + "/config.json")
        }
    }

    @Test("a list of more points than a page is told once and whole, also when points go meanwhile")
    func pages() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol()
            let remote = RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID)
            let writer = try TestWriter(remote, TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
            let root = writer.make.node("root", [])
            try writer.store([root])
            let count = VaultMessages.pageSize * 2 + 7
            let points = try (0..<count).map { number in
                let time = Timestamp(seconds: 1_700_001_000 + Int64(number))
                return try writer.commit(writer.point(root: root, time: time)).point
            }
            #expect(try remote.points(.init()).map(\.id) == points)
            #expect(try remote.points(.init(newest: 600)).map(\.id) == points.suffix(600))
            #expect(try remote.points(.init(newest: 3)).map(\.id) == points.suffix(3))
            let vault = try server.core.vault
            let query = PointQuery(machine: machine.credentials.machine)
            let (first, next) = try server.core.pages.page(of: query, from: 0, in: vault)
            try vault.deletePoints(Array(points[..<20] + points[600..<620]))
            var rest: [PointID] = []
            var start = next
            while let from = start {
                let (page, next) = try server.core.pages.page(of: query, from: from, in: vault)
                rest += page.map(\.id)
                start = next
            }
            #expect(first.map(\.id) + rest == Array(points[..<600]) + Array(points[620...]))
            #expect(try remote.points(.init()).count == count - 40)
        }
    }
}
