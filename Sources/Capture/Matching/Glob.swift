/// One component of a pattern (what stands between slashes), compiled to a small program over bytes.
///
/// Semantics are those of git's `wildmatch`: `*` any bytes, `?` one byte, `[...]` one byte of a set with ranges, classes
/// such as `[:alpha:]` (ASCII) and `!` or `^` for all others, `\` takes the next byte literally.
struct Glob: Hashable, Sendable {
    /// A byte (0 to 255), `any`, `star`, or `set` plus the number of a set.
    var codes: [UInt16] = []
    /// 256 bits for each set, four words one behind the other.
    var sets: [UInt64] = []

    static let any: UInt16 = 256
    static let star: UInt16 = 257
    static let set: UInt16 = 512

    /// What makes matching fast; each pattern of real life but a few is one of the first three.
    enum Shape: Hashable, Sendable {
        /// Only bytes.
        case literal
        /// `*` and then bytes.
        case suffix
        /// Bytes and then `*`.
        case prefix
        case general
    }

    var shape: Shape {
        let stars = codes.filter { $0 == Glob.star }.count
        let bytes = codes.filter { $0 < 256 }.count
        if bytes == codes.count { return .literal }
        if stars == 1 && bytes == codes.count - 1 && bytes > 0 {
            if codes.first == Glob.star { return .suffix }
            if codes.last == Glob.star { return .prefix }
        }
        return .general
    }

    /// The bytes of the program, in order; the whole pattern when it is literal.
    var literalBytes: [UInt8] { codes.filter { $0 < 256 }.map { UInt8($0) } }
}

/// Why a pattern cannot match anything.
package enum PatternProblem: Hashable, Sendable, CustomStringConvertible {
    case empty
    case openBracket
    case unknownClass(String)
    case trailingBackslash

    package var description: String {
        switch self {
        case .empty: "it is empty"
        case .openBracket: "a \"[\" has no \"]\"; write \"\\[\" for the character itself"
        case .unknownClass(let name): "there is no character class [:\(name):]"
        case .trailingBackslash: "it ends in a backslash"
        }
    }
}

/// Turns the bytes of a pattern into components.
struct GlobParser {
    /// A component, or `**` between slashes.
    enum Part: Hashable {
        case glob(Glob)
        /// Any number of components, at least so many.
        case anyDirectories(minimum: Int)
    }

    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    private static let slash = UInt8(ascii: "/")
    private static let star = UInt8(ascii: "*")
    private static let backslash = UInt8(ascii: "\\")

    private func peek(_ ahead: Int = 0) -> UInt8? {
        position + ahead < bytes.count ? bytes[position + ahead] : nil
    }

    /// All components of the pattern.
    mutating func parts() throws(ParseError) -> [Part] {
        var parts: [Part] = []
        var glob = Glob()
        // Where the component began, to see whether `**` stands alone in it.
        var isAtStart = true
        // After `**` the component is complete, whatever the list of codes says.
        var isWhole = false
        while let byte = peek() {
            switch byte {
            case Self.slash:
                if !isWhole { parts.append(.glob(glob)) }
                glob = Glob()
                position += 1
                isAtStart = true
                isWhole = false
                continue
            case Self.star:
                var count = 0
                while peek() == Self.star {
                    count += 1
                    position += 1
                }
                let isEscapedSlash = peek() == Self.backslash && peek(1) == Self.slash
                if count >= 2 && isAtStart && (peek() == nil || peek() == Self.slash || isEscapedSlash) {
                    // `a/**` is what lies in a, not a itself; `**\/` is git's way to ask for at least one directory.
                    parts.append(.anyDirectories(minimum: peek() == Self.slash ? 0 : 1))
                    isWhole = true
                } else if glob.codes.last != Glob.star {
                    glob.codes.append(Glob.star)
                }
            case UInt8(ascii: "?"):
                position += 1
                glob.codes.append(Glob.any)
            case UInt8(ascii: "["):
                position += 1
                glob.codes.append(Glob.set + UInt16(glob.sets.count / 4))
                glob.sets += try set()
            case Self.backslash:
                guard let next = peek(1) else { throw ParseError(problem: .trailingBackslash) }
                if next == Self.slash {
                    // The same as a plain slash.
                    position += 1
                    continue
                }
                position += 2
                glob.codes.append(UInt16(next))
            default:
                position += 1
                glob.codes.append(UInt16(byte))
            }
            isAtStart = false
        }
        if !isWhole { parts.append(.glob(glob)) }
        return parts
    }

