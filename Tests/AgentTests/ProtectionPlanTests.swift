import Capture
import Foundation
import Model
import Policy
import TestSupport
import Testing

@testable import Agent

@Suite("What a policy means on a machine")
struct ProtectionPlanTests {
    static func policy(_ text: String) throws -> EffectivePolicy {
        let zones = ZoneSource(load: { $0 == "UTC" ? .utc : nil })
        let policy = try PolicyFile(zones: zones).parse(Array(("name: test\n" + text).utf8), file: "test")
        return PolicySet(machine: policy).effective
    }

    static func plan(
        _ text: String, there: @escaping (String) -> Bool = { _ in true }
    ) throws -> ProtectionPlan {
        ProtectionPlan(try policy(text), local: .utc, zones: ZoneSource(load: { _ in nil })) { path in
            there(String(decoding: path, as: UTF8.self)) ? path : nil
        }
    }

    private static func excludes(_ part: ProtectionPlan.Part?, _ path: String) -> Bool {
        guard let part, let tree = TreePath(path) else { return false }
        let name = tree.bytes.count - tree.name.count
        return ExclusionRules(part.patterns).excludes(
            tree.bytes.withUnsafeBytes { UnsafeRawBufferPointer(rebasing: $0[...]) }, nameOffset: name,
            isDirectory: true)
    }

    @Test("the nearest protected path decides the mode, and what is another mode's is left out of this one")
    func modes() throws {
        let plan = try Self.plan(
            "protect: [{path: /, mode: scheduled}, /home, '/srv/a [b]*', {path: /srv/x, mode: scheduled}]")
        #expect(plan.scheduled?.roots.map(\.displayText) == ["/", "/srv/x"])
        #expect(plan.continuous?.roots.map(\.displayText) == ["/home", "/srv/a [b]*"])
        #expect(Self.excludes(plan.scheduled, "/home"))
        #expect(Self.excludes(plan.scheduled, "/srv/a [b]*"))
        #expect(!Self.excludes(plan.scheduled, "/srv/a b-other"))
        #expect(!Self.excludes(plan.scheduled, "/srv"))
        #expect(!Self.excludes(plan.scheduled, "/var/home"))
        #expect(!Self.excludes(plan.continuous, "/home"))
        // A scheduled path inside a continuous one inside a scheduled one: twice is better than not at all.
        let nested = try Self.plan("protect: [{path: /, mode: scheduled}, /home, {path: /home/vm, mode: scheduled}]")
        #expect(!Self.excludes(nested.scheduled, "/home"))
        #expect(Self.excludes(nested.continuous, "/home/vm"))
    }

    @Test("paths that are not there are named and come in when they are; presets and patterns are taken over")
    func missing() throws {
        let text = "protect: [/home, /srv]\nexclude: [preset: temporary, '*.iso']\nsettle: 2s"
        let plan = try Self.plan(text) { $0 != "/srv" }
        #expect(plan.missing.map(\.displayText) == ["/srv"])
        #expect(plan.continuous?.roots.map(\.displayText) == ["/home"])
        #expect(Self.excludes(plan.continuous, "/home/ann/x.iso"))
        #expect(plan.durations.afterClose == 2_000_000_000 && plan.durations.deletion == 4_000_000_000)
        #expect(plan.scheduled == nil)
        let later = try Self.plan(text)
        #expect(later.missing.isEmpty && later.continuousSetting != plan.continuousSetting)
        let none = try Self.plan("protect: [/srv]") { _ in false }
        #expect(none.continuous == nil && none.missing.count == 1)
    }
}

@Suite("When scheduled backups run")
struct ScheduleStateTests {
    private static let hour: Int64 = 3_600_000_000_000
    /// 2026-11-16 00:00 UTC, a Monday.
    private static let monday = Timestamp(seconds: 1_794_787_200)
    private static let paths = [TreePath(unchecked: Array("srv".utf8))]

    private static func at(_ hours: Double) -> Timestamp { monday.advanced(by: Int64(hours * Double(hour))) }
    private static func schedule(_ text: String) throws -> Schedule {
        try ProtectionPlanTests.policy("schedule: \"\(text)\"").schedule.value
    }

