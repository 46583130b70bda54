package import Model
import Platform
import Synchronization

/// What a machine's newest point of some paths is: a tree and the deltas over it.
package struct ContinuousState: Hashable, Sendable {
    package var point: PointID
    package var incarnation: IncarnationID
    package var root: ContentKey
    /// Oldest first.
    package var deltas: [ContentKey]

    package init(point: PointID, incarnation: IncarnationID, root: ContentKey, deltas: [ContentKey] = []) {
        self.point = point
        self.incarnation = incarnation
        self.root = root
        self.deltas = deltas
    }
}

/// Commits point after point, each a few changes over the one before.
///
/// Lease, pipeline and the place in the chain stay open between points. Changes become a delta over the newest tree; when
/// there are `FormatLimits.deltas` of them, or they do not fit into one, they are folded into a new tree, of which only the
/// nodes along the changes are read and written. An error ends this writer: the caller opens another one from the last
/// `state`, which changes only when the vault has acknowledged a point.
package final class DeltaPointWriter {
    /// Nodes of trees kept in memory between folds, in bytes.
    private static let nodeCache = 8 << 20

    package private(set) var state: ContinuousState
    package let pipeline: SealingPipeline
    package let counters: WritingCounters
    private let committer: PointCommitter
    private let secret: DomainSecret
    private let nodes: NodeStore
    /// What the points so far have counted.
    private var counted: (new: UInt64, stored: UInt64) = (0, 0)
    private let opened = SystemClock.monotonic
    private var isClosed = false

    /// Opens a lease that goes on from `state`.
    ///
    /// - Throws: `leaseLost` when nothing can be built on that state: the vault does not have it, the machine's history broke,
    ///   or something that it names is damaged. A full scan answers that.
    package init(
        service: any VaultService, secrets: WriterSecrets, heads: any HeadMemory, state: ContinuousState,
        options: SealingPipeline.Options, counters: WritingCounters = WritingCounters()
    ) throws {
        self.state = state
        self.counters = counters
        secret = secrets.domainSecret
        let committer = try PointCommitter(service: service, secrets: secrets, heads: heads, base: state.point)
        self.committer = committer
        do {
            let lease = committer.lease
            guard lease.baseAvailable, !lease.isNewIncarnation, lease.next.incarnation == state.incarnation,
                lease.damaged.isEmpty
            else {
                throw HoldfastError(.leaseLost, "the vault does not hold the newest point of this machine whole")
            }
            pipeline = SealingPipeline(
                service: service, lease: lease.id, vault: secrets.vault, machine: secrets.machine, secret: secret,
                options: options, counters: counters)
            nodes = NodeStore(
                pipeline: pipeline,
                fetcher: BlobFetcher(service: service, checker: ContentChecker(secrets: [secret])),
                limit: DeltaPointWriter.nodeCache)
            try pipeline.start()
        } catch {
            committer.close()
            throw error
        }
    }

    /// Where blobs go that the points name.
    package var lease: LeaseID { committer.lease.id }

    /// Nanoseconds since the lease was opened. One that is held for long keeps the collector from freeing what it might need.
    package var age: Int64 { SystemClock.monotonic - opened }

    /// Commits one point: the state before with `changes` over it. Contents that they name were given to `pipeline`; what of them
    /// was new and stored is added to the numbers of the draft.
    ///
    /// - Parameters:
    ///   - changes: applied one after the other; usually one.
    ///   - point: its id.
    ///   - prepared: called with the state that will be, before the vault hears of it.
    package func commit(
        _ changes: [Delta], _ draft: PointDraft, point: PointID = .random(),
        prepared: (ContinuousState) throws -> Void = { _ in }
    ) throws -> CommittedPoint {
        var next = state
        let changes = changes.filter { !$0.isEmpty }
        if changes.count == 1, state.deltas.count < FormatLimits.deltas, let key = try changes[0].store(in: nodes) {
            next.deltas.append(key)
        } else if !changes.isEmpty {
            next.root = try fold(changes)
            next.deltas = []
        }
        try pipeline.flush()
        var record = PointRecord(root: next.root)
        record.deltas = next.deltas
        record.statistics = draft.statistics
        let new = counters.newBytes.load(ordering: .relaxed)
        let stored = counters.storedBytes.load(ordering: .relaxed)
        record.statistics.newBytes += new - counted.new
        record.statistics.storedBytes += stored - counted.stored
        counted = (new, stored)
        next.point = point
        next.incarnation = committer.position.incarnation
        try prepared(next)
        let committed = try committer.commit(record, draft, point: point)
        next.incarnation = committed.head.incarnation
        state = next
        return committed
    }

    /// The tree of the state with `changes` over it. More of them than a reader takes at once are folded in steps.
    private func fold(_ changes: [Delta]) throws -> ContentKey {
        var root = state.root
        var deltas = state.deltas
        var rest = changes[...]
        while !rest.isEmpty {
            let step = rest.prefix(max(FormatLimits.deltas + 1 - deltas.count, 1))
            rest = rest.dropFirst(step.count)
            let reader = TreeReader(source: nodes, root: root, deltas: deltas, unsaved: Array(step))
            root = try TreeFold.fold(reader, seed: secret.treeSeed, sink: nodes).root
            deltas = []
        }
        return root
    }

    /// Stops the threads and ends the lease. Harmless to call twice.
    package func close() {
        if isClosed { return }
        isClosed = true
        pipeline.stop()
        committer.close()
    }

    deinit { close() }
}

/// Nodes and deltas that were made here or read from the vault: what was made is not read back.
private final class NodeStore: NodeSink, NodeSource {
    private let pipeline: SealingPipeline
    private let fetcher: BlobFetcher
    private let limit: Int
    private var plain: [ContentKey: (bytes: [UInt8], used: UInt64)] = [:]
    private var size = 0
    private var clock: UInt64 = 0

    init(pipeline: SealingPipeline, fetcher: BlobFetcher, limit: Int) {
        self.pipeline = pipeline
        self.fetcher = fetcher
        self.limit = limit
    }

    func put(type: BlobType, plain bytes: [UInt8], children: [ContentKey]) throws -> ContentKey {
        // A node that is in the state already may come again; sending it twice harms nothing.
        let key = try pipeline.put(type: type, plain: bytes, children: children, known: [])
        keep(key, bytes)
        return key
    }

    func node(_ key: ContentKey, type: BlobType) throws -> [UInt8] {
        if let known = plain[key] {
            clock += 1
            plain[key]?.used = clock
            return known.bytes
        }
        // What was just made and has left the cache may not have reached the vault.
        try pipeline.flush()
        let bytes = try fetcher.fetch(key, type: type) { Array($0) }
        keep(key, bytes)
        return bytes
    }

    private func keep(_ key: ContentKey, _ bytes: [UInt8]) {
        clock += 1
        if plain.updateValue((bytes, clock), forKey: key) == nil { size += bytes.count }
        guard size > limit else { return }
        for (old, value) in plain.sorted(by: { $0.value.used < $1.value.used }) {
            if size <= limit - limit / 4 { break }
            size -= value.bytes.count
            plain[old] = nil
        }
    }
}
