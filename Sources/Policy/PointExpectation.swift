package import Model

/// How long a machine may go without a point before somebody should know.
///
/// Only time of use counts: a machine that sleeps or is off is not late. A length of time is used up by use alone; days of
/// use are days of the calendar on which the machine was in use at all.
package struct PointExpectation: Hashable, Sendable, CustomStringConvertible {
    enum Measure: Hashable, Sendable {
        case time(Duration)
        case daysOfUse(Int)
    }

    let measure: Measure

    /// What an expectation says of a machine.
    package struct Standing: Hashable, Sendable {
        /// The moment from which it is late; `nil` when it is not.
        package var lateSince: Timestamp?
        /// How long it has been in use since its last point.
        package var used: Duration
        /// Days after that of the last point on which it was in use.
        package var daysUsed: Int
        package var isLate: Bool { lateSince != nil }
    }

    /// Where a machine stands at `now` whose last point was made at `last`.
    ///
    /// - Parameter use: when it was in use, in any order; what overlaps counts once, what lies before `last` or after `now`
    ///   not at all. A machine that is always on is in use all the time.
    package func standing(
        last: Timestamp, now: Timestamp, use: [Range<Timestamp>], in zone: TimeZoneRules
    ) -> Standing {
        var used: Int64 = 0
        var daysUsed = 0
        var lastDay = zone.civil(last).date
        var lateSince: Timestamp?
        var reached = last
        for interval in use.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            let start = max(interval.lowerBound, reached)
            let end = min(interval.upperBound, now)
            guard start < end else { continue }
            reached = end
            let length = end.since(start)
            if case .time(let allowed) = measure, lateSince == nil, used + length > allowed.nanoseconds {
                lateSince = start.advanced(by: allowed.nanoseconds - used)
            }
            used = used > Int64.max - length ? Int64.max : used + length
            let finalDay = zone.civil(end.advanced(by: -1)).date
            let firstDay = max(zone.civil(start).date, lastDay.adding(days: 1))
            guard firstDay <= finalDay else { continue }
            if case .daysOfUse(let allowed) = measure, lateSince == nil {
                let more = finalDay.dayNumber - firstDay.dayNumber + 1
                if daysUsed + more > allowed {
                    let day = firstDay.adding(days: allowed - daysUsed)
                    let midnight = zone.firstInstant(showing: CivilTime(date: day, secondOfDay: 0))
                    lateSince = max(start, Timestamp(seconds: midnight))
                }
            }
            daysUsed += finalDay.dayNumber - firstDay.dayNumber + 1
            lastDay = finalDay
        }
        return Standing(lateSince: lateSince, used: .nanoseconds(used), daysUsed: daysUsed)
    }

    /// `every 2 days of use`, `every 1h`.
    static func parse(_ text: String) throws(TextProblem) -> PointExpectation {
        let problem = TextProblem(
            message: "\(shown(text)) does not say what counts as late.",
            instead: "Write for example \"every 1h\" or \"every 2 days of use\".")
        var words = text.lowercased().split(separator: " ").map(String.init)
        guard words.first == "every" else { throw problem }
        words.removeFirst()
        let isOfUse = words.suffix(2) == ["of", "use"]
        if isOfUse { words.removeLast(2) }
        let span = words.joined()
        guard !span.isEmpty else { throw problem }
        if isOfUse {
            let digits = span.prefix { $0.isASCII && $0.isNumber }
            let unit = String(span.dropFirst(digits.count))
            let days = ["d": 1, "day": 1, "days": 1, "w": 7, "week": 7, "weeks": 7][unit]
            if let days, let count = digits.isEmpty ? 1 : Int(digits.prefix(5)) {
                guard (1...366).contains(count * days) else {
                    throw TextProblem(
                        message: "\(shown(text)) is not between 1 and 366 days.", instead: problem.instead)
                }
                return PointExpectation(measure: .daysOfUse(count * days))
            }
        }
        let length: Duration
        do { length = try QuantityText.duration(span) } catch { throw problem }
        guard length >= .seconds(60), length <= .seconds(366 * 86_400) else {
            throw TextProblem(
                message: "\(shown(text)) is not between a minute and 366 days.", instead: problem.instead)
        }
        return PointExpectation(measure: .time(length))
    }

    /// As a policy writes it.
    package var description: String {
        switch measure {
        case .time(let length): "every \(QuantityText.duration(length))"
        case .daysOfUse(let days): days == 1 ? "every 1 day of use" : "every \(days) days of use"
        }
    }
}
