import Model
import Platform

/// Repeats calls that fail for a reason that may pass, with growing pauses.
///
/// Every method of a store is idempotent. A listing is repeated only as long as nothing was handed out.
package final class RetryingStore: BlobStore {
    /// How often and how long.
    package struct Policy: Hashable, Sendable {
        /// Calls in all, at least 1. An error of the medium (EIO) is tried twice only: a bad sector takes a disk seconds each
        /// time, and a dying disk has many.
        package var attempts: Int
        /// Longest pause before the second call, in seconds; it doubles for each further one.
        package var firstPause: Double
        /// No pause is longer, in seconds.
        package var longestPause: Double

        package init(attempts: Int = 5, firstPause: Double = 0.1, longestPause: Double = 20) {
            self.attempts = attempts
            self.firstPause = firstPause
            self.longestPause = longestPause
        }
    }

    private let base: any BlobStore
    private let policy: Policy
    private let clock: StoreClock

    package init(_ base: any BlobStore, policy: Policy = Policy(), clock: StoreClock = .system) {
        self.base = base
        self.policy = policy
        self.clock = clock
    }

    package var location: String { base.location }

    package func put(_ key: String, _ bytes: UnsafeRawBufferPointer, mode: PutMode) throws -> Bool {
        try retrying { try base.put(key, bytes, mode: mode) }
    }

    package func get(_ key: String, atMost limit: Int) throws -> [UInt8] {
        try retrying { try base.get(key, atMost: limit) }
    }

    package func read(_ key: String, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try retrying { try base.read(key, at: offset, into: buffer) }
    }

    package func head(_ key: String) throws -> UInt64? { try retrying { try base.head(key) } }

    package func list(_ prefix: String, _ body: (StoredObject) throws -> Bool) throws {
        var delivered = false
        try retrying(unless: { delivered }) {
            try base.list(prefix) { object in
                delivered = true
                return try body(object)
            }
        }
    }

    package func delete(_ keys: [String]) throws { try retrying { try base.delete(keys) } }

    package func space() throws -> StoreSpace? { try retrying { try base.space() } }

    private func retrying<R>(unless isTooLate: () -> Bool = { false }, _ body: () throws -> R) throws -> R {
        var attempt = 1
        var pause = policy.firstPause
        while true {
            do { return try body() } catch let error as HoldfastError {
                let isOfTheMedium = (error.cause as? Errno) == .inputOutput
                guard error.isTemporary, attempt < (isOfTheMedium ? min(2, policy.attempts) : policy.attempts),
                    !isTooLate()
                else { throw error }
            }
            // The whole pause is random ("full jitter"): many clients of one store do not come back at once.
            clock.sleep(Double.random(in: 0...pause))
            pause = min(pause * 2, policy.longestPause)
            attempt += 1
        }
    }
}

extension RetryingStore: SpaceReserve {
    @discardableResult
    package func createReserve() throws -> Bool { try (base as? any SpaceReserve)?.createReserve() ?? false }
    @discardableResult
    package func releaseReserve() throws -> Bool { try (base as? any SpaceReserve)?.releaseReserve() ?? false }
    @discardableResult
    package func retakeReserve() throws -> Bool { try (base as? any SpaceReserve)?.retakeReserve() ?? false }
}
