import Catalog
import Client
import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Server

/// Orders with something in every field.
enum RestoreSamples {
    static let wish: RestoreWish = {
        var wish = RestoreWish(
            source: .random(), target: .random(), point: .random(),
            paths: [TreePath("/etc/fstab") ?? .root, TreePath.root.appending([0xFF])],
            destination: .folder(Array("/srv/".utf8) + [0xE9]))
        wish.existing = .newer
        wish.deletesExtra = true
        wish.verifies = true
        wish.patience = 4_000
        return wish
    }()

    static let plan = RestoreOrderPlan(
        destination: "/srv", actions: [.init(name: "create", count: 3, bytes: 7, samples: ["/a"])], bytesToWrite: 7,
        freeBytes: 9, issues: [.init(kind: "metadata", path: "/a", text: "no")], issueCount: 1)

    static let result: RestoreOrderResult = {
        var result = RestoreOrderResult()
        result.destination = "/srv"
        result.filesWritten = 3
        result.before = .random()
        result.canBeUndone = true
        result.failures = 1
        return result
    }()

    static let order: RestoreOrder = {
        var order = RestoreOrder(id: .random(), wish: wish, owner: "ann", created: Timestamp(seconds: 1_700_000_000))
        order.plan = plan
        order.progress = RestoreOrderProgress(phase: "restoring", files: 1, bytes: 2, totalBytes: 3, bytesPerSecond: 4)
        order.result = result
        order.message = "why"
        order.hint = "what to do"
        order.begun = Timestamp(seconds: 1_700_000_001)
        return order
    }()

    static let report: RestoreOrderReport = {
        var report = RestoreOrderReport(state: .planned)
        report.plan = plan
        report.progress = order.progress
        report.result = result
        report.message = "m"
        report.lines = ["one", "two"]
        return report
    }()
}

@Suite("What becomes of an order")
struct RestoreOrderRuleTests {
    private func order(asks: Bool = true) -> RestoreOrder {
        var wish = RestoreWish(
            source: .random(), target: .random(), point: .random(), paths: [.root], destination: .newFolder)
        wish.asksFirst = asks
        wish.patience = 3_600
        return RestoreOrder(id: .random(), wish: wish, owner: "ann", created: Timestamp(seconds: 1_000))
    }

    private func at(_ seconds: Int64) -> Timestamp { Timestamp(seconds: seconds) }

    @Test("what is on the wire comes back as it was")
    func wire() throws {
        let order = RestoreSamples.order
        #expect(try RestoreOrder.decode(order.encoded()) == order)
        #expect(try RestoreOrderReport.decode(RestoreSamples.report.encoded()) == RestoreSamples.report)
        let orders = MachineOrders(policy: .zero, commands: [], restores: .init([order]))
        #expect(try MachineOrders.decode(orders.encoded()) == orders)
        #expect(try MachineOrders.decode(MachineOrders(policy: .zero, commands: []).encoded()).restores == nil)
    }

