/// Pictures that browsers decode, by their first bytes.
package enum Picture {
    /// The media type; `nil` for anything else.
    package static func type(of head: [UInt8]) -> String? {
        if head.starts(with: [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]) { return "image/png" }
        if head.starts(with: [0xFF, 0xD8, 0xFF]) { return "image/jpeg" }
        if head.starts(with: "GIF87a".utf8) || head.starts(with: "GIF89a".utf8) { return "image/gif" }
        if head.starts(with: "RIFF".utf8), head.dropFirst(8).starts(with: "WEBP".utf8) { return "image/webp" }
        return nil
    }
}

/// Whether something is text that can be shown.
package enum TextPreview {
    /// `nil` for what is no UTF-8 or has control characters. Of what is not whole, the last character may be cut.
    package static func text(_ bytes: [UInt8], isWhole: Bool) -> String? {
        var bytes = bytes
        if !isWhole {
            // Up to three bytes of a character that was cut.
            for _ in 0..<3 where String(validating: bytes, as: UTF8.self) == nil && !bytes.isEmpty {
                bytes.removeLast()
            }
        }
        let isPlain = bytes.allSatisfy { $0 >= 0x20 || $0 == 0x09 || $0 == 0x0A || $0 == 0x0D || $0 == 0x0C }
        return isPlain ? String(validating: bytes, as: UTF8.self) : nil
    }
}
