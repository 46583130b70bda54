import Model

/// A part of a whole, exact to a millionth.
package struct Share: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// 0 to 1,000,000.
    package var millionths: Int

    package init(millionths: Int) { self.millionths = min(max(millionths, 0), 1_000_000) }

    /// `10%`, `0.5 %` or `1/20`.
    package init?(_ text: String) {
        guard let share = Units.parseShare(text) else { return nil }
        self.init(millionths: Int((share * 1_000_000).rounded()))
    }

    /// The part of `whole`, rounded down.
    package func of(_ whole: UInt64) -> UInt64 {
        let product = whole.multipliedFullWidth(by: UInt64(millionths))
        return UInt64(1_000_000).dividingFullWidth(product).quotient
    }

    package static func < (a: Share, b: Share) -> Bool { a.millionths < b.millionths }

    /// `10%`, `0.5%`: read back exactly.
    package var description: String {
        let whole = millionths / 10_000
        var fraction = String(millionths % 10_000 + 10_000).dropFirst()
        while fraction.last == "0" { fraction.removeLast() }
        return fraction.isEmpty ? "\(whole)%" : "\(whole).\(fraction)%"
    }
}

/// How fast, in bytes a second.
package struct Rate: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var bytesPerSecond: UInt64

    package init(bytesPerSecond: UInt64) { self.bytesPerSecond = bytesPerSecond }

    /// The least that a policy may ask for: a limit may slow a backup, never stop it.
    static let least = Rate(bytesPerSecond: 1_000)

    package static func < (a: Rate, b: Rate) -> Bool { a.bytesPerSecond < b.bytesPerSecond }

    /// `20Mbit/s`, `20 Mbps`, `2.5MB/s`, `512KiB/s`. A lone small `b` is refused: half of the world means bits by it.
    static func parse(_ text: String) throws(TextProblem) -> Rate {
        let example = "Write for example 20Mbit/s (bits) or 2.5MB/s (bytes)."
        let compact = text.filter { $0 != " " }
        var number = Substring(compact)
        if compact.lowercased().hasSuffix("ps") {
            number = compact.dropLast(2)
            if number.last == "b" { number += "it" }
        } else if compact.hasSuffix("/s") {
            number = compact.dropLast(2)
        } else {
            throw TextProblem(message: "\(shown(text)) is not a rate.", instead: example)
        }
        let bytes: UInt64
        if number.lowercased().hasSuffix("bit"), let bits = Units.parseSize(String(number.dropLast(3))) {
            bytes = bits / 8
        } else if number.last == "b" {
            throw TextProblem(message: "\(shown(text)) could mean bits or bytes.", instead: example)
        } else if number.last == "B", let size = Units.parseSize(String(number)) {
            bytes = size
        } else {
            throw TextProblem(message: "\(shown(text)) is not a rate.", instead: example)
        }
        let rate = Rate(bytesPerSecond: bytes)
        guard rate >= least else {
            throw TextProblem(
                message: "\(shown(text)) would stop backups.", instead: "Write at least \(least).")
        }
        return rate
    }

    /// In bits, as links are sold: `20Mbit/s`; read back exactly.
    package var description: String {
        let (bits, overflow) = bytesPerSecond.multipliedReportingOverflow(by: 8)
        if overflow { return "\(bytesPerSecond)B/s" }
        for (unit, name) in [(UInt64(1_000_000_000), "G"), (1_000_000, "M"), (1_000, "k")] where bits % unit == 0 {
            return "\(bits / unit)\(name)bit/s"
        }
        return "\(bits)bit/s"
    }
}

/// Sizes and lengths of time as a policy writes them.
enum QuantityText {
    static func size(_ text: String) throws(TextProblem) -> UInt64 {
        guard let size = Units.parseSize(text) else {
            throw TextProblem(
                message: "\(shown(text)) is not a size.",
                instead: "Write a number and a unit: 10GB (thousands) or 10GiB (1,024).")
        }
        return size
    }

