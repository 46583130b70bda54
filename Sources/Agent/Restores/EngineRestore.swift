import Capture
package import Client
package import Model
import Platform
package import Recovery
import Synchronization
package import Vault

/// What restores on this machine need, beside the order.
package struct RestoreMeans: Sendable {
    package var service: any VaultService
    /// Opens points by what the server grants.
    package var opener: any PointOpener
    package var secrets: WriterSecrets
    package var state: StateDirectory
    /// Directories that are never changed.
    package var own: [[UInt8]]
    package var hostName: String
    package var program: String

    package init(
        service: any VaultService, opener: any PointOpener, secrets: WriterSecrets, state: StateDirectory,
        own: [[UInt8]], hostName: String, program: String
    ) {
        self.service = service
        self.opener = opener
        self.secrets = secrets
        self.state = state
        self.own = own
        self.hostName = hostName
        self.program = program
    }

    func reader(_ point: PointID) throws -> PointReader {
        try PointReader(service: service, keys: opener, point: point, acceptsUnsigned: false)
    }

    /// Makes a point of what is about to be replaced or removed. What cannot be kept is not replaced.
    func checkpoint(
        of paths: [TreePath], label: String, planned: () throws -> PlannedPaths, _ progress: (CaptureProgress) -> Void
    ) throws -> PointID {
        let vault = secrets.vault
        let source = CaptureSource(roots: paths, ownDirectories: Set(own.compactMap(Self.node)))
        let request = BackupRequest(
            source: source, kind: .checkpoint, labels: [label],
            sealing: SealingPipeline.Options(workers: RestoreMeans.workers), readers: RestoreMeans.workers,
            hostName: hostName, program: program)
        let cache = try state.cacheDirectory(of: vault)
        // These paths are hardly ever protected together again: the cache would only lie there.
        defer { WriterCache.remove(vault: vault, source: source.cacheSource, from: cache) }
        let job = BackupJob(
            service: service, secrets: secrets, heads: StateHeads(state, vault: vault), cacheDirectory: cache,
            request: request)
        progress(job.progress)
        let report = try job.run()
        var lost = report.warnings.filter { ![.vanished, .changed, .metadata].contains($0.reason) }
        if !lost.isEmpty {
            let planned = try planned()
            lost.removeAll { !planned.touches(TreePath(unchecked: $0.path)) }
        }
        if let first = lost.first {
            throw HoldfastError(
                .denied,
                "What would be replaced cannot all be kept first: \(TreePath(unchecked: first.path).displayText): "
                    + "\(first.text). Nothing was restored.")
        }
        return report.point
    }

    /// A processor is left to whoever works on the machine.
    static var workers: Int { max(1, min(Machine.processorCount - 1, 8)) }

    private static func node(_ path: [UInt8]) -> CaptureSource.FileNode? {
        let status = try? withCName(path) { (name) throws(Errno) in try FileSystem.statusFollowing(name) }
        return status.map { CaptureSource.FileNode(device: $0.device, inode: $0.inode) }
    }
}

