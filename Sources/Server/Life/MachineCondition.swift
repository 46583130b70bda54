package import Catalog
package import Client
package import Model

/// What is expected of a machine.
package struct MachineObjectives: Sendable {
    /// Lag above this is worth an alert, in nanoseconds.
    package var lag: Int64
    /// Since when a machine is silent for too long that was heard of last at the first time, now being the second; `nil` when
    /// it is not. The ranges are when it was in use.
    package var lateSince: @Sendable (Timestamp, Timestamp, [Range<Timestamp>]) -> Timestamp?

    package init(
        lag: Int64, lateSince: @escaping @Sendable (Timestamp, Timestamp, [Range<Timestamp>]) -> Timestamp?
    ) {
        self.lag = lag
        self.lateSince = lateSince
    }

    /// How long a machine that has said that it sleeps may do so, in nanoseconds, unless more is expected of it: a laptop lies in
    /// a drawer over a holiday. After that it may as well be lost.
    static let longestSleep: Int64 = 14 * 86_400_000_000_000

    /// Whether a machine is silent for too long that was heard of last at `last`.
    func isSilent(since last: Timestamp, at now: Timestamp, isAsleep: Bool) -> Bool {
        if isAsleep, now.since(last) <= Self.longestSleep { return false }
        return lateSince(last, now, [last..<max(now, last)]) != nil
    }

    /// Late after so many nanoseconds of silence.
    package init(lag: Int64, silent: Int64) {
        self.init(lag: lag) { last, now, _ in now.since(last) > silent ? last.advanced(by: silent) : nil }
    }
}

/// How a machine is, in one word.
package enum MachineCondition: String, Sendable, CaseIterable {
    /// All is stored, or about to be.
    case protected
    /// Stored later than it should be.
    case behind
    /// It has an agent that reports, and nothing is stored of it yet.
    case beginning
    /// Some paths cannot be kept as they are.
    case warnings
    /// It cannot write to the vault, or its spool is full.
    case problem
    /// It said that it goes to sleep or down, less than two weeks ago.
    case asleep
    /// Somebody there has paused it.
    case paused
    /// It said nothing for some minutes, or that its agent was stopped.
    case silent
    /// The same, for longer than is expected of it.
    case lost
    /// It has no agent that reports: backups are begun by somebody else.
    case unreported
    /// Its id is another's, and somebody has to decide.
    case waiting
    case retired

    /// Nanoseconds after which a machine that reports every minute is called silent. No alert yet: see `MachineObjectives`.
    static let silence: Int64 = 300_000_000_000

    /// - Parameter hasPoints: whether anything of it is in the vault, where its report does not say.
    package init(
        _ machine: ManagedMachine, _ report: MachineReport?, received: Timestamp?, at now: Timestamp,
        _ objectives: MachineObjectives, hasPoints: @autoclosure () -> Bool = true
    ) {
        switch machine.state {
        case .retired: self = .retired
        case .waiting: self = .waiting
        case .active:
            guard let report, let received else {
                self = machine.waitingKey == nil ? .unreported : .waiting
                return
            }
            if machine.waitingKey != nil {
                self = .waiting
            } else if report.activity == .asleep, !objectives.isSilent(since: received, at: now, isAsleep: true) {
                self = .asleep
            } else if Self.isUnheard(report, received, at: now) {
                self = objectives.isSilent(since: received, at: now, isAsleep: false) ? .lost : .silent
            } else if report.problem != nil || report.spool?.isFull == true {
                self = .problem
            } else if report.activity == .paused {
                self = .paused
            } else if report.newest == nil, !hasPoints() {
                self = .beginning
            } else if report.lag > objectives.lag {
                self = .behind
            } else {
                self = report.notKeptCount > 0 ? .warnings : .protected
            }
        }
    }

    private static func isUnheard(_ report: MachineReport, _ received: Timestamp, at now: Timestamp) -> Bool {
        report.activity == .stopped || now.since(received) > max(silence, 0)
    }

    /// How far a machine in this condition is behind; `nil` when nothing is heard of it, whatever it said last. One that sleeps
    /// changes nothing.
    package func lag(in report: MachineReport?, received: Timestamp?, at now: Timestamp) -> Int64? {
        guard let report, let received, self != .retired else { return nil }
        return self == .asleep || !Self.isUnheard(report, received, at: now) ? report.lag : nil
    }
}

/// What can be read of a machine's kept report beside the report itself.
package enum MachineStanding {
    /// The host of a copy of the machine that came with its identity; `nil` when there is none.
    package static func cloneHost(in kept: KeptReport) -> String? {
        (try? MachineTrail.decode(kept.trail))?.cloneHost
    }
}
