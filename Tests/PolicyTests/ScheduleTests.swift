import Model
import TestSupport
import Testing

@testable import Policy

@Suite("Schedules")
struct ScheduleTests {
    private let london = Zones.load("Europe/London")!

    private func next(_ schedule: String, after time: String, in zone: TimeZoneRules) throws -> String? {
        try Schedule.parse(schedule).next(after: Zones.time(time), in: zone).map { TimeText.rfc3339($0) }
    }

    @Test(
        "the next run of each form",
        arguments: [
            ("daily 02:00", "2026-01-10T02:00:00Z", "2026-01-11T02:00:00Z"),
            ("daily 02:00,14:00", "2026-01-10T02:00:00Z", "2026-01-10T14:00:00Z"),
            ("daily 02:00", "2026-07-10T01:00:00Z", "2026-07-11T01:00:00Z"),
            ("weekly Mon 03:00", "2026-01-10T00:00:00Z", "2026-01-12T03:00:00Z"),
            ("weekly Sat-Mon 03:00", "2026-01-10T03:00:00Z", "2026-01-11T03:00:00Z"),
            ("monthly 1 04:00", "2026-01-10T00:00:00Z", "2026-02-01T04:00:00Z"),
            ("monthly last 04:00", "2026-02-01T00:00:00Z", "2026-02-28T04:00:00Z"),
            ("monthly 30 04:00", "2028-02-01T00:00:00Z", "2028-02-29T04:00:00Z"),
            ("every 1h", "2026-01-10T02:00:00Z", "2026-01-10T03:00:00Z"),
            ("every 15m", "2026-01-10T02:01:00Z", "2026-01-10T02:15:00Z"),
            ("*/20 5 * * *", "2026-01-10T05:20:00Z", "2026-01-10T05:40:00Z"),
            ("0 2 * * 1-5", "2026-01-09T02:00:00Z", "2026-01-12T02:00:00Z"),
            ("0 2 13 * fri", "2026-01-09T02:00:00Z", "2026-01-13T02:00:00Z"),
            ("0 2 */13 * fri", "2026-01-09T02:00:00Z", "2026-02-27T02:00:00Z"),
            ("0 0 29 2 *", "2026-01-09T02:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 29 2 *", "2096-03-01T02:00:00Z", "2104-02-29T00:00:00Z"),
            ("0 2 * * 0", "2026-01-09T02:00:00Z", "2026-01-11T02:00:00Z"),
            ("0 2 * * 7", "2026-01-09T02:00:00Z", "2026-01-11T02:00:00Z"),
            ("@monthly", "2026-01-09T02:00:00Z", "2026-02-01T00:00:00Z"),
        ] as [(String, String, String)])
    func forms(schedule: String, after: String, expected: String) throws {
        #expect(try next(schedule, after: after, in: london) == expected)
    }

    @Test("a time that clocks skip runs right after the gap, one that comes twice runs once")
    func changedClocks() throws {
        // London skips 01:00 to 02:00 on 29 March 2026 and has it twice on 25 October.
        #expect(try next("daily 01:30", after: "2026-03-28T12:00:00Z", in: london) == "2026-03-29T01:00:00Z")
        #expect(try next("daily 01:30", after: "2026-03-29T01:00:00Z", in: london) == "2026-03-30T00:30:00Z")
        #expect(try next("daily 01:30", after: "2026-10-24T12:00:00Z", in: london) == "2026-10-25T00:30:00Z")
        #expect(try next("daily 01:30", after: "2026-10-25T00:30:00Z", in: london) == "2026-10-26T01:30:00Z")
        // All that lies in the gap is one run.
        #expect(try next("*/15 1 * * *", after: "2026-03-28T01:45:00Z", in: london) == "2026-03-29T01:00:00Z")
        #expect(try next("*/15 1 * * *", after: "2026-03-29T01:00:00Z", in: london) == "2026-03-30T00:00:00Z")
        // An interval knows no clock.
        #expect(try next("every 30m", after: "2026-10-25T00:30:00Z", in: london) == "2026-10-25T01:00:00Z")
        // Samoa had no 30 December 2011 at all.
        let apia = try #require(Zones.load("Pacific/Apia"))
        #expect(try next("daily 02:00", after: "2011-12-29T12:00:00Z", in: apia) == "2011-12-30T10:00:00Z")
        #expect(try next("daily 02:00", after: "2011-12-30T10:00:00Z", in: apia) == "2011-12-30T12:00:00Z")
        // Lord Howe moves by half an hour.
        let howe = try #require(Zones.load("Australia/Lord_Howe"))
        #expect(try next("daily 02:15", after: "2026-10-03T10:00:00Z", in: howe) == "2026-10-03T15:30:00Z")
    }

