/// Says how long to wait before the next bytes are sent, so that a rate holds.
///
/// A token bucket, kept as the time at which it is full again (the generic cell rate algorithm): in any stretch of time no
/// more is sent than `rate x time + burst`, and one piece beyond. Pure: the caller brings the time, nanoseconds of a clock
/// that only goes forward. A clock that went back counts as standing still.
package struct RatePacer: Hashable, Sendable {
    /// `nil` is no limit.
    package private(set) var rate: Rate?
    /// What may be sent at once after a pause, in bytes.
    package let burst: UInt64
    /// What was sent and has not been earned yet, in bytes times a billion.
    private var debt: UInt128 = 0
    private var updated: Int64

    /// - Parameter burst: 64 KiB keep a link busy without a queue that telephone calls would notice.
    package init(rate: Rate?, burst: UInt64 = 65_536, now: Int64) {
        self.rate = rate
        self.burst = burst
        updated = now
    }

    /// Takes `bytes` from the bucket and answers how many nanoseconds to wait before they are sent.
    package mutating func reserve(_ bytes: Int, now: Int64) -> Int64 {
        earn(now)
        guard let rate else { return 0 }
        let wait = wait(rate)
        debt += UInt128(max(0, bytes)) * 1_000_000_000
        return wait
    }

    /// The nanoseconds to wait as things stand, taking nothing.
    package mutating func delay(now: Int64) -> Int64 {
        earn(now)
        return rate.map { wait($0) } ?? 0
    }

    /// Another limit from `now` on. What was sent under the old one is not forgotten, unless there is none any more.
    package mutating func setRate(_ rate: Rate?, now: Int64) {
        earn(now)
        if rate == nil || self.rate == nil { debt = 0 }
        self.rate = rate
    }

    private func wait(_ rate: Rate) -> Int64 {
        let room = UInt128(burst) * 1_000_000_000
        guard debt > room, rate.bytesPerSecond > 0 else { return 0 }
        let perNanosecond = UInt128(rate.bytesPerSecond)
        return Int64(clamping: (debt - room + perNanosecond - 1) / perNanosecond)
    }

    private mutating func earn(_ now: Int64) {
        guard now > updated else { return }
        let (passed, overflow) = now.subtractingReportingOverflow(updated)
        updated = now
        guard let rate else { return }
        let earned = UInt128(overflow ? Int64.max : passed) * UInt128(rate.bytesPerSecond)
        debt = debt > earned ? debt - earned : 0
    }
}
