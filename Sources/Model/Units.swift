/// Sizes, rates, spans and shares as people write and read them.
package enum Units {
    // MARK: Sizes

    /// The bytes that `text` writes: a number with an optional unit. `k M G T P` and `kB MB GB ...` count in thousands,
    /// `Ki Mi Gi ...` and `KiB MiB GiB ...` in 1,024; case does not matter. `nil` when it is not a size below 2^63.
    package static func parseSize(_ text: String) -> UInt64? {
        guard let (mantissa, unit) = splitNumber(text), !mantissa.isNegative else { return nil }
        var suffix = Array(unit.lowercased().utf8)
        if suffix == Array("byte".utf8) || suffix == Array("bytes".utf8) { suffix = [] }
        if suffix.last == UInt8(ascii: "b") { suffix.removeLast() }
        var base: UInt64 = 1_000
        if suffix.count == 2, suffix[1] == UInt8(ascii: "i") {
            base = 1_024
            suffix.removeLast()
        }
        let power: Int
        if suffix.isEmpty {
            power = 0
        } else if suffix.count == 1, let index = Array("kmgtpe".utf8).firstIndex(of: suffix[0]) {
            power = index + 1
        } else {
            return nil
        }
        return mantissa.times((0..<power).reduce(1) { value, _ in value * base })
    }

    /// `1.2 GB`: three significant digits, counted in thousands, as disks are sold.
    package static func size(_ bytes: UInt64) -> String { scaled(bytes, base: 1_000, names: decimalNames) }

    /// `1.1 GiB`: counted in 1,024.
    package static func binarySize(_ bytes: UInt64) -> String { scaled(bytes, base: 1_024, names: binaryNames) }

    /// `12.4 MB/s`. A span of no length has no rate and prints `-`.
    package static func rate(bytes: UInt64, nanoseconds: UInt64) -> String {
        guard nanoseconds > 0 else { return "-" }
        let perSecond = Double(bytes) * 1e9 / Double(nanoseconds)
        return size(perSecond < 9e18 ? UInt64(perSecond) : UInt64.max / 2) + "/s"
    }

    private static let decimalNames = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
    private static let binaryNames = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]

    private static func scaled(_ bytes: UInt64, base: UInt64, names: [String]) -> String {
        if bytes < base { return "\(bytes) B" }
        var power = 1
        var divisor = base
        // Leaves a unit early when rounding would print 1000 of it.
        while power < names.count - 1, rounded(bytes, divisor, parts: 1) >= base {
            power += 1
            divisor *= base
        }
        let tenths = rounded(bytes, divisor, parts: 10)
        if tenths < 100 {
            let hundredths = rounded(bytes, divisor, parts: 100)
            if hundredths < 1_000 {
                return "\(hundredths / 100).\(Decimal.padded(Int(hundredths % 100), 2)) \(names[power])"
            }
        }
        if tenths < 1_000 { return "\(tenths / 10).\(tenths % 10) \(names[power])" }
        return "\(rounded(bytes, divisor, parts: 1)) \(names[power])"
    }

    /// `bytes / divisor` in `parts` of one, rounded to the nearest.
    private static func rounded(_ bytes: UInt64, _ divisor: UInt64, parts: UInt64) -> UInt64 {
        let product = bytes.multipliedFullWidth(by: parts)
        let (low, carry) = product.low.addingReportingOverflow(divisor / 2)
        return divisor.dividingFullWidth((product.high + (carry ? 1 : 0), low)).quotient
    }

    // MARK: Counts and shares

    /// `176,000`.
    package static func count(_ value: some BinaryInteger) -> String {
        let digits = Array(String(value.magnitude).utf8)
        var text: [UInt8] = value < 0 ? [UInt8(ascii: "-")] : []
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { text.append(UInt8(ascii: ",")) }
            text.append(digit)
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// `1 file`, `12 files`.
    package static func count(_ value: some BinaryInteger, _ one: String, _ many: String? = nil) -> String {
        "\(count(value)) \(value == 1 ? one : many ?? one + "s")"
    }

    /// `12.5 %` of `part` in `whole`; `0 %` of nothing.
    package static func percent(_ part: UInt64, of whole: UInt64) -> String {
        guard whole > 0 else { return "0 %" }
        let tenths = (Double(part) * 1_000 / Double(whole)).rounded()
        let value = tenths < 9e15 ? UInt64(tenths) : 0
        return value % 10 == 0 ? "\(count(value / 10)) %" : "\(count(value / 10)).\(value % 10) %"
    }

    /// `5%`, `0.5 %` or `1/20` as a share from 0 to 1. `nil` for anything else.
    package static func parseShare(_ text: String) -> Double? {
        let trimmed = trim(text)
        if let slash = trimmed.firstIndex(of: "/") {
            guard let part = UInt32(trimmed[..<slash]), let whole = UInt32(trimmed[trimmed.index(after: slash)...]),
                whole > 0, part <= whole
            else { return nil }
            return Double(part) / Double(whole)
        }
        guard trimmed.hasSuffix("%"), let (mantissa, unit) = splitNumber(String(trimmed)), unit == "%",
            !mantissa.isNegative
        else { return nil }
        let share = mantissa.double / 100
        return share <= 1 ? share : nil
    }

    // MARK: Spans of time

    /// `1 h 12 min`, `3.4 s`, `120 ms`: the two largest parts.
    package static func span(nanoseconds: UInt64) -> String {
        let milliseconds = (nanoseconds + 500_000) / 1_000_000
        if milliseconds < 1_000 { return "\(milliseconds) ms" }
        let tenths = (milliseconds + 50) / 100
        if tenths < 100 { return "\(tenths / 10).\(tenths % 10) s" }
        let seconds = (milliseconds + 500) / 1_000
        if seconds < 60 { return "\(seconds) s" }
        let parts: [(UInt64, String)] = [
            (seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s"),
        ]
        guard let first = parts.firstIndex(where: { $0.0 > 0 }) else { return "0 s" }
        return parts[first..<min(first + 2, parts.count)].filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }
            .joined(separator: " ")
    }

    /// How long ago, in the largest unit: `now`, `12 s ago`, `3 min ago`, `5 h ago`, `2 days ago`.
    package static func age(of time: Timestamp, at now: Timestamp) -> String {
        let seconds = now.seconds - time.seconds
        switch seconds {
        case ..<(-1): return "in the future"
        case ..<2: return "now"
        case ..<120: return "\(seconds) s ago"
        case ..<7_200: return "\(seconds / 60) min ago"
        case ..<172_800: return "\(seconds / 3_600) h ago"
        default: return "\(count(seconds / 86_400)) days ago"
        }
    }

    // MARK: Numbers with a unit

    /// A decimal number kept exactly: `digits / 10^places`.
    struct Mantissa {
        var digits: UInt64
        var places: Int
        var isNegative: Bool

        var double: Double {
            Double(digits) / (0..<places).reduce(1.0) { value, _ in value * 10 } * (isNegative ? -1 : 1)
        }

        /// Rounded to the nearest; `nil` from 2^63 on.
        func times(_ factor: UInt64) -> UInt64? {
            let divisor = (0..<places).reduce(UInt64(1)) { value, _ in value * 10 }
            let product = digits.multipliedFullWidth(by: factor)
            let (low, carry) = product.low.addingReportingOverflow(divisor / 2)
            let high = product.high + (carry ? 1 : 0)
            guard high < divisor else { return nil }
            let quotient = divisor.dividingFullWidth((high, low)).quotient
            return quotient >> 63 == 0 ? quotient : nil
        }
    }

    /// The number that `text` begins with and the trimmed rest.
    static func splitNumber(_ text: String) -> (Mantissa, Substring)? {
        var rest = trim(text)
        var mantissa = Mantissa(digits: 0, places: 0, isNegative: false)
        if rest.first == "-" || rest.first == "+" {
            mantissa.isNegative = rest.first == "-"
            rest = rest.dropFirst()
        }
        var seen = 0
        var afterPoint = false
        while let character = rest.first {
            if character == ".", !afterPoint {
                afterPoint = true
            } else if let digit = character.wholeNumberValue, character.isASCII {
                let (product, overflow) = mantissa.digits.multipliedReportingOverflow(by: 10)
                let (sum, overflow2) = product.addingReportingOverflow(UInt64(digit))
                if overflow || overflow2 { return nil }
                mantissa.digits = sum
                if afterPoint { mantissa.places += 1 }
                seen += 1
            } else {
                break
            }
            rest = rest.dropFirst()
        }
        guard seen > 0, mantissa.places <= 18 else { return nil }
        return (mantissa, trim(rest))
    }

    static func trim(_ text: some StringProtocol) -> Substring {
        var rest = Substring(text)
        while rest.first == " " || rest.first == "\t" { rest = rest.dropFirst() }
        while rest.last == " " || rest.last == "\t" { rest = rest.dropLast() }
        return rest
    }
}
