/// Tables for other programs, as RFC 4180 says.
package enum CSV {
    /// A field in quotes. What a spreadsheet would take for a formula gets an apostrophe in front, which it hides.
    package static func field(_ text: String) -> String {
        let isFormula = text.first.map { "=+-@\t\r".contains($0) } ?? false
        return "\"" + (isFormula ? "'" : "") + text.replacing("\"", with: "\"\"") + "\""
    }

    package static func line(_ fields: [String]) -> String { fields.map(field).joined(separator: ",") + "\r\n" }
}

/// Names of what is downloaded.
package enum DownloadName {
    /// The value of `Content-Disposition` (RFC 6266): a plain name for old programs, the real one for others (RFC 8187).
    package static func disposition(_ name: [UInt8]) -> String {
        let plain = name.map {
            (0x20..<0x7F).contains($0) && ![0x22, 0x5C, 0x25, 0x2F].contains($0) ? $0 : UInt8(ascii: "_")
        }
        // What would be hidden, or is a directory to whoever saves it.
        let text = String(decoding: plain, as: UTF8.self)
        let isSafe = !text.isEmpty && !text.hasPrefix(".")
        return "attachment; filename=\"\(isSafe ? text : "_" + text)\"; filename*=UTF-8''\(encode(name))"
    }

    /// RFC 8187: what is no attribute character is escaped, slashes too; bytes that are no UTF-8 are shown as marks.
    private static func encode(_ name: [UInt8]) -> String {
        Address.encode(Array(String(decoding: name, as: UTF8.self).utf8)).replacing("/", with: "%2F")
    }
}
