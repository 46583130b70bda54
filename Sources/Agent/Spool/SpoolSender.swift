import Catalog
import Model
import Platform
import Policy
import Synchronization
import Vault

/// Sends what a spool holds, moment after moment, on a thread of its own: packs first, then the point.
///
/// Points get their number, and the hash of the one before, when they are sent. What was sent and not acknowledged is asked for
/// before it is sent anew, so that each moment becomes one point.
final class SpoolSender: Sendable {
    /// What is heard of it, on its thread.
    protocol Listener: AnyObject, Sendable {
        /// A moment is stored in the vault.
        func sent(_ moment: SpoolMoment, _ point: CommittedPoint)
        /// Something could not be sent; it is tried again. `attempt` is the number of the attempt; see `attempts`.
        func failed(_ error: any Error, attempt: Int)
        /// Nothing can be built on what the vault was thought to hold. With `forgetsCaches` not even what is known of files can be
        /// relied on.
        func lost(forgetsCaches: Bool, _ error: any Error)
    }

    private struct State {
        var isStopping = false
        /// Somebody else commits for this machine meanwhile.
        var pauses = 0
        var isSending = false
        /// Something may be there to send.
        var isWanted = true
        /// Not before then, except when `isHurried`.
        var retryAt: Int64 = .min
        var isHurried = false
    }

    private let spool: Spool
    private let service: any VaultService
    private let secrets: WriterSecrets
    private let heads: any HeadMemory
    private let configuration: AgentConfiguration
    /// How often sending was begun. A failure of a later attempt says something about what is there now.
    let attempts = Atomic<Int>(0)
    private let state = Monitor(State())
    private let thread = Mutex<WorkerThread?>(nil)
    private weak let listener: (any Listener)?

    init(
        spool: Spool, service: any VaultService, secrets: WriterSecrets, heads: any HeadMemory,
        configuration: AgentConfiguration, listener: any Listener
    ) {
        self.spool = spool
        self.service = service
        self.secrets = secrets
        self.heads = heads
        self.configuration = configuration
        self.listener = listener
    }

    func start() throws(Errno) {
        let worker = try WorkerThread(name: "sender", stack: 4 << 20) { [self] in
            try? ProcessLimits.giveWay()
            Run(self).loop()
        }
        thread.withLock { $0 = worker }
    }

    /// Ends it; what is not sent stays in the spool.
    func stop() {
        state.update { $0.isStopping = true }
        thread.withLock { thread in
            defer { thread = nil }
            return thread
        }?.join()
    }

    /// There is something to send. With `hurries` it is tried at once, whatever failed before.
    func wake(hurries: Bool = false) {
        state.update { state in
            state.isWanted = true
            state.isHurried = state.isHurried || hurries
        }
    }

    /// Runs `body` while nothing is sent and no lease is held.
    func paused<R>(_ body: () throws -> R) rethrows -> R {
        state.update { $0.pauses += 1 }
        defer { state.update { $0.pauses -= 1 } }
        _ = state.waitUntil({ !$0.isSending }, nanoseconds: .max / 2)
        return try body()
    }

    /// A checkpoint changes nothing. One that was joined with changes is what people look for them in: a point like others.
    static func kind(of changes: EntryMemory.Changes, _ labels: [String]) -> PointKind {
        let isCheckpoint = changes.isEmpty && CheckpointEvent.allCases.contains { labels.contains($0.rawValue) }
        return isCheckpoint ? .checkpoint : .continuous
    }

    // MARK: The thread

    private final class Run {
        private let sender: SpoolSender
        private var writer: DeltaPointWriter?
        private var failures = 0
        /// Commits of one moment that were answered with missing blobs.
        private var repeats: (sequence: Int64, count: Int) = (0, 0)

        init(_ sender: SpoolSender) { self.sender = sender }

        private enum Step {
            case stop
            case send
            case release
            case renew
            /// What is to be waited for has changed.
            case again
        }

