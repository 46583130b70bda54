import Foundation
import Testing

@testable import Model

@Suite("Dates and clocks")
struct CivilDateTests {
    @Test("every day from 1600 to 2400 is read back from its number, one after the other")
    func roundTrip() throws {
        var previous: CivilDate?
        for number in -135_140...157_054 {
            let date = CivilDate(dayNumber: number)
            #expect(date.dayNumber == number)
            #expect(CivilDate(year: date.year, month: date.month, day: date.day) == date)
            if let previous { #expect(previous < date) }
            previous = date
        }
        #expect(CivilDate(dayNumber: -135_140).description == "1600-01-01")
        #expect(CivilDate(dayNumber: 157_054).description == "2400-01-01")
        #expect(CivilDate(dayNumber: 0).description == "1970-01-01")
    }

    @Test(
        "ISO weeks belong to the year of their Thursday",
        arguments: [
            ("2026-11-20", 2026, 47, 5), ("2021-01-03", 2020, 53, 7), ("2021-01-04", 2021, 1, 1),
            ("2020-12-31", 2020, 53, 4), ("2018-12-31", 2019, 1, 1), ("2016-01-01", 2015, 53, 5),
            ("2024-02-29", 2024, 9, 4),
        ])
    func isoWeeks(text: String, year: Int, week: Int, weekday: Int) throws {
        let parts = text.split(separator: "-").compactMap { Int($0) }
        let date = try #require(CivilDate(year: parts[0], month: parts[1], day: parts[2]))
        #expect(date.isoWeek == (year, week))
        #expect(date.weekday == weekday)
    }

    @Test("adding months stays within the shorter month")
    func months() throws {
        let end = try #require(CivilDate(year: 2024, month: 1, day: 31))
        #expect(end.adding(months: 1).description == "2024-02-29")
        #expect(end.adding(months: 13).description == "2025-02-28")
        #expect(end.adding(months: -2).description == "2023-11-30")
        #expect(end.adding(months: -13).description == "2022-12-31")
        #expect(CivilDate(year: 2023, month: 2, day: 29) == nil)
        #expect(CivilDate(year: 2023, month: 13, day: 1) == nil)
    }

    /// What the tests use for Berlin, independent of the machine's zone files.
    static let berlin = TimeZoneRules(identifier: "Europe/Berlin", posix: "CET-1CEST,M3.5.0,M10.5.0/3")!

    @Test("clocks are put forward and back on the last Sundays of March and October")
    func daylightSaving() throws {
        let zone = CivilDateTests.berlin
        // 2026-03-29 01:00 UTC and 2026-10-25 01:00 UTC.
        #expect(zone.offset(at: 1_774_745_999) == 3_600)
        #expect(zone.offset(at: 1_774_746_000) == 7_200)
        #expect(zone.offset(at: 1_792_889_999) == 7_200)
        #expect(zone.offset(at: 1_792_890_000) == 3_600)
        let day = try #require(CivilDate(year: 2026, month: 10, day: 25))
        // 02:30 comes twice; the later one is meant.
        #expect(zone.seconds(at: CivilTime(date: day, secondOfDay: 9_000)) == 1_792_890_000 + 1_800)
        let spring = try #require(CivilDate(year: 2026, month: 3, day: 29))
        // 02:30 never comes: it is read as 03:30.
        let never = zone.seconds(at: CivilTime(date: spring, secondOfDay: 9_000))
        #expect(TimeText.local(Timestamp(seconds: never), in: zone) == "2026-03-29 03:30:00")
    }

    @Test(
        "zone files and rules agree with the system at ten thousand instants",
        arguments: [
            "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca",
            "America/Sao_Paulo", "Pacific/Apia", "Asia/Tehran", "Europe/Dublin", "UTC",
        ])
    func zoneFiles(name: String) throws {
        guard let data = FileManager.default.contents(atPath: "/usr/share/zoneinfo/\(name)") else { return }
        let rules = try #require(TimeZoneRules(identifier: name, tzif: Array(data)))
        let system = try #require(TimeZone(identifier: name))
        var seconds: Int64 = -1_500_000_000
        var compared = 0
        while seconds < 3_000_000_000 {
            let expected = system.secondsFromGMT(for: Date(timeIntervalSince1970: Double(seconds)))
            // Foundation rounds local mean times of long ago to minutes; zone files do not.
            if abs(expected - rules.offset(at: seconds)) < 60 {
                compared += 1
            } else {
                // ICU's own data may be a release older or newer than the zone file: only old or far rules may differ.
                #expect(seconds < 0 || seconds > 1_700_000_000, "\(name) at \(seconds)")
            }
            let local = rules.civil(Timestamp(seconds: seconds))
            let back = rules.seconds(at: local)
            #expect(rules.civil(Timestamp(seconds: back)) == local, "\(name) at \(seconds)")
            seconds += 450_007
        }
        #expect(compared > 9_000)
    }

    @Test("bytes that are no zone file and texts that are no rule are refused")
    func hostileZones() throws {
        #expect(TimeZoneRules(identifier: "x", tzif: []) == nil)
        #expect(TimeZoneRules(identifier: "x", tzif: Array("TZif2".utf8)) == nil)
        for text in ["", "CE-1", "CET", "CET-1CEST", "CET-1CEST,M3.5.0", "CET-1CEST,M13.5.0,M10.5.0/3", "CET-99"] {
            #expect(TimeZoneRules(identifier: "x", posix: text) == nil, "\(text)")
        }
        guard let data = FileManager.default.contents(atPath: "/usr/share/zoneinfo/Europe/Berlin") else { return }
        var generator = SplitMix(seed: 42)
        for _ in 0..<2_000 {
            var bytes = Array(data)
            for _ in 0...Int(generator.next() % 4) {
                bytes[Int(generator.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: generator.next())
            }
            if generator.next() % 3 == 0 { bytes.removeLast(Int(generator.next() % UInt64(bytes.count))) }
            // Either refused or usable; never a trap.
            if let rules = TimeZoneRules(identifier: "x", tzif: bytes) {
                _ = rules.civil(Timestamp(seconds: Int64(bitPattern: generator.next()) % 9_000_000_000))
            }
        }
    }

    @Test(
        "every instant of the range is shown, taken apart and put together",
        arguments: [
            Int64.min, .min + 1, -9_223_372_036_000_000_001, -9_223_372_036_000_000_000, -1_500_000_000, -1_000_000_000,
            -1, 0, 1, 9_223_372_036_000_000_000, .max - 1, .max,
        ])
    func ends(nanoseconds: Int64) throws {
        let time = Timestamp(nanoseconds: nanoseconds)
        #expect((0..<1_000_000_000).contains(time.subsecond))
        #expect(Timestamp(seconds: time.seconds, nanoseconds: time.subsecond) == time)
        #expect(!TimeText.rfc3339(time).isEmpty)
        for zone in [TimeZoneRules.utc, CivilDateTests.berlin] {
            #expect(!TimeText.local(time, in: zone).isEmpty && !TimeText.localMinute(time, in: zone).isEmpty)
            for text in ["1s", "1d", "1000y", "1000y365250d"] {
                let span = try #require(CalendarSpan(text))
                #expect(span.before(time, in: zone) <= time)
                #expect(time.since(span.before(time, in: zone)) >= 0)
                _ = WrittenTime("\(text) ago", now: time, zone: zone)
            }
            for text in ["now", "today", "yesterday", "monday", "10:15"] {
                _ = WrittenTime(text, now: time, zone: zone)
            }
        }
        #expect(time.advanced(by: .max) >= time && time.advanced(by: .min) <= time)
        #expect(Timestamp(nanoseconds: .min).since(time) <= 0 && Timestamp(nanoseconds: .max).since(time) >= 0)
    }
}

/// A small generator with a seed, so that a failure can be repeated.
struct SplitMix: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
