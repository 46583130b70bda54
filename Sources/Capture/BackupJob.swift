package import Model
import Platform
import Synchronization
package import Vault

/// What a backup is to do.
package struct BackupRequest: Sendable {
    package var source: CaptureSource
    package var kind: PointKind
    package var labels: [String]
    package var sealing: SealingPipeline.Options
    /// Threads that read files.
    package var readers: Int
    /// Host name and program version for the point's record.
    package var hostName: String
    package var program: String
    /// A first backup that takes long becomes restorable in between: a partial point after so many new bytes ...
    package var partialBytes: UInt64 = 10_000_000_000
    /// ... or so many seconds.
    package var partialSeconds: UInt64 = 15 * 60
    /// How far change times of files are to be believed.
    package var changeTimes = ChangeTimeTrust.thisKernel

    package init(
        source: CaptureSource, kind: PointKind = .manual, labels: [String] = [],
        sealing: SealingPipeline.Options = SealingPipeline.Options(), readers: Int = 2, hostName: String,
        program: String
    ) {
        self.source = source
        self.kind = kind
        self.labels = labels
        self.sealing = sealing
        self.readers = readers
        self.hostName = hostName
        self.program = program
    }
}

/// What a backup did.
package struct BackupReport: Sendable {
    package var point: PointID
    package var number: UInt64
    package var time: Timestamp
    package var head: MachineHead
    package var statistics: PointStatistics
    package var warnings: [PointWarning]
    package var omittedWarnings: UInt64
    /// A new incarnation was begun: for the machine's first point, or after a break.
    package var isNewIncarnation: Bool
    /// The vault's history of this machine and the machine's own memory did not fit.
    package var historyBreak: HistoryBreak?
    /// Files were compared with the run before.
    package var usedCache: Bool
}

