import Platform
import Synchronization

/// Beside long work: shows how far it is, and asks it to stop when the user or the system says so.
enum Watch {
    /// Runs `body` on the calling thread. On SIGINT, SIGTERM or SIGHUP `stop` is called once; the work then ends on its own
    /// terms. A second signal ends the program at once, which harms no vault; a restore is gone on with by running it again.
    static func run<R>(
        _ console: Console, progress: @escaping @Sendable () -> Progress, stop: @escaping @Sendable () -> Void,
        _ body: () throws -> R
    ) throws -> R {
        let view = ProgressView(console)
        let isDone = Mutex(false)
        let thread = try? WorkerThread(name: "watch") {
            var hasStopped = false
            while !isDone.withLock({ $0 }) {
                let signalled = (try? Signals.wait(milliseconds: 100)) ?? false
                if signalled, !hasStopped {
                    hasStopped = true
                    console.showTransient(nil)
                    console.note("Stopping ... (once more to stop at once)")
                    Signals.reset()
                    stop()
                } else if signalled {
                    console.showTransient(nil)
                    System.exit(.failed)
                }
                view.update(progress)
            }
        }
        defer {
            isDone.withLock { $0 = true }
            thread?.join()
            view.finish()
        }
        return try body()
    }
}