    @Test(
        "schedules are written in one way",
        arguments: [
            ("DAILY 2:00", "daily 02:00"), ("daily 14:00,02:00", "daily 02:00,14:00"), ("hourly", "every 1h"),
            ("weekly monday,tue,WED 3:00", "weekly Mon-Wed 03:00"), ("monthly 31 04:00", "monthly last 04:00"),
            ("every 2 hours", "every 2h"), ("every 1d", "every 24h"), ("0  2 * * *", "0 2 * * *"),
            ("weekly Fri-Mon 01:00", "weekly Mon,Fri-Sun 01:00"),
        ])
    func spelling(written: String, read: String) throws {
        let schedule = try Schedule.parse(written)
        #expect(schedule.description == read)
        #expect(try Schedule.parse(read) == schedule)
    }

    @Test(
        "what is not a schedule is refused with what to write",
        arguments: [
            ("dayly 02:00", "Did you mean \"daily 02:00\"?"), ("daily", "needs a time"), ("daily 25:00", "not a time"),
            ("daily 02:00 03:00", "commas"), ("weekly 03:00", "not a day of the week"), ("weekly Mon", "needs a time"),
            ("monthly 32 04:00", "1 to 31"), ("monthly 0 04:00", "1 to 31"), ("every 10s", "minute"),
            ("every 90d", "31 days"), ("every 0", "minute"), ("every", "not a length"), ("", "empty"),
            ("0 2 * *", "five"), ("60 2 * * *", "0 to 59"), ("0 2 * * 8", "0 to 7"), ("0 2 30 2 *", "no year has"),
            ("*/0 * * * *", "steps"), ("5-1 * * * *", "ranges"), ("1,,2 * * * *", "lists"), ("0 2 * foo *", "JAN"),
            ("@reboot", "checkpoint"), ("@never", "not a schedule"), ("sometimes", "Write for example"),
        ])
    func refused(text: String, advice: String) {
        do throws(TextProblem) {
            _ = try Schedule.parse(text)
            Issue.record("\(text) was accepted")
        } catch {
            #expect("\(error.message) \(error.instead)".contains(advice), "\(error)")
        }
    }

