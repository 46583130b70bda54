import Capture
import Model
import Platform
import Synchronization
import Vault

/// Looks at all directories within a day, a twenty-fourth of them each hour: what the watch missed is found by it.
///
/// Listing is done on a thread of idle priority, one directory after the other; who owns the memory compares what it finds, and
/// takes differences as if the watch had told of them.
final class RollingLook {
    /// One round on its thread.
    private final class Round: Sendable {
        let directories: [TreePath]
        let stored: [TreePath: [[UInt8]]]
        let isOver = Atomic<Bool>(false)

        init(_ directories: [TreePath], _ stored: [TreePath: [[UInt8]]]) {
            self.directories = directories
            self.stored = stored
        }

        func run(_ state: Monitor<AgentService.State>) {
            try? ProcessLimits.lowerPriority()
            for directory in directories {
                let listing = DirectoryListing(directory, stored: stored[directory] ?? [])
                _ = state.waitUntil({ $0.isStopping || $0.listing == nil }, nanoseconds: .max / 2)
                let goesOn = state.update { state -> Bool in
                    if state.isStopping { return false }
                    state.listing = listing
                    return true
                }
                if !goesOn { break }
            }
            isOver.store(true, ordering: .releasing)
        }
    }

    private let state: Monitor<AgentService.State>
    private let interval: Int64
    private let begun = SystemClock.sinceBoot
    /// The interval that was done last, counted from the beginning.
    private var done: Int64 = 0
    private var thread: WorkerThread?
    private var round: Round?
    /// When the next part is due, by the clock that only goes forward.
    private(set) var next: Int64

    init(_ state: Monitor<AgentService.State>, interval: Int64) {
        self.state = state
        self.interval = max(interval, 1)
        next = SystemClock.monotonic + self.interval
    }

    /// How many intervals have gone by, time asleep included.
    private var passed: Int64 { (SystemClock.sinceBoot - begun) / interval }

    /// Everything was looked at just now.
    func restart() {
        done = passed
        next = SystemClock.monotonic + interval
    }

    /// Begins with what is due.
    func begin(_ memory: EntryMemory?) {
        next = SystemClock.monotonic + interval
        guard let memory else { return }
        // The round before is still under way: it goes on, and what is due is due the next time.
        if let round, !round.isOver.load(ordering: .acquiring) { return }
        let due = RollingScan.due(at: passed * RollingScan.period, done: done)
        done = due.done
        if due.slices.isEmpty { return }
        let found = memory.directories { path in due.slices.contains { $0.includes(path) } }
        let next = Round(found.all, found.names)
        thread?.join()
        let state = state
        thread = try? WorkerThread(name: "rolling") { next.run(state) }
        round = thread == nil ? nil : next
    }

    /// Waits for its end, once the state says that the agent stops.
    func stop() { thread?.join() }
}
