import Capture
import Model
import Platform
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
    }

    private let agent: AgentService
    private let configuration: AgentConfiguration
    private var writer: DeltaPointWriter?
    private var base: ContinuousState?
    private var memory: EntryMemory?
    private var totals = PointStatistics()
    private var pending = PendingChanges()
    private var failures = 0
    private var retryAt: Int64 = .min
    private var nextScan: Int64 = .max
    private var lastPoint: Int64 = .min
    /// The flush that the changes in hand answer.
    private var flush: UInt64 = 0
    private var notKept: [TreePath: PointWarning] = [:]
    private var furtherNotKept: UInt64 = 0

    /// Paths that are changed in memory before everything is looked at again, which writes them down.
    private static let memoryLimit = 500_000
    /// Paths that are named as not kept.
    private static let notKeptLimit = 10_000

    init(_ agent: AgentService) {
        self.agent = agent
        configuration = agent.configuration
    }

    func run() {
        while true {
            switch next() {
            case .stop:
                writer?.close()
                return
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
            let isAsked = state.flushesWanted > state.flushesDone && state.flushError == nil
            if now < retryAt, !isAsked { return .wait(retryAt) }
            if now >= nextScan { state.wantScan("due") }
            if state.scanSince == nil, (memory?.count ?? .max) > AgentLoop.memoryLimit { state.wantScan("memory") }
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
            return .wait(min(max(due, allowed), nextScan))
        }
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
        let allowed = earliestPoint
        if let writer, writer.age > configuration.leaseAge, !isBackingOff { renew(writer) }
        _ = agent.state.waitUntil(
            { state in
                if state.isStopping || (state.flushesWanted > state.flushesDone && state.flushError == nil) {
                    return true
                }
                if isBackingOff { return false }
                return state.scanSince != nil || max(state.settling.next ?? .max, allowed) < time
            }, nanoseconds: min(left, configuration.leaseAge))
    }

    // MARK: Errors

    private func attempt(_ body: () throws -> Void) {
        do {
            try body()
            failures = 0
            retryAt = .min
            agent.state.update { $0.status.problem = nil }
        } catch {
            writer?.close()
            writer = nil
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
            wantScan("too much")
            return
        case .leaseLost? where failures == 0:
            // The first time a new lease does.
            failures = 1
            if base == nil { wantScan("lease") }
            return
        case .missingBlobs? where memory?.isIgnored == false && base != nil:
            // The vault lacks what it was thought to have: what waits is read again, whatever is known of it.
            memory?.isIgnored = true
            return
        case .missingBlobs?, .leaseLost?, .damaged?:
            forget(known?.code == .missingBlobs)
            wantScan("base")
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

    private func wantScan(_ reason: String) { agent.state.update { $0.wantScan(reason) } }

    /// Nothing that is known can be relied on; with `all` not even what earlier runs wrote down.
    private func forget(_ all: Bool) {
        memory = nil
        base = nil
        if all {
            WriterCache.remove(
                vault: agent.secrets.vault, source: configuration.source.cacheSource,
                from: configuration.cacheDirectory)
        }
    }

    // MARK: Everything

    private func scan() throws {
        writer?.close()
        writer = nil
        let begun = agent.state.update { state in
            state.status.scanReasons = state.scanReasons.sorted()
            defer { state.scanReasons = [] }
            return state.scanSince ?? SystemClock.monotonic
        }
        // What is told from here on is looked at after the scan; what came before is found by it.
        agent.state.update { state in
            state.takenSince = [begun, state.takenSince].compactMap { $0 }.min()
            state.scanSince = nil
        }
        do {
            let progress = CaptureProgress()
            agent.progress.withLock { $0 = progress }
            if agent.state.withLock({ $0.isStopping }) { progress.stopRequested.store(true, ordering: .relaxed) }
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
            let report = try job.run()
            try adopt(report)
        } catch {
            agent.state.update { state in
                state.scanSince = min(begun, state.scanSince ?? begun)
                state.takenSince = pending.oldest
            }
            throw error
        }
        pending = PendingChanges()
        agent.state.update { state in
            state.takenSince = nil
            state.taken = 0
        }
    }

    /// Takes the point of a scan as what changes are compared with.
    private func adopt(_ report: BackupReport) throws {
        let path =
            configuration.cacheDirectory + Array("/".utf8)
            + WriterCache.name(vault: agent.secrets.vault, source: configuration.source.cacheSource)
        guard let reader = CacheReader(path: path), reader.identity.point == report.point else {
            throw HoldfastError(.io, "what the scan wrote down of the files cannot be read", isTemporary: true)
        }
        base = ContinuousState(
            point: report.point, incarnation: reader.identity.incarnation, root: reader.identity.root)
        memory = EntryMemory(try CacheIndex(reader))
        totals = report.statistics
        notKept = [:]
        furtherNotKept = report.omittedWarnings
        // What vanished meanwhile is nothing that could be kept.
        for warning in report.warnings where warning.reason != .vanished { keep(warning) }
        let isBlind = agent.status.fileSystems.contains { if case .scan = $0.mode { true } else { false } }
        nextScan =
            SystemClock.monotonic + (isBlind ? configuration.blindScanInterval : configuration.scanInterval)
        lastPoint = SystemClock.monotonic
        let committed = CommittedPoint(
            point: report.point, number: report.number, head: report.head, statistics: report.statistics)
        publish(committed, report.time, isScan: true)
    }

    // MARK: What changed

    private func capture() throws {
        guard let memory else { return wantScan("memory") }
        let started = SystemClock.monotonic
        let writer = try openWriter()
        let progress = CaptureProgress()
        agent.progress.withLock { $0 = progress }
        if agent.state.withLock({ $0.isStopping }) { return }
        let time = Timestamp(nanoseconds: SystemClock.wall)
        let look = PathCapture(
            source: configuration.source, memory: memory, secret: agent.secrets.domainSecret)
        // Names that were not known yet when the watch asked for them; stored by now, they are in the memory.
        guard let uncertain = agent.links.takeUncertain() else { return wantScan("links") }
        if !uncertain.isEmpty { pending.add(memory.paths(of: uncertain)) }
        var outcome = try look.run(
            pending.selection, moves: pending.moves, pipeline: writer.pipeline, progress: progress)
        let others = otherNames(outcome, memory)
        if !others.isEmpty {
            pending.add(others)
            outcome = try look.run(
                pending.selection, moves: pending.moves, pipeline: writer.pipeline, progress: progress)
        }
        for path in pending.shallow { notKept[path] = nil }
        for warning in outcome.warnings { keep(warning) }
        if outcome.isEmpty { return done(nil, time) }
        var statistics = totals
        outcome.update(&statistics) { memory.entry($0) }
        let next = statistics
        statistics.bytesRead = outcome.bytesRead
        statistics.milliseconds = UInt64(max(SystemClock.monotonic - started, 0)) / 1_000_000
        let draft = PointDraft(
            kind: .continuous, time: time, labels: pending.isFuzzy ? ["fuzzy"] : [], consistency: .crash,
            statistics: statistics, warnings: outcome.warnings, omittedWarnings: outcome.omittedWarnings,
            paths: configuration.source.roots.map(\.bytes), hostName: configuration.hostName,
            program: configuration.program, exclusions: configuration.source.exclusionTexts)
        let committed = try writer.commit(try outcome.deltas(), draft)
        // Acknowledged: from here on it is what is known.
        base = writer.state
        totals = next
        memory.apply(outcome.memoryChanges)
        for entry in outcome.changed { agent.links.note(entry) }
        lastPoint = SystemClock.monotonic
        done(committed, time)
    }

    /// Names under which files were captured that have further names only now: what is written through the new name changes
    /// what the old one shows, of which nothing was told.
    private func otherNames(_ outcome: PathCapture.Outcome, _ memory: EntryMemory) -> [TreePath] {
        var files: Set<LinkGroup> = []
        for found in outcome.changed {
            guard let link = found.entry.linkGroup, memory.entry(found.key)?.entry.linkGroup != link else { continue }
            files.insert(link)
        }
        if files.isEmpty { return [] }
        return memory.paths(of: files).filter { !pending.shallow.contains($0) }
    }

    private func done(_ committed: CommittedPoint?, _ time: Timestamp) {
        pending = PendingChanges()
        memory?.isIgnored = false
        if let committed { publish(committed, time, isScan: false) } else { publishNotKept() }
        agent.state.update { state in
            state.taken = 0
            state.takenSince = nil
            state.flushesDone = max(state.flushesDone, flush)
        }
    }

    private func openWriter() throws -> DeltaPointWriter {
        if let writer { return writer }
        guard let base else { throw HoldfastError(.leaseLost, "there is no point to go on from") }
        let opened = try DeltaPointWriter(
            service: agent.service, secrets: agent.secrets, heads: agent.heads, state: base,
            options: configuration.sealing)
        writer = opened
        return opened
    }

    /// Opens another lease while nothing is to do.
    private func renew(_ old: DeltaPointWriter) {
        old.close()
        writer = nil
        attempt { _ = try openWriter() }
    }

    // MARK: Status

    private func keep(_ warning: PointWarning) {
        guard notKept.count < AgentLoop.notKeptLimit, let path = TreePath(normalizing: warning.path) else {
            furtherNotKept += 1
            return
        }
        notKept[path] = warning
    }

    private func publish(_ point: CommittedPoint, _ time: Timestamp, isScan: Bool) {
        publishNotKept()
        agent.state.update { state in
            state.status.statistics = point.statistics
            state.status.lastPoint = point
            state.status.lastTime = time
            state.status.points += 1
            if isScan { state.status.scans += 1 }
        }
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
