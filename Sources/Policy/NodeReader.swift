import Model

/// Turns YAML values into values of the model and collects everything that is wrong on the way.
struct NodeReader {
    /// More problems than this are counted, not listed.
    static let problemLimit = 100

    /// What a group of keys holds.
    struct Fields {
        fileprivate var pairs: [String: YAMLNode.Pair] = [:]
        /// Written with `!override`.
        var isOverride = false
        subscript(_ key: String) -> YAMLNode? { pairs[key]?.value }
        var keys: Set<String> { Set(pairs.keys) }
        func position(of key: String) -> SourcePosition? { pairs[key]?.key.position }
    }

    private(set) var problems: [PolicyProblem] = []
    private var left = 0

    /// The problems in the order of the file; a last one counts what was left out.
    var sortedProblems: [PolicyProblem] {
        var sorted = problems.sorted { $0.position < $1.position }
        if left > 0, let last = sorted.last {
            sorted.append(PolicyProblem(last.position, "There are \(left) more problems."))
        }
        return sorted
    }

    mutating func report(_ problem: PolicyProblem) {
        if problems.count < NodeReader.problemLimit { problems.append(problem) } else { left += 1 }
    }

    mutating func report(_ position: SourcePosition, _ message: String, instead: String? = nil) {
        report(PolicyProblem(position, message, instead: instead))
    }

    mutating func report(unsupported position: SourcePosition, _ key: String) {
        report(
            PolicyProblem(
                position, "\"\(key)\" is not supported by this version.",
                instead: "Remove it; a policy must not promise what does not happen.", isUnsupported: true))
    }

    // MARK: Shapes

    /// The keys of `node`; `nil` when it is no group. Unknown keys, and those that come twice, are reported.
    mutating func fields(
        _ node: YAMLNode, of what: String, keys: [String], synonyms: [String: String] = [:],
        example: String, allowsOverride: Bool = false
    ) -> Fields? {
        var fields = Fields()
        fields.isOverride = takeOverride(node, allowed: allowsOverride)
        guard case .mapping(let pairs) = node.content else {
            report(
                node.position, "\(what) must be a group of keys, and this is \(node.kindName).",
                instead: "Write \(example).")
            return nil
        }
        for pair in pairs {
            guard case .scalar(let key, _) = pair.key.content else {
                report(pair.key.position, "A key must be a word, and this is \(pair.key.kindName).")
                continue
            }
            checkTag(pair.key)
            if let first = fields.pairs[key] {
                report(
                    pair.key.position,
                    "\(shown(key)) stands here a second time; the first is in line \(first.key.position.line).",
                    instead: "Keep one of them.")
            } else if keys.contains(key) {
                fields.pairs[key] = pair
            } else {
                // What is only counted needs no advice.
                let isListed = problems.count < NodeReader.problemLimit
                let meant = isListed ? Suggestion.nearest(to: key, among: keys, synonyms: synonyms) : nil
                report(
                    pair.key.position, "\(what) has no key \(shown(key)).",
                    instead: meant.map { "Did you mean \"\($0)\"?" } ?? "It takes \(keys.joined(separator: ", ")).")
            }
        }
        return fields
    }

    /// The items of a list; `nil` when it is none.
    mutating func items(
        _ node: YAMLNode?, of key: String, example: String, allowsOverride: Bool = true
    ) -> (nodes: [YAMLNode], isOverride: Bool)? {
        guard let node else { return nil }
        let isOverride = takeOverride(node, allowed: allowsOverride)
        switch node.content {
        case .sequence(let nodes): return (nodes, isOverride)
        case .scalar(let text, let isPlain):
            let wanted =
                isPlain && text.isEmpty ? "Write [] for an empty list, or for example \(example)." : "Write \(example)."
            report(node.position, "\"\(key)\" must be a list, and this is \(node.kindName).", instead: wanted)
        case .mapping:
            report(
                node.position, "\"\(key)\" must be a list, and this is a group of keys.", instead: "Write \(example).")
        }
        return nil
    }

    /// A list read item by item; what is wrong is reported and left out. An item with the `identity` of an
    /// earlier one is reported.
    mutating func list<Element: Hashable & Sendable>(
        _ node: YAMLNode?, of key: String, policy: String, example: String, allowsOverride: Bool = true,
        identity: (Element) -> AnyHashable = { AnyHashable($0) },
        read: (inout NodeReader, YAMLNode) -> Element?
    ) -> ListSetting<Element>? {
        guard let node, let (nodes, isOverride) = items(node, of: key, example: example, allowsOverride: allowsOverride)
        else {
            return nil
        }
        let origin = Origin(policy: policy, position: node.position)
        var setting = ListSetting<Element>([], isOverride: isOverride, origin: origin)
        var lines: [AnyHashable: Int] = [:]
        for node in nodes {
            guard let element = read(&self, node) else { continue }
            let line = lines[identity(element)]
            if let line {
                report(
                    node.position, "\"\(key)\" has this twice; the first is in line \(line).",
                    instead: "Remove one of them.")
                continue
            }
            lines[identity(element)] = node.position.line
            setting.items.append(Sourced(element, Origin(policy: policy, position: node.position)))
        }
        return setting
    }

