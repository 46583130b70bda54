package import Capture
import Model
import Platform
import Policy
import Synchronization
import Vault

/// Runs scheduled backups while the agent runs: at their times, once for all that were missed while the machine was off, and on
/// the events on which checkpoints are wanted.
final class ScheduleRunner: Sendable {
    private struct State {
        var plan: ProtectionPlan?
        var memory: ScheduleState
        /// When the machine was switched on or woke up.
        var back: Timestamp
        var isWanted = false
        var isStopping = false
        var running: (any ScheduledRun)?
        var next: ScheduleState.Next?
        var isPaused = false
        /// Not before then it is looked for events again.
        var eventsFrom = Int64.min
    }

    private static let folder = "schedule"
    /// The clock is looked at so often, in nanoseconds: it may be put forward, and machines sleep.
    private static let look: Int64 = 30_000_000_000
    /// Between two runs on events, in nanoseconds.
    private static let eventPause: Int64 = 300_000_000_000

    private let directory: StateDirectory
    private let document: String
    private let machine: [UInt8]
    private let make: @Sendable (ProtectionPlan.Part, _ labels: [String]) throws -> any ScheduledRun
    private let triggers: @Sendable (Set<CheckpointEvent>) -> CheckpointTriggers?
    private let wall: @Sendable () -> Timestamp
    private let state: Monitor<State>
    private let thread = Mutex<WorkerThread?>(nil)

    /// - Parameters:
    ///   - make: makes the work of one run, whose point gets the labels; called for each.
    ///   - triggers: what notices events; by default it notes them in the state directory, beside those of continuous protection.
    init(
        _ directory: StateDirectory, vault: VaultID, machine: MachineID, wall: @escaping @Sendable () -> Timestamp,
        triggers: (@Sendable (Set<CheckpointEvent>) -> CheckpointTriggers?)? = nil,
        make: @escaping @Sendable (ProtectionPlan.Part, _ labels: [String]) throws -> any ScheduledRun
    ) {
        self.directory = directory
        self.machine = machine.array
        self.make = make
        self.wall = wall
        self.triggers =
            triggers ?? { events in
                (try? directory.cacheDirectory(of: vault)).map { CheckpointTriggers(events, directory: $0) }
            }
        document = "\(vault.hex).json"
        let kept = (try? directory.document("\(vault.hex).json", in: ScheduleRunner.folder)) ?? nil
        state = Monitor(State(memory: kept.map { ScheduleState.decode($0) } ?? ScheduleState(), back: wall()))
    }

    func start() throws {
        do throws(Errno) {
            let worker = try WorkerThread(name: "schedule", stack: 16 << 20) { [self] in run() }
            thread.withLock { $0 = worker }
        } catch {
            throw HoldfastError(.io, "scheduled backups cannot begin: \(error)", cause: error)
        }
    }

    /// What holds from now on. A run that is under way for other paths is ended.
    func apply(_ plan: ProtectionPlan) {
        let obsolete = state.update { state -> (any ScheduledRun)? in
            defer { state.plan = plan }
            return state.plan?.scheduled == plan.scheduled ? nil : state.running
        }
        obsolete?.cancel()
    }

    /// Runs now, whatever the schedule says.
    func runNow() { state.update { $0.isWanted = true } }

    func pause(_ isPaused: Bool) {
        let running = state.update { state in
            state.isPaused = isPaused
            return isPaused ? state.running : nil
        }
        running?.cancel()
    }

    func stop() {
        state.update { state in
            state.isStopping = true
            return state.running
        }?.cancel()
        thread.withLock { thread in
            defer { thread = nil }
            return thread
        }?.join()
    }

    /// How it stands.
    var status: (memory: ScheduleState, next: ScheduleState.Next?, isRunning: Bool, hasPaths: Bool) {
        state.withLock { ($0.memory, $0.next, $0.running != nil, $0.plan?.scheduled != nil) }
    }

    // MARK: The thread

    private func run() {
        while let due = wait() { attempt(due) }
    }

    /// A run that is due.
    private struct Due {
        var part: ProtectionPlan.Part
        var run: Timestamp
        /// On what, when not by the schedule.
        var events: [CheckpointEvent] = []
        var triggers: CheckpointTriggers?
    }

    /// What has happened on which a checkpoint is wanted.
    private func events(_ now: Timestamp) -> Due? {
        let (plan, isPaused, from) = state.withLock { ($0.plan, $0.isPaused, $0.eventsFrom) }
        guard let plan, let part = plan.scheduled, !isPaused, !plan.checkpoints.isEmpty,
            SystemClock.monotonic >= from,
            let triggers = triggers(plan.checkpoints)
        else { return nil }
        let events = triggers.due(now: now.nanoseconds)
        return events.isEmpty ? nil : Due(part: part, run: now, events: events, triggers: triggers)
    }

