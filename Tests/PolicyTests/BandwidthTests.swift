import Model
import TestSupport
import Testing

@testable import Policy

@Suite("Bandwidth")
struct BandwidthTests {
    private let london = Zones.load("Europe/London")!

    private func windows(_ texts: String...) throws -> BandwidthWindows {
        BandwidthWindows(try texts.map { try BandwidthWindow.parse($0) })
    }

    @Test("the last window that holds decides, none is no limit")
    func limits() throws {
        let windows = try windows("50Mbit/s", "20Mbit/s Mon-Fri 08:00-18:00", "unlimited 22:00-06:00", "1MB/s Sun")
        func limit(_ time: String) -> String? { windows.limit(at: Zones.time(time), in: london)?.description }
        #expect(limit("2026-01-09T07:59:59Z") == "50Mbit/s")
        #expect(limit("2026-01-09T08:00:00Z") == "20Mbit/s")
        #expect(limit("2026-01-09T17:59:59Z") == "20Mbit/s")
        #expect(limit("2026-01-09T18:00:00Z") == "50Mbit/s")
        #expect(limit("2026-01-09T22:00:00Z") == nil)
        #expect(limit("2026-01-10T05:59:59Z") == nil)
        #expect(limit("2026-01-10T12:00:00Z") == "50Mbit/s")
        #expect(limit("2026-01-11T23:00:00Z") == "8Mbit/s")
        // By the clock of the place: 08:00 in July is 07:00 UTC.
        #expect(limit("2026-07-10T07:00:00Z") == "20Mbit/s")
        #expect(BandwidthWindows().limit(at: Zones.time("2026-01-10T12:00:00Z"), in: london) == nil)
        #expect(BandwidthWindows().nextChange(after: Zones.time("2026-01-10T12:00:00Z"), in: london) == nil)
        #expect(
            windows.nextChange(after: Zones.time("2026-01-09T08:00:00Z"), in: london)
                == Zones.time("2026-01-09T18:00:00Z"))
    }

    @Test("a window past midnight belongs to the day on which it begins")
    func pastMidnight() throws {
        let windows = try windows("1MB/s Fri 22:00-06:00")
        func isLimited(_ time: String) -> Bool { windows.limit(at: Zones.time(time), in: london) != nil }
        #expect(!isLimited("2026-01-09T05:00:00Z"))
        #expect(isLimited("2026-01-09T22:00:00Z"))
        #expect(isLimited("2026-01-10T05:59:59Z"))
        #expect(!isLimited("2026-01-10T06:00:00Z"))
        #expect(!isLimited("2026-01-10T22:00:00Z"))
    }

    @Test("a window that begins an hour before clocks change begins then")
    func beforeChangedClocks() throws {
        let windows = try windows("2MB/s Sun")
        #expect(
            windows.nextChange(after: Zones.time("2026-03-26T20:16:00Z"), in: london)
                == Zones.time("2026-03-29T00:00:00Z"))
    }

    @Test("the next change is the one that watching every minute finds, when clocks change too")
    func nextChange() throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("bandwidth windows, seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        let zones = ["Europe/London", "Australia/Lord_Howe", "Pacific/Apia", "America/New_York"].compactMap {
            Zones.load($0)
        }
        for _ in 0..<60 {
            let zone = zones.randomElement(using: &generator)!
            let texts = (0..<Int.random(in: 1...3, using: &generator)).map { _ -> String in
                let rate = ["1MB/s", "2MB/s", "unlimited"].randomElement(using: &generator)!
                let days = ["", " Mon-Fri", " Sat,Sun", " Sun", " Fri-Sun"].randomElement(using: &generator)!
                let times = ["", " 00:30-01:30", " 01:15-01:45", " 22:00-03:00", " 08:00-18:00", " 02:10-24:00"]
                return rate + days + times.randomElement(using: &generator)!
            }
            let windows = BandwidthWindows(try texts.map { try BandwidthWindow.parse($0) })
            let start = WatchedClock.interestingTime(zone, &generator)
            let limit = windows.limit(at: start, in: zone)
            let first = start.seconds - start.seconds % 60 + 60
            let expected = stride(from: first, to: first + 9 * 86_400, by: 60).first {
                windows.limit(at: Timestamp(seconds: $0), in: zone) != limit
            }
            #expect(
                windows.nextChange(after: start, in: zone)?.seconds == expected,
                "seed \(seed): \(texts) in \(zone.identifier) after \(TimeText.rfc3339(start))")
        }
    }

    @Test(
        "limits are written in one way",
        arguments: [
            ("20 Mbit/s Mon-Fri 08:00-18:00", "20Mbit/s Mon-Fri 08:00-18:00"), ("20Mbps", "20Mbit/s"),
            ("1MB/s", "8Mbit/s"),
            ("1KiB/s daily", "8192bit/s"), ("unlimited sat,SUNDAY", "unlimited Sat,Sun"),
            ("1.5Gbit/s 9:00-24:00", "1500Mbit/s 09:00-24:00"), ("100kB/s 22:00-00:00", "800kbit/s 22:00-24:00"),
        ])
    func spelling(written: String, read: String) throws {
        #expect(try BandwidthWindow.parse(written).description == read)
        #expect(try BandwidthWindow.parse(read) == BandwidthWindow.parse(written))
    }

    @Test(
        "what is not a limit is refused",
        arguments: [
            "", "20", "20Mb/s", "20MB", "fast", "20Mbit/s Mon-Fry", "20Mbit/s 8-18", "20Mbit/s 08:00-08:00", "0bit/s",
            "20Mbit/s 08:00-18:00 Mon", "20Mbit/s Mon Tue", "20Mbit/s 24:00-06:00", "-1MB/s",
        ])
    func refused(text: String) {
        #expect(throws: TextProblem.self) { try BandwidthWindow.parse(text) }
    }

    @Test("in no stretch of time is more sent than the rate, the burst and one piece allow, and nearly as much is")
    func pacing() {
        let seed = UInt64.random(in: 0 ... .max)
        print("pacing, seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<50 {
            let rate = Rate(bytesPerSecond: UInt64.random(in: 1_000...200_000_000, using: &generator))
            let burst = UInt64.random(in: 1_000...200_000, using: &generator)
            var now = Int64.random(in: 0..<1 << 60, using: &generator)
            let start = now
            var pacer = RatePacer(rate: rate, burst: burst, now: now)
            var sent: [(at: Int64, bytes: Int)] = []
            for _ in 0..<400 {
                if Int.random(in: 0..<20, using: &generator) == 0 {
                    now += Int64.random(in: 0..<3_000_000_000, using: &generator)
                }
                let bytes = Int.random(in: 1...65_536, using: &generator)
                now += pacer.reserve(bytes, now: now)
                sent.append((now, bytes))
            }
            for _ in 0..<100 {
                let first = Int.random(in: 0..<sent.count, using: &generator)
                let last = Int.random(in: first..<sent.count, using: &generator)
                let total = sent[first...last].reduce(0.0) { $0 + Double($1.bytes) }
                let seconds = Double(sent[last].at - sent[first].at) / 1e9
                let allowed = Double(rate.bytesPerSecond) * seconds + Double(burst) + 65_536 + 1
                #expect(total <= allowed, "seed \(seed)")
            }
            // Without pauses the whole rate is used.
            pacer = RatePacer(rate: rate, burst: burst, now: start)
            now = start
            var total = 0
            for _ in 0..<400 {
                now += pacer.reserve(50_000, now: now)
                total += 50_000
            }
            #expect(Double(total) >= Double(rate.bytesPerSecond) * Double(now - start) / 1e9, "seed \(seed)")
        }
    }

    @Test("without a limit nothing waits, and a new limit holds at once")
    func changingRates() {
        var pacer = RatePacer(rate: nil, burst: 1_000, now: 0)
        #expect(pacer.reserve(1 << 40, now: 0) == 0)
        #expect(pacer.delay(now: 0) == 0)
        pacer.setRate(Rate(bytesPerSecond: 1_000), now: 0)
        #expect(pacer.reserve(3_000, now: 0) == 0)
        #expect(pacer.delay(now: 0) == 2_000_000_000)
        pacer.setRate(Rate(bytesPerSecond: 2_000), now: 0)
        #expect(pacer.delay(now: 0) == 1_000_000_000)
        // A clock that goes back stands still.
        #expect(pacer.delay(now: -5_000_000_000) == 1_000_000_000)
        #expect(pacer.delay(now: 500_000_000) == 500_000_000)
        pacer.setRate(nil, now: 500_000_000)
        #expect(pacer.delay(now: 500_000_000) == 0)
        _ = pacer.reserve(Int.max, now: .max)
    }
}
