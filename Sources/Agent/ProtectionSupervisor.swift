package import Model
import Platform
package import Policy
import Synchronization
package import Vault

/// What protects paths continuously: an agent.
package protocol ContinuousProtection: AnyObject, Sendable {
    func start() throws
    func captureNow(seconds: Int) throws -> CommittedPoint?
    @discardableResult
    func stop(seconds: Int) -> Bool
    var status: AgentStatus { get }
}

extension AgentService: ContinuousProtection {}

/// Makes what a policy says true: an agent for the continuous paths, which is replaced when they change, and scheduled backups
/// beside it.
///
/// An agent that takes the place of another begins with a scan: what changed between the two is found by it.
package final class ProtectionSupervisor: Sendable {
    /// How it works on this machine.
    package struct Means: Sendable {
        package var makeAgent: @Sendable (ProtectionPlan, ProtectionPlan.Part) throws -> any ContinuousProtection
        /// Makes the work of a scheduled run, whose point gets the labels.
        package var makeRun: @Sendable (ProtectionPlan.Part, _ labels: [String]) throws -> any ScheduledRun
        /// Where a path leads; `nil` when it is not there.
        package var resolve: @Sendable ([UInt8]) -> [UInt8]?
        /// The zone of this machine's own clock.
        package var local: @Sendable () -> TimeZoneRules
        package var zones: ZoneSource
        package var wall: @Sendable () -> Timestamp = { Timestamp(nanoseconds: SystemClock.wall) }
        /// Hears of each plan before it holds.
        package var applied: @Sendable (ProtectionPlan) -> Void = { _ in }

        package init(
            makeAgent: @escaping @Sendable (ProtectionPlan, ProtectionPlan.Part) throws -> any ContinuousProtection,
            makeRun: @escaping @Sendable (ProtectionPlan.Part, _ labels: [String]) throws -> any ScheduledRun,
            resolve: @escaping @Sendable ([UInt8]) -> [UInt8]?, local: @escaping @Sendable () -> TimeZoneRules,
            zones: ZoneSource
        ) {
            self.makeAgent = makeAgent
            self.makeRun = makeRun
            self.resolve = resolve
            self.local = local
            self.zones = zones
        }
    }

    private struct State {
        var policy: EffectivePolicy?
        /// Where the policy comes from, for people.
        var source = ""
        /// Counts policies, and what else asks for another look.
        var wanted: UInt64 = 0
        var done: UInt64 = 0
        var plan: ProtectionPlan?
        var agent: (any ContinuousProtection)?
        /// Why what the policy says is not so.
        var problem: String?
        /// Why the newest policy is not the one that holds.
        var policyProblem: String?
        /// By the machine's user; `nil` when not. `.max` is without end.
        var pausedUntil: Int64?
        var isStopping = false
    }

    /// Paths that were not there and zones of the clock are looked at so often, in nanoseconds.
    private static let look: Int64 = 60_000_000_000
    /// An agent that could not begin is tried again after this.
    private static let pause: Int64 = 15_000_000_000

    private let means: Means
    private let schedule: ScheduleRunner
    private let state = Monitor(State())
    private let thread = Mutex<WorkerThread?>(nil)

    package init(_ state: StateDirectory, vault: VaultID, machine: MachineID, means: Means) {
        self.means = means
        schedule = ScheduleRunner(state, vault: vault, machine: machine, wall: means.wall, make: means.makeRun)
    }

    package func start() throws {
        try schedule.start()
        do throws(Errno) {
            let worker = try WorkerThread(name: "policy") { [self] in run() }
            thread.withLock { $0 = worker }
        } catch {
            schedule.stop()
            throw HoldfastError(.io, "protection cannot begin: \(error)", cause: error)
        }
    }

    /// What holds from now on; what it means is done soon afterwards.
    package func apply(_ policy: EffectivePolicy, from source: String) {
        state.update { state in
            state.policy = policy
            state.source = source
            state.policyProblem = nil
            state.wanted += 1
        }
    }

    /// Says why a newer policy cannot hold; the one before does.
    package func refuse(_ problem: String?) { state.update { $0.policyProblem = problem } }

    /// Waits until the newest policy holds, or `nanoseconds` have passed. Whether it does.
    @discardableResult
    package func settle(nanoseconds: Int64) -> Bool {
        state.waitUntil({ $0.done == $0.wanted && $0.plan != nil }, nanoseconds: nanoseconds)
    }

    /// Stores everything that has changed, and runs what has a schedule.
    package func backUpNow() {
        schedule.runNow()
        // What has changed is on its way already; this does not wait for it to settle.
        guard let agent = state.withLock({ $0.agent }) else { return }
        _ = try? WorkerThread(name: "now") { _ = try? agent.captureNow(seconds: 3_600) }
    }

    /// Stores what has changed of the continuous paths, and waits for it.
    package func captureNow(seconds: Int) throws {
        let (agent, hasSchedule) = state.withLock { ($0.agent, $0.plan?.scheduled != nil) }
        guard let agent else {
            if hasSchedule { return schedule.runNow() }
            throw HoldfastError(.notFound, "Nothing is protected now: \(explanation)")
        }
        _ = try agent.captureNow(seconds: seconds)
    }

    private var explanation: String {
        state.withLock { state in
            if state.pausedUntil != nil { return "protection is paused." }
            if let problem = state.problem ?? state.policyProblem { return problem }
            return state.policy == nil ? "there is no policy yet." : "the policy protects no path that is there."
        }
    }

    /// Stops protecting for so long, or until `resume`. Throws `forbidden` when the policy does not allow that.
    package func pause(nanoseconds: Int64?) throws {
        let now = SystemClock.monotonic
        let isLocked = state.update { state -> Bool in
            if state.policy?.isLocked(.pause) ?? false { return true }
            state.pausedUntil = nanoseconds.map { now + $0 } ?? .max
            state.wanted += 1
            return false
        }
        if isLocked {
            throw HoldfastError(
                .forbidden, "The policy of this machine does not allow protection to be paused.",
                context: ["hint": "`holdfast policy effective` says which policy locks it."])
        }
        schedule.pause(true)
    }

    /// Goes on protecting.
    package func resume() {
        state.update { state in
            state.pausedUntil = nil
            state.wanted += 1
        }
        schedule.pause(false)
    }

    /// Ends protection. What is known to have changed is stored if that takes at most `seconds`.
    ///
    /// - Returns: whether everything is stored.
    @discardableResult
    package func stop(seconds: Int) -> Bool {
        state.update { $0.isStopping = true }
        thread.withLock { thread in
            defer { thread = nil }
            return thread
        }?.join()
        schedule.stop()
        let agent = state.update { state in
            defer { state.agent = nil }
            return state.agent
        }
        return agent?.stop(seconds: seconds) ?? true
    }

    // MARK: The thread

    private func run() {
        var retryAt: Int64 = .max
        while true {
            let now = SystemClock.monotonic
            let left = max(min(retryAt - now, ProtectionSupervisor.look), 0)
            _ = state.waitUntil(
                { $0.isStopping || $0.done != $0.wanted }, nanoseconds: left)
            let (policy, wanted, isStopping, isOver) = state.withLock { state in
                (
                    state.policy, state.wanted, state.isStopping,
                    state.pausedUntil.map { $0 <= SystemClock.monotonic } ?? false
                )
            }
            if isStopping { return }
            if isOver { resume() }
            guard let policy else {
                state.update { $0.done = wanted }
                continue
            }
            let plan = ProtectionPlan(policy, local: means.local(), zones: means.zones, resolve: means.resolve)
            do {
                try make(plan)
                retryAt = .max
                state.update { $0.problem = nil }
            } catch {
                retryAt = SystemClock.monotonic + ProtectionSupervisor.pause
                state.update { $0.problem = (error as? HoldfastError)?.message ?? "\(error)" }
            }
            state.update { state in
                state.plan = plan
                state.done = wanted
            }
        }
    }

    private func make(_ plan: ProtectionPlan) throws {
        let (old, agent, isPaused) = state.withLock { ($0.plan, $0.agent, $0.pausedUntil != nil) }
        if old != plan { means.applied(plan) }
        schedule.apply(plan)
        let wanted = isPaused ? nil : plan.continuous
        if agent != nil, wanted != nil, old?.continuousSetting == plan.continuousSetting { return }
        if let agent {
            // Nobody asks one that ends.
            state.update { $0.agent = nil }
            agent.stop(seconds: 5)
        }
        guard let wanted else { return }
        let next = try means.makeAgent(plan, wanted)
        try next.start()
        state.update { $0.agent = next }
    }

    // MARK: How it stands

    /// The agent that protects now; `nil` while there is none.
    package var agent: (any ContinuousProtection)? { state.withLock { $0.agent } }

    /// The agent's, or that of one that has nothing to do.
    package var status: AgentStatus {
        let (agent, isPaused) = state.withLock { ($0.agent, $0.pausedUntil != nil) }
        if let agent { return agent.status }
        var status = AgentStatus()
        status.activity = isPaused ? .paused : .idle
        return status
    }

    /// As `status`, with what else keeps the policy from being true as its problem: the server knows of nothing but what it
    /// is told, and takes a machine without a problem and without lag for a protected one.
    package var reported: AgentStatus {
        var status = status
        if status.problem == nil { status.problem = shortfall }
        return status
    }

    /// Pauses that end sooner are the user's own affair, in nanoseconds.
    private static let longPause: Int64 = 86_400_000_000_000

    /// Why what the policy says is not so; `nil` when it is.
    private var shortfall: String? {
        let scheduled = schedule.status.memory.problem
        let now = SystemClock.monotonic
        return state.withLock { state in
            if let until = state.pausedUntil {
                return until - now > ProtectionSupervisor.longPause
                    ? "Protection was paused on the machine for more than a day." : nil
            }
            if let problem = state.problem { return "The policy cannot be followed: \(problem)" }
            if let problem = state.policyProblem { return "The newest policy cannot be used: \(problem)" }
            if let scheduled { return "The scheduled backup failed: \(scheduled)" }
            return ProtectionSupervisor.nothing(state)
        }
    }

    /// Why nothing is protected; `nil` when something is.
    private static func nothing(_ state: State) -> String? {
        guard state.policy != nil else { return "Nothing is protected: there is no policy yet." }
        guard let plan = state.plan, plan.continuous == nil, plan.scheduled == nil else { return nil }
        if plan.missing.isEmpty { return "Nothing is protected: the policy names no path." }
        let names = plan.missing.prefix(3).map(\.displayText).joined(separator: ", ")
        return "Nothing is protected: of what the policy names nothing is there (\(names))."
    }

    /// What the machine's own user may not do.
    package var lockdown: Set<LockedAction> { state.withLock { Set($0.policy?.lockdown.map(\.value) ?? []) } }

    /// The paths that the policy protects, as it names them.
    package var protectedPaths: [[UInt8]] { state.withLock { $0.policy?.protect.map(\.value.path) ?? [] } }

    /// For the socket: the agent's fields, and those of policy and schedule.
    package var fields: [String: JSONValue] {
        var fields = status.fields
        let (memory, next, isRunning, hasPaths) = schedule.status
        let now = SystemClock.monotonic
        state.withLock { state in
            var policy: [String: JSONValue] = ["source": .string(state.source)]
            if let plan = state.plan {
                policy["missing"] = .array(plan.missing.map { .string($0.displayText) })
                policy["zone"] = .string(plan.zone.identifier)
                if let part = plan.scheduled {
                    policy["scheduled"] = .array(part.roots.map { .string($0.displayText) })
                    policy["schedule"] = .string(plan.schedule.description)
                }
                if !plan.limits.windows.isEmpty {
                    policy["limits"] = .array(plan.limits.windows.map { .string($0.description) })
                }
            }
            if let problem = state.policyProblem ?? state.problem { policy["problem"] = .string(problem) }
            if state.pausedUntil == nil, state.problem == nil, let nothing = ProtectionSupervisor.nothing(state) {
                policy["nothing"] = .string(nothing)
            }
            if let until = state.pausedUntil {
                policy["paused"] = .integer(until == .max ? -1 : max(until - now, 0))
            }
            fields["policy"] = .object(policy)
        }
        if hasPaths {
            var row: [String: JSONValue] = ["running": .bool(isRunning)]
            if let next { row["next"] = .integer(next.start.nanoseconds) }
            if let ended = memory.ended { row["last"] = .integer(ended.nanoseconds) }
            if let problem = memory.problem { row["problem"] = .string(problem) }
            fields["schedule"] = .object(row)
        }
        return fields
    }
}