    @Test("runs are those of a clock that is watched minute by minute, across zones and years")
    func againstWatchedClock() throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("schedules against a watched clock, seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        let zones = [
            "Europe/London", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca",
            "America/Sao_Paulo", "Pacific/Apia", "Asia/Tehran", "America/St_Johns", "Antarctica/Troll", "UTC",
        ].compactMap { Zones.load($0) }
        #expect(zones.count > 5)
        for _ in 0..<250 {
            let zone = zones.randomElement(using: &generator)!
            let schedule = try Schedule.parse(WatchedClock.randomSchedule(&generator))
            let start = WatchedClock.interestingTime(zone, &generator)
            let end = start.advanced(by: 3 * 86_400_000_000_000)
            let expected = WatchedClock.runs(schedule, from: start, to: end, zone)
            var found: [Timestamp] = []
            var time = start
            while let run = schedule.next(after: time, in: zone), run <= end {
                found.append(run)
                time = run
            }
            let isSame = found == expected  // Two long lists in a message help nobody.
            #expect(
                isSame,
                """
                seed \(seed): \(schedule) in \(zone.identifier) from \(TimeText.rfc3339(start)) differs by \
                \(Set(found).symmetricDifference(expected).map { TimeText.rfc3339($0) })
                """
            )
            // Catching up finds the newest of them.
            #expect(schedule.missed(since: start, until: end, in: zone) == expected.last, "seed \(seed): \(schedule)")
        }
    }

    @Test("days of rare schedules are those of a calendar that is read day by day")
    func rareDays() throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("rare schedules, seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<60 {
            let words = [
                "7", "3", ["*", "1", "29", "31", "13,17", "*/10"].randomElement(using: &generator)!,
                ["*", "2", "4-6", "feb,dec"].randomElement(using: &generator)!,
                ["*", "1", "sat,sun", "*/3"].randomElement(using: &generator)!,
            ]
            guard let schedule = try? Schedule.parse(words.joined(separator: " ")) else { continue }
            let start = CivilDate(dayNumber: Int.random(in: 0..<20_000, using: &generator))
            let time = Timestamp(seconds: CivilTime(date: start, secondOfDay: 43_200).secondsOnClock)
            var expected: CivilDate?
            for shift in 1..<20_000 where expected == nil {
                let day = start.adding(days: shift)
                if WatchedClock.cronDay(words, day) { expected = day }
            }
            let run = schedule.next(after: time, in: .utc)
            #expect(run.map { TimeZoneRules.utc.civil($0).date } == expected, "seed \(seed): \(words) after \(start)")
        }
    }

    @Test("one run catches up for all that were missed, and none for none")
    func catchUp() throws {
        let schedule = try Schedule.parse("daily 02:00")
        func missed(_ since: String, _ until: String) -> String? {
            schedule.missed(since: Zones.time(since), until: Zones.time(until), in: london).map { TimeText.rfc3339($0) }
        }
        #expect(missed("2026-01-10T02:00:00Z", "2026-01-11T01:59:59Z") == nil)
        #expect(missed("2026-01-10T02:00:00Z", "2026-01-11T02:00:00Z") == "2026-01-11T02:00:00Z")
        #expect(missed("2026-01-10T02:00:00Z", "2026-01-14T12:00:00Z") == "2026-01-14T02:00:00Z")
        #expect(missed("1980-01-10T02:00:00Z", "2026-01-14T12:00:00Z") == "2026-01-14T02:00:00Z")
        #expect(missed("2026-01-14T12:00:00Z", "2026-01-10T02:00:00Z") == nil)
        let quick = try Schedule.parse("every 1m")
        #expect(
            quick.missed(
                since: Zones.time("1970-01-01T00:00:00Z"), until: Zones.time("2026-01-01T00:00:30Z"), in: london)
                == Zones.time("2026-01-01T00:00:00Z"))
        let rare = try Schedule.parse("0 0 29 2 *")
        #expect(
            rare.missed(
                since: Zones.time("2020-03-01T00:00:00Z"), until: Zones.time("2027-01-01T00:00:00Z"), in: london)
                == Zones.time("2024-02-29T00:00:00Z"))
    }

    @Test("machines that come back together catch up spread over the window, each always at the same moment")
    func jitter() {
        let run = Zones.time("2026-01-10T02:00:00Z")
        var buckets = [Int](repeating: 0, count: 10)
        for machine in 0..<5_000 {
            let id = [UInt8](repeating: 0, count: 14) + [UInt8(machine >> 8), UInt8(machine & 0xFF)]
            let delay = Schedule.catchUpDelay(machine: id, run: run, window: .seconds(100))
            #expect(delay == Schedule.catchUpDelay(machine: id, run: run, window: .seconds(100)))
            #expect(delay >= .zero && delay <= .seconds(100))
            buckets[min(9, Int(delay.components.seconds / 10))] += 1
        }
        #expect(buckets.allSatisfy { (400...600).contains($0) }, "\(buckets)")
        #expect(Schedule.catchUpDelay(machine: [1], run: run, window: .zero) == .zero)
        #expect(
            Schedule.catchUpDelay(machine: [1], run: run)
                != Schedule.catchUpDelay(machine: [1], run: run.advanced(by: 1)))
    }

    @Test("the far end of time ends the search")
    func farEnd() throws {
        let schedule = try Schedule.parse("daily 02:00")
        #expect(schedule.next(after: Timestamp(nanoseconds: .max), in: london) == nil)
        #expect(schedule.next(after: Timestamp(nanoseconds: .min), in: london) != nil)
        let interval = try Schedule.parse("every 31d")
        #expect(interval.next(after: Timestamp(nanoseconds: .max), in: london) == nil)
        #expect(interval.next(after: Timestamp(nanoseconds: .min), in: london) != nil)
    }
}

