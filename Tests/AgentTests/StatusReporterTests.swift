import Client
import Model
import Platform
import Synchronization
import Testing
import Vault

@testable import Agent

@Suite("Reports to the server")
struct StatusReporterTests {
    @Test("a report is due each minute, give or take, at once when a problem comes or goes, and later after failures")
    func schedule() {
        let second: Int64 = 1_000_000_000
        var schedule = ReportSchedule()
        var signs = ReportSchedule.Signs()
        #expect(schedule.isDue(signs, at: 0))
        schedule.sent(signs, seconds: 60, at: 0)
        #expect(!schedule.isDue(signs, at: 50 * second) && schedule.isDue(signs, at: 67 * second))
        signs.hasProblem = true
        #expect(!schedule.isDue(signs, at: second), "a flapping problem is no flood")
        #expect(schedule.isDue(signs, at: 6 * second))
        schedule.sent(signs, seconds: 600, at: 6 * second)
        #expect(!schedule.isDue(signs, at: 300 * second), "the server says how often")
        var now = 6 * second
        var pauses: [Int64] = []
        for _ in 0..<12 {
            schedule.failed(at: now)
            signs.hasProblem.toggle()
            let before = now
            while !schedule.isDue(signs, at: now) { now += second }
            pauses.append((now - before) / second)
        }
        #expect(pauses[0] >= 7 && pauses[0] <= 16)
        #expect(pauses.suffix(4).allSatisfy { $0 >= 300 && $0 <= 601 }, "\(pauses)")
        schedule.sent(signs, seconds: 60, at: now)
        #expect(!schedule.isDue(signs, at: now + 50 * second))
    }

    @Test(
        "a problem is told soon after it appears and after it ends; the last word is that the agent ends, or the machine",
        arguments: [false, true])
    func reporting(isGoingDown: Bool) throws {
        let status = Mutex(AgentStatus())
        let told = Monitor<[MachineReport]>([])
        var sources = StatusReporter.Sources(
            status: { status.withLock { $0 } },
            send: { report, _ in
                told.update { $0.append(report) }
                return ReportAnswer(interval: 1)
            })
        sources.isGoingDown = { isGoingDown }
        let reporter = StatusReporter(sources, hostName: "host", program: "test", glance: 5_000_000)
        reporter.start()
        #expect(told.waitUntil({ !$0.isEmpty }, nanoseconds: 10_000_000_000))
        status.withLock { $0.problem = "away" }
        #expect(told.waitUntil({ $0.last?.problem == "away" }, nanoseconds: 20_000_000_000))
        status.withLock { $0.problem = nil }
        #expect(told.waitUntil({ $0.last?.problem == nil }, nanoseconds: 20_000_000_000))
        reporter.stop()
        let all = told.withLock { $0 }
        #expect(all.last?.activity == (isGoingDown ? .asleep : .stopped))
        #expect(all.map(\.sequence) == Array(1...UInt64(all.count)) && Set(all.map(\.run)).count == 1)
    }

    @Test("a server that does not answer keeps the end waiting no longer than its answer takes, and nobody else")
    func failing() {
        struct Away: Error {}
        let attempts = Atomic<Int>(0)
        let reporter = StatusReporter(
            .init(
                status: { AgentStatus() },
                send: { _, _ in
                    attempts.add(1, ordering: .relaxed)
                    throw Away()
                }), hostName: "host", program: "test", glance: 5_000_000)
        reporter.start()
        while attempts.load(ordering: .relaxed) == 0 { SystemClock.pause(milliseconds: 5) }
        let begun = SystemClock.monotonic
        reporter.stop()
        #expect(SystemClock.monotonic - begun < 2_000_000_000)
        #expect(attempts.load(ordering: .relaxed) == 1, "no last word to who does not listen")
        #expect(reporter.failure != nil && reporter.sent == 0)
    }
}
