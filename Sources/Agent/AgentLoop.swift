import Capture
import Catalog
import Model
import Platform
import Policy
import Synchronization
import Vault

/// What the agent's thread does: waits until something is due, looks at it, and stores it.
final class AgentLoop {
    private enum Step {
        case stop
        case scan
        case capture
        /// Nothing is to do, and somebody wants to hear that.
        case answer(UInt64)
        case wait(Int64)
        /// Nothing can be built on what the vault was thought to hold.
        case lost(Bool)
        case tidy
        /// Some directories are to be listed, at leisure.
        case roll
        /// One was listed.
        case compare(DirectoryListing)
    }

    let agent: AgentService
    let configuration: AgentConfiguration
    let spool: Spool
    var pipeline: SealingPipeline?
    var counters = WritingCounters()
    var memory: EntryMemory?
    var totals = PointStatistics()
    let queue: CaptureQueue
    /// What was looked at while a first full backup ran: beside nothing that was known.
    var duringFirst = PendingChanges()
    private var failures = 0
    private var retryAt: Int64 = .min
    var nextScan: Int64 = .max
    var nextTidying: Int64 = .min
    private var tidyingFails = false
    var lastPoint: Int64 = .min
    /// What is known is of other roots than those that are protected now: all has to be written down anew.
    var isOfOtherRoots = false
    /// Not before then it is tried again to write all down anew, after the vault was not there for it, and how long that is.
    var nextFullScan: Int64 = .min
    var fullScanPause = AgentLoop.shortestPause
    /// Waiting for room in the spool: what was sent when there was none, when it is tried again, and how often it was in vain.
    var sentBefore: Int64?
    var nextUnfit: Int64 = .min
    private var timesUnfit = 0
    /// Why something found no room.
    var noRoom: (any Error)?
    /// The flush that the changes in hand answer.
    var flush: UInt64 = 0
    /// How often all was lost since something was put into the spool.
    var losses = 0
    /// How often the machine had woken up when the last attempt was made.
    private var wakes = 0
    let rolling: RollingLook
    private let checkpoints: CheckpointTriggers
    /// Everything was looked at since the start.
    var hasLooked = false
    var notKept: [TreePath: PointWarning] = [:]
    var furtherNotKept: UInt64 = 0

    /// Paths that are changed in memory before everything is looked at again, which writes them down.
    private static let memoryLimit = 500_000
    private static let mostLosses = 5
    /// Between two attempts to write all down anew, in nanoseconds.
    static let shortestPause: Int64 = 60_000_000_000
    /// Between two looks at what found no room while something is being sent, in nanoseconds.
    private static let shortestUnfitPause: Int64 = 500_000_000
    /// Paths that are named as not kept.
    private static let notKeptLimit = 10_000
    /// Paths that a scan beside what is known looks at; it keeps some 16 bytes for each.
    static let lookLimit = 4_000_000
    /// Why everything is written down anew, not only compared with what is known.
    static let fullReasons: Set<String> = ["due", "memory", "base"]
    /// The spool's room is looked at so often, in nanoseconds.
    private static let tidyingInterval: Int64 = 60_000_000_000

    /// Files of so many bytes are held back after they were read, and for so long at most (nanoseconds).
    static let largeFile: UInt64 = 32 << 20
    static let longestHold: Int64 = 600_000_000_000

    init(_ agent: AgentService) {
        self.agent = agent
        configuration = agent.configuration
        spool = agent.spool
        checkpoints = CheckpointTriggers(
            agent.configuration.checkpoints, directory: agent.configuration.spoolDirectory)
        queue = CaptureQueue(agent.spool, agent.configuration.source)
        rolling = RollingLook(agent.state, interval: agent.configuration.rollingInterval)
    }

    func run() {
        // Whoever works on the machine goes first.
        try? ProcessLimits.giveWay()
        attempt { try restore() }
        while true {
            switch next() {
            case .stop:
                pipeline?.stop()
                rolling.stop()
                return
            case .lost(let forgetsCaches): attempt { try forget(forgetsCaches) }
            case .tidy: tidyUp()
            case .roll: rolling.begin(memory)
            case .compare(let listing): compare(listing)
            case .scan: attempt { try scan() }
            case .capture: attempt { try capture() }
            case .answer(let flush): agent.state.update { $0.flushesDone = max($0.flushesDone, flush) }
            case .wait(let until): wait(until: until)
            }
        }
    }

    // MARK: What is next

