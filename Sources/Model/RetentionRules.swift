/// Which points of a machine stay.
///
/// A point stays while at least one rule keeps it. Rules with a count keep the newest point of each of the last so many
/// periods that have one; rules with a span keep the newest point of each period, as long as it lies within the span before
/// the machine's newest point. So a machine that was off for a year still has its history when it comes back.
package struct RetentionRules: Hashable, Sendable {
    /// How far a rule reaches.
    package enum Reach: Hashable, Sendable, CustomStringConvertible {
        /// So many points or periods, at least 1.
        case count(Int)
        /// So long before the newest point.
        case span(CalendarSpan)

        /// `7` is a count, `30d` a span. `nil` for anything else, for 0 and for negative numbers.
        package init?(_ text: String) {
            let trimmed = Units.trim(text)
            if let count = Int(trimmed) {
                guard count >= 1, count <= 1_000_000 else { return nil }
                self = .count(count)
            } else {
                guard let span = CalendarSpan(String(trimmed)) else { return nil }
                self = .span(span)
            }
        }

        package var description: String {
            switch self {
            case .count(let count): String(count)
            case .span(let span): span.description
            }
        }
    }

    /// A length of time of which one point stays.
    package enum Period: String, Hashable, Sendable, CaseIterable {
        case hourly, daily, weekly, monthly, yearly
    }

    /// Every point this long before the newest one.
    package var continuous: CalendarSpan?
    /// The newest points, or all points of a span.
    package var last: Reach?
    /// One point a period.
    package var periods: [Period: Reach]
    /// Checkpoints (what was kept before an in-place restore or an update) follow this rule alone.
    package var checkpoints: CalendarSpan

    package init(
        continuous: CalendarSpan? = nil, last: Reach? = nil, periods: [Period: Reach] = [:],
        checkpoints: CalendarSpan = CalendarSpan("30d")!
    ) {
        self.continuous = continuous
        self.last = last
        self.periods = periods
        self.checkpoints = checkpoints
    }

    /// No rule at all. A plan made from no rules keeps everything.
    package var isEmpty: Bool { continuous == nil && last == nil && periods.isEmpty }
}

/// Why a point stays.
package enum RetentionReason: Hashable, Sendable, CustomStringConvertible {
    /// A legal hold names it; nothing deletes it.
    case hold
    /// Somebody pinned it.
    case pinned
    /// It arrived later than the clock says that it is now.
    case aheadOfClock
    /// The newest complete and undamaged point of the machine's series.
    case newestGood
    /// The newest sign of a first backup that is not finished.
    case unfinished
    /// Within the span of `keep-continuous`.
    case continuous
    /// The so-manieth newest, counted from 1; 0 within a span.
    case last(Int)
    /// The newest point of a period; the period's name, for example `2026-W47`.
    case period(RetentionRules.Period, String)
    /// A checkpoint within its span.
    case checkpoint
    /// No rule was given.
    case noRules

    /// As the plan prints it: `daily 2026-11-20`.
    package var description: String {
        switch self {
        case .hold: "legal hold"
        case .pinned: "pinned"
        case .aheadOfClock: "later than the clock"
        case .newestGood: "newest complete"
        case .unfinished: "first backup unfinished"
        case .continuous: "continuous"
        case .last(0): "last"
        case .last(let number): "last \(number)"
        case .period(let period, let name): "\(period.rawValue) \(name)"
        case .checkpoint: "checkpoint"
        case .noRules: "no rules"
        }
    }
}