/// An order to restore, done by the engine.
package final class EngineRestore: RestoreWork {
    private let order: RestoreOrder
    private let destination: RestoreRequest.Destination
    private let means: RestoreMeans
    private let running = Mutex(EngineProgress())

    package init(_ order: RestoreOrder, to destination: RestoreRequest.Destination, _ means: RestoreMeans) {
        self.order = order
        self.destination = destination
        self.means = means
    }

    package var progress: RestoreOrderProgress { running.withLock { $0.view } }
    package func stop() { running.withLock { $0.stop() } }

    /// Opens the point and makes sure that it is whose the order says: what was allowed is allowed for that machine's.
    private func reader() throws -> PointReader {
        let reader = try means.reader(order.wish.point)
        guard reader.locator.machine == order.wish.source else {
            reader.close()
            throw HoldfastError(
                .untrusted, "The point is not of the machine that the order names. Nothing was restored.")
        }
        return reader
    }

    private func request() throws -> RestoreRequest {
        var request = RestoreRequest(paths: order.wish.paths, destination: destination)
        request.conflict = order.wish.existing.flatMap { RestoreRequest.Conflict(rawValue: $0.rawValue) }
        request.deleteExtra = order.wish.deletesExtra
        request.verify = order.wish.verifies
        request.workers = RestoreMeans.workers
        request.own = try OwnPlaces(means.own)
        request.withholdsPrivileges = !request.isInPlace
        return request
    }

    package func plan() throws -> RestoreOrderPlan {
        let reader = try reader()
        defer { reader.close() }
        let job = RestoreJob(reader: reader, request: try request(), undo: nil)
        running.withLock { $0.begin("comparing", job.planning) }
        return RestoreOrderPlan(try job.plan())
    }

    package func run() throws -> RestoreOrderResult {
        let reader = try reader()
        defer { reader.close() }
        let request = try request()
        let store = request.isInPlace ? UndoStore(directory: means.state.path) : nil
        let job = RestoreJob(reader: reader, request: request, undo: store)
        running.withLock { $0.begin("comparing", job.planning) }
        var total: UInt64 = 0
        if let plan = order.plan { total = plan.bytesToWrite + plan.bytes("unchanged") }
        if request.isInPlace {
            let plan = try job.plan()
            total = plan.bytesToWrite + plan.unchanged.bytes
        }
        running.withLock { $0.begin("restoring", job.progress, total: total) }
        var before: PointID?
        let report = try job.run { paths in
            let point = try means.checkpoint(
                of: paths, label: "before the restore ordered by \(order.owner)", planned: { try job.plannedPaths() }
            ) { capture in running.withLock { $0.begin("keeping", capture) } }
            running.withLock { $0.begin("restoring", job.progress, total: total) }
            before = point
            return point
        }
        var result = RestoreOrderResult(report, destination: request.destination.root)
        result.before = before
        result.canBeUndone =
            request.isInPlace && report.filesWritten + report.othersWritten + report.metadataOnly + report.removed > 0
            && job.undoIdentifier != nil
        if result.canBeUndone { result.undoIdentifier = job.undoIdentifier }
        return result
    }
}

/// An order to take the last restore in place back.
package final class EngineUndo: RestoreWork {
    private let order: RestoreOrder
    private let means: RestoreMeans
    private let check: @Sendable ([TreePath]) throws -> Void
    private let running = Mutex(EngineProgress())

    /// - Parameter check: throws unless this machine lets its server change these paths: what is taken back is what the machine has
    ///   written down, whatever the order names.
    package init(
        _ order: RestoreOrder, _ means: RestoreMeans, check: @escaping @Sendable ([TreePath]) throws -> Void
    ) {
        self.order = order
        self.means = means
        self.check = check
    }

    package var progress: RestoreOrderProgress { running.withLock { $0.view } }
    package func stop() { running.withLock { $0.stop() } }

    private func job() throws -> UndoJob {
        let job = try UndoJob(store: UndoStore(directory: means.state.path), own: try OwnPlaces(means.own))
        // Two restores may have come from one point: each has an identifier of its own.
        guard let identifier = order.wish.undoIdentifier, job.record.isAbout(identifier),
            job.record.vault == means.secrets.vault, job.record.root == [UInt8(ascii: "/")]
        else {
            throw HoldfastError(
                .forbidden,
                "The last restore in place on this machine is another one; only the last can be taken back.",
                context: ["hint": "`holdfast restore --undo --dry-run` on the machine says which one it is."])
        }
        try check(job.returning + job.removing)
        return job
    }

    package func plan() throws -> RestoreOrderPlan {
        let job = try job()
        func action(_ name: String, _ paths: [TreePath]) -> RestoreOrderPlan.Action {
            RestoreOrderPlan.Action(
                name: name, count: UInt64(paths.count),
                samples: paths.prefix(RestoreOrderPlan.Action.maximumSamples).map(\.displayText))
        }
        let changed = job.changedSince()
        let issues = changed.samples.map {
            RestoreOrderIssue(
                kind: "conflict", path: $0.displayText,
                text: "it was changed since; that is kept in a point first, and then taken back as well")
        }
        return RestoreOrderPlan(
            destination: "/", actions: [action("return", job.returning), action("remove", job.removing)],
            bytesToWrite: 0, issues: issues, issueCount: UInt64(changed.count))
    }

    package func run() throws -> RestoreOrderResult {
        let job = try job()
        running.withLock { $0.begin("restoring", job.progress) }
        var before: PointID?
        let report = try job.run(
            open: { try means.reader($0) },
            protect: { paths in
                let point = try means.checkpoint(
                    of: paths, label: "before taking a restore back", planned: { job.plannedPaths }
                ) { capture in running.withLock { $0.begin("keeping", capture) } }
                running.withLock { $0.begin("restoring", job.progress) }
                before = point
                return point
            })
        var result = RestoreOrderResult(report, destination: job.record.root)
        result.before = before
        return result
    }
}

