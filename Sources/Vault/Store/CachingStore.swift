import Model
import Synchronization

/// Keeps recently read blocks of packs in memory, up to a bound: for stores that are far away.
///
/// Only packs are kept, which never change; everything else goes through.
package final class CachingStore: BlobStore {
    /// Bytes that are fetched and kept together.
    package static let blockSize = 128 * 1024

    private struct Block: Hashable {
        let key: String
        let index: UInt64
    }

    private struct Entry {
        let bytes: [UInt8]
        var lastUse: UInt64
    }

    private struct State {
        var blocks: [Block: Entry] = [:]
        var sizes: [String: UInt64] = [:]
        var bytes = 0
        var clock: UInt64 = 0
    }

    private let base: any BlobStore
    private let limit: Int
    private let state = Mutex(State())

    /// - Parameter limit: bytes of memory for blocks, at least one block.
    package init(_ base: any BlobStore, limit: Int) {
        self.base = base
        self.limit = max(limit, CachingStore.blockSize)
    }

    package var location: String { base.location }

    /// Bytes in memory now.
    package var cachedBytes: Int { state.withLock { $0.bytes } }

    package func put(_ key: String, _ bytes: UnsafeRawBufferPointer, mode: PutMode) throws -> Bool {
        defer { forget([key]) }
        return try base.put(key, bytes, mode: mode)
    }

    package func get(_ key: String, atMost limit: Int) throws -> [UInt8] { try base.get(key, atMost: limit) }

    package func read(_ key: String, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        let blockSize = UInt64(CachingStore.blockSize)
        // Long reads are sequential reads of whole packs: they would push out everything else.
        guard key.hasPrefix(StoreKey.packsPrefix), buffer.count > 0, buffer.count <= 8 * CachingStore.blockSize,
            let size = try size(of: key)
        else { return try base.read(key, at: offset, into: buffer) }
        let end = offset.addingReportingOverflow(UInt64(buffer.count))
        guard !end.overflow, end.partialValue <= size else {
            return try base.read(key, at: offset, into: buffer)
        }
        var position = offset
        while position < end.partialValue {
            let index = position / blockSize
            let start = index * blockSize
            let stop = min(start + blockSize, size)
            let block = try block(Block(key: key, index: index), start..<stop)
            let count = Int(min(stop, end.partialValue) - position)
            block.withUnsafeBytes { bytes in
                UnsafeMutableRawBufferPointer(rebasing: buffer[Int(position - offset)...])
                    .copyMemory(
                        from: UnsafeRawBufferPointer(
                            rebasing: bytes[Int(position - start)..<(Int(position - start) + count)]))
            }
            position += UInt64(count)
        }
    }

    package func head(_ key: String) throws -> UInt64? { try base.head(key) }

    package func list(_ prefix: String, _ body: (StoredObject) throws -> Bool) throws { try base.list(prefix, body) }

    package func delete(_ keys: [String]) throws {
        defer { forget(keys) }
        try base.delete(keys)
    }

    package func space() throws -> StoreSpace? { try base.space() }

    // MARK: Blocks

    private func size(of key: String) throws -> UInt64? {
        if let size = state.withLock({ $0.sizes[key] }) { return size }
        guard let size = try base.head(key) else { return nil }
        state.withLock { state in
            // A hundred bytes each: a few thousand packs are what one restore reads from.
            if state.sizes.count > 16384 { state.sizes.removeAll() }
            state.sizes[key] = size
        }
        return size
    }

    private func block(_ block: Block, _ range: Range<UInt64>) throws -> [UInt8] {
        let known: [UInt8]? = state.withLock { state in
            state.clock += 1
            guard state.blocks[block] != nil else { return nil }
            state.blocks[block]!.lastUse = state.clock
            return state.blocks[block]!.bytes
        }
        if let known { return known }
        let bytes = try base.get(block.key, range)
        state.withLock { state in
            if state.blocks[block] == nil { state.bytes += bytes.count }
            state.blocks[block] = Entry(bytes: bytes, lastUse: state.clock)
            guard state.bytes > limit else { return }
            // The older half goes at once, so that the sort is paid for by many reads.
            let order = state.blocks.sorted { $0.value.lastUse < $1.value.lastUse }
            for (old, entry) in order where state.bytes > limit / 2 && old != block {
                state.blocks[old] = nil
                state.bytes -= entry.bytes.count
            }
        }
        return bytes
    }

    private func forget(_ keys: [String]) {
        let packs = Set(keys.filter { $0.hasPrefix(StoreKey.packsPrefix) })
        if packs.isEmpty { return }
        state.withLock { state in
            for key in packs { state.sizes[key] = nil }
            for (block, entry) in state.blocks where packs.contains(block.key) {
                state.blocks[block] = nil
                state.bytes -= entry.bytes.count
            }
        }
    }
}
