import Client
import Foundation
import Model
import Platform
import Policy
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Agent

/// An agent that only says what was done with it.
private final class FakeAgent: ContinuousProtection {
    let part: ProtectionPlan.Part
    let events: EventLog
    private let failsToStart: Bool

    init(_ part: ProtectionPlan.Part, _ events: EventLog, failsToStart: Bool) {
        self.part = part
        self.events = events
        self.failsToStart = failsToStart
    }

    private var name: String { part.roots.map(\.displayText).joined(separator: " ") }
    func start() throws {
        events.add("start \(name)")
        if failsToStart { throw HoldfastError(.io, "it does not start") }
    }
    func captureNow(seconds: Int) throws -> CommittedPoint? {
        events.add("capture \(name)")
        return nil
    }
    func stop(seconds: Int) -> Bool {
        events.add("stop \(name)")
        return true
    }
    var status: AgentStatus {
        var status = AgentStatus()
        status.roots = part.roots
        return status
    }
}

private final class FakeRun: ScheduledRun {
    let part: ProtectionPlan.Part
    let events: EventLog
    let error: HoldfastError?

    init(_ part: ProtectionPlan.Part, _ events: EventLog, _ error: HoldfastError?) {
        self.part = part
        self.events = events
        self.error = error
    }
    func run() throws {
        events.add("run \(part.roots.map(\.displayText).joined(separator: " "))")
        if let error { throw error }
    }
    func cancel() {}
}

private final class EventLog: Sendable {
    private let state = Monitor<[String]>([])
    func add(_ event: String) { state.update { $0.append(event) } }
    var all: [String] { state.withLock { $0 } }
    /// Waits until all of these have come, in this order, whatever lies between.
    func expects(_ events: String...) -> Bool {
        state.waitUntil(
            { all in
                var rest = events[...]
                for event in all where event == rest.first { rest = rest.dropFirst() }
                return rest.isEmpty
            }, nanoseconds: 20_000_000_000)
    }
}

/// A server that says what it is told to.
private final class FakeOrders: OrderSource {
    struct State {
        var document: PolicyDocument
        var commands: [MachineOrders.Command] = []
        var cutsLong = false
        var isAway = false
        var asked: [Int] = []
    }
    let state: Monitor<State>
    let key: SigningKey

    init(_ document: PolicyDocument, key: SigningKey) {
        state = Monitor(State(document: document))
        self.key = key
    }

    func policy(zone: String) throws -> SignedPolicy {
        try state.withLock { try SignedPolicy($0.document, signing: key) }
    }

    func orders(policy: Bytes32?, done: [RequestNonce], restores: String?, wait: Int) throws -> MachineOrders {
        let (isAway, cuts) = state.update { state in
            state.asked.append(wait)
            state.commands.removeAll { done.contains($0.id) }
            return (state.isAway, state.cutsLong)
        }
        let unreachable = HoldfastError(.unreachable, "the server is away", isTemporary: true)
        if isAway { throw unreachable }
        if cuts, wait > 0 {
            SystemClock.pause(milliseconds: 1_100)
            throw unreachable
        }
        _ = state.waitUntil(
            { $0.document.revision != policy || !$0.commands.isEmpty || $0.isAway },
            nanoseconds: Int64(wait) * 1_000_000_000)
        return state.withLock { MachineOrders(policy: $0.document.revision, commands: $0.commands) }
    }
}

@Suite("Following a policy", .serialized)
struct PolicyFollowingTests {
    private final class Place {
        let directory = NSTemporaryDirectory() + "holdfast-policy-\(UUID().uuidString)"
        let state: StateDirectory
        let events = EventLog()
        let machine = MachineID.random()
        let supervisor: ProtectionSupervisor
        let server = ServerID.random()
        let key = SigningKey.random()

        init() throws {
            state = try StateDirectory(path: Array(directory.utf8))
            let (events, there, failures) = (events, there, failing)
            supervisor = ProtectionSupervisor(
                state, vault: .random(), machine: machine,
                means: ProtectionSupervisor.Means(
                    makeAgent: { _, part in
                        FakeAgent(part, events, failsToStart: failures.takes(part.roots.first?.displayText ?? ""))
                    },
                    makeRun: { part, _ in
                        FakeRun(
                            part, events,
                            failures.takes("run") ? HoldfastError(.io, "the vault is away") : nil)
                    }, resolve: { there.has(String(decoding: $0, as: UTF8.self)) ? $0 : nil }, local: { .utc },
                    zones: ZoneSource(load: { _ in nil })))
            try supervisor.start()
        }

