import Model

/// How densely points lie over time: how near a moment of the past can be come back to.
struct PointDensity: Equatable, Sendable {
    /// The last hour, day, month or year, in columns of equal length.
    enum Span: String, CaseIterable, Sendable {
        case hour, day, month, year

        /// Nanoseconds of a column, and how many there are.
        var columns: (length: Int64, count: Int) {
            let minute: Int64 = 60_000_000_000
            switch self {
            case .hour: return (5 * minute, 12)
            case .day: return (60 * minute, 24)
            case .month: return (1_440 * minute, 30)
            case .year: return (14 * 1_440 * minute, 26)
            }
        }

        var length: Int64 { columns.length * Int64(columns.count) }

        var title: String {
            switch self {
            case .hour: "last hour"
            case .day: "last 24 hours"
            case .month: "last 30 days"
            case .year: "last year"
            }
        }
    }

    let span: Span
    let from: Timestamp
    let until: Timestamp
    /// Points in each column, oldest first.
    let counts: [Int]
    /// The longest time between two points that follow each other, in nanoseconds; `nil` for fewer than two.
    let longestGap: Int64?

    var count: Int { counts.reduce(0, +) }

    /// The densities that tell something of points made at `times`: a longer span only where there are older points.
    static func all(of times: [Timestamp], at now: Timestamp) -> [PointDensity] {
        let sorted = times.filter { $0 <= now }.sorted()
        guard let oldest = sorted.first else { return [] }
        var before: Span?
        return Span.allCases.compactMap { span in
            defer { before = span }
            if let before, now.since(oldest) <= before.length { return nil }
            return PointDensity(span, sorted, now)
        }
    }

    private init(_ span: Span, _ sorted: [Timestamp], _ now: Timestamp) {
        self.span = span
        let (length, count) = span.columns
        until = now
        from = now.advanced(by: -span.length)
        var counts = [Int](repeating: 0, count: count)
        var longest: Int64?
        var last: Timestamp?
        for time in sorted {
            let age = now.since(time)
            // The point before the span bounds the first gap in it.
            if age < span.length {
                counts[count - 1 - Int(age / length)] += 1
                if let last { longest = max(longest ?? 0, time.since(last)) }
            }
            last = time
        }
        self.counts = counts
        longestGap = longest
    }

    /// A column of bars, one for each length of time; a dot where there is no point.
    var bars: String {
        let heights = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]
        let most = max(counts.max() ?? 0, 1)
        return counts.map { count in
            count == 0 ? "·" : heights[min((count * heights.count + most - 1) / most, heights.count) - 1]
        }.joined()
    }

    var text: String {
        let number = Units.count(count, "point")
        guard count > 0 else { return number }
        let gap = longestGap.map { ", longest gap \(Units.span(nanoseconds: UInt64(max($0, 0))))" } ?? ""
        return "\(number)\(gap)"
    }

    /// As fields of an object.
    func fields(_ machine: MachineID) -> [String: JSON] {
        [
            "machine": .id(machine), "span": .string(span.rawValue), "from": .time(from), "until": .time(until),
            "column_milliseconds": .integer(span.columns.length / 1_000_000),
            "counts": .array(counts.map { .count($0) }), "points": .count(count),
            "longest_gap_milliseconds": longestGap.map { .integer($0 / 1_000_000) } ?? .null,
        ]
    }
}
