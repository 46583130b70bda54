import Model
import Platform
import Synchronization
import Vault

/// Which machines and points there are, asked again when somebody looks: new points appear, removed ones go.
final class VaultIndex: Sendable {
    private struct Points {
        var names: PointNames
        /// When the vault was asked for the newest, and for all, by the monotonic clock.
        var checked: Int64
        var read: Int64
    }

    private struct State {
        var machines: (names: MachineNames, read: Int64)?
        var points: [MachineID: Points] = [:]
        /// The last question that was not answered.
        var failure: (error: any Error, time: Int64)?
    }

    /// What was asked is not asked again for so long, in nanoseconds.
    static let age: Int64 = 2_000_000_000
    /// So long nobody notices that a point was removed. The whole list is long where there are many.
    private static let listAge: Int64 = 20_000_000_000

    private let service: any VaultService
    private let only: MachineID?
    private let findsStrangers: Bool
    private let zone: TimeZoneRules
    private let complaints: Complaints
    private let state = Mutex(State())

    /// - Parameters:
    ///   - only: shows this machine and no other.
    ///   - findsStrangers: shows also machines of which the vault has only points.
    init(
        service: any VaultService, only: MachineID?, findsStrangers: Bool, zone: TimeZoneRules, complaints: Complaints
    ) {
        self.service = service
        self.only = only
        self.findsStrangers = findsStrangers
        self.zone = zone
        self.complaints = complaints
    }

    /// Throws what the vault throws when nothing was ever known.
    func machines() throws -> MachineNames {
        try state.withLock { state in
            let now = SystemClock.monotonic
            if let known = state.machines, now - known.read < Self.age { return known.names }
            let names = try ask(&state, old: state.machines?.names) {
                var known = try service.machineRecords().mapValues { (name: $0.name, joined: $0.joined) }
                if findsStrangers {
                    for machine in Set(try service.points(PointQuery()).map(\.machine)) where known[machine] == nil {
                        known[machine] = ("", Timestamp(nanoseconds: 0))
                    }
                }
                return MachineNames(known.filter { only == nil || $0.key == only })
            }
            // The lists of points go by their own age.
            state.machines = (names, findsStrangers ? now + Self.listAge : now)
            return names
        }
    }

    /// The points of a machine that files can be restored from.
    func points(of machine: MachineID) throws -> PointNames {
        try state.withLock { state in
            let now = SystemClock.monotonic
            let known = state.points[machine]
            if let known, now - known.checked < Self.age { return known.names }
            var hasNew = known == nil || now - (known?.read ?? now) > Self.listAge
            let names = try ask(&state, old: known?.names) {
                if !hasNew, let known {
                    let newest = try service.points(PointQuery(machine: machine, newest: 1)).last { $0.isForRestores }
                    // The newest may be a checkpoint, which says nothing.
                    hasNew = newest == nil || newest?.id != known.names.points.last?.id
                }
                if !hasNew, let known { return known.names }
                let points = try service.points(PointQuery(machine: machine)).filter(\.isForRestores)
                if let known, known.names.points == points { return known.names }
                return PointNames(points, zone: zone)
            }
            state.points[machine] = Points(names: names, checked: now, read: hasNew ? now : known?.read ?? now)
            return names
        }
    }

    /// The points of a machine as they were asked for last; `nil` when nobody has asked yet.
    func known(_ machine: MachineID) -> PointNames? { state.withLock { $0.points[machine]?.names } }

    /// Asks the vault. One that is away is not asked again and again by everybody who looks; what was known stays.
    private func ask<T>(_ state: inout State, old: T?, _ question: () throws -> T) throws -> T {
        let now = SystemClock.monotonic
        if let failure = state.failure, now - failure.time < 3_000_000_000 {
            if let old { return old }
            throw failure.error
        }
        do {
            let answer = try question()
            state.failure = nil
            return answer
        } catch {
            state.failure = (error, SystemClock.monotonic)
            complaints.away(error)
            if let old { return old }
            throw error
        }
    }
}
