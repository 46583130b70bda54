import Model
import TestSupport
import Testing

@testable import Vault

@Suite struct KeysJSONTests {
    @Test("Documents are written with sorted keys, without white space, and escaped where they must be")
    func writing() {
        let value = JSONValue.object([
            "z": .array([.integer(-1), .bool(true), .null]), "a": .string("q\"\\\n\u{1}ä"), "ab": .object([:]),
            "B": .array([]),
        ])
        let expected = #"{"B":[],"a":"q\"\\\n\u0001ä","ab":{},"z":[-1,true,null]}"#
        #expect(String(decoding: value.encoded(), as: UTF8.self) == expected)
    }

    @Test("What was written is read again", arguments: [1, 2, 3, 4, 5] as [UInt64])
    func roundTrip(seed: UInt64) throws {
        var generator = FuzzGenerator(seed: seed)
        for _ in 0..<200 {
            let value = JSONValue.random(depth: 0, using: &generator)
            #expect(try JSONValue(parsing: value.encoded()) == value, "seed \(seed)")
        }
    }

    @Test("Any JSON spelling of the same values is understood")
    func spellings() throws {
        let text = " {\n\t\"a\" : [ 1 , -9223372036854775808 ], \"b\":\"\\u00e4\\ud83d\\ude00\\/\" } "
        #expect(
            try JSONValue(parsing: Array(text.utf8))
                == .object(["a": .array([.integer(1), .integer(.min)]), "b": .string("ä😀/")]))
    }

    @Test(
        "Malformed and hostile documents are refused",
        arguments: [
            "", " ", "{", "[", "\"", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "[1,]", "[1", "nul",
            "truth",
            "1.5", "1e3", "01", "-0", "+1", "-", "9223372036854775808", "{\"a\":1,\"a\":2}", "{a:1}", "{} {}",
            "\"\\x\"",
            "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\u{1}\"", "\"a\nb\"", "1 2", "'a'",
            "NaN",
            "\"\\", "\"\\u", "\"\\ud83d\\u", "{\"\\u0061\":1,\"a\":2}",
        ])
    func malformed(text: String) {
        #expect(throws: HoldfastError.self) { try JSONValue(parsing: Array(text.utf8)) }
    }

    @Test("Text that is not UTF-8, nesting without end and documents beyond the bound are refused")
    func bounds() throws {
        #expect(throws: HoldfastError.self) { try JSONValue(parsing: [0x22, 0xFF, 0x22]) }
        for open in ["[", "{\"a\":"] {
            let deep = [UInt8](String(repeating: open, count: 100_000).utf8)
            #expect(throws: HoldfastError.self) { try JSONValue(parsing: deep) }
        }
        let nested = String(repeating: "[", count: 16) + String(repeating: "]", count: 16)
        #expect(throws: Never.self) { try JSONValue(parsing: Array(nested.utf8)) }
        let long = [UInt8](repeating: 0x20, count: JSONValue.maximumLength) + [0x31]
        #expect(throws: HoldfastError.self) { try JSONValue(parsing: long) }
    }

    @Test("Mutated documents are read or refused, never more")
    func fuzz() {
        var generator = FuzzGenerator(seed: 20)
        let valid = JSONValue.object([
            "created": .string("2026-11-20T10:15:00Z"), "n": .array([.integer(5), .object(["x": .null])]),
            "t": .bool(false),
        ]).encoded()
        for _ in 0..<5_000 { _ = try? JSONValue(parsing: generator.mutation(of: valid)) }
    }

    @Test("Times are read back in exactly one spelling")
    func times() {
        #expect(RFC3339.encode(Timestamp(seconds: 0)) == "1970-01-01T00:00:00Z")
        #expect(RFC3339.decode("2026-11-20T10:15:00Z") == Timestamp(seconds: 1_795_169_700))
        #expect(RFC3339.decode("2024-02-29T23:59:59Z") != nil)
        #expect(RFC3339.decode("1969-12-31T23:59:59Z") == Timestamp(seconds: -1))
        for wrong in [
            "", "2026-11-20", "2026-11-20 10:15:00Z", "2026-11-20T10:15:00", "2023-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-20T24:00:00Z", "2026-11-20T10:15:60Z", "2026-11-20T10:15:00z", "2026-1a-20T10:15:00Z",
            "9999-01-01T00:00:00Z", "2026-11-20T10:15:0ä", "ä026-11-20T10:15:0Z",
        ] {
            #expect(RFC3339.decode(wrong) == nil, "\(wrong)")
        }
    }
}

extension JSONValue {
    static func random(depth: Int, using generator: inout FuzzGenerator) -> JSONValue {
        switch Int.random(in: 0..<(depth < 4 ? 6 : 4), using: &generator) {
        case 0: return .null
        case 1: return .bool(Bool.random(using: &generator))
        case 2:
            return .integer(Int64(truncatingIfNeeded: generator.next()) >> Int64.random(in: 0..<64, using: &generator))
        case 3: return .string(text(using: &generator))
        case 4:
            return .array(
                (0..<Int.random(in: 0..<5, using: &generator)).map { _ in random(depth: depth + 1, using: &generator) })
        default:
            var members: [String: JSONValue] = [:]
            for _ in 0..<Int.random(in: 0..<5, using: &generator) {
                members[text(using: &generator)] = random(depth: depth + 1, using: &generator)
            }
            return .object(members)
        }
    }

    private static func text(using generator: inout FuzzGenerator) -> String {
        let alphabet: [Character] = ["a", "Z", "0", "\"", "\\", "\n", "\u{0}", "\u{1f}", "ä", "😀", "/", "\u{7f}", " "]
        return String(
            (0..<Int.random(in: 0..<8, using: &generator)).map { _ in alphabet.randomElement(using: &generator)! })
    }
}
