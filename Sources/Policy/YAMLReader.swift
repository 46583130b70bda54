internal import CYaml

/// Reads one YAML document into a tree that knows the place of every value.
///
/// It listens to libyaml's events itself: so keys that come twice are kept for the message, and the bounds hold while the
/// file is read, before a small file has become a large tree ("billion laughs").
struct YAMLReader {
    /// What a file may be at most.
    enum Limit {
        /// Bytes of a file.
        static let bytes = 1 << 20
        /// Values that contain one another. A policy needs five.
        static let depth = 24
        /// Values in all, those that aliases stand for counted each time.
        static let values = 20_000
    }

    private let parser: UnsafeMutablePointer<yaml_parser_t>
    private let input: UnsafeBufferPointer<UInt8>
    private var anchors: [String: YAMLNode] = [:]
    private var open: Set<String> = []
    private var values = 0

    /// The document in `bytes`; `nil` when there is none, only white space and comments.
    static func read(_ bytes: [UInt8]) throws(PolicyProblem) -> YAMLNode? {
        guard bytes.count <= Limit.bytes else {
            throw PolicyProblem(
                SourcePosition(line: 1, column: 1), "The file has \(bytes.count) bytes; 1 MiB is the most.",
                instead: "Lists that long belong in an exclusion file.")
        }
        // libyaml would count a byte order mark as a column.
        let start = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0
        let outcome = bytes[start...].withUnsafeBufferPointer { input -> Result<YAMLNode?, PolicyProblem> in
            let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
            defer { parser.deallocate() }
            guard yaml_parser_initialize(parser) == 1 else {
                return .failure(PolicyProblem(SourcePosition(line: 1, column: 1), "There is no memory to read it."))
            }
            defer { yaml_parser_delete(parser) }
            yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
            yaml_parser_set_input_string(parser, input.baseAddress, input.count)
            var reader = YAMLReader(parser: parser, input: input)
            do throws(PolicyProblem) {
                return .success(try reader.document())
            } catch {
                return .failure(error)
            }
        }
        return try outcome.get()
    }

    private init(parser: UnsafeMutablePointer<yaml_parser_t>, input: UnsafeBufferPointer<UInt8>) {
        self.parser = parser
        self.input = input
    }

    // MARK: Events

    /// What a tree is made of; the bytes that libyaml lends are copied.
    private struct Event {
        var type: yaml_event_type_t
        var position: SourcePosition
        var anchor: String?
        var tag: String?
        var text = ""
        var isPlain = false
    }

    private mutating func document() throws(PolicyProblem) -> YAMLNode? {
        _ = try next()  // The start of the stream.
        guard try next().type == YAML_DOCUMENT_START_EVENT else { return nil }
        let root = try node(try next(), depth: 1)
        _ = try next()  // The end of the document.
        let last = try next()
        guard last.type == YAML_STREAM_END_EVENT else {
            throw PolicyProblem(
                last.position, "A second document begins here.", instead: "Put each into a file of its own.")
        }
        return root
    }

    private mutating func node(_ event: Event, depth: Int) throws(PolicyProblem) -> YAMLNode {
        guard depth <= Limit.depth else { throw tooDeep(event.position) }
        if event.type == YAML_ALIAS_EVENT { return try alias(event, depth: depth) }
        try count(1, at: event.position)
        if let anchor = event.anchor { open.insert(anchor) }
        var node = YAMLNode(position: event.position, tag: event.tag, content: .scalar("", isPlain: true))
        switch event.type {
        case YAML_SEQUENCE_START_EVENT:
            var items: [YAMLNode] = []
            var inner = try next()
            while inner.type != YAML_SEQUENCE_END_EVENT {
                let item = try self.node(inner, depth: depth + 1)
                node.size += item.size
                node.height = max(node.height, item.height + 1)
                items.append(item)
                inner = try next()
            }
            node.content = .sequence(items)
        case YAML_MAPPING_START_EVENT:
            var pairs: [YAMLNode.Pair] = []
            var inner = try next()
            while inner.type != YAML_MAPPING_END_EVENT {
                let key = try self.node(inner, depth: depth + 1)
                let value = try self.node(try next(), depth: depth + 1)
                node.size += key.size + value.size
                node.height = max(node.height, key.height + 1, value.height + 1)
                pairs.append(YAMLNode.Pair(key: key, value: value))
                inner = try next()
            }
            node.content = .mapping(pairs)
        default:
            node.content = .scalar(event.text, isPlain: event.isPlain)
        }
        if let anchor = event.anchor {
            open.remove(anchor)
            anchors[anchor] = node
        }
        return node
    }

    private mutating func alias(_ event: Event, depth: Int) throws(PolicyProblem) -> YAMLNode {
        let name = event.anchor ?? ""
        guard let node = anchors[name], !open.contains(name) else {
            throw PolicyProblem(
                event.position, "\(shown("*" + name)) refers to an anchor that is not there.",
                instead: "A text that begins with a star stands in quotes: \(shown("*" + name)).")
        }
        guard depth + node.height - 1 <= Limit.depth else { throw tooDeep(event.position) }
        try count(node.size, at: event.position)
        return node
    }

