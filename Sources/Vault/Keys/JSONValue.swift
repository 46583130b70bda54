package import Model

/// A JSON value of the vault's small documents: sorted keys, no white space, whole numbers.
///
/// The writer is deterministic, because a MAC is taken over its bytes. The parser takes hostile input: size and depth are
/// bounded, a name that stands twice is refused, and nothing is allocated that the input is not long enough for.
package enum JSONValue: Hashable, Sendable {
    case null
    case bool(Bool)
    case integer(Int64)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    /// Longest document in bytes that the parser takes.
    package static let maximumLength = 1 << 20
    /// Deepest nesting that the parser takes.
    package static let maximumDepth = 16

    // MARK: Writing

    /// The document's bytes: keys sorted as UTF-8, no white space, only `"`, `\` and control characters escaped.
    package func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        append(to: &bytes)
        return bytes
    }

    private func append(to bytes: inout [UInt8]) {
        switch self {
        case .null: bytes.append(contentsOf: "null".utf8)
        case .bool(let value): bytes.append(contentsOf: (value ? "true" : "false").utf8)
        case .integer(let value): bytes.append(contentsOf: String(value).utf8)
        case .string(let text): JSONValue.append(text, to: &bytes)
        case .array(let values):
            bytes.append(UInt8(ascii: "["))
            for (index, value) in values.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                value.append(to: &bytes)
            }
            bytes.append(UInt8(ascii: "]"))
        case .object(let members):
            bytes.append(UInt8(ascii: "{"))
            let sorted = members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
            for (index, member) in sorted.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                JSONValue.append(member.key, to: &bytes)
                bytes.append(UInt8(ascii: ":"))
                member.value.append(to: &bytes)
            }
            bytes.append(UInt8(ascii: "}"))
        }
    }

    private static func append(_ text: String, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes.append(contentsOf: [UInt8(ascii: "\\"), byte])
            case 0x0A: bytes.append(contentsOf: "\\n".utf8)
            case 0x0D: bytes.append(contentsOf: "\\r".utf8)
            case 0x09: bytes.append(contentsOf: "\\t".utf8)
            case 0x08: bytes.append(contentsOf: "\\b".utf8)
            case 0x0C: bytes.append(contentsOf: "\\f".utf8)
            case 0..<0x20: bytes.append(contentsOf: "\\u00\(Hex.encode([byte]))".utf8)
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    // MARK: Reading

    /// Parses a document. Errors say at which byte it stops making sense and never repeat what stands there.
    ///
    /// - Parameter limit: the longest document in bytes.
    package init(parsing bytes: [UInt8], atMost limit: Int = JSONValue.maximumLength) throws {
        guard bytes.count <= limit else {
            throw HoldfastError(
                .damaged, "not a document of this program: longer than \(limit) bytes")
        }
        var parser = Parser(bytes: bytes)
        self = try parser.document()
    }

    private struct Parser {
        let bytes: [UInt8]
        var offset = 0

        func malformed(_ what: String) -> HoldfastError {
            HoldfastError(.damaged, "malformed JSON at byte \(offset): \(what)")
        }

        mutating func document() throws -> JSONValue {
            let value = try value(depth: 0)
            skipWhiteSpace()
            guard offset == bytes.count else { throw malformed("more after the end") }
            return value
        }

        mutating func skipWhiteSpace() {
            while offset < bytes.count, [0x20, 0x0A, 0x0D, 0x09].contains(bytes[offset]) { offset += 1 }
        }

        /// The next byte that is not white space, without taking it.
        mutating func peek() throws -> UInt8 {
            skipWhiteSpace()
            guard offset < bytes.count else { throw malformed("cut short") }
            return bytes[offset]
        }

        mutating func expect(_ character: Character) throws {
            guard try peek() == character.asciiValue else { throw malformed("`\(character)` expected") }
            offset += 1
        }

        mutating func value(depth: Int) throws -> JSONValue {
            guard depth < JSONValue.maximumDepth else { throw malformed("nested too deeply") }
            switch try peek() {
            case UInt8(ascii: "{"): return try object(depth: depth)
            case UInt8(ascii: "["): return try array(depth: depth)
            case UInt8(ascii: "\""): return .string(try string())
            case UInt8(ascii: "t"): return try word("true", .bool(true))
            case UInt8(ascii: "f"): return try word("false", .bool(false))
            case UInt8(ascii: "n"): return try word("null", .null)
            default: return try number()
            }
        }

        mutating func word(_ text: String, _ value: JSONValue) throws -> JSONValue {
            guard bytes[offset...].starts(with: text.utf8) else { throw malformed("a value expected") }
            offset += text.utf8.count
            return value
        }

        mutating func number() throws -> JSONValue {
            let start = offset
            var end = offset
            while end < bytes.count, end - start < 21, isNumberByte(bytes[end]) { end += 1 }
            let text = String(decoding: bytes[start..<end], as: UTF8.self)
            guard let value = Int64(text), String(value) == text else {
                throw malformed(end == start ? "a value expected" : "a whole number in its shortest form expected")
            }
            offset = end
            return .integer(value)
        }

        func isNumberByte(_ byte: UInt8) -> Bool {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || "+-.eE".utf8.contains(byte)
        }

        mutating func array(depth: Int) throws -> JSONValue {
            try expect("[")
            var values: [JSONValue] = []
            if try peek() == UInt8(ascii: "]") {
                offset += 1
                return .array(values)
            }
            while true {
                values.append(try value(depth: depth + 1))
                if try peek() == UInt8(ascii: ",") {
                    offset += 1
                } else {
                    try expect("]")
                    return .array(values)
                }
            }
        }

        mutating func object(depth: Int) throws -> JSONValue {
            try expect("{")
            var members: [String: JSONValue] = [:]
            if try peek() == UInt8(ascii: "}") {
                offset += 1
                return .object(members)
            }
            while true {
                guard try peek() == UInt8(ascii: "\"") else { throw malformed("a name expected") }
                let name = try string()
                try expect(":")
                guard members.updateValue(try value(depth: depth + 1), forKey: name) == nil else {
                    throw malformed("a name that stands twice")
                }
                if try peek() == UInt8(ascii: ",") {
                    offset += 1
                } else {
                    try expect("}")
                    return .object(members)
                }
            }
        }

        mutating func string() throws -> String {
            try expect("\"")
            var text: [UInt8] = []
            while true {
                guard offset < bytes.count else { throw malformed("a string without its end") }
                let byte = bytes[offset]
                offset += 1
                switch byte {
                case UInt8(ascii: "\""):
                    guard let result = String(validating: text, as: UTF8.self) else {
                        throw malformed("a string that is not UTF-8")
                    }
                    return result
                case UInt8(ascii: "\\"): try escape(into: &text)
                case 0..<0x20: throw malformed("a control character inside a string")
                default: text.append(byte)
                }
            }
        }

        mutating func escape(into text: inout [UInt8]) throws {
            guard offset < bytes.count else { throw malformed("a string without its end") }
            let byte = bytes[offset]
            offset += 1
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
            case UInt8(ascii: "n"): text.append(0x0A)
            case UInt8(ascii: "r"): text.append(0x0D)
            case UInt8(ascii: "t"): text.append(0x09)
            case UInt8(ascii: "b"): text.append(0x08)
            case UInt8(ascii: "f"): text.append(0x0C)
            case UInt8(ascii: "u"):
                var value = try hexadecimal()
                if (0xD800..<0xDC00).contains(value) {
                    guard bytes[offset...].starts(with: "\\u".utf8) else { throw malformed("half a character") }
                    offset += 2
                    let low = try hexadecimal()
                    guard (0xDC00..<0xE000).contains(low) else { throw malformed("half a character") }
                    value = 0x10000 + (value - 0xD800) << 10 + (low - 0xDC00)
                }
                guard let scalar = Unicode.Scalar(value) else { throw malformed("half a character") }
                text.append(contentsOf: String(Character(scalar)).utf8)
            default: throw malformed("an unknown escape")
            }
        }

        mutating func hexadecimal() throws -> UInt32 {
            guard offset + 4 <= bytes.count,
                let digits = Hex.decode(String(decoding: bytes[offset..<(offset + 4)], as: UTF8.self)),
                digits.count == 2
            else { throw malformed("four hexadecimal digits expected") }
            offset += 4
            return UInt32(digits[0]) << 8 | UInt32(digits[1])
        }
    }
}

