package import Model
import Platform
import Synchronization

/// Finds what changes in protected places as it happens, by the kernel's events where they can be had.
///
/// ```
/// let watcher = ChangeWatcher(.init(scope: scope, crossFileSystems: true), consumer: consumer)
/// try watcher.start()      // marked; the consumer hears that everything is to be scanned once
/// ...
/// watcher.stop()
/// ```
///
/// Order: first the marks, then the consumer's scan, then the events since the marks; so nothing falls in between.
/// One thread of its own reads the queues of all file systems.
package final class ChangeWatcher: Sendable {
    /// What to watch and how.
    package struct Configuration: Sendable {
        /// What is protected. `ignored` must name spool, vault, state and heartbeat directories.
        package var scope: WatchScope
        /// Watch also the file systems mounted below the roots.
        package var crossFileSystems: Bool
        /// How long events gather before they are read, in nanoseconds: the kernel joins them meanwhile, and who writes
        /// is slowed down less. 0 reads at once.
        package var batchInterval: Int64 = 150_000_000
        /// See each write, not only the close after it. Each write call then takes about a microsecond longer.
        package var watchesWrites = true
        /// The time between two heartbeats in nanoseconds; the event of one must come before the next.
        package var heartbeatInterval: Int64 = 60_000_000_000
        /// Directories of the caller, for file systems that know no files without a name. Must be in `scope.ignored`.
        package var heartbeatDirectories: [TreePath] = []
        /// The time between two looks for files mapped to memory, in nanoseconds.
        package var mappingInterval: Int64 = 30_000_000_000
        /// The paths under which a file was captured last, however many names it had then. The kernel tells only the name
        /// that a change was made through, so this is asked on the watcher's thread for changed files that have several
        /// names now or have lost one. `nil`: changes of names not told are found by scans only.
        package var otherNames: (@Sendable (CaptureSource.FileNode) -> [TreePath])?
        /// For tests: false does without what only Linux 5.17 and later have.
        var pairsRenames = true
        /// For tests: events about these names get lost.
        var drops: (@Sendable ([UInt8]) -> Bool)?

        package init(scope: WatchScope, crossFileSystems: Bool) {
            self.scope = scope
            self.crossFileSystems = crossFileSystems
        }
    }

    struct State {
        var isStarted = false
        var isStopping = false
        /// How often everything that happened so far was asked for, and how often that was done.
        var flushesWanted: UInt64 = 0
        var flushesDone: UInt64 = 0
        var silences = false
        var status: [WatchStatus] = []
        var failure: Errno?
    }

    private let configuration: Configuration
    private let consumer: any ChangeConsumer
    private let state = Monitor(State())
    private let wakeUp: WakeUp
    private let thread = Mutex<WorkerThread?>(nil)

    /// Throws when the process has no file left.
    package init(_ configuration: Configuration, consumer: any ChangeConsumer) throws {
        self.configuration = configuration
        self.consumer = consumer
        do { wakeUp = try WakeUp() } catch {
            throw HoldfastError(.io, "the watch for changes cannot begin: \(error)", cause: error)
        }
    }

    /// Marks the file systems and begins to deliver. When it returns, nothing that happens from now on is missed; of
    /// every file system the consumer hears that it is to be scanned (`started`), whether events are to be had or not.
    ///
    /// Throws when there can be no thread or the system's mounts cannot be read. Call once.
    package func start() throws {
        do throws(Errno) {
            let worker = try WorkerThread(name: "watch") { [self] in
                WatchLoop(configuration, consumer: consumer, state: state, wakeUp: wakeUp).run()
            }
            thread.withLock { $0 = worker }
        } catch {
            throw HoldfastError(.io, "the watch for changes cannot begin: \(error)", cause: error)
        }
        let failure = state.wait { state in state.isStarted || state.failure != nil ? .some(state.failure) : nil }
        if let failure {
            throw HoldfastError(.io, "the mounted file systems cannot be read: \(failure)", cause: failure)
        }
    }

    /// Ends the watch; the consumer hears nothing more when this returns. Not from the consumer's own methods.
    package func stop() {
        state.update { $0.isStopping = true }
        wakeUp.signal()
        let worker = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        worker?.join()
    }

    /// How each file system is watched now.
    package var status: [WatchStatus] { state.withLock { $0.status } }

    /// Reads all that has happened so far, at once; when it returns, the consumer has it. Not from the consumer's own
    /// methods.
    package func flush() {
        let wanted = state.withLock { state in
            state.flushesWanted += 1
            return state.flushesWanted
        }
        wakeUp.signal()
        state.wait { state in state.flushesDone >= wanted || state.isStopping ? () : nil }
    }

    /// For tests: makes all sources of events fall silent, as a fault of the kernel would.
    func silence() {
        state.withLock { $0.silences = true }
        flush()
    }
}

/// What the watcher's thread does.
private final class WatchLoop {
    /// More than this in one batch: the next is read without waiting, or the queue may fill.
    private static let busyBytes = 256 << 10
    private static let bufferSize = 256 << 10

