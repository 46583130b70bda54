/// Where a value was written.
package struct Origin: Hashable, Sendable, CustomStringConvertible {
    /// The name of the policy, `class desktop` for a class, `defaults` for what the program brings.
    package var policy: String
    /// `nil` for the defaults.
    package var position: SourcePosition?

    package init(policy: String, position: SourcePosition? = nil) {
        self.policy = policy
        self.position = position
    }

    /// The program itself.
    package static let defaults = Origin(policy: "defaults")

    /// `laptops:12`.
    package var description: String { position.map { "\(policy):\($0.line)" } ?? policy }
}

/// A value with the place where it was written.
package struct Sourced<Value: Hashable & Sendable>: Hashable, Sendable {
    package var value: Value
    package var origin: Origin

    package init(_ value: Value, _ origin: Origin = .defaults) {
        self.value = value
        self.origin = origin
    }
}

/// A list of a policy: it goes behind the lists of the policies below it, or takes their place.
package struct ListSetting<Element: Hashable & Sendable>: Hashable, Sendable {
    package var items: [Sourced<Element>]
    /// Written with `!override`: nothing of the policies below stays.
    package var isOverride: Bool
    /// Where the list itself was written.
    package var origin: Origin

    package init(_ items: [Sourced<Element>], isOverride: Bool = false, origin: Origin = .defaults) {
        self.items = items
        self.isOverride = isOverride
        self.origin = origin
    }
}
