import Model

// The groups of keys below the top of a policy file.
extension PolicyFile {
    // MARK: Retention

    func retention(_ node: YAMLNode?, into policy: inout Policy, _ reader: inout NodeReader) {
        guard let node,
            let fields = reader.fields(
                node, of: "retention", keys: ["default", "rules"], example: "{default: {daily: 14, weekly: 8}}")
        else { return }
        if let node = fields["default"],
            let amounts = reader.fields(
                node, of: "retention.default", keys: RetentionKey.allCases.map(\.rawValue),
                synonyms: PolicyFile.retentionSynonyms, example: "{daily: 14, weekly: 8}", allowsOverride: true)
        {
            policy.retention.isOverride = amounts.isOverride
            policy.retention.origin = Origin(policy: policy.name, position: node.position)
            for (key, amount) in self.amounts(amounts, &reader) {
                let position = amounts[key.rawValue]?.position ?? node.position
                policy.retention.amounts[key] = Sourced(amount, Origin(policy: policy.name, position: position))
            }
        }
        policy.retention.rules = reader.list(
            fields["rules"], of: "rules", policy: policy.name, example: "- {match: \"*.pst\", daily: 90}",
            identity: { AnyHashable($0.selector) }
        ) { retentionRule($1, &$0) }
    }

    private static let retentionSynonyms: [String: String] = {
        var synonyms = ["all": "continuous", "annual": "yearly", "annually": "yearly", "newest": "last"]
        for key in RetentionKey.allCases.map(\.rawValue) {
            synonyms["keep-" + key] = key
            synonyms["keep_" + key] = key
        }
        for (short, key) in [("hour", "hourly"), ("day", "daily"), ("week", "weekly"), ("month", "monthly")] {
            synonyms[short] = key
            synonyms[short + "s"] = key
        }
        return synonyms
    }()

    private func amounts(_ fields: NodeReader.Fields, _ reader: inout NodeReader) -> [RetentionKey: RetentionAmount] {
        var amounts: [RetentionKey: RetentionAmount] = [:]
        for key in RetentionKey.allCases {
            let example = key == .continuous ? "24h" : "14"
            let amount = reader.value(fields[key.rawValue], of: key.rawValue, example: example) {
                text throws(TextProblem) in
                try PolicyFile.amount(text, key)
            }
            if let amount { amounts[key] = amount }
        }
        return amounts
    }

    private static func amount(_ text: String, _ key: RetentionKey) throws(TextProblem) -> RetentionAmount {
        if text == "none" || text == "0" { return .nothing }
        guard let reach = RetentionRules.Reach(text) else {
            throw TextProblem(
                message: "\"\(key.rawValue)\" cannot be \(shown(text)).",
                instead: key == .continuous
                    ? "Write a length of time such as 24h, or none."
                    : "Write a count such as 14, a length of time such as 90d, or none.")
        }
        if key == .continuous, case .count(let count) = reach {
            throw TextProblem(
                message: "\"continuous\" is a length of time, and \(count) has no unit.",
                instead: "Write for example \(count)h.")
        }
        return .reach(reach)
    }

    private func retentionRule(_ node: YAMLNode, _ reader: inout NodeReader) -> RetentionRule? {
        let example = "{match: \"*.pst\", daily: 90} or {path: /srv/books, yearly: 10}"
        guard
            let fields = reader.fields(
                node, of: "A retention rule", keys: ["match", "path"] + RetentionKey.allCases.map(\.rawValue),
                synonyms: PolicyFile.retentionSynonyms.merging(["pattern": "match", "name": "match"]) { $1 },
                example: example)
        else { return nil }
        let amounts = amounts(fields, &reader)
        let pattern = reader.value(fields["match"], of: "match", example: "\"*.pst\"") { text throws(TextProblem) in
            try PatternText.check(text)
            guard !text.hasPrefix("!") else {
                throw TextProblem(
                    message: "A rule cannot take back what it matches, as \(shown(text)) would.",
                    instead: "Write a later rule for the files that are different; the last that matches counts.")
            }
            return text
        }
        let path = reader.path(fields["path"], of: "path")
        if fields.keys.isDisjoint(with: RetentionKey.allCases.map(\.rawValue)) {
            reader.report(
                node.position, "The rule keeps nothing: it has no \"daily\" or the like.", instead: "Write \(example).")
        }
        switch (fields["match"] != nil, fields["path"] != nil) {
        case (true, false): return pattern.map { RetentionRule(.match($0), amounts) }
        case (false, true): return path.map { RetentionRule(.path($0), amounts) }
        case (false, false):
            reader.report(node.position, "The rule has no \"match\" and no \"path\".", instead: "Write \(example).")
        case (true, true):
            reader.report(
                node.position, "The rule has both \"match\" and \"path\".",
                instead: "Write two rules, or only one of them.")
        }
        return nil
    }

