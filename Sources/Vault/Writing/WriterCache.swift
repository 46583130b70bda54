import Glibc
package import Model
import Platform

/// Which point a writer's cache describes. Only if the vault still holds that point may the cache be relied on.
package struct CacheIdentity: Hashable, Sendable {
    package var vault: VaultID
    package var machine: MachineID
    package var incarnation: IncarnationID
    package var point: PointID
    package var number: UInt64
    package var locator: LocatorHash
    /// Number of the convergence secret that the keys were made with.
    package var secretNumber: UInt16
    /// Content key of the tree's root.
    package var root: ContentKey

    package init(
        vault: VaultID, machine: MachineID, incarnation: IncarnationID, point: PointID, number: UInt64,
        locator: LocatorHash, secretNumber: UInt16, root: ContentKey
    ) {
        self.vault = vault
        self.machine = machine
        self.incarnation = incarnation
        self.point = point
        self.number = number
        self.locator = locator
        self.secretNumber = secretNumber
        self.root = root
    }

    func encode(into out: inout ByteWriter) {
        out.raw(vault.array)
        out.raw(machine.array)
        out.raw(incarnation.array)
        out.raw(point.array)
        out.u64(number)
        out.digest(locator.bytes)
        out.u16(secretNumber)
        out.digest(root.bytes)
    }

    init(from reader: inout ByteReader) throws {
        guard let vault = VaultID(try reader.raw(16)), let machine = MachineID(try reader.raw(16)),
            let incarnation = IncarnationID(try reader.raw(16)), let point = PointID(try reader.raw(16))
        else { throw ByteReader.malformed("identity") }
        self.vault = vault
        self.machine = machine
        self.incarnation = incarnation
        self.point = point
        number = try reader.u64()
        locator = LocatorHash(try reader.digest())
        secretNumber = try reader.u16()
        root = ContentKey(try reader.digest())
    }
}

/// The file that a writer keeps between runs: every path of its newest point in key order with what tells whether the
/// file changed, and the content keys of the tree's nodes.
///
/// It is written beside the run and put in place only after the point was committed: ahead of what it describes, a
/// change would be lost silently. Losing it costs a re-read, never data. Blocks carry checksums; a damaged cache ends
/// where the damage begins.
///
/// Layout: magic, blocks (`u32 length ‖ u64 XXH3 ‖ bytes`), the last of which holds identity, nodes and the plan of what to
/// bundle again, then `u64` offset of that block and a closing magic.
package enum WriterCache {
    static let magic: [UInt8] = Array("HOLDCAC2".utf8)
    static let closing: [UInt8] = Array("HOLDCEND".utf8)
    static let blockSize = 256 << 10
    static let maximumBlock = 64 << 20

    /// The file name of the cache for a vault and a set of protected paths.
    package static func name(vault: VaultID, source: [UInt8]) -> [UInt8] {
        let hash = source.withUnsafeBytes { checksum($0) }
        return Array("\(vault.hex)-\(Hex.encode(withUnsafeBytes(of: hash.bigEndian) { Array($0) })).cache".utf8)
    }

    /// Removes a cache that nobody will use again, with its lock. What cannot be removed stays.
    package static func remove(vault: VaultID, source: [UInt8], from directory: [UInt8]) {
        let path = directory + Array("/".utf8) + name(vault: vault, source: source)
        for file in [path, path + Array(".lock".utf8)] {
            _ = try? withCName(file) { (pointer) throws(Errno) in
                try FileSystem.remove(at: FileSystem.currentDirectory, pointer)
            }
        }
    }

    static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt64 { XXH3.hash(bytes) }
}