        func loop() {
            while true {
                switch next() {
                case .stop:
                    close()
                    sender.state.update { $0.isSending = false }
                    return
                case .release:
                    close()
                    sender.state.update { $0.isSending = false }
                case .renew: close()
                case .again: continue
                case .send:
                    sender.attempts.add(1, ordering: .relaxed)
                    do {
                        while try sendNext() {
                            failures = 0
                            sender.state.withLock { $0.retryAt = .min }
                            if sender.state.withLock({ $0.isStopping || $0.pauses > 0 }) { break }
                        }
                    } catch { answer(error) }
                }
            }
        }

        private func next() -> Step {
            let holdsLease = writer != nil
            let age = sender.configuration.leaseAge
            var step = Step.renew
            let pause = wait(holdsLease, age)
            let end = SystemClock.monotonic + pause
            let isDue = sender.state.waitUntil(
                { state in
                    if state.isStopping {
                        step = .stop
                        return true
                    }
                    if state.pauses > 0 {
                        step = .release
                        return state.isSending
                    }
                    guard state.isWanted else { return false }
                    guard state.isHurried || SystemClock.monotonic >= state.retryAt else {
                        step = .again
                        return state.retryAt < end
                    }
                    state.isWanted = false
                    state.isHurried = false
                    state.isSending = true
                    step = .send
                    return true
                }, nanoseconds: pause)
            if !isDue { return holdsLease ? .renew : .again }
            return step
        }

        /// How long nothing is to do: until the next attempt, or until the lease gets old.
        private func wait(_ holdsLease: Bool, _ age: Int64) -> Int64 {
            let now = SystemClock.monotonic
            let retry = sender.state.withLock { $0.isWanted ? max($0.retryAt, now) - now : .max }
            let idle = holdsLease ? max(age - (writer?.age ?? 0), 1_000_000) : 3_600_000_000_000
            return max(min(idle, retry), 1_000_000)
        }

        private func close() {
            writer?.close()
            writer = nil
        }

        /// Sends the oldest moment; `false` when there is none.
        private func sendNext() throws -> Bool {
            // Versions that come during the first full backup wait for it: there is nothing to build on.
            guard try sender.spool.index.base() != nil, let moment = try sender.spool.beginSending() else {
                return false
            }
            defer { sender.spool.endSending() }
            if let attempt = moment.attempt, try isStored(attempt, moment) { return true }
            let writer = try openWriter()
            // Opening a lease lets the vault look for what it holds without knowing: a point, too.
            if let attempt = moment.attempt, try isStored(attempt, moment) { return true }
            for pack in try sender.spool.index.unsentPacks(of: moment.sequence) { try send(pack, writer) }
            let changes = try sender.spool.index.changes(of: moment.sequence)
            let record = moment.record
            let draft = PointDraft(
                kind: SpoolSender.kind(of: changes, record.labels), time: moment.time, labels: record.labels,
                consistency: record.consistency, statistics: record.statistics, warnings: record.warnings,
                omittedWarnings: record.furtherWarnings,
                paths: record.protectedPaths, hostName: record.host, program: record.program,
                exclusions: record.exclusions)
            let index = sender.spool.index
            let point = try writer.commit(try changes.deltas(), draft, point: .random()) { next in
                try index.attempt(moment.sequence, next)
            }
            try index.acknowledge(moment.sequence, writer.state)
            sender.listener?.sent(moment, point)
            return true
        }

        /// Whether the vault has the point that was being committed when something went wrong.
        private func isStored(_ attempt: ContinuousState, _ moment: SpoolMoment) throws -> Bool {
            guard let stored = try sender.service.points(PointQuery(ids: [attempt.point])).first else { return false }
            close()
            var state = attempt
            state.incarnation = stored.incarnation
            try sender.spool.index.acknowledge(moment.sequence, state)
            sender.listener?.sent(
                moment,
                CommittedPoint(
                    point: stored.id, number: stored.number,
                    head: MachineHead(
                        incarnation: stored.incarnation, number: stored.number, hash: stored.hash),
                    statistics: moment.record.statistics))
            return true
        }