    private func next() -> Step {
        let now = SystemClock.monotonic
        return agent.state.withLock { state -> Step in
            if state.isStopping { return .stop }
            if let forgetsCaches = state.baseIsLost { return .lost(forgetsCaches) }
            let isAsked = state.flushesWanted > state.flushesDone && state.flushError == nil
            if state.wakes != wakes {
                wakes = state.wakes
                retryAt = .min
                nextUnfit = .min
            }
            if now < retryAt, !isAsked { return .wait(retryAt) }
            if now >= nextScan { state.wantScan("due") }
            if state.scanSince == nil { wantFullScan(&state, now) }
            if now >= nextTidying { return .tidy }
            if state.scanSince != nil {
                state.status.activity = .scanning
                return .scan
            }
            let due = state.settling.next ?? .max
            if isAsked {
                flush = state.flushesWanted
                nextUnfit = .min
                take(&state, at: .max)
                return queue.isEmpty ? .answer(flush) : .capture
            }
            // What found no room keeps nothing else waiting.
            let allowed = earliestPoint
            if due <= now, allowed <= now { take(&state, at: now) }
            if !queue.pending.isEmpty { return .capture }
            if let sentBefore, state.sent > sentBefore {
                // There is more room than before.
                self.sentBefore = nil
                nextUnfit = min(nextUnfit, now + AgentLoop.shortestUnfitPause)
            }
            if !queue.unfit.isEmpty, now >= nextUnfit { return .capture }
            if failures == 0 { state.status.activity = queue.unfit.isEmpty ? .idle : .waiting }
            if let listing = state.listing { return .compare(listing) }
            if now >= rolling.next { return .roll }
            return .wait(
                min(max(due, allowed), nextScan, nextTidying, rolling.next, queue.unfit.isEmpty ? .max : nextUnfit))
        }
    }

    /// Asks for a full scan where what is known needs one.
    private func wantFullScan(_ state: inout AgentService.State, _ now: Int64) {
        guard let memory else { return state.wantScan("base") }
        guard now >= nextFullScan, hasLooked, state.isAllSent else { return }
        if isOfOtherRoots { return state.wantScan("base") }
        if memory.count > AgentLoop.memoryLimit { state.wantScan("memory") }
    }

    /// Before that no further point is made.
    private var earliestPoint: Int64 { lastPoint == .min ? .min : lastPoint + configuration.interval }

    private func take(_ state: inout AgentService.State, at time: Int64) {
        let oldest = state.settling.oldest
        queue.add(state.settling.due(at: time), since: oldest)
        state.taken = queue.count
        state.takenSince = queue.oldest
        if !queue.pending.isEmpty { state.status.activity = .capturing }
    }

    /// Waits until then, or until something changes that may be due earlier.
    private func wait(until time: Int64) {
        let left = time == .max ? 3_600_000_000_000 : max(time - SystemClock.monotonic, 0)
        let isBackingOff = SystemClock.monotonic < retryAt
        let sentBefore = queue.unfit.isEmpty ? nil : sentBefore
        let allowed = earliestPoint
        let wakes = wakes
        _ = agent.state.waitUntil(
            { state in
                if state.wakes != wakes { return true }
                if state.isStopping || (state.flushesWanted > state.flushesDone && state.flushError == nil) {
                    return true
                }
                if state.baseIsLost != nil { return true }
                if isBackingOff { return false }
                if let sentBefore, state.sent > sentBefore { return true }
                return state.scanSince != nil || state.listing != nil
                    || max(state.settling.next ?? .max, allowed) < time
            }, nanoseconds: left)
    }

    // MARK: Errors

    private func attempt(_ body: () throws -> Void) {
        do {
            try body()
            failures = 0
            retryAt = .min
            agent.state.update { $0.status.problem = nil }
        } catch {
            pipeline?.stop()
            pipeline = nil
            answer(error)
        }
    }

    /// What is done about an error. Nothing that was taken is given up: it is tried again, or found by a scan.
    private func answer(_ error: any Error) {
        let known = error as? HoldfastError
        switch known?.code {
        case .cancelled?:
            if agent.state.withLock({ $0.isStopping }) { return }
        case .tooMuchChanged?:
            wantScan("due")
        case .missingBlobs?, .leaseLost?, .damaged?, .spoolDamaged?:
            agent.state.update { $0.baseIsLost = known?.code == .missingBlobs || $0.baseIsLost == true }
        default: break
        }
        failures += 1
        let message = known?.message ?? String(describing: error)
        retryAt = pause(after: failures)
        agent.state.update { state in
            state.status.problem = message
            state.status.activity = .waiting
            if state.flushesWanted > state.flushesDone { state.flushError = error }
        }
    }

