import Catalog
import Client
import Foundation
import Model
import Platform
import Policy
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Server

@Suite("Policies on the server", .serialized)
struct PolicyTests {
    private static let laptops = "name: laptops\nprotect: [/home]\nretention: {default: {daily: 3}}\n"

    private static func remote(_ server: ServerFixture) throws -> RemotePolicies {
        RemotePolicies(
            ServerConnection(
                address: server.address, server: server.core.identity.id, key: server.core.identity.key.verifyingKey,
                identity: .bearer(try server.person(.administrator))))
    }

    private static func orders(_ server: ServerFixture, _ machine: EnrolledMachine) -> ServerOrders {
        ServerOrders(ServerConnection(machine.credentials), machine: machine.credentials.machine)
    }

    @Test("a policy is put, given to a group and to a machine, and each value of a machine knows its line")
    func putAndAssign() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let book = try Self.remote(server)
            let machine = try server.enrol("ann")
            let id = machine.credentials.machine
            #expect(try book.document(of: id).isEmpty)
            let first = try book.put(Self.laptops, file: "laptops.yaml")
            #expect(first.revision == 1 && first.author == "administrator")
            #expect(try book.put(Self.laptops, file: "laptops.yaml").revision == 1, "the same text is no new revision")
            #expect(try book.put(Self.laptops + "# more\n", file: "laptops.yaml").revision == 2)
            _ = try book.put("name: Müller.1\nprotect: [/srv]\n", file: "m.yaml")
            try book.assign("laptops", toGroup: "default")
            try book.place(id, PlacementChange(machineClass: "mobile", policy: "Müller.1"))
            let effective = try book.document(of: id).policySet(SystemZones.source).effective
            #expect(effective.layers == ["defaults", "class mobile", "laptops", "Müller.1"])
            let origins = effective.protect.map { "\(String(decoding: $0.value.path, as: UTF8.self)) \($0.origin)" }
            #expect(origins == ["/etc class mobile:1", "/home laptops:2", "/srv Müller.1:2"])
            #expect(try book.policy("laptops", revision: 1).text == Self.laptops)
            #expect(try book.policy("Müller.1", revision: nil).text.contains("/srv"))
            #expect(try book.revisions(of: "laptops").map(\.revision) == [2, 1])
            let listed = try book.policies()
            #expect(listed.map(\.newest.name) == ["Müller.1", "laptops"])
            #expect(listed.last?.groups == ["default"])
            #expect(listed.first?.machines == [id])

            // The machine itself sees its own, and what it sees is signed for it.
            let signed = try Self.orders(server, machine).policy(zone: "Europe/Berlin")
            let document = try signed.open(machine.credentials.serverKey, machine: id)
            #expect(try document == book.document(of: id))
            #expect(throws: HoldfastError.self) { try signed.open(machine.credentials.serverKey, machine: .random()) }
            #expect(throws: HoldfastError.self) { try signed.open(SigningKey.random().verifyingKey, machine: id) }
            #expect(try book.machines().first?.zone == "Europe/Berlin")