    @Test("the first run is at once; the next at its time; one that the machine was awake for is not put off")
    func onTime() throws {
        let daily = try Self.schedule("daily 02:00")
        var state = ScheduleState()
        let first = state.next(daily, Self.paths, in: .utc, now: Self.at(10), back: Self.at(0), machine: [1])
        #expect(first == .init(run: Self.at(10), start: Self.at(10), isCatchUp: true))
        state.done(Self.at(10), Self.paths, at: Self.at(11))
        let next = state.next(daily, Self.paths, in: .utc, now: Self.at(11), back: Self.at(0), machine: [1])
        #expect(next == .init(run: Self.at(26), start: Self.at(26), isCatchUp: false))
        let due = state.next(daily, Self.paths, in: .utc, now: Self.at(26.01), back: Self.at(0), machine: [1])
        #expect(due == .init(run: Self.at(26), start: Self.at(26), isCatchUp: false))
        // Other paths were never stored.
        let others = [TreePath(unchecked: Array("etc".utf8))]
        #expect(
            state.next(daily, others, in: .utc, now: Self.at(11), back: Self.at(0), machine: [1])?.start == Self.at(11))
    }

    @Test("runs missed while the machine was off are made up by one, within a quarter of an hour, spread out")
    func catchUp() throws {
        let daily = try Self.schedule("daily 02:00")
        var state = ScheduleState()
        state.done(Self.at(2), Self.paths, at: Self.at(3))
        let back = Self.at(24 * 5 + 9)
        var starts: Set<Int64> = []
        for machine in 0..<100 {
            let next = try #require(
                state.next(daily, Self.paths, in: .utc, now: back, back: back, machine: [UInt8(machine)]))
            #expect(next.run == Self.at(24 * 5 + 2) && next.isCatchUp)
            let wait = next.start.since(back)
            #expect(wait >= 0 && wait <= 900_000_000_000)
            starts.insert(wait / 90_000_000_000)
            // Looking again later changes nothing.
            let again = state.next(
                daily, Self.paths, in: .utc, now: next.start, back: back, machine: [UInt8(machine)])
            #expect(again == next)
        }
        #expect(starts.count >= 8, "spread over the quarter of an hour: \(starts.sorted())")
        state.done(Self.at(24 * 5 + 2), Self.paths, at: back)
        #expect(
            state.next(daily, Self.paths, in: .utc, now: back, back: back, machine: [1])?.start
                == Self.at(24 * 6 + 2))
    }

    @Test("a run that fails is tried again ever more seldom, and a clock that was ahead holds up nothing")
    func failures() throws {
        let daily = try Self.schedule("daily 02:00")
        var state = ScheduleState()
        state.done(Self.at(2), Self.paths, at: Self.at(2))
        var waits: [Int64] = []
        var now = Self.at(26)
        for _ in 0..<9 {
            state.failed("no link", at: now)
            let next = try #require(state.next(daily, Self.paths, in: .utc, now: now, back: Self.at(0), machine: [1]))
            waits.append(next.start.since(now) / 60_000_000_000)
            now = next.start
        }
        #expect(waits == [1, 2, 4, 8, 16, 30, 30, 30, 30])
        // The last failure was seen by a clock that is right again since.
        state.failed("no link", at: Self.at(24 * 3_650))
        #expect(
            state.next(daily, Self.paths, in: .utc, now: now, back: Self.at(0), machine: [1])?.start == Self.at(26))
        state.failures = 9
        state.failed = now
        #expect(state.problem == "no link")
        state.done(Self.at(26), Self.paths, at: now)
        #expect(state.problem == nil)
        state.done(Self.at(24 * 365), Self.paths, at: now)
        #expect(
            state.next(daily, Self.paths, in: .utc, now: Self.at(30), back: Self.at(0), machine: [1])?.start
                == Self.at(50))
    }

    @Test("what is remembered reads back, and what cannot be read is nothing")
    func coding() {
        var state = ScheduleState()
        state.done(Self.at(2), Self.paths, at: Self.at(3))
        #expect(ScheduleState.decode(state.encoded()) == state)
        #expect(ScheduleState.decode(Array("{".utf8)) == ScheduleState())
        #expect(ScheduleState.decode([]) == ScheduleState())
    }
}