/// Writes a writer's cache.
package final class CacheWriter {
    private let directory: [UInt8]
    private let name: [UInt8]
    private let temporary: [UInt8]
    private var file: FileDescriptor
    private var length: UInt64 = 0
    private var block = ByteWriter(capacity: WriterCache.blockSize + 65_536)
    private var record = ByteWriter(capacity: 4096)
    private var lastKey: [UInt8] = []

    /// - Parameters:
    ///   - directory: where the cache lives; must exist.
    ///   - name: file name of the finished cache.
    package convenience init(directory: [UInt8], name: [UInt8]) throws {
        try self.init(directory: directory, name: name, suffix: ".writing")
    }

    private init(directory: [UInt8], name: [UInt8], suffix: String) throws {
        self.directory = directory
        self.name = name
        temporary = directory + Array("/.".utf8) + name + Array(suffix.utf8)
        file = try CacheWriter.create(temporary)
        try write(WriterCache.magic)
    }

    private static func create(_ path: [UInt8]) throws -> FileDescriptor {
        do {
            return try FileDescriptor.open(path, [.writeOnly, .create, .truncate], mode: 0o600)
        } catch {
            throw HoldfastError(
                .io, "cannot write the backup cache: \(error)", context: ["path": TreePath.display(path)], cause: error)
        }
    }

    /// Adds a path; keys ascend.
    package func append(_ cached: CachedEntry) throws {
        record.bytes.removeAll(keepingCapacity: true)
        var shared = 0
        if !block.bytes.isEmpty {
            let limit = min(lastKey.count, cached.key.count)
            while shared < limit, lastKey[shared] == cached.key[shared] { shared += 1 }
        }
        record.varint(shared)
        record.counted(cached.key[shared...])
        CachedEntryCoding.encode(cached, into: &record)
        block.varint(record.bytes.count)
        block.raw(record.bytes)
        lastKey = cached.key
        if block.bytes.count >= WriterCache.blockSize { try flush() }
    }

    private func flush() throws {
        if block.bytes.isEmpty { return }
        try writeBlock(block.bytes)
        block.bytes.removeAll(keepingCapacity: true)
    }

    private func writeBlock(_ bytes: [UInt8]) throws {
        var head = ByteWriter(capacity: 12)
        head.u32(UInt32(bytes.count))
        head.u64(bytes.withUnsafeBytes { WriterCache.checksum($0) })
        try write(head.bytes)
        try write(bytes)
    }

    private func write(_ bytes: [UInt8]) throws {
        do {
            try file.writeAll(bytes)
        } catch {
            throw HoldfastError(
                .io, "cannot write the backup cache: \(error)", context: ["path": TreePath.display(temporary)],
                cause: error)
        }
        length += UInt64(bytes.count)
    }

    /// Puts a copy of what was appended so far in place, for a partial point; appending goes on.
    package func snapshot(identity: CacheIdentity, nodes: some Collection<ContentKey>) throws {
        try flush()
        let copy = try CacheWriter(directory: directory, name: name, suffix: ".partial")
        defer { copy.cancel() }
        do {
            let source = try FileDescriptor.open(temporary, .readOnly)
            try source.seek(to: UInt64(WriterCache.magic.count))
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
            defer { buffer.deallocate() }
            while true {
                let count = try source.read(into: buffer)
                if count == 0 { break }
                try copy.write(Array(buffer[..<count]))
            }
        } catch let error as Errno {
            throw HoldfastError(.io, "cannot copy the backup cache: \(error)", cause: error)
        }
        try copy.finish(identity: identity, nodes: nodes)
    }

    /// Completes the cache and puts it in place of the one before. Call after the point was committed.
    ///
    /// - Parameter plan: what the next run is to bundle again.
    package func finish(
        identity: CacheIdentity, nodes: some Collection<ContentKey>, plan: RebundlePlan = RebundlePlan()
    ) throws {
        try flush()
        let start = length
        var last = ByteWriter(capacity: nodes.count * 32 + 256)
        identity.encode(into: &last)
        last.varint(nodes.count)
        for node in nodes { last.digest(node.bytes) }
        last.counted(plan.encoded())
        try writeBlock(last.bytes)
        var footer = ByteWriter(capacity: 16)
        footer.u64(start)
        footer.raw(WriterCache.closing)
        try write(footer.bytes)
        do {
            // The contents reach the disk before the name does; a torn cache would fail its checksums anyway.
            try file.sync()
            try CacheWriter.rename(temporary, directory + Array("/".utf8) + name)
        } catch {
            throw HoldfastError(.io, "cannot write the backup cache: \(error)", cause: error)
        }
    }

    /// Drops what was written.
    package func cancel() {
        try? CacheWriter.withPointer(temporary) { pointer throws(Errno) in
            try FileSystem.remove(at: FileSystem.currentDirectory, pointer)
        }
    }

    private static func rename(_ from: [UInt8], _ to: [UInt8]) throws(Errno) {
        try withPointer(from) { from throws(Errno) in
            try withPointer(to) { to throws(Errno) in
                try FileSystem.rename(at: FileSystem.currentDirectory, from, to: FileSystem.currentDirectory, to)
            }
        }
    }

    private static func withPointer(_ path: [UInt8], _ body: (UnsafePointer<CChar>) throws(Errno) -> Void) throws(Errno)
    {
        try (path + [0]).withUnsafeBufferPointer { buffer throws(Errno) in
            try buffer.withMemoryRebound(to: CChar.self) { pointer throws(Errno) in try body(pointer.baseAddress!) }
        }
    }
}

