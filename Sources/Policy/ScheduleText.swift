import Model

extension Schedule {
    private static let example =
        "Write for example \"daily 02:00\", \"every 1h\", \"weekly Mon 03:00\", \"monthly 1 04:00\" or \"0 2 * * *\"."

    /// What a policy writes; English, case does not matter.
    static func parse(_ text: String) throws(TextProblem) -> Schedule {
        let words = text.split(separator: " ").map(String.init)
        guard let first = words.first else { throw TextProblem(message: "The schedule is empty.", instead: example) }
        let rest = Array(words.dropFirst())
        switch first.lowercased() {
        case "every": return try interval(rest.joined(separator: " "))
        case "hourly" where rest.isEmpty: return try interval("1h")
        case "daily": return try daily(rest)
        case "weekly": return try weekly(rest)
        case "monthly": return try monthly(rest)
        case let macro where macro.hasPrefix("@") && rest.isEmpty: return try named(macro)
        default:
            if words.count == 5, first.first.map({ "0123456789*".contains($0) }) == true {
                return try CronText.parse(words)
            }
            if first.first.map({ "0123456789*".contains($0) }) == true {
                throw TextProblem(
                    message: "\(shown(text)) has \(words.count) fields; a cron expression has five.",
                    instead: "Write minute, hour, day, month and weekday, as in \"0 2 * * *\".")
            }
            let meant = Suggestion.nearest(to: first, among: ["every", "daily", "weekly", "monthly", "hourly"])
            throw TextProblem(
                message: "\(shown(text)) is not a schedule.",
                instead: meant.map { "Did you mean \"\(([$0] + rest).joined(separator: " "))\"?" } ?? example)
        }
    }

    private static func interval(_ text: String) throws(TextProblem) -> Schedule {
        let length = try QuantityText.duration(text)
        guard length >= .seconds(60), length <= .seconds(31 * 86_400), length.milliseconds % 1_000 == 0 else {
            throw TextProblem(
                message: "\"every \(QuantityText.duration(length))\" is not between a minute and 31 days.",
                instead: "Write for example \"every 15m\". What must be quicker is for mode: continuous.")
        }
        return Schedule(
            form: .every(length.milliseconds / 1_000), description: "every \(QuantityText.duration(length))")
    }

    /// `02:00` or `02:00,14:00`.
    private static func minutes(_ text: String?, of kind: String) throws(TextProblem) -> [Int] {
        guard let text else {
            throw TextProblem(message: "A \(kind) schedule needs a time.", instead: example)
        }
        var minutes: Set<Int> = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            guard let minute = QuantityText.clock(part) else {
                throw TextProblem(
                    message: "\(shown(String(part))) is not a time of day.", instead: "Write it as 02:00 or 14:30.")
            }
            minutes.insert(minute)
        }
        return minutes.sorted()
    }

    private static func extra(_ words: [String], limit: Int) throws(TextProblem) {
        guard words.count > limit else { return }
        throw TextProblem(
            message: "\(shown(words[limit])) is more than this schedule takes.",
            instead: "Join several with commas and without spaces, as in 02:00,14:00. " + example)
    }

    private static func daily(_ words: [String]) throws(TextProblem) -> Schedule {
        let minutes = try minutes(words.first, of: "daily")
        try extra(words, limit: 1)
        return clock(minutes, .weekdays(.all), "daily")
    }

    private static func weekly(_ words: [String]) throws(TextProblem) -> Schedule {
        guard let first = words.first, let days = Weekdays(first) else {
            throw TextProblem(
                message: words.first.map { "\(shown($0)) is not a day of the week." }
                    ?? "A weekly schedule needs a day.",
                instead: "Write for example \"weekly Mon 03:00\" or \"weekly Mon,Thu 03:00\".")
        }
        let minutes = try minutes(words.dropFirst().first, of: "weekly")
        try extra(words, limit: 2)
        return clock(minutes, .weekdays(days), "weekly \(days.text)")
    }

    private static func monthly(_ words: [String]) throws(TextProblem) -> Schedule {
        let day = words.first.flatMap { $0.lowercased() == "last" ? 31 : Int($0) }
        guard let day, (1...31).contains(day) else {
            throw TextProblem(
                message: words.first.map { "\(shown($0)) is not a day of the month." }
                    ?? "A monthly schedule needs a day.",
                instead: "Write 1 to 31 or \"last\", as in \"monthly 1 04:00\".")
        }
        let minutes = try minutes(words.dropFirst().first, of: "monthly")
        try extra(words, limit: 2)
        return clock(minutes, .monthDay(day), "monthly \(day == 31 ? "last" : String(day))")
    }

    private static func clock(_ minutes: [Int], _ days: ClockTimes.Days, _ words: String) -> Schedule {
        Schedule(
            form: .clock(ClockTimes(minutes: minutes, days: days)),
            description: "\(words) \(minutes.map { QuantityText.clock($0) }.joined(separator: ","))")
    }

    private static func named(_ name: String) throws(TextProblem) -> Schedule {
        switch name {
        case "@hourly": return try CronText.parse(["0", "*", "*", "*", "*"])
        case "@daily", "@midnight": return try CronText.parse(["0", "0", "*", "*", "*"])
        case "@weekly": return try CronText.parse(["0", "0", "*", "*", "0"])
        case "@monthly": return try CronText.parse(["0", "0", "1", "*", "*"])
        case "@yearly", "@annually": return try CronText.parse(["0", "0", "1", "1", "*"])
        case "@reboot":
            throw TextProblem(
                message: "@reboot is not a time.", instead: "A point at each start is \"checkpoint: {on: [boot]}\".")
        default:
            throw TextProblem(message: "\(shown(name)) is not a schedule.", instead: example)
        }
    }
}

