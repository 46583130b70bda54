import Glibc
import Model
import Platform
import Synchronization
import Vault

/// Reads the metadata and contents of the paths in a batch; one per reading thread.
///
/// A file that changes while it is read is read again, up to ten times with growing pauses; if it goes on changing the
/// last reading is kept and marked. A file that only grew is kept as it was at first. A permission error is never
/// retried. Nothing here ends a backup: what cannot be read becomes a warning of the point.
final class FileReader {
    /// The pauses before reading a changing file again, in milliseconds; in all about a second.
    private static let pauses: [UInt32] = [1, 2, 5, 10, 20, 50, 100, 200, 300, 300]

    private let pipeline: SealingPipeline
    private let slabs: SlabPool
    private let secret: DomainSecret
    private let chunker: Chunker
    let progress: CaptureProgress
    private let changeTimes: ChangeTimeTrust
    let staging: StagingPlace?
    private let clones: CloneRoom
    /// The file system of the last file, and how it keeps change times.
    private var clock: (device: UInt64, clock: ChangeTimeTrust.Clock)?
    private var attributes = AttributeReader()
    private var openSlab = OpenSlab()

    /// - Parameters:
    ///   - slabs: the slabs for large files; small ones are read into the slab of their batch.
    ///   - staging: for what has to be taken at once, as databases that are written all the time.
    init(
        pipeline: SealingPipeline, slabs: SlabPool, secret: DomainSecret, progress: CaptureProgress,
        changeTimes: ChangeTimeTrust = .thisKernel, staging: StagingPlace? = nil
    ) {
        self.staging = staging
        clones = CloneRoom(staging)
        self.pipeline = pipeline
        self.slabs = slabs
        self.secret = secret
        self.progress = progress
        self.changeTimes = changeTimes
        chunker = Chunker(gearTable: secret.gearTable)
    }

    /// Completes every item of the batch. Throws only what ends the backup: the vault's errors, and a stop.
    func complete(_ batch: CaptureBatch) throws {
        var slabUsed = 0
        for index in batch.items.indices {
            if case .none = batch.items[index].work { continue }
            if progress.stopRequested.load(ordering: .relaxed) {
                throw HoldfastError(.cancelled, "the backup was stopped")
            }
            try complete(&batch.items[index], batch, &slabUsed)
        }
    }

    private func complete(_ item: inout CaptureItem, _ batch: CaptureBatch, _ slabUsed: inout Int) throws {
        let start = item.name.lowerBound
        // The names of the batch do not change any more, so the pointer stays.
        try batch.names.withUnsafeBytes { names in
            let pointer = (names.baseAddress! + start).assumingMemoryBound(to: CChar.self)
            do throws(Errno) {
                switch item.status.kind {
                case .regular: try readRegular(&item, pointer, batch)
                case .directory: try readDirectory(&item, pointer, batch)
                case .symbolicLink:
                    try readMetadata(&item, directory: item.directory!.raw, pointer, batch)
                    item.entry?.target = try FileSystem.linkTarget(at: item.directory!.raw, pointer)
                default: try readMetadata(&item, directory: item.directory!.raw, pointer, batch)
                }
            } catch {
                skip(&item, error, batch)
                return
            }
            guard !item.isGone, item.status.kind == .regular, let opened = openedFile else { return }
            openedFile = nil
            item.isFresh = !changeTimes.vouches(
                for: FileTime(item.status.changed), readAt: SystemClock.wall, on: clock(of: opened, item.status.device))
            switch item.work {
            case .small, .large:
                if item.status.size >= SQLiteSnapshot.smallest, SQLiteSnapshot.isDatabase(opened.descriptor) {
                    let name = Array(UnsafeRawBufferPointer(rebasing: names[start..<(item.name.upperBound - 1)]))
                    return try readDatabase(&item, opened, name, batch, &slabUsed)
                }
                if names[item.name.upperBound - 2] == UInt8(ascii: "l") {
                    let name = Array(UnsafeRawBufferPointer(rebasing: names[start..<(item.name.upperBound - 1)]))
                    if try readJournal(&item, opened, name, batch, &slabUsed) { return }
                }
                if case .small = item.work {
                    try readSmall(&item, opened, batch, &slabUsed)
                } else {
                    try readLarge(&item, opened, batch)
                }
            case .link(let cell): item.content = .link(cell)
            case .none, .metadata: break
            }
        }
    }

