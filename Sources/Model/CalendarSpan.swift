/// A span as people write it: `90m`, `12h`, `30d`, `8w`, `6mo`, `7y`, or several joined, `1y6mo`.
///
/// Seconds, minutes and hours are exact. Days, weeks, months and years are the calendar's, in the place's own time: a day
/// back is the same reading of the clock the day before, whatever the clocks did in between.
package struct CalendarSpan: Hashable, Sendable, CustomStringConvertible {
    /// Whole months, years counted as twelve.
    package var months: Int
    /// Whole days, weeks counted as seven.
    package var days: Int
    /// Exact seconds.
    package var seconds: Int64

    package init(months: Int = 0, days: Int = 0, seconds: Int64 = 0) {
        self.months = months
        self.days = days
        self.seconds = seconds
    }

    /// `nil` when `text` is not a span, or an empty or an immense one (more than 1,000 years).
    package init?(_ text: String) {
        self.init()
        var rest = Units.trim(text)
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && $0.isNumber }
            guard digits.count <= 9, let number = Int(digits) else { return nil }
            rest = Units.trim(rest.dropFirst(digits.count))
            let unit = rest.prefix { $0.isLetter }
            guard add(number, unit) else { return nil }
            rest = Units.trim(rest.dropFirst(unit.count))
        }
        guard !isZero, months <= 12_000, days <= 365_250, seconds <= 31_557_600_000 else { return nil }
    }

    /// Adds `count` of a unit given by any of its usual names; `false` when there is no such unit.
    package mutating func add(_ count: Int, _ unit: some StringProtocol) -> Bool {
        switch unit.lowercased() {
        case "s", "sec", "secs", "second", "seconds": seconds += Int64(count)
        case "m", "min", "mins", "minute", "minutes": seconds += Int64(count) * 60
        case "h", "hour", "hours": seconds += Int64(count) * 3_600
        case "d", "day", "days": days += count
        case "w", "week", "weeks": days += count * 7
        case "mo", "mon", "month", "months": months += count
        case "y", "year", "years": months += count * 12
        default: return false
        }
        return true
    }

    package var isZero: Bool { months == 0 && days == 0 && seconds == 0 }

    /// The instant this long before `time`.
    package func before(_ time: Timestamp, in zone: TimeZoneRules) -> Timestamp {
        var start = time.seconds
        if months != 0 || days != 0 {
            let civil = zone.civil(time)
            let date = civil.date.adding(months: -months).adding(days: -days)
            start = zone.seconds(at: CivilTime(date: date, secondOfDay: civil.secondOfDay))
        }
        return Timestamp(seconds: start - seconds, nanoseconds: time.subsecond)
    }

    /// The shortest way to write it, `1y6mo`.
    package var description: String {
        var text = ""
        if months >= 12 { text += "\(months / 12)y" }
        if months % 12 != 0 { text += "\(months % 12)mo" }
        if days > 0 { text += days % 7 == 0 ? "\(days / 7)w" : "\(days)d" }
        for (unit, name) in [(Int64(3_600), "h"), (60, "m"), (1, "s")] where seconds > 0 && seconds % unit == 0 {
            return text + "\(seconds / unit)\(name)"
        }
        return text.isEmpty ? "0s" : text
    }
}