    /// The text of a single value.
    mutating func text(_ node: YAMLNode, of key: String, example: String) -> String? {
        guard !node.isNull else {
            report(
                node.position, "\"\(key)\" has no value.", instead: "Write \(example), or remove the key.")
            return nil
        }
        if let tag = node.tag, tag.hasPrefix("!"), tag.count > 1, case .scalar(let text, _) = node.content {
            report(
                node.position, "A text that begins with an exclamation mark stands in quotes.",
                instead: "Write \(shown(text.isEmpty ? tag : "\(tag) \(text)")).")
            return nil
        }
        checkTag(node)
        guard case .scalar(let text, _) = node.content else {
            report(
                node.position, "\"\(key)\" must be a single value, and this is \(node.kindName).",
                instead: "Write \(example).")
            return nil
        }
        return text
    }

    /// A single value, read by `parse`.
    mutating func value<Value>(
        _ node: YAMLNode?, of key: String, example: String, parse: (String) throws(TextProblem) -> Value
    ) -> Value? {
        guard let node, let text = text(node, of: key, example: example) else { return nil }
        do throws(TextProblem) {
            return try parse(text)
        } catch {
            report(node.position, error.message, instead: error.instead)
            return nil
        }
    }

    /// The same, with the place it was written at.
    mutating func sourced<Value: Hashable & Sendable>(
        _ node: YAMLNode?, of key: String, policy: String, example: String,
        parse: (String) throws(TextProblem) -> Value
    ) -> Sourced<Value>? {
        guard let node, let value = value(node, of: key, example: example, parse: parse) else { return nil }
        return Sourced(value, Origin(policy: policy, position: node.position))
    }

    /// One word of several.
    mutating func choice<Choice: RawRepresentable & CaseIterable>(
        _ node: YAMLNode?, of key: String, _ type: Choice.Type
    ) -> Choice? where Choice.RawValue == String {
        let words = Choice.allCases.map(\.rawValue)
        let choices = (words.count > 1 ? words.dropLast().joined(separator: ", ") + " or " : "") + (words.last ?? "")
        return value(node, of: key, example: choices) { text throws(TextProblem) in
            if let choice = Choice(rawValue: text) { return choice }
            let meant = Suggestion.nearest(to: text, among: words)
            throw TextProblem(
                message: "\"\(key)\" cannot be \(shown(text)).",
                instead: meant.map { "Did you mean \"\($0)\"?" } ?? "It is \(choices).")
        }
    }

    /// An absolute path, without a slash at its end.
    mutating func path(_ node: YAMLNode?, of key: String) -> [UInt8]? {
        value(node, of: key, example: "an absolute path such as /srv") { text throws(TextProblem) in
            try PathText.parse(text)
        }
    }

    // MARK: Tags

    private mutating func takeOverride(_ node: YAMLNode, allowed: Bool) -> Bool {
        guard node.tag == "!override" else {
            checkTag(node)
            return false
        }
        if !allowed {
            report(
                node.position, "!override has no meaning here.",
                instead: "It stands before a list, or before the keys of retention.default.")
        }
        return allowed
    }

    private mutating func checkTag(_ node: YAMLNode) {
        guard let tag = node.tag, tag != "!" else { return }
        let standard = ["str", "seq", "map", "int", "float", "bool", "null"]
        if standard.contains(where: { tag == "tag:yaml.org,2002:" + $0 }) { return }
        report(
            node.position, "The tag \(shown(tag)) means nothing here.",
            instead: tag.lowercased().hasPrefix("!over") || tag.hasPrefix("!repl")
                ? "Did you mean !override?" : "Remove it, or put a text with an exclamation mark into quotes.")
    }
}

