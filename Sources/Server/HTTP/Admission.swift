import Synchronization

/// How much the server takes on at once: requests in and before its threads, and bytes of bodies in memory. What comes
/// beyond is told to come back, at once and at little cost, so that what was begun ends in time.
///
/// Bodies that come in leave a quarter of the bytes to answers: restores go on whatever is sent. And nobody alone has more than
/// an eighth of the bytes for what it sends, or a quarter for what it is sent.
final class Admission: Sendable {
    /// What bytes are for.
    enum Use: Hashable, Sendable {
        case body, answer
    }

    fileprivate struct Share: Hashable {
        var use: Use
        var principal: Principal
    }

    private struct Load {
        var requests = 0
        var bodies = 0
        var bytes = 0
        var shares: [Share: Int] = [:]
    }

    private let load = Mutex(Load())
    let maximumRequests: Int
    let maximumBytes: Int

    init(requests: Int, bytes: Int) {
        maximumRequests = requests
        maximumBytes = bytes
    }

    /// Requests that run or wait for a thread, and bytes that are taken by bodies.
    var current: (requests: Int, bytes: Int) { load.withLock { ($0.requests, $0.bytes) } }

    /// A place in the queue; `nil` when it is full.
    func enter() -> Place? {
        let isIn = load.withLock { load in
            guard load.requests < maximumRequests else { return false }
            load.requests += 1
            return true
        }
        return isIn ? Place(self) : nil
    }

    /// Room for the bytes of one body, none at first.
    func room(for use: Use, of principal: Principal) -> Room { Room(self, Share(use: use, principal: principal)) }

    /// - Parameter own: bytes that the same body has already. One body alone always finds room.
    private func take(_ bytes: Int, _ share: Share, own: Int) -> Bool {
        load.withLock { load in
            func fits(_ taken: Int, _ limit: Int) -> Bool { taken == own || taken + bytes <= limit }
            let isBody = share.use == .body
            let shared = load.shares[share] ?? 0
            guard fits(load.bytes, maximumBytes), !isBody || fits(load.bodies, maximumBytes / 4 * 3),
                fits(shared, maximumBytes / (isBody ? 8 : 4))
            else { return false }
            load.bytes += bytes
            if isBody { load.bodies += bytes }
            load.shares[share] = shared + bytes
            return true
        }
    }

    private func giveBack(_ bytes: Int, _ share: Share) {
        if bytes == 0 { return }
        load.withLock { load in
            load.bytes -= bytes
            if share.use == .body { load.bodies -= bytes }
            let left = (load.shares[share] ?? 0) - bytes
            load.shares[share] = left > 0 ? left : nil
        }
    }

    /// A place in the queue; given back with its last reference.
    final class Place: Sendable {
        private let owner: Admission

        fileprivate init(_ owner: Admission) { self.owner = owner }

        deinit { owner.load.withLock { $0.requests -= 1 } }
    }

    /// Bytes of one body; given back with its last reference.
    final class Room: Sendable {
        private let owner: Admission
        private let share: Share
        private let bytes = Mutex(0)

        fileprivate init(_ owner: Admission, _ share: Share) {
            self.owner = owner
            self.share = share
        }

        /// Takes more. `false` when there is no more.
        func grow(by count: Int) -> Bool {
            bytes.withLock { bytes in
                guard owner.take(count, share, own: bytes) else { return false }
                bytes += count
                return true
            }
        }

        deinit { owner.giveBack(bytes.withLock { $0 }, share) }
    }
}
