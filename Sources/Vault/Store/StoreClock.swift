import Glibc

/// The time that decorators of a store live by; tests bring their own.
package struct StoreClock: Sendable {
    /// Seconds since some moment, never going back.
    package var now: @Sendable () -> Double
    /// Waits so many seconds.
    package var sleep: @Sendable (Double) -> Void

    package init(now: @escaping @Sendable () -> Double, sleep: @escaping @Sendable (Double) -> Void) {
        self.now = now
        self.sleep = sleep
    }

    /// The machine's clock that no one sets.
    package static let system = StoreClock(
        now: {
            var time = timespec()
            clock_gettime(CLOCK_MONOTONIC, &time)
            return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
        },
        sleep: { seconds in
            guard seconds > 0 else { return }
            var wanted = timespec(
                tv_sec: Int(seconds), tv_nsec: Int((seconds - seconds.rounded(.down)) * 1e9))
            var rest = timespec()
            // Interrupted by a signal: sleeps what is left.
            while nanosleep(&wanted, &rest) != 0 && errno == EINTR { wanted = rest }
        })
}