    /// The regular file that `readRegular` opened, for reading its content.
    private var openedFile: DirectoryHandle?

    func clock(of file: DirectoryHandle, _ device: UInt64) -> ChangeTimeTrust.Clock {
        if let clock, clock.device == device { return clock.clock }
        let space = try? FileSystem.space(descriptor: file.raw)
        let found = ChangeTimeTrust.Clock(type: space?.typeName, isNetwork: space?.isNetwork == true)
        clock = (device, found)
        return found
    }

    func skip(_ item: inout CaptureItem, _ error: Errno, _ batch: CaptureBatch) {
        if error == .noEntry || error == .stale || error == .symbolicLink {
            // Gone or replaced since it was listed: as if it had gone just before. The next run sees what is there.
            item.isGone = true
            warn(.vanished, item, "it vanished or was replaced while the backup ran", batch)
            return
        }
        if item.entry == nil { item.entry = makeEntry(item) }
        if item.status.kind == .regular, item.status.size > 0 { item.entry?.remarks.insert(.contentMissing) }
        warn(error.isDenied ? .denied : .io, item, "it cannot be read: \(error)", batch)
    }

    func warn(_ reason: PointWarning.Reason, _ item: CaptureItem, _ text: String, _ batch: CaptureBatch) {
        progress.warnings.wrappingAdd(1, ordering: .relaxed)
        batch.warnings.append(
            PointWarning(reason: reason, path: TreePath(key: item.key)?.bytes ?? item.key, text: text))
    }

    // MARK: Metadata

    private func makeEntry(_ item: CaptureItem) -> Entry {
        let status = item.status
        var entry = Entry(kind: EntryKind(rawValue: status.kind.rawValue)!, mode: status.mode)
        entry.uid = status.uid
        entry.gid = status.gid
        entry.user = Accounts.userName(status.uid)
        entry.group = Accounts.groupName(status.gid)
        entry.mtime = FileTime(status.modified)
        entry.remarks = item.extraRemarks
        switch status.kind {
        case .regular: entry.size = status.size
        case .characterDevice, .blockDevice: entry.device = status.specialDevice
        default: break
        }
        if status.kind != .directory, status.links > 1 {
            entry.linkGroup = LinkGroup(device: status.device, inode: status.inode)
        }
        return entry
    }

    private func readMetadata(
        _ item: inout CaptureItem, directory: Int32, _ name: UnsafePointer<CChar>, _ batch: CaptureBatch
    ) throws(Errno) {
        var entry = makeEntry(item)
        entry.attributes = try attributes.read(at: directory, name).map {
            ExtendedAttribute(name: $0.name, value: $0.value)
        }
        for failure in attributes.failures {
            let name = TreePath.display(failure.name)
            warn(.metadata, item, "its attribute \(name) cannot be read: \(failure.error)", batch)
        }
        item.entry = entry
    }

    private func readRegular(
        _ item: inout CaptureItem, _ name: UnsafePointer<CChar>, _ batch: CaptureBatch
    ) throws(Errno) {
        let descriptor: FileDescriptor
        do {
            descriptor = try FileDescriptor.openForReading(at: item.directory!.raw, name)
        } catch {
            // Without the right to read, owner, mode and often the attributes can still be had.
            if error.isDenied { try readMetadata(&item, directory: item.directory!.raw, name, batch) }
            throw error
        }
        let file = DirectoryHandle(descriptor)
        let opened = try file.descriptor.status()
        if FileReader.changed(item.status, opened) { try adopt(opened, &item) }
        try readMetadata(&item, directory: file.raw, FileReader.empty, batch)
        item.entry?.flags = try FileSystem.flags(descriptor: file.raw).intersection(.settable).rawValue
        openedFile = file
    }

    /// Takes what was opened for what was listed: between the two a file may have been written to, or another may have
    /// taken its name, as every program does that saves by renaming. Owner, size and way of reading are then the new one's.
    private func adopt(_ opened: FileStatus, _ item: inout CaptureItem) throws(Errno) {
        // What is no file any more is seen by the next run.
        guard opened.kind == .regular else { throw .noEntry }
        let promised = item.status.size
        let isOther = opened.inode != item.status.inode || opened.device != item.status.device
        item.status = opened
        item.isReplaced = isOther
        switch item.work {
        case .link where !isOther: return
        // The slab of the batch has room for what was listed.
        case .small where opened.size > 0 && opened.size <= promised: return
        default:
            item.work = opened.size == 0 ? .metadata : .large
            // What was taken over from a rename is no longer its content.
            (item.content, item.contentHash, item.chunks, item.pieces) = (.none, nil, [], [])
        }
    }

