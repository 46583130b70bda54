import Model

extension TimeZoneRules {
    /// The first instant at which the clocks of the place show `civil` or have passed it, in seconds since 1970.
    ///
    /// So a reading that clocks skip is the instant right after the gap, one that comes twice its first time, and later
    /// readings never mean earlier instants.
    func firstInstant(showing civil: CivilTime) -> Int64 {
        let onClock = civil.secondsOnClock
        // Places lie within 26 hours of UTC, and no place has changed its clocks twice within two days.
        let early = onClock - 86_400
        let late = onClock + 86_400
        let before = Int64(offset(at: early))
        let after = Int64(offset(at: late))
        guard before != after else { return onClock - before }
        let change = transition(after: early, until: late) ?? late
        if onClock - before < change { return onClock - before }
        return max(onClock - after, change)
    }

    /// The first instant in `after ..< until` (its start left out, its end taken in) at which the offset is that of the
    /// end; `nil` when both ends have the same.
    func transition(after start: Int64, until end: Int64) -> Int64? {
        let last = offset(at: end)
        guard offset(at: start) != last else { return nil }
        var low = start
        var high = end
        while high - low > 1 {
            let middle = low + (high - low) / 2
            if offset(at: middle) == last { high = middle } else { low = middle }
        }
        return high
    }
}
