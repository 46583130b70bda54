import ArgumentParser
import Model

/// Arguments are bytes; the parser wants text. Bytes that are not UTF-8 travel through the text as scalars of plane 16 and
/// come out as the same bytes.
enum ArgumentBytes {
    /// Scalars from here on stand for the bytes 0x80 to 0xFF.
    private static let base: UInt32 = 0x10FE00

    /// Text that `decode` turns into the same bytes; plain UTF-8 stays as it is.
    static func encode(_ bytes: [UInt8]) -> String {
        if let text = String(validating: bytes, as: UTF8.self), !text.unicodeScalars.contains(where: isEscape) {
            return text
        }
        var text = String.UnicodeScalarView()
        var decoder = UTF8()
        var index = 0
        while index < bytes.count {
            // The longest valid sequence at this place, else one byte on its own.
            var iterator = bytes[index..<min(index + 4, bytes.count)].makeIterator()
            decoder = UTF8()
            if case .scalarValue(let scalar) = decoder.decode(&iterator), !isEscape(scalar) {
                text.append(scalar)
                index += UTF8.width(scalar)
            } else {
                if let scalar = Unicode.Scalar(base + UInt32(bytes[index])) { text.append(scalar) }
                index += 1
            }
        }
        return String(text)
    }

    /// The bytes that `encode` was given.
    static func decode(_ text: String) -> [UInt8] {
        var bytes: [UInt8] = []
        for scalar in text.unicodeScalars {
            if isEscape(scalar) {
                bytes.append(UInt8(truncatingIfNeeded: scalar.value - base))
            } else {
                bytes.append(contentsOf: UTF8.encode(scalar).map(Array.init) ?? [])
            }
        }
        return bytes
    }

    private static func isEscape(_ scalar: Unicode.Scalar) -> Bool {
        (base + 0x80...base + 0xFF).contains(scalar.value)
    }
}

/// A path as it was typed, byte for byte.
struct PathArgument: ExpressibleByArgument, Hashable, Sendable, CustomStringConvertible {
    let bytes: [UInt8]

    init(bytes: [UInt8]) { self.bytes = bytes }

    init?(argument: String) {
        bytes = ArgumentBytes.decode(argument)
        if bytes.isEmpty || bytes.contains(0) { return nil }
    }

    static var defaultCompletionKind: CompletionKind { .file() }

    /// For messages.
    var description: String { TreePath.display(bytes) }

    /// The path within a point that this means: from the root, whether or not it begins with a slash.
    func treePath() throws -> TreePath {
        guard let path = TreePath(normalizing: bytes) else {
            throw HoldfastError(
                .usage, "\"\(self)\" is not a path within a point: it has a \"..\" or a name of more than 255 bytes.")
        }
        return path
    }
}
