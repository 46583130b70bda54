import Model
import Policy
import Testing

@Suite("Retention by policy")
struct PolicyRetentionTests {
    private static func effective(_ text: String) throws -> EffectivePolicy {
        let file = PolicyFile(zones: ZoneSource(load: { _ in nil }))
        return PolicySet(machine: try file.parse(Array(("name: test\n" + text).utf8), file: "test")).effective
    }

    /// Points of so many days, one an hour, the newest last.
    private static func points(days: Int, series: UInt64, first: Int = 0) -> [RetentionPoint] {
        (0..<days * 24).map { hour in
            RetentionPoint(
                id: PointID(high: series, low: UInt64(hour)),
                time: Timestamp(seconds: 1_760_000_000 + Int64(hour) * 3_600), ordinal: first + hour, series: series)
        }
    }

    private static func kept(_ policy: EffectivePolicy, _ points: [RetentionPoint]) -> [RetentionPlan.Decision] {
        policy.retentionPlan(of: points, in: .utc).filter(\.isKept)
    }

    @Test("a rule for some files that keeps longer keeps whole points; one that keeps shorter frees nothing")
    func rules() throws {
        let points = Self.points(days: 30, series: 1)
        let plain = Self.kept(try Self.effective("retention: {default: !override {daily: 7}}"), points)
        #expect(plain.count == 7)
        let longer = Self.kept(
            try Self.effective("retention: {default: !override {daily: 7}, rules: [{match: '*.pst', daily: 20}]}"),
            points)
        #expect(longer.count == 20)
        #expect(Set(longer.map(\.point)).isSuperset(of: plain.map(\.point)))
        let shorter = Self.kept(
            try Self.effective("retention: {default: !override {daily: 7}, rules: [{path: /tmp, daily: 2}]}"), points)
        #expect(shorter == plain)
    }

    @Test("every series is thinned by itself: scheduled points never stand in for continuous ones")
    func series() throws {
        let policy = try Self.effective("retention: {default: !override {continuous: 3h, daily: 5}}")
        let one = Self.points(days: 10, series: 1)
        let other = Self.points(days: 10, series: 2, first: 1_000).filter { $0.ordinal % 24 == 2 }
        let both = Self.kept(policy, one + other)
        #expect(both.filter { $0.point.series == 1 } == Self.kept(policy, one))
        #expect(Set(both.filter { $0.point.series == 2 }.map(\.point)) == Set(Self.kept(policy, other).map(\.point)))
        #expect(both.contains { $0.point == one.last } && both.contains { $0.point == other.last })
    }

    @Test("without any rule everything stays, and the defaults keep all of a day, then thin")
    func defaults() throws {
        let points = Self.points(days: 60, series: 1)
        #expect(Self.kept(try Self.effective("retention: {default: !override {}}"), points).count == points.count)
        let kept = Self.kept(EffectivePolicy(), points)
        let newest = try #require(points.last)
        #expect(kept.count { newest.time.since($0.point.time) < 86_400_000_000_000 } == 24)
        #expect(kept.count < 24 + 48 + 14 + 8 + 12 + 3)
        #expect(kept.first?.point == newest)
    }
}
