import Model
import Synchronization

/// Counts what is asked of a store: for benchmarks, progress and tests.
package final class CountingStore: BlobStore {
    /// Calls and bytes since the beginning.
    package struct Counts: Hashable, Sendable {
        package var puts = 0
        package var gets = 0
        package var reads = 0
        package var heads = 0
        package var lists = 0
        /// Keys, not calls.
        package var deletes = 0
        package var bytesWritten: UInt64 = 0
        package var bytesRead: UInt64 = 0
        /// Calls that threw.
        package var failures = 0

        package init() {}
    }

    private let base: any BlobStore
    private let state = Mutex(Counts())

    package init(_ base: any BlobStore) { self.base = base }

    /// The counts so far.
    package var counts: Counts { state.withLock { $0 } }

    package var location: String { base.location }

    package func put(_ key: String, _ bytes: UnsafeRawBufferPointer, mode: PutMode) throws -> Bool {
        let created = try counting { try base.put(key, bytes, mode: mode) }
        state.withLock {
            $0.puts += 1
            if created { $0.bytesWritten += UInt64(bytes.count) }
        }
        return created
    }

    package func get(_ key: String, atMost limit: Int) throws -> [UInt8] {
        let bytes = try counting { try base.get(key, atMost: limit) }
        state.withLock {
            $0.gets += 1
            $0.bytesRead += UInt64(bytes.count)
        }
        return bytes
    }

    package func read(_ key: String, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try counting { try base.read(key, at: offset, into: buffer) }
        state.withLock {
            $0.reads += 1
            $0.bytesRead += UInt64(buffer.count)
        }
    }

    package func head(_ key: String) throws -> UInt64? {
        let size = try counting { try base.head(key) }
        state.withLock { $0.heads += 1 }
        return size
    }

    package func list(_ prefix: String, _ body: (StoredObject) throws -> Bool) throws {
        try counting { try base.list(prefix, body) }
        state.withLock { $0.lists += 1 }
    }

    package func delete(_ keys: [String]) throws {
        try counting { try base.delete(keys) }
        state.withLock { $0.deletes += keys.count }
    }

    package func space() throws -> StoreSpace? { try base.space() }

    private func counting<R>(_ body: () throws -> R) throws -> R {
        do { return try body() } catch {
            state.withLock { $0.failures += 1 }
            throw error
        }
    }
}
