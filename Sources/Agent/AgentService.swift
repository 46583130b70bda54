package import Capture
import Catalog
import Model
import Platform
import Synchronization
package import Vault

/// Protects a machine while it runs: what changes is in the vault soon afterwards, as a point of its own.
///
/// ```
/// watcher ── facts ──▶ settling ── what is quiet ──▶ capture ──▶ spool ──▶ sender ──▶ vault
///                         ▲                             │
///                         └──── stays until captured ───┘
/// ```
///
/// A scan comes first, and again whenever it is not known what happened. While the vault cannot be reached versions are kept in
/// the spool; what does not fit waits as paths, which are bounded, because many changes become their directory.
package final class AgentService: Sendable {
    struct State {
        var settling: Settling
        /// Everything is to be looked at; since when that is known, and why.
        var scanSince: Int64? = 0
        var scanReasons: Set<String> = []
        var isStopping = false
        /// Requests to store all that has happened until now.
        var flushesWanted: UInt64 = 0
        var flushesDone: UInt64 = 0
        /// What flushes were answered with: the error of the last one that failed.
        var flushError: (any Error)?
        /// The newest moment that was captured, and the newest that the vault has.
        var captured: Int64 = 0
        var sent: Int64 = 0
        /// Why something could not be sent the last time; `nil` when it could.
        var sendError: (any Error)?
        /// Why something that has changed is not in the spool; `nil` when all is that was looked at.
        var noRoom: (any Error)?
        /// The last attempt to send that failed.
        var failedAttempt = 0
        /// Nothing can be built on what the vault was thought to hold; whether what is known of files goes with it.
        var baseIsLost: Bool?
        /// When the oldest moment was captured that the vault does not have.
        var waitingSince: Timestamp?
        /// What the loop has taken and not stored yet: since when the oldest of it waits, and how much it is.
        var takenSince: Int64?
        var taken = 0
        var status = AgentStatus()
        var watching: [WatchStatus] = []
        var sleeps = SleepLog()
        /// How often the machine has woken up: nothing that failed before says anything about now.
        var wakes = 0
        /// A directory as it is, to be compared with what is known.
        var listing: DirectoryListing?
    }

    let configuration: AgentConfiguration
    let service: any VaultService
    let secrets: WriterSecrets
    let heads: any HeadMemory
    let state: Monitor<State>
    /// Set to end a capture that is under way.
    let progress = Mutex<CaptureProgress?>(nil)
    let links = LinkMap()
    package let spool: Spool
    let sender: SpoolSender
    private let relay: Relay
    private let watcher = Mutex<ChangeWatcher?>(nil)
    private let thread = Mutex<WorkerThread?>(nil)
    private let sleepWatch = Mutex<WorkerThread?>(nil)

    package init(
        service: any VaultService, secrets: WriterSecrets, heads: any HeadMemory, configuration: AgentConfiguration
    ) throws {
        self.service = service
        self.secrets = secrets
        self.heads = heads
        self.configuration = configuration
        var first = State(settling: Settling(durations: configuration.durations))
        first.scanSince = SystemClock.monotonic
        first.scanReasons = ["started"]
        first.status.roots = configuration.source.roots
        state = Monitor(first)
        spool = try Spool(
            directory: configuration.spoolDirectory, vault: secrets.vault, limits: configuration.spoolLimits)
        relay = Relay(state, spool)
        sender = SpoolSender(
            spool: spool, service: service, secrets: secrets, heads: heads, configuration: configuration,
            listener: relay)
    }

    /// Begins to watch, then to protect. When it returns, nothing that happens from now on is missed.
    ///
    /// Throws when there can be no watch at all, not even by scans. Call once.
    package func start() throws {
        let scope = WatchScope(
            roots: configuration.source.roots, ignored: configuration.ignored,
            exclusions: configuration.source.exclusions)
        var watching = ChangeWatcher.Configuration(
            scope: scope, crossFileSystems: !configuration.source.oneFileSystem)
        if configuration.durations.afterClose == 0 { watching.batchInterval = 0 }
        let (links, state) = (links, state)
        let root = configuration.source.roots.first
        watching.otherNames = { file in
            let known = links.names(of: file)
            // A capture has to look for further names, even when the one that was used is not protected.
            if known.isUncertain, let root {
                state.update { $0.settling.add(.file(root, .metadata), at: SystemClock.monotonic) }
            }
            return known.names
        }
        configuration.watching(&watching)
        let watcher = try ChangeWatcher(watching, consumer: Consumer(state: state))
        try watcher.start()
        self.watcher.withLock { $0 = watcher }
        do throws(Errno) {
            let worker = try WorkerThread(name: "agent", stack: 16 << 20) { [self] in AgentLoop(self).run() }
            thread.withLock { $0 = worker }
            let watch = try WorkerThread(name: "sleep") { [self] in watchSleep() }
            sleepWatch.withLock { $0 = watch }
            try sender.start()
        } catch {
            abandon()
            throw HoldfastError(.io, "protection cannot begin: \(error)", cause: error)
        }
    }

    /// Stores all that has happened until now, without waiting for anything to settle, and waits for it.
    ///
    /// - Returns: the newest point, which holds it.
    /// - Throws: why it could not be stored; it still will be. `busy` when that took longer than `seconds`.
    package func captureNow(seconds: Int) throws -> CommittedPoint? {
        let end = SystemClock.monotonic + Int64(seconds) * 1_000_000_000
        try spoolNow(seconds: seconds)
        let wanted = state.withLock { $0.captured }
        let running = sender.attempts.load(ordering: .relaxed)
        sender.wake(hurries: true)
        let isDone = state.waitUntil(
            { $0.sent >= wanted || $0.failedAttempt > running || $0.isStopping },
            nanoseconds: end - SystemClock.monotonic)
        return try state.withLock { state in
            if state.sent >= wanted { return state.status.lastPoint }
            if isDone, let error = state.sendError, state.failedAttempt > running { throw error }
            throw AgentService.late(seconds)
        }
    }

    private static func late(_ seconds: Int) -> HoldfastError {
        HoldfastError(.busy, "it is not stored after \(seconds) seconds; the agent goes on", isTemporary: true)
    }

    /// Captures all that has happened until now; it is in the spool then.
    package func spoolNow(seconds: Int) throws {
        let watcher = watcher.withLock { $0 }
        watcher?.flush()
        // Where the kernel tells nothing, only a look at everything finds what has happened.
        let isBlind = watcher?.status.contains { $0.isScanned } ?? false
        if isBlind { scan() }
        let wanted = state.update { state in
            state.flushesWanted += 1
            state.flushError = nil
            return state.flushesWanted
        }
        let isDone = state.waitUntil(
            { $0.flushesDone >= wanted || $0.flushError != nil || $0.isStopping },
            nanoseconds: Int64(seconds) * 1_000_000_000)
        try state.withLock { state in
            if let error = state.flushError { throw error }
            guard isDone, state.flushesDone >= wanted else { throw AgentService.late(seconds) }
        }
    }

    /// Ends protection. What is known to have changed is stored if that takes at most `seconds`.
    ///
    /// - Returns: whether everything is stored.
    @discardableResult
    package func stop(seconds: Int) -> Bool {
        let isScanning = state.withLock { $0.status.activity == .scanning }
        let isStored = !isScanning && (try? captureNow(seconds: seconds)) != nil
        // What could not be sent is at least kept.
        if !isStored { try? spool.synchronize() }
        abandon()
        return isStored
    }

    /// Ends protection at once; what is not stored will be found by the scan of the next start.
    package func abandon() {
        watcher.withLock { watcher in
            defer { watcher = nil }
            return watcher
        }?.stop()
        state.update { $0.isStopping = true }
        progress.withLock { $0?.stopRequested.store(true, ordering: .relaxed) }
        sender.stop()
        thread.withLock { thread in
            defer { thread = nil }
            return thread
        }?.join()
        sleepWatch.withLock { thread in
            defer { thread = nil }
            return thread
        }?.join()
        // Somebody may be asking this agent something just now; the one that follows it does not wait for that.
        spool.close()
    }

    private func watchSleep() {
        var clock = SleepClock(configuration.asleep)
        while !state.waitUntil({ $0.isStopping }, nanoseconds: SleepClock.glance) {
            if let duration = clock.look() { woke(after: duration) }
        }
    }

    /// The machine slept so many nanoseconds: what waits for its next attempt is tried at once.
    func woke(after duration: Int64) {
        state.update { state in
            state.sleeps.add(duration, woke: Timestamp(nanoseconds: SystemClock.wall))
            state.wakes += 1
        }
        sender.wake(hurries: true)
    }

    /// What the capture that is under way has done so far; `nil` before the first.
    package var captureProgress: CaptureProgress? { progress.withLock { $0 } }

    /// How protection stands.
    package var status: AgentStatus {
        let watching = watcher.withLock { $0?.status }
        return state.withLock { state in
            var status = state.status
            status.fileSystems = watching ?? state.watching
            let oldest = [state.scanSince, state.takenSince, state.settling.oldest].compactMap { $0 }.min()
            let unseen = oldest.map { max(SystemClock.monotonic - $0, 0) } ?? 0
            // Asleep is not late: the other clock stands still meanwhile anyway.
            let now = Timestamp(nanoseconds: SystemClock.wall)
            let unsent =
                state.waitingSince.map { since in
                    max(now.nanoseconds - since.nanoseconds - state.sleeps.slept(from: since, to: now), 1)
                } ?? 0
            status.lag = max(unseen, unsent)
            status.spooled = state.captured > state.sent
            if let error = state.noRoom, status.problem == nil, state.sendError == nil {
                status.problem = (error as? HoldfastError)?.message ?? String(describing: error)
            }
            if let error = state.sendError, status.problem == nil {
                status.problem = (error as? HoldfastError)?.message ?? String(describing: error)
                if status.activity == .idle { status.activity = .waiting }
            }
            status.spoolBytes = spool.used
            status.spoolLimit = configuration.spoolLimits.size
            status.isSpoolFull = spool.isFull || state.noRoom != nil
            status.waiting = state.settling.count + state.taken
            return status
        }
    }

    /// Asks for a look at everything.
    package func scan() {
        state.update { $0.wantScan("asked for") }
    }

    /// Takes facts from the watcher's thread.
    private struct Consumer: ChangeConsumer {
        let state: Monitor<State>

        func received(_ facts: [DirtyFact]) {
            let now = SystemClock.monotonic
            state.update { state in
                for fact in facts {
                    switch fact {
                    // What is out of sight is not deleted: it is left as it was until it is back.
                    case .fileSystem(_, .unmounted): continue
                    case .fileSystem(_, let loss): state.wantScan("\(loss)")
                    default: state.settling.add(fact, at: now)
                    }
                }
            }
        }

        func changed(_ status: [WatchStatus]) { state.update { $0.watching = status } }
    }
}

