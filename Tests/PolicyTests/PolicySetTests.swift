import Model
import TestSupport
import Testing

@testable import Policy

@Suite("Inheritance of policies")
struct PolicySetTests {
    private func effective(_ texts: String..., machineClass: MachineClass? = nil) throws -> EffectivePolicy {
        let policies = try texts.map { try Policies.anyFile.parse(Array($0.utf8), file: "test.yaml") }
        return PolicySet(machineClass: machineClass, groups: policies.dropLast(), machine: policies.last).effective
    }

    @Test("a value takes the place of the one below, a list goes behind it")
    func joining() throws {
        let policy = try effective(
            "name: g1\nschedule: every 2h\nexclude: ['*.a', '*.b']\nprotect: [/home, {path: /srv, mode: scheduled}]\n",
            "name: g2\nschedule: every 3h\nexclude: ['*.c', '!*.a']\nspool: {size: 1GB}\n",
            "name: m\nexclude: ['*.a']\nprotect: [/srv]\n")
        #expect(policy.layers == ["defaults", "g1", "g2", "m"])
        #expect(policy.schedule.value.description == "every 3h")
        #expect(policy.schedule.origin.description == "g2:2")
        #expect(policy.spoolSize.origin.description == "g2:4")
        #expect(policy.historyShare.origin.description == "defaults")
        // What is said again moves to the end, where it decides.
        #expect(policy.exclusionPatterns.map(\.value) == ["*.b", "*.c", "!*.a", "*.a"])
        #expect(policy.protect.map(\.value.mode) == [.continuous, .continuous])
        #expect(policy.protect.map(\.origin.description) == ["g1:4", "m:3"])
    }

    @Test("!override drops what is below, for a list and for the default of retention")
    func overriding() throws {
        let policy = try effective(
            "name: g\nexclude: ['*.a']\nlockdown: [pause]\nretention: {rules: [{match: x, daily: 1}]}\n",
            """
            name: m
            exclude: !override ['*.b']
            lockdown: !override []
            retention:
              default: !override {daily: 90}
              rules: !override [{match: y, daily: 2}]
            """)
        #expect(policy.exclusionPatterns.map(\.value) == ["*.b"])
        #expect(!policy.isLocked(.pause))
        #expect(policy.yaml().contains("lockdown: !override []                      # from m:3\n"))
        #expect(policy.retentionRulesOfPoints == RetentionRules(periods: [.daily: .count(90)]))
        #expect(policy.retentionRules.count == 1)
        #expect(
            Policies.problems("name: a\nschedule: !override every 1h\n")[0].contains("exclamation")
                && Policies.problems("name: a\nspool: !override {size: 1GB}\n")[0].contains("no meaning")
                && Policies.problems("name: a\nlockdown: !replace [pause]\n")[0].contains("Did you mean !override?"))
    }

    @Test("retention joins key by key, and a rule changes only what it names")
    func retention() throws {
        let policy = try effective(
            "name: g\nretention: {default: {daily: 30, hourly: none}, rules: [{match: '*.pst', daily: 90}]}\n",
            "name: m\nretention: {rules: [{path: /srv/books, yearly: 10, weekly: none}]}\ncheckpoint: {keep: 60d}\n")
        let rules = policy.retentionRulesOfPoints
        #expect(rules.continuous == CalendarSpan("24h"))
        #expect(rules.checkpoints == CalendarSpan("60d"))
        #expect(rules.periods == [.daily: .count(30), .weekly: .count(8), .monthly: .count(12), .yearly: .count(3)])
        let books = policy.retention(of: Array("/srv/books/a.pst".utf8)) { $0 == "*.pst" }
        // Both match; the later one decides.
        #expect(books.periods == [.daily: .count(30), .monthly: .count(12), .yearly: .count(10)])
        let mail = policy.retention(of: Array("/home/a.pst".utf8)) { $0 == "*.pst" }
        #expect(mail.periods[.daily] == .count(90))
        #expect(policy.retention(of: Array("/srv/bookshelf".utf8)) { _ in false } == rules)
    }

    @Test("the nearest protected path decides how a path is protected")
    func modes() throws {
        let policy = try effective("name: m\nprotect: [{path: /, mode: scheduled}, /home]\n")
        #expect(policy.mode(of: Array("/home/ann/x".utf8)) == .continuous)
        #expect(policy.mode(of: Array("/homework".utf8)) == .scheduled)
        #expect(policy.mode(of: Array("/".utf8)) == .scheduled)
        #expect(policy.paths(.continuous) == [Array("/home".utf8)])
        #expect(EffectivePolicy().mode(of: Array("/etc".utf8)) == nil)
    }

    @Test("the effective policy says where each value comes from")
    func effectiveView() throws {
        let group = try Policies.anyFile.parse(Array(Policies.everything.utf8), file: "laptops.yaml")
        let machine = try Policies.parse("name: anns-laptop\nspool: {size: 30GB}\nexclude: ['*.iso']\n")
        let effective = PolicySet(machineClass: .mobile, groups: [group], machine: machine).effective
        try assertSnapshot(effective.yaml(), named: "effective.yaml")
        try assertSnapshot(EffectivePolicy().yaml(), named: "defaults.yaml")
    }

    @Test("the effective policy reads back to itself")
    func roundTrip() throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("round trip of policies, seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        for round in 0..<300 {
            let texts = (0..<Int.random(in: 1...4, using: &generator)).map { _ in RandomPolicy.text(&generator) }
            let layers = try texts.map { try Policies.anyFile.parse(Array($0.utf8), file: "\(seed).yaml") }
            let effective = PolicySet(
                machineClass: MachineClass.allCases.randomElement(using: &generator), groups: layers
            ).effective
            let printed = effective.yaml()
            let read = try Policies.anyFile.parse(Array(printed.utf8), file: "printed.yaml")
            let again = PolicySet(machineClass: .server, machine: read).effective
            #expect(again.hasSameValues(as: effective), "seed \(seed), round \(round):\n\(printed)")
            #expect(EffectivePolicyValues(again) == EffectivePolicyValues(effective), "seed \(seed), round \(round)")
        }
    }

    @Test("each class is a sound policy that changes something", arguments: MachineClass.allCases)
    func classes(machineClass: MachineClass) throws {
        #expect(Policies.problems("name: x\n" + machineClass.yaml).isEmpty)
        #expect(!(machineClass.policy.protect?.items.isEmpty ?? true))
        let effective = PolicySet(machineClass: machineClass).effective
        #expect(!effective.protect.isEmpty && !effective.hasSameValues(as: EffectivePolicy()))
        #expect(effective.protect[0].origin.policy == "class \(machineClass.rawValue)")
        #expect(effective.mode(of: Array("/home/a".utf8)) == .continuous)
    }

    @Test("each preset has sound patterns, each with a reason", arguments: ExclusionPreset.allCases)
    func presets(preset: ExclusionPreset) {
        #expect(Set(preset.lines.map(\.pattern)).count == preset.lines.count)
        for line in preset.lines {
            #expect(throws: Never.self) { try PatternText.check(line.pattern) }
            #expect(!line.why.isEmpty)
        }
    }
}

