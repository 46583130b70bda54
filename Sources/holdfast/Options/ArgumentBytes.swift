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

    /// The path that begins with a slash; what does not is taken from the working directory on.
    func fromWorkingDirectory() throws -> [UInt8] {
        if bytes.first == UInt8(ascii: "/") { return bytes }
        return try System.workingDirectory() + [UInt8(ascii: "/")] + bytes
    }

    /// The path within a point that this means, from the working directory on as for a backup. `..` is resolved as text:
    /// what the point holds need not be there now.
    func treePath() throws -> TreePath {
        var components: [ArraySlice<UInt8>] = []
        for component in try fromWorkingDirectory().split(separator: UInt8(ascii: "/")) where component != [0x2E] {
            if component == [0x2E, 0x2E] { _ = components.popLast() } else { components.append(component) }
        }
        guard let path = TreePath(normalizing: Array(components.joined(separator: [UInt8(ascii: "/")]))) else {
            throw HoldfastError(.usage, "\"\(self)\" cannot be a path: it has a name of more than 255 bytes.")
        }
        return path
    }
}