            // What is in use stays.
            #expect(throws: HoldfastError.self) { try book.remove("laptops") }
            try book.assign(nil, toGroup: "default")
            try book.remove("laptops")
            #expect(throws: HoldfastError.self) { try book.policy("laptops", revision: nil) }
            #expect(try book.policy("laptops", revision: 2).revision.revision == 2, "what was there can still be read")
            #expect(try book.put(Self.laptops, file: "x").revision == 4, "numbers are not used again")
            #expect(
                try book.changes().map(\.text).prefix(3) == [
                    "put policy laptops, revision 4", "removed policy laptops",
                    "took policy laptops from group default",
                ])
        }
    }

    @Test("what is wrong with a policy is told with line and column, and nothing is changed")
    func refused() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let book = try Self.remote(server)
            do {
                _ = try book.put("name: x\nexcludes: [a]\nspool: {size: 10 bananas}\n", file: "x.yaml")
                Issue.record("it was taken")
            } catch let error as HoldfastError {
                #expect(error.code == .usage)
                #expect(error.message.contains("x.yaml:2:1: "))
                #expect(error.message.contains("x.yaml:3:15: "))
            }
            #expect(try book.policies().isEmpty)
            let machine = try server.enrol("ann").credentials.machine
            #expect(throws: HoldfastError.self) { try book.assign("x", toGroup: "default") }
            #expect(throws: HoldfastError.self) { try book.assign(nil, toGroup: "a b") }
            #expect(throws: HoldfastError.self) { try book.place(machine, PlacementChange(machineClass: "toaster")) }
            #expect(throws: HoldfastError.self) { try book.place(machine, PlacementChange(groups: [])) }
            #expect(throws: HoldfastError.self) { try book.place(machine, PlacementChange(policy: "none")) }
            #expect(throws: HoldfastError.self) { try book.place(.random(), PlacementChange(groups: ["a"])) }
            #expect(try book.changes().isEmpty)
        }
    }

    @Test("groups count in their order, and a machine's groups are what listings and enrolment say")
    func groups() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let book = try Self.remote(server)
            let code = try server.core.makeEnrolmentCode(name: "test", group: "berlin")
            let id = try server.enrol("ann", code: code).credentials.machine
            for (name, schedule) in [("a", "daily 01:00"), ("b", "daily 02:00")] {
                _ = try book.put("name: \(name)\nschedule: \(schedule)\n", file: name)
            }
            try book.assign("a", toGroup: "berlin")
            try book.assign("b", toGroup: "night")
            func schedule() throws -> String {
                try book.document(of: id).policySet(SystemZones.source).effective.schedule.value.description
            }
            #expect(try schedule() == "daily 01:00")
            try book.place(id, PlacementChange(groups: ["berlin", "night"]))
            #expect(try schedule() == "daily 02:00")
            try book.place(id, PlacementChange(groups: ["night", "berlin"]))
            #expect(try schedule() == "daily 01:00")
            #expect(try server.core.catalog.machine(id)?.group == "night")
        }
    }

    @Test("a machine that waits for orders hears of a change at once, and of each command until it says so")
    func orders() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let book = try Self.remote(server)
            let machine = try server.enrol("ann")
            let id = machine.credentials.machine
            let orders = Self.orders(server, machine)
            let first = try orders.orders(policy: nil, done: [], restores: nil, wait: 20)
            #expect(try first.policy == book.document(of: id).revision, "what is not known is told at once")
            _ = try book.put(Self.laptops, file: "x")

            // Waits, and is woken.
            let changer = try WorkerThread(name: "changer") {
                while server.core.bell.count == 0 { SystemClock.pause(milliseconds: 5) }
                try? book.assign("laptops", toGroup: "default")
            }
            let begun = SystemClock.monotonic
            let second = try orders.orders(policy: first.policy, done: [], restores: nil, wait: 20)
            changer.join()
            #expect(second.policy != first.policy)
            #expect(SystemClock.monotonic - begun < 10_000_000_000)

            // Nothing new: the time is waited out.
            let quiet = SystemClock.monotonic
            #expect(try orders.orders(policy: second.policy, done: [], restores: nil, wait: 1) == second)
            #expect(SystemClock.monotonic - quiet >= 900_000_000)

            try book.backUpNow(id)
            try book.backUpNow(id)
            let told = try orders.orders(policy: second.policy, done: [], restores: nil, wait: 20)
            #expect(told.commands.map(\.kind) == [MachineOrders.backUpNow], "asked for twice it is one")
            #expect(
                try orders.orders(policy: second.policy, done: [], restores: nil, wait: 20).commands == told.commands)
            #expect(
                try orders.orders(policy: second.policy, done: told.commands.map(\.id), restores: nil, wait: 0).commands
                    .isEmpty)
        }
    }

    @Test("a change by another process is heard of within seconds")
    func otherProcess() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol("ann")
            let orders = Self.orders(server, machine)
            let first = try orders.orders(policy: nil, done: [], restores: nil, wait: 0)
            // As a command on the server's machine does it: past the process that serves.
            let book = PolicyBook(server.core.catalog, zones: SystemZones.source, author: "command line") {
                Timestamp(nanoseconds: SystemClock.wall)
            }
            _ = try book.put(Self.laptops, file: "x")
            try book.assign("laptops", toGroup: "default")
            var next = first
            for _ in 0..<20 where next.policy == first.policy {
                next = try orders.orders(policy: first.policy, done: [], restores: nil, wait: 5)
            }
            #expect(next.policy != first.policy)
        }
    }

    @Test("policies, groups and who has them come back with a server that was lost")
    func export() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let book = try Self.remote(server)
            let id = try server.enrol("ann").credentials.machine
            _ = try book.put(Self.laptops, file: "x")
            _ = try book.put(Self.laptops + "#\n", file: "x")
            _ = try book.put("name: ann\n", file: "x")
            try book.assign("laptops", toGroup: "default")
            try book.place(id, PlacementChange(machineClass: "desktop", groups: ["default", "berlin"], policy: "ann"))
            try server.core.catalog.note(zone: "Asia/Tokyo", of: id)
            let key = SigningKey.random()
            let bytes = try server.core.export(revision: 7).signed(by: key)
            let state = NSTemporaryDirectory() + "holdfast-recovered-\(UUID().uuidString)"
            defer { try? FileManager.default.removeItem(atPath: state) }
            let opened = try ServerExport.open(bytes, signedBy: key.verifyingKey)
            try opened.restore(to: Array(state.utf8))
            let catalog = try SQLiteServerCatalog(path: state + "/server.sqlite")
            #expect(try catalog.policies() == server.core.catalog.policies())
            #expect(try catalog.groupPolicies() == ["default": "laptops"])
            #expect(try catalog.placement(of: id) == server.core.catalog.placement(of: id))
            let told = try catalog.policyChanges(newest: 100).map(\.text)
            #expect(
                told.suffix(3) == [
                    "put policy ann, revision 1", "put policy laptops, revision 2", "put policy laptops, revision 1",
                ])
        }
    }

    @Test(
        "retention by policies: the job keeps what each machine's rules keep, never the newest point, and no held one")
    func retention() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let book = try Self.remote(server)
            let machines = [try server.enrol("held"), try server.enrol("short"), try server.enrol("usual")]
            _ = try book.put(
                "name: short\nretention: {default: !override {last: 2}}\n", file: "x")
            for machine in machines[...1] {
                try book.place(machine.credentials.machine, PlacementChange(policy: "short"))
            }
            var points: [[PointID]] = []
            for machine in machines {
                let remote = RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID)
                let writer = try TestWriter(
                    remote, TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
                points.append(try (0..<5).map { try writer.backup(["version \($0)"]).point })
            }
            let admin = try server.administration()
            let plan = try admin.applyRetention(isPlan: true)
            #expect(plan.machines.map(\.name) == ["held", "short", "usual"])
            #expect(plan.machines.map(\.removed) == [3, 3, 0], "the defaults keep everything of a day")
            #expect(try server.core.vault.points(PointQuery()).count == 15, "a plan deletes nothing")
            let now = Timestamp(nanoseconds: SystemClock.wall)
            let hold = HoldRecord.Content(
                hold: .random(), placed: now, isPlaced: true, machines: [machines[0].credentials.machine], paths: [],
                from: Timestamp(nanoseconds: 0), until: now.advanced(by: 1_000_000_000), reference: "court")
            try server.core.vault.add(try HoldRecord(hold, signing: server.vault.keys.vaultSigning))
            let done = try admin.applyRetention(isPlan: false)
            #expect(done.removed == 3)
            let left = try server.core.vault.points(PointQuery()).map(\.id)
            #expect(Set(left) == Set(points[0] + points[1].suffix(2) + points[2]))
            #expect(try admin.applyRetention(isPlan: false).removed == 0)
            #expect(server.core.metricsText().contains("holdfast_retention_removed_points 3"))
        }
    }

    /// Three points of one hour, and one of five days later.
    private static func hourAndLater(_ writer: TestWriter) throws {
        for seconds in [0, 60, 120, 432_000] as [Int64] {
            let root = writer.make.node("\(seconds)", [])
            try writer.store([root])
            try writer.commit(writer.point(root: root, time: Timestamp(seconds: 1_700_000_400 + seconds)))
        }
    }

    /// Rules that have changed are applied at once.
    private static var atOnce: Housekeeping {
        var plan = Housekeeping()
        plan.settling = 0
        return plan
    }

    @Test("rules that were changed are applied by the server a day later, and at once when somebody asks")
    func settling() async throws {
        let clock = TestClock()
        let server = try await ServerFixture.start(clock: clock)
        try await ServerFixture.blocking {
            let core = server.core
            let book = try Self.remote(server)
            let machine = try server.enrol("ann")
            _ = try book.put("name: all\nretention: {default: {last: 1000}}\n", file: "x")
            _ = try book.put("name: slip\nretention: {default: !override {last: 1}}\n", file: "x")
            let remote = RemoteVault(ServerConnection(machine.credentials), vault: core.vaultID)
            try Self.hourAndLater(
                try TestWriter(remote, TestMachine(id: machine.credentials.machine, secrets: machine.secrets)))
            func retain(as owner: String = ServerCore.housekeeper) throws -> Int {
                let job = try core.begin(
                    kind: "retention", JSONFields(.object([:]), document: "x"), owner: owner)
                while try core.catalog.job(job)?.state == .running { SystemClock.pause(milliseconds: 10) }
                #expect(try core.catalog.job(job)?.state == .done)
                return try core.vault.points(PointQuery(machine: machine.credentials.machine)).count
            }
            try book.assign("all", toGroup: "default")
            #expect(try retain() == 4)
            clock.advance(seconds: 2 * 86_400)
            #expect(try retain() == 4)
            try book.assign("slip", toGroup: "default")
            #expect(try retain() == 4, "less than a day")
            clock.advance(seconds: 86_000)
            #expect(try retain() == 4)
            // The slip is seen and taken back.
            try book.assign("all", toGroup: "default")
            clock.advance(seconds: 86_500)
            #expect(try retain() == 4)
            try book.assign("slip", toGroup: "default")
            #expect(try retain() == 4)
            clock.advance(seconds: 86_500)
            #expect(try retain() == 1)
            // A clock that was ahead when the rules were noted holds nothing up for years.
            try book.assign(nil, toGroup: "default")
            #expect(try retain() == 1)
            clock.advance(seconds: -40 * 86_400)
            #expect(try retain() == 1)
            #expect(core.retentionCheck().status == .ok)
        }
    }

    @Test("who asks for retention does not wait")
    func retentionNow() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let book = try Self.remote(server)
            let machine = try server.enrol("ann")
            _ = try book.put("name: short\nretention: {default: !override {last: 1}}\n", file: "x")
            try book.assign("short", toGroup: "default")
            let remote = RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID)
            try Self.hourAndLater(
                try TestWriter(remote, TestMachine(id: machine.credentials.machine, secrets: machine.secrets)))
            let job = try server.core.begin(
                kind: "retention", JSONFields(.object([:]), document: "x"), owner: "ann")
            while try server.core.catalog.job(job)?.state == .running { SystemClock.pause(milliseconds: 10) }
            #expect(try server.core.vault.points(PointQuery()).count == 1)
        }
    }

    /// How many the defaults keep.
    private static func kept(_ points: [PointSummary]) throws -> Int {
        let now = Timestamp(nanoseconds: SystemClock.wall)
        let all = points.enumerated().map { $1.retentionPoint(ordinal: $0, now: now) }
        return EffectivePolicy().retentionPlan(of: all, in: .utc).count(where: \.isKept)
    }

    @Test("a server that cannot place holds deletes nothing of a machine whose mass change nobody has looked at")
    func massChange() async throws {
        try await ServerFixture.blocking {
            let fixture = try VaultFixture()
            let vault = try fixture.open { $0.access = .change }
            let machine = try fixture.join(vault)
            try Self.hourAndLater(try TestWriter(vault, machine))
            let directory = NSTemporaryDirectory() + "holdfast-server-\(UUID().uuidString)"
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let state = try ServerState(path: Array(directory.utf8))
            let core = ServerCore(
                identity: state.identity, vault: vault, keys: nil,
                catalog: try SQLiteServerCatalog(path: state.database),
                ownCertificate: nil)
            let now = Timestamp(nanoseconds: SystemClock.wall)
            try core.catalog.add(
                ManagedMachine(
                    id: machine.id, name: "ann", group: "default", key: SigningKey.random().verifyingKey, enrolled: now,
                    lastSeen: now))
            try core.alerts.load()
            try core.alerts.raise(.init(kind: .massChange, machine: machine.id, subject: "x"), "gone")
            func retain() throws {
                let job = try core.begin(
                    kind: "retention", JSONFields(.object([:]), document: "x"), owner: "the server")
                while try core.catalog.job(job)?.state == .running { SystemClock.pause(milliseconds: 10) }
                #expect(try core.catalog.job(job)?.state == .done)
            }
            core.keepHouse(Self.atOnce)
            try retain()
            #expect(try vault.points(PointQuery()).count == 4)
            #expect(core.retentionCheck().reason.contains("alerts ack"))
            _ = try core.alerts.acknowledge(1, by: "ann")
            try retain()
            #expect(try vault.points(PointQuery()).count == 2)
            core.stop()
        }
    }

    @Test("a server applies retention by itself, and frees the space")
    func housekeeping() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let book = try Self.remote(server)
            let machine = try server.enrol("ann")
            _ = try book.put("name: short\nretention: {default: !override {last: 1}}\n", file: "x")
            try book.assign("short", toGroup: "default")
            let remote = RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID)
            let writer = try TestWriter(remote, TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
            for version in 0..<3 { _ = try writer.backup(["version \(version)"]) }
            // Never enrolled, and called as the program calls itself: nobody's here.
            let vault = try server.core.vault
            let stranger = try server.vault.join(vault, name: "holdfast-server")
            let local = try TestWriter(vault, stranger)
            try Self.hourAndLater(local)
            let strange = try vault.points(PointQuery(machine: stranger.id))
            #expect(try Self.kept(strange) == 2, "by the defaults two would go")
            var plan = Housekeeping()
            (plan.retention, plan.reclaim, plan.pause, plan.settling) = (1, 1, 0, 0)
            server.core.keepHouse(plan)
            let until = SystemClock.monotonic + 60_000_000_000
            func jobs() throws -> Set<String> {
                Set(
                    try server.core.catalog.jobs(newest: 100).filter { $0.state == .done && $0.owner == "the server" }
                        .map(\.kind))
            }
            while SystemClock.monotonic < until,
                try vault.points(PointQuery(machine: machine.credentials.machine)).count > 1
                    || jobs() != ["retention", "reclaim"]
            {
                SystemClock.pause(milliseconds: 50)
            }
            #expect(try vault.points(PointQuery(machine: machine.credentials.machine)).count == 1)
            #expect(try vault.points(PointQuery(machine: stranger.id)) == strange)
            #expect(try jobs() == ["retention", "reclaim"])
        }
    }

    @Test("thousands that wait are woken by one ring, and none is left behind")
    func bell() async throws {
        let bell = OrderBell()
        let woken = try await withThrowingTaskGroup(of: Bool.self) { group in
            for index in 0..<2_000 {
                group.addTask {
                    let begun = ContinuousClock.now
                    await bell.wait(after: 0, for: .seconds(index % 100 == 0 ? 0 : 60))
                    return ContinuousClock.now - begun < .seconds(50)
                }
            }
            while bell.count < 1_980 { try await Task.sleep(for: .milliseconds(5)) }
            bell.ring()
            var count = 0
            for try await isWoken in group where isWoken { count += 1 }
            return count
        }
        #expect(woken == 2_000 && bell.count == 0)
        // Who comes after it has rung does not wait, nor does anybody when it is closed or given up.
        await bell.wait(after: 0, for: .seconds(60))
        let given = Task { await bell.wait(after: bell.rings, for: .seconds(60)) }
        given.cancel()
        await given.value
        bell.close()
        await bell.wait(after: bell.rings, for: .seconds(60))
    }

    @Test("what a machine reads of a server is refused whole when it is damaged", arguments: [1, 7] as [UInt64])
    func garbage(seed: UInt64) throws {
        var random = FuzzGenerator(seed: seed)
        let key = SigningKey.random()
        let document = PolicyDocument(
            machine: .random(), machineClass: "mobile", groups: [.init(name: "laptops", text: Self.laptops)],
            own: .init(name: "own", text: "name: own\n"))
        let signed = try SignedPolicy(document, signing: key)
        #expect(try SignedPolicy.decode(signed.encoded()).open(key.verifyingKey, machine: document.machine) == document)
        let orders = MachineOrders(policy: document.revision, commands: [.init(id: .random(), kind: "x", owner: "y")])
        #expect(try MachineOrders.decode(orders.encoded()) == orders)
        for _ in 0..<2_000 {
            let damaged = random.mutation(of: signed.encoded())
            if let opened = try? SignedPolicy.decode(damaged).open(key.verifyingKey, machine: document.machine) {
                #expect(opened == document)
            }
            if let read = try? PolicyDocument.decode(random.mutation(of: document.encoded())) {
                _ = try? read.policySet(SystemZones.source)
            }
            _ = try? MachineOrders.decode(random.mutation(of: orders.encoded()))
        }
    }
}

extension PolicyTests {
    @Test("what a policy expects decides when a machine is silent for too long")
    func expectations() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let book = try Self.remote(server)
            let id = try server.enrol("ann").credentials.machine
            let machine = try #require(try server.core.catalog.machine(id))
            let now = Timestamp(nanoseconds: SystemClock.wall)
            func late(hours: Int64) -> Bool {
                let last = now.advanced(by: -hours * 3_600_000_000_000)
                return server.core.objectives(of: machine).lateSince(last, now, [last..<now]) != nil
            }
            let usual = (1...200).first { late(hours: Int64($0)) }
            _ = try book.put("name: strict\nexpected: every 90m\n", file: "x")
            try book.assign("strict", toGroup: "default")
            #expect(!late(hours: 1) && late(hours: 2))
            _ = try book.put("name: strict\nexpected: every 300h\n", file: "x")
            #expect(!late(hours: 299) && late(hours: 301))
            try book.assign(nil, toGroup: "default")
            #expect((1...200).first { late(hours: Int64($0)) } == usual)
        }
    }
}
