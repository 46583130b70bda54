import Model

extension EffectivePolicy {
    /// The whole policy as a file that reads back to the same values, each line with its origin as a comment.
    package func yaml(name: String = "effective", origins: Bool = true) -> String {
        var printer = PolicyPrinter(origins: origins)
        if origins { printer.comment(layers.joined(separator: " < ")) }
        printer.line("name: \(YAMLText.quoted(name))")
        print(into: &printer)
        return printer.text
    }

    private func print(into printer: inout PolicyPrinter) {
        printer.list("protect", protect, originOfEmpty("protect")) { item in
            ["path: \(YAMLText.quoted(path: item.path))", "mode: \(item.mode.rawValue)"]
        }
        printer.list("exclude", exclude, originOfEmpty("exclude")) { item in
            switch item {
            case .pattern(let pattern): [YAMLText.quoted(pattern)]
            case .preset(let preset): ["preset: \(preset.rawValue)"]
            }
        }
        printer.value("schedule", schedule) { YAMLText.quoted($0.description) }
        printer.value("timezone", timezone) { YAMLText.quoted($0.description) }
        printer.value("expected", expected) { YAMLText.quoted($0.description) }
        printer.group("retention") { printer in
            printer.group("default: !override", empty: retention.isEmpty ? originOfEmpty("retention.default") : nil) {
                printer in
                for key in RetentionKey.allCases {
                    if let amount = retention[key] { printer.value(key.rawValue, amount) { $0.description } }
                }
            }
            printer.list("rules", retentionRules, originOfEmpty("retention.rules")) { rule in
                let selector =
                    switch rule.selector {
                    case .match(let pattern): "match: \(YAMLText.quoted(pattern))"
                    case .path(let path): "path: \(YAMLText.quoted(path: path))"
                    }
                return [selector]
                    + RetentionKey.allCases.compactMap { key in
                        rule.amounts[key].map { "\(key.rawValue): \($0.description)" }
                    }
            }
        }
        printer.group("checkpoint") { printer in
            printer.list("on", checkpointOn, originOfEmpty("checkpoint.on")) { [$0.rawValue] }
            printer.value("keep", checkpointKeep) { $0.description }
        }
        if !hooksBefore.isEmpty || !hooksAfter.isEmpty {
            printer.group("hooks") { printer in
                let hook = { (hook: Hook) in
                    ["run: \(YAMLText.quoted(hook.command))", "timeout: \(QuantityText.duration(hook.timeout))"]
                }
                printer.list("before", hooksBefore, originOfEmpty("hooks.before"), hook)
                printer.list("after", hooksAfter, originOfEmpty("hooks.after"), hook)
            }
        }
        printer.group("link") { printer in
            if let linkMinimum { printer.value("minimum", linkMinimum) { $0.description } }
            if let linkMetered { printer.value("metered", linkMetered) { $0.rawValue } }
            printer.list("limits", linkLimits, originOfEmpty("link.limits")) { [YAMLText.quoted($0.description)] }
        }
        printer.group("spool") { $0.value("size", spoolSize) { QuantityText.size($0) } }
        printer.group("history") { printer in
            printer.value("duration", historyDuration) { QuantityText.duration($0) }
            printer.value("share", historyShare) { $0.description }
        }
        printer.group("settle") { printer in
            printer.value("close", settleClose) { QuantityText.duration($0) }
            printer.value("modify", settleModify) { QuantityText.duration($0) }
            printer.value("longest", settleLongest) { QuantityText.duration($0) }
        }
        printer.list("lockdown", lockdown, originOfEmpty("lockdown")) { [$0.rawValue] }
    }
}

/// Writes the YAML of an effective policy, comments in one column.
private struct PolicyPrinter {
    private(set) var text = ""
    private let origins: Bool
    private var indent = 0
    private static let commentColumn = 44

    init(origins: Bool) { self.origins = origins }

    mutating func comment(_ text: String) { self.text += "# \(text)\n" }

    mutating func line(_ content: String, from origin: Origin? = nil) {
        var line = String(repeating: "  ", count: indent) + content
        if origins, let origin {
            line += String(repeating: " ", count: max(2, PolicyPrinter.commentColumn - line.unicodeScalars.count))
            line += "# from \(origin)"
        }
        text += line + "\n"
    }

    mutating func value<Value>(_ key: String, _ value: Sourced<Value>, _ print: (Value) -> String) {
        line("\(key): \(print(value.value))", from: value.origin)
    }

    mutating func group(
        _ head: String, empty: Origin? = nil, _ body: (inout PolicyPrinter) -> Void
    ) {
        if let empty { return line("\(head) {}", from: empty) }
        line(head.contains(":") ? head : head + ":")
        indent += 1
        body(&self)
        indent -= 1
    }

    /// Every list takes the place of all others: the file stands for itself.
    mutating func list<Element>(
        _ key: String, _ items: [Sourced<Element>], _ empty: Origin, _ print: (Element) -> [String]
    ) {
        guard !items.isEmpty else { return line("\(key): !override []", from: empty) }
        line("\(key): !override")
        indent += 1
        for item in items {
            let lines = print(item.value)
            for (index, content) in lines.enumerated() {
                line((index == 0 ? "- " : "  ") + content, from: index == 0 ? item.origin : nil)
            }
        }
        indent -= 1
    }
}

/// Texts of YAML.
enum YAMLText {
    /// As it is where that is safe, else in double quotes.
    static func quoted(_ text: String) -> String {
        let isPlain = text.unicodeScalars.allSatisfy {
            $0.isASCII
                && ($0.properties.isAlphabetic || $0.properties.numericType != nil
                    || "/._-".unicodeScalars.contains($0))
        }
        let words = ["null", "Null", "NULL", "true", "false", "yes", "no", "on", "off", "y", "n"]
        if isPlain, let first = text.unicodeScalars.first, first == "/" || first.properties.isAlphabetic,
            !words.contains(text.lowercased())
        {
            return text
        }
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": result += "\\\(scalar)"
            case "\n": result += "\\n"
            case "\t": result += "\\t"
            default:
                if scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) {
                    result += "\\x" + Hex.encode([UInt8(scalar.value)])
                } else if [0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF].contains(scalar.value) {
                    result += "\\u" + Hex.encode([UInt8(scalar.value >> 8), UInt8(scalar.value & 0xFF)])
                } else {
                    result.unicodeScalars.append(scalar)
                }
            }
        }
        return result + "\""
    }

    static func quoted(path: [UInt8]) -> String { quoted(String(decoding: path, as: UTF8.self)) }
}