/// The plain way to say when something runs: watch a clock minute by minute, and run when it first shows, or jumps over, a
/// time that matches. Slow, and written from the words of the manual alone.
enum WatchedClock {
    static func runs(_ schedule: Schedule, from start: Timestamp, to end: Timestamp, _ zone: TimeZoneRules)
        -> [Timestamp]
    {
        if case .every(let interval) = schedule.form {
            return stride(from: start.seconds + 1, through: end.seconds, by: 1).filter { $0 % interval == 0 }
                .map { Timestamp(seconds: $0) }
        }
        guard case .clock(let times) = schedule.form else { return [] }
        var found: [Timestamp] = []
        // The furthest reading so far, in minutes; what it has passed never comes again.
        var furthest = Int64.min
        let first = start.seconds - 2 * 86_400
        for minute in stride(from: first - first % 60, through: end.seconds, by: 60) {
            let reading = (minute + Int64(zone.offset(at: minute))) / 60
            if furthest == .min { furthest = reading }
            guard reading > furthest else { continue }
            let isDue = (furthest + 1...reading).contains { passed in
                let civil = CivilTime(secondsOnClock: passed * 60)
                return times.minutes.contains(civil.secondOfDay / 60) && times.includes(civil.date)
            }
            furthest = reading
            if isDue, minute > start.seconds || (minute == start.seconds && start.subsecond < 0) {
                found.append(Timestamp(seconds: minute))
            }
        }
        return found
    }

    /// Often near a change of the clocks.
    static func interestingTime(_ zone: TimeZoneRules, _ generator: inout SeededGenerator) -> Timestamp {
        let start = Int64.random(in: 315_532_800..<2_840_140_800, using: &generator)
        for day in stride(from: start, to: start + 400 * 86_400, by: 86_400) where Bool.random(using: &generator) {
            if zone.offset(at: day) != zone.offset(at: day + 86_400) {
                return Timestamp(seconds: day - Int64.random(in: 0..<172_800, using: &generator))
            }
        }
        return Timestamp(seconds: start)
    }

    static func randomSchedule(_ generator: inout SeededGenerator) -> String {
        let hour = Int.random(in: 0..<5, using: &generator)
        let minute = Int.random(in: 0..<60, using: &generator)
        let clock = "\(hour):\(minute < 10 ? "0" : "")\(minute)"
        return [
            "daily \(clock)", "daily \(clock),12:00", "weekly Sat,Sun,Mon \(clock)",
            "monthly \(Int.random(in: 1...31, using: &generator)) \(clock)", "*/\(minute + 1) * * * *",
            "\(minute) \(hour) * * *", "0,30 0-3 */2 * sun", "\(minute) */2 1-15 * *", "every \(minute + 1)m",
        ].randomElement(using: &generator)!
    }

    /// Whether crontab(5) names this day, by the text of the fields.
    static func cronDay(_ words: [String], _ day: CivilDate) -> Bool {
        func matches(_ word: String, _ value: Int, _ first: Int) -> Bool {
            let names = ["feb": 2, "dec": 12, "sat": 6, "sun": 7]
            return word.split(separator: ",").contains { part in
                if part == "*" { return true }
                if part.hasPrefix("*/") { return (value - first) % Int(part.dropFirst(2))! == 0 }
                let ends = part.split(separator: "-").map { names[String($0)] ?? Int($0)! }
                return (ends[0]...ends[ends.count - 1]).contains(value)
            }
        }
        guard matches(words[3], day.month, 1) else { return false }
        let isDay = matches(words[2], day.day, 1)
        let isWeekday = matches(words[4], day.weekday, 0) || (day.weekday == 7 && matches(words[4], 0, 0))
        return words[2].first == "*" || words[4].first == "*" ? isDay && isWeekday : isDay || isWeekday
    }
}
