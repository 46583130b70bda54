package import Model

/// What a policy may ask for beyond what every version does.
package struct PolicyFeatures: OptionSet, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let hooks = PolicyFeatures(rawValue: 1)
    package static let linkMinimum = PolicyFeatures(rawValue: 2)
    package static let linkMetered = PolicyFeatures(rawValue: 4)
    package static let all: PolicyFeatures = [.hooks, .linkMinimum, .linkMetered]

    /// What this version does. The rest is read and checked, and then refused: a policy must not promise what does not
    /// happen.
    package static let current: PolicyFeatures = []
}

/// The time zones of this system, as whoever may read files brings them.
package struct ZoneSource: Sendable {
    /// The zone with an IANA name; `nil` when there is none.
    package var load: @Sendable (String) -> TimeZoneRules?
    /// All names, for "did you mean"; may be empty.
    package var names: @Sendable () -> [String]

    package init(
        load: @escaping @Sendable (String) -> TimeZoneRules?, names: @escaping @Sendable () -> [String] = { [] }
    ) {
        self.load = load
        self.names = names
    }

    func choice(_ text: String) throws(TextProblem) -> ZoneChoice {
        if text == "local" { return .local }
        if load(text) != nil { return .named(text) }
        let meant = Suggestion.nearest(to: text, among: names() + ["local"])
        throw TextProblem(
            message: "\(shown(text)) is not a time zone of this system.",
            instead: meant.map { "Did you mean \"\($0)\"?" }
                ?? "Write an IANA name such as Europe/London, or \"local\" for the clock of each machine.")
    }
}
