package import Model

/// A limit of what may be sent, and when it holds.
///
/// `20Mbit/s Mon-Fri 08:00-18:00`, `1MB/s 22:00-06:00` (past midnight: it belongs to the day on which it begins),
/// `5Mbit/s Sat,Sun`, `20Mbit/s` (always), `unlimited 12:00-13:00`.
package struct BandwidthWindow: Hashable, Sendable, CustomStringConvertible {
    /// `nil` is no limit.
    package let rate: Rate?
    let days: Weekdays
    /// Minutes of the day; the end lies beyond 1,440 for a window past midnight.
    let minutes: Range<Int>

    /// Whether it holds at a reading of the clock.
    func contains(_ civil: CivilTime) -> Bool {
        let second = civil.secondOfDay
        if days.contains(day: civil.date.weekday), minutes.lowerBound * 60 <= second, second < minutes.upperBound * 60 {
            return true
        }
        let yesterday = civil.date.adding(days: -1).weekday
        return days.contains(day: yesterday) && second + 86_400 < minutes.upperBound * 60
    }

    static func parse(_ text: String) throws(TextProblem) -> BandwidthWindow {
        let example = "Write for example \"20Mbit/s Mon-Fri 08:00-18:00\"."
        var words = text.split(separator: " ").map(String.init)
        guard !words.isEmpty else { throw TextProblem(message: "The limit is empty.", instead: example) }
        // "20 Mbit/s" is written as often as "20Mbit/s".
        if words.count > 1, Double(words[0]) != nil { words.replaceSubrange(0...1, with: [words[0] + words[1]]) }
        let rate: Rate? = words[0].lowercased() == "unlimited" ? nil : try Rate.parse(words[0])
        var days: Weekdays?
        var minutes: Range<Int>?
        for word in words.dropFirst() {
            if days == nil, minutes == nil, let found = word.lowercased() == "daily" ? .all : Weekdays(word) {
                days = found
                continue
            }
            let ends = word.split(separator: "-", omittingEmptySubsequences: false)
            guard minutes == nil, ends.count == 2, let start = QuantityText.clock(ends[0]),
                var end = QuantityText.clock(ends[1], allowsEnd: true), start != end
            else {
                throw TextProblem(
                    message: "\(shown(word)) is neither days nor a time from-to.",
                    instead: "Days come first, then one time. " + example)
            }
            if end < start { end += 1_440 }
            minutes = start..<end
        }
        return BandwidthWindow(rate: rate, days: days ?? .all, minutes: minutes ?? 0..<1_440)
    }

    /// As a policy writes it.
    package var description: String {
        var words = [rate?.description ?? "unlimited"]
        if days != .all { words.append(days.text) }
        if minutes != 0..<1_440 {
            let end = minutes.upperBound > 1_440 ? minutes.upperBound - 1_440 : minutes.upperBound
            words.append("\(QuantityText.clock(minutes.lowerBound))-\(QuantityText.clock(end))")
        }
        return words.joined(separator: " ")
    }
}

/// All limits of a link: the last that holds at a moment decides, as with exclusions; none is no limit.
package struct BandwidthWindows: Hashable, Sendable {
    package var windows: [BandwidthWindow]

    package init(_ windows: [BandwidthWindow] = []) { self.windows = windows }

    /// The lowest limit of them all; `nil` when there is none.
    package var slowest: Rate? { windows.compactMap(\.rate).min() }

    /// The limit at `time`; `nil` is none.
    package func limit(at time: Timestamp, in zone: TimeZoneRules) -> Rate? {
        let civil = zone.civil(time)
        return windows.last { $0.contains(civil) }?.rate
    }

    /// The first instant after `time` at which the limit is another; `nil` when it stays for ever.
    package func nextChange(after time: Timestamp, in zone: TimeZoneRules) -> Timestamp? {
        let current = limit(at: time, in: zone)
        let today = zone.civil(time).date
        let minutes = Set([0] + windows.flatMap { [$0.minutes.lowerBound % 1_440, $0.minutes.upperBound % 1_440] })
        var instants: Set<Int64> = []
        // Everything comes again after a week; one day more on each side for windows past midnight and changed clocks.
        for shift in -1...9 {
            let day = today.adding(days: shift)
            for minute in minutes {
                let reading = CivilTime(date: day, secondOfDay: minute * 60)
                // Both times of a reading that comes twice.
                instants.insert(zone.firstInstant(showing: reading))
                instants.insert(zone.seconds(at: reading))
            }
            let start = zone.firstInstant(showing: CivilTime(date: day, secondOfDay: 0))
            if let change = zone.transition(after: start - 1, until: start + 90_000) { instants.insert(change) }
        }
        for second in instants.sorted() {
            let instant = Timestamp(seconds: second)
            if instant > time, limit(at: instant, in: zone) != current { return instant }
        }
        return nil
    }
}
