import Catalog
import Model
import Platform
import Server
import Synchronization
import Vault

/// Points that are open, so that going from directory to directory does not open one anew each time.
final class PointShelf: Sendable {
    /// An open point, for one at a time.
    final class Open: Sendable {
        private struct Box: @unchecked Sendable {
            // Sound: only used while the lock is held.
            let reader: PointReader
        }
        private let box: Mutex<Box>

        init(_ reader: PointReader) { box = Mutex(Box(reader: reader)) }

        func use<R: Sendable>(_ body: (PointReader) throws -> R) rethrows -> R {
            try box.withLock { try body($0.reader) }
        }
    }

    /// More are closed, the one that was used longest ago first. Each has a lease: it keeps its contents from being collected.
    private static let most = 16

    private let core: ServerCore
    private let open = Mutex<[(id: PointID, point: Open)]>([])
    private let lists = Mutex<[MachineID: (time: Int64, points: [PointSummary])]>([:])
    private let indexes = Mutex<[(id: MachineID, index: NameIndex)]>([])
    /// Machines whose names are kept in memory.
    private static let mostIndexes = 4
    /// A list of points is used again for so long, in nanoseconds: going through directories asks for it each time.
    private static let listAge: Int64 = 2_000_000_000

    init(_ core: ServerCore) { self.core = core }

    /// Throws `keyNeeded` where the server cannot open the vault.
    func point(_ id: PointID) throws -> Open {
        let known = open.withLock { open -> Open? in
            guard let index = open.firstIndex(where: { $0.id == id }) else { return nil }
            let found = open.remove(at: index)
            open.append(found)
            return found.point
        }
        if let known { return known }
        let reader = try fresh(id)
        let point = Open(reader)
        open.withLock { open in
            if open.contains(where: { $0.id == id }) { return }
            open.append((id, point))
            if open.count > PointShelf.most { open.removeFirst() }
        }
        return point
    }

    /// What opens the vault. Throws `keyNeeded` where the server has none.
    var keys: VaultKeys {
        get throws {
            guard let keys = core.keys else {
                throw HoldfastError(
                    .keyNeeded, "This vault belongs to its owners alone: the server cannot look into it.",
                    context: ["hint": "Restore on the machine: holdfast restore PATH@TIME --to DIR."])
            }
            return keys
        }
    }

    /// One of its own, for long reading: to be closed by who asked.
    func fresh(_ id: PointID) throws -> PointReader {
        try PointReader(service: try core.vault, keys: try keys, point: id, acceptsUnsigned: false)
    }

    /// The points of a machine that can be restored from, oldest first.
    func points(of machine: MachineID) throws -> [PointSummary] {
        let now = SystemClock.monotonic
        let known = lists.withLock { lists -> [PointSummary]? in
            lists = lists.filter { now - $0.value.time < Self.listAge }
            return lists[machine]?.points
        }
        if let known { return known }
        let points = try core.vault.points(PointQuery(machine: machine)).filter(\.isForRestores)
        lists.withLock { $0[machine] = (now, points) }
        return points
    }

    /// The names of all that a machine ever had.
    func names(of machine: MachineID) -> NameIndex {
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
