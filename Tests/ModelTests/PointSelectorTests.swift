import Testing

@testable import Model

@Suite("Naming a point")
struct PointSelectorTests {
    /// Friday 2026-11-20 10:15:42 in Berlin.
    static let now = Timestamp(seconds: 1_795_166_142, nanoseconds: 500)
    static let zone = CivilDateTests.berlin

    @Test(
        "a written time covers what it says",
        arguments: [
            ("now", "2026-11-20T09:15:42.000000500Z", "2026-11-20T09:15:42.000000500Z"),
            ("today", "2026-11-19T23:00:00Z", "2026-11-20T22:59:59.999999999Z"),
            ("yesterday", "2026-11-18T23:00:00Z", "2026-11-19T22:59:59.999999999Z"),
            ("yesterday 18:00", "2026-11-19T17:00:00Z", "2026-11-19T17:00:59.999999999Z"),
            ("10:15", "2026-11-20T09:15:00Z", "2026-11-20T09:15:59.999999999Z"),
            ("9:05", "2026-11-20T08:05:00Z", "2026-11-20T08:05:59.999999999Z"),
            ("2026-11-20 10:15", "2026-11-20T09:15:00Z", "2026-11-20T09:15:59.999999999Z"),
            ("2026-11-20 10:15:30", "2026-11-20T09:15:30Z", "2026-11-20T09:15:30.999999999Z"),
            ("2026-07-01 at 10:15", "2026-07-01T08:15:00Z", "2026-07-01T08:15:59.999999999Z"),
            ("2026-10", "2026-09-30T22:00:00Z", "2026-10-31T22:59:59.999999999Z"),
            ("monday", "2026-11-15T23:00:00Z", "2026-11-16T22:59:59.999999999Z"),
            ("Friday 8:00", "2026-11-13T07:00:00Z", "2026-11-13T07:00:59.999999999Z"),
            ("2026-11-20T10:15:30Z", "2026-11-20T10:15:30Z", "2026-11-20T10:15:30.999999999Z"),
            ("2026-11-20T10:15:30.25+05:30", "2026-11-20T04:45:30.250Z", "2026-11-20T04:45:30.259999999Z"),
            ("10 minutes ago", "2026-11-20T09:05:42.000000500Z", "2026-11-20T09:05:42.000000500Z"),
            ("an hour ago", "2026-11-20T08:15:42.000000500Z", "2026-11-20T08:15:42.000000500Z"),
            ("1h30m ago", "2026-11-20T07:45:42.000000500Z", "2026-11-20T07:45:42.000000500Z"),
            ("2 days and 3 hours ago", "2026-11-18T06:15:42.000000500Z", "2026-11-18T06:15:42.000000500Z"),
            ("1 month ago", "2026-10-20T08:15:42.000000500Z", "2026-10-20T08:15:42.000000500Z"),
            ("2026-10-25 02:30", "2026-10-25T01:30:00Z", "2026-10-25T01:30:59.999999999Z"),
        ])
    func writtenTimes(text: String, start: String, end: String) throws {
        let time = try #require(WrittenTime(text, now: Self.now, zone: Self.zone))
        #expect(TimeText.rfc3339(time.start) == start)
        #expect(TimeText.rfc3339(time.end) == end)
    }

    @Test(
        "what is not a time is refused",
        arguments: [
            "", "soon", "2026-13-01", "2026-02-30", "25:00", "10:60", "2026-11-20 10", "ago", "ten minutes ago",
            "0 days ago",
            "1026-01-01", "9026-01-01", "2026-11-20T", "2026-11-20T10:15:30+99:00", "10:15.5", "1 2 3",
            "2026-11-20 10:15 x",
        ])
    func refusedTimes(text: String) {
        #expect(WrittenTime(text, now: Self.now, zone: Self.zone) == nil)
        #expect(throws: HoldfastError.self) {
            try PointSelector.parse("@" + text, now: Self.now, zone: Self.zone)
        }
    }

    @Test("latest, ids and times are told apart; anything else teaches the forms")
    func parse() throws {
        #expect(try PointSelector.parse("latest", now: Self.now, zone: Self.zone) == .latest)
        #expect(try PointSelector.parse(" 3FA9 ", now: Self.now, zone: Self.zone) == .prefix("3fa9"))
        guard case .time = try PointSelector.parse("@yesterday", now: Self.now, zone: Self.zone) else {
            Issue.record("not a time")
            return
        }
        for text in ["", "newest", "xyz", String(repeating: "a", count: 33), "12 34"] {
            let error = #expect(throws: HoldfastError.self) {
                try PointSelector.parse(text, now: Self.now, zone: Self.zone)
            }
            #expect(error?.code == .usage)
        }
    }

    private func candidate(_ high: UInt64, _ seconds: Int64, partial: Bool = false) -> PointSelector.Candidate {
        .init(id: PointID(high: high << 32, low: 1), time: Timestamp(seconds: seconds), isPartial: partial)
    }

    @Test("selecting takes the newest point not later than the time, complete ones first")
    func select() throws {
        let points = [
            candidate(0xAAAA_0001, 100), candidate(0xAAAA_0002, 200), candidate(0xBBBB_0001, 300),
            candidate(0xBBBB_0002, 400, partial: true),
        ]
        func at(_ seconds: Int64) -> PointSelector {
            .time(WrittenTime(start: Timestamp(seconds: seconds), end: Timestamp(seconds: seconds)))
        }
        #expect(try PointSelector.latest.select(from: points) == points[2])
        #expect(try at(200).select(from: points) == points[1])
        #expect(try at(299).select(from: points) == points[1])
        #expect(try at(900).select(from: points) == points[2])
        #expect(try PointSelector.prefix("bbbb0002").select(from: points) == points[3])
        #expect(try PointSelector.latest.select(from: [points[3]]) == points[3])
        #expect(throws: HoldfastError.self) { try at(99).select(from: points) }
        #expect(throws: HoldfastError.self) { try PointSelector.latest.select(from: []) }
        #expect(throws: HoldfastError.self) { try PointSelector.prefix("c").select(from: points) }
        let ambiguous = #expect(throws: HoldfastError.self) { try PointSelector.prefix("aaaa").select(from: points) }
        #expect(ambiguous?.code == .usage)
    }
}