    @Test("nothing begins before somebody has agreed to the plan, when that was wanted")
    func confirmation() throws {
        var order = order()
        #expect(throws: HoldfastError.self) { try order.confirm(seen: nil) }
        try order.take(RestoreOrderReport(state: .planning), at: at(1_001))
        #expect(throws: HoldfastError.self) { try order.take(RestoreOrderReport(state: .running), at: at(1_002)) }
        try order.take(RestoreSamples.report, at: at(1_002))
        #expect(throws: HoldfastError.self) { try order.take(RestoreOrderReport(state: .running), at: at(1_003)) }
        let before = order.revision
        try order.confirm(seen: nil)
        #expect(order.revision == before + 1, "the machine hears of it by the revision")
        try order.confirm(seen: nil)
        #expect(order.revision == before + 1)
        try order.take(RestoreOrderReport(state: .running), at: at(1_004))
        #expect(throws: HoldfastError.self, "what runs is not planned again") {
            try order.take(RestoreOrderReport(state: .planning), at: at(1_005))
        }
        try order.take(RestoreOrderReport(state: .finished), at: at(1_006))
        #expect(order.ended == at(1_006) && order.begun == at(1_004))
        #expect(throws: HoldfastError.self, "what has ended stays as it is") {
            try order.take(RestoreOrderReport(state: .running), at: at(1_007))
        }
        #expect(throws: HoldfastError.self) { try order.stop(by: "ann", at: at(1_008)) }
        var unasked = self.order(asks: false)
        try unasked.take(RestoreOrderReport(state: .planning), at: at(1_001))
        try unasked.take(RestoreOrderReport(state: .running), at: at(1_002))
        #expect(unasked.state == .running)
    }

    @Test("what was agreed to is the plan that was seen")
    func seen() throws {
        var order = order()
        try order.take(RestoreOrderReport(state: .planning), at: at(1_001))
        try order.take(RestoreSamples.report, at: at(1_002))
        let seen = order.planNumber
        try order.take(RestoreSamples.report, at: at(1_002))
        #expect(order.planNumber == seen, "the same once more")
        try order.take(RestoreOrderReport(state: .planning), at: at(1_003))
        var worse = RestoreSamples.report
        worse.plan?.actions.append(.init(name: "remove", count: 999_999))
        try order.take(worse, at: at(1_004))
        let error = #expect(throws: HoldfastError.self) { try order.confirm(seen: seen) }
        #expect(error?.code == .forbidden && !order.isConfirmed)
        try order.confirm(seen: order.planNumber)
        #expect(throws: HoldfastError.self, "agreed to, it stays") {
            try order.take(RestoreSamples.report, at: at(1_005))
        }
        #expect(order.plan == worse.plan)
    }

    @Test("a machine that leaves out numbers of lines, or says what cannot be kept, harms its own report alone")
    func poison() async throws {
        var order = order()
        var report = RestoreOrderReport(state: .planning)
        report.firstLine = 1 << 40
        report.lines = ["a", "b"]
        #expect(order.newLines(of: report) == ["a", "b"] && order.machineLines == 2)
        #expect(try RestoreOrder.decode(order.encoded()) == order)
        let long = RestoreOrderPlan.Action(name: String(repeating: "x", count: 1 << 20), count: 1)
        #expect(long.name.utf8.count <= 1_024)
        // One that cannot be read takes no other with it, keeps no point, and no room.
        let server = try await ServerFixture.start()
        let (core, machine, point) = (server.core, MachineID.random(), PointID.random())
        let good = try core.restores.add(
            RestoreWish(source: machine, target: machine, point: .random(), paths: [.root], destination: .inPlace),
            by: "ann")
        let bad = RestoreRow(
            id: .random(), target: machine, source: machine, point: point, created: Timestamp(seconds: 1), isOpen: true,
            document: Array("{}".utf8))
        #expect(try core.catalog.add(bad, openAtMost: 64, ofAccount: nil))
        #expect(try core.restores.newest(10).map(\.id) == [good.id])
        #expect(try core.restores.open(of: machine).map(\.id) == [good.id])
        core.restores.listen()
        _ = core.restores.sweep()
        #expect(try core.restores.pointsInUse().contains(point) == false)
        await server.stop()
    }

    @Test("what waits for a yes keeps nothing from a machine that it could go on with")
    func order16() async throws {
        let server = try await ServerFixture.start()
        let restores = server.core.restores
        let machine = try await ServerFixture.blocking { try server.enrol("one").credentials.machine }
        func wish() -> RestoreWish {
            RestoreWish(source: machine, target: machine, point: .random(), paths: [.root], destination: .inPlace)
        }
        var waiting: [RestoreOrderID] = []
        for _ in 0..<20 {
            let id = try restores.add(wish(), by: "ann").id
            _ = try restores.take(RestoreOrderReport(state: .planning), of: id, from: machine)
            _ = try restores.take(RestoreOrderReport(state: .planned), of: id, from: machine)
            waiting.append(id)
        }
        let urgent = try restores.add(wish(), by: "bob").id
        #expect(try restores.open(of: machine).map(\.id) == [urgent] + waiting.prefix(15))
        _ = try restores.confirm(waiting[19], seen: nil, by: "ann")
        #expect(try restores.open(of: machine).prefix(2).map(\.id) == [waiting[19], urgent])
        await server.stop()
    }

    @Test("a machine that was not asked cannot say that it is done")
    func jumps() {
        for state in [RestoreOrder.State.running, .finished, .planned, .expired, .ordered] {
            var order = order()
            #expect(throws: HoldfastError.self, "\(state)") {
                try order.take(RestoreOrderReport(state: state), at: at(1_001))
            }
            #expect(order.state == .ordered)
        }
    }

    @Test("what no machine works on stops at once, the rest when the machine says so or is silent for a minute")
    func stopping() throws {
        var waiting = order()
        try waiting.stop(by: "ann", at: at(1_001))
        #expect(waiting.state == .stopped && waiting.message == "Stopped by ann.")
        var running = order(asks: false)
        try running.take(RestoreOrderReport(state: .planning), at: at(1_001))
        try running.stop(by: "bob", at: at(1_010))
        #expect(running.state == .planning && running.isStopping)
        running.expire(at: at(1_050), listeningSince: at(0))
        #expect(running.state == .planning)
        running.expire(at: at(1_100), listeningSince: at(0))
        #expect(running.state == .stopped)
        var silent = order(asks: false)
        try silent.take(RestoreOrderReport(state: .planning), at: at(1_001))
        try silent.stop(by: "bob", at: at(2_000))
        #expect(silent.state == .stopped)
    }

    @Test("what is not heard of for too long expires, but the time in which nobody listened does not count")
    func expiry() throws {
        var order = order()
        order.expire(at: at(1_000 + 3_600), listeningSince: at(0))
        #expect(order.state == .ordered)
        order.expire(at: at(100_000), listeningSince: at(99_000))
        #expect(order.state == .ordered, "the server was away, and the machine is given its time anew")
        order.expire(at: at(1_000 + 3_601), listeningSince: at(0))
        #expect(order.state == .expired)
        #expect(throws: HoldfastError.self) { try order.take(RestoreOrderReport(state: .planning), at: at(5_000)) }
        var planned = self.order()
        try planned.take(RestoreOrderReport(state: .planning), at: at(1_001))
        try planned.take(RestoreOrderReport(state: .planned), at: at(1_002))
        planned.expire(at: at(1_002 + 3_601), listeningSince: at(0))
        #expect(planned.state == .expired && planned.message == "Nobody has agreed to its plan.")
    }

    @Test("lines that come again are not written down again")
    func lines() {
        var order = order()
        var report = RestoreOrderReport()
        report.lines = ["one", "two"]
        #expect(order.newLines(of: report) == ["one", "two"])
        #expect(order.newLines(of: report).isEmpty)
        report.lines = ["two", "three"]
        report.firstLine = 2
        #expect(order.newLines(of: report) == ["three"])
    }

    @Test("what is over is forgotten machine by machine: many of one take none of another's out of the list")
    func forgetting() async throws {
        let server = try await ServerFixture.start()
        let catalog = server.core.catalog
        let (busy, quiet) = (MachineID.random(), MachineID.random())
        func add(_ target: MachineID, _ second: Int64, isOpen: Bool = false) throws -> JobID {
            let row = RestoreRow(
                id: .random(), target: target, source: target, point: .random(), created: Timestamp(seconds: second),
                isOpen: isOpen, document: [])
            #expect(try catalog.add(row, openAtMost: 64, ofAccount: nil))
            return row.id
        }
        let old = try add(quiet, 1)
        let open = try add(busy, 2, isOpen: true)
        let many = try (3..<13).map { try add(busy, $0) }
        _ = try catalog.changeRestore(many[0], at: Timestamp(seconds: 20)) { _ in ["a line"] }
        try catalog.forgetRestores(keeping: 4)
        #expect(try catalog.restores(newest: 100, .target(quiet)).map(\.id) == [old])
        #expect(try catalog.restores(newest: 100, .target(busy)).map(\.id) == many.suffix(4).reversed() + [open])
        #expect(try catalog.restores(newest: 3, .target(busy)).map(\.id) == many.suffix(3).reversed())
        #expect(try catalog.restores(newest: 100, .all).count == 6)
        #expect(try catalog.restoreLog(of: many[0], after: 0, limit: 10).isEmpty)
        await server.stop()
    }

    @Test("what cannot be meant is refused")
    func wishes() {
        func check(_ change: (inout RestoreWish) -> Void) {
            var wish = RestoreWish(
                source: .random(), target: .random(), point: .random(), paths: [.root], destination: .newFolder)
            change(&wish)
            #expect(throws: HoldfastError.self, "\(wish)") { try wish.check() }
        }
        check { $0.paths = [] }
        check { $0.patience = 1 }
        check { $0.deletesExtra = true }
        check { $0.kind = .undo }
        check { $0.undoes = .random() }
        for folder in ["", "srv", "/", "/srv/../etc", "/srv/", "/srv//x", "/srv/./x"] {
            check { $0.destination = .folder(Array(folder.utf8)) }
        }
    }
}