    private func readDirectory(
        _ item: inout CaptureItem, _ name: UnsafePointer<CChar>, _ batch: CaptureBatch
    ) throws(Errno) {
        // The root has no name: its own handle is the directory.
        if name.pointee == 0 {
            try readMetadata(&item, directory: item.directory!.raw, FileReader.empty, batch)
            item.entry?.flags = try FileSystem.flags(descriptor: item.directory!.raw).intersection(.settable).rawValue
            return
        }
        try readMetadata(&item, directory: item.directory!.raw, name, batch)
        // A directory that cannot be opened is warned of when the walk descends into it.
        if let opened = try? FileDescriptor.openDirectory(at: item.directory!.raw, name),
            let flags = try? FileSystem.flags(descriptor: opened.raw)
        {
            item.entry?.flags = flags.intersection(.settable).rawValue
        }
    }

    nonisolated(unsafe) private static let empty: UnsafePointer<CChar> = {
        let pointer = UnsafeMutablePointer<CChar>.allocate(capacity: 1)
        pointer.pointee = 0
        return UnsafePointer(pointer)
    }()

    /// Whether the content may have changed between two statuses of the same open file.
    private static func changed(_ a: FileStatus, _ b: FileStatus) -> Bool {
        a.size != b.size || a.modified != b.modified || a.changed != b.changed || a.inode != b.inode
            || a.device != b.device
    }

    // MARK: Small files

    /// - Parameter isOnce: it is not read again when it changes.
    /// - Returns: `false` when it was not read because of that.
    @discardableResult
    func readSmall(
        _ item: inout CaptureItem, _ file: DirectoryHandle, _ batch: CaptureBatch, _ slabUsed: inout Int,
        isOnce: Bool = false
    ) throws -> Bool {
        guard let slab = batch.slab else {
            throw pipeline.failure ?? HoldfastError(.cancelled, "the backup was stopped")
        }
        let promised = Int(item.status.size)
        let start = slabUsed
        slabUsed += promised
        var before = item.status
        var attempt = 0
        var lastHash: ContentHash?
        while true {
            let length: Int
            let after: FileStatus
            do throws(Errno) {
                // Never more than was promised at first: what grows is cut there.
                length = try file.descriptor.readFully(
                    into: UnsafeMutableRawBufferPointer(start: slab.base + start, count: promised), at: 0)
                after = try file.descriptor.status()
            } catch {
                skip(&item, error, batch)
                return true
            }
            progress.bytesRead.wrappingAdd(UInt64(length), ordering: .relaxed)
            let bytes = slab.bytes(start..<(start + length))
            let hash = XXH3.hash128(bytes, seed: secret.bundleSeed)
            let contentHash = ContentHash(high: hash.high, low: hash.low)
            let isStable = !FileReader.changed(before, after)
            // Only growth beyond what was read: the first bytes are the same on both readings.
            let onlyGrew = after.size > UInt64(length) && length == promised && lastHash == contentHash
            if isOnce, !isStable { return false }
            if isStable || onlyGrew || attempt == FileReader.pauses.count {
                if !isStable && !onlyGrew {
                    item.entry?.remarks.insert(.fuzzy)
                    warn(.changed, item, "it went on changing while it was read; what was read last is kept", batch)
                }
                if !isStable { refresh(&item, after) }
                item.entry?.size = UInt64(length)
                progress.filesRead.wrappingAdd(1, ordering: .relaxed)
                if let cached = item.cached, cached.contentHash == contentHash, cached.entry.size == UInt64(length) {
                    item.content = .known(cached.entry.content)
                } else if length == 0 {
                    item.content = .none
                } else {
                    let rule = XXH3.hash(bytes, seed: secret.bundleSeed)
                    item.content = .small(start..<(start + length), contentHash, rule: rule)
                }
                item.contentHash = length == 0 ? nil : contentHash
                return true
            }
            lastHash = contentHash
            usleep(FileReader.pauses[attempt] * 1000)
            attempt += 1
            before = after
        }
    }