/// Absolute paths as text.
enum PathText {
    /// The bytes of an absolute path: one slash between names, none at the end.
    static func parse(_ text: String) throws(TextProblem) -> [UInt8] {
        guard text.hasPrefix("/") else {
            let instead =
                text.hasPrefix("~")
                ? "Write the whole path, such as /home; the agent is not one person's program."
                : "Write it from the root, \(shown("/" + text))."
            throw TextProblem(message: "The path \(shown(text)) is not absolute.", instead: instead)
        }
        let names = text.utf8.split(separator: UInt8(ascii: "/"))
        if names.contains(where: { $0.elementsEqual(".".utf8) || $0.elementsEqual("..".utf8) }) {
            throw TextProblem(
                message: "The path \(shown(text)) has \".\" or \"..\" in it.", instead: "Write where it leads.")
        }
        guard !text.utf8.contains(0), text.utf8.count <= 4_096, names.allSatisfy({ $0.count <= 255 }) else {
            throw TextProblem(
                message: "\(shown(text)) cannot be a path.",
                instead: "Names have at most 255 bytes, paths 4,096, and no zero byte.")
        }
        return names.isEmpty ? [UInt8(ascii: "/")] : names.reduce(into: []) { $0 += [UInt8(ascii: "/")] + $1 }
    }

    /// Whether `path` is `directory` or lies below it; both as `parse` gives them.
    static func contains(_ directory: [UInt8], _ path: some Collection<UInt8>) -> Bool {
        let slash = UInt8(ascii: "/")
        if directory == [slash] { return path.first == slash }
        guard path.starts(with: directory) else { return false }
        return path.count == directory.count || path.dropFirst(directory.count).first == slash
    }
}

/// What is wrong with an exclusion pattern before anybody matches with it: the patterns of a `.gitignore` line.
enum PatternText {
    private static let classes: Set<String> = [
        "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit",
    ]

    static func check(_ text: String) throws(TextProblem) {
        let bytes = Array(text.utf8)
        guard bytes.count <= 4_096, !bytes.contains(0) else {
            throw TextProblem(
                message: "\(shown(text)) is too long for a pattern.", instead: "4,096 bytes are the most.")
        }
        var rest = bytes[...]
        if rest.first == UInt8(ascii: "!") { rest = rest.dropFirst() }
        if rest.last == UInt8(ascii: "/") { rest = rest.dropLast() }
        if rest.first == UInt8(ascii: "/") { rest = rest.dropFirst() }
        guard !rest.isEmpty else {
            throw TextProblem(
                message: "The pattern \(shown(text)) matches nothing.", instead: "Write for example \"*.iso\".")
        }
        var index = rest.startIndex
        while index < rest.endIndex {
            if rest[index] == UInt8(ascii: "\\") {
                guard index + 1 < rest.endIndex else {
                    throw TextProblem(
                        message: "The pattern \(shown(text)) ends in a backslash.",
                        instead: "A backslash takes the next character literally; write two for the character itself.")
                }
                index += 2
            } else if rest[index] == UInt8(ascii: "[") {
                index = try endOfSet(rest, index, text)
            } else {
                index += 1
            }
        }
    }

    /// The index behind the bracket that closes the set that opens at `start`.
    private static func endOfSet(_ bytes: ArraySlice<UInt8>, _ start: Int, _ text: String) throws(TextProblem) -> Int {
        let open = TextProblem(
            message: "In the pattern \(shown(text)) a \"[\" has no \"]\".",
            instead: "Write \"\\[\" for the character itself.")
        var index = start + 1
        if index < bytes.endIndex, bytes[index] == UInt8(ascii: "!") || bytes[index] == UInt8(ascii: "^") { index += 1 }
        let first = index
        // Whether the byte before can begin a range; then what stands behind a "-" is its end, whatever it is.
        var canBeginRange = false
        while index < bytes.endIndex {
            switch bytes[index] {
            case UInt8(ascii: "]") where index > first: return index + 1
            case UInt8(ascii: "\\"):
                index += 2
                canBeginRange = true
            case UInt8(ascii: "-") where canBeginRange && index + 1 < bytes.endIndex && bytes[index + 1] != 0x5D:
                index += bytes[index + 1] == UInt8(ascii: "\\") ? 3 : 2
                canBeginRange = false
            case UInt8(ascii: "[") where index + 1 < bytes.endIndex && bytes[index + 1] == UInt8(ascii: ":"):
                guard let close = bytes[(index + 2)...].firstIndex(of: UInt8(ascii: "]")) else { throw open }
                if close - (index + 2) >= 1, bytes[close - 1] == UInt8(ascii: ":") {
                    let name = String(decoding: bytes[(index + 2)..<(close - 1)], as: UTF8.self)
                    guard classes.contains(name) else {
                        throw TextProblem(
                            message: "The pattern \(shown(text)) names a class \(shown("[:" + name + ":]")).",
                            instead: "There are \(classes.sorted().joined(separator: ", ")).")
                    }
                    index = close + 1
                    canBeginRange = false
                } else {
                    index += 1
                    canBeginRange = true
                }
            default:
                index += 1
                canBeginRange = true
            }
        }
        throw open
    }
}
