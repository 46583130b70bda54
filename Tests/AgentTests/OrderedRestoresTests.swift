import Client
import Foundation
import Model
import Platform
import Recovery
import Synchronization
import Testing
import Vault

@testable import Agent

/// A server's side of orders, by the rules of `RestoreOrder`, that can be away.
private final class FakeServer: Sendable {
    struct State {
        var orders: [RestoreOrderID: RestoreOrder] = [:]
        var isAway = false
        var log: [String] = []
        var states: [RestoreOrder.State] = []
    }
    let state = Monitor(State())

    func report(_ report: RestoreOrderReport, _ id: RestoreOrderID) throws -> RestoreOrderAnswer {
        try state.update { state in
            if state.isAway { throw HoldfastError(.io, "the server is away", isTemporary: true) }
            guard var order = state.orders[id] else { throw HoldfastError(.notFound, "none") }
            try order.take(report, at: Timestamp(nanoseconds: SystemClock.wall))
            state.log += order.newLines(of: report)
            if let next = report.state { state.states.append(next) }
            state.orders[id] = order
            return RestoreOrderAnswer(order)
        }
    }

    func change(_ id: RestoreOrderID, _ body: (inout RestoreOrder) throws -> Void) rethrows {
        try state.update { state in if state.orders[id] != nil { try body(&state.orders[id]!) } }
    }

    var open: [RestoreOrder] { state.withLock { $0.orders.values.filter { $0.state.isOpen } } }

    func expects(_ id: RestoreOrderID, _ wanted: RestoreOrder.State, _ location: SourceLocation = #_sourceLocation) {
        let came = state.waitUntil({ $0.orders[id]?.state == wanted }, nanoseconds: 20_000_000_000)
        #expect(came, "\(state.withLock { ($0.orders[id]?.state, $0.log) })", sourceLocation: location)
    }
}

/// Work that waits until it is let go, or fails as it is told to.
private final class FakeWork: RestoreWork {
    struct Script: Sendable {
        var failures: [HoldfastError] = []
        var holds = false
        var runs = 0
        var plans = 0
        var stops = 0
    }
    let script: Monitor<Script>
    private let isStopped = Mutex(false)

    init(_ script: Monitor<Script>) { self.script = script }

    func plan() throws -> RestoreOrderPlan {
        script.update { $0.plans += 1 }
        return RestoreOrderPlan(destination: "/x", actions: [.init(name: "create", count: 1)], bytesToWrite: 1)
    }

    func run() throws -> RestoreOrderResult {
        let failure = script.update { script -> HoldfastError? in
            script.runs += 1
            return script.failures.isEmpty ? nil : script.failures.removeFirst()
        }
        if let failure { throw failure }
        script.waitUntil({ [self] in !$0.holds || isStopped.withLock { $0 } }, nanoseconds: 20_000_000_000)
        if isStopped.withLock({ $0 }) { throw HoldfastError(.cancelled, "stopped") }
        var result = RestoreOrderResult()
        result.filesWritten = 1
        return result
    }

    var progress: RestoreOrderProgress { RestoreOrderProgress(phase: "restoring", bytes: 5, totalBytes: 10) }

    func stop() {
        isStopped.withLock { $0 = true }
        script.update { $0.stops += 1 }
    }
}

@Suite("Orders that an agent carries out", .serialized)
struct OrderedRestoresTests {
    private final class Place {
        let path: String
        let server = FakeServer()
        let script = Monitor(FakeWork.Script())
        let machine = MachineID.random()
        private(set) var restores: OrderedRestores

        init(allow: String = "restore: {new-folder: HERE/new}\n") throws {
            path =
                FileManager.default.temporaryDirectory.resolvingSymlinksInPath()
                .appendingPathComponent("holdfast-orders-\(UUID().uuidString)").path
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
            chmod(path, 0o755)
            let file = "\(path)/allow.yaml"
            try Data(allow.replacing("HERE", with: path).utf8).write(to: URL(fileURLWithPath: file))
            chmod(file, 0o644)
            restores = try Place.make(path, server, script, machine)
        }

