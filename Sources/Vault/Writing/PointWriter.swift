package import Model
import Synchronization

/// What a point says beside its tree.
package struct PointDraft: Sendable {
    package var kind: PointKind
    package var time: Timestamp
    package var labels: [String]
    package var consistency: Consistency
    package var statistics: PointStatistics
    package var warnings: [PointWarning]
    package var omittedWarnings: UInt64
    /// The protected paths.
    package var paths: [[UInt8]]
    package var hostName: String
    package var program: String
    /// The rules by which names were left out.
    package var exclusions: [[UInt8]]

    package init(
        kind: PointKind, time: Timestamp, labels: [String], consistency: Consistency,
        statistics: PointStatistics, warnings: [PointWarning], omittedWarnings: UInt64, paths: [[UInt8]],
        hostName: String, program: String, exclusions: [[UInt8]] = []
    ) {
        self.kind = kind
        self.time = time
        self.labels = labels
        self.consistency = consistency
        self.statistics = statistics
        self.warnings = warnings
        self.omittedWarnings = omittedWarnings
        self.paths = paths
        self.hostName = hostName
        self.program = program
        self.exclusions = exclusions
    }
}

/// A point that was committed.
package struct CommittedPoint: Sendable {
    package var point: PointID
    package var number: UInt64
    package var head: MachineHead
    package var statistics: PointStatistics

    package init(point: PointID, number: UInt64, head: MachineHead, statistics: PointStatistics) {
        self.point = point
        self.number = number
        self.head = head
        self.statistics = statistics
    }
}

/// Writes one tree, entry by entry in key order, and commits it as a point.
///
/// Order: data packs, meta packs, point, cache. The commit is the only moment at which anything becomes visible; dying
/// at any instruction before it leaves blobs that nothing refers to.
package final class PointWriter {
    private let service: any VaultService
    private let secrets: WriterSecrets
    private let committer: PointCommitter
    package let secret: DomainSecret
    package let pipeline: SealingPipeline
    package let counters: WritingCounters
    /// The cache of the run before, if the vault still holds the point it describes.
    package let cache: CacheReader?
    /// Blobs that are damaged among what the newest point names: files that use them are read again.
    package let damaged: Set<BlobID>
    private let sink: RecordingSink
    private var builder: TreeBuilder
    private let cacheWriter: CacheWriter
    private var planner: RebundlePlanner
    private var isClosed = false

    package var lease: Lease { committer.lease }

    /// What this machine remembers and what the vault holds do not fit; `nil` usually.
    package var historyBreak: HistoryBreak? { committer.historyBreak }

    /// Opens a lease and the cache.
    /// - Parameters:
    ///   - heads: where this machine remembers its newest point.
    ///   - cacheDirectory: made when it does not exist.
    package init(
        service: any VaultService, secrets: WriterSecrets, heads: any HeadMemory, cacheDirectory: [UInt8],
        cacheName: [UInt8], options: SealingPipeline.Options, counters: WritingCounters
    ) throws {
        self.service = service
        self.secrets = secrets
        self.counters = counters
        secret = secrets.domainSecret
        let found = CacheReader(path: cacheDirectory + Array("/".utf8) + cacheName)
        let usable = found.flatMap { reader -> CacheReader? in
            let identity = reader.identity
            let fits =
                identity.vault == secrets.vault && identity.machine == secrets.machine
                && identity.secretNumber == secrets.domainSecret.number
            return fits ? reader : nil
        }
        let committer = try PointCommitter(
            service: service, secrets: secrets, heads: heads, base: usable?.identity.point)
        self.committer = committer
        let lease = committer.lease
        let isValid =
            lease.baseAvailable && !lease.isNewIncarnation
            && usable?.identity.incarnation == lease.next.incarnation
        cache = isValid ? usable : nil
        let damaged = Set(lease.damaged)
        self.damaged = damaged
        planner = RebundlePlanner(salt: lease.next.number)
        var known = cache?.nodes ?? []
        if !damaged.isEmpty { known = known.filter { !damaged.contains(BlobCrypto.id(of: $0)) } }
        do {
            pipeline = SealingPipeline(
                service: service, lease: lease.id, vault: secrets.vault, machine: secrets.machine, secret: secret,
                options: options, counters: counters)
            sink = RecordingSink(pipeline: pipeline, known: known)
            builder = TreeBuilder(seed: secret.treeSeed, sink: sink)
            cacheWriter = try CacheWriter(directory: cacheDirectory, name: cacheName)
            try pipeline.start()
        } catch {
            committer.close()
            throw error
        }
    }

    /// Whether there is a point that this run builds on.
    package var hasBase: Bool { cache != nil }

    /// Adds the next entry; keys ascend.
    package func append(_ cached: CachedEntry) throws {
        try builder.append(key: cached.key, entry: cached.entry)
        planner.observe(cached.entry)
        try cacheWriter.append(cached)
    }

    /// Commits what was appended so far. After a partial point, appending goes on.
    package func commit(_ draft: PointDraft, isPartial: Bool) throws -> CommittedPoint {
        var finished = builder.copy()
        let tree = try finished.finish()
        try pipeline.flush()
        var record = PointRecord(root: tree.root)
        record.statistics = draft.statistics
        record.statistics.newBytes = counters.newBytes.load(ordering: .relaxed)
        record.statistics.storedBytes = counters.storedBytes.load(ordering: .relaxed)
        let committed = try committer.commit(record, draft, point: .random(), isPartial: isPartial)
        let identity = CacheIdentity(
            vault: secrets.vault, machine: secrets.machine, incarnation: committed.head.incarnation,
            point: committed.point, number: committed.number, locator: committed.head.hash,
            secretNumber: secret.number, root: tree.root)
        if isPartial {
            try cacheWriter.snapshot(identity: identity, nodes: sink.recorded)
        } else {
            let plan = planner.plan(.afterRun(newBytes: record.statistics.newBytes))
            try cacheWriter.finish(identity: identity, nodes: sink.recorded, plan: plan)
        }
        return committed
    }

    /// Stops the threads and ends the lease. Harmless to call twice.
    package func close() {
        if isClosed { return }
        isClosed = true
        pipeline.stop()
        cacheWriter.cancel()
        committer.close()
    }

    deinit { close() }
}
