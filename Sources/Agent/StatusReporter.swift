import Capture
package import Client
package import Model
import Platform
import Synchronization
import Vault

/// When the next report is due: a pure state machine, told the time.
struct ReportSchedule {
    /// What makes a report due at once when it changes.
    struct Signs: Hashable {
        var hasProblem = false
        var keepsEverything = true
        var spoolIsFull = false
    }

    /// Changes of signs are told at most so often, in nanoseconds: a flapping problem must not become a flood.
    static let least: Int64 = 5_000_000_000
    static let firstPause: Int64 = 15_000_000_000
    static let longestPause: Int64 = 600_000_000_000

    private(set) var interval: Int64
    private var told: Signs?
    private var last: Int64 = .min
    private var due: Int64 = .min
    private var failures = 0

    init(seconds: Int = 60) { interval = Int64(seconds) * 1_000_000_000 }

    /// Whether a report is to be sent now.
    func isDue(_ signs: Signs, at now: Int64) -> Bool {
        if now >= due { return true }
        return failures == 0 && signs != told && now >= last + Self.least
    }

    /// A report was answered. The next comes after the interval, give or take a tenth: a thousand machines that were started
    /// together drift apart.
    mutating func sent(_ signs: Signs, seconds: Int, at now: Int64) {
        interval = Int64(seconds) * 1_000_000_000
        told = signs
        failures = 0
        last = now
        due = now + interval - interval / 10 + Int64.random(in: 0...interval / 5)
    }

    /// The machine slept: what was then says nothing about now.
    mutating func woke() {
        failures = 0
        due = .min
    }

    /// A report was not answered, or the server has too much to do.
    mutating func failed(at now: Int64) {
        let pause = min(Self.firstPause << min(Int64(failures), 8), Self.longestPause)
        failures += 1
        last = now
        due = now + pause / 2 + Int64.random(in: 0...pause / 2)
    }
}