/// Takes word from the sender's thread.
private final class Relay: SpoolSender.Listener {
    private let state: Monitor<AgentService.State>
    private let spool: Spool

    init(_ state: Monitor<AgentService.State>, _ spool: Spool) {
        self.state = state
        self.spool = spool
    }

    func sent(_ moment: SpoolMoment, _ point: CommittedPoint) {
        let oldest = try? spool.index.oldestWaiting()
        state.update { state in
            state.sent = max(state.sent, moment.sequence)
            state.sendError = nil
            state.waitingSince = oldest
            state.publish(point, moment.time)
        }
    }

    func failed(_ error: any Error, attempt: Int) {
        state.update { state in
            state.sendError = error
            state.failedAttempt = attempt
        }
    }

    func lost(forgetsCaches: Bool, _ error: any Error) {
        state.update { $0.baseIsLost = forgetsCaches || $0.baseIsLost == true }
    }
}

extension AgentService.State {
    /// Whether the vault has everything that was captured.
    var isAllSent: Bool { sent >= captured && waitingSince == nil }

    /// A moment is in the spool, and waits to be sent.
    mutating func capture(_ sequence: Int64, at time: Timestamp) {
        captured = sequence
        if waitingSince == nil { waitingSince = time }
    }

    /// A point is in the vault.
    mutating func publish(_ point: CommittedPoint, _ time: Timestamp) {
        status.statistics = point.statistics
        status.lastPoint = point
        status.lastTime = time
        status.points += 1
    }