/// Reads the fields of one JSON object and names the field that is missing or wrong.
package struct JSONFields {
    /// What the document is, for errors: `config.json`, `key slot`.
    package let document: String
    package let members: [String: JSONValue]

    package init(_ value: JSONValue, document: String) throws {
        guard case .object(let members) = value else {
            throw HoldfastError(.damaged, "\(document) is damaged: not a JSON object")
        }
        self.document = document
        self.members = members
    }

    private init(members: [String: JSONValue], document: String) {
        self.document = document
        self.members = members
    }

    package init(
        parsing bytes: [UInt8], document: String, atMost limit: Int = JSONValue.maximumLength
    ) throws {
        let value: JSONValue
        do {
            value = try JSONValue(parsing: bytes, atMost: limit)
        } catch {
            throw HoldfastError(.damaged, "\(document) is damaged: \(error)", cause: error)
        }
        try self.init(value, document: document)
    }

    /// The error for a field that is missing or has a value that makes no sense.
    package func wrong(_ name: String) -> HoldfastError {
        HoldfastError(.damaged, "\(document) is damaged: field `\(name)` is missing or wrong", context: ["field": name])
    }

    package func has(_ name: String) -> Bool { members[name] != nil }

    package func string(_ name: String) throws -> String {
        guard case .string(let value) = members[name] else { throw wrong(name) }
        return value
    }

    package func boolean(_ name: String) throws -> Bool {
        guard case .bool(let value) = members[name] else { throw wrong(name) }
        return value
    }

    package func integer(_ name: String, in range: ClosedRange<Int64>) throws -> Int64 {
        guard case .integer(let value) = members[name], range.contains(value) else { throw wrong(name) }
        return value
    }

    /// Hexadecimal digits; `count` bytes when given.
    package func bytes(_ name: String, count: Int? = nil) throws -> [UInt8] {
        guard let bytes = Hex.decode(try string(name)), count == nil || bytes.count == count else { throw wrong(name) }
        return bytes
    }

    package func digest(_ name: String) throws -> Bytes32 {
        guard let digest = Bytes32(try bytes(name, count: 32)) else { throw wrong(name) }
        return digest
    }

    package func identifier<ID: RandomIdentifier>(_ name: String, as type: ID.Type = ID.self) throws -> ID {
        guard let id = ID(hex: try string(name)) else { throw wrong(name) }
        return id
    }

    package func time(_ name: String) throws -> Timestamp {
        guard let time = RFC3339.decode(try string(name)) else { throw wrong(name) }
        return time
    }

    package func array(_ name: String, atMost limit: Int) throws -> [JSONValue] {
        guard case .array(let values) = members[name], values.count <= limit else { throw wrong(name) }
        return values
    }

    package func strings(_ name: String, atMost limit: Int) throws -> [String] {
        try array(name, atMost: limit).map { value in
            guard case .string(let text) = value else { throw wrong(name) }
            return text
        }
    }

    package func object(_ name: String) throws -> JSONFields {
        guard case .object(let members) = members[name] else { throw wrong(name) }
        return JSONFields(members: members, document: document)
    }
}