        final class Shared: Sendable {
            private let set: Mutex<Set<String>>
            init(_ set: Set<String>) { self.set = Mutex(set) }
            func has(_ text: String) -> Bool { set.withLock { $0.contains(text) } }
            func takes(_ text: String) -> Bool { set.withLock { $0.remove(text) != nil } }
            func add(_ text: String) { set.withLock { _ = $0.insert(text) } }
        }
        /// Paths that are on the machine.
        let there = Shared(["/a", "/b", "/s"])
        /// What does not work the next time.
        let failing = Shared([])

        func apply(_ text: String) throws {
            supervisor.apply(try ProtectionPlanTests.policy(text), from: "a test")
            #expect(supervisor.settle(nanoseconds: 10_000_000_000))
        }

        func close() {
            supervisor.stop(seconds: 1)
            try? FileManager.default.removeItem(atPath: directory)
        }

        func document(_ text: String) -> PolicyDocument {
            PolicyDocument(machine: machine, own: .init(name: "own", text: "name: own\n" + text))
        }

        func follower(_ source: FakeOrders, _ change: (inout PolicyFollower.Pace) -> Void = { _ in }) -> PolicyFollower
        {
            var pace = PolicyFollower.Pace()
            pace.wait = 5
            pace.longestPause = 50_000_000
            change(&pace)
            let (supervisor, events) = (supervisor, events)
            return PolicyFollower(
                source, kept: KeptPolicy(state, server: server, key: key.verifyingKey, machine: machine), pace: pace,
                zone: { "UTC" },
                apply: { document in
                    let zones = ZoneSource(load: { _ in nil })
                    supervisor.apply(try document.policySet(zones).effective, from: "the server")
                },
                command: { order in
                    events.add("command \(order.kind)")
                    supervisor.backUpNow()
                })
        }
    }

    @Test("an agent is replaced when its paths or its times change, and left alone when only something else does")
    func replaced() throws {
        let place = try Place()
        defer { place.close() }
        try place.apply("protect: [/a]")
        #expect(place.events.all == ["start /a"])
        try place.apply("protect: [/a]\nexpected: every 3h\nlockdown: [pause]")
        #expect(place.events.all == ["start /a"], "nothing of that is the agent's")
        try place.apply("protect: [/a, /b]")
        #expect(place.events.all == ["start /a", "stop /a", "start /a /b"])
        try place.apply("protect: [/a, /b]\nsettle: 3s")
        #expect(place.events.all.suffix(2) == ["stop /a /b", "start /a /b"])
        try place.apply("protect: [{path: /s, mode: scheduled}]")
        #expect(place.events.expects("stop /a /b", "run /s"))
        #expect(place.supervisor.status.roots.isEmpty)
        try place.apply("protect: []")
        #expect(place.events.all.count { $0 == "run /s" } == 1)
    }

    @Test("a policy that the machine's user may not pause is not paused; another is, and goes on by itself")
    func pausing() throws {
        let place = try Place()
        defer { place.close() }
        try place.apply("protect: [/a]\nlockdown: [pause]")
        do {
            try place.supervisor.pause(nanoseconds: nil)
            Issue.record("it was paused")
        } catch let error as HoldfastError {
            #expect(error.code == .forbidden)
        }
        try place.apply("protect: [/a]")
        try place.supervisor.pause(nanoseconds: nil)
        #expect(place.events.expects("start /a", "stop /a"))
        #expect(throws: HoldfastError.self) { try place.supervisor.captureNow(seconds: 1) }
        place.supervisor.resume()
        #expect(place.events.expects("start /a", "stop /a", "start /a"))
    }

    @Test("back up now captures what is continuous and runs what has a schedule")
    func backUpNow() throws {
        let place = try Place()
        defer { place.close() }
        try place.apply("protect: [/a, {path: /s, mode: scheduled}]")
        #expect(place.events.expects("run /s"))
        place.supervisor.backUpNow()
        #expect(place.events.expects("run /s", "run /s"))
        #expect(place.events.expects("capture /a"))
    }

    @Test("what fails is said, and the schedule remembers across starts that it ran")
    func schedule() throws {
        let place = try Place()
        defer { place.close() }
        place.failing.add("run")
        try place.apply("protect: [{path: /s, mode: scheduled}]")
        #expect(place.events.expects("run /s"))
        var problem: String?
        for _ in 0..<400 where problem == nil {
            SystemClock.pause(milliseconds: 10)
            if case .object(let row) = place.supervisor.fields["schedule"], case .string(let text) = row["problem"] {
                problem = text
            }
        }
        #expect(problem == "the vault is away")
        place.supervisor.backUpNow()
        #expect(place.events.expects("run /s", "run /s"))
    }

