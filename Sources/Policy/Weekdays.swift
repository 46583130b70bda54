/// Days of the week.
struct Weekdays: OptionSet, Hashable, Sendable {
    /// Bit 1 Monday to bit 7 Sunday, as in ISO 8601.
    let rawValue: UInt8

    static let all = Weekdays(rawValue: 0b1111_1110)

    init(rawValue: UInt8) { self.rawValue = rawValue }

    /// 1 Monday to 7 Sunday.
    init(day: Int) { self.init(rawValue: 1 << UInt8(day)) }

    func contains(day: Int) -> Bool { rawValue & (1 << UInt8(day)) != 0 }

    static let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    private static let longNames = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

    /// 1 to 7 for `Mon`, `monday`, `tues`: three letters or more of the English name.
    static func number(_ text: some StringProtocol) -> Int? {
        let lowered = text.lowercased()
        guard lowered.count >= 3 else { return nil }
        return longNames.firstIndex { $0.hasPrefix(lowered) }.map { $0 + 1 }
    }

    /// `Mon-Fri`, `Sat,Sun`, `Fri-Mon`, `Mon,Wed-Fri`; `daily` is every day.
    init?(_ text: some StringProtocol) {
        var days: Weekdays = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false)
            guard (1...2).contains(ends.count), let first = Weekdays.number(ends[0]),
                let last = Weekdays.number(ends[ends.count - 1])
            else { return nil }
            var day = first
            days.insert(Weekdays(day: day))
            while day != last {
                day = day % 7 + 1
                days.insert(Weekdays(day: day))
            }
        }
        self = days
    }

    /// `Mon-Fri`, `Tue`, `Sat,Sun`.
    var text: String {
        var parts: [String] = []
        var day = 1
        while day <= 7 {
            guard contains(day: day) else {
                day += 1
                continue
            }
            var last = day
            while last < 7, contains(day: last + 1) { last += 1 }
            let names = Weekdays.names[(day - 1)..<last]
            parts.append(names.count >= 3 ? "\(names[day - 1])-\(names[last - 1])" : names.joined(separator: ","))
            day = last + 1
        }
        return parts.joined(separator: ",")
    }
}
