import Model

/// Reads policy files.
package struct PolicyFile: Sendable {
    var features: PolicyFeatures
    var zones: ZoneSource

    /// - Parameter features: what to accept; tests and later versions accept more.
    package init(zones: ZoneSource, features: PolicyFeatures = .current) {
        self.zones = zones
        self.features = features
    }

    /// The policy in `bytes`, with everything that is wrong at once.
    package func check(_ bytes: [UInt8]) -> Checked<Policy> {
        let root: YAMLNode?
        do {
            root = try YAMLReader.read(bytes)
        } catch {
            return Checked(value: nil, problems: [error])
        }
        guard let root else {
            let problem = PolicyProblem(
                SourcePosition(line: 1, column: 1), "The file is empty.", instead: "A policy begins with \"name: ...\"."
            )
            return Checked(value: nil, problems: [problem])
        }
        var reader = NodeReader()
        let policy = policy(root, &reader)
        return Checked(value: reader.problems.isEmpty ? policy : nil, problems: reader.sortedProblems)
    }

    /// The policy in `bytes`.
    ///
    /// - Throws: `usage`, or `unsupported` when nothing else is wrong; a line for each problem, as `file:line:column: ...`.
    package func parse(_ bytes: [UInt8], file: String) throws -> Policy { try check(bytes).get(from: file) }

    /// A policy that the program brings; `name` is free.
    func builtIn(_ text: String, name: String) -> Policy {
        var reader = NodeReader()
        guard let root = try? YAMLReader.read(Array(text.utf8)), let policy = policy(root, &reader, name: name) else {
            return Policy(name: name)
        }
        return policy
    }

    // MARK: Keys

    /// Every key at the top of a file.
    static let keys = [
        "name", "protect", "exclude", "schedule", "timezone", "expected", "retention", "checkpoint", "hooks", "link",
        "spool", "history", "settle", "lockdown",
    ]

    /// How other tools call them.
    private static let synonyms = [
        "paths": "protect", "path": "protect", "include": "protect", "includes": "protect", "sources": "protect",
        "source_directories": "protect", "backup": "protect", "ignore": "exclude", "excludes": "exclude",
        "exclude_patterns": "exclude", "cron": "schedule", "when": "schedule", "tz": "timezone", "zone": "timezone",
        "keep": "retention", "prune": "retention", "forget": "retention", "bandwidth": "link", "limits": "link",
        "network": "link", "cache": "spool", "debounce": "settle", "scripts": "hooks", "commands": "hooks",
        "lock": "lockdown", "checkpoints": "checkpoint", "rpo": "expected", "title": "name",
    ]

    private func policy(_ root: YAMLNode, _ reader: inout NodeReader, name builtIn: String? = nil) -> Policy? {
        guard
            let fields = reader.fields(
                root, of: "A policy", keys: PolicyFile.keys, synonyms: PolicyFile.synonyms,
                example: "settings such as \"name: laptops\", each in a line of its own")
        else { return nil }
        guard let name = builtIn ?? name(fields, root, &reader) else {
            // The rest is read all the same, for what is wrong there.
            var rest = Policy(name: "unnamed")
            read(fields, into: &rest, &reader)
            return nil
        }
        var policy = Policy(name: name)
        read(fields, into: &policy, &reader)
        return policy
    }

    private func read(_ fields: NodeReader.Fields, into policy: inout Policy, _ reader: inout NodeReader) {
        let name = policy.name
        policy.protect = reader.list(
            fields["protect"], of: "protect", policy: name, example: "- path: /home", identity: { AnyHashable($0.path) }
        ) { protectedPath($1, &$0) }
        policy.exclude = reader.list(
            fields["exclude"], of: "exclude", policy: name, example: "[preset: temporary, \"*.iso\"]"
        ) { exclusion($1, &$0) }
        policy.schedule = reader.sourced(
            fields["schedule"], of: "schedule", policy: name, example: "\"daily 02:00\"", parse: Schedule.parse)
        policy.timezone = reader.sourced(
            fields["timezone"], of: "timezone", policy: name, example: "Europe/London", parse: zones.choice)
        policy.expected = reader.sourced(
            fields["expected"], of: "expected", policy: name, example: "every 2 days of use",
            parse: PointExpectation.parse)
        retention(fields["retention"], into: &policy, &reader)
        checkpoint(fields["checkpoint"], into: &policy, &reader)
        hooks(fields["hooks"], into: &policy, &reader)
        if !features.contains(.hooks), let position = fields.position(of: "hooks") {
            reader.report(unsupported: position, "hooks")
        }
        link(fields["link"], into: &policy, &reader)
        spool(fields["spool"], into: &policy, &reader)
        history(fields["history"], into: &policy, &reader)
        settle(fields["settle"], into: &policy, &reader)
        policy.lockdown = reader.list(
            fields["lockdown"], of: "lockdown", policy: name, example: "[pause, change-policy]"
        ) { $0.choice($1, of: "lockdown", LockedAction.self) }
    }

    private func name(_ fields: NodeReader.Fields, _ root: YAMLNode, _ reader: inout NodeReader) -> String? {
        guard let node = fields["name"] else {
            reader.report(root.position, "The policy has no name.", instead: "Begin with \"name: laptops\".")
            return nil
        }
        return reader.value(node, of: "name", example: "laptops", parse: PolicyFile.name)
    }

    /// A name as files and commands may carry it.
    static func name(_ text: String) throws(TextProblem) -> String {
        let isWord = text.unicodeScalars.allSatisfy {
            ($0.properties.isAlphabetic || $0.properties.numericType != nil || "._-".unicodeScalars.contains($0))
        }
        guard isWord, (1...64).contains(text.unicodeScalars.count), text.first.map({ !".-_".contains($0) }) == true
        else {
            throw TextProblem(
                message: "\(shown(text)) cannot be the name of a policy.",
                instead: "It takes up to 64 letters, digits, \".\", \"_\" and \"-\", and begins with a letter or digit."
            )
        }
        guard text != Origin.defaults.policy else {
            throw TextProblem(
                message: "\"defaults\" is the name of what the program brings.", instead: "Choose another name.")
        }
        return text
    }

    private func protectedPath(_ node: YAMLNode, _ reader: inout NodeReader) -> ProtectedPath? {
        if case .scalar = node.content {
            return reader.path(node, of: "protect").map { ProtectedPath(path: $0) }
        }
        guard
            let fields = reader.fields(
                node, of: "A protected path", keys: ["path", "mode"], synonyms: ["directory": "path", "type": "mode"],
                example: "{path: /home, mode: continuous}")
        else { return nil }
        let mode = reader.choice(fields["mode"], of: "mode", ProtectedPath.Mode.self)
        guard fields["path"] != nil else {
            reader.report(node.position, "A protected path has no \"path\".", instead: "Write \"path: /home\".")
            return nil
        }
        return reader.path(fields["path"], of: "path").map { ProtectedPath(path: $0, mode: mode ?? .continuous) }
    }

    private func exclusion(_ node: YAMLNode, _ reader: inout NodeReader) -> Exclusion? {
        if case .mapping = node.content {
            guard
                let fields = reader.fields(
                    node, of: "An exclusion", keys: ["preset"], example: "\"preset: temporary\" or a pattern in quotes")
            else { return nil }
            return reader.choice(fields["preset"], of: "preset", ExclusionPreset.self).map { .preset($0) }
        }
        return reader.value(node, of: "exclude", example: "a pattern such as \"*.iso\"") { text throws(TextProblem) in
            try PatternText.check(text)
            return Exclusion.pattern(text)
        }
    }
}
