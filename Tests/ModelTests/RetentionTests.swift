import TestSupport
import Testing

@testable import Model

@Suite("Retention")
struct RetentionTests {
    private static let zone = CivilDateTests.berlin

    /// One scenario of the golden table: points by their local times, and rules.
    struct Scenario: Sendable, CustomStringConvertible {
        var description: String
        var points: [String]
        var rules: RetentionRules
        var isRetired = false
    }

    /// Every `step` minutes from `start`, `count` times.
    private static func series(_ start: String, every step: Int64, count: Int) -> [String] {
        guard let first = WrittenTime(start, now: Timestamp(seconds: 0), zone: zone)?.start else { return [] }
        return (0..<count).map { TimeText.rfc3339(Timestamp(seconds: first.seconds + Int64($0) * step * 60)) }
    }

    private static func span(_ text: String) -> CalendarSpan { CalendarSpan(text)! }

    static let scenarios: [Scenario] = [
        Scenario(description: "no-rules", points: ["2026-11-18 10:00", "2026-11-19 10:00"], rules: RetentionRules()),
        Scenario(
            description: "keep-last-3", points: series("2026-11-20 08:00", every: 60, count: 6),
            rules: RetentionRules(last: .count(3))),
        Scenario(
            description: "keep-last-2h", points: series("2026-11-20 08:00", every: 30, count: 8),
            rules: RetentionRules(last: .span(span("2h")))),
        Scenario(
            description: "continuous-24h-daily-3", points: series("2026-11-15 07:00", every: 240, count: 36),
            rules: RetentionRules(continuous: span("24h"), periods: [.daily: .count(3)])),
        Scenario(
            description: "the-usual", points: series("2025-09-01 23:30", every: 1_440, count: 440),
            rules: RetentionRules(
                last: .count(2),
                periods: [.daily: .count(7), .weekly: .count(4), .monthly: .count(6), .yearly: .count(2)])),
        Scenario(
            description: "hours-when-clocks-go-back", points: series("2026-10-25 00:10", every: 20, count: 18),
            rules: RetentionRules(periods: [.hourly: .count(5)])),
        Scenario(
            description: "hours-when-clocks-go-forward", points: series("2026-03-29 00:10", every: 20, count: 14),
            rules: RetentionRules(periods: [.hourly: .count(4)])),
        Scenario(
            description: "days-across-both-changes",
            points: series("2026-03-27 00:30", every: 720, count: 10)
                + series("2026-10-23 00:30", every: 720, count: 10),
            rules: RetentionRules(periods: [.daily: .count(20)])),
        Scenario(
            description: "iso-weeks-at-new-year", points: series("2020-12-25 12:00", every: 1_440, count: 18),
            rules: RetentionRules(periods: [.weekly: .count(10), .yearly: .count(5)])),
        Scenario(
            description: "spans-of-months", points: series("2026-01-31 12:00", every: 1_440, count: 60),
            rules: RetentionRules(periods: [.weekly: .span(span("1mo"))])),
        Scenario(
            description: "a-machine-that-was-off",
            points: ["2020-01-01 10:00", "2020-01-02 10:00", "2020-01-03 10:00"],
            rules: RetentionRules(periods: [.daily: .span(span("30d"))])),
        Scenario(
            description: "damaged-newest",
            points: ["2026-11-18 10:00", "2026-11-19 10:00", "2026-11-20 09:00 damaged"],
            rules: RetentionRules(last: .count(1))),
        Scenario(
            description: "damaged-day",
            points: [
                "2026-11-17 10:00", "2026-11-18 09:00 damaged", "2026-11-18 10:00 damaged",
                "2026-11-19 10:00", "2026-11-20 09:00",
            ],
            rules: RetentionRules(periods: [.daily: .count(3)])),
        Scenario(
            description: "first-backup-unfinished", points: ["2026-11-20 08:00 partial", "2026-11-20 09:00 partial"],
            rules: RetentionRules(last: .count(5))),
        Scenario(
            description: "first-backup-finished",
            points: ["2026-11-20 08:00 partial", "2026-11-20 09:00 partial", "2026-11-20 10:00"],
            rules: RetentionRules(last: .count(5))),
        Scenario(
            description: "pins-and-holds",
            points: [
                "2026-11-10 10:00 pinned", "2026-11-11 10:00 held", "2026-11-12 10:00",
                "2026-11-13 10:00 partial held", "2026-11-14 10:00",
            ],
            rules: RetentionRules(last: .count(1))),
        Scenario(
            description: "retired", points: ["2026-11-10 10:00", "2026-11-11 10:00 held", "2026-11-12 10:00 damaged"],
            rules: RetentionRules(continuous: span("1s")), isRetired: true),
    ]

