import Model
import Platform
import Synchronization

/// A server's clock that a test puts forward.
final class TestClock: Sendable {
    private let ahead = Mutex<Int64>(0)

    var now: Timestamp { Timestamp(nanoseconds: SystemClock.wall + ahead.withLock { $0 }) }

    func advance(seconds: Int64) { ahead.withLock { $0 += seconds * 1_000_000_000 } }
}
