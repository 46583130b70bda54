package import Model
package import Policy
import Vault

/// What is remembered of scheduled backups, and what follows from it. Pure: the caller brings the time.
package struct ScheduleState: Hashable, Sendable {
    static let version: Int64 = 1
    /// A machine that is back waits up to so long before it makes up for a missed run.
    package static let catchUpWindow = Duration.seconds(900)
    /// The longest pause between two attempts of a run that failed.
    static let longestPause: Int64 = 1_800_000_000_000

    /// The newest run that was done or made up for; `nil` when none ever was of these paths.
    package var handled: Timestamp?
    /// What those runs protected: other paths have never been stored.
    package var paths: [TreePath]
    /// When the last run ended, and what went wrong in it.
    package var ended: Timestamp?
    package var problem: String?
    /// Attempts at the next run that failed, and when the last of them did.
    package var failures = 0
    package var failed: Timestamp?

    package init(handled: Timestamp? = nil, paths: [TreePath] = []) {
        self.handled = handled
        self.paths = paths
    }

    /// A run, and when it begins.
    package struct Next: Hashable, Sendable {
        /// The time of the schedule.
        package var run: Timestamp
        package var start: Timestamp
        /// It was missed, or failed, and is made up for.
        package var isCatchUp: Bool
    }

    /// The next run of `paths`.
    ///
    /// - Parameters:
    ///   - back: when the machine was switched on or woke up last: what lies before it was missed.
    ///   - machine: decides how long this machine waits among many that are back at the same time.
    package func next(
        _ schedule: Schedule, _ paths: [TreePath], in zone: TimeZoneRules, now: Timestamp, back: Timestamp,
        machine: [UInt8]
    ) -> Next? {
        func delayed(_ next: Next) -> Next { self.delayed(next, now) }
        guard let handled, self.paths == paths else {
            // Never stored: at once.
            return delayed(Next(run: now, start: now, isCatchUp: true))
        }
        // A clock that was ahead must not keep the machine from being stored until then.
        let since = min(handled, now)
        guard let missed = schedule.missed(since: since, until: now, in: zone) else {
            return schedule.next(after: now, in: zone).map { Next(run: $0, start: $0, isCatchUp: false) }
        }
        if missed >= back { return delayed(Next(run: missed, start: missed, isCatchUp: failures > 0)) }
        let wait = Schedule.catchUpDelay(machine: machine, run: missed, window: ScheduleState.catchUpWindow)
        return delayed(Next(run: missed, start: back.advanced(by: wait.inNanoseconds), isCatchUp: true))
    }

    /// After failures it is tried again ever more seldom.
    private func delayed(_ next: Next, _ now: Timestamp) -> Next {
        // A failure at a time to come was seen by a clock that was ahead.
        guard failures > 0, let failed, failed <= now else { return next }
        let pause = min(60_000_000_000 << min(Int64(failures - 1), 6), ScheduleState.longestPause)
        var later = next
        later.start = max(next.start, failed.advanced(by: pause))
        return later
    }

    /// Notes a run that was done.
    package mutating func done(_ run: Timestamp, _ paths: [TreePath], at time: Timestamp) {
        handled = run
        self.paths = paths
        ended = time
        problem = nil
        failures = 0
        failed = nil
    }

    package mutating func failed(_ problem: String, at time: Timestamp) {
        self.problem = problem
        failures += 1
        failed = time
    }

    /// Notes a run that failed and was not the schedule's: it says nothing about when the schedule's own run is tried.
    package mutating func failedBeside(_ problem: String) { self.problem = problem }

    // MARK: On the disk

    package func encoded() -> [UInt8] {
        var fields: [String: JSONValue] = [
            "version": .integer(ScheduleState.version),
            "paths": .array(paths.map { .string(Hex.encode($0.bytes)) }),
        ]
        if let handled { fields["handled"] = .integer(handled.nanoseconds) }
        if let ended { fields["ended"] = .integer(ended.nanoseconds) }
        return JSONValue.object(fields).encoded()
    }

    /// What was kept; nothing when it cannot be read: a run too many is better than one too few.
    package static func decode(_ bytes: [UInt8]) -> ScheduleState {
        guard let fields = try? JSONFields(parsing: bytes, document: "the schedule's state"),
            (try? fields.integer("version", in: version...version)) != nil,
            let texts = try? fields.strings("paths", atMost: 100_000)
        else { return ScheduleState() }
        func time(_ name: String) -> Timestamp? {
            (try? fields.integer(name, in: Int64.min...Int64.max)).map { Timestamp(nanoseconds: $0) }
        }
        var state = ScheduleState(
            handled: time("handled"), paths: texts.compactMap { Hex.decode($0).map { TreePath(unchecked: $0) } })
        state.ended = time("ended")
        return state
    }
}
