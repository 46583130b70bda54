/// Instants as text: RFC 3339 for programs, the place's own clock for people.
package enum TimeText {
    /// `2026-11-20T10:15:00Z`, with a fraction of 3, 6 or 9 digits when the instant has one.
    package static func rfc3339(_ time: Timestamp) -> String {
        let civil = CivilTime(secondsOnClock: time.seconds)
        var fraction = ""
        let subsecond = Int(time.subsecond)
        if subsecond != 0 {
            let digits = subsecond % 1_000_000 == 0 ? 3 : subsecond % 1_000 == 0 ? 6 : 9
            let divisor = digits == 3 ? 1_000_000 : digits == 6 ? 1_000 : 1
            fraction = "." + Decimal.padded(subsecond / divisor, digits)
        }
        return "\(civil.date)T\(clock(civil))\(fraction)Z"
    }

    /// `2026-11-20 10:15:00` by the clocks of `zone`.
    package static func local(_ time: Timestamp, in zone: TimeZoneRules) -> String {
        let civil = zone.civil(time)
        return "\(civil.date) \(clock(civil))"
    }

    /// `2026-11-20 10:15` by the clocks of `zone`.
    package static func localMinute(_ time: Timestamp, in zone: TimeZoneRules) -> String {
        let civil = zone.civil(time)
        return "\(civil.date) \(Decimal.padded(civil.hour, 2)):\(Decimal.padded(civil.minute, 2))"
    }

    private static func clock(_ civil: CivilTime) -> String {
        [civil.hour, civil.minute, civil.second].map { Decimal.padded($0, 2) }.joined(separator: ":")
    }
}