/// The five fields of a cron expression, as crontab(5) describes them.
enum CronText {
    private struct Field {
        var name: String
        var range: ClosedRange<Int>
        var names: [String] = []
        var first = 0
    }

    private static let fields = [
        Field(name: "minute", range: 0...59),
        Field(name: "hour", range: 0...23),
        Field(name: "day", range: 1...31),
        Field(
            name: "month", range: 1...12,
            names: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], first: 1),
        Field(name: "weekday", range: 0...7, names: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"], first: 0),
    ]

    static func parse(_ words: [String]) throws(TextProblem) -> Schedule {
        var bits: [UInt64] = []
        for (word, field) in zip(words, fields) { bits.append(try parse(word, field)) }
        var minutes: [Int] = []
        for hour in 0..<24 where bits[1] & (1 << UInt64(hour)) != 0 {
            for minute in 0..<60 where bits[0] & (1 << UInt64(minute)) != 0 { minutes.append(hour * 60 + minute) }
        }
        // cron's Sunday is 0 or 7, ours is 7.
        let weekdays = Weekdays(rawValue: UInt8(bits[4] & 0xFE) | (bits[4] & 1 != 0 ? 0x80 : 0))
        let eitherDay = words[2].first != "*" && words[4].first != "*"
        let months = UInt16(bits[3])
        let days = UInt32(bits[2])
        if !eitherDay {
            let lengths = [0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
            let exists = (1...12).contains { month in
                months & (1 << UInt16(month)) != 0
                    && (1...lengths[month]).contains { days & (1 << UInt32($0)) != 0 }
            }
            guard exists else {
                throw TextProblem(
                    message: "\(shown(words.joined(separator: " "))) is a day that no year has.",
                    instead: "Write \"monthly last 04:00\" for the last day of each month.")
            }
        }
        let times = ClockTimes(
            minutes: minutes,
            days: .cron(months: months, days: days, weekdays: weekdays, eitherDay: eitherDay))
        return Schedule(form: .clock(times), description: words.joined(separator: " "))
    }

    private static func parse(_ word: String, _ field: Field) throws(TextProblem) -> UInt64 {
        var bits: UInt64 = 0
        for part in word.split(separator: ",", omittingEmptySubsequences: false) {
            let halves = part.split(separator: "/", omittingEmptySubsequences: false)
            var step = 1
            if halves.count == 2 {
                guard let number = number(halves[1]), (1...field.range.upperBound + 1).contains(number) else {
                    throw problem(part, field)
                }
                step = number
            } else if halves.count != 1 {
                throw problem(part, field)
            }
            var range = field.range
            if halves[0] != "*" {
                let ends = halves[0].split(separator: "-", omittingEmptySubsequences: false)
                guard (1...2).contains(ends.count), let low = value(ends[0], field),
                    let high = value(ends[ends.count - 1], field), low <= high, ends.count == 2 || halves.count == 1
                else { throw problem(part, field) }
                range = low...high
            }
            for number in stride(from: range.lowerBound, through: range.upperBound, by: step) {
                bits |= 1 << UInt64(number)
            }
        }
        return bits
    }

    private static func value(_ text: Substring, _ field: Field) -> Int? {
        if let index = field.names.firstIndex(of: text.lowercased()) { return index + field.first }
        return number(text).flatMap { field.range.contains($0) ? $0 : nil }
    }

    private static func number(_ text: Substring) -> Int? {
        guard (1...2).contains(text.count), text.allSatisfy({ $0.isASCII && $0.isNumber }) else { return nil }
        return Int(text)
    }

    private static func problem(_ part: Substring, _ field: Field) -> TextProblem {
        let names = field.names.isEmpty ? "" : " or \(field.names.map { $0.uppercased() }.joined(separator: " "))"
        return TextProblem(
            message: "\(shown(String(part))) is not a \(field.name) of a cron expression.",
            instead:
                "It takes \(field.range.lowerBound) to \(field.range.upperBound)\(names), ranges (1-5), lists (1,3) and "
                + "steps (*/15 or 0-30/5).")
    }
}
