package import Model

/// The policies of one machine, the ones that count less first: its class, its groups in their order, its own.
package struct PolicySet: Hashable, Sendable {
    package var machineClass: MachineClass?
    package var groups: [Policy]
    package var machine: Policy?

    package init(machineClass: MachineClass? = nil, groups: [Policy] = [], machine: Policy? = nil) {
        self.machineClass = machineClass
        self.groups = groups
        self.machine = machine
    }

    /// The policies above the defaults, in order.
    package var layers: [Policy] {
        (machineClass.map { [$0.policy] } ?? []) + groups + (machine.map { [$0] } ?? [])
    }

    /// What holds for the machine.
    package var effective: EffectivePolicy {
        var effective = EffectivePolicy()
        for layer in layers { effective.apply(layer) }
        return effective
    }
}

/// What holds for a machine, each value with the place it comes from.
package struct EffectivePolicy: Hashable, Sendable {
    package typealias Listed<Element: Hashable & Sendable> = [Sourced<Element>]

    /// The names of the policies it was made of, the defaults first.
    package private(set) var layers = [Origin.defaults.policy]

    /// The defaults protect nothing: what is kept safe is somebody's decision.
    package var protect: Listed<ProtectedPath> = []
    package var exclude: Listed<Exclusion> = []
    /// For `mode: scheduled`.
    package var schedule = Sourced(EffectivePolicy.defaultSchedule)
    package var timezone = Sourced(ZoneChoice.local)
    package var expected = Sourced(PointExpectation(measure: .time(.seconds(24 * 3_600))))
    package var retention: [RetentionKey: Sourced<RetentionAmount>] = EffectivePolicy.defaultRetention
    package var retentionRules: Listed<RetentionRule> = []
    package var checkpointOn: Listed<CheckpointEvent> = []
    package var checkpointKeep = Sourced(CalendarSpan(days: 30))
    package var hooksBefore: Listed<Hook> = []
    package var hooksAfter: Listed<Hook> = []
    package var linkMinimum: Sourced<Rate>?
    package var linkMetered: Sourced<MeteredUse>?
    package var linkLimits: Listed<BandwidthWindow> = []
    package var spoolSize = Sourced(UInt64(10_000_000_000))
    package var historyDuration = Sourced(Duration.seconds(72 * 3_600))
    package var historyShare = Sourced(Share(millionths: 100_000))
    package var settleClose = Sourced(Duration.seconds(1))
    package var settleModify = Sourced(Duration.seconds(5))
    package var settleLongest = Sourced(Duration.seconds(60))
    package var lockdown: Listed<LockedAction> = []

    /// Where a list was last written with `!override`, by its key: the origin of its being empty.
    private var emptied: [String: Origin] = [:]

    /// The defaults.
    package init() {}

    /// The origin of an empty list, by its key such as `link.limits`.
    func originOfEmpty(_ key: String) -> Origin { emptied[key] ?? .defaults }

    private static let defaultSchedule = Schedule(
        form: .clock(ClockTimes(minutes: [120], days: .weekdays(.all))), description: "daily 02:00")

    private static let defaultRetention: [RetentionKey: Sourced<RetentionAmount>] = [
        .continuous: Sourced(.reach(.span(CalendarSpan(seconds: 24 * 3_600)))),
        .hourly: Sourced(.reach(.count(48))),
        .daily: Sourced(.reach(.count(14))),
        .weekly: Sourced(.reach(.count(8))),
        .monthly: Sourced(.reach(.count(12))),
        .yearly: Sourced(.reach(.count(3))),
    ]

    // MARK: Inheritance

    /// Puts a policy on top.
    package mutating func apply(_ policy: Policy) {
        layers.append(policy.name)
        join(\.protect, "protect", policy.protect) { AnyHashable($0.path) }
        join(\.exclude, "exclude", policy.exclude)
        EffectivePolicy.replace(&schedule, policy.schedule)
        EffectivePolicy.replace(&timezone, policy.timezone)
        EffectivePolicy.replace(&expected, policy.expected)
        if policy.retention.isOverride { retention = [:] }
        for (key, amount) in policy.retention.amounts { retention[key] = amount }
        if policy.retention.isOverride { emptied["retention.default"] = policy.retention.origin }
        join(\.retentionRules, "retention.rules", policy.retention.rules) { AnyHashable($0.selector) }
        join(\.checkpointOn, "checkpoint.on", policy.checkpointOn)
        EffectivePolicy.replace(&checkpointKeep, policy.checkpointKeep)
        join(\.hooksBefore, "hooks.before", policy.hooksBefore)
        join(\.hooksAfter, "hooks.after", policy.hooksAfter)
        linkMinimum = policy.linkMinimum ?? linkMinimum
        linkMetered = policy.linkMetered ?? linkMetered
        join(\.linkLimits, "link.limits", policy.linkLimits)
        EffectivePolicy.replace(&spoolSize, policy.spoolSize)
        EffectivePolicy.replace(&historyDuration, policy.historyDuration)
        EffectivePolicy.replace(&historyShare, policy.historyShare)
        EffectivePolicy.replace(&settleClose, policy.settleClose)
        EffectivePolicy.replace(&settleModify, policy.settleModify)
        EffectivePolicy.replace(&settleLongest, policy.settleLongest)
        join(\.lockdown, "lockdown", policy.lockdown)
    }

    private static func replace<Value>(_ value: inout Sourced<Value>, _ other: Sourced<Value>?) {
        if let other { value = other }
    }

    /// Appends; an item that is there already moves to the end, so that what comes last is what was said last.
    private mutating func join<Element>(
        _ list: WritableKeyPath<EffectivePolicy, [Sourced<Element>]>, _ key: String, _ setting: ListSetting<Element>?,
        identity: (Element) -> AnyHashable = { AnyHashable($0) }
    ) {
        guard let setting else { return }
        if setting.isOverride {
            self[keyPath: list] = []
            emptied[key] = setting.origin
        }
        let named = Set(setting.items.map { identity($0.value) })
        self[keyPath: list].removeAll { named.contains(identity($0.value)) }
        self[keyPath: list] += setting.items
    }

    // MARK: Answers

    /// The mode of a path: that of the nearest protected path at or above it; `nil` when none is.
    package func mode(of path: some Collection<UInt8>) -> ProtectedPath.Mode? {
        protect.map(\.value).filter { PathText.contains($0.path, path) }.max { $0.path.count < $1.path.count }?.mode
    }

    /// Paths of one mode, in the order of the policy.
    package func paths(_ mode: ProtectedPath.Mode) -> [[UInt8]] {
        protect.filter { $0.value.mode == mode }.map(\.value.path)
    }

    /// All patterns, presets written out; where several match, the last decides.
    package var exclusionPatterns: [Sourced<String>] {
        exclude.flatMap { item -> [Sourced<String>] in
            switch item.value {
            case .pattern(let text): [Sourced(text, item.origin)]
            case .preset(let preset): preset.lines.map { Sourced($0.pattern, item.origin) }
            }
        }
    }

    /// The rules for points as a whole.
    package var retentionRulesOfPoints: RetentionRules {
        var rules = RetentionRules(checkpoints: checkpointKeep.value)
        for (key, amount) in retention { rules.set(key, amount.value) }
        return rules
    }

    /// The rules for what a selector matches: the default with what the last matching rule says differently.
    ///
    /// - Parameter matches: whether a pattern matches the file; paths are compared here.
    package func retention(of path: some Collection<UInt8>, matches: (_ pattern: String) -> Bool) -> RetentionRules {
        var rules = retentionRulesOfPoints
        let rule = retentionRules.last { rule in
            switch rule.value.selector {
            case .match(let pattern): matches(pattern)
            case .path(let directory): PathText.contains(directory, path)
            }
        }
        for (key, amount) in rule?.value.amounts ?? [:] { rules.set(key, amount) }
        return rules
    }

    /// The limits of the link.
    package var bandwidth: BandwidthWindows { BandwidthWindows(linkLimits.map(\.value)) }

    /// Whether the machine's own user may do something.
    package func isLocked(_ action: LockedAction) -> Bool { lockdown.contains { $0.value == action } }

    /// The zone that times mean. A zone that this system does not have (any more) is the machine's own.
    package func zone(local: TimeZoneRules, zones: ZoneSource) -> TimeZoneRules {
        switch timezone.value {
        case .local: local
        case .named(let name): zones.load(name) ?? local
        }
    }

    /// Whether both say the same, wherever it was written.
    package func hasSameValues(as other: EffectivePolicy) -> Bool {
        yaml(name: "x", origins: false) == other.yaml(name: "x", origins: false)
    }
}
