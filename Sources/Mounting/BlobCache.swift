import Model
import Platform
import Vault

/// A blob's plaintext in memory of its own, for many readers at once.
final class Blob: @unchecked Sendable {
    // Sound: written once, before anybody else has it.
    let bytes: UnsafeRawBufferPointer

    init(copying source: UnsafeRawBufferPointer) {
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(source.count, 1), alignment: 16)
        copy.copyMemory(from: source)
        bytes = UnsafeRawBufferPointer(rebasing: copy[..<source.count])
    }

    /// So many zeros.
    init(zeros count: Int) {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(count, 1), alignment: 4_096)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        bytes = UnsafeRawBufferPointer(rebasing: memory[..<count])
    }

    deinit { bytes.deallocate() }
}

/// What a blob is kept under. Blobs that were proved in different ways are kept apart, so that a machine whose contents can be
/// checked never gets one that another machine made and nobody could check.
struct BlobKey: Hashable, Sendable {
    var key: ContentKey
    var type: BlobType
    var machine: MachineID
    var isChecked: Bool
}

/// Opened blobs that were used last, bounded by the memory they take. Of many who want the same blob one fetches it.
final class BlobCache: Sendable {
    /// A blob on its way. Guarded by the monitor.
    private final class Loading: @unchecked Sendable {
        /// No blob: whoever claimed it gave it up.
        var result: Result<Blob?, any Error>?
    }

    private struct Slot {
        var blob: Blob
        var used: UInt64
    }

    private struct State {
        var slots: [BlobKey: Slot] = [:]
        var loading: [BlobKey: Loading] = [:]
        var size = 0
        var clock: UInt64 = 0
    }

    /// In bytes.
    let limit: Int
    private let state = Monitor(State())

    init(limit: Int) { self.limit = limit }

    /// Counted for each blob beside its bytes.
    private static let overhead = 160

    /// The blob when it is here.
    func find(_ key: BlobKey) -> Blob? { state.withLock { Self.touch(key, &$0) } }

    private static func touch(_ key: BlobKey, _ state: inout State) -> Blob? {
        guard let index = state.slots.index(forKey: key) else { return nil }
        state.clock += 1
        state.slots.values[index].used = state.clock
        return state.slots.values[index].blob
    }

    /// Those of `keys` that are neither here nor on their way. Whoever asked has to bring each: `fill` or `fail`, or `release`.
    func claim(_ keys: [BlobKey]) -> [BlobKey] {
        state.withLock { state in
            keys.filter { key in
                if state.slots[key] != nil || state.loading[key] != nil { return false }
                state.loading[key] = Loading()
                return true
            }
        }
    }

    /// Keeps what was claimed.
    func fill(_ key: BlobKey, _ blob: Blob) {
        state.update { state in
            state.loading.removeValue(forKey: key)?.result = .success(blob)
            state.clock += 1
            let cost = blob.bytes.count + Self.overhead
            if state.slots.updateValue(Slot(blob: blob, used: state.clock), forKey: key) == nil { state.size += cost }
            if state.size > limit { shrink(&state) }
        }
    }

    /// What was claimed does not come. Who waits for it gets the error; who asks next tries again.
    func fail(_ keys: [BlobKey], _ error: any Error) {
        if keys.isEmpty { return }
        state.update { state in
            for key in keys { state.loading.removeValue(forKey: key)?.result = .failure(error) }
        }
    }

    /// What was claimed is not fetched after all, and nothing is wrong with it: who waits for it fetches it.
    func release(_ keys: [BlobKey]) {
        if keys.isEmpty { return }
        state.update { state in
            for key in keys { state.loading.removeValue(forKey: key)?.result = .success(nil) }
        }
    }

    /// The blob, after waiting for whoever fetches it; `nil` when it is not here and nobody does.
    func wait(_ key: BlobKey) throws -> Blob? {
        var loading: Loading?
        return try state.wait { state -> Blob?? in
            if let loading {
                guard let result = loading.result else { return nil }
                return .some(try result.get())
            }
            if let blob = Self.touch(key, &state) { return .some(blob) }
            guard let found = state.loading[key] else { return .some(nil) }
            loading = found
            return nil
        }
    }

    /// Drops what was not used for longest until a quarter is free again: seldom enough that sorting costs nothing.
    private func shrink(_ state: inout State) {
        let target = limit - limit / 4
        for (key, slot) in state.slots.sorted(by: { $0.value.used < $1.value.used }) {
            if state.size <= target { break }
            state.size -= slot.blob.bytes.count + Self.overhead
            state.slots[key] = nil
        }
    }
}
