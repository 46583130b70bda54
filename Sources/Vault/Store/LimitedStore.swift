import Model
import Synchronization

/// Keeps the bytes per second that are written to and read from a store below a limit, over all threads.
///
/// A call that is too early waits before it begins, so that on average no more passes; at most one second's worth is
/// saved up while nothing happens.
package final class LimitedStore: BlobStore {
    private let base: any BlobStore
    private let writing: Pace?
    private let reading: Pace?

    /// - Parameters:
    ///   - writeLimit: bytes per second, at least 1; `nil` for no limit.
    ///   - readLimit: bytes per second, at least 1; `nil` for no limit.
    package init(_ base: any BlobStore, writeLimit: UInt64?, readLimit: UInt64?, clock: StoreClock = .system) {
        self.base = base
        writing = writeLimit.map { Pace(limit: $0, clock: clock) }
        reading = readLimit.map { Pace(limit: $0, clock: clock) }
    }

    package var location: String { base.location }

    package func put(_ key: String, _ bytes: UnsafeRawBufferPointer, mode: PutMode) throws -> Bool {
        writing?.pass(bytes.count)
        return try base.put(key, bytes, mode: mode)
    }

    package func get(_ key: String, atMost limit: Int) throws -> [UInt8] {
        let bytes = try base.get(key, atMost: limit)
        // The size is known afterwards: the next call pays.
        reading?.pass(bytes.count)
        return bytes
    }

    package func read(_ key: String, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        reading?.pass(buffer.count)
        try base.read(key, at: offset, into: buffer)
    }

    package func head(_ key: String) throws -> UInt64? { try base.head(key) }

    package func list(_ prefix: String, _ body: (StoredObject) throws -> Bool) throws { try base.list(prefix, body) }

    package func delete(_ keys: [String]) throws { try base.delete(keys) }

    package func space() throws -> StoreSpace? { try base.space() }

    /// One direction: the moment at which the next byte may pass.
    private final class Pace: Sendable {
        private let secondsPerByte: Double
        private let clock: StoreClock
        private let next: Mutex<Double>

        init(limit: UInt64, clock: StoreClock) {
            secondsPerByte = 1 / Double(max(limit, 1))
            self.clock = clock
            next = Mutex(clock.now())
        }

        func pass(_ count: Int) {
            let wait = next.withLock { next in
                let now = clock.now()
                // What was not used for longer than a second is lost.
                let start = max(next, now - 1)
                next = start + Double(count) * secondsPerByte
                return start - now
            }
            clock.sleep(wait)
        }
    }
}
