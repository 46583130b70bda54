import Platform
import Synchronization

/// For how long the threads of a capture wait in all until it can be told whether the journals of databases are in use.
///
/// For one that takes seconds. Where somebody touches many of them all the time nothing else would come to its turn.
final class JournalPatience: Sendable {
    private struct State {
        /// Nanoseconds.
        var left: Int64
        var waiting = 0
        /// Since when somebody waits.
        var start: Int64 = 0
    }

    private let state: Mutex<State>

    init(_ nanoseconds: Int64 = .max) { state = Mutex(State(left: nanoseconds)) }

    /// Somebody begins to wait. Threads that wait at the same time count once.
    func begin() {
        state.withLock { state in
            if state.waiting == 0 { state.start = SystemClock.monotonic }
            state.waiting += 1
        }
    }

    func end() {
        state.withLock { state in
            state.waiting -= 1
            if state.waiting == 0 { state.left -= SystemClock.monotonic - state.start }
        }
    }

    /// Whether there is no more waiting.
    var isSpent: Bool {
        state.withLock { state in
            (state.waiting > 0 ? state.left - (SystemClock.monotonic - state.start) : state.left) <= 0
        }
    }
}