/// What of the engine runs now, and how to stop it.
private struct EngineProgress: Sendable {
    private var phase = "comparing"
    private var restore: RestoreProgress?
    private var capture: CaptureProgress?
    private var total: UInt64 = 0
    private var isStopping = false

    mutating func begin(_ phase: String, _ progress: RestoreProgress, total: UInt64 = 0) {
        (self.phase, restore, capture, self.total) = (phase, progress, nil, total)
        if isStopping { stop() }
    }

    mutating func begin(_ phase: String, _ progress: CaptureProgress) {
        (self.phase, restore, capture) = (phase, nil, progress)
        if isStopping { stop() }
    }

    mutating func stop() {
        isStopping = true
        restore?.stopRequested.store(true, ordering: .relaxed)
        capture?.stopRequested.store(true, ordering: .relaxed)
    }

    var view: RestoreOrderProgress {
        var view = RestoreOrderProgress(phase: phase, totalBytes: total)
        guard let restore else { return view }
        let comparing = phase == "comparing"
        view.files =
            comparing
            ? restore.entries.load(ordering: .relaxed)
            : restore.filesWritten.load(ordering: .relaxed) + restore.filesUnchanged.load(ordering: .relaxed)
        view.bytes = restore.bytesWritten.load(ordering: .relaxed) + restore.bytesUnchanged.load(ordering: .relaxed)
        return view
    }
}

// MARK: On the wire

extension RestoreOrderIssue {
    fileprivate init(_ issue: RestoreIssue) {
        let path = issue.path.isEmpty ? "" : TreePath(unchecked: issue.path).displayText
        self.init(kind: issue.kind.rawValue, path: path, text: TreePath.display(issue.text.utf8))
    }

    /// The worst first.
    fileprivate static func list(_ issues: [RestoreIssue]) -> [RestoreOrderIssue] {
        (issues.filter(\.kind.isFailure) + issues.filter { !$0.kind.isFailure }).prefix(50).map {
            RestoreOrderIssue($0)
        }
    }
}

extension RestoreOrderPlan {
    init(_ plan: RestorePlan) {
        func action(_ name: String, _ tally: RestorePlan.Tally) -> Action? {
            if tally.count == 0 { return nil }
            return Action(
                name: name, count: UInt64(tally.count), bytes: tally.bytes,
                samples: tally.samples.prefix(Action.maximumSamples).map { TreePath(unchecked: $0).displayText })
        }
        self.init(
            destination: TreePath.display(plan.destination),
            actions: [
                action("create", plan.creates), action("directory", plan.directories),
                action("overwrite", plan.overwrites), action("remove", plan.removes),
                action("metadata", plan.metadata), action("rename", plan.renames), action("keep", plan.kept),
                action("unchanged", plan.unchanged),
            ].compactMap { $0 }, bytesToWrite: plan.bytesToWrite, freeBytes: plan.freeBytes,
            issues: RestoreOrderIssue.list(plan.issues),
            issueCount: UInt64(max(plan.issueCounts.values.reduce(0, +), 0)))
    }
}

extension RestoreOrderResult {
    init(_ report: RestoreReport, destination: [UInt8]) {
        self.init()
        self.destination = TreePath.display(destination)
        filesWritten = report.filesWritten
        bytesWritten = report.bytesWritten
        filesUnchanged = report.filesUnchanged
        othersWritten = report.othersWritten
        metadataOnly = report.metadataOnly
        removed = report.removed
        kept = report.kept
        renamed = report.renamed
        verified = report.verified
        milliseconds = report.milliseconds
        issues = RestoreOrderIssue.list(report.issues)
        issueCount = UInt64(max(report.issueCounts.values.reduce(0, +), 0))
        failures = UInt64(report.issueCounts.filter(\.key.isFailure).values.reduce(0, +))
    }
}