/// Tells the server every minute how protection stands, and at once when a problem appears or ends.
///
/// It has a thread and a connection of its own and nothing that protection waits for: when the server does not answer, it
/// tries again later, and nobody else notices.
package final class StatusReporter: Sendable {
    /// What the reporter asks of others. All are called on its thread.
    package struct Sources: Sendable {
        package var status: @Sendable () -> AgentStatus
        /// Sends a report, and waits at most so many seconds.
        package var send: @Sendable (MachineReport, Int) throws -> ReportAnswer
        /// Changes the key that signs this machine's requests, and answers whether the one before is refused by now.
        package var changeKey: @Sendable () throws -> Bool
        /// Adds what else is known to a report.
        package var extend: @Sendable (inout MachineReport) -> Void
        /// Whether the whole machine ends, and not only the agent.
        package var isGoingDown: @Sendable () -> Bool = { false }

        package init(
            status: @escaping @Sendable () -> AgentStatus,
            send: @escaping @Sendable (MachineReport, Int) throws -> ReportAnswer,
            changeKey: @escaping @Sendable () throws -> Bool = { true },
            extend: @escaping @Sendable (inout MachineReport) -> Void = { _ in }
        ) {
            self.status = status
            self.send = send
            self.changeKey = changeKey
            self.extend = extend
        }
    }

    private struct State {
        var isStopping = false
        /// The last report's failure; `nil` when it was answered.
        var failure: String?
        var sent: UInt64 = 0
    }

    private let sources: Sources
    private let hostName: String
    private let program: String
    /// How often the status is looked at, in nanoseconds.
    private let glance: Int64
    private let asleep: SleepClock.Source
    private let state = Monitor(State())
    private let thread = Mutex<WorkerThread?>(nil)

    package init(
        _ sources: Sources, hostName: String = Machine.hostName, program: String, glance: Int64 = 2_000_000_000
    ) {
        self.sources = sources
        self.hostName = hostName
        self.program = program
        self.glance = glance
        asleep = SleepClock.system
    }

    /// For tests: as the other, on a machine that sleeps when they say so.
    init(_ sources: Sources, glance: Int64, asleep: @escaping SleepClock.Source) {
        self.sources = sources
        hostName = "test"
        program = "test"
        self.glance = glance
        self.asleep = asleep
    }

    /// Gives this machine another key for its requests, now; whether the one before is refused by now.
    package func changeKey() throws -> Bool { try sources.changeKey() }

    /// Begins to report. Without a thread nothing is reported, and protection goes on.
    package func start() {
        thread.withLock { thread in
            if thread == nil { thread = try? WorkerThread(name: "reporter") { [self] in run() } }
        }
    }

    /// Ends with a last report that says so, if the server takes it within three seconds.
    package func stop() {
        state.update { $0.isStopping = true }
        thread.withLock { thread in
            defer { thread = nil }
            return thread
        }?.join()
    }

    /// Why the last report was not answered; `nil` when it was.
    package var failure: String? { state.withLock { $0.failure } }
    /// Reports that were answered.
    package var sent: UInt64 { state.withLock { $0.sent } }

    private func run() {
        var schedule = ReportSchedule()
        var clock = SleepClock(asleep)
        let draft = Draft(hostName: hostName, program: program)
        while !state.waitUntil({ $0.isStopping }, nanoseconds: glance) {
            if clock.look() != nil { schedule.woke() }
            let status = sources.status()
            var report = draft.report(status)
            sources.extend(&report)
            let signs = report.signs
            guard schedule.isDue(signs, at: SystemClock.monotonic) else { continue }
            draft.number(&report)
            do {
                let begun = SystemClock.monotonic
                let answer = try sources.send(report, 20)
                draft.wasSent(roundTrip: SystemClock.monotonic - begun)
                schedule.sent(signs, seconds: answer.interval, at: SystemClock.monotonic)
                state.update { state in
                    state.failure = nil
                    state.sent += 1
                }
                if answer.changesKey { _ = try sources.changeKey() }
            } catch {
                schedule.failed(at: SystemClock.monotonic)
                state.update { $0.failure = (error as? HoldfastError)?.message ?? "\(error)" }
            }
        }
        if state.withLock({ $0.failure }) != nil { return }
        var last = draft.report(sources.status())
        sources.extend(&last)
        // A machine that goes down is not missed at once; an agent that ends while its machine goes on is.
        last.activity = sources.isGoingDown() ? .asleep : .stopped
        draft.number(&last)
        _ = try? sources.send(last, 3)
    }

    /// What is the same in all reports of a run, and what is counted from one to the next.
    private final class Draft {
        private let hostName: String
        private let program: String
        private let kernel = Machine.kernelRelease
        private let run = RequestNonce.random()
        private let boot = Machine.bootID.flatMap { RequestNonce($0) }
        private var sequence: UInt64 = 0
        private var roundTrip: Int64?
        private var asleep = SystemClock.sinceBoot - SystemClock.monotonic

        init(hostName: String, program: String) {
            self.hostName = hostName
            self.program = program
        }

        func report(_ status: AgentStatus) -> MachineReport {
            var report = MachineReport(
                activity: MachineReport.Activity(rawValue: status.activity.rawValue) ?? .idle,
                time: Timestamp(nanoseconds: SystemClock.wall), run: run, sequence: sequence, boot: boot,
                hostName: hostName, program: program, kernel: kernel)
            report.lag = status.lag
            report.waiting = UInt64(max(status.waiting, 0))
            report.watches = status.fileSystems.map { system in
                var reason: String?
                if case .scan(let text) = system.mode { reason = text }
                return MachineReport.Watch(
                    mountPoint: system.mountPoint.displayText, kind: system.type, scanReason: reason,
                    overflows: UInt64(max(system.overflows, 0)))
            }
            if let point = status.lastPoint, let time = status.lastTime {
                report.newest = MachineReport.Newest(point: point.point, number: point.number, time: time)
            }
            report.files = status.statistics?.files ?? 0
            report.bytes = status.statistics?.bytes ?? 0
            report.problem = status.problem
            for warning in status.notKept { report.notKept[warning.reason.rawValue, default: 0] += 1 }
            report.notKeptCount = status.notKeptCount
            report.spool = MachineReport.Spool(
                bytes: status.spoolBytes, limit: status.spoolLimit, isFull: status.isSpoolFull)
            report.roundTrip = roundTrip
            report.slept = max(SystemClock.sinceBoot - SystemClock.monotonic - asleep, 0)
            return report
        }

        func number(_ report: inout MachineReport) {
            sequence += 1
            report.sequence = sequence
        }

        func wasSent(roundTrip: Int64) {
            self.roundTrip = roundTrip
            asleep = SystemClock.sinceBoot - SystemClock.monotonic
        }
    }
}

extension MachineReport {
    var signs: ReportSchedule.Signs {
        ReportSchedule.Signs(
            hasProblem: problem != nil, keepsEverything: notKeptCount == 0, spoolIsFull: spool?.isFull ?? false)
    }
}

extension StatusReporter.Sources {
    /// Reports to a server through a connection that tries once: the reporter itself comes again.
    package static func server(
        _ connection: ServerConnection, machine: MachineID, status: @escaping @Sendable () -> AgentStatus,
        changeKey: @escaping @Sendable () throws -> Bool = { true }
    ) -> StatusReporter.Sources {
        StatusReporter.Sources(
            status: status,
            send: { report, seconds in
                let body = try connection.request(
                    "POST", "/api/v1/machines/\(machine.hex)/status", body: report.encoded(), seconds: seconds)
                return try ReportAnswer.decode(body)
            }, changeKey: changeKey)
    }
}