    mutating func wantScan(_ reason: String) {
        if scanSince == nil { scanSince = SystemClock.monotonic }
        scanReasons.insert(reason)
    }
}

/// The names under which files with several names were captured, and of which files they may not be all.
///
/// The watch asks while a capture is under way, or before what it found is known here: then a name is missing in the answer
/// that the file has nevertheless. So what was asked for is remembered, and looked for once more, in all that is known, by
/// the next capture.
final class LinkMap: Sendable {
    /// Names that are remembered; beyond it they are found by scans.
    private static let limit = 1_000_000
    /// Files that are remembered as asked for.
    private static let askedLimit = 200_000

    private struct State {
        var names: [CaptureSource.FileNode: Set<TreePath>] = [:]
        var count = 0
        var asked: Set<CaptureSource.FileNode> = []
        /// More were asked for than are remembered.
        var isOverfull = false
        /// Files of which nothing was learnt since all that is known was searched for them.
        var searched: Set<CaptureSource.FileNode> = []
    }

    private let state = Mutex(State())

    /// The names of a file that has changed. `isUncertain`: there may be others, and `takeUncertain` has one more file.
    func names(of file: CaptureSource.FileNode) -> (names: [TreePath], isUncertain: Bool) {
        state.withLock { state in
            if state.asked.count > LinkMap.askedLimit { state.isOverfull = true }
            let isNew = !state.isOverfull && state.asked.insert(file).inserted
            return (Array(state.names[file] ?? []), isNew && !state.searched.contains(file))
        }
    }

    /// Takes the files that were asked for and that may have names which were not told then. Whoever takes them searches
    /// for them in all that was stored. `nil`: there were too many of them.
    func takeUncertain() -> Set<LinkGroup>? {
        state.withLock { state in
            let files = state.asked.subtracting(state.searched)
            let isOverfull = state.isOverfull
            state.asked = []
            state.isOverfull = false
            if isOverfull { return nil }
            if state.searched.count > LinkMap.askedLimit { state.searched = [] }
            state.searched.formUnion(files)
            return Set(files.map { LinkGroup(device: $0.device, inode: $0.inode) })
        }
    }

    /// Everything is captured anew.
    func forget() {
        state.withLock { state in
            // Who was asked for before or during a scan is searched for after it.
            state = State(asked: state.asked, isOverfull: state.isOverfull)
        }
    }

    /// Takes what was captured under a path.
    func note(_ found: CachedEntry) {
        let file = CaptureSource.FileNode(device: found.identity.device, inode: found.identity.inode)
        state.withLock { state in
            if !state.searched.isEmpty { state.searched.remove(file) }
            guard found.entry.linkGroup != nil, state.count < LinkMap.limit, let path = TreePath(key: found.key) else {
                return
            }
            if state.names[file, default: []].insert(path).inserted { state.count += 1 }
        }
    }
}
