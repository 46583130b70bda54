import Synchronization

/// How much the server takes on at once: requests in and before its threads, and bytes of bodies in memory. What comes
/// beyond is told to come back, at once and at little cost, so that what was begun ends in time.
final class Admission: Sendable {
    private struct Load {
        var requests = 0
        var bytes = 0
    }

    private let load = Mutex(Load())
    let maximumRequests: Int
    let maximumBytes: Int

    init(requests: Int, bytes: Int) {
        maximumRequests = requests
        maximumBytes = bytes
    }

    /// Requests that run or wait for a thread, and bytes that are promised to bodies.
    var current: (requests: Int, bytes: Int) { load.withLock { ($0.requests, $0.bytes) } }

    /// A place in the queue; `nil` when it is full.
    func enter() -> Place? {
        let isIn = load.withLock { load in
            guard load.requests < maximumRequests else { return false }
            load.requests += 1
            return true
        }
        return isIn ? Place(self, requests: 1, bytes: 0) : nil
    }

    /// Room for so many bytes; `nil` when there is none. One body alone always finds room.
    func reserve(_ bytes: Int) -> Place? {
        let isIn = load.withLock { load in
            guard load.bytes == 0 || load.bytes + bytes <= maximumBytes else { return false }
            load.bytes += bytes
            return true
        }
        return isIn ? Place(self, requests: 0, bytes: bytes) : nil
    }

    /// What was taken; given back with its last reference.
    final class Place: Sendable {
        private let owner: Admission
        private let requests: Int
        private let bytes: Int

        fileprivate init(_ owner: Admission, requests: Int, bytes: Int) {
            self.owner = owner
            self.requests = requests
            self.bytes = bytes
        }

        deinit {
            owner.load.withLock { load in
                load.requests -= requests
                load.bytes -= bytes
            }
        }
    }
}