    // MARK: Checkpoints and hooks

    func checkpoint(_ node: YAMLNode?, into policy: inout Policy, _ reader: inout NodeReader) {
        // YAML 1.1 has words for true; "on" is a key here, and read as the text that it is.
        guard let node,
            let fields = reader.fields(node, of: "checkpoint", keys: ["on", "keep"], example: "{on: [boot]}")
        else { return }
        policy.checkpointOn = reader.list(
            fields["on"], of: "on", policy: policy.name, example: "[boot, package-change]"
        ) { $0.choice($1, of: "on", CheckpointEvent.self) }
        policy.checkpointKeep = reader.sourced(fields["keep"], of: "keep", policy: policy.name, example: "30d") {
            text throws(TextProblem) in
            guard let span = CalendarSpan(text) else {
                throw TextProblem(message: "\(shown(text)) is not a length of time.", instead: "Write for example 30d.")
            }
            return span
        }
    }

    func hooks(_ node: YAMLNode?, into policy: inout Policy, _ reader: inout NodeReader) {
        guard let node,
            let fields = reader.fields(
                node, of: "hooks", keys: ["before", "after"],
                synonyms: ["pre": "before", "post": "after", "before_backup": "before", "after_backup": "after"],
                example: "{before: [/usr/local/bin/dump-db]}")
        else { return }
        policy.hooksBefore = reader.list(
            fields["before"], of: "before", policy: policy.name, example: "[/usr/local/bin/dump-db]"
        ) { hook($1, &$0) }
        policy.hooksAfter = reader.list(
            fields["after"], of: "after", policy: policy.name, example: "[/usr/local/bin/dump-db]"
        ) { hook($1, &$0) }
    }

    private func hook(_ node: YAMLNode, _ reader: inout NodeReader) -> Hook? {
        if case .scalar = node.content {
            return reader.value(node, of: "hooks", example: "/usr/local/bin/dump-db", parse: CommandText.parse)
                .map { Hook(command: $0) }
        }
        guard
            let fields = reader.fields(
                node, of: "A hook", keys: ["run", "timeout"], synonyms: ["command": "run", "cmd": "run"],
                example: "{run: /usr/local/bin/dump-db, timeout: 5m}")
        else { return nil }
        let timeout = reader.value(fields["timeout"], of: "timeout", example: "5m") { text throws(TextProblem) in
            let timeout = try QuantityText.duration(text)
            guard timeout >= .seconds(1), timeout <= .seconds(86_400) else {
                throw TextProblem(
                    message: "A hook cannot take \(shown(text)).", instead: "Write a time from 1s to 24h.")
            }
            return timeout
        }
        guard fields["run"] != nil else {
            reader.report(node.position, "A hook has no \"run\".", instead: "Write \"run: /usr/local/bin/dump-db\".")
            return nil
        }
        return reader.value(fields["run"], of: "run", example: "/usr/local/bin/dump-db", parse: CommandText.parse)
            .map { Hook(command: $0, timeout: timeout ?? Hook.defaultTimeout) }
    }

    // MARK: Link, room and patience