    /// Waits for the next run; `nil` at the end.
    private func wait() -> Due? {
        while true {
            let begun = SystemClock.monotonic
            let now = wall()
            let found = state.withLock { state -> Due? in
                state.next = nil
                // The clock was ahead: what it said then must not put off every run until that time has come.
                if state.back > now { state.back = now }
                guard let plan = state.plan, let part = plan.scheduled, !state.isPaused else {
                    // There is nothing to run.
                    state.isWanted = false
                    return nil
                }
                if state.isWanted {
                    state.isWanted = false
                    return Due(part: part, run: now)
                }
                state.next = state.memory.next(
                    plan.schedule, part.roots, in: plan.zone, now: now, back: state.back, machine: machine)
                guard let next = state.next, next.start <= now else { return nil }
                return Due(part: part, run: next.run)
            }
            if state.withLock({ $0.isStopping }) { return nil }
            if let found = found ?? events(now) { return found }
            let (plan, isPaused, start) = state.withLock { ($0.plan, $0.isPaused, $0.next?.start) }
            let left = start.map { max($0.since(now), 1_000_000) } ?? ScheduleRunner.look
            _ = state.waitUntil(
                { $0.isStopping || $0.plan != plan || $0.isPaused != isPaused || $0.isWanted },
                nanoseconds: min(left, ScheduleRunner.look))
            // More time went by on the clock than was waited: the machine slept.
            let later = wall()
            let waited = SystemClock.monotonic - begun
            if later.since(now) - waited > 60_000_000_000 { state.withLock { $0.back = later } }
        }
    }

    private func attempt(_ due: Due) {
        let part = due.part
        if !due.events.isEmpty {
            state.update { $0.eventsFrom = SystemClock.monotonic + ScheduleRunner.eventPause }
        }
        do {
            let work = try make(part, due.events.map(\.rawValue))
            let mayRun = state.update { state -> Bool in
                guard !state.isStopping, !state.isPaused, state.plan?.scheduled == part else { return false }
                state.running = work
                return true
            }
            defer { state.update { $0.running = nil } }
            if !mayRun { return }
            try work.run()
            for event in due.events { due.triggers?.done(event, now: wall().nanoseconds) }
            finish { $0.done(due.run, part.roots, at: $1) }
        } catch let error as HoldfastError where error.code == .cancelled {
            // It was ended for another: what is due then is worked out anew.
            let isStopping = state.withLock { $0.isStopping || $0.isPaused || $0.plan?.scheduled != part }
            if !isStopping { failed(error, due) }
        } catch {
            failed(error, due)
        }
    }

    private func failed(_ error: any Error, _ due: Due) {
        let message = (error as? HoldfastError)?.message ?? "\(error)"
        // Events have a pause of their own.
        finish { if due.events.isEmpty { $0.failed(message, at: $1) } else { $0.failedBeside(message) } }
    }

    private func finish(_ change: (inout ScheduleState, Timestamp) -> Void) {
        let now = wall()
        let memory = state.update { state in
            change(&state.memory, now)
            return state.memory
        }
        // What cannot be kept is only done once more after the next start.
        _ = try? directory.keep(memory.encoded(), as: document, in: ScheduleRunner.folder)
    }
}

/// The work of one scheduled run.
package protocol ScheduledRun: AnyObject, Sendable {
    /// Blocks until it is done. Throws `cancelled` after `cancel`.
    func run() throws
    func cancel()
}

/// A backup as the work of a run.
package final class ScheduledBackup: ScheduledRun {
    private let make: @Sendable () throws -> BackupJob
    private let progress = Mutex<(progress: CaptureProgress?, isCancelled: Bool)>((nil, false))

    /// - Parameter make: called once, on the thread that runs it.
    package init(_ make: @escaping @Sendable () throws -> BackupJob) { self.make = make }

    package func run() throws {
        let job = try make()
        let isCancelled = progress.withLock { state in
            state.progress = job.progress
            return state.isCancelled
        }
        if isCancelled { throw HoldfastError(.cancelled, "the scheduled backup was ended") }
        _ = try job.run()
    }

    package func cancel() {
        progress.withLock { state in
            state.isCancelled = true
            state.progress?.stopRequested.store(true, ordering: .relaxed)
        }
    }
}