    private let configuration: ChangeWatcher.Configuration
    private let consumer: any ChangeConsumer
    private let state: Monitor<ChangeWatcher.State>
    private let wakeUp: WakeUp
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: WatchLoop.bufferSize, alignment: 8)
    private var systems: [WatchedFileSystem] = []
    private var mounts: DirectoryHandle?
    private var facts = FactBatch()
    private var mapped: MappedWriters
    private var nextBeat: Int64 = 0
    private var nextMapping: Int64 = 0
    private var isBusy = false

    init(
        _ configuration: ChangeWatcher.Configuration, consumer: any ChangeConsumer,
        state: Monitor<ChangeWatcher.State>, wakeUp: WakeUp
    ) {
        self.configuration = configuration
        self.consumer = consumer
        self.state = state
        self.wakeUp = wakeUp
        mapped = MappedWriters(scope: configuration.scope)
    }

    deinit { buffer.deallocate() }

    func run() {
        do throws(Errno) {
            // Opened before the table is read: what changes afterwards is told.
            mounts = DirectoryHandle(
                try FileDescriptor.open(Array("/proc/self/mountinfo".utf8), .readOnly))
            for plan in try currentPlan() {
                let system = WatchedFileSystem(plan, configuration: configuration)
                system.establish()
                system.lose(.started, &facts)
                systems.append(system)
            }
        } catch {
            state.update { $0.failure = error }
            return
        }
        publish()
        deliver(&facts)
        state.update { $0.isStarted = true }
        while step() {}
        state.update { $0.isStopping = true }
    }

    /// One turn: waits, reads, delivers. False at the end.
    private func step() -> Bool {
        let (hasMounts, hasEvents) = wait()
        wakeUp.reset()
        let (isStopping, wanted, done, silences) = state.withLock { state in
            defer { state.silences = false }
            return (state.isStopping, state.flushesWanted, state.flushesDone, state.silences)
        }
        if isStopping { return false }
        if silences { for system in systems { system.silence() } }
        if hasEvents, wanted == done, !isBusy { gather() }
        if hasMounts { compareMounts() }
        var bytes = 0
        for system in systems { bytes += system.drain(buffer, &facts) { deliver(&$0) } }
        isBusy = bytes > WatchLoop.busyBytes
        beat()
        lookForMappings()
        let now = SystemClock.monotonic
        for system in systems { system.tellLosses(at: now, &facts) }
        publish()
        deliver(&facts)
        if wanted != done { state.update { $0.flushesDone = wanted } }
        return true
    }

    private func wait() -> (hasMounts: Bool, hasEvents: Bool) {
        var descriptors: [(raw: Int32, condition: Poll.Condition)] = [(wakeUp.raw, .readable)]
        if let mounts { descriptors.append((mounts.raw, .changed)) }
        let first = descriptors.count
        for system in systems { if let queue = system.queue { descriptors.append((queue, .readable)) } }
        let happened = (try? Poll.wait(for: descriptors, milliseconds: waitingTime)) ?? []
        guard happened.count == descriptors.count else { return (false, false) }
        return (first > 1 && happened[1], happened[first...].contains(true))
    }

    /// Milliseconds until something is due.
    private var waitingTime: Int {
        if mapped.isRunning { return 0 }
        let next = systems.compactMap(\.nextLoss).reduce(min(nextBeat, nextMapping)) { min($0, $1) }
        return Int(clamping: (next - SystemClock.monotonic + 999_999) / 1_000_000)
    }

    /// Lets events gather; somebody who waits for them ends it.
    private func gather() {
        let end = SystemClock.monotonic + configuration.batchInterval
        while true {
            let left = Int(clamping: (end - SystemClock.monotonic) / 1_000_000)
            if left <= 0 { return }
            if let happened = try? Poll.wait(for: [(wakeUp.raw, .readable)], milliseconds: left), happened[0] { return }
        }
    }

    private func deliver(_ facts: inout FactBatch) {
        if !facts.isEmpty { consumer.received(facts.take()) }
    }

    private func publish() {
        let status = systems.flatMap(\.status)
        let isNew = state.withLock { state in
            defer { state.status = status }
            return !state.status.elementsEqual(status) { $0.mountPoint == $1.mountPoint && $0.mode == $1.mode }
        }
        if isNew { consumer.changed(status) }
    }

    // MARK: What is due by time

    private func beat() {
        let now = SystemClock.monotonic
        guard now >= nextBeat else { return }
        nextBeat = now + configuration.heartbeatInterval
        for system in systems { system.beat(&facts) }
    }

    private func lookForMappings() {
        let now = SystemClock.monotonic
        if !mapped.isRunning, now >= nextMapping {
            nextMapping = now + configuration.mappingInterval
            mapped.begin()
        }
        if mapped.isRunning { mapped.step(&facts) }
    }

    // MARK: Mounts

    private func currentPlan() throws(Errno) -> [PlannedFileSystem] {
        FileSystemPlan.make(
            try MountTable.current(), roots: configuration.scope.roots, crossing: configuration.crossFileSystems,
            exists: { path in (try? FileSystem.status(path))?.kind == .directory })
    }

    /// Compares what is mounted with what is watched.
    private func compareMounts() {
        guard let plans = try? currentPlan() else { return }
        var kept: [WatchedFileSystem] = []
        for system in systems {
            if plans.contains(where: { $0.device == system.plan.device && $0.obstacle == system.plan.obstacle }) {
                kept.append(system)
            } else {
                // What it still has to say comes first.
                _ = system.drain(buffer, &facts) { deliver(&$0) }
                system.lose(.unmounted, &facts)
            }
        }
        for plan in plans {
            if let known = kept.first(where: { $0.plan.device == plan.device }) {
                if known.plan == plan { continue }
                let before = Set(known.plan.mountPoints)
                _ = known.drain(buffer, &facts) { deliver(&$0) }
                if known.update(plan) {
                    for point in before.subtracting(plan.mountPoints) {
                        facts.add(.fileSystem(point, lost: .unmounted))
                    }
                    known.lose(.mounted, &facts)
                }
            } else {
                let system = WatchedFileSystem(plan, configuration: configuration)
                system.establish()
                system.lose(.mounted, &facts)
                kept.append(system)
            }
        }
        systems = kept
        publish()
    }
}
