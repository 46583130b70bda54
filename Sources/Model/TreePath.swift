/// A path below the root of a machine as bytes: components joined by `/`, no leading or trailing slash; empty is the root.
///
/// File names are bytes on Linux; nothing here goes through `String`.
package struct TreePath: Hashable, Sendable {
    package let bytes: [UInt8]

    /// The root directory.
    package static let root = TreePath(unchecked: [])

    /// Takes bytes that are known to be in normal form.
    package init(unchecked bytes: [UInt8]) { self.bytes = bytes }

    /// Brings an absolute or root-relative path into normal form: repeated and outer slashes and `.` components go.
    /// `nil` when it has a `..` component, a zero byte, or a component longer than 255 bytes.
    package init?(normalizing bytes: some Sequence<UInt8>) {
        var result: [UInt8] = []
        for component in Array(bytes).split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: true) {
            if component.elementsEqual([UInt8(ascii: ".")]) { continue }
            guard TreePath.isName(component) else { return nil }
            if !result.isEmpty { result.append(UInt8(ascii: "/")) }
            result.append(contentsOf: component)
        }
        self.bytes = result
    }

    /// Parses text the same way.
    package init?(_ text: String) { self.init(normalizing: text.utf8) }

    /// Whether `name` can stand as one component: not empty, not `.` or `..`, no slash, no zero byte, at most 255 bytes.
    package static func isName(_ name: some Collection<UInt8>) -> Bool {
        if name.isEmpty || name.count > 255 { return false }
        let dot = UInt8(ascii: ".")
        if name.count <= 2, name.allSatisfy({ $0 == dot }) { return false }
        return !name.contains { $0 == 0 || $0 == UInt8(ascii: "/") }
    }

    package var isRoot: Bool { bytes.isEmpty }

    /// The components from the top down.
    package var components: [ArraySlice<UInt8>] {
        bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: true)
    }

    /// The last component; empty for the root.
    package var name: ArraySlice<UInt8> {
        guard let slash = bytes.lastIndex(of: UInt8(ascii: "/")) else { return bytes[...] }
        return bytes[(slash + 1)...]
    }

    /// The directory above; `nil` for the root.
    package var parent: TreePath? {
        if bytes.isEmpty { return nil }
        guard let slash = bytes.lastIndex(of: UInt8(ascii: "/")) else { return .root }
        return TreePath(unchecked: Array(bytes[..<slash]))
    }

    /// The path of `name` below this directory.
    package func appending(_ name: some Sequence<UInt8>) -> TreePath {
        var result = bytes
        if !result.isEmpty { result.append(UInt8(ascii: "/")) }
        result.append(contentsOf: name)
        return TreePath(unchecked: result)
    }

    /// Whether `other` is this path or lies below it.
    package func contains(_ other: TreePath) -> Bool {
        if bytes.isEmpty || bytes == other.bytes { return true }
        return other.bytes.count > bytes.count && other.bytes[bytes.count] == UInt8(ascii: "/")
            && other.bytes.starts(with: bytes)
    }

    // MARK: Keys of the tree

    /// The key in the tree: `/` becomes 0x00 and one more 0x00 stands before the last name. The root has the empty key.
    ///
    /// So the children of a directory lie together, sorted by name, and a subtree is one prefix.
    package var key: [UInt8] {
        if bytes.isEmpty { return [] }
        var key: [UInt8] = []
        key.reserveCapacity(bytes.count + 1)
        let slash = bytes.lastIndex(of: UInt8(ascii: "/"))
        if let slash {
            for byte in bytes[..<slash] { key.append(byte == UInt8(ascii: "/") ? 0 : byte) }
            key.append(0)
        }
        key.append(0)
        key.append(contentsOf: bytes[(slash.map { $0 + 1 } ?? 0)...])
        return key
    }

    /// The prefix that the keys of this directory's children share, and no other key has.
    package var childrenPrefix: [UInt8] {
        var prefix = subtreePrefix
        prefix.append(0)
        return prefix
    }

    /// The prefix that the keys of everything below this directory share, and no other key has. Empty for the root,
    /// whose own (empty) key it also matches.
    package var subtreePrefix: [UInt8] {
        if bytes.isEmpty { return [] }
        var prefix = bytes.map { $0 == UInt8(ascii: "/") ? 0 : $0 }
        prefix.append(0)
        return prefix
    }

    /// Reads a key of the tree; `nil` when it is not the key of any path.
    package init?(key: some Collection<UInt8>) {
        let bytes = Array(key)
        if bytes.isEmpty {
            self = .root
            return
        }
        guard let last = bytes.lastIndex(of: 0), last + 1 < bytes.count else { return nil }
        let name = bytes[(last + 1)...]
        guard TreePath.isName(name) else { return nil }
        if last == 0 {
            self.bytes = Array(name)
            return
        }
        guard bytes[last - 1] == 0 else { return nil }
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count)
        for component in bytes[..<(last - 1)].split(separator: 0, omittingEmptySubsequences: false) {
            guard TreePath.isName(component) else { return nil }
            result.append(contentsOf: component)
            result.append(UInt8(ascii: "/"))
        }
        result.append(contentsOf: name)
        self.bytes = result
    }

    /// For people: bytes that are not UTF-8 or not printable appear as `\xNN`, a backslash as `\\`; starts with `/`.
    package var displayText: String { "/" + TreePath.display(bytes) }

    /// Makes any bytes printable: invalid UTF-8 and control characters as `\xNN`, a backslash doubled.
    package static func display(_ bytes: some Sequence<UInt8>) -> String {
        let array = Array(bytes)
        var text = ""
        var index = 0
        while index < array.count {
            let length = validSequenceLength(array, at: index)
            if length == 1, array[index] == UInt8(ascii: "\\") {
                text += "\\\\"
            } else if length == 0 || (length == 1 && (array[index] < 0x20 || array[index] == 0x7F)) {
                text += "\\x" + Hex.encode([array[index]])
            } else {
                let scalar = String(decoding: array[index..<(index + length)], as: UTF8.self)
                // C1 controls and bidirectional overrides can deceive a terminal or a reader.
                if let value = scalar.unicodeScalars.first?.value,
                    (0x80...0x9F).contains(value) || (0x202A...0x202E).contains(value)
                        || (0x2066...0x2069).contains(value)
                {
                    text += array[index..<(index + length)].map { "\\x" + Hex.encode([$0]) }.joined()
                } else {
                    text += scalar
                }
            }
            index += max(length, 1)
        }
        return text
    }

    /// The length of the valid UTF-8 sequence at `index`, or 0.
    private static func validSequenceLength(_ bytes: [UInt8], at index: Int) -> Int {
        let first = bytes[index]
        let length: Int
        switch first {
        case 0x00...0x7F: return 1
        case 0xC2...0xDF: length = 2
        case 0xE0...0xEF: length = 3
        case 0xF0...0xF4: length = 4
        default: return 0
        }
        guard index + length <= bytes.count else { return 0 }
        return String(validating: bytes[index..<(index + length)], as: UTF8.self) == nil ? 0 : length
    }
}