        private func openWriter() throws -> DeltaPointWriter {
            if let writer { return writer }
            guard let base = try sender.spool.index.base() else {
                throw HoldfastError(.leaseLost, "there is no point to go on from")
            }
            var options = sender.configuration.sealing
            options.workers = 1
            let opened = try DeltaPointWriter(
                service: sender.service, secrets: sender.secrets, heads: sender.heads, state: base.state,
                options: options)
            writer = opened
            return opened
        }

        /// Packs shorter than this are sent without asking what of them is there.
        private static let smallPack: UInt64 = 64 << 10

        /// Sends of a pack what the vault does not have.
        private func send(_ pack: SpoolPack, _ writer: DeltaPointWriter) throws {
            let sealed = try sender.spool.load(pack)
            if pack.bytes <= Run.smallPack || sealed.packClass != .data { return try deliver(sealed, writer) }
            let blobs = try sender.spool.index.blobs(of: pack.number)
            var missing: Set<BlobID> = []
            for start in stride(from: 0, to: blobs.count, by: VaultLimits.missingBatch) {
                let batch = blobs[start..<min(start + VaultLimits.missingBatch, blobs.count)]
                let answers = try sender.service.missing(
                    batch.map { BlobQuestion(id: $0.id, key: $0.key) }, lease: writer.lease)
                for (blob, isMissing) in zip(batch, answers) where isMissing { missing.insert(blob.id) }
            }
            if missing.isEmpty { return }
            let wanted = sealed.blobs.filter { missing.contains($0.id) }
            if wanted.count == sealed.blobs.count { return try deliver(sealed, writer) }
            var builder = PackBuilder(
                vault: sender.service.vault, writer: sealed.writer, packClass: sealed.packClass)
            for blob in wanted { try builder.append(from: sealed.bytes, blob) }
            try deliver(try builder.finish(), writer)
        }

        private func deliver(_ pack: SealedPack, _ writer: DeltaPointWriter) throws {
            _ = try writer.pipeline.deliver(pack)
        }

        // MARK: Errors

        private func answer(_ error: any Error) {
            close()
            let known = error as? HoldfastError
            let spool = sender.spool
            sender.state.update { $0.isWanted = true }
            switch known?.code {
            case .leaseLost? where failures == 0, .headMoved? where failures == 0:
                // The first time a new lease does.
                failures = 1
                return
            case .missingBlobs?:
                // What is in the spool is sent once more; what is not cannot be had from here.
                if let moment = try? spool.index.firstWaiting() {
                    if repeats.sequence != moment.sequence { repeats = (moment.sequence, 0) }
                    repeats.count += 1
                    if repeats.count == 1, (try? spool.index.sendAgain(moment.sequence)) != nil { return }
                }
                sender.state.update { $0.isWanted = false }
                sender.listener?.lost(forgetsCaches: true, error)
                return
            // A lease that only came to its end is opened anew, however often: what waits is not given up for it.
            case .leaseLost? where known?.isTemporary != true, .damaged?, .spoolDamaged?:
                sender.state.update { $0.isWanted = false }
                sender.listener?.lost(forgetsCaches: false, error)
                failures = 0
                return
            default: break
            }
            failures += 1
            let pause = min(500_000_000 << min(Int64(failures), 10), sender.configuration.longestPause)
            sender.state.update { state in
                // Spread out, so that a server that comes back is not met by all at once.
                state.retryAt = SystemClock.monotonic + Int64.random(in: (pause / 2)...pause)
            }
            // The vault is away: what waits has to survive a power cut here.
            try? spool.synchronize()
            sender.listener?.failed(error, attempt: sender.attempts.load(ordering: .relaxed))
        }
    }
}
