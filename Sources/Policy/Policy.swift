package import Model

/// What one policy file says. What it leaves open is `nil` and comes from the policies below it; see `PolicySet`.
package struct Policy: Hashable, Sendable {
    /// Letters, digits, `.`, `_`, `-`; or `class desktop` for a class that the program brings.
    package var name: String
    package var protect: ListSetting<ProtectedPath>?
    package var exclude: ListSetting<Exclusion>?
    package var schedule: Sourced<Schedule>?
    package var timezone: Sourced<ZoneChoice>?
    package var expected: Sourced<PointExpectation>?
    package var retention = RetentionSetting()
    /// On what a checkpoint is made.
    package var checkpointOn: ListSetting<CheckpointEvent>?
    /// How long checkpoints stay.
    package var checkpointKeep: Sourced<CalendarSpan>?
    package var hooksBefore: ListSetting<Hook>?
    package var hooksAfter: ListSetting<Hook>?
    /// A link that is slower is used with care.
    package var linkMinimum: Sourced<Rate>?
    package var linkMetered: Sourced<MeteredUse>?
    package var linkLimits: ListSetting<BandwidthWindow>?
    /// Bytes that versions which wait for the server may take.
    package var spoolSize: Sourced<UInt64>?
    /// How long versions stay on the machine after they were sent.
    package var historyDuration: Sourced<Duration>?
    /// How much of the free space they may take.
    package var historyShare: Sourced<Share>?
    /// Quiet time after a file was closed before it is read.
    package var settleClose: Sourced<Duration>?
    /// Quiet time after a write to a file that stays open.
    package var settleModify: Sourced<Duration>?
    /// A file that is never quiet is read after this.
    package var settleLongest: Sourced<Duration>?
    package var lockdown: ListSetting<LockedAction>?

    package init(name: String) { self.name = name }
}

/// A directory or file that is kept safe, with all below it.
package struct ProtectedPath: Hashable, Sendable {
    package enum Mode: String, Hashable, Sendable, CaseIterable {
        /// Every version, within seconds.
        case continuous
        /// At the times of the schedule.
        case scheduled
    }

    /// Absolute, without a slash at its end.
    package var path: [UInt8]
    package var mode: Mode

    package init(path: [UInt8], mode: Mode = .continuous) {
        self.path = path
        self.mode = mode
    }
}

/// What is left out.
package enum Exclusion: Hashable, Sendable {
    /// A line as of a `.gitignore`; one that begins with a slash counts from `/`, one with a slash further in from each
    /// protected path.
    case pattern(String)
    case preset(ExclusionPreset)
}

/// By which clock times are meant.
package enum ZoneChoice: Hashable, Sendable, CustomStringConvertible {
    /// That of the machine.
    case local
    /// An IANA name.
    case named(String)

    package var description: String {
        switch self {
        case .local: "local"
        case .named(let name): name
        }
    }
}

/// On what a checkpoint is made.
package enum CheckpointEvent: String, Hashable, Sendable, CaseIterable {
    case boot
    case packageChange = "package-change"
}

/// What is sent over a link that costs money by volume.
package enum MeteredUse: String, Hashable, Sendable, CaseIterable {
    /// Small continuous changes only.
    case smallOnly = "small-only"
    case nothing
    case everything
}

/// What the machine's own user may not do.
package enum LockedAction: String, Hashable, Sendable, CaseIterable {
    case pause
    case changePolicy = "change-policy"
}

/// A command that runs before or after a backup; `allow.yaml` on the machine must name it.
package struct Hook: Hashable, Sendable {
    /// The absolute path of a program and its arguments.
    package var command: String
    /// It is ended after this.
    package var timeout: Duration

    package static let defaultTimeout: Duration = .seconds(300)

    package init(command: String, timeout: Duration = Hook.defaultTimeout) {
        self.command = command
        self.timeout = timeout
    }
}

/// The keys of a retention rule.
package enum RetentionKey: String, Hashable, Sendable, CaseIterable {
    case continuous, last, hourly, daily, weekly, monthly, yearly
}

/// How far a key of a retention rule reaches.
package enum RetentionAmount: Hashable, Sendable, CustomStringConvertible {
    /// Nothing is kept by it: takes back what a policy below says.
    case nothing
    case reach(RetentionRules.Reach)

    package var description: String {
        switch self {
        case .nothing: "none"
        case .reach(let reach): reach.description
        }
    }
}

/// Different retention for some files.
package struct RetentionRule: Hashable, Sendable {
    package enum Selector: Hashable, Sendable {
        /// A pattern as of an exclusion.
        case match(String)
        /// An absolute path and all below it.
        case path([UInt8])
    }

    package var selector: Selector
    /// What differs from the default; the other keys stay as they are there.
    package var amounts: [RetentionKey: RetentionAmount]

    package init(_ selector: Selector, _ amounts: [RetentionKey: RetentionAmount]) {
        self.selector = selector
        self.amounts = amounts
    }
}

/// What a policy says of retention.
package struct RetentionSetting: Hashable, Sendable {
    package var amounts: [RetentionKey: Sourced<RetentionAmount>] = [:]
    /// The default was written with `!override`: no key of the policies below stays.
    package var isOverride = false
    /// Where the default was written.
    package var origin = Origin.defaults
    package var rules: ListSetting<RetentionRule>?
}

extension RetentionRules {
    /// Takes over what `key` says.
    mutating func set(_ key: RetentionKey, _ amount: RetentionAmount) {
        var reach: Reach?
        if case .reach(let value) = amount { reach = value }
        switch key {
        case .continuous:
            if case .span(let span) = reach { continuous = span } else { continuous = nil }
        case .last: last = reach
        case .hourly: periods[.hourly] = reach
        case .daily: periods[.daily] = reach
        case .weekly: periods[.weekly] = reach
        case .monthly: periods[.monthly] = reach
        case .yearly: periods[.yearly] = reach
        }
    }
}