        deinit {
            restores.stop()
            try? FileManager.default.removeItem(atPath: path)
        }

        private static func make(
            _ path: String, _ server: FakeServer, _ script: Monitor<FakeWork.Script>, _ machine: MachineID
        ) throws -> OrderedRestores {
            var means = OrderedRestores.Means(
                machine: machine, consent: RestoreConsent(file: Array("\(path)/allow.yaml".utf8)), protected: { [] },
                report: { try server.report($0, $1) }, make: { _, _ in FakeWork(script) })
            means.pace = 20_000_000
            means.pause = 20_000_000
            let restores = OrderedRestores(means, state: try StateDirectory(path: Array("\(path)/state".utf8)))
            try restores.start()
            return restores
        }

        /// The agent ends and is started again; what it holds in memory is gone.
        func restart() throws {
            restores.stop()
            restores = try Place.make(path, server, script, machine)
        }

        func order(asks: Bool = true, _ change: (inout RestoreWish) -> Void = { _ in }) -> RestoreOrderID {
            var wish = RestoreWish(
                source: machine, target: machine, point: .random(), paths: [.root], destination: .newFolder)
            wish.asksFirst = asks
            change(&wish)
            let order = RestoreOrder(
                id: .random(), wish: wish, owner: "ann", created: Timestamp(nanoseconds: SystemClock.wall))
            server.state.update { $0.orders[order.id] = order }
            tell()
            return order.id
        }

        /// As the long poll does it.
        func tell() { restores.update(server.open) }

        var kept: [String] {
            ((try? FileManager.default.contentsOfDirectory(atPath: "\(path)/state/restores")) ?? []).filter {
                $0.hasSuffix(".json")
            }
        }
    }

    @Test("a plan is told, nothing begins before somebody agrees, and then it is done")
    func confirmed() throws {
        let place = try Place()
        let id = place.order()
        place.server.expects(id, .planned)
        SystemClock.pause(milliseconds: 200)
        let counts = place.script.withLock { "\($0.plans) \($0.runs)" }
        #expect(counts == "1 0")
        try place.server.change(id) { try $0.confirm(seen: nil) }
        place.tell()
        place.server.expects(id, .finished)
        #expect(place.server.state.withLock { $0.states } == [.planning, .planned, .running, .finished])
        #expect(place.server.state.withLock { $0.orders[id]?.result?.filesWritten } == 1)
        let isForgotten = (0..<500).contains { _ in
            SystemClock.pause(milliseconds: 20)
            return place.kept.isEmpty
        }
        #expect(isForgotten, "nothing is kept of what the server knows")
    }

    @Test("what the machine does not allow is refused, with the line that would allow it")
    func refused() throws {
        let place = try Place()
        let id = place.order { $0.destination = .inPlace }
        place.server.expects(id, .refused)
        let order = place.server.state.withLock { $0.orders[id] }
        #expect(order?.message?.contains("does not allow") == true)
        #expect(order?.hint?.contains("in-place") == true)
        #expect(place.script.withLock { $0.plans } == 0)
    }

    @Test("consent that is taken away between the plan and the beginning counts")
    func withdrawn() throws {
        let place = try Place()
        let id = place.order()
        place.server.expects(id, .planned)
        try Data("restore: {new-folder: false}\n".utf8).write(to: URL(fileURLWithPath: "\(place.path)/allow.yaml"))
        try place.server.change(id) { try $0.confirm(seen: nil) }
        place.tell()
        place.server.expects(id, .refused)
        #expect(place.script.withLock { $0.runs } == 0)
    }

    @Test("somebody stops it: on the server, or on the machine")
    func stopped() throws {
        let place = try Place()
        place.script.update { $0.holds = true }
        let first = place.order(asks: false)
        place.server.expects(first, .running)
        try place.server.change(first) { try $0.stop(by: "bob", at: Timestamp(nanoseconds: SystemClock.wall)) }
        place.server.expects(first, .stopped)
        #expect(place.server.state.withLock { $0.orders[first]?.message } == "Stopped by bob.")
        let second = place.order(asks: false)
        place.server.expects(second, .running)
        #expect(try place.restores.refuse(second.hex) == 1)
        place.server.expects(second, .refused)
        #expect(throws: HoldfastError.self) { try place.restores.refuse(nil) }
    }

