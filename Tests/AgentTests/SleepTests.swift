import Client
import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Agent

@Suite("A machine that sleeps")
struct SleepTests {
    private let second: Int64 = 1_000_000_000

    @Test("sleep is noticed once, and small differences of the clocks are none")
    func noticing() {
        let asleep = Mutex<Int64>(5)
        var clock = SleepClock { asleep.withLock { $0 } }
        #expect(clock.look() == nil)
        asleep.withLock { $0 += SleepClock.least / 2 }
        #expect(clock.look() == nil)
        asleep.withLock { $0 += 3600 * second }
        #expect(clock.look() == 3600 * second + SleepClock.least / 2)
        #expect(clock.look() == nil)
    }

    @Test("what waits while the machine sleeps does not get late by it")
    func notLate() {
        func at(_ seconds: Int64) -> Timestamp { Timestamp(nanoseconds: seconds * second) }
        var log = SleepLog()
        // Asleep from 100 to 200, and from 300 to 350.
        log.add(100 * second, woke: at(200))
        log.add(50 * second, woke: at(350))
        #expect(log.slept(from: at(0), to: at(400)) == 150 * second)
        #expect(log.slept(from: at(150), to: at(400)) == 100 * second)
        #expect(log.slept(from: at(210), to: at(290)) == 0)
        #expect(log.slept(from: at(360), to: at(400)) == 0)
        #expect(log.slept(from: at(0), to: at(320)) == 120 * second)
    }

    @Test("a report is sent at once after waking up, whatever failed before")
    func reports() {
        struct Away: Error {}
        let asleep = Mutex<Int64>(0)
        let attempts = Atomic<Int>(0)
        let isAway = Atomic<Bool>(true)
        let reporter = StatusReporter(
            .init(
                status: { AgentStatus() },
                send: { _, _ in
                    attempts.add(1, ordering: .relaxed)
                    if isAway.load(ordering: .relaxed) { throw Away() }
                    return ReportAnswer(interval: 60)
                }), glance: 5_000_000, asleep: { asleep.withLock { $0 } })
        reporter.start()
        while attempts.load(ordering: .relaxed) == 0 { usleep(2_000) }
        isAway.store(false, ordering: .relaxed)
        asleep.withLock { $0 += 600 * second }
        let end = SystemClock.monotonic + 5 * second
        while reporter.sent == 0, SystemClock.monotonic < end { usleep(2_000) }
        #expect(reporter.sent == 1 && reporter.failure == nil)
        reporter.stop()
    }

    @Test("what waits for the vault is sent at once after waking up", .enabled(if: canWatch))
    func sending() throws {
        guard let fixture = try AgentFixture() else { return }
        let asleep = Mutex<Int64>(0)
        let source: SleepClock.Source = { asleep.withLock { $0 } }
        let agent = try fixture.start(settle: 0.05) { configuration in
            configuration.asleep = source
            configuration.longestPause = 3600 * 1_000_000_000
        }
        fixture.service.isCut = true
        fixture.put("letter", "one")
        try fixture.waits { $0.spooled && $0.problem != nil }
        // After some failures the next attempt is far away.
        for _ in 0..<12 { _ = try? agent.captureNow(seconds: 5) }
        fixture.service.isCut = false
        usleep(300_000)
        let before = agent.status
        #expect(before.spooled)
        asleep.withLock { $0 += 7200 * second }
        try fixture.waits(seconds: 10) { !$0.spooled && $0.lag == 0 && $0.problem == nil }
        #expect(try fixture.newest("letter") == Array("one".utf8))
    }
}