    /// Takes over the status of after a change. The identity is left as it was before, so that the next run looks again.
    private func refresh(_ item: inout CaptureItem, _ after: FileStatus) {
        item.entry?.mtime = FileTime(after.modified)
        item.entry?.mode = after.mode
    }

    // MARK: Large files

    func readLarge(_ item: inout CaptureItem, _ file: DirectoryHandle, _ batch: CaptureBatch) throws {
        var known = item.cached?.chunks ?? []
        var knownPieces = item.cached?.pieces ?? []
        var before = item.status
        var attempt = 0
        let size = item.status.size
        while true {
            // Only what was seen to change: a clone makes the next writes of the file go elsewhere on the disk.
            if size >= CloneRoom.leastSize, attempt > 0,
                try readClone(&item, file, known, knownPieces)
            {
                return
            }
            let result: LargeFile
            let after: FileStatus
            do {
                result = try read(
                    .file(file), size, isSparse: before.blocks < before.size / 512, known, knownPieces)
                after = try file.descriptor.status()
            } catch let error as Errno {
                skip(&item, error, batch)
                return
            }
            let isStable = !FileReader.changed(before, after)
            let onlyGrew = attempt > 0 && result.cutChunks == 0 && result.length == size && after.size >= size
            if isStable || onlyGrew || attempt == FileReader.pauses.count {
                if !isStable && !onlyGrew {
                    item.entry?.remarks.insert(.fuzzy)
                    warn(.changed, item, "it went on changing while it was read; what was read last is kept", batch)
                }
                if !isStable { refresh(&item, after) }
                take(result, &item)
                return
            }
            (known, knownPieces) = try remembered(result)
            usleep(FileReader.pauses[attempt] * 1000)
            attempt += 1
            before = after
        }
    }

    /// Reads what the file is at one moment, where its file system can keep that.
    ///
    /// - Returns: whether it could.
    private func readClone(
        _ item: inout CaptureItem, _ file: DirectoryHandle, _ known: [CachedChunk], _ knownPieces: [ContentKey]
    ) throws -> Bool {
        guard let clone = clones.clone(of: file, item.status) else { return false }
        do {
            let status = try clone.descriptor.status()
            let after = try file.descriptor.status()
            let result = try read(
                .file(clone), status.size, isSparse: status.blocks < status.size / 512, known, knownPieces)
            // What was known of the file before it was cloned stays its identity: later changes are seen by it.
            if FileReader.changed(item.status, after) { refresh(&item, after) }
            take(result, &item)
            return true
        } catch is Errno {
            // The file itself can still be read.
            return false
        }
    }

    /// One reading.
    func read(
        _ content: FileContent, _ size: UInt64, isSparse: Bool, _ known: [CachedChunk], _ knownPieces: [ContentKey]
    ) throws -> LargeFile {
        var run = LargeFileReading(
            file: content, size: size, isSparse: isSparse, known: known, knownPieces: knownPieces, pipeline: pipeline,
            slabs: slabs, chunker: chunker, secret: secret, progress: progress, open: openSlab)
        defer { openSlab = run.open }
        return try run.run()
    }

    /// Takes what was read as the item's content.
    func take(_ result: LargeFile, _ item: inout CaptureItem) {
        item.entry?.size = result.length
        item.content = result.deferred.isEmpty ? .known(result.content) : .chunks(result.deferred)
        item.chunks = result.chunks
        item.pieces = result.pieces
        progress.filesRead.wrappingAdd(1, ordering: .relaxed)
    }

    /// For another reading: what did not change since this one is recognised by its hashes, at memory speed.
    func remembered(_ result: LargeFile) throws -> (chunks: [CachedChunk], pieces: [ContentKey]) {
        var known = result.chunks
        for chunk in result.deferred {
            known.append(
                CachedChunk(length: chunk.length, hash: chunk.hash, key: try pipeline.wait(for: chunk.ticket)))
        }
        return (known, result.pieces)
    }

    /// Whether a change after `time` would be seen by a status of the file that was read then.
    func vouches(for status: FileStatus, at time: Int64, _ file: DirectoryHandle) -> Bool {
        changeTimes.vouches(for: FileTime(status.changed), readAt: time, on: clock(of: file, status.device))
    }
}
