import Model
import Synchronization
package import Vault

/// A store that fails and lies, reproducibly: the same seed and the same calls give the same faults.
package final class FaultStore: BlobStore {
    /// What goes wrong. Rates are from 0 (never) to 1 (always), for each call.
    package struct Plan: Sendable {
        package var seed: UInt64
        /// The call fails before it does anything, for a reason that may pass.
        package var temporaryFailure = 0.0
        /// The call does its work, and then its answer is lost.
        package var lostAnswer = 0.0
        /// A read or get answers with one bit turned over.
        package var flippedBit = 0.0
        /// A read ends before it is full, and says so; a get answers with less than there is, and says nothing.
        package var shortRead = 0.0
        /// An object that is there is said not to be.
        package var missing = 0.0
        /// Bytes after which the store is full.
        package var capacity: UInt64?
        /// The faults above befall only keys with this prefix.
        package var prefix = ""
        /// The writer dies at this call that changes something, counted from 1: with `true` just after its effect,
        /// with `false` just before. Every later call throws `Crash`.
        package var crash: (call: Int, afterEffect: Bool)?

        package init(seed: UInt64) { self.seed = seed }
    }

    /// The process that used the store is dead; a test catches this where it started the process.
    package struct Crash: Error {}

    private struct State {
        var random: UInt64
        var written: UInt64 = 0
        var changes = 0
        var isDead = false
    }

    private let base: any BlobStore
    private let plan: Mutex<Plan>
    private let state: Mutex<State>

    package init(_ base: any BlobStore, _ plan: Plan) {
        self.base = base
        self.plan = Mutex(plan)
        state = Mutex(State(random: plan.seed))
    }

    package var location: String { base.location }

    /// How many calls that change something were begun.
    package var changes: Int { state.withLock { $0.changes } }

    /// Goes on with other faults.
    package func set(_ plan: Plan) { self.plan.withLock { $0 = plan } }

    package func put(_ key: String, _ bytes: UnsafeRawBufferPointer, mode: PutMode) throws -> Bool {
        try changing(key) {
            let plan = plan.withLock { $0 }
            if let capacity = plan.capacity, state.withLock({ $0.written }) + UInt64(bytes.count) > capacity {
                throw HoldfastError(.noSpace, "the disk with the vault is full (fault)")
            }
            let created = try base.put(key, bytes, mode: mode)
            if created { state.withLock { $0.written += UInt64(bytes.count) } }
            return created
        }
    }

    package func get(_ key: String, atMost limit: Int) throws -> [UInt8] {
        var bytes = try reading(key) { try base.get(key, atMost: limit) }
        let faults = self.faults(key)
        if bytes.count > 0, hits(faults.flippedBit) {
            bytes[number(below: bytes.count)] ^= 1 << UInt8(number(below: 8))
        }
        if bytes.count > 0, hits(faults.shortRead) { bytes.removeLast(1 + number(below: bytes.count)) }
        return bytes
    }

    package func read(_ key: String, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try reading(key) { try base.read(key, at: offset, into: buffer) }
        let faults = self.faults(key)
        if buffer.count > 0, hits(faults.flippedBit) {
            buffer[number(below: buffer.count)] ^= 1 << UInt8(number(below: 8))
        }
        if hits(faults.shortRead) { throw HoldfastError(.damaged, "\(key) ends too early (fault)") }
    }

    package func head(_ key: String) throws -> UInt64? {
        do { return try reading(key) { try base.head(key) } } catch let error as HoldfastError
            where error.code == .notFound
        { return nil }
    }

    package func list(_ prefix: String, _ body: (StoredObject) throws -> Bool) throws {
        try reading(prefix, canBeMissing: false) {
            try base.list(prefix) { object in
                if hits(faults(object.key).missing) { return true }
                return try body(object)
            }
        }
    }

    package func delete(_ keys: [String]) throws {
        // One call for each key, so that a crash can stand between any two.
        for key in keys { try changing(key) { try base.delete([key]) } }
    }

    package func space() throws -> StoreSpace? {
        guard let capacity = plan.withLock({ $0.capacity }) else { return try base.space() }
        let written = state.withLock { $0.written }
        return StoreSpace(total: capacity, available: capacity - min(written, capacity))
    }

    // MARK: Dice

    private func faults(_ key: String) -> Plan {
        let plan = plan.withLock { $0 }
        if key.hasPrefix(plan.prefix) { return plan }
        var none = Plan(seed: plan.seed)
        none.crash = plan.crash
        return none
    }

    private func number(below bound: Int) -> Int {
        state.withLock { state in
            state.random &+= 0x9E37_79B9_7F4A_7C15
            var z = state.random
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return Int((z ^ (z >> 31)) % UInt64(bound))
        }
    }

    private func hits(_ rate: Double) -> Bool { rate > 0 && Double(number(below: 1 << 30)) < rate * Double(1 << 30) }

    private func reading<R>(_ key: String, canBeMissing: Bool = true, _ body: () throws -> R) throws -> R {
        if state.withLock({ $0.isDead }) { throw Crash() }
        let faults = faults(key)
        try failIfHit(faults.temporaryFailure)
        if canBeMissing, hits(faults.missing) { throw HoldfastError(.notFound, "\(key) does not exist (fault)") }
        let answer = try body()
        try failIfHit(faults.lostAnswer)
        return answer
    }

    private func changing<R>(_ key: String, _ body: () throws -> R) throws -> R {
        let faults = faults(key)
        let mayDie = try state.withLock { state in
            if state.isDead { throw Crash() }
            state.changes += 1
            guard let crash = faults.crash, crash.call == state.changes else { return false }
            state.isDead = true
            if !crash.afterEffect { throw Crash() }
            return true
        }
        if mayDie {
            _ = try? body()
            throw Crash()
        }
        try failIfHit(faults.temporaryFailure)
        let answer = try body()
        try failIfHit(faults.lostAnswer)
        return answer
    }

    private func failIfHit(_ rate: Double) throws {
        if hits(rate) { throw HoldfastError(.io, "the store does not answer (fault)", isTemporary: true) }
    }
}
