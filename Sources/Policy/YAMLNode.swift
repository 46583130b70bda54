/// A place in a file: line and column, both from 1; columns count Unicode scalars.
package struct SourcePosition: Hashable, Comparable, Sendable {
    package var line: Int
    package var column: Int

    package init(line: Int, column: Int) {
        self.line = line
        self.column = column
    }

    package static func < (a: SourcePosition, b: SourcePosition) -> Bool {
        (a.line, a.column) < (b.line, b.column)
    }
}

/// One value of a YAML file with the place where it begins.
struct YAMLNode: Sendable {
    struct Pair: Sendable {
        var key: YAMLNode
        var value: YAMLNode
    }

    enum Content: Sendable {
        /// A text; `isPlain` when it stands without quotes.
        case scalar(String, isPlain: Bool)
        case sequence([YAMLNode])
        case mapping([Pair])
    }

    var position: SourcePosition
    /// As written, `!override`, or the long form of a standard one, `tag:yaml.org,2002:str`.
    var tag: String?
    var content: Content
    /// The values in it, itself counted, aliases written out.
    var size = 1
    /// How many values contain one another, itself counted.
    var height = 1

    /// Nothing stands after the colon, or one of YAML's words for nothing.
    var isNull: Bool {
        guard case .scalar(let text, isPlain: true) = content else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(text) && tag == nil
    }

    /// How people call it.
    var kindName: String {
        switch content {
        case .scalar: isNull ? "nothing" : "a single value"
        case .sequence: "a list"
        case .mapping: "a group of keys"
        }
    }
}