/// The values of an effective policy without their origins, for comparing more strictly than by print.
private struct EffectivePolicyValues: Equatable {
    var lists: [[AnyHashable]]
    var values: [AnyHashable]

    init(_ policy: EffectivePolicy) {
        lists = [
            policy.protect.map { AnyHashable($0.value) }, policy.exclude.map { AnyHashable($0.value) },
            policy.retentionRules.map { AnyHashable($0.value) }, policy.checkpointOn.map { AnyHashable($0.value) },
            policy.hooksBefore.map { AnyHashable($0.value) }, policy.hooksAfter.map { AnyHashable($0.value) },
            policy.linkLimits.map { AnyHashable($0.value) }, policy.lockdown.map { AnyHashable($0.value) },
        ]
        values = [
            policy.schedule.value, policy.timezone.value, policy.expected.value, policy.checkpointKeep.value,
            policy.linkMinimum?.value, policy.linkMetered?.value, policy.spoolSize.value, policy.historyDuration.value,
            policy.historyShare.value, policy.settleClose.value, policy.settleModify.value, policy.settleLongest.value,
            policy.retention.mapValues(\.value),
        ]
    }
}

/// Policies that nobody would write and everybody could.
private enum RandomPolicy {
    static func text(_ generator: inout SeededGenerator) -> String {
        var lines = ["name: p\(UInt16.random(in: 0 ... .max, using: &generator))"]
        func maybe(_ generator: inout SeededGenerator, _ choices: [String]) {
            if Bool.random(using: &generator) { lines.append(choices.randomElement(using: &generator)!) }
        }
        maybe(
            &generator,
            ["protect: [/a, /b/c]", "protect: !override [{path: '/with space \"é', mode: scheduled}]", "protect: []"])
        maybe(
            &generator,
            [
                "exclude: ['*.a', preset: caches, \"tab\\there\", 'null', '!x', '#y', ' z ']", "exclude: !override []",
                "exclude: [preset: system, preset: temporary, \"\\u2028\\x85\", 'a\\b', '~']",
            ])
        maybe(&generator, ["schedule: every 90m", "schedule: monthly last 4:00", "schedule: '*/5 1-3 * jan mon'"])
        maybe(&generator, ["timezone: local", "timezone: America/New_York"])
        maybe(&generator, ["expected: every week of use", "expected: every 36h", "expected: every 10 h of use"])
        maybe(
            &generator,
            [
                "retention: {default: {daily: 1y6mo, last: 90m}, rules: [{match: '[a-z]*', continuous: 2d}]}",
                "retention: {default: !override {}}", "retention: {rules: !override [{path: /, yearly: 3w}]}",
            ])
        maybe(&generator, ["checkpoint: {on: [boot], keep: 1y}", "checkpoint: {on: !override [package-change]}"])
        maybe(&generator, ["hooks: {before: [/bin/a b 'c'], after: [{run: /bin/b, timeout: 1h}]}"])
        maybe(
            &generator,
            [
                "link: {limits: [unlimited Sat-Mon, 9999kbit/s 00:00-24:00, 12345B/s Tue 23:59-00:00]}",
                "link: {minimum: 1.5MiB/s, metered: nothing}",
            ])
        maybe(&generator, ["spool: {size: 1.5TiB}", "spool: {size: 123456789}"])
        maybe(&generator, ["history: {duration: 0, share: 1/3}", "history: {duration: 1d1h1m1s}"])
        maybe(&generator, ["settle: 0", "settle: {close: 1500ms, longest: 1h}"])
        maybe(&generator, ["lockdown: [pause]", "lockdown: [change-policy, pause]"])
        return lines.joined(separator: "\n") + "\n"
    }
}