@Suite("Orders on a server", .serialized)
struct RestoreOrderTests {
    /// Two machines with a point each, and somebody who may all.
    private struct Place {
        let ann: EnrolledMachine
        let bob: EnrolledMachine
        let annPoint: PointID
        let bobPoint: PointID
        let restores: RemoteRestores

        init(_ server: ServerFixture) throws {
            (ann, bob) = (try server.enrol("ann"), try server.enrol("bob"))
            func backup(_ machine: EnrolledMachine) throws -> PointID {
                let remote = RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID)
                let writer = try TestWriter(
                    remote, TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
                defer { writer.close() }
                return try writer.backup(["something of \(machine.credentials.machine.hex)"]).point
            }
            (annPoint, bobPoint) = (try backup(ann), try backup(bob))
            restores = RemoteRestores(try server.administrator())
        }

        func wish(of source: EnrolledMachine, _ point: PointID, on target: EnrolledMachine) -> RestoreWish {
            RestoreWish(
                source: source.credentials.machine, target: target.credentials.machine, point: point, paths: [.root],
                destination: .newFolder)
        }
    }

    private static func machine(_ machine: EnrolledMachine) -> MachineRestores {
        MachineRestores(
            ServerConnection(machine.credentials, patience: .init(attempts: 1, longestPause: 0)),
            machine: machine.credentials.machine)
    }

