import Testing

@testable import Model

@Suite("Sizes, spans and shares")
struct UnitsTests {
    @Test(
        "sizes are read with decimal and binary units",
        arguments: [
            ("0", 0), ("17", 17), ("1k", 1_000), ("1 KB", 1_000), ("1KiB", 1_024), ("1.5 MiB", 1_572_864),
            ("2G", 2_000_000_000),
            ("1.2 GB", 1_200_000_000), ("1.1 GiB", 1_181_116_006), ("3Ti", 3_298_534_883_328), ("12 bytes", 12),
            (".5k", 500),
        ] as [(String, UInt64)])
    func parseSizes(text: String, bytes: UInt64) { #expect(Units.parseSize(text) == bytes) }

    @Test(
        "what is not a size is refused",
        arguments: ["", "-1", "1x", "k", "1..2", "1 GBB", "99999999999E", "1 2", "ten"])
    func refuseSizes(text: String) { #expect(Units.parseSize(text) == nil) }

    @Test(
        "sizes are printed with three digits",
        arguments: [
            (0, "0 B"), (999, "999 B"), (1_000, "1.00 kB"), (1_234, "1.23 kB"), (12_345, "12.3 kB"),
            (123_456, "123 kB"),
            (999_499, "999 kB"), (999_999, "1.00 MB"), (1_200_000_000, "1.20 GB"), (9_999, "10.0 kB"),
            (99_990, "100 kB"),
            (18_446_744_073_709_551_615, "18.4 EB"),
        ] as [(UInt64, String)])
    func printSizes(bytes: UInt64, text: String) { #expect(Units.size(bytes) == text) }

    @Test(
        "binary sizes are printed with three digits",
        arguments: [
            (1_023, "1023 B"), (1_024, "1.00 KiB"), (1_181_116_006, "1.10 GiB"), (1_048_575, "1.00 MiB"),
            (1_072_693_248, "1023 MiB"), (268_435_456, "256 MiB"),
        ] as [(UInt64, String)])
    func printBinarySizes(bytes: UInt64, text: String) { #expect(Units.binarySize(bytes) == text) }

    @Test("a printed size is read back within its three digits")
    func roundTrip() throws {
        var generator = SplitMix(seed: 7)
        for _ in 0..<20_000 {
            let bytes = generator.next() >> (1 + generator.next() % 63)
            let back = try #require(Units.parseSize(Units.size(bytes)), "\(bytes)")
            #expect(abs(Double(back) - Double(bytes)) <= Double(bytes) * 0.0051, "\(bytes)")
        }
    }

    @Test("counts, shares, rates and ages")
    func others() {
        #expect(Units.count(1_234_567) == "1,234,567")
        #expect(Units.count(-1_000) == "-1,000")
        #expect(Units.count(1, "file") == "1 file")
        #expect(Units.count(2, "entry", "entries") == "2 entries")
        #expect(Units.percent(1, of: 8) == "12.5 %")
        #expect(Units.percent(5, of: 0) == "0 %")
        #expect(Units.rate(bytes: 1_000_000, nanoseconds: 500_000_000) == "2.00 MB/s")
        #expect(Units.rate(bytes: 1, nanoseconds: 0) == "-")
        #expect(Units.parseShare("5%") == 0.05)
        #expect(Units.parseShare("0.5 %") == 0.005)
        #expect(Units.parseShare("1/20") == 0.05)
        for text in ["101%", "5", "-1%", "%", "2/1", "1/0", "x"] { #expect(Units.parseShare(text) == nil, "\(text)") }
        let now = Timestamp(seconds: 1_000_000)
        #expect(Units.age(of: Timestamp(seconds: 999_700), at: now) == "5 min ago")
        #expect(Units.age(of: Timestamp(seconds: 0), at: now) == "11 days ago")
    }

    @Test(
        "spans of time are printed with their two largest parts",
        arguments: [
            (0, "0 ms"), (1_499_999, "1 ms"), (999_000_000, "999 ms"), (1_340_000_000, "1.3 s"),
            (12_400_000_000, "12 s"),
            (61_000_000_000, "1 min 1 s"), (3_600_000_000_000, "1 h"), (90_061_000_000_000, "1 d 1 h"),
        ] as [(UInt64, String)])
    func spans(nanoseconds: UInt64, text: String) { #expect(Units.span(nanoseconds: nanoseconds) == text) }

    @Test(
        "calendar spans are read and written",
        arguments: [
            ("30d", "30d"), ("12h", "12h"), ("6mo", "6mo"), ("1y6mo", "1y6mo"), ("90m", "90m"), ("14 days", "2w"),
            ("1 year 2 weeks", "1y2w"), ("3600s", "1h"), ("36h", "36h"), ("18mo", "1y6mo"),
        ])
    func calendarSpans(text: String, written: String) throws {
        let span = try #require(CalendarSpan(text))
        #expect(span.description == written)
        #expect(CalendarSpan(span.description) == span)
    }

    @Test(
        "what is not a span is refused", arguments: ["", "0d", "d", "5", "-3d", "3x", "1d2", "99999999999d", "2000y"])
    func refuseSpans(text: String) { #expect(CalendarSpan(text) == nil) }

    @Test("a day back is the same reading of the clock, an exact 24 hours are not")
    func spansAcrossDaylightSaving() throws {
        let zone = CivilDateTests.berlin
        let time = Timestamp(seconds: 1_792_890_000 + 12 * 3_600, nanoseconds: 5)  // 2026-10-25 14:00 CET
        let day = try #require(CalendarSpan("1d")).before(time, in: zone)
        #expect(TimeText.local(day, in: zone) == "2026-10-24 14:00:00")
        #expect(day.subsecond == 5)
        let hours = try #require(CalendarSpan("24h")).before(time, in: zone)
        #expect(TimeText.local(hours, in: zone) == "2026-10-24 15:00:00")
    }
}
