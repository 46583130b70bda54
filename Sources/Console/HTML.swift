/// A piece of a page. What is written into it by interpolation is text and is escaped; only other pieces go in as they are.
///
/// ```
/// let row: HTML = "<td>\(machine.name)</td>"
/// ```
struct HTML: ExpressibleByStringInterpolation, Sendable {
    private(set) var source: String

    init(stringLiteral source: String) { self.source = source }
    init(stringInterpolation pieces: Pieces) { source = pieces.source }
    private init(source: String) { self.source = source }

    static let nothing = HTML(source: "")

    struct Pieces: StringInterpolationProtocol {
        fileprivate var source = ""

        init(literalCapacity: Int, interpolationCount: Int) {
            source.reserveCapacity(literalCapacity + interpolationCount * 16)
        }

        mutating func appendLiteral(_ literal: String) { source += literal }
        mutating func appendInterpolation(_ text: String) { HTML.escape(text, into: &source) }
        mutating func appendInterpolation(_ number: some BinaryInteger) { source += String(number) }
        mutating func appendInterpolation(_ piece: HTML) { source += piece.source }
        mutating func appendInterpolation(_ piece: HTML?) { source += piece?.source ?? "" }
        mutating func appendInterpolation(_ pieces: [HTML]) { for piece in pieces { source += piece.source } }
    }

    static func + (a: HTML, b: HTML) -> HTML { HTML(source: a.source + b.source) }
    static func += (a: inout HTML, b: HTML) { a.source += b.source }

    static func joined(_ pieces: [HTML], by separator: HTML) -> HTML {
        HTML(source: pieces.map(\.source).joined(separator: separator.source))
    }

    /// Text as it can stand between tags and in quoted attributes. What changes the direction of writing is shown as a mark: a
    /// file cannot be called something that reads as something else.
    private static func escape(_ text: String, into source: inout String) {
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": source += "&amp;"
            case "<": source += "&lt;"
            case ">": source += "&gt;"
            case "\"": source += "&quot;"
            case "'": source += "&#39;"
            case "\u{202A}"..."\u{202E}", "\u{2066}"..."\u{2069}", "\u{200E}", "\u{200F}", "\u{061C}":
                source += "\u{FFFD}"
            case "\t", "\n", "\r": source.unicodeScalars.append(scalar)
            case "\u{0}"..."\u{1F}", "\u{7F}"..."\u{9F}": source += "\u{FFFD}"
            default: source.unicodeScalars.append(scalar)
            }
        }
    }
}

/// Texts for addresses.
enum Address {
    private static let plain = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/".utf8)

    /// Bytes as they can stand in a path or a query; slashes stay.
    static func encode(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var out: [UInt8] = []
        for byte in bytes {
            if plain.contains(byte) {
                out.append(byte)
            } else {
                out += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: out, as: UTF8.self)
    }

    static func encode(_ text: String) -> String { encode(Array(text.utf8)) }

    /// The bytes that `encode` wrote, and those of forms, where a plus is a space. `nil` for broken escapes.
    static func decode(_ text: some StringProtocol, isForm: Bool = false) -> [UInt8]? {
        var out: [UInt8] = []
        var bytes = Array(text.utf8)[...]
        while let byte = bytes.popFirst() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let high = bytes.popFirst().flatMap(digit), let low = bytes.popFirst().flatMap(digit) else {
                    return nil
                }
                out.append(high << 4 | low)
            case UInt8(ascii: "+") where isForm: out.append(UInt8(ascii: " "))
            default: out.append(byte)
            }
        }
        return out
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// `a=1&b=2`, without what is `nil` or empty; with the question mark.
    static func query(_ fields: [(String, String?)]) -> String {
        let parts = fields.compactMap { name, value in value.map { (name, $0) } }.filter { !$0.1.isEmpty }
        if parts.isEmpty { return "" }
        return "?" + parts.map { "\($0)=\(encode($1))" }.joined(separator: "&")
    }
}

/// The fields of a form or of a query, as bytes: names of files are no text.
struct FormFields: Sendable {
    private var values: [String: [[UInt8]]] = [:]

    /// Takes at most 10,000 fields; what is not well written is left out.
    init(_ text: String) {
        for part in text.split(separator: "&").prefix(10_000) {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = pair.first.flatMap({ Address.decode($0, isForm: true) }),
                let value = Address.decode(pair.count > 1 ? pair[1] : "", isForm: true)
            else { continue }
            values[String(decoding: name, as: UTF8.self), default: []].append(value)
        }
    }

    func bytes(_ name: String) -> [UInt8]? { values[name]?.first }
    func all(_ name: String) -> [[UInt8]] { values[name] ?? [] }
    func text(_ name: String) -> String { bytes(name).map { String(decoding: $0, as: UTF8.self) } ?? "" }
    func number(_ name: String, in range: ClosedRange<Int>) -> Int? {
        Int(text(name)).flatMap { range.contains($0) ? $0 : nil }
    }
}