    /// Whether a machine gets the key of a point.
    private static func opens(_ machine: EnrolledMachine, _ point: PointID) -> Bool {
        let connection = ServerConnection(machine.credentials, patience: .init(attempts: 1, longestPause: 0))
        let vault = RemoteVault(connection, vault: machine.secrets.vault)
        let grants = PointGrants(connection, secrets: machine.secrets)
        guard let sealed = try? vault.point(point),
            let records = try? vault.machineRecords(of: sealed.locator.machine), !records.isEmpty,
            let lease = try? vault.openLease(.reader([point]))
        else { return false }
        vault.closeLease(lease.id)
        return (try? grants.openRecord(sealed, machines: records)) != nil
    }

    @Test("a machine hears of an order within a second, and the server keeps what it says, also over a restart")
    func delivery() async throws {
        let server = try await ServerFixture.start()
        let (id, place) = try await ServerFixture.blocking { () -> (RestoreOrderID, Place) in
            let place = try Place(server)
            let orders = ServerOrders(
                ServerConnection(place.ann.credentials), machine: place.ann.credentials.machine)
            let first = try orders.orders(policy: nil, done: [], restores: "", wait: 0)
            #expect(first.restores?.orders.isEmpty == true)
            let begun = ContinuousClock.now
            let made = Mutex<RestoreOrder?>(nil)
            let thread = try WorkerThread(name: "order") {
                SystemClock.pause(milliseconds: 300)
                let order = try? place.restores.order(place.wish(of: place.ann, place.annPoint, on: place.ann))
                made.withLock { $0 = order }
            }
            let told = try orders.orders(policy: first.policy, done: [], restores: "", wait: 30)
            thread.join()
            #expect(ContinuousClock.now - begun < .seconds(5))
            let order = try #require(told.restores?.orders.first)
            #expect(order.wish.point == place.annPoint && order.owner == "administrator" && order.state == .ordered)
            // What is known is not told again, and an agent that does no restores is not woken.
            let again = try orders.orders(policy: first.policy, done: [], restores: told.restores?.digest, wait: 0)
            #expect(again.restores?.digest == told.restores?.digest)
            #expect(try orders.orders(policy: first.policy, done: [], restores: nil, wait: 0).restores == nil)
            let machine = Self.machine(place.ann)
            #expect(try machine.report(RestoreOrderReport(state: .planning), of: order.id).state == .planning)
            #expect(try machine.report(RestoreSamples.report, of: order.id).lines == 2)
            #expect(try machine.report(RestoreSamples.report, of: order.id).lines == 2, "said twice, kept once")
            return (order.id, place)
        }
        let port = server.address.port
        await server.stop()
        let second = try await ServerFixture.start(port: port, after: server)
        try await ServerFixture.blocking {
            let restores = RemoteRestores(try second.administrator())
            let news = try restores.order(id)
            #expect(news.order.state == .planned && news.order.plan == RestoreSamples.plan)
            #expect(news.lines.map(\.text) == ["one", "two"])
            #expect(try restores.confirm(news.order).isConfirmed)
            let machine = Self.machine(place.ann)
            #expect(try machine.report(RestoreOrderReport(), of: id).isConfirmed)
            _ = try machine.report(RestoreOrderReport(state: .running), of: id)
            #expect(try restores.stop(id).isStopping)
            #expect(try machine.report(RestoreOrderReport(), of: id).isStopping)
            #expect(try machine.report(RestoreOrderReport(state: .stopped), of: id).state == .stopped)
            #expect(try restores.list().map(\.state) == [.stopped])
            let log = try second.core.catalog.auditLines(from: 1, limit: 100).map(\.action)
            #expect(log.contains("restore.ordered") && log.contains("restore.confirmed"))
            #expect(log.contains("restore.stopped"))
        }
    }