    /// When it is tried again after so many attempts.
    private func pause(after failures: Int) -> Int64 {
        let pause = min(500_000_000 << min(Int64(failures), 10), configuration.longestPause)
        // Spread out, so that a server that comes back is not met by all at once.
        return SystemClock.monotonic + Int64.random(in: (pause / 2)...pause)
    }

    /// Names in an error where there was no room, when that is not the spool.
    static let placeKey = "place"

    // MARK: Room

    /// Takes up what found no room, if there may be some now; with nothing else in the spool the way past it is left.
    func takeUpUnfit() {
        let (isAllSent, sent) = agent.state.withLock { ($0.isAllSent, $0.sent) }
        sentBefore = sent
        queue.reconsider()
        timesUnfit += 1
        nextUnfit = pause(after: timesUnfit)
        if queue.pending.isEmpty, isAllSent, SystemClock.monotonic >= nextFullScan { wantScan("due") }
    }

    /// Says what waits. Whoever asked is answered when nothing does any more that has room.
    ///
    /// - Parameter isTried: what found no room has been tried again, as far as that could help.
    func publishQueue(isTried: Bool = false) {
        if queue.unfit.isEmpty {
            noRoom = nil
            timesUnfit = 0
            nextUnfit = .min
            sentBefore = nil
        }
        let (noRoom, flush) = (noRoom, flush)
        agent.state.update { state in
            state.taken = queue.count
            state.takenSince = queue.oldest
            state.noRoom = noRoom
            // A look at everything comes first.
            if !queue.pending.isEmpty || state.scanSince != nil { return }
            if queue.unfit.isEmpty {
                state.flushesDone = max(state.flushesDone, flush)
            } else if isTried, state.flushesWanted > state.flushesDone, state.flushesWanted == flush {
                state.flushError = noRoom
            }
        }
    }

    func wantScan(_ reason: String) { agent.state.update { $0.wantScan(reason) } }

    var now: Timestamp { Timestamp(nanoseconds: SystemClock.wall) }

    /// Nothing that is known can be relied on; with `all` not even what earlier runs wrote down.
    func forget(_ all: Bool) throws {
        losses += 1
        memory = nil
        // What cannot be written to, or is lost again and again, is not only told wrong things.
        if try losses > AgentLoop.mostLosses || !spool.index.isIntact() {
            try agent.sender.paused {
                try spool.startAnew()
                agent.state.update { state in
                    state.captured = 0
                    state.sent = 0
                    state.waitingSince = nil
                }
            }
        } else {
            try spool.index.forget()
        }
        if all {
            WriterCache.remove(
                vault: agent.secrets.vault, source: configuration.source.cacheSource,
                from: configuration.cacheDirectory)
        }
        agent.state.update { state in
            state.baseIsLost = nil
            state.wantScan("base")
        }
    }

    /// Tidies. That it works says nothing about what failed before it.
    private func tidyUp() {
        do {
            try tidy()
            if tidyingFails { attempt {} }
            tidyingFails = false
        } catch {
            tidyingFails = true
            answer(error)
        }
    }

    /// Looks after the spool's room.
    private func tidy() throws {
        nextTidying = SystemClock.monotonic + AgentLoop.tidyingInterval
        try spool.makeRoom(now: now)
        for event in checkpoints.due(now: SystemClock.wall) where hasLooked && memory != nil && queue.isEmpty {
            try checkpoint(event)
            checkpoints.done(event, now: SystemClock.wall)
        }
    }

    /// Puts the state that is known into the spool once more, as a checkpoint.
    private func checkpoint(_ event: CheckpointEvent) throws {
        let record = configuration.record(
            of: PathCapture.Outcome(), totals, labels: [event.rawValue], WritingCounters(),
            started: SystemClock.monotonic)
        let time = now
        let sequence = try spool.append(EntryMemory.Changes(), record, time: time, totals: totals) { _ in [] }
        agent.state.update { $0.capture(sequence, at: time) }
        agent.sender.wake()
    }

    // MARK: Status

    func keep(_ warning: PointWarning) {
        guard notKept.count < AgentLoop.notKeptLimit, let path = TreePath(normalizing: warning.path) else {
            furtherNotKept += 1
            return
        }
        notKept[path] = warning
    }

    func publishNotKept() {
        let named = notKept.sorted { $0.key.bytes.lexicographicallyPrecedes($1.key.bytes) }.prefix(100).map(\.value)
        let count = UInt64(notKept.count) + furtherNotKept
        agent.state.update { state in
            state.status.notKept = named
            state.status.notKeptCount = count
        }
    }
}