    private func points(_ scenario: Scenario) throws -> [RetentionPoint] {
        try scenario.points.enumerated().map { index, text in
            var words = text.split(separator: " ").map(String.init)
            let flags = words.filter { ["partial", "damaged", "pinned", "held"].contains($0) }
            words.removeAll { flags.contains($0) }
            let time = try #require(
                WrittenTime(words.joined(separator: " "), now: Timestamp(seconds: 0), zone: Self.zone), "\(text)")
            return RetentionPoint(
                id: PointID(high: UInt64(index), low: 0), time: time.start, ordinal: index + 1,
                isPinned: flags.contains("pinned"), isPartial: flags.contains("partial"),
                isDamaged: flags.contains("damaged"), isHeld: flags.contains("held"))
        }
    }

    @Test("plans are what the golden tables show", arguments: scenarios)
    func golden(scenario: Scenario) throws {
        let plan = RetentionPlan(
            points: try points(scenario), rules: scenario.rules, zone: Self.zone, isRetired: scenario.isRetired)
        var text = ""
        for decision in plan.decisions {
            let time = TimeText.local(decision.point.time, in: Self.zone)
            let flags = [
                decision.point.isPartial ? " partial" : "", decision.point.isDamaged ? " damaged" : "",
            ].joined()
            let reasons = decision.reasons.map(\.description).joined(separator: ", ")
            text += "\(decision.isKept ? "keep  " : "remove") \(time)\(flags)\(reasons.isEmpty ? "" : "  \(reasons)")\n"
        }
        try assertSnapshot(text, named: "retention-\(scenario.description).txt")
    }

    @Test(
        "plans of random points and rules are those of a naive second implementation",
        arguments: 1...400 as ClosedRange<UInt64>)
    func property(seed: UInt64) {
        var generator = SplitMix(seed: seed)
        let points = randomPoints(&generator)
        let rules = randomRules(&generator)
        let isRetired = generator.next() % 5 == 0
        let plan = RetentionPlan(
            points: points.shuffled(using: &generator), rules: rules, zone: Self.zone, isRetired: isRetired)
        let kept = Set(plan.kept.map(\.point.id))
        let expected = NaiveRetention(points: points, rules: rules, zone: Self.zone, isRetired: isRetired).kept
        #expect(kept == expected, "seed \(seed)")
        #expect(plan.decisions.count == points.count)

        // Applying the same rules to what is left removes nothing more.
        let left = plan.kept.map(\.point)
        let again = RetentionPlan(points: left, rules: rules, zone: Self.zone, isRetired: isRetired)
        #expect(again.removed.isEmpty, "seed \(seed)")
        for point in points where point.isHeld || point.isPinned { #expect(kept.contains(point.id), "seed \(seed)") }
        if !isRetired, let newest = points.filter(\.isGood).max(by: RetentionPoint.isOlder) {
            #expect(kept.contains(newest.id), "seed \(seed)")
        }
    }

    private func randomPoints(_ generator: inout SplitMix) -> [RetentionPoint] {
        let steps: [Int64] = [60, 1_200, 3_600, 20_000, 86_400, 600_000, 3_000_000]
        var seconds: Int64 = 1_760_000_000 + Int64(generator.next() % 40_000_000)
        return (0..<Int(generator.next() % 60)).map { index in
            if generator.next() % 8 != 0 {
                seconds += Int64(generator.next() % UInt64(steps[Int(generator.next() % UInt64(steps.count))]))
            }
            return RetentionPoint(
                id: PointID(high: generator.next(), low: 0), time: Timestamp(seconds: seconds), ordinal: index,
                isPinned: generator.next() % 20 == 0, isPartial: generator.next() % 8 == 0,
                isDamaged: generator.next() % 8 == 0, isHeld: generator.next() % 20 == 0)
        }
    }

    private func randomRules(_ generator: inout SplitMix) -> RetentionRules {
        func reach(_ generator: inout SplitMix) -> RetentionRules.Reach {
            if generator.next() % 2 == 0 { return .count(1 + Int(generator.next() % 8)) }
            let spans = ["30m", "12h", "1d", "3d", "2w", "1mo", "6mo", "1y"]
            return .span(Self.span(spans[Int(generator.next() % UInt64(spans.count))]))
        }
        var rules = RetentionRules()
        if generator.next() % 3 == 0 { rules.continuous = Self.span(["1h", "1d", "2d"][Int(generator.next() % 3)]) }
        if generator.next() % 2 == 0 { rules.last = reach(&generator) }
        for period in RetentionRules.Period.allCases where generator.next() % 2 == 0 {
            rules.periods[period] = reach(&generator)
        }
        return rules
    }

    @Test("with a clock that is behind nothing goes that arrived later, and the rules count what is left")
    func clockBehind() throws {
        let days = (1...21).map { day in
            RetentionPoint(
                id: PointID(high: UInt64(day), low: 0), time: Timestamp(seconds: 1_790_000_000 + Int64(day) * 86_400),
                ordinal: day)
        }
        let rules = RetentionRules(periods: [.daily: .count(3)])
        #expect(RetentionPlan(points: days, rules: rules, zone: Self.zone).removed.count == 18)
        // As the catalog gives them when the clock stands before all of them: one instant.
        var behind = days
        for index in behind.indices {
            behind[index].time = Timestamp(seconds: 60)
            behind[index].isAheadOfClock = true
        }
        #expect(RetentionPlan(points: behind, rules: rules, zone: Self.zone).removed.isEmpty)
        // A day behind: the last day's point is kept, and takes no day's place from those before it.
        var late = days
        late[20].isAheadOfClock = true
        late[20].time = days[19].time
        let plan = RetentionPlan(points: late, rules: rules, zone: Self.zone)
        #expect(plan.kept.map(\.point.id.high) == [21, 20, 19, 18])
        #expect(plan.decisions[0].reasons.contains(.aheadOfClock))
    }

    @Test("between points of one instant the order of acceptance decides, not the number in an incarnation")
    func order() {
        let time = Timestamp(seconds: 1_790_000_000)
        let old = RetentionPoint(id: PointID(high: 9, low: 0), time: time, ordinal: 1)
        let new = RetentionPoint(id: PointID(high: 1, low: 0), time: time, ordinal: 2)
        let plan = RetentionPlan(
            points: [new, old], rules: RetentionRules(last: .count(1)), zone: Self.zone)
        #expect(plan.kept.map(\.point.id) == [new.id])
    }

    @Test(
        "reaches are counts or spans",
        arguments: [("7", true), ("30d", true), ("0", false), ("-1", false), ("x", false)])
    func reaches(text: String, isValid: Bool) {
        #expect((RetentionRules.Reach(text) != nil) == isValid)
    }
}

