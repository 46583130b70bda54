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
    var isEmpty: Bool { source.isEmpty }

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
