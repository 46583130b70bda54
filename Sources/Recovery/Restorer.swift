package import Model
import Platform
import Synchronization
package import Vault

/// Carries out a restore.
///
/// One thread walks the tree beside the destination and decides; what needs content is gathered into windows, and workers
/// fetch, open, check and write blob by blob, in whatever order the vault gives them. Memory depends neither on the number
/// nor on the size of files, apart from hard links.
///
/// Nothing below the destination is ever reached through a symbolic link: every name is used relative to the descriptor of
/// its directory, which was opened without following one.
package final class Restorer {
    private let reader: PointReader
    private let request: RestoreRequest
    package let progress: RestoreProgress

    /// - Parameters:
    ///   - reader: the point, open; used by this restore alone until it ends.
    ///   - progress: read it from another thread; set `stopRequested` there to stop.
    package init(reader: PointReader, request: RestoreRequest, progress: RestoreProgress = RestoreProgress()) {
        self.reader = reader
        self.request = request
        self.progress = progress
    }

    /// The suffix of names that are restored beside what stands there (`Conflict.rename`).
    package static func renameSuffix(of point: PointID) -> String { ".restored-\(point.hex.prefix(8))" }

    /// Runs the restore. What could not be restored is in the report; an error ends everything (no room, the vault cannot
    /// be read, stopped on request), and running it again goes on where it ended.
    package func run() throws -> RestoreReport {
        try request.check(reader)
        var request = request
        let start = SystemClock.monotonic
        let limit = request.openFiles > 0 ? request.openFiles : ProcessLimits.raiseOpenFiles()
        let place = try RestorePlace.open(request, point: reader.point)
        if request.differing == nil, request.readsContents || place.mayBeTorn {
            request.differing = try Restorer.compare(reader, request, place, progress, openLimit: limit)
        }
        let log = RestoreLog()
        let crew = try RestoreCrew(
            reader: reader, request: request, place: place, log: log, progress: progress, openLimit: limit)
        try crew.run(verifying: false)
        var report = RestoreReport(progress, log)
        if request.verify {
            let verification = RestoreProgress(partOf: progress)
            var verifying = request
            // What differed was replaced.
            verifying.differing = []
            let again = try RestoreCrew(
                reader: reader, request: verifying, place: place, log: log, progress: verification, openLimit: limit)
            try again.run(verifying: true)
            report = RestoreReport(progress, log)
            report.verified = verification.filesWritten.load(ordering: .relaxed)
        }
        (report.unknownUsers, report.unknownGroups) = crew.unknownOwners
        if request.sync {
            try crew.written.sync()
            report.syncedFileSystems = crew.written.count
        }
        place.finish(reader.point)
        report.milliseconds = UInt64(max(SystemClock.monotonic - start, 0)) / 1_000_000
        return report
    }

    /// Reads the files of the destination that have the size and time of the point's, and compares them with the vault.
    /// Changes nothing.
    ///
    /// - Returns: those whose content is another one, by path in the point.
    static func compare(
        _ reader: PointReader, _ request: RestoreRequest, _ place: RestorePlace, _ progress: RestoreProgress,
        openLimit: Int
    ) throws -> Set<[UInt8]> {
        let differing = DifferingFiles()
        let crew = try RestoreCrew(
            reader: reader, request: request, place: place, log: RestoreLog(),
            progress: RestoreProgress(partOf: progress), openLimit: openLimit, differing: differing)
        try crew.run(verifying: true)
        return differing.paths
    }
}

/// The threads of a restore: the calling one walks and decides, workers fetch and write.
private final class RestoreCrew {
    private let reader: PointReader
    private let request: RestoreRequest
    private let place: RestorePlace
    private let log: RestoreLog
    private let progress: RestoreProgress
    private let context: FileWriter.Context
    private let queue = BoundedQueue<RestoreBatch>(capacity: 64)
    private let ledger = WindowLedger()
    private let openLimit: Int
    private var decider: RestoreDecider?

    init(
        reader: PointReader, request: RestoreRequest, place: RestorePlace, log: RestoreLog,
        progress: RestoreProgress, openLimit: Int, differing: DifferingFiles? = nil
    ) throws {
        self.reader = reader
        self.request = request
        self.place = place
        self.log = log
        self.progress = progress
        // Half for unfinished files and directories; the other half is the vault's, and a reserve.
        self.openLimit = max(openLimit / 4, 8)
        context = FileWriter.Context(
            root: place.handle, log: log, progress: progress,
            rights: .current(withholding: request.withholdsPrivileges), openLimit: max(openLimit / 2, 8),
            mark: FileWriter.mark(of: reader.point), destination: request.destination.root, differing: differing,
            moment: request.moment)
    }

    /// The file systems that were written to.
    var written: WrittenFileSystems { context.written }

    var unknownOwners: ([UnknownOwner], [UnknownOwner]) { decider?.unknownOwners ?? ([], []) }

    func run(verifying: Bool) throws {
        let queue = queue
        let ledger = ledger
        let context = context
        let progress = progress
        let group = ThreadGroup { error in
            queue.fail(error)
            ledger.fail(error)
        }
        let count = request.workers > 0 ? request.workers : min(Machine.processorCount, 8)
        do {
            for index in 0..<count {
                let fetcher = UncheckedBox(
                    BlobFetcher(service: reader.service, checker: request.checkContents ? reader.checker : nil))
                try group.start("restore-\(index)") {
                    let worker = RestoreWorker(fetcher: fetcher.value, writer: FileWriter(context))
                    while let batch = try queue.pop() {
                        try progress.checkStop()
                        try worker.run(batch)
                        if batch.window.remaining.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0 {
                            try ledger.complete(batch.window) { try worker.settle($0) }
                        }
                    }
                }
            }
            let decider = RestoreDecider(
                reader: reader, request: request, place: place, context: context, openLimit: openLimit,
                verifying: verifying
            ) { window, writer in
                let batches = window.seal()
                if batches.isEmpty {
                    try ledger.complete(window) { window in for link in window.links { try writer.link(link) } }
                }
                for batch in batches { try queue.push(batch) }
            } drain: { count in
                try ledger.wait(for: count)
            }
            self.decider = decider
            try decider.run()
            queue.close()
        } catch {
            group.fail(error)
        }
        try group.wait()
    }
}

/// Hands a value to the one thread that uses it from then on.
private final class UncheckedBox<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}

/// Fetches the blobs of batches and hands their slices to files; one for each thread.
private final class RestoreWorker {
    private let fetcher: BlobFetcher
    private let writer: FileWriter

    init(fetcher: BlobFetcher, writer: FileWriter) {
        self.fetcher = fetcher
        self.writer = writer
    }

    func run(_ batch: RestoreBatch) throws {
        let window = batch.window
        let first = batch.blobs.lowerBound
        let lost = try fetcher.fetch(window.keys[batch.blobs], type: .data) { index, plain in
            for slice in window.slices(of: first + index) {
                let job = window.jobs[Int(slice.job)]
                let end = Int(slice.blobOffset) + Int(slice.length)
                if end <= plain.count {
                    try writer.write(
                        UnsafeRawBufferPointer(rebasing: plain[Int(slice.blobOffset)..<end]), at: slice.fileOffset,
                        of: job)
                } else {
                    try writer.lose(job)
                }
            }
        }
        for index in lost {
            for slice in window.slices(of: first + index) { try writer.lose(window.jobs[Int(slice.job)]) }
        }
    }

    /// What had to wait for all files of a window and of those before it.
    func settle(_ window: RestoreWindow) throws {
        for link in window.links { try writer.link(link) }
    }
}
