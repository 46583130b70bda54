import Model

/// A value of the machine-readable output. Objects are written with sorted keys, without white space, on one line.
enum JSON: Equatable, Sendable {
    case null
    case bool(Bool)
    case integer(Int64)
    case unsigned(UInt64)
    /// Written with at most six digits after the point.
    case number(Double)
    case string(String)
    case array([JSON])
    case object([String: JSON])

    /// A time as RFC 3339 in UTC.
    static func time(_ time: Timestamp) -> JSON { .string(TimeText.rfc3339(time)) }

    /// A count of anything.
    static func count(_ value: some BinaryInteger) -> JSON { .unsigned(UInt64(clamping: value)) }

    /// An identifier.
    static func id(_ id: some RandomIdentifier) -> JSON { .string(id.hex) }

    /// Several texts.
    static func strings(_ values: some Sequence<String>) -> JSON { .array(values.map { .string($0) }) }

    /// Bytes within a list, where there is no room for a second form: as they are when they are text, else readable.
    static func text(of bytes: [UInt8]) -> String {
        String(validating: bytes, as: UTF8.self) ?? TreePath.display(bytes)
    }

    /// The line that stands for this value, without a newline.
    var line: String {
        var text = ""
        write(to: &text)
        return text
    }

    private func write(to text: inout String) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += String(value)
        case .unsigned(let value): text += String(value)
        case .number(let value): text += JSON.digits(value)
        case .string(let value): JSON.quote(value, to: &text)
        case .array(let values):
            text += "["
            for (index, value) in values.enumerated() {
                if index > 0 { text += "," }
                value.write(to: &text)
            }
            text += "]"
        case .object(let fields):
            text += "{"
            for (index, field) in fields.sorted(by: { $0.key < $1.key }).enumerated() {
                if index > 0 { text += "," }
                JSON.quote(field.key, to: &text)
                text += ":"
                field.value.write(to: &text)
            }
            text += "}"
        }
    }

    private static func digits(_ value: Double) -> String {
        guard value.isFinite else { return "null" }
        let scaled = (value * 1_000_000).rounded()
        guard abs(scaled) < 9e15 else { return String(value) }
        let whole = Int64(scaled) / 1_000_000
        let part = abs(Int64(scaled) % 1_000_000)
        if part == 0 { return String(whole) }
        var digits = String(1_000_000 + part).dropFirst()
        while digits.last == "0" { digits.removeLast() }
        return (scaled < 0 && whole == 0 ? "-" : "") + "\(whole).\(digits)"
    }

    private static func quote(_ value: String, to text: inout String) {
        text += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case _
            where scalar.value < 0x20 || scalar.value == 0x7F || scalar.value == 0x2028 || scalar.value == 0x2029:
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}

extension [String: JSON] {
    /// Adds a path: `key` as text, and, when its bytes are not UTF-8, `key_hex` with the exact bytes beside a readable
    /// rendering.
    mutating func setPath(_ key: String, _ path: TreePath) {
        if let text = String(validating: path.bytes, as: UTF8.self) {
            self[key] = .string("/" + text)
        } else {
            self[key] = .string(path.displayText)
            self[key + "_hex"] = .string(Hex.encode([UInt8(ascii: "/")] + path.bytes))
        }
    }

    /// Adds bytes that are usually text: names of users, targets of links.
    mutating func setBytes(_ key: String, _ bytes: [UInt8]) {
        if let text = String(validating: bytes, as: UTF8.self) {
            self[key] = .string(text)
        } else {
            self[key] = .string(TreePath.display(bytes))
            self[key + "_hex"] = .string(Hex.encode(bytes))
        }
    }
}
