package import Model
import Platform
import Synchronization
package import Vault

/// Points that are open, so that going from directory to directory does not open one anew each time.
package final class PointShelf: Sendable {
    /// An open point, for one at a time.
    package final class Open: Sendable {
        private struct Box: @unchecked Sendable {
            // Sound: only used while the lock is held.
            let reader: PointReader
        }
        private let box: Mutex<Box>

        init(_ reader: PointReader) { box = Mutex(Box(reader: reader)) }

        package func use<R: Sendable>(_ body: (PointReader) throws -> R) rethrows -> R {
            try box.withLock { try body($0.reader) }
        }
    }

    /// A point that waits for the next who looks at it.
    private struct Place: Sendable {
        let id: PointID
        let point: Open
        let vault: LocalVault
        let opened: Int64
        var used: Int64
    }

    /// What was read of a machine's points, and of which vault.
    private struct Memory: Sendable {
        let begun: Int64
        let memory: PointMemory
        weak var vault: LocalVault?
    }

    /// More are closed, the one that was used longest ago first. Each has a lease: it keeps its contents from being collected, and
    /// its vault from being let go of.
    private static let most = 16
    /// Unused for so long a point is closed, in nanoseconds.
    private static let idleAge: Int64 = 120_000_000_000

    private let vaultNow: @Sendable () throws -> LocalVault
    private let ownKeys: VaultKeys?
    private let open = Mutex<[Place]>([])
    private let lists = Mutex<[MachineID: (time: Int64, points: [PointSummary])]>([:])
    /// When something was prepared for a machine, and after how long that is worth doing again, in nanoseconds.
    private let prepared = Mutex<[MachineID: Int64]>([:])
    private static let preparedAge: Int64 = 600_000_000_000
    private let memories = Mutex<[MachineID: Memory]>([:])
    /// What was redacted meanwhile is not remembered for longer, in nanoseconds; neither is a point open for longer.
    private static let memoryAge: Int64 = 1_800_000_000_000
    /// What the series of machines protect: a series is of the same paths always.
    private let protections = Mutex<[MachineID: Protection]>([:])
    private static let mostProtections = 1_000
    private struct Protection: Sendable {
        let begun: Int64
        var paths: [UInt64: [TreePath]] = [:]
    }
    private let indexes = Mutex<[(id: MachineID, index: NameIndex)]>([])
    /// Machines whose names are kept in memory.
    private static let mostIndexes = 4
    /// A list of points is used again for so long, in nanoseconds: going through directories asks for it each time.
    private static let listAge: Int64 = 2_000_000_000

    /// - Parameters:
    ///   - keys: what opens the vault; `nil` where its owners alone can.
    ///   - vault: the vault as it is open now.
    package init(keys: VaultKeys?, vault: @escaping @Sendable () throws -> LocalVault) {
        ownKeys = keys
        vaultNow = vault
    }

    /// The vault. Throws `busy` while its catalog is being made anew.
    package var vault: LocalVault { get throws { try vaultNow() } }

    /// Throws `keyNeeded` where the server cannot open the vault.
    package func point(_ id: PointID) throws -> Open {
        let (current, now) = (try vault, SystemClock.monotonic)
        var old: [Place] = []
        // Closed when nobody holds it any more, and without the lock.
        defer { withExtendedLifetime(old) {} }
        let known = open.withLock { open -> (point: Open?, old: [Place]) in
            let old = Self.takeOut(&open) { $0.vault !== current || now - $0.opened >= Self.memoryAge }
            guard let index = open.firstIndex(where: { $0.id == id }) else { return (nil, old) }
            var found = open.remove(at: index)
            found.used = now
            open.append(found)
            return (found.point, old)
        }
        old = known.old
        if let point = known.point { return point }
        let point = Open(try PointReader(service: current, keys: try keys, point: id, acceptsUnsigned: false))
        old += open.withLock { open -> [Place] in
            // Of a vault that was let go of meanwhile nothing is kept: see `closeAll`.
            guard (try? vault) === current, !open.contains(where: { $0.id == id }) else { return [] }
            open.append(Place(id: id, point: point, vault: current, opened: now, used: now))
            return open.count > PointShelf.most ? [open.removeFirst()] : []
        }
        return point
    }

    private static func takeOut(_ open: inout [Place], where isOld: (Place) -> Bool) -> [Place] {
        let old = open.filter(isOld)
        open.removeAll(where: isOld)
        return old
    }

    /// Closes what nobody has looked at for a while or what is open for long, and forgets what was read long ago. To be called from
    /// time to time. Whoever reads a point goes on with it: it is closed when they let go of it.
    package func closeIdle(at now: Int64 = SystemClock.monotonic) {
        let idle = open.withLock { open in
            Self.takeOut(&open) { now - $0.used >= Self.idleAge || now - $0.opened >= Self.memoryAge }
        }
        withExtendedLifetime(idle) {}
        memories.withLock { $0 = $0.filter { now - $0.value.begun < Self.memoryAge } }
        protections.withLock { $0 = $0.filter { now - $0.value.begun < Self.memoryAge } }
        lists.withLock { $0 = $0.filter { now - $0.value.time < Self.listAge } }
    }

    /// Closes everything and forgets what was read, so that nothing here holds the vault: to be called when it is let go of, and can
    /// be had from here no more. Whoever reads a point goes on with it: it is closed when they let go of it.
    package func closeAll() {
        let all = open.withLock { open in Self.takeOut(&open) { _ in true } }
        withExtendedLifetime(all) {}
        memories.withLock { $0 = [:] }
        protections.withLock { $0 = [:] }
        lists.withLock { $0 = [:] }
        prepared.withLock { $0 = [:] }
    }

    /// Points that are open for the next who looks at them.
    var openCount: Int { open.withLock { $0.count } }

    /// What opens the vault. Throws `keyNeeded` where the server has none.
    package var keys: VaultKeys {
        get throws {
            guard let keys = ownKeys else {
                throw HoldfastError(
                    .keyNeeded, "This vault belongs to its owners alone: the server cannot look into it.",
                    context: ["hint": "Restore on the machine: holdfast restore PATH@TIME --to DIR."])
            }
            return keys
        }
    }

    /// One of its own, for long reading: to be closed by who asked.
    package func fresh(_ id: PointID) throws -> PointReader {
        try PointReader(service: try vault, keys: try keys, point: id, acceptsUnsigned: false)
    }

    /// The points of a machine that can be restored from, oldest first.
    package func points(of machine: MachineID) throws -> [PointSummary] {
        let now = SystemClock.monotonic
        let known = lists.withLock { lists -> [PointSummary]? in
            lists = lists.filter { now - $0.value.time < Self.listAge }
            return lists[machine]?.points
        }
        if let known { return known }
        let points = try vault.points(PointQuery(machine: machine)).filter(\.isForRestores)
        lists.withLock { $0[machine] = (now, points) }
        return points
    }

    /// The records of a machine's points, with what was read of them in the last minutes. Throws `keyNeeded` where the server cannot open
    /// them.
    package func records(of machine: MachineID) throws -> PointRecords {
        let vault = try vault
        return try PointRecords(of: machine, service: vault, keys: try keys, memory: memory(of: machine, in: vault))
    }

    /// The same for some points only, without taking the place of another machine's memory: what is known is used, and nothing else is
    /// remembered.
    package func knownRecords(of machine: MachineID) throws -> PointRecords {
        let vault = try vault
        let known = memories.withLock { memories in
            memories[machine].flatMap { $0.vault === vault ? $0.memory : nil }
        }
        return try PointRecords(of: machine, service: vault, keys: try keys, memory: known ?? PointMemory())
    }

    /// What the points of a series protect, as far as it is known.
    func protectedPaths(of series: UInt64, on machine: MachineID) -> [TreePath]? {
        protections.withLock { $0[machine]?.paths[series] }
    }

    func note(_ paths: [TreePath], of series: UInt64, on machine: MachineID) {
        protections.withLock { protections in
            if protections[machine] == nil, protections.count >= Self.mostProtections { protections = [:] }
            protections[machine, default: Protection(begun: SystemClock.monotonic)].paths[series] = paths
        }
    }

    /// Machines of which something is remembered.
    var remembered: Set<MachineID> { memories.withLock { Set($0.keys) } }

    private func memory(of machine: MachineID, in vault: LocalVault) -> PointMemory {
        let now = SystemClock.monotonic
        return memories.withLock { memories in
            memories = memories.filter { now - $0.value.begun < Self.memoryAge && $0.value.vault === vault }
            if let known = memories[machine] { return known.memory }
            if memories.count >= Self.mostIndexes, let oldest = memories.min(by: { $0.value.begun < $1.value.begun }) {
                memories[oldest.key] = nil
            }
            let memory = PointMemory()
            memories[machine] = Memory(begun: now, memory: memory, vault: vault)
            return memory
        }
    }

    /// Reads in the background what looking for names and versions will need, when somebody begins to look at the files of a machine:
    /// with thousands of points that takes seconds, which they spend with the first directories.
    package func prepare(_ machine: MachineID) {
        let now = SystemClock.monotonic
        let isDue = prepared.withLock { prepared in
            if let last = prepared[machine], now - last < Self.preparedAge { return false }
            prepared[machine] = now
            return true
        }
        guard isDue else { return }
        // Whoever needs it does it, where there can be no thread.
        _ = try? WorkerThread(name: "prepare", stack: 16 << 20) { [self] in
            // What cannot be read now is told to who looks for it.
            guard let points = try? points(of: machine), let records = try? records(of: machine) else { return }
            records.openAhead(points)
            let history = VersionHistory(path: .root, records: records)
            for point in points { _ = try? history.next(point) }
            names(of: machine).prepare(points: points, records: records)
        }
    }

    /// The names of all that a machine ever had.
    package func names(of machine: MachineID) -> NameIndex {
        indexes.withLock { indexes in
            let index: NameIndex
            if let place = indexes.firstIndex(where: { $0.id == machine }) {
                index = indexes.remove(at: place).index
            } else {
                index = NameIndex()
            }
            indexes.append((machine, index))
            if indexes.count > Self.mostIndexes { indexes.removeFirst() }
            return index
        }
    }
}
