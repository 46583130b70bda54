import Capture
import Catalog
import Model
import Platform
import Synchronization
import Vault

/// What the loop looks at, and what becomes of what it finds: everything, or what has changed.
extension AgentLoop {
    // MARK: What an earlier run left

    /// Goes on from what is in the spool, if it is about the same paths.
    func restore() throws {
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
    func scan() throws {
        let started = SystemClock.monotonic
        let passed = queue.neverFitting
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
        var isAllKept = true
        do {
            let isFullWanted = !reasons.isDisjoint(with: AgentLoop.fullReasons)
            if let memory, !isFullWanted || !canSend {
                if isFullWanted { nextFullScan = SystemClock.monotonic + AgentLoop.shortestPause }
                isAllKept = try look(memory)
            } else {
                do {
                    try fullScan()
                    fullScanPause = AgentLoop.shortestPause
                } catch {
                    nextFullScan = SystemClock.monotonic + fullScanPause
                    fullScanPause = min(2 * fullScanPause, AgentLoop.longestHold)
                    // The vault is away: what has changed is kept until it is back.
                    guard let memory, (error as? HoldfastError)?.code != .cancelled else { throw error }
                    isAllKept = try look(memory)
                }
            }
        } catch {
            agent.state.update { state in
                state.scanSince = min(begun, state.scanSince ?? begun)
                state.scanReasons.formUnion(reasons)
                state.takenSince = queue.oldest
            }
            throw error
        }
        if isAllKept {
            // What fits into no spool went past it, and would go that way again at its next change. What found no room only
            // because others wait is not their like.
            if !passed.isEmpty { hold(passed, took: SystemClock.monotonic - started) }
            queue.restart(with: duringFirst)
            duringFirst = PendingChanges()
        }
        setNextScan()
        if !hasLooked { nextTidying = .min }
        hasLooked = true
        rolling.restart()
        agent.state.update { $0.status.scans += 1 }
        publishQueue()
    }

    /// Takes what is not as it is known in a directory as if the watch had told of it.
    func compare(_ listing: DirectoryListing) {
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
    ///
    /// - Returns: whether all of it is in the spool; else what is not there comes path by path, beside what waited before.
    func look(_ memory: EntryMemory) throws -> Bool {
        do {
            try lookAround(memory)
            return true
        } catch let error as HoldfastError where error.code == .noSpace {
            pipeline?.stop()
            pipeline = nil
            try spool.makeRoom(now: now)
            lookByNames(memory)
            return false
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

    func capture() throws {
        guard let memory else { return wantScan("base") }
        // Names that were not known yet when the watch asked for them; captured by now, they are in the memory.
        guard let uncertain = agent.links.takeUncertain() else { return wantScan("links") }
        if !uncertain.isEmpty { queue.add(memory.paths(of: uncertain)) }
        if !queue.unfit.isEmpty, SystemClock.monotonic >= nextUnfit { takeUpUnfit() }
        let (part, rest) = queue.next()
        if !part.isEmpty { try capture(part, rest, memory) }
        publishQueue(isTried: part.isEmpty)
    }

    func capture(_ part: PendingChanges, _ rest: PendingChanges, _ memory: EntryMemory) throws {
        let started = SystemClock.monotonic
        do {
            try capture(part, memory, labels: part.isFuzzy ? ["fuzzy"] : [], lookLimit: PathCapture.limit)
        } catch let error as HoldfastError where error.code == .noSpace {
            pipeline?.stop()
            pipeline = nil
            noRoom = error
            sentBefore = sentBefore ?? agent.state.withLock { $0.sent }
            queue.refused(part, memory, now: now)
            return
        }
        queue.wasCaptured(leaving: rest)
        holdBack(part, memory, took: SystemClock.monotonic - started)
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

    func hold(_ paths: [TreePath], took time: Int64) {
        let now = SystemClock.monotonic
        let end = now + min(9 * time, AgentLoop.longestHold)
        let held = paths + paths.flatMap(\.databaseLogs)
        agent.state.update { $0.settling.hold(held, until: end, at: now) }
    }

    /// Looks at what is selected, and puts what is not as it was known into the spool.
    func capture(
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
}