    @Test("another machine's point opens under an order only, for the machine that it names, and not after its end")
    func grants() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let place = try Place(server)
            #expect(Self.opens(place.bob, place.bobPoint))
            #expect(!Self.opens(place.bob, place.annPoint))
            let order = try place.restores.order(place.wish(of: place.ann, place.annPoint, on: place.bob))
            #expect(Self.opens(place.bob, place.annPoint))
            #expect(!Self.opens(place.ann, place.bobPoint), "it is no order the other way round")
            _ = try place.restores.stop(order.id)
            #expect(!Self.opens(place.bob, place.annPoint), "it has ended, and the key with it")
            #expect(throws: HoldfastError.self, "another machine says nothing of it") {
                try Self.machine(place.ann).report(RestoreOrderReport(state: .planning), of: order.id)
            }
        }
    }

    @Test("what is not there, not the source's, or not enrolled any more is refused, and an order for it ends")
    func refused() async throws {
        let clock = TestClock()
        let server = try await ServerFixture.start(clock: clock)
        try await ServerFixture.blocking {
            let place = try Place(server)
            #expect(throws: HoldfastError.self) {
                try place.restores.order(place.wish(of: place.ann, place.bobPoint, on: place.ann))
            }
            #expect(throws: HoldfastError.self) {
                try place.restores.order(place.wish(of: place.ann, .random(), on: place.ann))
            }
            var stranger = place.wish(of: place.ann, place.annPoint, on: place.ann)
            stranger.target = .random()
            #expect(throws: HoldfastError.self) { try place.restores.order(stranger) }
            let waiting = try place.restores.order(place.wish(of: place.ann, place.annPoint, on: place.bob))
            try server.core.catalog.change(place.bob.credentials.machine) { $0.state = .retired }
            // The server's own upkeep may have done it already.
            _ = server.core.restores.sweep()
            let ended = try place.restores.order(waiting.id).order
            #expect(ended.state == .failed && ended.message == "The machine is not enrolled here any more.")
            var short = place.wish(of: place.ann, place.annPoint, on: place.ann)
            short.patience = 60
            let late = try place.restores.order(short)
            _ = server.core.restores.sweep()
            #expect(try place.restores.order(late.id).order.state == .ordered)
            clock.advance(seconds: 120)
            _ = server.core.restores.sweep()
            #expect(try place.restores.order(late.id).order.state == .expired)
        }
    }

    @Test("a point that somebody is about to get back is not deleted by rules")
    func pointsInUse() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let place = try Place(server)
            let order = try place.restores.order(place.wish(of: place.ann, place.annPoint, on: place.bob))
            #expect(try server.core.restores.pointsInUse() == [place.annPoint])
            _ = try place.restores.stop(order.id)
            #expect(try server.core.restores.pointsInUse().isEmpty)
        }
    }
}
