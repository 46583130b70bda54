import Client
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Catalog
@testable import Server

/// What an agent would say.
func sampleReport(
    host: String = "host", run: RequestNonce = .random(), sequence: UInt64 = 1, time: Timestamp? = nil
) -> MachineReport {
    var report = MachineReport(
        activity: .idle, time: time ?? Timestamp(nanoseconds: SystemClock.wall), run: run, sequence: sequence,
        boot: .random(), hostName: host, program: "holdfast 0.1.0", kernel: "6.1.0")
    report.watches = [.init(mountPoint: "/home", kind: "ext4", scanReason: nil, overflows: 0)]
    report.newest = .init(point: .random(), number: 3, time: report.time)
    report.files = 1_000
    report.bytes = 50_000_000
    return report
}

@Suite("Machines through their life", .serialized)
struct MachineLifeTests {
    /// Sends a report as the machine does.
    static func send(_ report: MachineReport, _ machine: EnrolledMachine) throws -> ReportAnswer {
        let connection = ServerConnection(machine.credentials, patience: .init(attempts: 1, longestPause: 0))
        return try ReportAnswer.decode(
            try connection.request(
                "POST", "/api/v1/machines/\(machine.credentials.machine.hex)/status", body: report.encoded()))
    }

    static func fields(_ server: ServerFixture, _ machine: EnrolledMachine) throws -> JSONFields {
        let connection = ServerConnection(
            address: server.address, server: server.core.identity.id, key: server.core.identity.key.verifyingKey,
            identity: .bearer(try server.person(.viewer)))
        let body = try JSONFields(parsing: try connection.request("GET", "/api/v1/machines"), document: "machines")
        return try #require(
            try body.array("machines", atMost: 1_000).map { try JSONFields($0, document: "machine") }.first {
                try $0.string("id") == machine.credentials.machine.hex
            })
    }

    @Test("a report comes out as it went in, with everything and with next to nothing in it")
    func coding() throws {
        var full = sampleReport()
        full.lag = 5
        full.waiting = 7
        full.problem = "no way\nto the server"
        full.notKept = [1: 3, 7: 1]
        full.notKeptCount = 4
        full.spool = .init(bytes: 1, limit: 2, isFull: true)
        full.changes = .init(rewritten: 8, deleted: 9)
        full.roundTrip = 123
        full.slept = 4
        full.watches.append(.init(mountPoint: "/net", kind: "nfs4", scanReason: "no events there", overflows: 2))
        var read = try MachineReport.decode(full.encoded())
        #expect(read.problem == "no way to the server")
        read.problem = full.problem
        #expect(read == full)
        let least = MachineReport(
            activity: .asleep, time: Timestamp(nanoseconds: 0), run: .random(), sequence: 0, boot: nil, hostName: "",
            program: "", kernel: "")
        #expect(try MachineReport.decode(least.encoded()) == least)
        var endless = full
        endless.problem = String(repeating: "ä", count: 100_000)
        endless.watches = Array(repeating: full.watches[0], count: 10_000)
        #expect(endless.encoded().count < MachineReport.maximumLength)
        #expect(try MachineReport.decode(endless.encoded()).watches.count == 64)
    }

    @Test("what a machine says is shown, counted, and known again after the server was started anew")
    func shown() async throws {
        let server = try await ServerFixture.start()
        let machine = try await ServerFixture.blocking {
            let machine = try server.enrol("laptop")
            #expect(try Self.fields(server, machine).string("condition") == "unreported")
            var report = sampleReport()
            report.lag = 2_000_000_000
            #expect(try Self.send(report, machine) == ReportAnswer(interval: 60))
            let fields = try Self.fields(server, machine)
            #expect(try fields.string("condition") == "protected")
            #expect(try fields.object("report").integer("lag", in: 0...Int64.max) == 2_000_000_000)
            report.problem = "the disk is full"
            _ = try Self.send(report, machine)
            #expect(try Self.fields(server, machine).string("condition") == "problem")
            let text = server.core.metricsText()
            #expect(text.contains(#"holdfast_machine_conditions{condition="problem"} 1"#))
            #expect(text.contains("holdfast_machine_lag_seconds{machine=\"\(machine.credentials.machine.hex)\""))
            return machine
        }
        await server.stop()
        let again = try await ServerFixture.start(after: server)
        try await ServerFixture.blocking {
            let known = try #require(again.core.life.live(machine.credentials.machine))
            #expect(known.report.problem == "the disk is full" && known.trail.problemSince != nil)
        }
    }

    @Test("a machine with another host name stays itself, formerly the other; a name that somebody chose stays")
    func renamed() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol("old"), named = try server.enrol("Ann's laptop")
            let run = RequestNonce.random()
            for machine in [machine, named] { _ = try Self.send(sampleReport(host: "old", run: run), machine) }
            for machine in [machine, named] { _ = try Self.send(sampleReport(host: "new"), machine) }
            let id = machine.credentials.machine
            #expect(try server.core.catalog.machine(id)?.name == "new")
            #expect(try server.core.catalog.machine(id)?.formerNames == ["old"])
            #expect(try server.core.catalog.machine(named.credentials.machine)?.name == "Ann's laptop")
            #expect(try server.core.catalog.machine(named.credentials.machine)?.formerNames == [])
        }
    }

    @Test("starts, also many and with a late word of the one before, are no clones")
    func restarts() {
        var trail = MachineTrail()
        var now = Timestamp(seconds: 1_700_000_000)
        var before: RequestNonce?
        for _ in 0..<50 {
            let run = RequestNonce.random()
            now = now.advanced(by: 60_000_000_000)
            #expect(trail.note(sampleReport(run: run), at: now) == nil)
            // The last word of the one before comes late once.
            if let before { #expect(trail.note(sampleReport(run: before), at: now) == nil) }
            now = now.advanced(by: 60_000_000_000)
            #expect(trail.note(sampleReport(run: run), at: now.advanced(by: MachineTrail.turnWindow)) == nil)
            now = now.advanced(by: MachineTrail.turnWindow)
            before = run
        }
    }

    @Test("two agents with one identity, both running: the copy is left outside until somebody decides")
    func cloned() async throws {
        let clock = TestClock()
        let server = try await ServerFixture.start(clock: clock)
        try await ServerFixture.blocking {
            var original = try server.enrol("mail")
            let id = original.credentials.machine
            let copy = original
            let (first, second) = (RequestNonce.random(), RequestNonce.random())
            func works(_ machine: EnrolledMachine) -> Bool {
                (try? RemoteVault(
                    ServerConnection(machine.credentials, patience: .init(attempts: 1, longestPause: 0)),
                    vault: server.core.vaultID
                ).points(.init())) != nil
            }
            var asked: [RequestNonce] = []
            for _ in 0..<4 {
                for (run, host) in [(first, "mail"), (second, "mail-copy")] {
                    clock.advance(seconds: 60)
                    let answer = try Self.send(
                        sampleReport(host: host, run: run, time: clock.now), run == first ? original : copy)
                    if answer.changesKey { asked.append(run) }
                }
            }
            #expect(!asked.isEmpty && asked.allSatisfy { $0 == first }, "the one that was known first is asked")
            #expect(try server.core.catalog.machine(id)?.name == "mail")
            try server.core.lookForAlerts(all: false)
            #expect(server.core.alerts.isOpen(.init(kind: .clone, machine: id)))

            // It changes its key, and uses it.
            let key = SigningKey.random()
            try ServerConnection(original.credentials).request(
                "PUT", "/api/v1/machines/\(id.hex)/key",
                body: JSONValue.object(["key": .string(key.verifyingKey.description)]).encoded())
            #expect(works(copy), "until the new key is used nobody is shut out")
            original.credentials.key = key
            #expect(works(original) && !works(copy))
            let error = #expect(throws: HoldfastError.self) { try Self.send(sampleReport(run: second), copy) }
            #expect(error?.code == .denied && error?.message.contains("--new-machine") == true)
            #expect(try Self.fields(server, original).string("clone_host") == "mail-copy")
            #expect(try Self.fields(server, original).string("condition") == "waiting")

            // Sent away; the machine is as it was.
            try server.core.refuse(id)
            try server.core.lookForAlerts(all: false)
            #expect(works(original) && !works(copy))
            #expect(server.core.life.live(id)?.trail.cloneHost == nil)

            // As a machine of its own it comes in.
            let own = try server.enrol("mail-copy")
            #expect(works(own) && own.credentials.machine != id)
        }
    }

    @Test("the copy can be the one that goes on: approved, it shuts the other out")
    func copyApproved() async throws {
        let clock = TestClock()
        let server = try await ServerFixture.start(clock: clock)
        try await ServerFixture.blocking {
            var original = try server.enrol("mail")
            let copy = original
            let id = original.credentials.machine
            let (first, second) = (RequestNonce.random(), RequestNonce.random())
            for _ in 0..<3 {
                _ = try Self.send(sampleReport(host: "mail", run: first), original)
                clock.advance(seconds: 60)
                _ = try Self.send(sampleReport(host: "other", run: second), copy)
                clock.advance(seconds: 60)
            }
            let key = SigningKey.random()
            try ServerConnection(original.credentials).request(
                "PUT", "/api/v1/machines/\(id.hex)/key",
                body: JSONValue.object(["key": .string(key.verifyingKey.description)]).encoded())
            original.credentials.key = key
            _ = try Self.send(sampleReport(host: "mail", run: first), original)
            try server.core.approve(id)
            #expect(throws: HoldfastError.self) { try Self.send(sampleReport(run: first), original) }
            _ = try Self.send(sampleReport(host: "other", run: second), copy)
            let writer = try TestWriter(
                RemoteVault(ServerConnection(copy.credentials), vault: server.core.vaultID),
                TestMachine(id: id, secrets: copy.secrets))
            try writer.backup(["by the copy"])
        }
    }

    @Test("a retired machine is shut out at once and keeps its points; it can come back")
    func retired() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol("old")
            let id = machine.credentials.machine
            let remote = RemoteVault(
                ServerConnection(machine.credentials, patience: .init(attempts: 1, longestPause: 0)),
                vault: server.core.vaultID)
            try TestWriter(remote, TestMachine(id: id, secrets: machine.secrets)).backup(["kept"])
            _ = try Self.send(sampleReport(), machine)
            try server.core.retire(id)
            #expect(throws: HoldfastError.self) { try remote.points(.init()) }
            #expect(throws: HoldfastError.self) { try Self.send(sampleReport(), machine) }
            #expect(try server.core.vault.points(PointQuery(machine: id)).count == 1)
            #expect(try Self.fields(server, machine).string("condition") == "retired")
            try server.core.lookForAlerts(all: false)
            #expect(server.core.alerts.counts.allSatisfy { $0.open == 0 }, "nobody waits for it")
            #expect(throws: HoldfastError.self) { try server.core.retire(id) }
            try server.core.reinstate(id)
            #expect(try remote.points(.init()).count == 1)
        }
    }

    @Test("with many machines each reports less often")
    func intervals() {
        #expect(MachineLife.interval(machines: 1) == 60 && MachineLife.interval(machines: 3_000) == 60)
        #expect(MachineLife.interval(machines: 6_000) == 120)
    }
}
