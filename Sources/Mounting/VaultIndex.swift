import Model
import Platform
import Vault

/// Which machines and points there are, asked again when somebody looks: new points appear, removed ones go.
final class VaultIndex: Sendable {
    private struct Points {
        var names: PointNames
        /// When the vault was asked for the newest, and for all, by the monotonic clock.
        var checked: Int64
        var read: Int64
    }

    private enum Question: Hashable {
        case machines
        case points(MachineID)
    }

    private struct State {
        var machines: (names: MachineNames, read: Int64)?
        var points: [MachineID: Points] = [:]
        /// What is asked just now, and since when: each by one thread, which holds no lock meanwhile.
        var asking: [Question: Int64] = [:]
        /// The last question that was not answered.
        var failure: (error: any Error, time: Int64)?
    }

    /// What was asked is not asked again for so long, in nanoseconds.
    private let age: Int64
    /// So long nobody notices that a point was removed. The whole list is long where there are many.
    private static let listAge: Int64 = 20_000_000_000
    /// A vault that did not answer is not asked again for so long.
    private static let pause: Int64 = 3_000_000_000
    /// Who knows something older does not wait longer for what another asks.
    private static let patience: Int64 = 1_000_000_000

    private let service: any VaultService
    private let only: MachineID?
    private let findsStrangers: Bool
    private let zone: TimeZoneRules
    private let complaints: Complaints
    private let state = Monitor(State())

    /// - Parameters:
    ///   - only: shows this machine and no other.
    ///   - findsStrangers: shows also machines of which the vault has only points.
    init(
        service: any VaultService, only: MachineID?, findsStrangers: Bool, zone: TimeZoneRules, complaints: Complaints,
        age: Int64 = 2_000_000_000
    ) {
        self.age = age
        self.service = service
        self.only = only
        self.findsStrangers = findsStrangers
        self.zone = zone
        self.complaints = complaints
    }

    /// Throws what the vault throws when nothing was ever known.
    func machines() throws -> MachineNames {
        let known = try told(.machines) { state in state.machines.map { ($0.names, $0.read) } }
        if let known { return known }
        return try ask(.machines) {
            var known = try service.machineRecords().mapValues { (name: $0.name, joined: $0.joined) }
            if findsStrangers {
                for machine in Set(try service.points(PointQuery()).map(\.machine)) where known[machine] == nil {
                    known[machine] = ("", Timestamp(nanoseconds: 0))
                }
            }
            return MachineNames(known.filter { only == nil || $0.key == only })
        } keep: { state, names, now in
            // The lists of points go by their own age.
            state.machines = (names, findsStrangers ? now + Self.listAge : now)
        } known: {
            $0.machines?.names
        }
    }

    /// The points of a machine that files can be restored from.
    func points(of machine: MachineID) throws -> PointNames {
        let told = try told(.points(machine)) { state in state.points[machine].map { ($0.names, $0.checked) } }
        if let told { return told }
        let known = state.withLock { $0.points[machine] }
        var hasNew = known.map { SystemClock.monotonic - $0.read > Self.listAge } ?? true
        return try ask(.points(machine)) {
            if !hasNew, let known {
                let newest = try service.points(PointQuery(machine: machine, newest: 1)).last { $0.isForRestores }
                // The newest may be a checkpoint, which says nothing.
                hasNew = newest == nil || newest?.id != known.names.points.last?.id
            }
            if !hasNew, let known { return known.names }
            let points = try service.points(PointQuery(machine: machine)).filter(\.isForRestores)
            if let known, known.names.points == points { return known.names }
            return PointNames(points, zone: zone)
        } keep: { state, names, now in
            state.points[machine] = Points(names: names, checked: now, read: hasNew ? now : known?.read ?? now)
        } known: {
            $0.points[machine]?.names
        }
    }

    /// The points of a machine as they were asked for last; `nil` when nobody has asked yet.
    func known(_ machine: MachineID) -> PointNames? { state.withLock { $0.points[machine]?.names } }

    // MARK: Asking

    /// What can be told without asking; `nil` when it is on whoever calls to `ask`, alone.
    ///
    /// While somebody asks the others wait, and no longer than is usual when something is known: with a vault that is away all
    /// who look would wait out the time limits of connections, and with them the threads that read files.
    private func told<T>(_ question: Question, _ known: (State) -> (value: T, checked: Int64)?) throws -> T? {
        while true {
            var outcome: Result<T?, any Error>?
            state.waitUntil(
                { state in
                    outcome = step(question, &state, known(state))
                    return outcome != nil
                }, nanoseconds: Self.patience)
            if let outcome { return try outcome.get() }
        }
    }

    /// The answer, `nil` as a value for who is to ask, or `nil` as a whole for who has to wait.
    private func step<T>(
        _ question: Question, _ state: inout State, _ known: (value: T, checked: Int64)?
    ) -> Result<T?, any Error>? {
        let now = SystemClock.monotonic
        if let known, now - known.checked < age { return .success(known.value) }
        // One that is away is not asked again and again by everybody who looks; what was known stays.
        if let failure = state.failure, now - failure.time < Self.pause {
            return known.map { .success($0.value) } ?? .failure(failure.error)
        }
        // After one that failed nobody counts on an answer any more.
        let patience = state.failure == nil ? Self.patience : 0
        if let known, state.asking.values.contains(where: { now - $0 >= patience }) { return .success(known.value) }
        if state.asking[question] != nil { return nil }
        state.asking[question] = now
        return .success(nil)
    }

    /// Asks the vault, after `told` has said so.
    private func ask<T>(
        _ question: Question, _ body: () throws -> T, keep: (inout State, T, Int64) -> Void,
        known: (State) -> T?
    ) throws -> T {
        do {
            let answer = try body()
            state.update { state in
                state.asking[question] = nil
                state.failure = nil
                keep(&state, answer, SystemClock.monotonic)
            }
            return answer
        } catch {
            let old = state.update { state in
                state.asking[question] = nil
                state.failure = (error, SystemClock.monotonic)
                return known(state)
            }
            complaints.away(error)
            if let old { return old }
            throw error
        }
    }
}
