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

    private let agent: AgentService
    private let configuration: AgentConfiguration
    private let spool: Spool
    private var pipeline: SealingPipeline?
    private var counters = WritingCounters()
    private var memory: EntryMemory?
    private var totals = PointStatistics()
    private var pending = PendingChanges()
    /// What was looked at while a first full backup ran: beside nothing that was known.
    private var duringFirst = PendingChanges()
    private var failures = 0
    private var retryAt: Int64 = .min
    private var nextScan: Int64 = .max
    private var nextTidying: Int64 = .min
    private var tidyingFails = false
    private var lastPoint: Int64 = .min
    /// What is known is of other roots than those that are protected now: all has to be written down anew.
    private var isOfOtherRoots = false
    /// Not before then it is tried again to write all down anew, after the vault was not there for it, and how long that is.
    private var nextFullScan: Int64 = .min
    private var fullScanPause = AgentLoop.shortestPause
    /// How often room was made in the spool for what is pending.
    private var roomsMade = 0
    /// Paths that are captured at once: fewer when they do not fit into the spool together.
    private var portion = Int.max
    /// Paths that did not fit into the spool alone.
    private var unfit: Set<TreePath> = []
    /// Waiting for room in the spool: what was sent when there was none.
    private var sentBefore: Int64?
    /// The flush that the changes in hand answer.
    private var flush: UInt64 = 0
    /// How often all was lost since something was put into the spool.
    private var losses = 0
    /// How often the machine had woken up when the last attempt was made.
    private var wakes = 0
    private let rolling: RollingLook
    private let checkpoints: CheckpointTriggers
    /// Everything was looked at since the start.
    private var hasLooked = false
    private var notKept: [TreePath: PointWarning] = [:]
    private var furtherNotKept: UInt64 = 0

    /// Paths that are changed in memory before everything is looked at again, which writes them down.
    private static let memoryLimit = 500_000
    private static let mostLosses = 5
    private static let mostRoomsMade = 8
    /// Between two attempts to write all down anew, in nanoseconds.
    private static let shortestPause: Int64 = 60_000_000_000
    /// Paths that are named as not kept.
    private static let notKeptLimit = 10_000
    /// Paths that a scan beside what is known looks at; it keeps some 16 bytes for each.
    private static let lookLimit = 4_000_000
    /// Why everything is written down anew, not only compared with what is known.
    private static let fullReasons: Set<String> = ["due", "memory", "base"]
    /// The spool's room is looked at so often, in nanoseconds.
    private static let tidyingInterval: Int64 = 60_000_000_000

    /// Files of so many bytes are held back after they were read, and for so long at most (nanoseconds).
    private static let largeFile: UInt64 = 32 << 20
    private static let longestHold: Int64 = 600_000_000_000

    init(_ agent: AgentService) {
        self.agent = agent
        configuration = agent.configuration
        spool = agent.spool
        checkpoints = CheckpointTriggers(
            agent.configuration.checkpoints, directory: agent.configuration.spoolDirectory)
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
        let hasPending = !pending.isEmpty
        return agent.state.withLock { state -> Step in
            if state.isStopping { return .stop }
            if let forgetsCaches = state.baseIsLost { return .lost(forgetsCaches) }
            let isAsked = state.flushesWanted > state.flushesDone && state.flushError == nil
            if state.wakes != wakes {
                wakes = state.wakes
                retryAt = .min
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
                take(&state, at: .max)
                return pending.isEmpty ? .answer(flush) : .capture
            }
            if hasPending { return .capture }
            let allowed = earliestPoint
            if due <= now, allowed <= now {
                take(&state, at: now)
                if !pending.isEmpty { return .capture }
            }
            if failures == 0 { state.status.activity = .idle }
            if let listing = state.listing { return .compare(listing) }
            if now >= rolling.next { return .roll }
            return .wait(min(max(due, allowed), nextScan, nextTidying, rolling.next))
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
        pending.add(state.settling.due(at: time), since: oldest)
        state.taken = pending.count
        state.takenSince = pending.oldest
        if !pending.isEmpty { state.status.activity = .capturing }
    }

    /// Waits until then, or until something changes that may be due earlier.
    private func wait(until time: Int64) {
        let left = time == .max ? 3_600_000_000_000 : max(time - SystemClock.monotonic, 0)
        let isBackingOff = SystemClock.monotonic < retryAt
        let sentBefore = sentBefore
        var hasRoom = false
        defer {
            if hasRoom {
                retryAt = .min
                self.sentBefore = nil
            }
        }
        let allowed = earliestPoint
        let wakes = wakes
        _ = agent.state.waitUntil(
            { state in
                if state.wakes != wakes { return true }
                if state.isStopping || (state.flushesWanted > state.flushesDone && state.flushError == nil) {
                    return true
                }
                if state.baseIsLost != nil { return true }
                if isBackingOff {
                    hasRoom = sentBefore.map { state.sent > $0 } ?? false
                    return hasRoom
                }
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
        case .noSpace? where known?.context[AgentLoop.placeKey] == nil:
            if makeRoom() { return }
        case .missingBlobs?, .leaseLost?, .damaged?, .spoolDamaged?:
            agent.state.update { $0.baseIsLost = known?.code == .missingBlobs || $0.baseIsLost == true }
        default: break
        }
        failures += 1
        let message = known?.message ?? String(describing: error)
        let pause = min(500_000_000 << min(Int64(failures), 10), configuration.longestPause)
        // Spread out, so that a server that comes back is not met by all at once.
        retryAt = SystemClock.monotonic + Int64.random(in: (pause / 2)...pause)
        agent.state.update { state in
            state.status.problem = message
            state.status.activity = .waiting
            if state.flushesWanted > state.flushesDone { state.flushError = error }
        }
    }

    /// Finds room for what does not fit into the spool.
    ///
    /// - Returns: whether it is worth trying again at once.
    private func makeRoom() -> Bool {
        let (isAllSent, sent) = agent.state.withLock { ($0.isAllSent, $0.sent) }
        sentBefore = sent
        // Less at once: for that no version has to go.
        if pending.count > 1, portion > 1 {
            portion = max(min(portion, pending.count) / 2, 1)
            return true
        }
        // What never fits takes no other version's room. Else history makes room for what waits.
        let part = pending.split(1, last: unfit).part.paths
        let isTooLarge = part.contains { size(of: $0) > spool.most }
        if !isTooLarge, roomsMade < AgentLoop.mostRoomsMade,
            (try? spool.makeRoom(isNeeded: true, now: now)) == true
        {
            roomsMade += 1
            return true
        }
        // What does not fit even alone comes last: it keeps nothing else waiting.
        let isNew = unfit.formUnionCounting(part) > 0
        if isNew, unfit.count < pending.count { return true }
        // With nothing else in the spool only the way past it is left.
        guard isAllSent, SystemClock.monotonic >= nextFullScan else { return false }
        wantScan("due")
        return true
    }

    /// Bytes that a file takes on the disk now; 0 for what is none.
    private func size(of path: TreePath) -> UInt64 {
        guard let status = try? FileSystem.status([UInt8(ascii: "/")] + path.bytes), status.kind == .regular else {
            return 0
        }
        return min(status.size, status.blocks * 512)
    }

    /// Names in an error where there was no room, when that is not the spool.
    private static let placeKey = "place"

    private func wantScan(_ reason: String) { agent.state.update { $0.wantScan(reason) } }

    private var now: Timestamp { Timestamp(nanoseconds: SystemClock.wall) }

    /// Nothing that is known can be relied on; with `all` not even what earlier runs wrote down.
    private func forget(_ all: Bool) throws {
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
        for event in checkpoints.due(now: SystemClock.wall) where hasLooked && memory != nil && pending.isEmpty {
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

    // MARK: What an earlier run left

    /// Goes on from what is in the spool, if it is about the same paths.
    private func restore() throws {
        let summary = try spool.index.summary()
        agent.state.update { state in
            state.captured = summary.newestWaiting ?? 0
            state.waitingSince = summary.oldestWaiting
        }
        agent.sender.wake()
        // Also of other roots: what was known there goes on, and the rest comes beside it, with or without the vault.
        guard let base = try spool.index.base(), let reader = cache(of: base.source),
            reader.identity.point == base.scan
        else { return }
        isOfOtherRoots = base.source != configuration.source.cacheSource
        let restored = EntryMemory(try CacheIndex(reader))
        let known = try spool.index.known()
        restored.apply(known)
        memory = restored
        totals = base.totals
        for entry in known.puts { agent.links.note(entry) }
        agent.state.update { $0.status.statistics = base.totals }
        setNextScan()
    }

    private func cache(of source: [UInt8]) -> CacheReader? {
        CacheReader(
            path: configuration.cacheDirectory + Array("/".utf8)
                + WriterCache.name(vault: agent.secrets.vault, source: source))
    }

    private func setNextScan() {
        let isBlind = agent.status.fileSystems.contains { $0.isScanned }
        nextScan =
            SystemClock.monotonic + (isBlind ? configuration.blindScanInterval : configuration.scanInterval)
    }

    // MARK: Scans

    /// Looks at everything: beside what is known when that can be, and else as a full backup, which needs the vault.
    private func scan() throws {
        let started = SystemClock.monotonic
        let passed = unfit.filter { size(of: $0) > spool.most }
        let (begun, reasons, canSend) = agent.state.withLock { state in
            (state.scanSince ?? SystemClock.monotonic, state.scanReasons, state.isAllSent && state.sendError == nil)
        }
        // What is told from here on is looked at after the scan; what came before is found by it.
        agent.state.update { state in
            state.takenSince = [begun, state.takenSince].compactMap { $0 }.min()
            state.scanSince = nil
            state.scanReasons = []
            state.status.scanReasons = reasons.sorted()
        }
        do {
            let isFullWanted = !reasons.isDisjoint(with: AgentLoop.fullReasons)
            if let memory, !isFullWanted || !canSend {
                if isFullWanted { nextFullScan = SystemClock.monotonic + AgentLoop.shortestPause }
                try look(memory)
            } else {
                do {
                    try fullScan()
                    fullScanPause = AgentLoop.shortestPause
                } catch {
                    nextFullScan = SystemClock.monotonic + fullScanPause
                    fullScanPause = min(2 * fullScanPause, AgentLoop.longestHold)
                    // The vault is away: what has changed is kept until it is back.
                    guard let memory, (error as? HoldfastError)?.code != .cancelled else { throw error }
                    try look(memory)
                }
            }
        } catch {
            agent.state.update { state in
                state.scanSince = min(begun, state.scanSince ?? begun)
                state.scanReasons.formUnion(reasons)
                state.takenSince = pending.oldest
            }
            throw error
        }
        // What fits into no spool went past it, and would go that way again at its next change. What found no room only because
        // others wait is not their like.
        if !passed.isEmpty { hold(Array(passed), took: SystemClock.monotonic - started) }
        portion = .max
        unfit = []
        roomsMade = 0
        setNextScan()
        if !hasLooked { nextTidying = .min }
        hasLooked = true
        rolling.restart()
        pending = duringFirst
        duringFirst = PendingChanges()
        agent.state.update { state in
            state.status.scans += 1
            state.takenSince = pending.oldest
            state.taken = pending.count
        }
    }

    /// Takes what is not as it is known in a directory as if the watch had told of it.
    private func compare(_ listing: DirectoryListing) {
        let facts = memory.map { listing.differences(from: $0, configuration.source) } ?? []
        agent.state.update { state in
            state.listing = nil
            let now = SystemClock.monotonic
            for fact in facts { state.settling.add(fact, at: now) }
            state.status.rollingFound += UInt64(facts.count)
        }
    }

    private func beginCapture() -> CaptureProgress {
        let progress = CaptureProgress()
        agent.progress.withLock { $0 = progress }
        if agent.state.withLock({ $0.isStopping }) { progress.stopRequested.store(true, ordering: .relaxed) }
        return progress
    }

    /// A full backup: a tree and a cache of its own. Nothing waits to be sent, and nothing is sent meanwhile.
    private func fullScan() throws {
        let progress = beginCapture()
        var request = BackupRequest(
            source: configuration.source, kind: .continuous, sealing: configuration.sealing,
            readers: configuration.readers, hostName: configuration.hostName, program: configuration.program)
        request.labels = ["scan"]
        let job = BackupJob(
            service: agent.service, secrets: agent.secrets, heads: agent.heads,
            cacheDirectory: configuration.cacheDirectory, request: request, progress: progress)
        agent.links.forget()
        let links = agent.links
        job.observer = { links.note($0) }
        // Of what waits nothing can be sent before the first one, and what comes meanwhile waits with it.
        let isFirst = try spool.index.base() == nil
        let first = isFirst ? FirstVersions(agent) : nil
        let report = try agent.sender.paused {
            guard try isFirst || spool.index.summary().waiting == 0 else {
                throw HoldfastError(
                    .busy, "Versions wait to be sent before everything is looked at.", isTemporary: true)
            }
            first?.begin()
            defer {
                if let (taken, isTooMuch) = first?.end() {
                    duringFirst.formUnion(taken)
                    if isTooMuch { wantScan("first") }
                }
            }
            do { return try job.run() } catch let error as HoldfastError where error.code == .noSpace {
                // Nothing that is in the spool could make room there.
                var error = error
                error.context[AgentLoop.placeKey] = "vault"
                throw error
            }
        }
        try adopt(report)
    }

    /// Takes the point of a full backup as what changes are compared with.
    private func adopt(_ report: BackupReport) throws {
        guard let reader = cache(of: configuration.source.cacheSource), reader.identity.point == report.point else {
            throw HoldfastError(.io, "what the scan wrote down of the files cannot be read", isTemporary: true)
        }
        let replaced = try spool.index.base()?.source
        let state = ContinuousState(
            point: report.point, incarnation: reader.identity.incarnation, root: reader.identity.root)
        try spool.index.rebase(
            SpoolBase(
                source: configuration.source.cacheSource, scan: report.point, state: state, totals: report.statistics))
        let adopted = EntryMemory(try CacheIndex(reader))
        // Versions that came during a first backup are sent after it.
        let known = try spool.index.known()
        adopted.apply(known)
        // They come behind the backup, which may have found something later: what is there by now has the last word.
        duringFirst.add((known.puts.map(\.key) + known.gone + known.emptied).compactMap { TreePath(key: $0) })
        let summary = try spool.index.summary()
        if isOfOtherRoots, let old = replaced {
            WriterCache.remove(vault: agent.secrets.vault, source: old, from: configuration.cacheDirectory)
        }
        isOfOtherRoots = false
        spool.wasPassed()
        memory = adopted
        totals = report.statistics
        notKept = [:]
        furtherNotKept = report.omittedWarnings
        // What vanished meanwhile is nothing that could be kept.
        for warning in report.warnings where warning.reason != .vanished { keep(warning) }
        publishNotKept()
        lastPoint = SystemClock.monotonic
        let committed = CommittedPoint(
            point: report.point, number: report.number, head: report.head, statistics: report.statistics)
        agent.state.update { state in
            state.sendError = nil
            if summary.waiting == 0 { state.sent = state.captured }
            state.waitingSince = summary.oldestWaiting
            state.publish(committed, report.time)
        }
        if summary.waiting > 0 { agent.sender.wake() }
    }

    /// Looks at everything beside what is known.
    private func look(_ memory: EntryMemory) throws {
        do { try lookAround(memory) } catch let error as HoldfastError where error.code == .noSpace {
            pipeline?.stop()
            pipeline = nil
            try spool.makeRoom(now: now)
            lookByNames(memory)
        }
    }

    /// Finds what has changed by names and times alone, and takes it as if the watch had told of it: where it does not fit into the
    /// spool all at once, each path comes into it by itself.
    private func lookByNames(_ memory: EntryMemory) {
        let known = memory.directories { _ in true }
        var facts = configuration.source.roots.filter { memory.entry($0.key) == nil }.map { DirtyFact.subtree($0) }
        for directory in known.all {
            if agent.state.withLock({ $0.isStopping }) { return }
            let listing = DirectoryListing(directory, stored: known.names[directory] ?? [])
            facts += listing.differences(from: memory, configuration.source)
        }
        let (found, now) = (facts, SystemClock.monotonic)
        agent.state.update { state in for fact in found { state.settling.add(fact, at: now) } }
    }

    /// Compares everything with what is known.
    private func lookAround(_ memory: EntryMemory) throws {
        var selection = PendingChanges()
        selection.add(configuration.source.roots.map { .subtree($0, isFuzzy: false) }, since: nil)
        try capture(selection, memory, labels: ["scan"], lookLimit: AgentLoop.lookLimit)
    }

    // MARK: What changed

    private func capture() throws {
        guard let memory else { return wantScan("base") }
        // Names that were not known yet when the watch asked for them; captured by now, they are in the memory.
        guard let uncertain = agent.links.takeUncertain() else { return wantScan("links") }
        if !uncertain.isEmpty { pending.add(memory.paths(of: uncertain)) }
        let (part, rest) = pending.split(portion, last: unfit)
        let started = SystemClock.monotonic
        try capture(part, memory, labels: part.isFuzzy ? ["fuzzy"] : [], lookLimit: PathCapture.limit)
        pending = rest
        holdBack(part, memory, took: SystemClock.monotonic - started)
        sentBefore = nil
        roomsMade = 0
        if rest.isEmpty {
            portion = .max
            unfit = []
        }
        agent.state.update { state in
            state.taken = rest.count
            state.takenSince = rest.oldest
            if !rest.isEmpty { return }
            state.flushesDone = max(state.flushesDone, flush)
        }
    }

    /// Large files that change again and again, such as a database's, would be read all the time: they wait for nine times as
    /// long as looking at them took. A database whose log is written changes too.
    private func holdBack(_ part: PendingChanges, _ memory: EntryMemory, took time: Int64) {
        var all: UInt64 = 1
        var large: [(path: TreePath, size: UInt64)] = []
        for path in part.shallow {
            guard let size = memory.entry(path.key)?.entry.size else { continue }
            all += size
            if size >= AgentLoop.largeFile { large.append((path, size)) }
        }
        // What else was looked at is not their doing.
        let share = Double(large.reduce(0) { $0 + $1.size }) / Double(all)
        if !large.isEmpty { hold(large.map(\.path), took: Int64(Double(time) * share)) }
    }

    private func hold(_ paths: [TreePath], took time: Int64) {
        let now = SystemClock.monotonic
        let end = now + min(9 * time, AgentLoop.longestHold)
        let held = paths + paths.flatMap(\.databaseLogs)
        agent.state.update { $0.settling.hold(held, until: end, at: now) }
    }

    /// Looks at what is selected, and puts what is not as it was known into the spool.
    private func capture(
        _ wanted: PendingChanges, _ memory: EntryMemory, labels: [String], lookLimit: Int
    ) throws {
        var wanted = wanted
        let started = SystemClock.monotonic
        let pipeline = try openPipeline()
        let progress = beginCapture()
        if agent.state.withLock({ $0.isStopping }) { throw HoldfastError(.cancelled, "the agent ends") }
        let time = now
        let look = PathCapture(
            source: configuration.source, memory: memory, secret: agent.secrets.domainSecret, lookLimit: lookLimit,
            staging: configuration.cacheDirectory)
        var outcome = try look.run(
            wanted.selection, moves: wanted.moves, pipeline: pipeline, progress: progress)
        let others = otherNames(outcome, memory, wanted)
        if !others.isEmpty {
            wanted.add(others)
            outcome = try look.run(wanted.selection, moves: wanted.moves, pipeline: pipeline, progress: progress)
        }
        try pipeline.flush()
        for path in wanted.shallow { notKept[path] = nil }
        for warning in outcome.warnings { keep(warning) }
        publishNotKept()
        if outcome.isEmpty { return }
        var next = totals
        outcome.update(&next) { memory.entry($0) }
        let changes = outcome.memoryChanges
        let record = configuration.record(of: outcome, next, labels: labels, counters, started: started)
        let access = AccessFinder(changes, memory)
        let sequence = try spool.append(changes, record, time: time, totals: next) { access.access(to: $0) }
        // In the spool: from here on it is what is known.
        losses = 0
        totals = next
        memory.apply(changes)
        for entry in outcome.changed { agent.links.note(entry) }
        lastPoint = SystemClock.monotonic
        agent.state.update { $0.capture(sequence, at: time) }
        agent.sender.wake()
    }

    private func openPipeline() throws -> SealingPipeline {
        if let pipeline { return pipeline }
        counters = WritingCounters()
        let opened = try agent.openPipeline(counters)
        pipeline = opened
        return opened
    }

    /// Names under which files were captured that have further names only now: what is written through the new name changes
    /// what the old one shows, of which nothing was told.
    private func otherNames(
        _ outcome: PathCapture.Outcome, _ memory: EntryMemory, _ wanted: PendingChanges
    ) -> [TreePath] {
        var files: Set<LinkGroup> = []
        for found in outcome.changed {
            guard let link = found.entry.linkGroup, memory.entry(found.key)?.entry.linkGroup != link else { continue }
            files.insert(link)
        }
        if files.isEmpty { return [] }
        return memory.paths(of: files).filter { !wanted.shallow.contains($0) }
    }

    // MARK: Status

    private func keep(_ warning: PointWarning) {
        guard notKept.count < AgentLoop.notKeptLimit, let path = TreePath(normalizing: warning.path) else {
            furtherNotKept += 1
            return
        }
        notKept[path] = warning
    }

    private func publishNotKept() {
        let named = notKept.sorted { $0.key.bytes.lexicographicallyPrecedes($1.key.bytes) }.prefix(100).map(\.value)
        let count = UInt64(notKept.count) + furtherNotKept
        agent.state.update { state in
            state.status.notKept = named
            state.status.notKeptCount = count
        }
    }
}
