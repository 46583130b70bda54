/// How far a place's clocks stand from UTC at any instant.
///
/// Read from the bytes of a TZif file (RFC 8536, `/usr/share/zoneinfo`) or from a POSIX `TZ` rule. Pure: whoever calls
/// brings the bytes.
package struct TimeZoneRules: Sendable, Hashable {
    /// The IANA name, for example `Europe/Berlin`.
    package let identifier: String

    private var transitions: [Transition] = []
    /// What holds before the first transition.
    private var firstOffset: Int = 0
    /// What holds after the last transition.
    private var rule: PosixRule?

    private struct Transition: Hashable {
        var at: Int64
        var offset: Int
    }

    package static let utc = TimeZoneRules(identifier: "UTC", fixedOffset: 0)

    /// A clock that stands `fixedOffset` seconds east of UTC for ever.
    package init(identifier: String, fixedOffset: Int) {
        self.identifier = identifier
        firstOffset = fixedOffset
    }

    /// A POSIX rule as in `TZ`, for example `CET-1CEST,M3.5.0,M10.5.0/3`. `nil` when it is not one.
    package init?(identifier: String, posix: String) {
        guard let rule = PosixRule(posix) else { return nil }
        self.identifier = identifier
        self.rule = rule
        firstOffset = rule.standardOffset
    }

    /// The bytes of a TZif file. `nil` when they are not one.
    package init?(identifier: String, tzif bytes: [UInt8]) {
        self.identifier = identifier
        guard bytes.count <= 1 << 20, var block = Block(bytes, at: 0, timeSize: 4) else { return nil }
        var footer: ArraySlice<UInt8> = []
        if block.version >= UInt8(ascii: "2") {
            guard let second = Block(bytes, at: block.end, timeSize: 8) else { return nil }
            block = second
            let rest = bytes[block.end...]
            if rest.first == UInt8(ascii: "\n"), let end = rest.dropFirst().firstIndex(of: UInt8(ascii: "\n")) {
                footer = rest[(rest.startIndex + 1)..<end]
            }
        }
        guard let (first, transitions) = block.offsets(bytes) else { return nil }
        firstOffset = first
        self.transitions = transitions.map { Transition(at: $0.at, offset: $0.offset) }
        if !footer.isEmpty {
            guard let rule = PosixRule(String(decoding: footer, as: UTF8.self)) else { return nil }
            self.rule = rule
        }
    }

    /// Seconds east of UTC at `seconds` since 1970.
    package func offset(at seconds: Int64) -> Int {
        if let last = transitions.last, seconds >= last.at {
            return rule?.offset(at: seconds) ?? last.offset
        }
        if transitions.isEmpty { return rule?.offset(at: seconds) ?? firstOffset }
        // The number of transitions at or before the instant.
        var low = 0
        var high = transitions.count
        while low < high {
            let middle = (low + high) / 2
            if transitions[middle].at <= seconds { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? firstOffset : transitions[low - 1].offset
    }

    /// What the clocks of the place show at `time`.
    package func civil(_ time: Timestamp) -> CivilTime {
        CivilTime(secondsOnClock: time.seconds + Int64(offset(at: time.seconds)))
    }

    /// The instant at which the clocks of the place show `civil`, in seconds since 1970.
    ///
    /// A reading that comes twice, when clocks are put back, means the later one. One that never comes, when they are put
    /// forward, is read as if they had not been.
    package func seconds(at civil: CivilTime) -> Int64 {
        let onClock = civil.secondsOnClock
        // Whatever transition is near, one of these two offsets holds before it and one after it.
        let before = Int64(offset(at: onClock - 86_400))
        let after = Int64(offset(at: onClock + 86_400))
        for candidate in [onClock - after, onClock - before].sorted(by: >)
        where candidate + Int64(offset(at: candidate)) == onClock {
            return candidate
        }
        return onClock - before
    }
}

/// One data block of a TZif file: the counts of its header and where its parts lie.
private struct Block {
    let version: UInt8
    /// Where the block ends in the file.
    let end: Int
    private let timeSize: Int
    private let timeCount: Int
    private let typeCount: Int
    private let times: Int

    init?(_ bytes: [UInt8], at start: Int, timeSize: Int) {
        guard bytes.count >= start + 44, bytes[start..<(start + 4)].elementsEqual("TZif".utf8) else { return nil }
        version = bytes[start + 4]
        let counts = (0..<6).map { Int(Block.number(bytes, start + 20 + 4 * $0, 4)) }
        guard counts.allSatisfy({ $0 >= 0 && $0 <= 100_000 }), counts[4] >= 1 else { return nil }
        self.timeSize = timeSize
        timeCount = counts[3]
        typeCount = counts[4]
        times = start + 44
        end =
            times + timeCount * (timeSize + 1) + typeCount * 6 + counts[5] + counts[2] * (timeSize + 4) + counts[1]
            + counts[0]
        guard end <= bytes.count else { return nil }
    }

    /// The offset before the first transition, and all transitions in order; `nil` when an index leads nowhere.
    func offsets(_ bytes: [UInt8]) -> (first: Int, transitions: [(at: Int64, offset: Int)])? {
        let indexes = times + timeCount * timeSize
        let types = indexes + timeCount
        func offset(_ type: Int) -> Int { Int(Block.number(bytes, types + 6 * type, 4)) }
        func isDaylight(_ type: Int) -> Bool { bytes[types + 6 * type + 4] != 0 }
        var result: [(at: Int64, offset: Int)] = []
        result.reserveCapacity(timeCount)
        for index in 0..<timeCount {
            let type = Int(bytes[indexes + index])
            let at = Block.number(bytes, times + index * timeSize, timeSize)
            guard type < typeCount, index == 0 || at >= result[index - 1].at else { return nil }
            result.append((at, offset(type)))
        }
        let first = (0..<typeCount).first { !isDaylight($0) } ?? 0
        return (offset(first), result)
    }

    /// A big-endian signed number of 4 or 8 bytes.
    private static func number(_ bytes: [UInt8], _ at: Int, _ size: Int) -> Int64 {
        var value: UInt64 = 0
        for byte in bytes[at..<(at + size)] { value = value << 8 | UInt64(byte) }
        return size == 4 ? Int64(Int32(truncatingIfNeeded: value)) : Int64(bitPattern: value)
    }
}

/// A POSIX `TZ` rule: standard time and, where the place has it, daylight saving time between two days of each year.
struct PosixRule: Sendable, Hashable {
    /// Seconds east of UTC.
    let standardOffset: Int
    private var daylight: Daylight?

    private struct Daylight: Hashable {
        var offset: Int
        var start: Day
        var end: Day
    }

    /// A day of the year and the reading of the clock (before the change) at which the change comes.
    private struct Day: Hashable {
        enum Form: Hashable {
            /// `Mm.w.d`: weekday d (0 Sunday) of week w (5: the last) of month m.
            case month(Int, week: Int, weekday: Int)
            /// `Jn`: day 1 to 365, 29 February never counted.
            case julian(Int)
            /// `n`: day 0 to 365, 29 February counted.
            case zeroBased(Int)
        }
        var form: Form
        /// May be negative or beyond a day.
        var second: Int

        func secondsOnClock(year: Int) -> Int64 {
            let first = CivilDate(dayNumber: PosixRule.firstDay(of: year))
            let day: Int
            switch form {
            case .month(let month, let week, let weekday):
                let start = first.adding(months: month - 1)
                let shift = CivilDate.floorModulo(weekday - start.weekday % 7, 7)
                var number = shift + 7 * (week - 1)
                if number >= CivilDate.length(ofMonth: month, year: year) { number -= 7 }
                day = start.dayNumber + number
            case .julian(let number):
                day = first.dayNumber + number - 1 + (CivilDate.isLeap(year) && number >= 60 ? 1 : 0)
            case .zeroBased(let number):
                day = first.dayNumber + number
            }
            return Int64(day) * 86_400 + Int64(second)
        }
    }

    fileprivate static func firstDay(of year: Int) -> Int {
        CivilDate(year: min(max(year, -9_999), 9_999), month: 1, day: 1)?.dayNumber ?? 0
    }

    init?(_ text: String) {
        var input = Array(text.utf8)[...]
        guard PosixRule.takeName(&input), let west = PosixRule.takeClock(&input, hours: 24) else { return nil }
        standardOffset = -west
        if input.isEmpty { return }
        guard PosixRule.takeName(&input) else { return nil }
        var daylightOffset = standardOffset + 3_600
        if let first = input.first, first != UInt8(ascii: ",") {
            guard let west = PosixRule.takeClock(&input, hours: 24) else { return nil }
            daylightOffset = -west
        }
        guard let start = PosixRule.takeDay(&input), let end = PosixRule.takeDay(&input), input.isEmpty else {
            return nil
        }
        daylight = Daylight(offset: daylightOffset, start: start, end: end)
    }

    func offset(at seconds: Int64) -> Int {
        guard let daylight else { return standardOffset }
        let year = CivilTime(secondsOnClock: seconds + Int64(standardOffset)).date.year
        let start = daylight.start.secondsOnClock(year: year) - Int64(standardOffset)
        let end = daylight.end.secondsOnClock(year: year) - Int64(daylight.offset)
        let isDaylight =
            start < end ? seconds >= start && seconds < end : seconds >= start || seconds < end
        return isDaylight ? daylight.offset : standardOffset
    }

    private static func takeName(_ input: inout ArraySlice<UInt8>) -> Bool {
        if input.first == UInt8(ascii: "<") {
            guard let end = input.firstIndex(of: UInt8(ascii: ">")) else { return false }
            input = input[(end + 1)...]
            return true
        }
        let rest = input.drop { ($0 | 0x20) >= UInt8(ascii: "a") && ($0 | 0x20) <= UInt8(ascii: "z") }
        guard input.count - rest.count >= 3 else { return false }
        input = rest
        return true
    }

    /// `[+-]hh[:mm[:ss]]` in seconds.
    private static func takeClock(_ input: inout ArraySlice<UInt8>, hours limit: Int) -> Int? {
        var sign = 1
        if let first = input.first, first == UInt8(ascii: "-") || first == UInt8(ascii: "+") {
            sign = first == UInt8(ascii: "-") ? -1 : 1
            input = input.dropFirst()
        }
        guard let hours = takeNumber(&input), hours <= limit else { return nil }
        var seconds = hours * 3_600
        for unit in [60, 1] {
            guard input.first == UInt8(ascii: ":") else { break }
            input = input.dropFirst()
            guard let part = takeNumber(&input), part <= 59 else { return nil }
            seconds += part * unit
        }
        return sign * seconds
    }

    private static func takeNumber(_ input: inout ArraySlice<UInt8>) -> Int? {
        var value: Int?
        while let digit = input.first, digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9"), value ?? 0 < 10_000 {
            value = (value ?? 0) * 10 + Int(digit - UInt8(ascii: "0"))
            input = input.dropFirst()
        }
        return value
    }

    private static func takeDay(_ input: inout ArraySlice<UInt8>) -> Day? {
        guard input.first == UInt8(ascii: ",") else { return nil }
        input = input.dropFirst()
        let form: Day.Form
        if input.first == UInt8(ascii: "M") {
            var parts: [Int] = []
            for _ in 0..<3 {
                input = input.dropFirst()
                guard let part = takeNumber(&input) else { return nil }
                parts.append(part)
                if parts.count < 3, input.first != UInt8(ascii: ".") { return nil }
            }
            guard (1...12).contains(parts[0]), (1...5).contains(parts[1]), parts[2] <= 6 else { return nil }
            form = .month(parts[0], week: parts[1], weekday: parts[2])
        } else if input.first == UInt8(ascii: "J") {
            input = input.dropFirst()
            guard let number = takeNumber(&input), (1...365).contains(number) else { return nil }
            form = .julian(number)
        } else {
            guard let number = takeNumber(&input), number <= 365 else { return nil }
            form = .zeroBased(number)
        }
        var second = 7_200
        if input.first == UInt8(ascii: "/") {
            input = input.dropFirst()
            guard let clock = takeClock(&input, hours: 167) else { return nil }
            second = clock
        }
        return Day(form: form, second: second)
    }
}