/// Retention once more, from its description alone and with sets: slow and plain.
private struct NaiveRetention {
    var kept: Set<PointID> = []

    init(points: [RetentionPoint], rules: RetentionRules, zone: TimeZoneRules, isRetired: Bool) {
        let sorted = points.sorted { ($0.time, $0.ordinal) < ($1.time, $1.ordinal) }
        guard let newest = sorted.last else { return }
        if rules.isEmpty {
            kept = Set(points.map(\.id))
            return
        }
        for point in points where point.isHeld || point.isPinned { kept.insert(point.id) }
        if !isRetired {
            if let good = sorted.last(where: { !$0.isPartial && !$0.isDamaged }) { kept.insert(good.id) }
            if newest.isPartial { kept.insert(newest.id) }
        }
        let complete = sorted.filter { !$0.isPartial }
        func within(_ span: CalendarSpan) -> [RetentionPoint] {
            complete.filter { $0.time > span.before(newest.time, in: zone) }
        }
        if let span = rules.continuous { kept.formUnion(within(span).map(\.id)) }
        switch rules.last {
        case .span(let span): kept.formUnion(within(span).map(\.id))
        case .count(let count):
            let good = complete.filter { !$0.isDamaged }
            if let oldest = good.suffix(count).first, good.count >= count {
                kept.formUnion(complete.filter { ($0.time, $0.ordinal) >= (oldest.time, oldest.ordinal) }.map(\.id))
            } else {
                kept.formUnion(complete.map(\.id))
            }
        case nil: break
        }
        for (period, reach) in rules.periods {
            var candidates = complete
            if case .span(let span) = reach { candidates = within(span) }
            // Labels that sort like time: hours by the instant they begin at.
            let groups = Dictionary(grouping: candidates) { label(period, $0.time, zone) }
            var count = 0
            for label in groups.keys.sorted(by: >) {
                if case .count(let limit) = reach, count >= limit { break }
                let group = groups[label] ?? []
                if let good = group.last(where: { !$0.isDamaged }) {
                    kept.insert(good.id)
                    count += 1
                } else if let last = group.last {
                    kept.insert(last.id)
                }
            }
        }
    }

    private func label(_ period: RetentionRules.Period, _ time: Timestamp, _ zone: TimeZoneRules) -> String {
        let local = TimeText.local(time, in: zone)
        switch period {
        case .hourly:
            let intoHour = Int64(zone.civil(time).secondOfDay % 3_600)
            return TimeText.rfc3339(Timestamp(seconds: time.seconds - intoHour))
        case .daily: return String(local.prefix(10))
        case .weekly:
            let days = Int(CivilTime(date: zone.civil(time).date, secondOfDay: 0).secondsOnClock / 86_400)
            return String(1_000_000 + (days + 3) / 7)
        case .monthly: return String(local.prefix(7))
        case .yearly: return String(local.prefix(4))
        }
    }
}