    func link(_ node: YAMLNode?, into policy: inout Policy, _ reader: inout NodeReader) {
        guard let node,
            let fields = reader.fields(
                node, of: "link", keys: ["minimum", "metered", "limits"],
                synonyms: ["limit": "limits", "bandwidth": "limits", "min": "minimum"],
                example: "{limits: [\"20Mbit/s Mon-Fri 08:00-18:00\"]}")
        else { return }
        policy.linkMinimum = reader.sourced(
            fields["minimum"], of: "minimum", policy: policy.name, example: "2Mbit/s", parse: Rate.parse)
        if !features.contains(.linkMinimum), let position = fields.position(of: "minimum") {
            reader.report(unsupported: position, "link.minimum")
        }
        if let metered = reader.choice(fields["metered"], of: "metered", MeteredUse.self), let node = fields["metered"]
        {
            policy.linkMetered = Sourced(metered, Origin(policy: policy.name, position: node.position))
        }
        if !features.contains(.linkMetered), let position = fields.position(of: "metered") {
            reader.report(unsupported: position, "link.metered")
        }
        policy.linkLimits = reader.list(
            fields["limits"], of: "limits", policy: policy.name, example: "[\"20Mbit/s Mon-Fri 08:00-18:00\"]"
        ) { reader, node in
            reader.value(
                node, of: "limits", example: "\"20Mbit/s Mon-Fri 08:00-18:00\"", parse: BandwidthWindow.parse)
        }
    }

    func spool(_ node: YAMLNode?, into policy: inout Policy, _ reader: inout NodeReader) {
        guard let node, let fields = reader.fields(node, of: "spool", keys: ["size"], example: "{size: 10GB}") else {
            return
        }
        policy.spoolSize = reader.sourced(fields["size"], of: "size", policy: policy.name, example: "10GB") {
            text throws(TextProblem) in
            let size = try QuantityText.size(text)
            guard size >= 64_000_000 else {
                throw TextProblem(
                    message: "A spool of \(shown(text)) holds next to nothing.", instead: "Write at least 64MB.")
            }
            return size
        }
    }

    func history(_ node: YAMLNode?, into policy: inout Policy, _ reader: inout NodeReader) {
        guard let node,
            let fields = reader.fields(
                node, of: "history", keys: ["duration", "share"],
                synonyms: ["keep": "duration", "time": "duration", "size": "share", "percent": "share"],
                example: "{duration: 72h, share: 10%}")
        else { return }
        policy.historyDuration = reader.sourced(
            fields["duration"], of: "duration", policy: policy.name, example: "72h", parse: QuantityText.duration)
        policy.historyShare = reader.sourced(fields["share"], of: "share", policy: policy.name, example: "10%") {
            text throws(TextProblem) in
            guard let share = Share(text), share.millionths <= 500_000 else {
                throw TextProblem(
                    message: "\(shown(text)) is not a share of the free disk from 0% to 50%.",
                    instead: "Write for example 10%.")
            }
            return share
        }
    }

    func settle(_ node: YAMLNode?, into policy: inout Policy, _ reader: inout NodeReader) {
        guard let node else { return }
        let read = { (text: String) throws(TextProblem) -> Duration in
            let duration = try QuantityText.duration(text)
            guard duration <= .seconds(3_600) else {
                throw TextProblem(
                    message: "To wait \(shown(text)) would leave files unprotected.", instead: "Write at most 1h.")
            }
            return duration
        }
        if case .scalar = node.content {
            policy.settleClose = reader.sourced(node, of: "settle", policy: policy.name, example: "1s", parse: read)
            policy.settleModify = policy.settleClose
            return
        }
        guard
            let fields = reader.fields(
                node, of: "settle", keys: ["close", "modify", "longest"],
                synonyms: ["max": "longest", "maximum": "longest", "write": "modify"],
                example: "{close: 1s, modify: 5s, longest: 60s}")
        else { return }
        let name = policy.name
        policy.settleClose = reader.sourced(fields["close"], of: "close", policy: name, example: "1s", parse: read)
        policy.settleModify = reader.sourced(fields["modify"], of: "modify", policy: name, example: "5s", parse: read)
        policy.settleLongest = reader.sourced(
            fields["longest"], of: "longest", policy: name, example: "60s", parse: read)
    }
}

/// Commands that a server may ask for.
enum CommandText {
    /// The absolute path of a program and its arguments, in one line; white space between words counts once.
    static func parse(_ text: String) throws(TextProblem) -> String {
        let command = text.split(separator: " ").joined(separator: " ")
        guard command.hasPrefix("/"), !command.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F }),
            command.utf8.count <= 4_096
        else {
            throw TextProblem(
                message: "\(shown(text)) is not a command.",
                instead: "Write the absolute path of a program and its arguments in one line.")
        }
        return command
    }
}
