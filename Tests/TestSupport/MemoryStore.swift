import Model
import Synchronization
package import Vault

/// A store in memory that keeps the contract of `BlobStore`: for tests that need many of them.
package final class MemoryStore: BlobStore {
    private let objects = Mutex<[String: [UInt8]]>([:])

    package init() {}

    package var location: String { "memory" }

    /// All keys, sorted.
    package var keys: [String] { objects.withLock { $0.keys.sorted() } }

    /// Changes an object behind the store's back, as a bad disk does.
    package func corrupt(_ key: String, _ change: (inout [UInt8]) -> Void) {
        objects.withLock { if $0[key] != nil { change(&$0[key]!) } }
    }

    package func put(_ key: String, _ bytes: UnsafeRawBufferPointer, mode: PutMode) throws -> Bool {
        try check(key)
        return objects.withLock { objects in
            if mode == .ifAbsent, objects[key] != nil { return false }
            objects[key] = Array(bytes)
            return true
        }
    }

    package func get(_ key: String, atMost limit: Int) throws -> [UInt8] {
        let bytes = try object(key)
        guard bytes.count <= limit else { throw HoldfastError(.damaged, "\(key) is longer than it can be") }
        return bytes
    }

    package func read(_ key: String, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        let bytes = try object(key)
        guard offset <= UInt64(bytes.count), buffer.count <= bytes.count - Int(offset) else {
            throw HoldfastError(.damaged, "\(key) ends too early")
        }
        bytes.withUnsafeBytes {
            buffer.copyMemory(
                from: UnsafeRawBufferPointer(rebasing: $0[Int(offset)..<(Int(offset) + buffer.count)]))
        }
    }

    package func head(_ key: String) throws -> UInt64? {
        try check(key)
        return objects.withLock { $0[key].map { UInt64($0.count) } }
    }

    package func list(_ prefix: String, _ body: (StoredObject) throws -> Bool) throws {
        let found = objects.withLock { objects in
            objects.filter { $0.key.hasPrefix(prefix) }.map { StoredObject(key: $0.key, size: UInt64($0.value.count)) }
        }
        for object in found where !(try body(object)) { return }
    }

    package func delete(_ keys: [String]) throws {
        for key in keys { try check(key) }
        objects.withLock { objects in for key in keys { objects[key] = nil } }
    }

    package func space() throws -> StoreSpace? { nil }

    private func object(_ key: String) throws -> [UInt8] {
        try check(key)
        guard let bytes = objects.withLock({ $0[key] }) else {
            throw HoldfastError(.notFound, "\(key) does not exist")
        }
        return bytes
    }

    private func check(_ key: String) throws {
        guard StoreKey.isValid(key) else { throw HoldfastError(.usage, "not a key of a store: \(key)") }
    }
}