/// A time that somebody wrote, as the stretch it covers: `10:15` is the whole minute, `2026-11-20` the whole day.
package struct WrittenTime: Hashable, Sendable {
    package var start: Timestamp
    /// The last nanosecond.
    package var end: Timestamp

    package init(start: Timestamp, end: Timestamp) {
        self.start = start
        self.end = end
    }

    /// Understands, by the clocks of `zone`: `now`, `today`, `yesterday`, `10 minutes ago`, `1h30m ago`, `monday` (the last
    /// one), `10:15`, `yesterday 18:00`, `2026-11`, `2026-11-20`, `2026-11-20 10:15`, `2026-11-20T10:15:30+01:00` and other
    /// RFC 3339. `nil` for anything else.
    package init?(_ text: String, now: Timestamp, zone: TimeZoneRules) {
        let lowered = text.lowercased()
        let words = lowered.split { $0 == " " || $0 == "\t" || $0 == "," }.map(String.init)
        guard !words.isEmpty, lowered.utf8.count <= 100 else { return nil }
        if words == ["now"] {
            self.init(start: now, end: now)
        } else if words.last == "ago" {
            guard let time = WrittenTime.ago(Array(words.dropLast()), now: now, zone: zone) else { return nil }
            self.init(start: time, end: time)
        } else {
            // RFC 3339 joins day and time with a T.
            var parts = words
            if parts.count == 1, let at = lowered.firstIndex(of: "t"), lowered.first?.isNumber == true {
                parts = [String(lowered[..<at]), String(lowered[lowered.index(after: at)...])]
            }
            if parts.count == 3, parts[1] == "at" { parts.remove(at: 1) }
            self.init(parts: parts, now: now, zone: zone)
        }
    }

    private init?(parts: [String], now: Timestamp, zone: TimeZoneRules) {
        let today = zone.civil(now).date
        if parts.count == 1, let clock = Clock(parts[0]) {
            self.init(day: today, clock: clock, zone: zone)
        } else if parts.count <= 2, let first = parts.first, let day = WrittenTime.day(first, today: today) {
            if parts.count == 2 {
                guard let clock = Clock(parts[1]) else { return nil }
                self.init(day: day, clock: clock, zone: zone)
            } else {
                self.init(from: day, to: day.adding(days: 1), zone: zone)
            }
        } else if parts.count == 1, let month = WrittenTime.month(parts[0]) {
            self.init(from: month, to: month.adding(months: 1), zone: zone)
        } else {
            return nil
        }
    }

    private init(from first: CivilDate, to next: CivilDate, zone: TimeZoneRules) {
        start = Timestamp(seconds: zone.seconds(at: CivilTime(date: first, secondOfDay: 0)))
        let end = Timestamp(seconds: zone.seconds(at: CivilTime(date: next, secondOfDay: 0)))
        self.end = end.advanced(by: -1)
    }

    private init(day: CivilDate, clock: Clock, zone: TimeZoneRules) {
        let civil = CivilTime(date: day, secondOfDay: clock.second)
        let seconds = clock.offset.map { civil.secondsOnClock - Int64($0) } ?? zone.seconds(at: civil)
        start = Timestamp(seconds: seconds, nanoseconds: clock.nanosecond)
        end = start.advanced(by: clock.precision - 1)
    }

    /// A day by name or date.
    private static func day(_ text: String, today: CivilDate) -> CivilDate? {
        if text == "today" { return today }
        if text == "yesterday" { return today.adding(days: -1) }
        let weekdays = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
        if let index = weekdays.firstIndex(of: text) {
            let back = CivilDate.floorModulo(today.weekday - (index + 1), 7)
            return today.adding(days: back == 0 ? -7 : -back)
        }
        let numbers = WrittenTime.numbers(text, separator: "-", widths: [4, 2, 2])
        return numbers.flatMap { CivilDate(year: $0[0], month: $0[1], day: $0[2]) }.flatMap(inRange)
    }

    private static func month(_ text: String) -> CivilDate? {
        WrittenTime.numbers(text, separator: "-", widths: [4, 2])
            .flatMap { CivilDate(year: $0[0], month: $0[1], day: 1) }.flatMap(inRange)
    }

    /// Only years that a `Timestamp` holds.
    private static func inRange(_ date: CivilDate) -> CivilDate? { (1_700...2_200).contains(date.year) ? date : nil }

    fileprivate static func numbers(_ text: String, separator: Character, widths: [Int]) -> [Int]? {
        let parts = text.split(separator: separator, omittingEmptySubsequences: false)
        guard parts.count == widths.count else { return nil }
        var numbers: [Int] = []
        for (part, width) in zip(parts, widths) {
            guard part.count == width, part.allSatisfy({ $0.isASCII && $0.isNumber }), let number = Int(part) else {
                return nil
            }
            numbers.append(number)
        }
        return numbers
    }

    /// `10 minutes`, `1h30m`, `an hour`, `2 days 3 hours`.
    private static func ago(_ words: [String], now: Timestamp, zone: TimeZoneRules) -> Timestamp? {
        let text = words.filter { $0 != "and" }.map { $0 == "a" || $0 == "an" ? "1" : $0 }.joined(separator: " ")
        return CalendarSpan(text)?.before(now, in: zone)
    }

    /// A reading of the clock with the precision it was written in, and the offset when one was written.
    private struct Clock {
        var second: Int
        var nanosecond: Int64 = 0
        /// How many nanoseconds the reading covers.
        var precision: Int64
        /// Seconds east of UTC.
        var offset: Int?

        init?(_ text: String) {
            var clock = text[...]
            if let zone = clock.firstIndex(where: { $0 == "z" || $0 == "+" || $0 == "-" }) {
                let written = clock[zone...]
                clock = clock[..<zone]
                if written == "z" {
                    offset = 0
                } else {
                    guard let parts = WrittenTime.numbers(String(written.dropFirst()), separator: ":", widths: [2, 2]),
                        parts[0] <= 23, parts[1] <= 59
                    else { return nil }
                    offset = (parts[0] * 3_600 + parts[1] * 60) * (written.first == "-" ? -1 : 1)
                }
            }
            if let point = clock.firstIndex(of: ".") {
                let digits = clock[clock.index(after: point)...]
                guard (1...9).contains(digits.count), digits.allSatisfy({ $0.isASCII && $0.isNumber }),
                    let value = Int64(digits), clock[..<point].filter({ $0 == ":" }).count == 2
                else { return nil }
                precision = (0..<(9 - digits.count)).reduce(1) { scale, _ in scale * 10 }
                nanosecond = value * precision
                clock = clock[..<point]
            } else {
                precision = 1_000_000_000
            }
            if let parts = WrittenTime.numbers(String(clock), separator: ":", widths: [2, 2, 2]) {
                guard parts[0] <= 23, parts[1] <= 59, parts[2] <= 60 else { return nil }
                second = parts[0] * 3_600 + parts[1] * 60 + min(parts[2], 59)
                return
            }
            // "9:15" is written as often as "09:15".
            let short = clock.count == 4 ? "0" + clock : String(clock)
            guard let parts = WrittenTime.numbers(short, separator: ":", widths: [2, 2]), parts[0] <= 23, parts[1] <= 59
            else { return nil }
            second = parts[0] * 3_600 + parts[1] * 60
            precision = 60_000_000_000
        }
    }
}
