import Model
import Testing

/// Points of different protected paths, and checkpoints.
@Suite("Retention by series")
struct RetentionSeriesTests {
    private static let zone = TimeZoneRules.utc

    private func point(
        _ ordinal: Int, day: Int64, series: UInt64 = 1, isCheckpoint: Bool = false
    ) -> RetentionPoint {
        RetentionPoint(
            id: PointID(high: UInt64(ordinal), low: 0), time: Timestamp(seconds: 1_760_000_000 + day * 86_400),
            ordinal: ordinal,
            isCheckpoint: isCheckpoint, series: series)
    }

    private func kept(_ points: [RetentionPoint], _ rules: RetentionRules, isRetired: Bool = false) -> [Int] {
        RetentionPlan(points: points, rules: rules, zone: Self.zone, isRetired: isRetired).kept.map(\.point.ordinal)
            .sorted()
    }

    @Test("a checkpoint never stands in for a backup")
    func checkpoint() {
        let points = [point(1, day: 0), point(2, day: 0, series: 2, isCheckpoint: true)]
        #expect(kept(points, RetentionRules(last: .count(1))) == [1, 2])
        #expect(kept(points, RetentionRules(periods: [.daily: .count(7)])) == [1, 2])
    }

    @Test("checkpoints stay for their span and no longer, even the newest")
    func checkpointSpan() throws {
        let points = [
            point(1, day: 0, isCheckpoint: true), point(2, day: 20, isCheckpoint: true), point(3, day: 40),
            point(4, day: 41),
        ]
        #expect(kept(points, RetentionRules(last: .count(1))) == [2, 4])
        var rules = RetentionRules(last: .count(1))
        rules.checkpoints = try #require(CalendarSpan("1d"))
        #expect(kept(points, rules) == [4])
    }

    @Test("points of other paths follow the rules by themselves, and the newest of each stays")
    func series() {
        let points = [
            point(1, day: 0, series: 1), point(2, day: 1, series: 2), point(3, day: 2, series: 1),
            point(4, day: 3, series: 2), point(5, day: 4, series: 3),
        ]
        #expect(kept(points, RetentionRules(last: .count(1))) == [3, 4, 5])
        let rules = RetentionRules(periods: [.yearly: .count(1)])
        #expect(kept(points, rules, isRetired: true) == [3, 4, 5])
        #expect(RetentionPlan(points: points, rules: rules, zone: Self.zone).series == [3, 2, 1])
    }
}
