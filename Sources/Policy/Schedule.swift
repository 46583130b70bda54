package import Model

/// When something runs.
///
/// Pure: it says when the next run is, and whether one was missed. Times of day are readings of the clock in a zone. A
/// reading that the zone skips runs right after the gap; one that comes twice runs the first time only. An interval
/// (`every 1h`) is a length of time and knows no clock: it counts from 1970-01-01 00:00 UTC, so that it means the same
/// after each start.
package struct Schedule: Hashable, Sendable, CustomStringConvertible {
    enum Form: Hashable, Sendable {
        /// Multiples of so many seconds since 1970.
        case every(Int64)
        case clock(ClockTimes)
    }

    let form: Form
    /// As a policy writes it, in the one spelling of several: `daily 02:00`.
    package let description: String

    /// The first run after `time`; `nil` when there is none before the end of what a `Timestamp` holds.
    package func next(after time: Timestamp, in zone: TimeZoneRules) -> Timestamp? {
        switch form {
        case .every(let interval):
            let (quotient, remainder) = time.seconds.quotientAndRemainder(dividingBy: interval)
            let run = Timestamp(seconds: (remainder < 0 ? quotient : quotient + 1) * interval)
            return run > time ? run : nil
        case .clock(let times):
            // The day before may still be running late: its readings can lie in a gap that ends today.
            var date = zone.civil(time).date.adding(days: -1)
            while date.year < 2_262 {
                guard let found = times.firstDay(from: date) else { return nil }
                date = found
                // Later readings never mean earlier instants: the first run behind `time` is found by halving.
                var low = 0
                var high = times.minutes.count
                while low < high {
                    let middle = (low + high) / 2
                    if run(found, times.minutes[middle], zone) > time { high = middle } else { low = middle + 1 }
                }
                if low < times.minutes.count { return run(found, times.minutes[low], zone) }
                date = date.adding(days: 1)
            }
            return nil
        }
    }

    private func run(_ date: CivilDate, _ minute: Int, _ zone: TimeZoneRules) -> Timestamp {
        Timestamp(seconds: zone.firstInstant(showing: CivilTime(date: date, secondOfDay: minute * 60)))
    }

    /// The newest run after `since`, the last one that happened, and not after `until`: it was missed. `nil` when there is
    /// none. However many were missed, one catches up for all of them.
    package func missed(since: Timestamp, until: Timestamp, in zone: TimeZoneRules) -> Timestamp? {
        guard since < until, let first = next(after: since, in: zone), first <= until else { return nil }
        // Doubles its step backwards until it stands before a run, then walks forward: years away cost no more than days.
        var newest = first
        var step: Int64 = 3_600_000_000_000
        while let run = next(after: max(until.advanced(by: -step), since), in: zone), run > until {
            step = step > Int64.max / 2 ? Int64.max : step * 2
        }
        var start = max(until.advanced(by: -step), since)
        while let run = next(after: start, in: zone), run <= until {
            newest = run
            start = run
        }
        return newest
    }

    /// How long a machine that is back waits before it catches up: 0 to `window`, always the same for one machine and one
    /// missed run, and spread evenly over machines.
    package static func catchUpDelay(
        machine: some Sequence<UInt8>, run: Timestamp, window: Duration = .seconds(900)
    ) -> Duration {
        // FNV-1a, then the finish of SplitMix64, which spreads ids that differ in one bit.
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in machine { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        hash ^= UInt64(bitPattern: run.nanoseconds) &* 0x9E37_79B9_7F4A_7C15
        hash = (hash ^ (hash >> 30)) &* 0xBF58_476D_1CE4_E5B9
        hash = (hash ^ (hash >> 27)) &* 0x94D0_49BB_1331_11EB
        hash ^= hash >> 31
        let milliseconds = UInt64(max(0, window.milliseconds))
        return .milliseconds(Int64(hash.multipliedFullWidth(by: milliseconds + 1).high))
    }
}

/// Readings of the clock on some days.
struct ClockTimes: Hashable, Sendable {
    /// Which days.
    enum Days: Hashable, Sendable {
        case weekdays(Weekdays)
        /// A day of each month; the last where the month is shorter.
        case monthDay(Int)
        /// Bits of months (1 to 12), days (1 to 31) and weekdays. Where both days and weekdays are limited, one of them is
        /// enough, as in cron.
        case cron(months: UInt16, days: UInt32, weekdays: Weekdays, eitherDay: Bool)
    }

    /// Minutes of the day, sorted, each once.
    var minutes: [Int]
    var days: Days

    func includes(_ date: CivilDate) -> Bool {
        switch days {
        case .weekdays(let weekdays):
            return weekdays.contains(day: date.weekday)
        case .monthDay(let day):
            return date.day == min(day, CivilDate.length(ofMonth: date.month, year: date.year))
        case .cron(let months, let days, let weekdays, let eitherDay):
            guard months & (1 << UInt16(date.month)) != 0 else { return false }
            let isDay = days & (1 << UInt32(date.day)) != 0
            let isWeekday = weekdays.contains(day: date.weekday)
            return eitherDay ? isDay || isWeekday : isDay && isWeekday
        }
    }

    /// The first day from `start` on; `nil` when there is none in 60 years.
    func firstDay(from start: CivilDate) -> CivilDate? {
        var date = start
        for _ in 0..<22_000 {
            if includes(date) { return date }
            date = date.adding(days: 1)
        }
        return nil
    }
}
