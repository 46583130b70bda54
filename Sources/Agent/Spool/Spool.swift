package import Catalog
package import Model
import Platform
import Synchronization
package import Vault

/// How much a spool may hold.
package struct SpoolLimits: Sendable {
    /// Bytes at most.
    package var size: UInt64 = 10 << 30
    /// What is stored in the vault stays so long as local history, in nanoseconds.
    package var history: Int64 = 72 * 3_600_000_000_000
    /// And uses at most so many hundredths of the free disk.
    package var historyPercent: UInt64 = 10
    /// The spool gives way before less than this is free, in bytes; of a small disk a twentieth is enough.
    package var keepFree: UInt64 = 1 << 30

    package init() {}
}

/// Versions on their way to the vault, and those of the last days: packs as the vault will hold them, and an index.
///
/// Every version goes through it: captured, then sent. What is sent stays for a while as local history, which can be restored
/// without a network. Contents are sealed with the keys that they have in the vault; who can read the index can open them.
package final class Spool: BlobIntake, BlobSource {
    /// In its directory.
    private static let indexName = "index.sqlite"
    private static let packsName = "packs"

    package let index: SpoolIndex
    package let directory: [UInt8]
    private let vault: VaultID
    private let packs: FileDescriptor
    private let limits: SpoolLimits
    /// Held until `close`: packs that one does not know it takes for leftovers.
    private let lock: FileLockHolder

    private struct State {
        /// Bytes of packs.
        var used: UInt64 = 0
        /// Keys of blobs that were asked for and are to come.
        var keys: [BlobID: ContentKey] = [:]
        /// The moment that is being sent, which nothing is joined with.
        var sending: Int64?
        /// Something was refused for lack of room since the last time that it went well.
        var isFull = false
        var isUnsynchronized = false
    }
    private let state = Mutex(State())

    /// Opens the spool in a directory, making both.
    package init(directory: [UInt8], vault: VaultID, limits: SpoolLimits = SpoolLimits()) throws {
        self.directory = directory
        self.vault = vault
        self.limits = limits
        do throws(Errno) {
            for path in [directory, directory + Array("/\(Spool.packsName)".utf8)] {
                do throws(Errno) {
                    try withCName(path) { (name) throws(Errno) in
                        try FileSystem.makeDirectory(at: FileSystem.currentDirectory, name, mode: 0o700)
                    }
                } catch { if error != .exists { throw error } }
            }
            packs = try FileDescriptor.open(
                directory + Array("/\(Spool.packsName)".utf8), [.readOnly, .directory, .followLink])
        } catch {
            throw Spool.failure("The spool in \(TreePath.display(directory)) cannot be opened", error)
        }
        lock = try Spool.lock(directory)
        index = try SpoolIndex(path: String(decoding: directory, as: UTF8.self) + "/" + Spool.indexName)
        do {
            try removeStrangers()
            let used = try index.summary().bytes
            state.withLock { $0.used = used }
        } catch let error as HoldfastError where error.code == .spoolDamaged { try startAnew() }
    }

    /// Empties the spool: its index is damaged. To be called while nothing is captured and nothing sent.
    package func startAnew() throws {
        try index.startAnew()
        state.withLock { $0 = State() }
        try removeStrangers()
    }

    private final class FileLockHolder: Sendable {
        private let held: Mutex<FileLock?>
        init(_ lock: consuming sending FileLock) { held = Mutex(lock) }
        func release() { held.withLock { if let lock = $0.take() { lock.release() } } }
    }

    /// Lets another agent have the spool, whoever still looks into this one. To be called when nothing is captured or sent any more.
    package func close() { lock.release() }

    private static func lock(_ directory: [UInt8]) throws -> FileLockHolder {
        do throws(Errno) {
            let file = try FileDescriptor.open(directory + Array("/lock".utf8), [.readWrite, .create], mode: 0o600)
            if let lock = try FileLock.acquire(file) { return FileLockHolder(lock) }
        } catch { throw failure("The spool in \(TreePath.display(directory)) cannot be locked", error) }
        throw HoldfastError(
            .busy, "Another agent uses the spool in \(TreePath.display(directory)).", isTemporary: true)
    }

    private static func failure(_ what: String, _ error: Errno) -> HoldfastError {
        HoldfastError(error.isNoSpace ? .noSpace : .io, "\(what): \(error).", cause: error)
    }

    /// Packs that the index does not know: of a capture that was cut short.
    private func removeStrangers() throws {
        let known = Set(try index.packNames().map { Array($0.hex.utf8) })
        var strangers: [[UInt8]] = []
        do throws(Errno) {
            var reader = DirectoryReader()
            reader.start(packs.raw)
            while let name = try reader.next() {
                if !known.contains(Array(name.bytes)) { strangers.append(Array(name.bytes)) }
            }
            for name in strangers {
                try withCName(name) { (name) throws(Errno) in try FileSystem.remove(at: packs.raw, name) }
            }
        } catch { throw Spool.failure("The spool cannot be read", error) }
    }

    // MARK: Room

    private struct Room {
        /// Bytes that packs may use in all.
        var most: UInt64
        /// Above this history is dropped.
        var history: UInt64
    }

    private func room(used: UInt64) throws -> Room {
        let space: FileSystemSpace
        do throws(Errno) { space = try FileSystem.space(descriptor: packs.raw) } catch {
            throw Spool.failure("The room on the spool's disk cannot be found out", error)
        }
        let kept = min(limits.keepFree, space.total / 20)
        let reach = used + space.available
        return Room(
            most: min(limits.size, reach > kept ? reach - kept : 0),
            history: min(limits.size, reach / 100 * limits.historyPercent))
    }

    /// Whether the last captured version did not fit.
    package var isFull: Bool { state.withLock { $0.isFull } }
    /// What did not fit has gone to the vault past it.
    package func wasPassed() { state.withLock { $0.isFull = false } }
    /// Bytes that packs may use at most, as the disk is now.
    package func most() throws -> UInt64 { try room(used: used).most }
    /// Bytes that could be used by what is to come if all history went.
    package func roomBesideWaiting() throws -> UInt64 {
        let (most, waiting) = (try most(), try index.waitingBytes())
        return most > waiting ? most - waiting : 0
    }
    /// Bytes of packs.
    package var used: UInt64 { state.withLock { $0.used } }

    // MARK: Intake

    package func missing(_ blobs: [BlobQuestion], lease: LeaseID) throws -> [Bool] {
        let missing = try index.missing(blobs.map(\.id))
        state.withLock { state in
            for (blob, isMissing) in zip(blobs, missing) where isMissing { state.keys[blob.id] = blob.key }
        }
        return missing
    }

    package func store(_ pack: SealedPack, lease: LeaseID) throws {
        let keys = state.withLock { state in
            pack.blobs.map { blob in state.keys.removeValue(forKey: blob.id) }
        }
        let size = UInt64(pack.bytes.count)
        let used = state.withLock { $0.used }
        if used + size > (try room(used: used)).most {
            state.withLock { $0.isFull = true }
            throw HoldfastError(
                .noSpace, "The spool for what waits to be sent is full (\(Units.size(used))).", isTemporary: true)
        }
        try write(pack)
        let blobs = zip(pack.blobs, keys).map { blob, key in
            SpoolBlob(id: blob.id, key: key, start: blob.offset, length: blob.framedLength)
        }
        try index.add(pack.name, bytes: size, blobs)
        state.withLock { state in
            state.used += size
            state.isUnsynchronized = true
        }
    }

    private func write(_ pack: SealedPack) throws {
        let name = pack.name.hex
        do throws(Errno) {
            let file = try withCName(Array(name.utf8)) { (name) throws(Errno) in
                try FileDescriptor.open(at: packs.raw, name, [.writeOnly, .create, .truncate], mode: 0o600)
            }
            do throws(Errno) {
                try file.writeAll(pack.bytes)
            } catch {
                remove(pack.name)
                throw error
            }
        } catch {
            if error.isNoSpace { state.withLock { $0.isFull = true } }
            throw Spool.failure("A version cannot be kept in the spool", error)
        }
    }

    /// Adds a moment: what changed since the one before.
    package func append(
        _ changes: EntryMemory.Changes, _ record: PointRecord, time: Timestamp, totals: PointStatistics,
        access: (_ key: [UInt8]) -> [UInt8]
    ) throws -> Int64 {
        let sequence = try index.append(changes, record, time: time, totals: totals, access: access)
        state.withLock { state in
            state.isFull = false
            state.isUnsynchronized = true
        }
        return sequence
    }

    /// What was captured survives a power cut from here on; nothing is done when it does already.
    package func synchronize() throws {
        guard state.withLock({ $0.isUnsynchronized }) else { return }
        state.withLock { $0.isUnsynchronized = false }
        do {
            try FileSystem.syncFileSystem(descriptor: packs.raw)
            try index.synchronize()
        } catch {
            state.withLock { $0.isUnsynchronized = true }
            guard let errno = error as? Errno else { throw error }
            throw Spool.failure("The spool cannot be written to the disk", errno)
        }
    }

    // MARK: Sending

    /// The oldest moment that waits; until `sent` it is joined with no other.
    package func beginSending() throws -> SpoolMoment? {
        while let moment = try index.firstWaiting() {
            state.withLock { $0.sending = moment.sequence }
            // It may have been joined with others in between.
            if try index.firstWaiting()?.sequence == moment.sequence { return moment }
        }
        state.withLock { $0.sending = nil }
        return nil
    }

    package func endSending() { state.withLock { $0.sending = nil } }

    /// A pack as it was captured. Throws `spoolDamaged` when it is not there or not what it was.
    package func load(_ pack: SpoolPack) throws -> SealedPack {
        do {
            let file = try FileDescriptor.open(at: packs.raw, pack.name.hex, [.readOnly])
            let sealed = try SealedPack(parsing: try file.readAll(limit: FormatLimits.packLength), vault: vault)
            if sealed.name == pack.name { return sealed }
        } catch let error as Errno where !error.isGone {
            throw Spool.failure("A pack of the spool cannot be read", error)
        } catch {}
        throw HoldfastError(
            .spoolDamaged, "The spool holds something else than what was put there; what is on the disk is read again.")
    }

    package func read(_ ids: [BlobID], _ body: (BlobID, UnsafeRawBufferPointer) throws -> Void) throws {
        var found: Set<BlobID> = []
        for (pack, blob) in try index.places(of: ids) {
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: blob.length, alignment: 64)
            defer { buffer.deallocate() }
            do throws(Errno) {
                let file = try FileDescriptor.open(at: packs.raw, pack.hex, [.readOnly])
                guard try file.readFully(into: buffer, at: blob.start) == blob.length else { continue }
            } catch { continue }
            let framed = UnsafeRawBufferPointer(buffer)
            guard let frame = try? BlobFrame(framed), frame.id == blob.id, frame.isIntact(framed) else { continue }
            do { try body(blob.id, framed) } catch let error as HoldfastError where error.code == .damaged { continue }
            found.insert(blob.id)
        }
        let lost = ids.filter { !found.contains($0) }
        guard lost.isEmpty else {
            var error = HoldfastError(.damaged, "\(lost.count) blobs are not in the spool")
            error.blobs = lost
            throw error
        }
    }

    // MARK: Freeing

    /// Looks after the room: what is older than the history may be goes, then the oldest of it while there is too much, then of
    /// paths that wait in several versions all but the last. To be called by who captures, while nothing is captured.
    package func makeRoom(now: Timestamp) throws {
        // What a capture left that did not come to its end is no room that was made.
        try removeUnused()
        let before = used
        try index.expire(before: Timestamp(nanoseconds: now.nanoseconds - limits.history))
        try removeUnused()
        let room = try room(used: used)
        try dropHistory { self.used <= room.history }
        // What waits is thinned when nothing else helps.
        if used > room.most - room.most / 10 { try thin() }
        try index.shrink()
        // Full it is while something does not fit, not because something did not once.
        if used < before || used <= room.most / 2 { state.withLock { $0.isFull = false } }
    }

    /// Makes room for a version of so many bytes: history goes, oldest first and no more of it than that takes, then of paths that
    /// wait in several versions all but the last. Where all of that would not do, nothing goes. To be called as `makeRoom(now:)`.
    ///
    /// - Returns: whether there is room for it.
    package func makeRoom(for bytes: UInt64, now: Timestamp) throws -> Bool {
        try removeUnused()
        if try hasRoom(for: bytes) { return true }
        guard try couldHold(bytes) else { return false }
        try index.expire(before: Timestamp(nanoseconds: now.nanoseconds - limits.history))
        try removeUnused()
        try dropHistory { try self.hasRoom(for: bytes) }
        if try !hasRoom(for: bytes) { try thin() }
        try index.shrink()
        return try hasRoom(for: bytes)
    }

    /// Whether a version of so many bytes had room if all went that can go: history, and of paths that wait in several versions
    /// all but the last.
    package func couldHold(_ bytes: UInt64) throws -> Bool {
        let (most, needed) = (try most(), Spool.sealed(bytes))
        if try index.waitingBytes() + needed <= most { return true }
        let sending = state.withLock { $0.sending }
        return try index.waitingBytesJoined(after: sending ?? 0) + needed <= most
    }

    private func hasRoom(for bytes: UInt64) throws -> Bool { try used + Spool.sealed(bytes) <= most() }

    /// What so many bytes take in packs, when they cannot be compressed.
    private static func sealed(_ bytes: UInt64) -> UInt64 {
        let bytes = min(bytes, UInt64.max / 4)
        return bytes + bytes / 64 + (16 << 10)
    }

    /// Drops history, the oldest first, until it is enough or none is left.
    private func dropHistory(until isEnough: () throws -> Bool) throws {
        var count = 1
        while try !isEnough() {
            var isSpent = false
            for _ in 0..<count where !isSpent { isSpent = try !index.dropOldest() }
            try removeUnused()
            if isSpent { return }
            count = min(2 * count, 32)
        }
    }

    /// Removes what a capture has left that did not come to its end. To be called while nothing is captured.
    package func discardUnused() throws { try removeUnused() }

    /// Keeps of each path that waits the last version only.
    private func thin() throws {
        // Nothing begins to be sent meanwhile.
        let partly = try state.withLock { state in
            try index.joinWaiting(after: state.sending ?? 0, label: Spool.thinnedLabel)
        }
        guard let partly else { return }
        try removeUnused()
        for pack in partly {
            guard let old = try? load(pack.pack), old.packClass == .data || !pack.live.isEmpty else { continue }
            try rewrite(pack, old)
        }
    }

    /// The label of a point that stands for several moments.
    package static let thinnedLabel = "thinned"

    private func rewrite(_ pack: SpoolIndex.PartlyUsed, _ old: SealedPack) throws {
        if pack.live.isEmpty { return }
        var builder = PackBuilder(vault: vault, writer: old.writer, packClass: old.packClass)
        let keys = Dictionary(pack.live.map { ($0.id, $0.key) }) { first, _ in first }
        for blob in old.blobs where keys[blob.id] != nil { try builder.append(from: old.bytes, blob) }
        if builder.isEmpty { return }
        let new = try builder.finish()
        try write(new)
        let blobs = new.blobs.map { blob in
            SpoolBlob(id: blob.id, key: keys[blob.id] ?? nil, start: blob.offset, length: blob.framedLength)
        }
        try index.replace(pack.pack, with: new.name, bytes: UInt64(new.bytes.count), blobs)
        remove(pack.pack.name)
        state.withLock { state in
            state.used = state.used + UInt64(new.bytes.count) - min(pack.pack.bytes, state.used)
            state.isUnsynchronized = true
        }
    }

    /// One that cannot be removed now goes at the next start.
    private func remove(_ name: PackName) { try? FileSystem.remove(at: packs.raw, name.hex) }

    private func removeUnused() throws {
        let names = try index.takeUnused()
        if names.isEmpty { return }
        for name in names {
            remove(name)
        }
        let used = try index.summary().bytes
        state.withLock { $0.used = used }
    }
}