    private mutating func count(_ more: Int, at position: SourcePosition) throws(PolicyProblem) {
        values += more
        guard values <= Limit.values else {
            throw PolicyProblem(position, "The file has more than \(Limit.values) values, aliases written out.")
        }
    }

    private func tooDeep(_ position: SourcePosition) -> PolicyProblem {
        PolicyProblem(position, "Values stand within one another more than \(Limit.depth) levels deep.")
    }

    private func next() throws(PolicyProblem) -> Event {
        var event = yaml_event_t()
        guard yaml_parser_parse(parser, &event) == 1 else { throw syntaxProblem() }
        defer { yaml_event_delete(&event) }
        var result = Event(type: event.type, position: position(event.start_mark))
        switch event.type {
        case YAML_ALIAS_EVENT:
            result.anchor = text(event.data.alias.anchor)
        case YAML_SCALAR_EVENT:
            let scalar = event.data.scalar
            result.anchor = text(scalar.anchor)
            result.tag = text(scalar.tag)
            result.isPlain = scalar.style == YAML_PLAIN_SCALAR_STYLE
            result.text = String(
                decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
        case YAML_SEQUENCE_START_EVENT:
            result.anchor = text(event.data.sequence_start.anchor)
            result.tag = text(event.data.sequence_start.tag)
        case YAML_MAPPING_START_EVENT:
            result.anchor = text(event.data.mapping_start.anchor)
            result.tag = text(event.data.mapping_start.tag)
        default: break
        }
        return result
    }

    private func text(_ pointer: UnsafeMutablePointer<UInt8>?) -> String? {
        guard let pointer else { return nil }
        var length = 0
        while pointer[length] != 0 { length += 1 }
        return String(decoding: UnsafeBufferPointer(start: pointer, count: length), as: UTF8.self)
    }

    private func position(_ mark: yaml_mark_t) -> SourcePosition {
        SourcePosition(line: Int(mark.line) + 1, column: Int(mark.column) + 1)
    }

    // MARK: Syntax

    /// libyaml's complaint in words that say what to write.
    private func syntaxProblem() -> PolicyProblem {
        let failed = parser.pointee
        let problem = failed.problem.map { String(cString: $0) } ?? "it cannot be read"
        let context = failed.context.map { String(cString: $0) } ?? ""
        guard failed.error != YAML_READER_ERROR else {
            let isControl = problem.contains("control")
            return PolicyProblem(
                position(ofByte: Int(failed.problem_offset)),
                isControl
                    ? "There is a control character that YAML does not allow."
                    : "These bytes are not UTF-8 (\(problem)).",
                instead: isControl ? "Delete it." : "Save the file as UTF-8.")
        }
        let place = position(failed.problem_mark)
        // libyaml looks ahead for the end of a key and meets its own bound first.
        if problem.contains("nesting level") { return tooDeep(place) }
        if context.contains("alias") {
            return PolicyProblem(
                position(failed.context_mark), "A star begins an alias in YAML, and this is none.",
                instead: "Put the text into quotes, as in \"*.iso\".")
        }
        let instead: String? =
            if byte(failed.problem_mark) == UInt8(ascii: "\t") {
                "Indent with spaces; tabs are not allowed."
            } else if problem.contains("cannot start any token") {
                "Put the text into quotes; it begins with a character that means something to YAML."
            } else if problem.contains("mapping values are not allowed") {
                "Put a text with a colon into quotes, and begin keys of one group in the same column."
            } else if problem.contains("could not find expected ':'") {
                "Write each setting as \"key: value\", with a space after the colon."
            } else if problem.contains("expected ',' or") {
                "Close the list with ] or the group with }, and put commas between what is in it."
            } else if problem.contains("expected <block end>") || problem.contains("expected key") {
                "Begin what belongs together in the same column."
            } else {
                nil
            }
        let about = context.isEmpty ? "" : " (\(context) that begins in line \(failed.context_mark.line + 1))"
        return PolicyProblem(place, "This is not YAML: \(problem)\(about).", instead: instead)
    }

    private func byte(_ mark: yaml_mark_t) -> UInt8? {
        // Marks count scalars, not bytes: walk.
        var index = 0
        var scalars = 0
        while index < input.count, scalars < Int(mark.index) {
            index += 1
            while index < input.count, input[index] & 0xC0 == 0x80 { index += 1 }
            scalars += 1
        }
        return index < input.count ? input[index] : nil
    }

    private func position(ofByte offset: Int) -> SourcePosition {
        var position = SourcePosition(line: 1, column: 1)
        for byte in input.prefix(offset) {
            if byte == 0x0A {
                position = SourcePosition(line: position.line + 1, column: 1)
            } else if byte & 0xC0 != 0x80 {
                position.column += 1
            }
        }
        return position
    }
}