/// Reads a writer's cache in key order.
package final class CacheReader: KnownEntries {
    package let identity: CacheIdentity
    /// Content keys of the nodes and lists of extents of the point's tree.
    package let nodes: Set<ContentKey>
    /// Unchanged small files that are to be read and bundled again in this run.
    package let plan: RebundlePlan

    let file: FileDescriptor
    /// Where the blocks of entries end.
    let end: UInt64
    private var offset: UInt64
    private var block: [UInt8] = []
    private var position = 0
    private var currentKey: [UInt8] = []
    private var hasCurrent = false
    private var payload: Range<Int> = 0..<0
    private var names = CachedNames()
    private var bytesOfNextBlock: [UInt8] = []

    /// Opens a cache; `nil` when there is none or it is of another version or damaged where it matters at once.
    package init?(path: [UInt8]) {
        guard let file = try? FileDescriptor.open(path, .readOnly) else { return nil }
        guard let size = try? file.status().size, size >= UInt64(WriterCache.magic.count + 16) else { return nil }
        guard let head = CacheReader.read(file, at: 0, count: 8), head == WriterCache.magic,
            let footer = CacheReader.read(file, at: size - 16, count: 16),
            Array(footer[8...]) == WriterCache.closing
        else { return nil }
        let start = footer.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) }
        guard start >= 8, start < size, let last = CacheReader.block(file, at: start, end: size - 16) else {
            return nil
        }
        let decoded = try? last.withUnsafeBytes { bytes -> (CacheIdentity, Set<ContentKey>, RebundlePlan) in
            var reader = ByteReader(bytes)
            let identity = try CacheIdentity(from: &reader)
            let count = try reader.varint(atMost: reader.remaining / 32)
            var nodes = Set<ContentKey>(minimumCapacity: count)
            for _ in 0..<count { nodes.insert(ContentKey(try reader.digest())) }
            let plan = try RebundlePlan.decode(try reader.counted(atMost: reader.remaining))
            return (identity, nodes, plan)
        }
        guard let decoded else { return nil }
        (identity, nodes, plan) = decoded
        self.file = file
        offset = 8
        end = start
    }

    static func read(_ file: borrowing FileDescriptor, at offset: UInt64, count: Int) -> [UInt8]? {
        var complete = false
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            let read = try? file.readFully(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
            complete = read == count
            initialized = complete ? count : 0
        }
        return complete ? bytes : nil
    }

    static func block(_ file: borrowing FileDescriptor, at offset: UInt64, end: UInt64) -> [UInt8]? {
        guard offset + 12 <= end, let head = read(file, at: offset, count: 12) else { return nil }
        let (length, sum) = head.withUnsafeBytes {
            (
                Int(UInt32(littleEndian: $0.loadUnaligned(as: UInt32.self))),
                UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: 4, as: UInt64.self))
            )
        }
        guard length <= WriterCache.maximumBlock, offset + 12 + UInt64(length) <= end,
            let bytes = read(file, at: offset + 12, count: length),
            bytes.withUnsafeBytes({ WriterCache.checksum($0) }) == sum
        else { return nil }
        return bytes
    }

    /// What the cache knows of `key`. Keys must be asked in ascending order; what lies between is skipped.
    /// - Parameter isSame: decides from the identity, size and modification time whether the rest is wanted at all.
    /// - Returns: the cached entry; `nil` when the cache has none or it is not wanted.
    package func find(
        _ key: [UInt8], where isWanted: (FileIdentity, EntryKind, UInt64, FileTime) -> Bool
    ) -> CachedEntry? {
        while hasCurrent || advance() {
            let order = CacheReader.compare(currentKey, key)
            if order > 0 { return nil }
            hasCurrent = false
            if order == 0 { return decode(isWanted) }
        }
        return nil
    }

    /// Whether a key at or behind the last one asked for begins with `prefix`; what lies before it is skipped.
    package func hasKey(beginningWith prefix: [UInt8]) -> Bool {
        _ = find(prefix) { _, _, _, _ in false }
        return (hasCurrent || advance()) && currentKey.starts(with: prefix)
    }

    /// What is read from a file says nothing about renames.
    package func isMoved(_ key: [UInt8]) -> Bool { false }

    private func decode(_ isWanted: (FileIdentity, EntryKind, UInt64, FileTime) -> Bool) -> CachedEntry? {
        block.withUnsafeBytes { bytes -> CachedEntry? in
            var reader = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[payload]))
            guard let head = try? CachedEntryCoding.decodeHead(&reader),
                isWanted(head.identity, head.kind, head.size, head.mtime)
            else { return nil }
            return try? CachedEntryCoding.decodeRest(&reader, key: currentKey, head: head, names: &names)
        }
    }

    /// Steps to the next record; `false` at the end or at damage.
    private func advance() -> Bool {
        if position >= block.count {
            guard offset < end, let next = CacheReader.block(file, at: offset, end: end) else {
                offset = end
                return false
            }
            offset += 12 + UInt64(next.count)
            block = next
            position = 0
            currentKey.removeAll(keepingCapacity: true)
        }
        let parsed = try? block.withUnsafeBytes { bytes -> (Int, Int, Range<Int>, Range<Int>) in
            var reader = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[position...]))
            let length = try reader.varint(atMost: reader.remaining)
            let recordStart = position + reader.offset
            var record = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[recordStart..<(recordStart + length)]))
            let shared = try record.varint(atMost: currentKey.count)
            let rest = try record.varint(atMost: FormatLimits.keyLength)
            let restStart = recordStart + record.offset
            _ = try record.slice(rest)
            return (
                shared, recordStart + length, restStart..<(restStart + rest),
                (restStart + rest)..<(recordStart + length)
            )
        }
        guard let (shared, next, rest, payload) = parsed else {
            position = block.count
            offset = end
            return false
        }
        currentKey.removeLast(currentKey.count - shared)
        currentKey.append(contentsOf: block[rest])
        self.payload = payload
        position = next
        hasCurrent = true
        return true
    }

    static func compare(_ a: [UInt8], _ b: [UInt8]) -> Int {
        let common = min(a.count, b.count)
        let order =
            common == 0
            ? 0 : a.withUnsafeBytes { a in b.withUnsafeBytes { b in memcmp(a.baseAddress!, b.baseAddress!, common) } }
        return order != 0 ? Int(order) : a.count - b.count
    }
}
