import Catalog
import Client
import Model
import Platform
import Synchronization
import Vault

/// Does long work beside the requests: one job of a kind at a time, each on a thread of its own.
final class JobRunner: Sendable {
    /// What a job can see and say while it runs.
    struct Context: Sendable {
        fileprivate let stopped: StopFlag
        fileprivate let tell: @Sendable (UInt64, UInt64) -> Void
        let log: @Sendable (String) -> Void

        /// Throws `cancelled` when somebody wants the job to end.
        func check() throws {
            if stopped.isSet { throw HoldfastError(.cancelled, "Stopped. Running it again goes on from here.") }
        }

        /// Adds to what was done, of so many bytes.
        func add(_ done: UInt64, of total: UInt64) throws {
            try check()
            tell(done, total)
        }
    }

    fileprivate final class StopFlag: Sendable {
        private let value = Mutex(false)
        var isSet: Bool { value.withLock { $0 } }
        func set() { value.withLock { $0 = true } }
    }

    private struct Running {
        var kind: String
        var stop: StopFlag
        var thread: WorkerThread?
        var done: UInt64 = 0
        var total: UInt64 = 0
        var written: Int64 = 0
    }

    private let catalog: any ServerCatalog
    private let clock: @Sendable () -> Timestamp
    private let running = Mutex<[JobID: Running]>([:])
    private let changeCount = Mutex<UInt64>(0)
    /// Grows whenever a job begins, goes on, says something or ends.
    var changes: UInt64 { changeCount.withLock { $0 } }
    private func noteChange() { changeCount.withLock { $0 += 1 } }
    /// Jobs that have ended and are remembered.
    static let kept = 500

    init(_ catalog: any ServerCatalog, clock: @escaping @Sendable () -> Timestamp) {
        self.catalog = catalog
        self.clock = clock
    }

    /// Begins a job. Throws `busy` when one of its kind runs.
    func start(
        kind: String, owner: String, parameters: [UInt8], _ body: @escaping @Sendable (Context) throws -> [UInt8]
    ) throws -> JobID {
        let job = JobRecord(id: .random(), kind: kind, owner: owner, parameters: parameters, started: clock())
        try catalog.forgetJobs(keeping: Self.kept)
        let stop = StopFlag()
        running.withLock { $0[job.id] = Running(kind: kind, stop: stop) }
        do {
            guard try catalog.start(job) || (endForgotten(kind, but: job.id) && catalog.start(job)) else {
                throw HoldfastError(
                    .busy, "A job of this kind (\(kind)) runs already; wait until it has ended.", isTemporary: true)
            }
            do {
                let thread = try WorkerThread(name: "job", stack: 64 << 20) { [self] in work(job, stop, body) }
                running.withLock { $0[job.id]?.thread = thread }
            } catch {
                try catalog.end(job.id, .failed, result: nil, failure: nil, at: clock())
                throw HoldfastError(
                    .busy, "The server has no room for another thread.", cause: error, isTemporary: true)
            }
        } catch {
            running.withLock { $0[job.id] = nil }
            throw error
        }
        return job.id
    }

    /// Ends jobs of a kind that stand as running and are not: the disk was full when their end was to be written down. Nothing
    /// of their kind could begin until the next start of the server, and with `reclaim` nothing would free that disk.
    private func endForgotten(_ kind: String, but new: JobID) throws -> Bool {
        let live = running.withLock { Set($0.filter { $0.key != new && $0.value.kind == kind }.keys) }
        guard live.isEmpty else { return false }
        var ended = false
        for job in try catalog.jobs(newest: 4 * Self.kept) where job.kind == kind && job.state == .running {
            try catalog.end(job.id, .interrupted, result: nil, failure: nil, at: clock())
            ended = true
        }
        return ended
    }

    private func work(_ job: JobRecord, _ stop: StopFlag, _ body: (Context) throws -> [UInt8]) {
        let (catalog, clock) = (catalog, clock)
        noteChange()
        defer { noteChange() }
        let context = Context(stopped: stop, tell: { [weak self] in self?.tell(job.id, $0, $1) }) { [weak self] text in
            try? catalog.append(text, to: job.id, at: clock())
            self?.noteChange()
        }
        var state = JobRecord.State.done
        var result: [UInt8]?
        var failure: [UInt8]?
        do { result = try body(context) } catch {
            let told =
                error as? HoldfastError ?? HoldfastError(.internalError, "The server failed at this: \(error)")
            state = told.code == .cancelled ? .cancelled : .failed
            failure = Problem.encode(told)
        }
        let last = running.withLock { $0[job.id] }
        if let last { try? catalog.setProgress(job.id, done: last.done, total: last.total) }
        // The state is what somebody waits for: tried again when the disk is full for a moment.
        for pause in [0, 100, 1_000, 5_000] {
            SystemClock.pause(milliseconds: pause)
            if (try? catalog.end(job.id, state, result: result, failure: failure, at: clock())) != nil { break }
        }
        running.withLock { $0[job.id] = nil }
    }

    /// Progress is kept in memory, and in the database once a second.
    private func tell(_ id: JobID, _ done: UInt64, _ total: UInt64) {
        noteChange()
        let due = running.withLock { running -> (UInt64, UInt64)? in
            guard var entry = running[id] else { return nil }
            entry.done += done
            entry.total = total
            let now = SystemClock.monotonic
            let isDue = now - entry.written > 1_000_000_000
            if isDue { entry.written = now }
            running[id] = entry
            return isDue ? (entry.done, entry.total) : nil
        }
        if let due { try? catalog.setProgress(id, done: due.0, total: due.1) }
    }

    /// A job as it is now.
    func job(_ id: JobID) throws -> JobRecord? {
        guard var job = try catalog.job(id) else { return nil }
        if let live = running.withLock({ $0[id] }) { (job.done, job.total) = (live.done, live.total) }
        return job
    }

    func cancel(_ id: JobID) { running.withLock { $0[id] }?.stop.set() }

    var count: Int { running.withLock { $0.count } }

    /// Asks all to end and waits for them: what they have decided is written down.
    func stop() {
        let all = running.withLock { Array($0.values) }
        for job in all { job.stop.set() }
        for job in all { job.thread?.join() }
    }
}
