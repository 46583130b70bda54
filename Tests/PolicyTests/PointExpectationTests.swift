import Model
import TestSupport
import Testing

@testable import Policy

@Suite("What counts as late")
struct ExpectationTests {
    private let london = Zones.load("Europe/London")!

    private func use(_ pairs: [(String, String)]) -> [Range<Timestamp>] {
        pairs.map { Zones.time($0.0)..<Zones.time($0.1) }
    }

    @Test("a machine that is asleep is not late")
    func asleep() throws {
        let expectation = try PointExpectation.parse("every 1h")
        let last = Zones.time("2026-01-10T08:00:00Z")
        let now = Zones.time("2026-01-20T08:00:00Z")
        let short = use([
            ("2026-01-10T08:00:00Z", "2026-01-10T08:30:00Z"), ("2026-01-20T07:45:00Z", "2026-01-20T08:00:00Z"),
        ])
        let standing = expectation.standing(last: last, now: now, use: short, in: london)
        #expect(!standing.isLate)
        #expect(standing.used == .seconds(45 * 60))
        let long = short + use([("2026-01-15T00:00:00Z", "2026-01-15T00:40:00Z")])
        #expect(
            expectation.standing(last: last, now: now, use: long, in: london).lateSince
                == Zones.time("2026-01-15T00:30:00Z"))
    }

    @Test("days of use are days on which it was in use at all, after the day of its last point")
    func days() throws {
        let expectation = try PointExpectation.parse("every 2 days of use")
        let last = Zones.time("2026-01-05T18:00:00Z")
        var used = use([("2026-01-05T17:00:00Z", "2026-01-05T23:00:00Z")])
        used += use([
            ("2026-01-06T09:00:00Z", "2026-01-06T09:10:00Z"), ("2026-01-06T20:00:00Z", "2026-01-06T20:10:00Z"),
        ])
        used += use([("2026-01-09T09:00:00Z", "2026-01-09T17:00:00Z")])
        let friday = expectation.standing(last: last, now: Zones.time("2026-01-09T23:00:00Z"), use: used, in: london)
        #expect(!friday.isLate)
        #expect(friday.daysUsed == 2)
        used += use([("2026-01-12T08:15:00Z", "2026-01-12T08:20:00Z")])
        let monday = expectation.standing(last: last, now: Zones.time("2026-01-12T09:00:00Z"), use: used, in: london)
        #expect(monday.lateSince == Zones.time("2026-01-12T08:15:00Z"))
        // Always on: late when the third day begins.
        let always = use([("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")])
        let server = expectation.standing(last: last, now: Zones.time("2026-01-20T00:00:00Z"), use: always, in: london)
        #expect(server.lateSince == Zones.time("2026-01-08T00:00:00Z"))
        #expect(server.daysUsed == 14)
    }

    @Test("the sum is that of every minute looked at by itself, however intervals overlap")
    func property() throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("lateness, seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        let zone = Zones.load("America/New_York")!
        for _ in 0..<200 {
            let last = Int64.random(in: 1_772_000_000..<1_775_000_000, using: &generator) / 60 * 60
            let now = last + Int64.random(in: 0..<8 * 1_440, using: &generator) * 60
            let intervals = (0..<Int.random(in: 0...8, using: &generator)).map { _ -> Range<Int64> in
                let start = last + Int64.random(in: -1_440..<8 * 1_440, using: &generator) * 60
                return start..<(start + Int64.random(in: 0..<1_440, using: &generator) * 60)
            }
            let hours = Int64.random(in: 1...30, using: &generator)
            let days = Int.random(in: 1...4, using: &generator)
            var used: Int64 = 0
            var seen: Set<CivilDate> = [zone.civil(Timestamp(seconds: last)).date]
            var lateByTime: Int64?
            var lateByDays: Int64?
            for minute in stride(from: last, to: now, by: 60) where intervals.contains(where: { $0.contains(minute) }) {
                if used == hours * 3_600, lateByTime == nil { lateByTime = minute }
                used += 60
                seen.insert(zone.civil(Timestamp(seconds: minute)).date)
                if seen.count - 1 > days, lateByDays == nil { lateByDays = minute }
            }
            let use = intervals.map { Timestamp(seconds: $0.lowerBound)..<Timestamp(seconds: $0.upperBound) }
            func standing(_ text: String) throws -> PointExpectation.Standing {
                try PointExpectation.parse(text).standing(
                    last: Timestamp(seconds: last), now: Timestamp(seconds: now), use: use.shuffled(using: &generator),
                    in: zone)
            }
            let byTime = try standing("every \(hours)h")
            #expect(byTime.used == .seconds(used), "seed \(seed)")
            #expect(byTime.daysUsed == seen.count - 1, "seed \(seed)")
            // The end of the last allowed minute and the start of the next in use are the same moment when they touch.
            if let lateByTime {
                let since = try #require(byTime.lateSince, "seed \(seed)")
                #expect(since.seconds <= lateByTime, "seed \(seed)")
                #expect(
                    !stride(from: since.seconds, to: lateByTime, by: 60).contains { minute in
                        intervals.contains { $0.contains(minute) }
                    }, "seed \(seed)")
            } else {
                #expect(byTime.lateSince == nil, "seed \(seed)")
            }
            #expect(try standing("every \(days) days of use").lateSince?.seconds == lateByDays, "seed \(seed)")
        }
    }

    @Test(
        "expectations are written in one way",
        arguments: [
            ("every 1h", "every 1h"), ("Every 2 Days of use", "every 2 days of use"),
            ("every day of use", "every 1 day of use"),
            ("every 2 weeks of use", "every 14 days of use"), ("every 8 hours of use", "every 8h"),
            ("every 2d", "every 48h"),
        ])
    func spelling(written: String, read: String) throws {
        #expect(try PointExpectation.parse(written).description == read)
        #expect(try PointExpectation.parse(read) == PointExpectation.parse(written))
    }

    @Test(
        "what is not an expectation is refused",
        arguments: [
            "2 days", "every", "every of use", "every 0 days of use", "every 1s", "every 400 days of use",
            "every two days",
        ])
    func refused(text: String) {
        #expect(throws: TextProblem.self) { try PointExpectation.parse(text) }
    }
}
