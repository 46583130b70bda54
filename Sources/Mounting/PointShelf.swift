import Model
import Platform
import Synchronization
import Vault

/// A point as it is called in the file system.
final class PointPlace: Sendable {
    let id: PointID
    let machine: MachineID
    /// The names of the machine and of the point, for messages.
    let title: String
    /// By the vault.
    let time: Timestamp

    init(id: PointID, machine: MachineID, title: String, time: Timestamp) {
        self.id = id
        self.machine = machine
        self.title = title
        self.time = time
    }
}

/// What is known of points as long as somebody has it: the kernel, by the nodes that it remembers, or a list that is read. A vault
/// that is mounted for months has had many points that nobody asks for any more.
final class PlaceTable: Sendable {
    private struct Weak {
        weak var place: PointPlace?
    }

    private struct State {
        var places: [PointID: Weak] = [:]
        /// At so many those that nobody has are taken out.
        var limit = PlaceTable.least
    }

    private static let least = 1_024
    private let state = Mutex(State())

    func find(_ id: PointID) -> PointPlace? { state.withLock { $0.places[id]?.place } }

    /// The value that all have: this one, unless somebody was quicker.
    func keep(_ place: PointPlace) -> PointPlace {
        state.withLock { state in
            if let known = state.places[place.id]?.place { return known }
            if state.places.count >= state.limit {
                state.places = state.places.filter { $0.value.place != nil }
                state.limit = max(Self.least, state.places.count * 2)
            }
            state.places[place.id] = Weak(place: place)
            return place
        }
    }

    var count: Int { state.withLock { $0.places.count } }
}

/// Points that are open, so that going from file to file does not open one anew each time.
///
/// A thread of its own closes those that were not used for a while, so that a vault that is mounted for weeks does not keep what
/// retention has removed, and takes new leases, so that a server that was restarted knows of them again.
final class PointShelf: Sendable {
    /// More are closed, the one that was used longest ago first. A server lets a machine have 64 leases.
    private static let most = 16
    /// Unused for so long a point is closed, in nanoseconds.
    private static let idle: Int64 = 300_000_000_000
    private static let leaseAge: Int64 = 60_000_000_000
    /// Begins to give no lease back so long after the end: those of a server that is away end by themselves.
    private static let lastWait: Int64 = 5_000_000_000

    private struct State {
        var open: [PointID: OpenPoint] = [:]
        /// Points that somebody opens now.
        var opening: Set<PointID> = []
        var isStopped = false
        var leasesTaken = SystemClock.monotonic
    }

    private let service: any VaultService
    private let keys: any PointOpener
    private let acceptsUnsigned: Bool
    private let renewsLeases: Bool
    private let cache: BlobCache
    private let bin = ReaderBin()
    private let state = Monitor(State())
    private let thread = Mutex<WorkerThread?>(nil)

    /// - Parameter renewsLeases: the service is a server, which forgets leases when it is restarted.
    init(
        service: any VaultService, keys: any PointOpener, acceptsUnsigned: Bool, renewsLeases: Bool, cache: BlobCache
    ) {
        self.service = service
        self.keys = keys
        self.acceptsUnsigned = acceptsUnsigned
        self.renewsLeases = renewsLeases
        self.cache = cache
    }

    func start() throws {
        let worker = try WorkerThread(name: "points") { [self] in keep() }
        thread.withLock { $0 = worker }
    }

    /// Closes everything. What reads on meanwhile gets errors.
    func stop() {
        state.update { $0.isStopped = true }
        thread.withLock { thread in
            defer { thread = nil }
            return thread
        }?.join()
        // Their readers go into the bin with them, after the last time that the thread has emptied it.
        state.update { $0.open = [:] }
        bin.empty(until: SystemClock.monotonic + Self.lastWait)
    }

    /// Throws `notFound` when the vault does not have the point any more.
    func open(_ place: PointPlace) throws -> OpenPoint {
        let known: OpenPoint? = state.wait { state in
            if let point = state.open[place.id] { return .some(point) }
            // Two who come at the same time need one lease.
            if state.opening.contains(place.id) { return nil }
            state.opening.insert(place.id)
            return .some(nil)
        }
        if let known {
            known.touch()
            return known
        }
        var dropped: [OpenPoint] = []
        defer { withExtendedLifetime(dropped) {} }
        do {
            let reader = try PointReader(
                service: service, keys: keys, point: place.id, acceptsUnsigned: acceptsUnsigned, cacheBytes: 0)
            let point = OpenPoint(place, reader, cache: cache, bin: bin)
            state.update { state in
                state.opening.remove(place.id)
                if state.isStopped { return }
                state.open[place.id] = point
                while state.open.count > Self.most,
                    let oldest = state.open.values.min(by: { $0.lastUse < $1.lastUse })
                {
                    dropped.append(oldest)
                    state.open[oldest.place.id] = nil
                }
            }
            return point
        } catch {
            state.update { _ = $0.opening.remove(place.id) }
            throw error
        }
    }

    private func keep() {
        while true {
            let isStopped = state.waitUntil({ $0.isStopped }, nanoseconds: 2_000_000_000)
            closeIdle()
            bin.empty()
            if isStopped { return }
            if renewsLeases { renew() }
        }
    }

    private func closeIdle() {
        let now = SystemClock.monotonic
        let idle = state.withLock { state in
            let idle = state.open.values.filter { now - $0.lastUse > Self.idle }
            for point in idle { state.open[point.place.id] = nil }
            return idle
        }
        withExtendedLifetime(idle) {}
    }

    private func renew() {
        let now = SystemClock.monotonic
        let points = state.withLock { state -> [OpenPoint] in
            guard now - state.leasesTaken > Self.leaseAge else { return [] }
            state.leasesTaken = now
            return Array(state.open.values)
        }
        for point in points {
            do { try point.renewLease() } catch let error as HoldfastError where error.code == .notFound {
                // Removed while the server knew nothing of the lease: who asks next learns it.
                state.withLock { _ = $0.open.removeValue(forKey: point.place.id) }
            } catch {
                // Away; the next time.
            }
        }
    }
}