    @Test("whatever keeps a policy from being true is the problem that the server is told of")
    func reported() throws {
        let place = try Place()
        defer { place.close() }
        func waits(_ text: String?) -> Bool {
            for _ in 0..<400 {
                let problem = place.supervisor.reported.problem
                if let text, let problem, problem.contains(text) { return true }
                if text == nil, problem == nil { return true }
                SystemClock.pause(milliseconds: 10)
            }
            return false
        }
        #expect(waits("no policy yet"))
        try place.apply("protect: []")
        #expect(waits("names no path"))
        try place.apply("protect: [/gone]")
        #expect(waits("/gone"))
        try place.apply("protect: [/a]")
        #expect(waits(nil))
        place.supervisor.refuse("x:3:1: no such key")
        #expect(waits("x:3:1"))
        place.failing.add("/b")
        try place.apply("protect: [/b]")
        #expect(waits("it does not start"))
        place.failing.add("run")
        try place.apply("protect: [{path: /s, mode: scheduled}]")
        #expect(waits("the vault is away"))
        place.supervisor.backUpNow()
        #expect(waits(nil))
        try place.supervisor.pause(nanoseconds: 3_600_000_000_000)
        #expect(waits(nil), "an hour is the user's own affair")
        try place.supervisor.pause(nanoseconds: nil)
        #expect(waits("paused"))
        place.supervisor.resume()
        #expect(waits(nil))
    }

    @Test("what has a schedule is backed up on the events of the policy too, once for each, also when that fails first")
    func events() throws {
        let directory = NSTemporaryDirectory() + "holdfast-events-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        let log = EventLog()
        let boot = Mutex<[UInt8]>([1])
        let state = try StateDirectory(path: Array(directory.utf8))
        let labels = Mutex<[[String]]>([])
        let policy = try ProtectionPlanTests.policy(
            "protect: [{path: /s, mode: scheduled}]\nschedule: monthly 1 04:00\ncheckpoint: {on: [boot]}")
        let plan = ProtectionPlan(policy, local: .utc, zones: ZoneSource(load: { _ in nil })) { $0 }
        func run(_ failure: HoldfastError? = nil) throws {
            let runner = ScheduleRunner(
                state, vault: .random(), machine: .random(), wall: { Timestamp(nanoseconds: SystemClock.wall) },
                triggers: { events in
                    CheckpointTriggers(events, directory: Array(directory.utf8), files: []) { boot.withLock { $0 } }
                }
            ) { part, given in
                labels.withLock { $0.append(given) }
                return FakeRun(part, log, failure)
            }
            try runner.start()
            runner.apply(plan)
            let before = labels.withLock { $0.count }
            for _ in 0..<300 where labels.withLock({ $0.count }) < before + 2 { SystemClock.pause(milliseconds: 10) }
            runner.stop()
        }
        try run(HoldfastError(.io, "the vault is away"))
        #expect(labels.withLock { $0.count { $0 == ["boot"] } } == 1, "and not over and over")
        try run()
        #expect(labels.withLock { $0.count { $0 == ["boot"] } } == 2)
        try run()
        #expect(labels.withLock { $0.count { $0 == ["boot"] } } == 2, "it is noted that it was done")
        boot.withLock { $0 = [2] }
        try run()
        #expect(labels.withLock { $0.count { $0 == ["boot"] } } == 3)
    }

    @Test("what fails on an event puts off no scheduled backup, and is told all the same")
    func failingEvents() throws {
        let directory = NSTemporaryDirectory() + "holdfast-events-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        let log = EventLog()
        let state = try StateDirectory(path: Array(directory.utf8))
        let policy = try ProtectionPlanTests.policy(
            "protect: [{path: /s, mode: scheduled}]\nschedule: monthly 1 04:00\ncheckpoint: {on: [boot]}")
        let plan = ProtectionPlan(policy, local: .utc, zones: ZoneSource(load: { _ in nil })) { $0 }
        let runner = ScheduleRunner(
            state, vault: .random(), machine: .random(), wall: { Timestamp(nanoseconds: SystemClock.wall) },
            triggers: { CheckpointTriggers($0, directory: Array(directory.utf8), files: []) { [1] } }
        ) { part, labels in FakeRun(part, log, labels.isEmpty ? nil : HoldfastError(.io, "the vault is away")) }
        try runner.start()
        defer { runner.stop() }
        runner.apply(plan)
        for _ in 0..<1_000 where runner.status.memory.problem == nil { SystemClock.pause(milliseconds: 10) }
        let memory = runner.status.memory
        #expect(memory.problem == "the vault is away")
        #expect(memory.failures == 0 && memory.failed == nil)
        #expect(memory.handled != nil, "what the schedule has done is not forgotten")
    }