    /// The set behind a `[`, its `]` included.
    private mutating func set() throws(ParseError) -> [UInt64] {
        var words: [UInt64] = [0, 0, 0, 0]
        func add(_ byte: UInt8) { words[Int(byte >> 6)] |= 1 << UInt64(byte & 63) }
        func need(_ byte: UInt8?) throws(ParseError) -> UInt8 {
            guard let byte else { throw ParseError(problem: .openBracket) }
            return byte
        }
        var isNegated = false
        if peek() == UInt8(ascii: "!") || peek() == UInt8(ascii: "^") {
            isNegated = true
            position += 1
        }
        // The byte before, when it can begin a range.
        var previous: UInt8?
        var isFirst = true
        while true {
            var byte = try need(peek())
            if byte == UInt8(ascii: "]") && !isFirst { break }
            isFirst = false
            if byte == Self.backslash {
                position += 1
                byte = try need(peek())
                add(byte)
                previous = byte
            } else if byte == UInt8(ascii: "-"), let low = previous, let end = peek(1), end != UInt8(ascii: "]") {
                position += 1
                var high = end
                if high == Self.backslash {
                    position += 1
                    high = try need(peek())
                }
                if low <= high { for value in low...high { add(value) } }
                previous = nil
            } else if byte == UInt8(ascii: "["), peek(1) == UInt8(ascii: ":") {
                guard let close = bytes[(position + 2)...].firstIndex(of: UInt8(ascii: "]")) else {
                    throw ParseError(problem: .openBracket)
                }
                if close - (position + 2) < 1 || bytes[close - 1] != UInt8(ascii: ":") {
                    // Not a class: a bracket like any other byte.
                    add(byte)
                    previous = byte
                } else {
                    let name = String(decoding: bytes[(position + 2)..<(close - 1)], as: UTF8.self)
                    guard let contains = Self.classes[name] else { throw ParseError(problem: .unknownClass(name)) }
                    for value in UInt8(0)..<128 where contains(value) { add(value) }
                    position = close
                    previous = nil
                }
            } else {
                add(byte)
                previous = byte
            }
            position += 1
        }
        position += 1
        return isNegated ? words.map { ~$0 } : words
    }

    struct ParseError: Error { var problem: PatternProblem }

    private static let classes: [String: @Sendable (UInt8) -> Bool] = {
        let upper: @Sendable (UInt8) -> Bool = { (0x41...0x5A).contains($0) }
        let lower: @Sendable (UInt8) -> Bool = { (0x61...0x7A).contains($0) }
        let digit: @Sendable (UInt8) -> Bool = { (0x30...0x39).contains($0) }
        let graph: @Sendable (UInt8) -> Bool = { (0x21...0x7E).contains($0) }
        let alnum: @Sendable (UInt8) -> Bool = { upper($0) || lower($0) || digit($0) }
        return [
            "alnum": alnum,
            "alpha": { upper($0) || lower($0) },
            "blank": { $0 == 0x20 || $0 == 0x09 },
            "cntrl": { $0 < 0x20 || $0 == 0x7F },
            "digit": digit,
            "graph": graph,
            "lower": lower,
            "print": { (0x20...0x7E).contains($0) },
            "punct": { graph($0) && !alnum($0) },
            "space": { $0 == 0x20 || (0x09...0x0D).contains($0) },
            "upper": upper,
            "xdigit": { digit($0) || (0x41...0x46).contains($0) || (0x61...0x66).contains($0) },
        ]
    }()
}
