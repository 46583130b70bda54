import CLinux
import Synchronization

/// A dedicated thread for blocking work; never one of Swift's cooperative pool, where two blocked tasks can stop a
/// process.
///
/// Signals are blocked in it: handlers run on the main thread. One that is dropped without being joined runs on, and frees
/// what it used when it ends.
package final class WorkerThread: Sendable {
    /// The least stack of a worker in bytes. Address space only: pages come when they are touched.
    package static let defaultStack = 2 << 20

    private final class Start: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    private let handle: Mutex<UInt?>

    deinit { if let number = handle.withLock({ $0 }) { hf_thread_detach(number) } }

    /// Starts a thread. `name` shows in `top -H`; the kernel keeps 15 bytes of it.
    ///
    /// Throws `again` when the system has no room for a further thread.
    package init(
        name: String,
        stack: Int = WorkerThread.defaultStack,
        _ body: @escaping @Sendable () -> Void
    ) throws(Errno) {
        let start = Unmanaged.passRetained(Start(body))
        var number: UInt = 0
        do throws(Errno) {
            try retrying {
                hf_thread_start(
                    &number, max(stack, 1 << 20), name,
                    { Unmanaged<Start>.fromOpaque($0).takeRetainedValue().body() }, start.toOpaque())
            }
        } catch {
            start.release()
            throw error
        }
        handle = Mutex(number)
    }

    /// Waits for the end of the thread. Joining twice is harmless.
    package func join() {
        let number = handle.withLock { handle in
            defer { handle = nil }
            return handle
        }
        if let number { _ = hf_thread_join(number) }
    }
}

/// Threads that belong together: `wait` joins all of them and throws the first error any of them threw.
///
/// A thread that fails leaves others waiting on queues: `onFailure` is where those queues are told (`BoundedQueue.fail`).
/// It is called once, with the first error, on the thread that threw it.
package final class ThreadGroup: Sendable {
    private struct State {
        var threads: [WorkerThread] = []
        var error: (any Error)?
    }

    private let state = Mutex(State())
    private let onFailure: @Sendable (any Error) -> Void

    package init(onFailure: @escaping @Sendable (any Error) -> Void = { _ in }) { self.onFailure = onFailure }

    /// The first error, while threads still run.
    package var error: (any Error)? { state.withLock { $0.error } }

    /// Starts a thread of the group.
    package func start(
        _ name: String,
        stack: Int = WorkerThread.defaultStack,
        _ body: @escaping @Sendable () throws -> Void
    ) throws(Errno) {
        do throws(Errno) {
            let thread = try WorkerThread(name: name, stack: stack) { [self] in
                do { try body() } catch { fail(error) }
            }
            state.withLock { $0.threads.append(thread) }
        } catch {
            // Those already running must come to an end although one of them is missing.
            fail(error)
            throw error
        }
    }

    /// Counts an error as the group's, as if one of its threads had thrown it.
    package func fail(_ error: any Error) {
        let isFirst = state.withLock { state in
            if state.error != nil { return false }
            state.error = error
            return true
        }
        if isFirst { onFailure(error) }
    }

    /// Joins all threads, those started meanwhile included, then throws the first error.
    package func wait() throws {
        while true {
            let threads = state.withLock { state in
                let threads = state.threads
                state.threads = []
                return threads
            }
            if threads.isEmpty { break }
            for thread in threads { thread.join() }
        }
        if let error { throw error }
    }
}

/// Runs `body` on `count` dedicated threads with their number (from 0), waits for all, and throws the first error.
package func runThreads(
    _ count: Int,
    name: String,
    stack: Int = WorkerThread.defaultStack,
    _ body: @escaping @Sendable (Int) throws -> Void
) throws {
    let group = ThreadGroup()
    do {
        for index in 0..<count { try group.start("\(name)-\(index)", stack: stack) { try body(index) } }
    } catch {
        // The error of the thread that did not start is the group's.
    }
    try group.wait()
}