    @Test("a failure on the way is tried again, another is the end")
    func failures() throws {
        let place = try Place()
        place.script.update { script in
            script.failures = [
                HoldfastError(.io, "the connection broke", isTemporary: true), HoldfastError(.leaseLost, "gone"),
            ]
        }
        let first = place.order(asks: false)
        place.server.expects(first, .finished)
        #expect(place.script.withLock { $0.runs } == 3)
        #expect(place.server.state.withLock { $0.log }.contains("the connection broke It is tried again."))
        place.script.update { $0.failures = [HoldfastError(.noSpace, "the disk is full")] }
        let second = place.order(asks: false)
        place.server.expects(second, .failed)
        #expect(place.server.state.withLock { $0.orders[second]?.message } == "the disk is full")
    }

    @Test("an agent that ends in the middle goes on after its next start, also into the folder that it has made")
    func resumed() throws {
        let place = try Place()
        place.script.update { $0.holds = true }
        let id = place.order(asks: false)
        place.server.expects(id, .running)
        let made = "\(place.path)/new"
        let folder = place.kept.first.flatMap { name in
            try? String(contentsOfFile: "\(place.path)/state/restores/\(name)", encoding: .utf8)
        }
        #expect(folder?.contains("begun") == true)
        try place.restart()
        #expect(place.server.state.withLock { $0.orders[id]?.state } == .running, "an end of the agent is no end of it")
        let day = try #require(place.server.state.withLock { $0.orders[id] })
        let name = "\(TimeText.rfc3339(day.created).prefix(10))-\(day.shortID)"
        try FileManager.default.createDirectory(atPath: "\(made)/\(name)", withIntermediateDirectories: true)
        place.script.update { $0.holds = false }
        place.tell()
        place.server.expects(id, .finished)
        #expect(place.server.state.withLock { $0.log }.contains("The machine goes on with it."))
    }

    @Test("what came of it while the server was away is told when it is back, also by the next run of the agent")
    func lateResult() throws {
        let place = try Place()
        place.script.update { $0.holds = true }
        let id = place.order(asks: false)
        place.server.expects(id, .running)
        place.server.state.update { $0.isAway = true }
        place.script.update { $0.holds = false }
        let isKept = (0..<500).contains { _ in
            SystemClock.pause(milliseconds: 20)
            let text = place.kept.first.flatMap {
                try? String(contentsOfFile: "\(place.path)/state/restores/\($0)", encoding: .utf8)
            }
            return text?.contains("\"final\"") == true
        }
        #expect(isKept)
        try place.restart()
        place.server.state.update { $0.isAway = false }
        place.server.expects(id, .finished)
        #expect(place.script.withLock { $0.runs } == 1, "it is not done twice")
    }

    @Test("an order that has ended on the server ends here, whatever was under way")
    func ended() throws {
        let place = try Place()
        place.script.update { $0.holds = true }
        let id = place.order(asks: false)
        place.server.expects(id, .running)
        place.server.change(id) { $0.end(.expired, "too late", at: Timestamp(nanoseconds: SystemClock.wall)) }
        let stopped = place.script.waitUntil({ $0.stops > 0 }, nanoseconds: 20_000_000_000)
        #expect(stopped)
        place.tell()
        let isForgotten = (0..<500).contains { _ in
            SystemClock.pause(milliseconds: 20)
            return place.kept.isEmpty
        }
        #expect(isForgotten)
        #expect(place.server.state.withLock { $0.orders[id]?.state } == .expired)
    }

    @Test("a list that is older than what this machine has said changes nothing")
    func oldList() throws {
        let place = try Place()
        let id = place.order()
        let old = place.server.open
        place.server.expects(id, .planned)
        place.restores.update(old)
        SystemClock.pause(milliseconds: 200)
        #expect(place.script.withLock { $0.plans } == 1)
    }
}
