import Browsing
import Catalog
import Client
import Foundation
import Model
import Platform
import Server
import Synchronization
import TestSupport
import Testing
import Vault

@Suite("Administration through a server", .serialized)
struct AdministrationTests {
    /// A server with one machine that has made three points.
    private func populated() async throws -> (ServerFixture, RemoteVault, [PointID]) {
        let server = try await ServerFixture.start()
        return try await ServerFixture.blocking {
            let machine = try server.enrol("mail")
            let remote = RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID)
            let writer = try TestWriter(remote, TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
            let points = try (0..<3).map { try writer.backup(["content \($0)"], salt: "\($0)").point }
            writer.close()
            return (server, remote, points)
        }
    }

    @Test("numbers, checks, deletion and reclaim do there what they do here")
    func longWork() async throws {
        let (server, remote, points) = try await populated()
        try await ServerFixture.blocking {
            let administration = try server.administration()
            let local = LocalAdministration(try server.core.vault)
            #expect(try administration.config == server.vault.config)
            #expect(try administration.hasKeys)
            let overview = try administration.overview()
            #expect(overview.statistics == (try local.overview().statistics) && overview.space != nil)
            #expect(overview.statistics.points == 3)

            let seen = Mutex<UInt64>(0)
            var request = VerificationRequest(level: .packs)
            request.progress = { _, total in seen.withLock { $0 = max($0, total) } }
            let report = try administration.verify(request)
            #expect(report.isSound && report.level == .packs && report.checkedPacks > 0)
            #expect(report.checkedBytes == (try local.verify(VerificationRequest(level: .packs))).checkedBytes)

            let all = try remote.points(.init())
            let objection = administration.objection(to: points[2], among: all, includesNewest: false)
            #expect(objection?.code == .forbidden)
            #expect(throws: HoldfastError.self) { try administration.deletePoints([points[2]], includesNewest: false) }
            try administration.deletePoints([points[0]], includesNewest: false)
            #expect(try remote.points(.init()).map(\.id) == Array(points[1...]))

            let plan = try administration.planCollection(options: .init())
            #expect(plan.dead.packs > 0 && !plan.bytesByOrigin.isEmpty)
            let reclaimed = try administration.reclaim(options: .init())
            #expect(reclaimed.deletedPacks + reclaimed.rewrittenPacks > 0)
            #expect(try administration.verify(VerificationRequest(level: .packs)).isSound)
        }
    }

