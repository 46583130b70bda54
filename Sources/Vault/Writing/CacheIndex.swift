package import Model
import Platform

/// Looks paths up in a writer's cache in any order.
///
/// Of each block, some two thousand paths, the first key is kept in memory; the blocks used last are kept whole. Not for use
/// from several threads at once.
package final class CacheIndex {
    package var identity: CacheIdentity { reader.identity }

    /// A block with its keys written out.
    private final class Loaded {
        let number: Int
        let bytes: [UInt8]
        var keys: [[UInt8]] = []
        var payloads: [Range<Int>] = []

        init(_ number: Int, _ bytes: [UInt8]) throws {
            self.number = number
            self.bytes = bytes
            var key: [UInt8] = []
            try bytes.withUnsafeBytes { bytes in
                var position = 0
                while position < bytes.count {
                    var outer = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[position...]))
                    let length = try outer.varint(atMost: outer.remaining)
                    let start = position + outer.offset
                    var record = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[start..<(start + length)]))
                    let shared = try record.varint(atMost: key.count)
                    let rest = try record.counted(atMost: FormatLimits.keyLength)
                    key.removeLast(key.count - shared)
                    key.append(contentsOf: rest)
                    keys.append(key)
                    payloads.append((start + record.offset)..<(start + length))
                    position = start + length
                }
            }
        }

        /// The first place whose key is not below `key`.
        func lowerBound(_ key: [UInt8]) -> Int {
            var low = 0
            var high = keys.count
            while low < high {
                let middle = (low + high) / 2
                if CacheReader.compare(keys[middle], key) < 0 { low = middle + 1 } else { high = middle }
            }
            return low
        }
    }

    private static let keptBlocks = 8

    private let reader: CacheReader
    private var blocks: [(offset: UInt64, firstKey: [UInt8])] = []
    private var recent: [Loaded] = []
    private var names = CachedNames()

    /// Throws `damaged` when the cache is not whole.
    package init(_ reader: CacheReader) throws {
        self.reader = reader
        var offset = UInt64(WriterCache.magic.count)
        while offset < reader.end {
            guard let head = CacheReader.read(reader.file, at: offset, count: 12) else { throw CacheIndex.damaged }
            let length = head.withUnsafeBytes { Int(UInt32(littleEndian: $0.loadUnaligned(as: UInt32.self))) }
            guard length <= WriterCache.maximumBlock, offset + 12 + UInt64(length) <= reader.end,
                let key = CacheIndex.firstKey(reader.file, at: offset + 12, length: length)
            else { throw CacheIndex.damaged }
            blocks.append((offset, key))
            offset += 12 + UInt64(length)
        }
    }

    private static var damaged: HoldfastError {
        HoldfastError(.damaged, "what this machine remembers of its files is damaged; they are read again")
    }

    private static func firstKey(_ file: borrowing FileDescriptor, at offset: UInt64, length: Int) -> [UInt8]? {
        // Longer keys than these are rare; then the most that a key takes is read.
        for count in [min(length, 4096), min(length, FormatLimits.keyLength + 64)] {
            guard let bytes = CacheReader.read(file, at: offset, count: count) else { return nil }
            let key = try? bytes.withUnsafeBytes { bytes in
                var reader = ByteReader(bytes)
                _ = try reader.varint(atMost: WriterCache.maximumBlock)
                _ = try reader.varint(atMost: 0)
                return try reader.counted(atMost: FormatLimits.keyLength)
            }
            if let key { return key }
        }
        return nil
    }

    /// What the cache has of a key. Throws `damaged`.
    package func find(_ key: [UInt8]) throws -> CachedEntry? {
        guard let number = block(of: key) else { return nil }
        let loaded = try load(number)
        let place = loaded.lowerBound(key)
        guard place < loaded.keys.count, loaded.keys[place] == key else { return nil }
        return try decode(loaded, place)
    }

    /// Every entry whose key begins with `prefix`, in the order of the keys, until `body` returns false.
    package func forEach(beginningWith prefix: [UInt8], _ body: (CachedEntry) throws -> Bool) throws {
        var number = block(of: prefix) ?? 0
        while number < blocks.count {
            let loaded = try load(number)
            for place in loaded.lowerBound(prefix)..<loaded.keys.count {
                guard loaded.keys[place].starts(with: prefix) else { return }
                guard try body(try decode(loaded, place)) else { return }
            }
            number += 1
        }
    }

    /// Every key with what tells the file it was, and its kind; reads the whole cache, about a fifth of a second for a million paths.
    package func forEachIdentity(_ body: (_ key: [UInt8], _ identity: FileIdentity, _ kind: EntryKind) -> Void) throws {
        for number in blocks.indices {
            let loaded = try load(number)
            try loaded.bytes.withUnsafeBytes { bytes in
                for place in loaded.keys.indices {
                    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[loaded.payloads[place]]))
                    let head = try CachedEntryCoding.decodeHead(&reader)
                    body(loaded.keys[place], head.identity, head.kind)
                }
            }
        }
    }

    /// The block that a key is in if it is anywhere.
    private func block(of key: [UInt8]) -> Int? {
        var low = 0
        var high = blocks.count
        while low < high {
            let middle = (low + high) / 2
            if CacheReader.compare(blocks[middle].firstKey, key) <= 0 { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? nil : low - 1
    }

    private func load(_ number: Int) throws -> Loaded {
        if let index = recent.firstIndex(where: { $0.number == number }) {
            let loaded = recent.remove(at: index)
            recent.append(loaded)
            return loaded
        }
        guard let bytes = CacheReader.block(reader.file, at: blocks[number].offset, end: reader.end) else {
            throw CacheIndex.damaged
        }
        let loaded = try Loaded(number, bytes)
        if recent.count >= CacheIndex.keptBlocks { recent.removeFirst() }
        recent.append(loaded)
        return loaded
    }

    private func decode(_ loaded: Loaded, _ place: Int) throws -> CachedEntry {
        try loaded.bytes.withUnsafeBytes { bytes in
            var reader = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[loaded.payloads[place]]))
            let head = try CachedEntryCoding.decodeHead(&reader)
            return try CachedEntryCoding.decodeRest(&reader, key: loaded.keys[place], head: head, names: &names)
        }
    }
}
