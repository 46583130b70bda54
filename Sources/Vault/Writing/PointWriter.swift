package import Model
import Platform
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
}

/// Writes one tree, entry by entry in key order, and commits it as a point.
///
/// Order: data packs, meta packs, point, cache. The commit is the only moment at which anything becomes visible; dying
/// at any instruction before it leaves blobs that nothing refers to.
package final class PointWriter {
    private let service: any VaultService
    private let secrets: WriterSecrets
    private let heads: any HeadMemory
    private var remembered: [MachineHead]
    package let secret: DomainSecret
    package let lease: Lease
    /// What this machine remembers and what the vault holds do not fit; `nil` usually.
    package private(set) var historyBreak: HistoryBreak?
    private var position: PointPosition
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
    private var recordKey: RecordKey?
    private var recordKeyTime: Int64 = 0
    private var isClosed = false

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
        self.heads = heads
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
        remembered = try heads.remembered()
        let lease = try PointWriter.openLease(service, secrets.machine, remembered, base: usable?.identity.point)
        historyBreak = HistoryBreak(remembered: remembered, lease: lease)
        self.lease = lease
        position = lease.next
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
            service.closeLease(lease.id)
            throw error
        }
    }

    /// A lease that goes on from the first remembered head that the vault knows; else one for a new incarnation.
    private static func openLease(
        _ service: any VaultService, _ machine: MachineID, _ remembered: [MachineHead], base: PointID?
    ) throws -> Lease {
        var remaining = remembered[...]
        while true {
            let lease = try service.openLease(.writer(machine: machine, head: remaining.popFirst(), base: base))
            if remaining.isEmpty || !lease.isNewIncarnation { return lease }
            service.closeLease(lease.id)
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
        var statistics = draft.statistics
        statistics.newBytes = counters.newBytes.load(ordering: .relaxed)
        statistics.storedBytes = counters.storedBytes.load(ordering: .relaxed)
        var record = PointRecord(root: tree.root)
        record.labels = draft.labels
        record.consistency = draft.consistency
        record.statistics = statistics
        record.warnings = draft.warnings
        record.furtherWarnings = draft.omittedWarnings
        record.protectedPaths = draft.paths
        record.host = draft.hostName
        record.program = draft.program
        record.exclusions = draft.exclusions
        let point = PointID.random()
        if historyBreak != nil { record.labels.append(HistoryBreak.label) }
        let receipt = try heads.exclusively { try commit(record, draft, point, isPartial: isPartial) }
        let hash = receipt.storedUpTo.hash
        let number = position.number
        position = PointPosition(incarnation: position.incarnation, number: number + 1, previous: hash)
        let identity = CacheIdentity(
            vault: secrets.vault, machine: secrets.machine, incarnation: position.incarnation, point: point,
            number: number, locator: hash, secretNumber: secret.number, root: tree.root)
        if isPartial {
            try cacheWriter.snapshot(identity: identity, nodes: sink.recorded)
        } else {
            let plan = planner.plan(.afterRun(newBytes: statistics.newBytes))
            try cacheWriter.finish(identity: identity, nodes: sink.recorded, plan: plan)
        }
        return CommittedPoint(point: point, number: number, head: receipt.storedUpTo, statistics: statistics)
    }

    private func commit(
        _ record: PointRecord, _ draft: PointDraft, _ point: PointID, isPartial: Bool
    ) throws -> CommitReceipt {
        // Another backup of this machine may have committed since the lease was opened.
        if try heads.remembered() != remembered { try reposition() }
        for attempt in 1...3 {
            let locator = PointLocator(
                vault: secrets.vault, machine: secrets.machine, incarnation: position.incarnation, point: point,
                number: position.number, time: draft.time, kind: draft.kind, flags: isPartial ? .partial : [],
                series: secret.series(of: draft.paths), previous: position.previous,
                references: [BlobCrypto.id(of: record.root)])
            let sealed = try SealedPoint.seal(
                locator: locator, record: record, key: try currentRecordKey(), signing: secrets.signing)
            // Noted before: who dies between the commit and its acknowledgement knows its own point again.
            try heads.expect(MachineHead(after: locator))
            do {
                var receipt = try service.commit(sealed, lease: lease.id)
                receipt.storedUpTo = MachineHead(after: locator)
                try heads.acknowledge(receipt.storedUpTo)
                remembered = try heads.remembered()
                return receipt
            } catch let error as HoldfastError where error.code == .headMoved && attempt < 3 {
                try reposition()
            }
        }
        throw HoldfastError(.busy, "another backup of this machine commits at the same time")
    }

    /// Stands behind the newest point that this machine remembers. When the vault holds one that it does not remember, a
    /// clone of it wrote that: a chain of its own begins. The old lease stays open meanwhile, so that what was stored
    /// under it stays.
    private func reposition() throws {
        remembered = try heads.remembered()
        let newer = try PointWriter.openLease(service, secrets.machine, remembered, base: nil)
        service.closeLease(newer.id)
        position = newer.next
        if historyBreak == nil { historyBreak = HistoryBreak(remembered: remembered, lease: newer) }
    }

    /// A fresh key per lease, or per hour of a long run.
    private func currentRecordKey() throws -> RecordKey {
        let now = SystemClock.monotonic
        if let recordKey, now - recordKeyTime < 3_600_000_000_000 { return recordKey }
        let key = try RecordKey.fresh(for: secrets.publicKey, vault: secrets.vault)
        recordKey = key
        recordKeyTime = now
        return key
    }

    /// Stops the threads and ends the lease. Harmless to call twice.
    package func close() {
        if isClosed { return }
        isClosed = true
        pipeline.stop()
        cacheWriter.cancel()
        service.closeLease(lease.id)
    }

    deinit { close() }
}
