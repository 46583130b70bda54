import Client
import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Catalog
@testable import Server

@Suite("Alerts", .serialized)
struct AlertTests {
    private func book(_ clock: TestClock, settling: Int64 = 0) throws -> (AlertBook, SQLiteServerCatalog, String) {
        let path = NSTemporaryDirectory() + "alerts-\(UUID().uuidString).sqlite"
        let catalog = try SQLiteServerCatalog(path: path)
        let book = AlertBook(catalog, clock: { clock.now }, settling: settling) { ["mail", "webhook x"] }
        try book.load()
        return (book, catalog, path)
    }

    private func remove(_ path: String) {
        for end in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + end) }
    }

    @Test("a muted alert is listed and told to nobody, and told when the rule ends while it is open")
    func muted() throws {
        let clock = TestClock()
        let path = NSTemporaryDirectory() + "alerts-\(UUID().uuidString).sqlite"
        defer { remove(path) }
        let catalog = try SQLiteServerCatalog(path: path)
        let mutes = AlertMutes(catalog, clock: { clock.now })
        let book = AlertBook(catalog, clock: { clock.now }, settling: 0, isMuted: { mutes.covers($0) }) { ["mail"] }
        try book.load()
        let machine = MachineID.random()
        func rule(_ id: String, kind: String?, machine: MachineID?, seconds: Int64) -> AlertMute {
            AlertMute(
                id: id, kind: kind, machine: machine, group: nil,
                until: clock.now.advanced(by: seconds * 1_000_000_000), reason: "", by: "ann", created: clock.now)
        }
        try mutes.add(rule("a", kind: "lag", machine: machine, seconds: 600))
        let findings = [machine, .random()].map {
            AlertBook.Finding(key: AlertBook.Key(kind: .lag, machine: $0), text: "late")
        }
        let silent = AlertBook.Finding(key: AlertBook.Key(kind: .silent, machine: machine), text: "silent")
        try book.reconcile(findings + [silent], of: [.lag, .silent])
        #expect(try catalog.alerts(resolved: 0).count == 3 && catalog.messageCount() == 2, "one of three is muted")
        clock.advance(seconds: 500)
        try book.reconcile(findings + [silent], of: [.lag, .silent])
        #expect(try catalog.messageCount() == 2)
        // What another process knows is the same.
        let others = AlertMutes(catalog, clock: { clock.now })
        try others.load()
        #expect(others.all.map(\.id) == ["a"] && others.covers(findings[0].key) && !others.covers(silent.key))
        clock.advance(seconds: 200)
        #expect(mutes.all.isEmpty)
        try book.reconcile(findings + [silent], of: [.lag, .silent])
        #expect(try catalog.messageCount() == 3, "it is still open")
        // Its end is told to who was told of it, whatever is muted then; of what nobody was told the end is not told either.
        try mutes.add(rule("b", kind: nil, machine: nil, seconds: 600))
        let another = AlertBook.Finding(key: AlertBook.Key(kind: .lag, machine: .random()), text: "late")
        try book.reconcile([another] + findings + [silent], of: [.lag, .silent])
        #expect(try catalog.alerts(resolved: 0).count == 4 && catalog.messageCount() == 3)
        try book.reconcile([], of: [.lag, .silent])
        #expect(try catalog.alerts(resolved: 0).isEmpty && catalog.messageCount() == 6)
        #expect(try catalog.messages(due: clock.now, limit: 10).due.count { $0.state == .resolved } == 3)
        try mutes.remove("b")
        #expect(throws: HoldfastError.self) { try mutes.remove("b") }
    }

    @Test("an alert is raised once, acknowledged, and resolved by itself; each of the two is told once")
    func states() throws {
        let clock = TestClock()
        let (book, catalog, path) = try book(clock, settling: 60_000_000_000)
        defer { remove(path) }
        let key = AlertBook.Key(kind: .lag, machine: .random())
        let finding = AlertBook.Finding(key: key, text: "late")
        for _ in 0..<5 { try book.reconcile([finding], of: [.lag]) }
        var all = try catalog.alerts(resolved: 10)
        #expect(all.count == 1 && all[0].state == .open && all[0].number == 1)
        #expect(try catalog.messageCount() == 2, "one for each target")
        // What comes and goes is one alert.
        try book.reconcile([], of: [.lag])
        try book.reconcile([finding], of: [.lag])
        clock.advance(seconds: 100)
        try book.reconcile([], of: [.lag])
        #expect(try catalog.alerts(resolved: 0).count == 1)
        #expect(try book.acknowledge(1, by: "ann").by == "ann")
        #expect(try book.acknowledge(1, by: "bob").by == "ann")
        #expect(try catalog.messageCount() == 2)
        // Others' kinds are not touched.
        clock.advance(seconds: 100)
        try book.reconcile([], of: [.silent])
        #expect(book.isOpen(key))
        try book.reconcile([], of: [.lag])
        #expect(!book.isOpen(key))
        all = try catalog.alerts(resolved: 10)
        #expect(all.count == 1 && all[0].state == .resolved && all[0].by == "ann")
        #expect(try catalog.messageCount() == 4)
        // The next time it is another.
        try book.reconcile([finding], of: [.lag])
        #expect(try catalog.alerts(resolved: 10).map(\.number) == [2, 1])
        #expect(throws: HoldfastError.self) { try book.acknowledge(99, by: "x") }
    }

    @Test("an alert that somebody resolves is over, and what still holds is raised anew without telling it again")
    func byHand() throws {
        let clock = TestClock()
        let (book, catalog, path) = try book(clock, settling: 60_000_000_000)
        defer { remove(path) }
        let key = AlertBook.Key(kind: .lag, machine: .random())
        let finding = AlertBook.Finding(key: key, text: "late")
        try book.reconcile([finding], of: [.lag])
        let told = try catalog.messageCount()
        let resolved = try book.resolve(1, by: "ann")
        #expect(resolved.state == .resolved && resolved.by == "ann" && !book.isOpen(key))
        #expect(try catalog.messageCount() == told * 2, "each is told that it is over")
        #expect(try book.resolve(1, by: "bob").by == "ann")
        clock.advance(seconds: 10)
        try book.reconcile([], of: [.lag])
        #expect(try catalog.alerts(resolved: 0).isEmpty)
        try book.reconcile([finding], of: [.lag])
        #expect(try catalog.alerts(resolved: 0).map(\.number) == [2])
        #expect(try catalog.messageCount() == told * 2, "nobody is told within the hour")
        // One that was seen is resolved as well.
        #expect(try book.acknowledge(2, by: "ann").state == .acknowledged)
        #expect(try book.resolve(2, by: "bob").by == "bob")
        #expect(throws: HoldfastError.self) { try book.resolve(99, by: "x") }
    }

    @Test("what a clock that was years ahead has put off goes out, and what it saw end is resolved")
    func aheadAndBack() throws {
        let clock = TestClock()
        let (book, catalog, path) = try book(clock, settling: 60_000_000_000)
        defer { remove(path) }
        let finding = AlertBook.Finding(key: AlertBook.Key(kind: .disk), text: "full")
        clock.advance(seconds: 10 * 365 * 86_400)
        try book.reconcile([finding], of: [.disk])
        try book.reconcile([], of: [.disk])
        clock.advance(seconds: -10 * 365 * 86_400)
        #expect(try catalog.messages(due: clock.now, limit: 10).due.count == 2)
        try book.reconcile([], of: [.disk])
        clock.advance(seconds: 100)
        try book.reconcile([], of: [.disk])
        #expect(try catalog.alerts(resolved: 0).isEmpty)
        // What is put off as usual waits.
        let message = try #require(try catalog.messages(due: clock.now, limit: 10).due.first)
        try catalog.postpone(message: message.id, attempts: 1, until: clock.now.advanced(by: 3_600_000_000_000))
        #expect(try !catalog.messages(due: clock.now, limit: 10).due.contains { $0.id == message.id })
    }

    @Test("what was open before a restart is not raised again, and still resolves")
    func restart() throws {
        let clock = TestClock()
        let (first, catalog, path) = try book(clock)
        defer { remove(path) }
        let key = AlertBook.Key(kind: .rejected, machine: .random())
        #expect(try first.raise(key, "not taken"))
        let second = AlertBook(catalog, clock: { clock.now }, settling: 0) { [] }
        try second.load()
        #expect(try !second.raise(key, "not taken"))
        second.resolve(key)
        try second.reconcile([], of: [])
        #expect(try catalog.alerts(resolved: 0).isEmpty)
    }

    @Test("silence is an alert after its time, sleep is not, and a word ends it")
    func silence() async throws {
        let clock = TestClock()
        let server = try await ServerFixture.start(clock: clock)
        try await ServerFixture.blocking {
            let laptop = try server.enrol("laptop"), desk = try server.enrol("desk")
            var report = sampleReport(time: clock.now)
            _ = try MachineLifeTests.send(report, desk)
            report.activity = .asleep
            _ = try MachineLifeTests.send(report, laptop)
            let key = AlertBook.Key(kind: .silent, machine: desk.credentials.machine)
            try server.core.lookForAlerts(all: false)
            #expect(!server.core.alerts.isOpen(key))
            clock.advance(seconds: 3 * 86_400)
            try server.core.lookForAlerts(all: false)
            #expect(server.core.alerts.isOpen(key))
            #expect(!server.core.alerts.isOpen(.init(kind: .silent, machine: laptop.credentials.machine)))
            #expect(try MachineLifeTests.fields(server, laptop).string("condition") == "asleep")
            #expect(try MachineLifeTests.fields(server, desk).string("condition") == "lost")
            _ = try MachineLifeTests.send(sampleReport(time: clock.now), desk)
            for _ in 0..<2 {
                try server.core.lookForAlerts(all: false)
                clock.advance(seconds: 100)
                _ = try MachineLifeTests.send(sampleReport(time: clock.now), desk)
            }
            try server.core.lookForAlerts(all: false)
            #expect(!server.core.alerts.isOpen(key))
            // Two weeks in a drawer, or as long as its policy allows, and no longer.
            let asleep = AlertBook.Key(kind: .silent, machine: laptop.credentials.machine)
            clock.advance(seconds: 12 * 86_400)
            server.core.setObjectives { _ in MachineObjectives(lag: 1, silent: 30 * 86_400_000_000_000) }
            try server.core.lookForAlerts(all: false)
            #expect(!server.core.alerts.isOpen(asleep))
            server.core.setObjectives { _ in nil }
            try server.core.lookForAlerts(all: false)
            #expect(server.core.alerts.isOpen(asleep))
            #expect(try MachineLifeTests.fields(server, laptop).string("condition") == "lost")
            // What is expected can be said by others.
            server.core.setObjectives { _ in MachineObjectives(lag: 1, silent: 60_000_000_000) }
            clock.advance(seconds: 120)
            try server.core.lookForAlerts(all: false)
            #expect(server.core.alerts.isOpen(key))
        }
    }

    @Test("an agent that was stopped is missed like one that says nothing")
    func stopped() async throws {
        let clock = TestClock()
        let server = try await ServerFixture.start(clock: clock)
        try await ServerFixture.blocking {
            let machine = try server.enrol("desk")
            var report = sampleReport(time: clock.now)
            report.activity = .stopped
            _ = try MachineLifeTests.send(report, machine)
            let key = AlertBook.Key(kind: .silent, machine: machine.credentials.machine)
            try server.core.lookForAlerts(all: false)
            #expect(!server.core.alerts.isOpen(key), "somebody may start it again")
            #expect(try MachineLifeTests.fields(server, machine).string("condition") == "silent")
            clock.advance(seconds: 3 * 86_400)
            try server.core.lookForAlerts(all: false)
            #expect(server.core.alerts.isOpen(key))
            let alert = try #require(try server.core.catalog.alerts(resolved: 0).first)
            #expect(alert.text.contains("was stopped"))
        }
    }

    @Test("lag, warnings, a full spool, a problem that lasts and a wrong clock are alerts of their machine")
    func reported() async throws {
        let clock = TestClock()
        let server = try await ServerFixture.start(clock: clock)
        try await ServerFixture.blocking {
            let machine = try server.enrol("desk")
            var report = sampleReport(time: clock.now.advanced(by: -86_400_000_000_000))
            report.lag = 7_200_000_000_000
            report.notKeptCount = 3
            report.spool = .init(bytes: 10, limit: 10, isFull: true)
            report.problem = "the vault refuses this"
            _ = try MachineLifeTests.send(report, machine)
            try server.core.lookForAlerts(all: true)
            func open() throws -> Set<String> { Set(try server.core.catalog.alerts(resolved: 0).map(\.kind)) }
            #expect(try open() == ["lag", "warnings", "spool-full", "clock"], "a problem may pass by itself")
            clock.advance(seconds: 400)
            _ = try MachineLifeTests.send(report, machine)
            try server.core.lookForAlerts(all: false)
            #expect(try open().contains("backup-failed"))
            let well = sampleReport(time: clock.now)
            _ = try MachineLifeTests.send(well, machine)
            try server.core.lookForAlerts(all: false)
            clock.advance(seconds: 100)
            try server.core.lookForAlerts(all: false)
            #expect(try open().isEmpty)
            #expect(server.core.metricsText().contains(#"holdfast_alerts{kind="lag",state="open"} 0"#))
        }
    }

    @Test("of what comes and goes for ever one alert an hour is told; what is open at its end is told then")
    func flood() throws {
        let clock = TestClock()
        let (book, catalog, path) = try book(clock, settling: 90_000_000_000)
        defer { remove(path) }
        let key = AlertBook.Key(kind: .rejected, machine: .random())
        // Bad packs and good points by turns.
        for _ in 0..<60 {
            try book.raise(key, "not taken")
            book.resolve(key)
            try book.reconcile([], of: [.lag])
        }
        #expect(try catalog.alerts(resolved: 100).count == 1)
        #expect(try catalog.messageCount() == 2, "one for each target")
        // With pauses that are long enough.
        let lag = AlertBook.Finding(key: .init(kind: .lag, machine: .random()), text: "late")
        for _ in 0..<20 {
            try book.raise(key, "not taken")
            try book.reconcile([lag], of: [.lag])
            book.resolve(key)
            try book.reconcile([], of: [.lag])
            clock.advance(seconds: 100)
            try book.reconcile([], of: [.lag])
            #expect(!book.isOpen(key) && !book.isOpen(lag.key))
        }
        #expect(try catalog.alerts(resolved: 100).count == 40)
        #expect(try catalog.messageCount() == 8, "each of the two was raised and resolved once, for two targets")
        try book.raise(key, "not taken")
        try book.reconcile([], of: [])
        #expect(try catalog.messageCount() == 8)
        // Whoever starts the server anew meanwhile: it is told by the next one, once.
        let next = AlertBook(catalog, clock: { clock.now }, settling: 90_000_000_000) { ["mail", "webhook x"] }
        try next.load()
        try next.reconcile([], of: [])
        try next.reconcile([], of: [])
        #expect(try catalog.messageCount() == 10)
        let third = AlertBook(catalog, clock: { clock.now }, settling: 90_000_000_000) { ["mail", "webhook x"] }
        try third.load()
        try third.reconcile([], of: [])
        #expect(try catalog.messageCount() == 10)
        try catalog.set(AlertBook.untoldSetting, [])
        clock.advance(seconds: 3_600)
        try book.reconcile([], of: [])
        try book.reconcile([], of: [])
        #expect(try catalog.messageCount() == 12, "it is open still")
        book.resolve(key)
        clock.advance(seconds: 100)
        try book.reconcile([], of: [])
        #expect(try catalog.messageCount() == 14)
    }

    @Test("what the vault does not take is an alert until it takes something again, and for a while nothing is refused")
    func rejected() async throws {
        let clock = TestClock()
        let server = try await ServerFixture.start(clock: clock)
        try await ServerFixture.blocking {
            let machine = try server.enrol("desk")
            let remote = RemoteVault(
                ServerConnection(machine.credentials, patience: .init(attempts: 1, longestPause: 0)),
                vault: server.core.vaultID)
            let writer = try TestWriter(remote, TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
            let data = writer.make.data("x")
            try writer.send([data])
            let root = writer.make.node("root", [data.id])
            try writer.store([root])
            let forged = try writer.point(root: root, signing: .random())
            #expect(throws: HoldfastError.self) { try writer.commit(forged) }
            let key = AlertBook.Key(kind: .rejected, machine: machine.credentials.machine)
            #expect(server.core.alerts.isOpen(key))
            try writer.commit(writer.point(root: root))
            try server.core.lookForAlerts(all: false)
            #expect(server.core.alerts.isOpen(key))
            clock.advance(seconds: 100)
            try server.core.lookForAlerts(all: false)
            #expect(!server.core.alerts.isOpen(key))
        }
    }

    @Test("files that vanish or turn incompressible in masses are told, growth and ordinary work are not")
    func massChange() {
        func trail(_ samples: [(files: UInt64, bytes: UInt64, raw: UInt64, stored: UInt64)]) -> MachineTrail {
            var trail = MachineTrail()
            for (index, sample) in samples.enumerated() {
                trail.add(
                    .init(
                        time: Timestamp(seconds: 1_700_000_000 + Int64(index) * 180), files: sample.files,
                        bytes: sample.bytes, raw: sample.raw, stored: sample.stored, rewritten: 0, deleted: 0))
            }
            return trail
        }
        #expect(trail([(10_000, 1 << 30, 0, 0), (6_000, 1 << 29, 0, 0)]).massChange()?.text.contains("gone") == true)
        #expect(trail([(1_000, 1 << 30, 0, 0), (600, 1 << 29, 0, 0)]).massChange() == nil, "few files")
        let big: UInt64 = 1_000_000_000
        #expect(
            trail([(1_000, big, 0, 0), (1_000, big, big / 2, big / 2)]).massChange()?.text.contains("replaced") == true)
        #expect(trail([(1_000, big, 0, 0), (1_000, big, 0, big / 2)]).massChange() == nil, "it can be compressed")
        #expect(
            trail([(1_000, big, 0, 0), (5_000, 3 * big, 2 * big, 2 * big)]).massChange() == nil, "photographs came")
        #expect(trail([(0, 0, 0, 0), (5_000, big, big, big)]).massChange() == nil, "the first backup")
        #expect(trail([(1_000, big, 0, 0)]).massChange() == nil)
    }

    @Test("after a mass change the points before it are held, and one alert says so")
    func pinned() async throws {
        let clock = TestClock()
        let server = try await ServerFixture.start(clock: clock)
        try await ServerFixture.blocking {
            let machine = try server.enrol("desk")
            let remote = RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID)
            let writer = try TestWriter(remote, TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
            let point = try writer.backup(["good"]).point
            var report = sampleReport(time: clock.now)
            report.files = 10_000
            clock.advance(seconds: 600)
            _ = try MachineLifeTests.send(report, machine)
            clock.advance(seconds: 600)
            report.files = 100
            _ = try MachineLifeTests.send(report, machine)
            for _ in 0..<3 { try server.core.lookForAlerts(all: false) }
            #expect(try server.core.catalog.alerts(resolved: 0).count { $0.kind == "mass-change" } == 1)
            #expect(try server.core.vault.holds().count == 1)
            #expect(try server.core.vault.points(PointQuery(ids: [point])).first?.isHeld == true)
        }
    }

    @Test("an acknowledged mass change is over: the next is told of and held; while nobody looks, once a day")
    func again() async throws {
        let clock = TestClock()
        let server = try await ServerFixture.start(clock: clock)
        try await ServerFixture.blocking {
            let machine = try server.enrol("desk")
            func vanish() throws {
                for files in [10_000, 10_000, 100] as [UInt64] {
                    var report = sampleReport(time: clock.now)
                    report.files = files
                    _ = try MachineLifeTests.send(report, machine)
                    clock.advance(seconds: 600)
                }
                for _ in 0..<3 { try server.core.lookForAlerts(all: false) }
            }
            func open() throws -> [Int64] {
                try server.core.catalog.alerts(resolved: 0).filter { $0.kind == "mass-change" }.map(\.number)
            }
            try vanish()
            let first = try #require(try open().first)
            #expect(try server.core.alerts.acknowledge(first, by: "ann").state == .resolved)
            #expect(try open().isEmpty)
            try vanish()
            #expect(try open().count == 1, "the next is another")
            #expect(try server.core.vault.holds().count == 2)
            try vanish()
            #expect(try open().count == 1)
            clock.advance(seconds: 86_400)
            try vanish()
            #expect(try open().count == 2, "nobody has looked for a day")
            #expect(try server.core.vault.holds().count == 3)
        }
    }

    @Test("a mass change whose points cannot be held is told of all the same, and so is what is wrong with others")
    func cannotHold() async throws {
        let clock = TestClock()
        let server = try await ServerFixture.start(clock: clock)
        try await ServerFixture.blocking {
            let machine = try server.enrol("desk"), other = try server.enrol("other")
            for files in [10_000, 10_000, 100] as [UInt64] {
                var report = sampleReport(time: clock.now)
                report.files = files
                _ = try MachineLifeTests.send(report, machine)
                report.lag = 7_200_000_000_000
                _ = try MachineLifeTests.send(report, other)
                clock.advance(seconds: 100)
            }
            let packs = server.vault.path + "/packs"
            try FileManager.default.moveItem(atPath: packs, toPath: packs + ".away")
            try Data().write(to: URL(fileURLWithPath: packs))
            try server.core.lookForAlerts(all: false)
            try FileManager.default.removeItem(atPath: packs)
            try FileManager.default.moveItem(atPath: packs + ".away", toPath: packs)
            let open = try server.core.catalog.alerts(resolved: 0)
            #expect(Set(open.map(\.kind)) == ["mass-change", "lag"])
            #expect(open.contains { $0.text.contains("could not be held") })
        }
    }

    @Test("a server whose clock was years ahead for a while still misses its machines")
    func serverAhead() async throws {
        let clock = TestClock()
        let server = try await ServerFixture.start(clock: clock)
        try await ServerFixture.blocking {
            let machine = try server.enrol("desk").credentials.machine
            clock.advance(seconds: 10 * 365 * 86_400)
            server.core.life.noteSeen(machine, at: clock.now)
            try server.core.lookForAlerts(all: false)
            clock.advance(seconds: -10 * 365 * 86_400)
            try server.core.lookForAlerts(all: false)
            let key = AlertBook.Key(kind: .silent, machine: machine)
            #expect(!server.core.alerts.isOpen(key))
            clock.advance(seconds: 3 * 86_400)
            try server.core.lookForAlerts(all: false)
            #expect(server.core.alerts.isOpen(key))
            // A word by the right clock counts, however late the one before seems to be.
            let now = clock.now
            try server.core.catalog.keep([], seen: [machine: now.advanced(by: 86_400_000_000_000)])
            try server.core.catalog.keep([], seen: [machine: now])
            #expect(try server.core.catalog.machine(machine)?.lastSeen == now)
        }
    }

    @Test("a job whose end could not be written down does not keep the next of its kind from beginning")
    func forgottenJob() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let catalog = server.core.catalog
            let lost = JobRecord(
                id: .random(), kind: "reclaim", owner: "the server", parameters: [], started: server.core.clock())
            #expect(try catalog.start(lost))
            let gate = Monitor(false)
            let job = try server.core.jobs.start(kind: "reclaim", owner: "ann", parameters: []) { _ in
                _ = gate.waitUntil({ $0 }, nanoseconds: 30_000_000_000)
                return Array("{}".utf8)
            }
            #expect(try catalog.job(lost.id)?.state == .interrupted)
            // One that does run is left alone.
            #expect(throws: HoldfastError.self) {
                try server.core.jobs.start(kind: "reclaim", owner: "bob", parameters: []) { _ in [] }
            }
            #expect(try catalog.job(job)?.state == .running)
            gate.update { $0 = true }
        }
    }

    // MARK: Going out

    /// Answers requests on the loopback interface, one after the other.
    final class Receiver: Sendable {
        struct Request: Sendable {
            var head: String
            var body: String
        }

        let port: Int
        private let socket: Int32
        private let state = Mutex<(answers: [String], requests: [Request], stopping: Bool)>(([], [], false))
        private let thread = Mutex<WorkerThread?>(nil)

        /// - Parameter answers: what is answered in turn; the last again and again.
        init(_ answers: [String]) throws {
            socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = inet_addr("127.0.0.1")
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let socket = socket
            let bound = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                    bind(socket, pointer, length) == 0 && listen(socket, 16) == 0
                        && getsockname(socket, pointer, &length) == 0
                }
            }
            try #require(bound)
            port = Int(UInt16(bigEndian: address.sin_port))
            state.withLock { $0.answers = answers }
            let worker = try WorkerThread(name: "receiver") { [self] in run() }
            thread.withLock { $0 = worker }
        }

        var requests: [Request] { state.withLock { $0.requests } }

        func close() {
            state.withLock { $0.stopping = true }
            shutdown(socket, Int32(SHUT_RDWR))
            thread.withLock { $0 }?.join()
            Glibc.close(socket)
        }

        private func run() {
            while !state.withLock({ $0.stopping }) {
                let connection = accept(socket, nil, nil)
                guard connection >= 0 else { return }
                serve(connection)
                Glibc.close(connection)
            }
        }

        private func serve(_ connection: Int32) {
            var bytes: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 65_536)
            while true {
                let count = read(connection, &buffer, buffer.count)
                guard count > 0 else { return }
                bytes += buffer[..<count]
                let text = String(decoding: bytes, as: UTF8.self)
                guard let end = text.range(of: "\r\n\r\n") else { continue }
                let head = String(text[..<end.lowerBound])
                let body = String(text[end.upperBound...])
                let length = head.lowercased().firstMatch(of: /content-length: (\d+)/).flatMap { Int($0.output.1) } ?? 0
                guard body.utf8.count >= length else { continue }
                let answer = state.withLock { state in
                    state.requests.append(Request(head: head, body: body))
                    return state.answers.count > 1 ? state.answers.removeFirst() : state.answers[0]
                }
                let reply = "HTTP/1.1 \(answer)\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                _ = reply.withCString { write(connection, $0, strlen($0)) }
                return
            }
        }
    }

    @Test("a webhook gets what was raised and resolved, signed; what fails comes again; redirections lead nowhere")
    func webhooks() async throws {
        let clock = TestClock()
        let server = try await ServerFixture.start(clock: clock)
        let elsewhere = try Receiver(["200 OK"])
        let receiver = try Receiver([
            "500 No", "302 Found\r\nLocation: http://127.0.0.1:\(elsewhere.port)/", "204 Fine",
        ])
        defer {
            receiver.close()
            elsewhere.close()
        }
        let port = receiver.port
        try await ServerFixture.blocking {
            let secret = Array("a secret of some length".utf8)
            var settings = AlertSettings()
            settings.webhooks = [.init(url: "http://127.0.0.1:\(port)/hook", secret: secret)]
            try settings.save(server.core.catalog)
            server.core.refreshAlertSettings()
            let machine = try server.enrol("desk \"quoted\"\n".filter { $0 != "\n" })
            let key = AlertBook.Key(kind: .rejected, machine: machine.credentials.machine)
            try server.core.alerts.raise(key, "not taken")
            func wait(_ count: Int) {
                for _ in 0..<400 where receiver.requests.count < count {
                    server.core.dispatcher.wake()
                    SystemClock.pause(milliseconds: 25)
                    if receiver.requests.count < count { clock.advance(seconds: 30) }
                }
            }
            wait(3)
            let requests = receiver.requests
            try #require(requests.count == 3)
            #expect(elsewhere.requests.isEmpty)
            for request in requests {
                #expect(request.body == requests[0].body || request.body.contains("\"alert\""))
                let fields = try JSONFields(parsing: Array(request.body.utf8), document: "hook")
                #expect(try fields.object("alert").string("kind") == "rejected")
                #expect(try fields.object("alert").string("state") == "open")
                let header = try #require(
                    request.head.firstMatch(of: /(?i)holdfast-webhook-signature: (t=(\d+),v1=\w+)/))
                #expect(
                    WebhookSignature.make(
                        secret: secret, time: try #require(Int64(header.output.2)), body: Array(request.body.utf8))
                        == header.output.1)
                #expect(!request.head.contains("secret") && !request.body.contains("secret"))
            }
            server.core.alerts.resolve(key)
            clock.advance(seconds: 100)
            try server.core.lookForAlerts(all: false)
            wait(4)
            #expect(receiver.requests.last?.body.contains("\"state\":\"resolved\"") == true)
            for _ in 0..<200 where try server.core.catalog.messageCount() > 0 { SystemClock.pause(milliseconds: 10) }
            #expect(try server.core.catalog.messageCount() == 0)

            // Through the server, as an administrator.
            let connection = ServerConnection(
                address: server.address, server: server.core.identity.id, key: server.core.identity.key.verifyingKey,
                identity: .bearer(try server.person(.administrator)))
            let alerts = RemoteAlerts(connection)
            #expect(try alerts.test() == [.init(target: "webhook http://127.0.0.1:\(port)/hook", failure: nil)])
            #expect(try alerts.list(resolved: 10).map(\.state) == ["resolved"])
            try server.core.alerts.raise(key, "again")
            let number = try #require(try alerts.list(resolved: 0).first?.number)
            #expect(try alerts.say(.acknowledge, of: number).state == "acknowledged")
        }
    }

    @Test("mail goes through the system's program, with nothing of a machine's name in its head but the subject")
    func mail() async throws {
        let server = try await ServerFixture.start()
        let folder = NSTemporaryDirectory() + "mail-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let script =
            "#!/bin/sh\necho \"$@\" > \(folder)/arguments\ncat > \(folder)/mail.part\nmv \(folder)/mail.part \(folder)/mail\n"
        try script.write(toFile: folder + "/sendmail", atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: folder + "/sendmail")
        try await ServerFixture.blocking {
            var settings = AlertSettings()
            settings.sendmail = folder + "/sendmail"
            settings.mailTo = ["ann@example.org", "ops"]
            settings.mailFrom = "holdfast@example.org"
            try settings.save(server.core.catalog)
            server.core.refreshAlertSettings()
            let machine = try server.enrol("Büro\u{2028}Bcc: x@example.org")
            try server.core.alerts.raise(.init(kind: .lag, machine: machine.credentials.machine), "It is late.")
            server.core.dispatcher.wake()
            for _ in 0..<500 where !FileManager.default.fileExists(atPath: folder + "/mail") {
                SystemClock.pause(milliseconds: 20)
            }
            let mail = try String(contentsOfFile: folder + "/mail", encoding: .utf8)
            let head = try #require(mail.components(separatedBy: "\n\n").first)
            #expect(head.contains("To: ann@example.org, ops\nFrom: holdfast@example.org\nSubject: =?utf-8?B?"))
            #expect(!head.contains("Bcc"))
            let body = try #require(mail.components(separatedBy: "\n\n").dropFirst().first)
            let text = try #require(Data(base64Encoded: body, options: .ignoreUnknownCharacters))
            #expect(String(decoding: text, as: UTF8.self).contains("It is late."))
            #expect(try String(contentsOfFile: folder + "/arguments", encoding: .utf8) == "-t -i\n")
        }
    }

    @Test("addresses that could reach into the server's own network unseen, or end a line, are refused")
    func addresses() throws {
        for url in [
            "http://example.org/", "ftp://example.org", "https://name:secret@example.org/", "file:///etc/passwd",
            "https://", "http://127.0.0.1.example.org/", "http://localhost.example.org", "https://a b/",
            "http://[::2]/",
        ] {
            #expect(throws: HoldfastError.self, "\(url)") { try OutgoingAddress(url) }
        }
        for url in ["https://example.org/x?y=z", "http://127.0.0.1:8080/", "http://localhost/x", "http://[::1]:9/"] {
            _ = try OutgoingAddress(url)
        }
        for address in ["a@b\nBcc: c@d", "a b@c", "-x@y", "", "a@", "<a@b>", "a,b@c"] {
            var settings = AlertSettings()
            settings.mailTo = [address]
            #expect(throws: HoldfastError.self, "\(address)") { try settings.check() }
        }
        var settings = AlertSettings()
        settings.webhooks = [.init(url: "https://example.org", secret: Array("0123456789abcdef".utf8))]
        settings.heartbeat = "https://example.org/beat"
        settings.mailTo = ["a@b"]
        let read = try AlertSettings.decode(settings.encoded())
        #expect(read.targets == settings.targets && read.webhooks[0].secret == settings.webhooks[0].secret)
        #expect("\(settings)" == "AlertSettings(secret)")
    }
}
