/// Texts for addresses.
package enum Address {
    private static let plain = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/".utf8)

    /// Bytes as they can stand in a path or a query; slashes stay.
    package static func encode(_ bytes: [UInt8]) -> String {
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

    package static func encode(_ text: String) -> String { encode(Array(text.utf8)) }

    /// The bytes that `encode` wrote, and those of forms, where a plus is a space. `nil` for broken escapes.
    package static func decode(_ text: some StringProtocol, isForm: Bool = false) -> [UInt8]? {
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
    package static func query(_ fields: [(String, String?)]) -> String {
        let parts = fields.compactMap { name, value in value.map { (name, $0) } }.filter { !$0.1.isEmpty }
        if parts.isEmpty { return "" }
        return "?" + parts.map { "\($0)=\(encode($1))" }.joined(separator: "&")
    }
}

/// The fields of a form or of a query, as bytes: names of files are no text.
package struct FormFields: Sendable {
    private var values: [String: [[UInt8]]] = [:]

    /// Takes at most 10,000 fields; what is not well written is left out.
    package init(_ text: String) {
        for part in text.split(separator: "&").prefix(10_000) {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = pair.first.flatMap({ Address.decode($0, isForm: true) }),
                let value = Address.decode(pair.count > 1 ? pair[1] : "", isForm: true)
            else { continue }
            values[String(decoding: name, as: UTF8.self), default: []].append(value)
        }
    }

    package func bytes(_ name: String) -> [UInt8]? { values[name]?.first }
    package func all(_ name: String) -> [[UInt8]] { values[name] ?? [] }
    package func text(_ name: String) -> String { bytes(name).map { String(decoding: $0, as: UTF8.self) } ?? "" }
    package func number(_ name: String, in range: ClosedRange<Int>) -> Int? {
        Int(text(name)).flatMap { range.contains($0) ? $0 : nil }
    }
}