/// Protects paths: walk, read, bundle, seal, and commit one point.
///
/// Threads: one walks, some read, some seal, one stores packs, and the calling thread puts everything in order. Queues
/// between them are bounded, so memory does not grow with the number or size of files.
package final class BackupJob {
    private static let smallSlab = 2 << 20
    private static let smallSlabs = 4
    private static let largeSlab = 4 << 20
    private static let orderedBatches = 12

    /// Batches are completed out of order; the sequencer waits here for the next in order.
    private struct Completion {
        var error: (any Error)?
    }

    private let service: any VaultService
    private let secrets: WriterSecrets
    private let heads: any HeadMemory
    private let cacheDirectory: [UInt8]
    private let request: BackupRequest
    package let progress: CaptureProgress
    package let counters: WritingCounters
    /// Hears of every entry of the point, in the order of the keys. Set it before `run`.
    package var observer: ((CachedEntry) -> Void)?
    /// What was warned of, once everything has been read; also when the point is then not committed.
    package private(set) var warnings: [PointWarning] = []
    /// Further ones that were only counted.
    package private(set) var omittedWarnings: UInt64 = 0

    /// - Parameters:
    ///   - heads: where this machine remembers its newest point of this vault.
    ///   - cacheDirectory: where the writer's caches live; made when it does not exist.
    package init(
        service: any VaultService, secrets: WriterSecrets, heads: any HeadMemory, cacheDirectory: [UInt8],
        request: BackupRequest, progress: CaptureProgress = CaptureProgress(),
        counters: WritingCounters = WritingCounters()
    ) {
        self.service = service
        self.secrets = secrets
        self.heads = heads
        self.cacheDirectory = cacheDirectory
        self.request = request
        self.progress = progress
        self.counters = counters
    }

    /// Runs the backup. Throws when nothing was committed; what could not be read is in the report's warnings.
    package func run() throws -> BackupReport {
        let started = SystemClock.monotonic
        let captureTime = Timestamp(nanoseconds: SystemClock.wall)
        let lock = try lockCache()
        defer { lock.release() }
        let writer = try PointWriter(
            service: service, secrets: secrets, heads: heads, cacheDirectory: cacheDirectory,
            cacheName: WriterCache.name(vault: secrets.vault, source: request.source.cacheSource),
            options: request.sealing, counters: counters)
        defer { writer.close() }

        let ordered = BoundedQueue<CaptureBatch>(capacity: BackupJob.orderedBatches)
        let work = BoundedQueue<CaptureBatch>(capacity: BackupJob.orderedBatches)
        let completion = Monitor(Completion())
        let smallSlabs = SlabPool(slabSize: BackupJob.smallSlab, limit: BackupJob.smallSlabs)
        let largeSlabs = SlabPool(slabSize: BackupJob.largeSlab, limit: 2 * max(1, request.readers) + 4)

        let stopAll: @Sendable (any Error) -> Void = { error in
            ordered.fail(error)
            work.fail(error)
            smallSlabs.fail()
            largeSlabs.fail()
            completion.update { if $0.error == nil { $0.error = error } }
        }

        var threads: [WorkerThread] = []
        defer { for thread in threads { thread.join() } }
        let source = request.source
        let progress = progress
        let pipeline = writer.pipeline
        let secret = writer.secret
        let changeTimes = request.changeTimes
        let staging = StagingPlace(directory: cacheDirectory)
        nonisolated(unsafe) let cache = writer.cache
        let damaged = writer.damaged
        do {
            threads.append(
                try WorkerThread(name: "walk") {
                    do {
                        let walker = TreeWalker(
                            source: source, cache: cache, damaged: damaged, slabs: smallSlabs, progress: progress
                        ) { batch in
                            let needsReading = batch.needsReading
                            if !needsReading { batch.isComplete.store(true, ordering: .releasing) }
                            try ordered.push(batch)
                            if needsReading { try work.push(batch) }
                        }
                        try walker.run()
                        ordered.close()
                        work.close()
                    } catch {
                        stopAll(error)
                    }
                })
            for index in 0..<max(1, request.readers) {
                threads.append(
                    try WorkerThread(name: "read-\(index)") {
                        do {
                            let reader = FileReader(
                                pipeline: pipeline, slabs: largeSlabs, secret: secret, progress: progress,
                                changeTimes: changeTimes, staging: staging)
                            while let batch = try work.pop() {
                                try reader.complete(batch)
                                batch.isComplete.store(true, ordering: .releasing)
                                completion.update { _ in }
                            }
                        } catch {
                            stopAll(error)
                        }
                    })
            }
            let reader = FileReader(
                pipeline: pipeline, slabs: largeSlabs, secret: secret, progress: progress,
                changeTimes: changeTimes, staging: staging)
            return try sequence(
                writer, reader, ordered: ordered, completion: completion, started: started, captureTime: captureTime)
        } catch {
            stopAll(error)
            // The first error is the cause; what other threads met after it is its echo.
            throw completion.withLock { $0.error } ?? error
        }
    }

    /// One backup of these paths at a time: two would read the same files twice and write over each other's cache.
    /// The lock ends with the process, however that dies.
    private func lockCache() throws -> CacheLock {
        let name = WriterCache.name(vault: secrets.vault, source: request.source.cacheSource) + Array(".lock".utf8)
        do {
            let file = try FileDescriptor.open(
                cacheDirectory + Array("/".utf8) + name, [.readWrite, .create], mode: 0o600)
            if let lock = try FileLock.acquire(file) { return CacheLock(lock) }
        } catch {
            throw HoldfastError(
                .io, "the lock in \(TreePath.display(cacheDirectory)) cannot be taken: \(error)", cause: error)
        }
        throw HoldfastError(
            .busy, "another backup of these paths into this vault is running; nothing was changed",
            context: ["hint": "Wait for it to end, or find it with `pgrep -af 'holdfast backup'`."], isTemporary: true)
    }

    private final class CacheLock {
        private var lock: FileLock?
        init(_ lock: consuming FileLock) { self.lock = consume lock }
        /// Gives the lock up now, not when the last copy of its descriptor is closed: a process that was forked meanwhile has
        /// one until it runs its own program.
        func release() {
            if let held = lock.take() { held.release() }
        }
    }

    private func sequence(
        _ writer: PointWriter, _ reader: FileReader, ordered: BoundedQueue<CaptureBatch>,
        completion: Monitor<Completion>,
        started: Int64, captureTime: Timestamp
    ) throws -> BackupReport {
        let observer = observer
        let sequencer = CaptureSequencer(pipeline: writer.pipeline, progress: progress, reader: reader) { entry in
            try writer.append(entry)
            observer?(entry)
        }
        var lastPartial = (bytes: UInt64(0), time: started)
        while let batch = try ordered.pop() {
            try completion.wait { state -> Void? in
                if batch.isComplete.load(ordering: .acquiring) { return () }
                if let error = state.error { throw error }
                if let error = writer.pipeline.failure { throw error }
                return nil
            }
            try sequencer.take(batch)
            if !writer.hasBase {
                let newBytes = counters.newBytes.load(ordering: .relaxed)
                let now = SystemClock.monotonic
                if newBytes - lastPartial.bytes >= request.partialBytes
                    || now - lastPartial.time >= Int64(request.partialSeconds) * 1_000_000_000
                {
                    _ = try writer.commit(
                        draft(sequencer, started: started, captureTime: captureTime), isPartial: true)
                    lastPartial = (newBytes, now)
                }
            }
        }
        try sequencer.finish()
        let draft = draft(sequencer, started: started, captureTime: captureTime)
        (warnings, omittedWarnings) = (draft.warnings, draft.omittedWarnings)
        let committed = try writer.commit(draft, isPartial: false)
        return BackupReport(
            point: committed.point, number: committed.number, time: captureTime, head: committed.head,
            statistics: committed.statistics, warnings: draft.warnings, omittedWarnings: draft.omittedWarnings,
            isNewIncarnation: writer.lease.isNewIncarnation || writer.historyBreak != nil,
            historyBreak: writer.historyBreak, usedCache: writer.cache != nil)
    }

    private func draft(_ sequencer: CaptureSequencer, started: Int64, captureTime: Timestamp) -> PointDraft {
        var statistics = PointStatistics()
        statistics.entries = sequencer.entries
        statistics.files = sequencer.files
        statistics.directories = sequencer.directories
        statistics.bytes = sequencer.bytes
        statistics.bytesRead = progress.bytesRead.load(ordering: .relaxed)
        statistics.milliseconds = UInt64(max(0, SystemClock.monotonic - started)) / 1_000_000
        var labels = request.labels
        if progress.remarks.withLock({ $0.openDatabaseCount }) > 0 { labels.append(CaptureProgress.databaseLabel) }
        return PointDraft(
            kind: request.kind, time: captureTime, labels: labels, consistency: .file, statistics: statistics,
            warnings: sequencer.warnings.warnings, omittedWarnings: sequencer.warnings.omitted,
            paths: request.source.roots.map(\.bytes), hostName: request.hostName, program: request.program,
            exclusions: request.source.exclusionTexts)
    }
}