    @Test("damage is reported through the server as it is here")
    func damage() async throws {
        let (server, _, _) = try await populated()
        try await ServerFixture.blocking {
            let vault = try server.core.vault
            let data = try #require(
                try server.vault.packs().first { name in
                    let pack = try vault.store.get(StoreKey.pack(name), atMost: 1 << 24)
                    return try SealedPack(parsing: pack, vault: vault.vault).packClass == .data
                })
            try server.vault.flip(data, at: 60)
            let report = try server.administration().verify(VerificationRequest(level: .packs))
            #expect(!report.isSound && report.damagedPacks.map(\.pack) == [data])
        }
    }

    @Test("holds are signed by the server, forbid deletion, and are released")
    func holds() async throws {
        let (server, remote, points) = try await populated()
        try await ServerFixture.blocking {
            struct Asked: Error {}
            let administration = try server.administration()
            let point = try #require(try remote.points(PointQuery(ids: [points[0]])).first)
            var hold = HoldRecord.Content(
                hold: .random(), placed: Timestamp(nanoseconds: SystemClock.wall), isPlaced: true,
                machines: [point.machine], paths: [], from: point.arrival, until: point.arrival, reference: "case 1")
            try administration.place(hold) { throw Asked() }
            #expect(try administration.holds() == [hold])
            #expect(try remote.points(PointQuery(ids: [points[0]])).first?.isHeld == true)
            #expect(throws: HoldfastError.self) { try administration.deletePoints([points[0]], includesNewest: false) }
            hold.isPlaced = false
            hold.placed = hold.placed.advanced(by: 1)
            try administration.place(hold) { throw Asked() }
            try administration.deletePoints([points[0]], includesNewest: false)
        }
    }

    @Test("key slots are added and removed, but for the last that a person can open and the server's own")
    func keys() async throws {
        let (server, _, _) = try await populated()
        try await ServerFixture.blocking {
            let administration = try server.administration()
            let now = Timestamp(seconds: 1_800_000_000)
            let sheet = KeySheet.random()
            let slot = try server.vault.keys.addSlot(.keySheet(sheet), label: "sheet", created: now)
            #expect(try administration.add(slot))
            #expect(try !administration.add(slot), "its number is taken")
            let material = try administration.keyMaterial()
            #expect(
                try VaultKeys.slotsOpened(by: .keySheet(sheet), config: material.config, files: material.files).count
                    == 1)
            #expect(throws: HoldfastError.self, "the last one") { try administration.remove(slot) }
            let own = try server.vault.keys.addSlot(.serverKey(.random()), label: "server", created: now)
            #expect(throws: HoldfastError.self) { try administration.add(own) }
        }
    }

    @Test("the catalog is made anew while machines are enrolled; their leases end and their points are there")
    func rebuild() async throws {
        let (server, remote, points) = try await populated()
        try await ServerFixture.blocking {
            let machine = try server.enrol("second")
            let second = RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID)
            let lease = try second.openLease(.writer(machine: machine.credentials.machine))
            let report = try server.administration().rebuild()
            #expect(report.points == 3 && report.unreadable.isEmpty)
            #expect(try remote.points(.init()).map(\.id) == points)
            let error = #expect(throws: HoldfastError.self) {
                try second.missing([BlobQuestion(id: BlobID(.zero))], lease: lease.id)
            }
            #expect(error?.code == .leaseLost)
            let writer = try TestWriter(second, TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
            try writer.backup(["afterwards"])
        }
    }

    @Test(
        "the catalog is made anew at once after somebody has looked at a point, and points can be looked at again then")
    func rebuildAfterLooking() async throws {
        let (server, _, points) = try await populated()
        try await ServerFixture.blocking {
            let shelf = server.core.shelf
            #expect(try points.map { try shelf.point($0).use { $0.point } } == points)
            let begun = SystemClock.monotonic
            let report = try server.administration().rebuild()
            #expect(report.points == 3)
            // What holds the vault is waited for up to a minute.
            #expect(SystemClock.monotonic - begun < 30_000_000_000)
            #expect(try points.map { try shelf.point($0).use { $0.point } } == points)
        }
    }

    // MARK: Jobs

    private func job(_ id: JobID, kind: String) -> JobRecord {
        JobRecord(id: id, kind: kind, owner: "ann", parameters: Array("{}".utf8), started: Timestamp(seconds: 5))
    }

    @Test("one job of a kind runs at a time; what a server left running is interrupted, and its log stays")
    func jobRows() throws {
        let path = NSTemporaryDirectory() + "holdfast-jobs-\(UUID().uuidString).sqlite"
        defer { for end in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + end) } }
        let catalog = try SQLiteServerCatalog(path: path)
        let (first, second) = (JobID.random(), JobID.random())
        #expect(try catalog.start(job(first, kind: "verify")))
        #expect(try !catalog.start(job(second, kind: "verify")))
        #expect(try catalog.start(job(.random(), kind: "reclaim")))
        try catalog.append("one", to: first, at: Timestamp(seconds: 6))
        try catalog.append("two", to: first, at: Timestamp(seconds: 7))
        try catalog.setProgress(first, done: 3, total: 9)
        #expect(try catalog.log(of: first, after: 1, limit: 10).map(\.text) == ["two"])

        let again = try SQLiteServerCatalog(path: path)
        #expect(try again.interruptJobs(at: Timestamp(seconds: 8)) == 2)
        let found = try #require(try again.job(first))
        #expect(found.state == .interrupted && found.done == 3 && found.total == 9)
        #expect(found.ended == Timestamp(seconds: 8))
        #expect(try again.start(job(second, kind: "verify")))
        try again.end(second, .done, result: Array("{}".utf8), failure: nil, at: Timestamp(seconds: 9))
        try again.end(second, .failed, result: nil, failure: nil, at: Timestamp(seconds: 10))
        #expect(try again.job(second)?.state == .done, "what has ended has ended")
        try again.forgetJobs(keeping: 1)
        #expect(try again.jobs(newest: 10).count == 1)
    }

    @Test("revisions count what has to be put into safety, and nothing else")
    func revisions() throws {
        let path = NSTemporaryDirectory() + "holdfast-revisions-\(UUID().uuidString).sqlite"
        defer { for end in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + end) } }
        let catalog = try SQLiteServerCatalog(path: path)
        func number() throws -> Int64 {
            let revision = try catalog.revision()
            return revision.number
        }
        let start = try number()
        let id = MachineID.random(), now = Timestamp(seconds: 1)
        try catalog.add(
            ManagedMachine(
                id: id, name: "a", group: "g", key: SigningKey.random().verifyingKey, enrolled: now, lastSeen: now))
        #expect(try number() == start + 1)
        try catalog.seen(id, at: Timestamp(seconds: 50))
        try catalog.change(id) { $0.name = "a" }
        #expect(try number() == start + 1)
        try catalog.change(id) { $0.name = "b" }
        try catalog.set("x", [1])
        #expect(try number() == start + 3)
        struct No: Error {}
        #expect(throws: No.self) {
            try catalog.change(id) {
                $0.name = "c"
                throw No()
            }
        }
        #expect(try catalog.machine(id)?.name == "b")
        #expect(throws: HoldfastError.self) { try catalog.change(.random()) { $0.name = "d" } }
        try catalog.markSafe(start + 3)
        try catalog.markSafe(start)
        #expect(try catalog.revision().safe == start + 3)
    }

    @Test("a job that does not exist, of no kind or of another vault is refused")
    func wrongJobs() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let client = try RawClient(server)
            let administrator = RawClient.Sender.token(try server.person(.administrator))
            func begin(_ kind: String, _ vault: VaultID) throws -> Int {
                let body = JSONValue.object([
                    "kind": .string(kind), "vault": .string(vault.hex), "parameters": .object([:]),
                ]).encoded()
                return try client.send("POST", "/api/v1/jobs", body, as: administrator).status
            }
            #expect(try begin("mine-bitcoin", server.core.vaultID) == 400)
            #expect(try begin("plan-reclaim", .random()) == 404)
            #expect(try begin("verify", server.core.vaultID) == 422)
            #expect(try begin("plan-reclaim", server.core.vaultID) == 202)
            #expect(try client.send("GET", "/api/v1/jobs/\(JobID.random().hex)", as: administrator).status == 404)
        }
    }

    // MARK: Watching

    @Test("metrics and reasons are for those who signed in; health is for all")
    func monitoring() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let client = try RawClient(server)
            let health = try client.send("GET", "/health", as: .nobody)
            #expect(health.status == 200)
            let text = String(decoding: health.body, as: UTF8.self)
            #expect(text.contains(#""name":"key-sheet","status":"degraded""#) && !text.contains("reason"))
            let viewer = RawClient.Sender.token(try server.person(.viewer))
            let told = String(decoding: try client.send("GET", "/health", as: viewer).body, as: UTF8.self)
            #expect(told.contains("check-sheet"))
            // As Prometheus signs in: with the whole of what was printed.
            let token = try server.core.makeAccessToken(name: "prometheus", role: .viewer, seconds: nil)
            let code = AccessCode(token: token, serverKey: server.core.identity.key.verifyingKey).text
            let metrics = try client.send("GET", "/metrics", as: .token(code))
            #expect(try client.send("GET", "/metrics", as: .token("hfa_" + code.dropFirst(6))).status == 403)
            #expect(metrics.header("Content-Type")?.hasPrefix("text/plain; version=0.0.4") == true)
            let lines = String(decoding: metrics.body, as: UTF8.self).split(separator: "\n")
            for line in lines where !line.hasPrefix("#") {
                #expect(line.hasPrefix("holdfast_") && Double(line.split(separator: " ").last ?? "") != nil, "\(line)")
            }
            #expect(lines.contains { $0.hasPrefix(#"holdfast_requests_total{operation="GET /health",status="200"}"#) })
            #expect(lines.contains { $0.hasPrefix("holdfast_disk_available_bytes") })
            #expect(try client.send("GET", "/metrics", as: .nobody).status == 401)
        }
    }
}
