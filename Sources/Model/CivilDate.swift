/// A day of the proleptic Gregorian calendar.
///
/// The arithmetic follows Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
package struct CivilDate: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var year: Int
    /// 1 to 12.
    package var month: Int
    /// 1 to the length of the month.
    package var day: Int

    /// `nil` when there is no such day.
    package init?(year: Int, month: Int, day: Int) {
        guard (1...12).contains(month), (-9_999...9_999).contains(year), day >= 1,
            day <= CivilDate.length(ofMonth: month, year: year)
        else { return nil }
        self.year = year
        self.month = month
        self.day = day
    }

    /// The day that lies `dayNumber` days after 1970-01-01.
    package init(dayNumber: Int) {
        let shifted = dayNumber + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    }

    /// Days since 1970-01-01, negative before.
    package var dayNumber: Int {
        let shiftedYear = month <= 2 ? year - 1 : year
        let era = (shiftedYear >= 0 ? shiftedYear : shiftedYear - 399) / 400
        let yearOfEra = shiftedYear - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    /// 1 Monday to 7 Sunday, as in ISO 8601.
    package var weekday: Int { CivilDate.floorModulo(dayNumber + 3, 7) + 1 }

    /// The Monday that begins this day's ISO week.
    package var startOfWeek: CivilDate { CivilDate(dayNumber: dayNumber - (weekday - 1)) }

    /// The ISO week: its year is that of the week's Thursday.
    package var isoWeek: (year: Int, week: Int) {
        let thursday = CivilDate(dayNumber: dayNumber - weekday + 4)
        let first = CivilDate(unchecked: thursday.year, 1, 1).dayNumber
        return (thursday.year, (thursday.dayNumber - first) / 7 + 1)
    }

    /// The same day `count` months later (earlier when negative); the last day of the month where it is too short.
    package func adding(months count: Int) -> CivilDate {
        let index = year * 12 + (month - 1) + count
        let year = CivilDate.floorDivide(index, 12)
        let month = CivilDate.floorModulo(index, 12) + 1
        return CivilDate(unchecked: year, month, min(day, CivilDate.length(ofMonth: month, year: year)))
    }

    package func adding(days count: Int) -> CivilDate { CivilDate(dayNumber: dayNumber + count) }

    /// 28 to 31.
    package static func length(ofMonth month: Int, year: Int) -> Int {
        switch month {
        case 2: isLeap(year) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    package static func isLeap(_ year: Int) -> Bool {
        year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    }

    package static func < (a: CivilDate, b: CivilDate) -> Bool {
        (a.year, a.month, a.day) < (b.year, b.month, b.day)
    }

    /// `2026-11-20`.
    package var description: String {
        "\(Decimal.padded(year, 4))-\(Decimal.padded(month, 2))-\(Decimal.padded(day, 2))"
    }

    private init(unchecked year: Int, _ month: Int, _ day: Int) {
        self.year = year
        self.month = month
        self.day = day
    }

    static func floorDivide(_ a: Int, _ b: Int) -> Int {
        let quotient = a / b
        return a % b < 0 ? quotient - 1 : quotient
    }

    static func floorModulo(_ a: Int, _ b: Int) -> Int {
        let remainder = a % b
        return remainder < 0 ? remainder + b : remainder
    }
}

/// A reading of a wall clock, without saying where the clock hangs.
package struct CivilTime: Hashable, Comparable, Sendable {
    package var date: CivilDate
    /// 0 to 86,399.
    package var secondOfDay: Int

    package init(date: CivilDate, secondOfDay: Int) {
        self.date = date
        self.secondOfDay = secondOfDay
    }

    /// `nil` when a part is out of range; a leap second is read as the second before it.
    package init?(date: CivilDate, hour: Int, minute: Int, second: Int) {
        guard (0...23).contains(hour), (0...59).contains(minute), (0...60).contains(second) else { return nil }
        self.init(date: date, secondOfDay: hour * 3_600 + minute * 60 + min(second, 59))
    }

    /// Counts `seconds` from 1970-01-01 00:00 on the same clock.
    package init(secondsOnClock seconds: Int64) {
        let day = CivilDate.floorDivide(Int(seconds), 86_400)
        date = CivilDate(dayNumber: day)
        secondOfDay = Int(seconds) - day * 86_400
    }

    /// Seconds from 1970-01-01 00:00 on the same clock.
    package var secondsOnClock: Int64 { Int64(date.dayNumber) * 86_400 + Int64(secondOfDay) }

    package var hour: Int { secondOfDay / 3_600 }
    package var minute: Int { secondOfDay / 60 % 60 }
    package var second: Int { secondOfDay % 60 }

    package static func < (a: CivilTime, b: CivilTime) -> Bool {
        a.date != b.date ? a.date < b.date : a.secondOfDay < b.secondOfDay
    }
}

/// Numbers in decimal digits, without a formatter.
enum Decimal {
    /// At least `width` digits, zeros in front.
    static func padded(_ value: Int, _ width: Int) -> String {
        let digits = String(value.magnitude)
        let zeros = String(repeating: "0", count: max(0, width - digits.count))
        return (value < 0 ? "-" : "") + zeros + digits
    }
}