    @Test("a clock that was years ahead when the agent began puts off no scheduled backup")
    func clockAhead() throws {
        let ahead = Mutex<Int64>(10 * 365 * 86_400_000_000_000)
        let directory = NSTemporaryDirectory() + "holdfast-clock-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let events = EventLog()
        // Wednesday, two seconds before its time.
        let begun = SystemClock.monotonic
        let start: Int64 = 1_794_960_000_000_000_000 + 7_198_000_000_000
        let wall: @Sendable () -> Timestamp = {
            Timestamp(nanoseconds: start + SystemClock.monotonic - begun + ahead.withLock { $0 })
        }
        let state = try StateDirectory(path: Array(directory.utf8))
        let runner = ScheduleRunner(state, vault: .random(), machine: .random(), wall: wall) { part, _ in
            FakeRun(part, events, nil)
        }
        ahead.withLock { $0 = 0 }
        let policy = try ProtectionPlanTests.policy("protect: [{path: /s, mode: scheduled}]\nschedule: daily 02:00")
        let plan = ProtectionPlan(policy, local: .utc, zones: ZoneSource(load: { _ in nil })) { $0 }
        try runner.start()
        defer { runner.stop() }
        runner.apply(plan)
        #expect(events.expects("run /s"), "never stored: at once")
        #expect(events.expects("run /s", "run /s"), "and at its time")
    }

    @Test(
        "a new policy is heard of, kept, and holds after a start without the server; one that cannot be read changes nothing"
    )
    func following() throws {
        let place = try Place()
        defer { place.close() }
        let source = FakeOrders(place.document("protect: [/a]\n"), key: place.key)
        let follower = place.follower(source)
        try follower.start()
        #expect(place.events.expects("start /a"))
        source.state.update { $0.document = place.document("protect: [/b]\n") }
        #expect(place.events.expects("start /a", "stop /a", "start /b"))
        source.state.update { $0.document = place.document("protect: [nonsense\n") }
        source.state.update { $0.commands = [.init(id: .random(), kind: MachineOrders.backUpNow, owner: "ann")] }
        #expect(place.events.expects("command back-up-now"))
        #expect(
            source.state.waitUntil({ $0.commands.isEmpty }, nanoseconds: 10_000_000_000), "what was done is said so")
        #expect(place.events.all.count { $0 == "command back-up-now" } == 1)
        follower.stop()
        let kept = KeptPolicy(place.state, server: place.server, key: place.key.verifyingKey, machine: place.machine)
        #expect(kept.load() == place.document("protect: [/b]\n"))
        let foreign = KeptPolicy(
            place.state, server: place.server, key: SigningKey.random().verifyingKey, machine: place.machine)
        #expect(foreign.load() == nil, "what the server has not signed is not believed")

        // Another start, and no server.
        source.state.update { $0.isAway = true }
        try place.apply("protect: []")
        let again = place.follower(source)
        try again.start()
        #expect(place.events.expects("start /b", "stop /b", "start /b"))
        for _ in 0..<200 where again.problem == nil { SystemClock.pause(milliseconds: 10) }
        #expect(again.problem == "the server is away")
        // And it comes back.
        source.state.update { state in
            state.isAway = false
            state.document = place.document("protect: [/a]\n")
        }
        #expect(place.events.expects("start /b", "stop /b", "start /b", "stop /b", "start /a"))
        again.stop()
    }

    @Test("where long questions are cut off, short ones take over, and changes are heard of all the same")
    func cutOff() throws {
        let place = try Place()
        defer { place.close() }
        let source = FakeOrders(place.document("protect: [/a]\n"), key: place.key)
        source.state.update { $0.cutsLong = true }
        let follower = place.follower(source) { pace in
            pace.plain = 50_000_000
        }
        try follower.start()
        #expect(source.state.waitUntil({ $0.asked.count > 20 }, nanoseconds: 30_000_000_000))
        #expect(source.state.withLock { $0.asked.suffix(10).allSatisfy { $0 == 0 } })
        source.state.update { $0.document = place.document("protect: [/b]\n") }
        #expect(place.events.expects("start /b"))
        follower.stop()
    }
}
