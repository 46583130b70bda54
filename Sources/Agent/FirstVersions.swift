import Capture
import Catalog
import Model
import Platform
import Synchronization
import Vault

/// Keeps the versions of files that are saved while the first full backup runs, which can take hours.
///
/// They go into the spool like all others, on a thread of their own, compared with nothing but each other; they are sent when
/// there is a point to build on. The end says which paths that were: they are looked at again, because of what was there before
/// nothing is known here.
final class FirstVersions {
    /// Paths below one that are looked at; more is left to the backup.
    private static let lookLimit = 10_000
    /// Paths that are remembered to be looked at again; with more, everything is.
    private static let mostTaken = 200_000
    /// How often it is looked for what is due, in nanoseconds, at the least.
    private static let glance: Int64 = 50_000_000

    private final class Work: Sendable {
        private struct State {
            var isEnding = false
            var progress: CaptureProgress?
            var taken = PendingChanges()
            var isTooMuch = false
        }

        private let agent: AgentService
        private let state = Monitor(State())

        init(_ agent: AgentService) { self.agent = agent }

        func end() {
            state.update { state in
                state.isEnding = true
                state.progress?.stopRequested.store(true, ordering: .relaxed)
            }
        }

        var taken: PendingChanges { state.withLock { $0.taken } }
        var isTooMuch: Bool { state.withLock { $0.isTooMuch } }

        func run() {
            let memory = EntryMemory()
            guard let known = try? agent.spool.index.known() else { return }
            memory.apply(known)
            let pause = max(agent.configuration.interval, FirstVersions.glance)
            var totals = PointStatistics()
            var pipeline: SealingPipeline?
            let counters = WritingCounters()
            defer { pipeline?.stop() }
            while !state.waitUntil({ $0.isEnding }, nanoseconds: pause) {
                let part = take()
                if part.isEmpty { continue }
                let progress = CaptureProgress()
                let isEnding = state.withLock { state in
                    state.progress = progress
                    return state.isEnding
                }
                if isEnding { return }
                do {
                    let opened = try pipeline ?? agent.openPipeline(counters)
                    pipeline = opened
                    try capture(part, memory, &totals, opened, counters, progress)
                } catch {
                    // What was taken is looked at after the backup in any case.
                    pipeline?.stop()
                    pipeline = nil
                    if (error as? HoldfastError)?.code == .noSpace {
                        makeRoom(for: part)
                    }
                }
            }
        }

        /// Finds room for what comes next, where that is as large as what found none.
        private func makeRoom(for part: PendingChanges) {
            try? agent.spool.discardUnused()
            if !part.deep.isEmpty { return }
            let size = part.shallow.reduce(UInt64(0)) { $0 + CaptureQueue.size(of: $1) }
            _ = try? agent.spool.makeRoom(for: size, now: Timestamp(nanoseconds: SystemClock.wall))
        }

        private func take() -> PendingChanges {
            let (changes, oldest) = agent.state.withLock { state in
                let oldest = state.settling.oldest
                return (state.settling.due(at: SystemClock.monotonic), oldest)
            }
            var part = PendingChanges()
            part.add(changes, since: oldest)
            let taken = part
            let count = state.withLock { state in
                if state.taken.count < FirstVersions.mostTaken {
                    state.taken.formUnion(taken)
                } else {
                    state.isTooMuch = true
                }
                return state.taken.count
            }
            agent.state.withLock { $0.taken = count }
            return part
        }

        private func capture(
            _ part: PendingChanges, _ memory: EntryMemory, _ totals: inout PointStatistics, _ pipeline: SealingPipeline,
            _ counters: WritingCounters, _ progress: CaptureProgress
        ) throws {
            let configuration = agent.configuration
            let started = SystemClock.monotonic
            let time = Timestamp(nanoseconds: SystemClock.wall)
            let look = PathCapture(
                source: configuration.source, memory: memory, secret: agent.secrets.domainSecret,
                lookLimit: FirstVersions.lookLimit, staging: configuration.cacheDirectory)
            let outcome = try look.run(part.selection, moves: part.moves, pipeline: pipeline, progress: progress)
            try pipeline.flush()
            if outcome.isEmpty { return }
            outcome.update(&totals) { memory.entry($0) }
            let changes = outcome.memoryChanges
            let record = configuration.record(
                of: outcome, totals, labels: [FirstVersions.label], counters, started: started)
            let access = AccessFinder(changes, memory)
            let sequence = try agent.spool.append(changes, record, time: time, totals: totals) {
                access.access(to: $0)
            }
            memory.apply(changes)
            for entry in outcome.changed { agent.links.note(entry) }
            agent.state.update { $0.capture(sequence, at: time) }
        }
    }

    /// The label of their points: what else is in them may be of later in the first backup.
    static let label = "first-backup"

    private let work: Work
    private var thread: WorkerThread?

    init(_ agent: AgentService) { work = Work(agent) }

    /// Begins. Without a thread nothing of it is kept, and the backup goes on.
    func begin() {
        let work = work
        thread = try? WorkerThread(name: "first", stack: 16 << 20) { work.run() }
    }

    /// Ends, and answers what it has looked at, and whether that is not all of it.
    func end() -> (taken: PendingChanges, isTooMuch: Bool) {
        work.end()
        thread?.join()
        return (work.taken, work.isTooMuch)
    }
}

extension AgentConfiguration {
    /// What the point of a capture will say.
    func record(
        of outcome: PathCapture.Outcome, _ totals: PointStatistics, labels: [String], _ counters: WritingCounters,
        started: Int64
    ) -> PointRecord {
        var record = PointRecord(root: ContentKey(.zero))
        record.labels = labels
        if outcome.openDatabases > 0 { record.labels.append(CaptureProgress.databaseLabel) }
        record.consistency = .crash
        record.statistics = totals
        record.statistics.bytesRead = outcome.bytesRead
        record.statistics.newBytes = counters.newBytes.exchange(0, ordering: .relaxed)
        record.statistics.storedBytes = counters.storedBytes.exchange(0, ordering: .relaxed)
        record.statistics.milliseconds = UInt64(max(SystemClock.monotonic - started, 0)) / 1_000_000
        record.warnings = outcome.warnings
        record.furtherWarnings = outcome.omittedWarnings
        record.protectedPaths = source.roots.map(\.bytes)
        record.host = hostName
        record.program = program
        record.exclusions = source.exclusionTexts
        return record
    }
}

extension AgentService {
    /// What seals contents into the spool.
    func openPipeline(_ counters: WritingCounters) throws -> SealingPipeline {
        let opened = SealingPipeline(
            service: spool, lease: LeaseID(high: 0, low: 0), vault: secrets.vault, machine: secrets.machine,
            secret: secrets.domainSecret, options: configuration.sealing, counters: counters)
        try opened.start()
        return opened
    }
}
