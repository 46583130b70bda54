import Model
import Platform

/// Notices that the machine slept: the clock that counts sleep went further than the one that does not.
struct SleepClock {
    /// Shorter ones are not worth anything, in nanoseconds.
    static let least: Int64 = 2_000_000_000
    /// How often whoever waits for something looks, in nanoseconds.
    static let glance: Int64 = 2_000_000_000

    /// All the time asleep since the machine started, in nanoseconds.
    typealias Source = @Sendable () -> Int64
    static let system: Source = { SystemClock.sinceBoot - SystemClock.monotonic }

    private let asleep: Source
    private var known: Int64

    init(_ asleep: @escaping Source = SleepClock.system) {
        self.asleep = asleep
        known = asleep()
    }

    /// How long it slept since the last look that noticed it; `nil` when it did not.
    mutating func look() -> Int64? {
        let now = asleep()
        let slept = now - known
        if slept < SleepClock.least { return nil }
        known = now
        return slept
    }
}

/// The last times that the machine slept: what waits meanwhile is not late for it.
struct SleepLog {
    private static let limit = 64
    private var sleeps: [(woke: Timestamp, duration: Int64)] = []

    /// - Parameter woke: when it was noticed, by the wall clock.
    mutating func add(_ duration: Int64, woke: Timestamp) {
        sleeps.append((woke, duration))
        if sleeps.count > SleepLog.limit { sleeps.removeFirst() }
    }

    /// How long of the time between two moments it slept, in nanoseconds.
    func slept(from start: Timestamp, to end: Timestamp) -> Int64 {
        sleeps.reduce(0) { sum, sleep in
            let fellAsleep = sleep.woke.nanoseconds - sleep.duration
            return sum + max(min(sleep.woke.nanoseconds, end.nanoseconds) - max(fellAsleep, start.nanoseconds), 0)
        }
    }
}