    /// Read back exactly: `10GB`, `1536MiB`, `17`.
    static func size(_ bytes: UInt64) -> String {
        if bytes == 0 { return "0" }
        let units: [(UInt64, String)] = [
            (1_000_000_000_000, "TB"), (1 << 40, "TiB"), (1_000_000_000, "GB"), (1 << 30, "GiB"), (1_000_000, "MB"),
            (1 << 20, "MiB"), (1_000, "kB"), (1 << 10, "KiB"),
        ]
        for (unit, name) in units where bytes % unit == 0 { return "\(bytes / unit)\(name)" }
        return "\(bytes)"
    }

    /// `0`, `500ms`, `90s`, `1h30m`, `72 hours`, `3d`: exact, a day is 24 hours. At most 10 years.
    static func duration(_ text: String) throws(TextProblem) -> Duration {
        let problem = TextProblem(
            message: "\(shown(text)) is not a length of time.",
            instead: "Write numbers with units, as in 500ms, 30s, 5m, 72h or 1h30m.")
        var rest = text.filter { $0 != " " }[...]
        if rest == "0" { return .zero }
        guard !rest.isEmpty else { throw problem }
        var total: Int64 = 0
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && $0.isNumber }
            guard !digits.isEmpty, digits.count <= 12, let number = Int64(digits) else { throw problem }
            rest = rest.dropFirst(digits.count)
            let unit = rest.prefix { $0.isLetter }
            rest = rest.dropFirst(unit.count)
            guard let milliseconds = units[unit.lowercased()] else { throw problem }
            let (part, overflow) = number.multipliedReportingOverflow(by: milliseconds)
            let (sum, overflow2) = total.addingReportingOverflow(part)
            guard !overflow, !overflow2, sum <= 315_576_000_000 else {
                throw TextProblem(message: "\(shown(text)) is longer than 10 years.", instead: "Write a shorter time.")
            }
            total = sum
        }
        return .milliseconds(total)
    }

    private static let units: [String: Int64] = {
        var units: [String: Int64] = [:]
        let names: [(Int64, [String])] = [
            (1, ["ms", "millisecond", "milliseconds"]),
            (1_000, ["s", "sec", "secs", "second", "seconds"]),
            (60_000, ["m", "min", "mins", "minute", "minutes"]),
            (3_600_000, ["h", "hour", "hours"]),
            (86_400_000, ["d", "day", "days"]),
            (604_800_000, ["w", "week", "weeks"]),
        ]
        for (length, words) in names { for word in words { units[word] = length } }
        return units
    }()

    /// Read back exactly: `72h`, `1h30m`, `500ms`, `0`.
    static func duration(_ duration: Duration) -> String {
        var rest = duration.milliseconds
        if rest == 0 { return "0" }
        var text = ""
        for (unit, name) in [(Int64(3_600_000), "h"), (60_000, "m"), (1_000, "s"), (1, "ms")] where rest >= unit {
            text += "\(rest / unit)\(name)"
            rest %= unit
        }
        return text
    }

    /// `02:00`, `2:00` or `24:00` (the end of the day, where `allowsEnd`) as minutes of the day.
    static func clock(_ text: some StringProtocol, allowsEnd: Bool = false) -> Int? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, (1...2).contains(parts[0].count), parts[1].count == 2,
            parts.allSatisfy({ $0.allSatisfy { $0.isASCII && $0.isNumber } }), let hour = Int(parts[0]),
            let minute = Int(parts[1]), minute <= 59
        else { return nil }
        if hour == 24, minute == 0, allowsEnd { return 1_440 }
        return hour <= 23 ? hour * 60 + minute : nil
    }

    /// `02:00`.
    static func clock(_ minute: Int) -> String { "\(twoDigits(minute / 60)):\(twoDigits(minute % 60))" }

    static func twoDigits(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
}

extension Duration {
    /// Whole milliseconds.
    var milliseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000 + attoseconds / 1_000_000_000_000_000
    }

    /// Whole nanoseconds; good for 292 years.
    package var nanoseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}
