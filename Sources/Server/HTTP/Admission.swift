import Synchronization

/// How much the server takes on at once: requests in and before its threads, and bytes of bodies in memory. What comes
/// beyond is told to come back, at once and at little cost, so that what was begun ends in time.
///
/// The first bytes of a body are not counted, so that what is small comes in at little cost; of who has many bodies open at once
/// every byte is counted, and there is a number of bodies beyond which none is begun.
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
        /// Bodies that are open.
        var open: [Share: Int] = [:]
    }

    /// Bytes of a body that are not counted, as long as its sender has few.
    static let uncounted = 64 << 10
    /// Bodies of one sender of which the first bytes are not counted.
    static let few = 32
    /// Bodies that one sender may have open; everybody who has not signed in counts as one.
    static let most = (signedIn: 256, anonymous: 1_024)

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

    /// Room for the bytes of one body, none at first; `nil` when its sender has too many.
    func room(for use: Use, of principal: Principal) -> Room? {
        let share = Share(use: use, principal: principal)
        let isAnonymous = if case .anonymous = principal { true } else { false }
        let number = load.withLock { load -> Int? in
            let count = load.open[share, default: 0] + 1
            guard count <= (isAnonymous ? Self.most.anonymous : Self.most.signedIn) else { return nil }
            load.open[share] = count
            return count
        }
        return number.map { Room(self, share, free: $0 > Self.few ? 0 : Self.uncounted) }
    }

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
        load.withLock { load in
            let others = (load.open[share] ?? 1) - 1
            load.open[share] = others > 0 ? others : nil
            if bytes == 0 { return }
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
        /// Bytes at the beginning that need no room.
        let free: Int

        fileprivate init(_ owner: Admission, _ share: Share, free: Int) {
            self.owner = owner
            self.share = share
            self.free = free
        }

        /// Takes room for what has come, `count` bytes after `before`. `false` when there is none.
        func take(_ count: Int, after before: Int) -> Bool {
            let wanted = before + count > free ? (before > free ? count : before + count) : 0
            return wanted == 0 || grow(by: wanted)
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
