package import Client
package import Model
import Platform
import Synchronization
package import Vault

/// Where a machine's orders come from.
package protocol OrderSource: AnyObject, Sendable {
    /// See `ServerOrders.policy(zone:)`.
    func policy(zone: String) throws -> SignedPolicy
    /// See `ServerOrders.orders(policy:done:restores:wait:)`.
    func orders(policy: Bytes32?, done: [RequestNonce], restores: String?, wait: Int) throws -> MachineOrders
}

extension ServerOrders: OrderSource {}

/// The policy that a machine has heard of last, kept in its state directory: what holds while the server is away.
package struct KeptPolicy: Sendable {
    private static let folder = "policy"
    private static let maximumLength = 2 * PolicyDocument.maximumLength
    private let state: StateDirectory
    private let server: ServerID
    private let key: VerifyingKey
    private let machine: MachineID
    private var name: String { "\(server.hex).json" }

    package init(_ state: StateDirectory, server: ServerID, key: VerifyingKey, machine: MachineID) {
        self.state = state
        self.server = server
        self.key = key
        self.machine = machine
    }

    /// What is kept; `nil` when there is nothing, or nothing that the server has signed for this machine.
    package func load() -> PolicyDocument? {
        guard let bytes = (try? state.document(name, in: KeptPolicy.folder, atMost: KeptPolicy.maximumLength)) ?? nil
        else { return nil }
        return try? SignedPolicy.decode(bytes).open(key, machine: machine)
    }

    package func open(_ signed: SignedPolicy) throws -> PolicyDocument { try signed.open(key, machine: machine) }

    package func keep(_ signed: SignedPolicy) throws {
        try state.keep(signed.encoded(), as: name, in: KeptPolicy.folder)
    }
}

/// Hears of new policies and commands of the server, and passes them on.
///
/// It asks and is kept waiting until there is something new. Where something on the way cuts such requests off, it asks every
/// half minute instead.
package final class PolicyFollower: Sendable {
    private struct State {
        var isStopping = false
        var problem: String?
    }

    /// How patient it is; tests are less so.
    package struct Pace: Sendable {
        /// Seconds that one question may wait on the server.
        package var wait = MachineOrders.longestWait
        /// Nanoseconds between questions where long ones are cut off, and how long that is believed.
        package var plain: Int64 = 30_000_000_000
        package var plainFor: Int64 = 1_800_000_000_000
        /// The longest pause after failures, in nanoseconds.
        package var longestPause: Int64 = 60_000_000_000
        /// How long the machine has slept since its start, in nanoseconds.
        var asleep = SleepClock.system

        package init() {}
    }

    private let source: any OrderSource
    private let kept: KeptPolicy
    private let pace: Pace
    private let zone: @Sendable () -> String
    private let apply: @Sendable (PolicyDocument) throws -> Void
    private let command: @Sendable (MachineOrders.Command) -> Void
    private let restores: (@Sendable ([RestoreOrder]) -> Void)?
    private let state = Monitor(State())

    /// - Parameters:
    ///   - zone: the IANA name of this machine's zone.
    ///   - apply: makes a policy hold; what it throws says why it cannot, and the one before is kept.
    ///   - command: does what the server says; must not take long.
    ///   - restores: hears of the restores that are to be done or are being done, whenever something about them is new; must
    ///     not take long. `nil`: this machine does none.
    package init(
        _ source: any OrderSource, kept: KeptPolicy, pace: Pace = Pace(), zone: @escaping @Sendable () -> String,
        apply: @escaping @Sendable (PolicyDocument) throws -> Void,
        command: @escaping @Sendable (MachineOrders.Command) -> Void,
        restores: (@Sendable ([RestoreOrder]) -> Void)? = nil
    ) {
        self.source = source
        self.kept = kept
        self.pace = pace
        self.zone = zone
        self.apply = apply
        self.command = command
        self.restores = restores
    }

    /// Begins. A policy that is kept holds when this returns.
    package func start() throws {
        var known: Bytes32?
        if let document = kept.load(), (try? apply(document)) != nil { known = document.revision }
        let first = known
        do throws(Errno) {
            // Nobody waits for the end of this thread: a question may wait on the server for long.
            _ = try WorkerThread(name: "orders") { [self] in run(first) }
        } catch {
            throw HoldfastError(.io, "the server's orders cannot be heard: \(error)", cause: error)
        }
    }

    /// Nothing is passed on any more.
    package func stop() { state.update { $0.isStopping = true } }

    /// Why the server could not be asked the last time; `nil` when it could.
    package var problem: String? { state.withLock { $0.problem } }

    private func run(_ first: Bytes32?) {
        var known = first
        var done: [RequestNonce] = []
        // Nothing that was known before this start counts: what is under way is told.
        var ordered = restores.map { _ in "" }
        var hasToldRestores = false
        var failures = 0
        var cuts = 0
        var plainUntil: Int64 = .min
        while !state.withLock({ $0.isStopping }) {
            let begun = SystemClock.monotonic
            let isPlain = begun < plainUntil
            do {
                let orders = try source.orders(
                    policy: known, done: done, restores: ordered, wait: isPlain ? 0 : pace.wait)
                failures = 0
                cuts = isPlain ? cuts : 0
                if state.withLock({ $0.isStopping }) { return }
                done = []
                if orders.policy != known { known = try follow() }
                for order in orders.commands {
                    command(order)
                    done.append(order.id)
                }
                if let restores, let told = orders.restores {
                    let digest = told.orders.isEmpty ? "" : told.digest
                    // The first answer counts in any case: what has ended meanwhile is in no list.
                    if digest != ordered || !hasToldRestores { restores(told.orders) }
                    hasToldRestores = true
                    ordered = digest
                }
                state.update { $0.problem = nil }
                if isPlain, done.isEmpty { rest(Int64.random(in: (pace.plain / 2)...pace.plain)) }
            } catch {
                failures += 1
                let message = (error as? HoldfastError)?.message ?? "\(error)"
                state.update { $0.problem = message }
                // A question that was let wait for a while and then failed was cut off, if a short one is answered.
                let waited = SystemClock.monotonic - begun
                if !isPlain, waited > 1_000_000_000,
                    (try? source.orders(policy: known, done: done, restores: ordered, wait: 0)) != nil
                {
                    cuts += 1
                    failures = 0
                    if cuts >= 2 { plainUntil = SystemClock.monotonic + pace.plainFor }
                    continue
                }
                let pause = min(1_000_000_000 << min(Int64(failures - 1), 10), pace.longestPause)
                if rest(Int64.random(in: (pause / 2)...max(pause, 1))) { failures = 0 }
            }
        }
    }

    /// Fetches the policies and makes them hold. Answers their revision, also when they cannot hold: they are not fetched
    /// again and again.
    private func follow() throws -> Bytes32 {
        let signed = try source.policy(zone: zone())
        let document = try kept.open(signed)
        if state.withLock({ $0.isStopping }) { return document.revision }
        do { try apply(document) } catch { return document.revision }
        // It holds. When it cannot be kept, the next start hears of it again.
        _ = try? kept.keep(signed)
        return document.revision
    }

    /// Waits; less long when the machine slept meanwhile, which it answers.
    @discardableResult
    private func rest(_ nanoseconds: Int64) -> Bool {
        let end = SystemClock.monotonic + nanoseconds
        var clock = SleepClock(pace.asleep)
        while true {
            let left = end - SystemClock.monotonic
            if left <= 0 { return false }
            if state.waitUntil({ $0.isStopping }, nanoseconds: min(left, SleepClock.glance)) { return false }
            if clock.look() != nil { return true }
        }
    }
}
