import Model
import Platform
import Synchronization
import Vault

/// Writes files, links and directories into the destination; one for each thread.
final class FileWriter {
    /// What all threads of a restore share.
    final class Context: Sendable {
        let root: OpenHandle
        let log: RestoreLog
        let progress: RestoreProgress
        let rights: MetadataWriter.Rights
        /// Files that stay open between their pieces.
        let openLimit: Int
        /// Distinguishes the names of unfinished files of this point from those of others.
        let mark: UInt64
        let openFiles = Atomic<Int>(0)
        /// Files with other names get flags that forbid changes at the end.
        let lateFlags = Mutex<[(path: [UInt8], source: [UInt8], flags: UInt32)]>([])
        /// Further names that could not be linked and become files of their own.
        let unlinked = Mutex<[PendingLink]>([])
        /// What the end waits for.
        let written = WrittenFileSystems()
        /// What was changed since then is not replaced.
        let moment: PlanMoment?
        /// The destination, for messages.
        let destination: [UInt8]
        /// Where contents are only compared: what differs, by path in the point. Otherwise it is in the log.
        let differing: DifferingFiles?

        init(
            root: OpenHandle, log: RestoreLog, progress: RestoreProgress, rights: MetadataWriter.Rights, openLimit: Int,
            mark: UInt64, destination: [UInt8], differing: DifferingFiles?, moment: PlanMoment?
        ) {
            self.moment = moment
            self.destination = destination
            self.differing = differing
            self.root = root
            self.log = log
            self.progress = progress
            self.rights = rights
            self.openLimit = openLimit
            self.mark = mark
        }
    }

    let context: Context
    let metadata: MetadataWriter
    private var log: RestoreLog { context.log }
    private var progress: RestoreProgress { context.progress }
    private var comparison = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)

    init(_ context: Context) {
        self.context = context
        metadata = MetadataWriter(log: context.log, rights: context.rights)
    }

    deinit { comparison.deallocate() }

    // MARK: Regular files

    /// One piece of a file that may have others. Throws only what ends the restore.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, of job: FileJob) throws {
        do throws(Errno) {
            if job.purpose == .compare {
                try compare(bytes, at: offset, of: job)
            } else if let descriptor = try open(job) {
                defer { settle(job) }
                try FileWriter.writeAll(bytes, at: offset, to: descriptor)
                progress.bytesWritten.wrappingAdd(UInt64(bytes.count), ordering: .relaxed)
            }
        } catch {
            try fail(job, error)
        }
        try release(job)
    }

    /// A piece of a file is lost.
    func lose(_ job: FileJob) throws {
        try fail(job, .damaged, "a part of its content is damaged or missing in the vault, and there is no other copy")
        try release(job)
    }

    /// Ends the hold that a piece, or the planner, has on a file; the last one finishes it.
    func release(_ job: FileJob) throws {
        if job.releaseIsLast() { try finish(job) }
    }

    /// The open file, made when it is not there yet; `nil` after it failed. Every use ends with `settle`.
    func open(_ job: FileJob) throws(Errno) -> Int32? {
        try job.state.withLock { (state) throws(Errno) -> Int32? in
            if state.hasFailed { return nil }
            if state.descriptor < 0 {
                try open(job, &state)
                OpenHandle.openCount.wrappingAdd(1, ordering: .relaxed)
            }
            state.users += 1
            return state.descriptor
        }
    }

    /// Ends a use of the open file. With many unfinished files open it is closed until its next piece comes.
    private func settle(_ job: FileJob) {
        job.state.withLock { state in
            state.users -= 1
            if state.users == 0, state.descriptor >= 0, state.inode != 0,
                OpenHandle.openCount.load(ordering: .relaxed) > context.openLimit
            {
                FileWriter.close(&state)
            }
        }
    }

    private static func close(_ state: inout FileJob.State) {
        if state.descriptor < 0 { return }
        _ = FileDescriptor(owning: state.descriptor)
        state.descriptor = -1
        OpenHandle.openCount.wrappingSubtract(1, ordering: .relaxed)
    }

    private func open(_ job: FileJob, _ state: inout FileJob.State) throws(Errno) {
        let target = job.temporary ?? job.name
        if state.isCreated {
            let file = try target.withPointer { (pointer) throws(Errno) in
                try FileDescriptor.open(at: job.place.raw, pointer, .readWrite)
            }
            guard try file.status().inode == state.inode else { throw .stale }
            state.descriptor = file.release()
            return
        }
        let mode = metadata.directMode(job.entry, job.owner, in: job.directory)
        let isTemporary = job.temporary != nil
        let descriptor = try create(
            target, mode: isTemporary ? mode ?? 0o600 : FileWriter.unfinishedMode, isTemporary: isTemporary, job.place)
        state.descriptor = descriptor
        state.isCreated = true
        state.hasOwner = mode != nil
        if job.needsSize { state.inode = try FileSystem.status(at: descriptor, "").inode }
        let early = InodeFlags(rawValue: job.entry.flags).intersection(.beforeContent)
        // What cannot be set is reported at the end, with the other flags.
        if !early.isEmpty { _ = try? FileSystem.setFlags(descriptor: descriptor, early) }
        if job.needsSize { try FileWriter.truncate(descriptor, to: job.entry.size) }
    }

    /// What a file has that is written under its own name, from its first byte to its last: with a bit that means nothing
    /// for files, so that nobody's own looks like it, and readable by nobody else. A restore that was killed leaves it
    /// behind, and the next one knows it by that.
    static let unfinishedMode: UInt16 = 0o1600

    /// Whether a run that was interrupted left a file before it was complete.
    static func isUnfinished(_ status: FileStatus, _ entry: Entry) -> Bool {
        // The bits for the owner may be those that the process takes from new files.
        status.kind == .regular && entry.kind == .regular && status.mode & ~0o600 == 0o1000 && status.links == 1
            && status.size <= entry.size && entry.mode & ~0o600 != 0o1000
    }

    private func create(
        _ name: TerminatedName, mode: UInt16, isTemporary: Bool, _ place: OpenHandle
    ) throws(Errno) -> Int32 {
        try name.withPointer { (pointer) throws(Errno) in
            do throws(Errno) {
                return try FileDescriptor.open(
                    at: place.raw, pointer, [.readWrite, .create, .exclusive], mode: UInt32(mode)
                ).release()
            } catch {
                // Left behind by a run that was killed: the name is ours alone.
                guard error == .exists, isTemporary else { throw error }
                try FileSystem.remove(at: place.raw, pointer)
                return try FileDescriptor.open(
                    at: place.raw, pointer, [.readWrite, .create, .exclusive], mode: UInt32(mode)
                ).release()
            }
        }
    }

    private func finish(_ job: FileJob) throws {
        if job.purpose == .compare {
            defer { release(job.directory) }
            if !job.state.withLock({ $0.hasFailed }) { progress.filesWritten.wrappingAdd(1, ordering: .relaxed) }
            return close(job)
        }
        let isOpen: Bool
        do throws(Errno) {
            let descriptor = try open(job)
            if let descriptor { try complete(job, descriptor) }
            isOpen = descriptor != nil
        } catch {
            return try end(job, isNamed: false, error)
        }
        if !isOpen { return try end(job, isNamed: false) }
        guard let database = job.ties.after else { return try end(job, isNamed: true) }
        // Whoever settles the database goes on with its log.
        if let isRestored = database.outcome(orWaiting: job) { try follow(job, isRestored) }
    }

    /// Gives a file its metadata and, unless it waits for its database, its name.
    private func complete(_ job: FileJob, _ descriptor: Int32) throws(Errno) {
        // The disk begins while the processor goes on: at the end everything is waited for.
        if job.entry.size >= FileWriter.earlyWriting { FileWriter.startWriting(descriptor) }
        let hasOwner = job.state.withLock { $0.hasOwner }
        metadata.finish(
            descriptor: descriptor,
            MetadataWriter.Target(
                entry: job.entry, owner: job.owner, hasOwner: hasOwner, hasMode: hasOwner && job.temporary != nil,
                mayHaveMore: job.directory.inherits, defersFlags: job.cell != nil || job.temporary != nil,
                path: { job.sourcePath }))
        let flags = InodeFlags(rawValue: job.entry.flags)
        if job.ties.after != nil { return try closeChecked(job) }
        let status = job.cell == nil ? nil : try FileSystem.status(at: descriptor, "")
        if job.cell == nil, job.temporary != nil, !flags.intersection(.afterEverything).isEmpty {
            // A file that must not change cannot be renamed either.
            try rename(job)
            metadata.setFlags(descriptor, flags, target(of: job))
            try closeChecked(job)
        } else {
            try closeChecked(job)
            try rename(job)
        }
        if let cell = job.cell, let status {
            addLateFlags(job)
            cell.complete(status)
        }
    }

    /// Flags that forbid changes come when a file has all its names.
    private func addLateFlags(_ job: FileJob) {
        let flags = InodeFlags(rawValue: job.entry.flags)
        if flags.intersection(.afterEverything).isEmpty { return }
        context.lateFlags.withLock {
            $0.append((job.directory.destinationPath(job.name.name), job.sourcePath, flags.rawValue))
        }
    }

    /// A log is complete, and its database has its name or will not get it.
    private func follow(_ log: FileJob, _ isRestored: Bool) throws {
        guard isRestored else {
            try fail(log, .failed, DatabaseLogs.ofNone)
            return try end(log, isNamed: false)
        }
        do throws(Errno) {
            // What a program that has opened it meanwhile writes there is of what is there now.
            if let database = SQLiteFiles.database(of: log.name.name),
                SQLiteFiles.isInUse(at: log.place.raw, database)
            {
                throw .databaseInUse
            }
            try rename(log)
            addLateFlags(log)
        } catch {
            return try end(log, isNamed: false, error)
        }
        try end(log, isNamed: true)
    }

    /// A file has its name, or will not get it.
    private func end(_ job: FileJob, isNamed: Bool, _ error: Errno? = nil) throws {
        defer { release(job.directory) }
        if isNamed {
            job.state.withLock { $0.isSettled = true }
            progress.filesWritten.wrappingAdd(1, ordering: .relaxed)
        } else {
            defer { discard(job) }
            if let error { try fail(job, error) }
        }
        try settle(job.ties.database, isNamed)
    }

    /// A database has its name, or will not get it: its logs go on.
    func settle(_ database: DatabaseCell?, _ isRestored: Bool) throws {
        guard let database else { return }
        for log in database.settle(isRestored) { try follow(log, isRestored) }
    }

    private func target(of job: FileJob) -> MetadataWriter.Target {
        MetadataWriter.Target(
            entry: job.entry, owner: job.owner, hasOwner: false, hasMode: false, mayHaveMore: false, defersFlags: false,
            path: { job.sourcePath })
    }

    private func rename(_ job: FileJob) throws(Errno) {
        guard let temporary = job.temporary else { return }
        try rename(temporary, to: job.name, in: job.place, replaces: job.replaces, job.logs)
    }

    /// Gives a complete thing its name. What has appeared there since it was decided on is not replaced unless that
    /// was the decision.
    ///
    /// - Parameter logs: those of another moment beside a database; they go directly before.
    func rename(
        _ temporary: TerminatedName, to name: TerminatedName, in place: OpenHandle, replaces: Bool,
        _ logs: DatabaseLogs? = nil
    ) throws(Errno) {
        if let logs, try clear(logs, beside: name, in: place, for: temporary, replaces: replaces) { return }
        try temporary.withPointer { (from) throws(Errno) in
            try name.withPointer { (to) throws(Errno) in
                if !replaces {
                    do throws(Errno) {
                        return try FileSystem.rename(at: place.raw, from, to: place.raw, to, .keep)
                    } catch {
                        guard error == .invalidArgument || error.isUnsupported else { throw error }
                    }
                }
                if let moment = context.moment, let status = try FileSystem.statusIfAny(at: place.raw, to),
                    moment.isBefore(status)
                {
                    throw Errno.stale
                }
                do throws(Errno) {
                    try FileSystem.rename(at: place.raw, from, to: place.raw, to)
                } catch {
                    guard error.isDenied || error == .isDirectory, replaces else { throw error }
                    let status = try FileSystem.status(at: place.raw, to)
                    if status.kind == .directory {
                        try FileSystem.removeDirectory(at: place.raw, to)
                    } else {
                        try Removal.makeChangeable(at: place.raw, name, status)
                    }
                    try FileSystem.rename(at: place.raw, from, to: place.raw, to)
                }
            }
        }
    }

    /// Removes the logs beside a name that is about to get another content.
    ///
    /// - Returns: whether that was all there is to do: the name is one of the file already.
    private func clear(
        _ logs: DatabaseLogs, beside name: TerminatedName, in place: OpenHandle, for temporary: TerminatedName,
        replaces: Bool
    ) throws(Errno) -> Bool {
        let standing = try name.withPointer { (pointer) throws(Errno) in
            try FileSystem.statusIfAny(at: place.raw, pointer)
        }
        // What follows would fail, and the logs are of what stands there.
        if let standing {
            if !replaces { throw .exists }
            if context.moment?.isBefore(standing) == true { throw .stale }
            if standing.attributes.contains(.mountRoot) { throw .busy }
            try logs.check(at: place.raw, context.moment)
            if standing.kind == .directory {
                try name.withPointer { (pointer) throws(Errno) in
                    try FileSystem.removeDirectory(at: place.raw, pointer)
                }
            } else {
                try Removal.makeChangeable(at: place.raw, name, standing)
            }
        } else {
            try logs.check(at: place.raw, context.moment)
        }
        progress.removed.wrappingAdd(try logs.clear(at: place.raw, context.moment), ordering: .relaxed)
        let made = try temporary.withPointer { (pointer) throws(Errno) in
            try FileSystem.status(at: place.raw, pointer)
        }
        guard let standing, standing.isSameFile(as: made) else { return false }
        // The system does nothing when both are names of the same file.
        try temporary.withPointer { (pointer) throws(Errno) in try FileSystem.remove(at: place.raw, pointer) }
        return true
    }

    private func closeChecked(_ job: FileJob) throws(Errno) {
        let descriptor = job.state.withLock { state in
            let descriptor = state.descriptor
            state.descriptor = -1
            return descriptor
        }
        if descriptor < 0 { return }
        OpenHandle.openCount.wrappingSubtract(1, ordering: .relaxed)
        try FileDescriptor(owning: descriptor).close()
    }

    private func close(_ job: FileJob) {
        job.state.withLock { state in FileWriter.close(&state) }
    }

    /// Takes away what was written of a file that failed.
    private func discard(_ job: FileJob) {
        close(job)
        job.cell?.fail()
        let isCreated = job.state.withLock { state in
            state.isSettled = true
            return state.isCreated
        }
        guard isCreated else { return }
        let name = job.temporary ?? job.name
        do throws(Errno) {
            try name.withPointer { (pointer) throws(Errno) in try FileSystem.remove(at: job.place.raw, pointer) }
        } catch {
            if error != .noEntry { log.add(.failed, job.sourcePath, "its unfinished part cannot be removed: \(error)") }
        }
    }

    /// Notes that a file failed. No room for it ends the restore.
    func fail(_ job: FileJob, _ error: Errno) throws {
        if error.isNoSpace {
            try fail(job, .failed, "there is no room for it: \(error)")
            throw noSpace(job.sourcePath, error)
        }
        try fail(job, .failed, FileWriter.words(error))
    }

    private func fail(_ job: FileJob, _ kind: RestoreIssue.Kind, _ text: String) throws {
        let isFirst = job.state.withLock { state in
            defer { state.hasFailed = true }
            return !state.hasFailed
        }
        if isFirst { log.add(kind, job.sourcePath, text) }
    }

    /// Fails a file before anything of it was written.
    func abandon(_ job: FileJob, _ kind: RestoreIssue.Kind, _ text: String) throws { try fail(job, kind, text) }

    static func words(_ error: Errno) -> String {
        switch error {
        case .exists: "something has appeared under its name while the restore ran"
        case .stale: "it was changed or replaced by somebody else while the restore ran; that stays"
        case .databaseInUse: DatabaseLogs.inUse
        case .logTooLong: DatabaseLogs.tooLong
        case .symbolicLink: "a symbolic link stands on the way to it; it is not followed"
        default: "it cannot be written: \(error)"
        }
    }

    static func writeAll(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, to descriptor: Int32) throws(Errno) {
        let file = FileDescriptor(owning: descriptor)
        var failure: Errno?
        do throws(Errno) { try file.writeAll(bytes, at: offset) } catch { failure = error }
        _ = file.release()
        if let failure { throw failure }
    }

    /// Files of at least this length are sent to the disk as soon as they are complete.
    private static let earlyWriting: UInt64 = 1 << 20

    private static func startWriting(_ descriptor: Int32) {
        let file = FileDescriptor(owning: descriptor)
        file.startWriting(offset: 0, length: 0)
        _ = file.release()
    }

    static func truncate(_ descriptor: Int32, to size: UInt64) throws(Errno) {
        let file = FileDescriptor(owning: descriptor)
        var failure: Errno?
        do throws(Errno) { try file.truncate(to: size) } catch { failure = error }
        _ = file.release()
        if let failure { throw failure }
    }

    /// Copies a part that an older version of the file has already.
    func reuse(from source: borrowing FileDescriptor, offset: UInt64, length: UInt64, of job: FileJob) throws {
        do throws(Errno) {
            guard let descriptor = try open(job) else { return }
            defer { settle(job) }
            let file = FileDescriptor(owning: descriptor)
            var failure: Errno?
            var copied: UInt64 = 0
            do throws(Errno) {
                copied = try file.copyRange(from: source, offset: offset, to: offset, length: length)
            } catch { failure = error }
            _ = file.release()
            if let failure { throw failure }
            guard copied == length else { throw Errno.stale }
            progress.bytesUnchanged.wrappingAdd(length, ordering: .relaxed)
        } catch {
            try fail(job, error)
        }
    }

    /// The open file for comparing; `nil` after it failed.
    private func openForComparing(_ job: FileJob) throws(Errno) -> Int32? {
        try job.state.withLock { (state) throws(Errno) -> Int32? in
            if state.hasFailed { return nil }
            if state.descriptor < 0 {
                state.descriptor = try job.name.withPointer { (pointer) throws(Errno) in
                    try FileDescriptor.openForReading(at: job.place.raw, pointer).release()
                }
                OpenHandle.openCount.wrappingAdd(1, ordering: .relaxed)
            }
            return state.descriptor
        }
    }

    /// What is there differs from the vault's.
    private func noteDifference(at offset: UInt64, of job: FileJob) {
        if let differing = context.differing {
            job.state.withLock { $0.hasFailed = true }
            differing.add(job.sourcePath)
        } else {
            try? fail(job, .differs, "what was read back at byte \(offset) is not what the vault has")
        }
    }

    /// Looks whether a file reads as zeros where the point has a hole. What is a hole there too is not read.
    func compareHole(_ start: UInt64, _ length: UInt64, of job: FileJob) throws {
        do throws(Errno) {
            guard let descriptor = try openForComparing(job) else { return }
            let file = FileDescriptor(owning: descriptor)
            var failure: Errno?
            var found: UInt64?
            do throws(Errno) { found = try firstByte(of: file, start, length) } catch { failure = error }
            _ = file.release()
            if let failure { throw failure }
            if let found { noteDifference(at: found, of: job) }
        } catch {
            try fail(job, error)
        }
    }

    /// Where the first byte that is not zero is, or the end of a file that is too short.
    private func firstByte(
        of file: borrowing FileDescriptor, _ start: UInt64, _ length: UInt64
    ) throws(Errno) -> UInt64? {
        let end = start + length
        let size = try file.status().size
        var position = start
        while position < min(end, size) {
            guard let data = try file.nextData(from: position, size: size), data.offset < end else { break }
            position = data.offset
            let stop = min(data.offset + data.length, end)
            while position < stop {
                if progress.isStopping { return nil }
                let piece = UnsafeMutableRawBufferPointer(
                    rebasing: comparison[..<Int(min(stop - position, UInt64(comparison.count)))])
                let count = try file.readFully(into: piece, at: position)
                if let index = piece[..<count].firstIndex(where: { $0 != 0 }) { return position + UInt64(index) }
                if count < piece.count { return position + UInt64(count) }
                position += UInt64(count)
            }
        }
        return size < end ? size : nil
    }

    private func compare(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, of job: FileJob) throws(Errno) {
        guard let descriptor = try openForComparing(job) else { return }
        let file = FileDescriptor(owning: descriptor)
        let there = UnsafeMutableRawBufferPointer(rebasing: comparison[..<bytes.count])
        var failure: Errno?
        var count = 0
        do throws(Errno) { count = try file.readFully(into: there, at: offset) } catch { failure = error }
        _ = file.release()
        if let failure { throw failure }
        if count != bytes.count || !there.elementsEqual(bytes) { noteDifference(at: offset, of: job) }
    }

    // MARK: Other names

    /// Makes a symbolic link, device, FIFO or socket. `replaces`: something else stands there.
    func make(
        _ name: TerminatedName, _ entry: Entry, owner: Ownership?, in directory: RestoreDirectory,
        replaces: Bool, cell: LinkCell?, source: [UInt8]
    ) throws {
        do throws(Errno) {
            let place = try directory.handle()
            let isDirect = directory.allowsDirect && !replaces
            let target = isDirect ? name : temporaryName(for: name)
            do throws(Errno) {
                try makeNode(target, entry, place)
            } catch {
                guard error == .exists, !isDirect else { throw error }
                try target.withPointer { (pointer) throws(Errno) in try FileSystem.remove(at: place.raw, pointer) }
                try makeNode(target, entry, place)
            }
            metadata.finish(
                at: place.raw, target,
                MetadataWriter.Target(
                    entry: entry, owner: owner, hasOwner: false, hasMode: false, mayHaveMore: directory.inherits,
                    defersFlags: false,
                    path: { source }))
            if !isDirect { try rename(target, to: name, in: place, replaces: replaces) }
            if let cell {
                cell.complete(
                    try name.withPointer { (pointer) throws(Errno) in try FileSystem.status(at: place.raw, pointer) })
            }
            progress.othersWritten.wrappingAdd(1, ordering: .relaxed)
        } catch {
            cell?.fail()
            if error.isNoSpace { throw noSpace(source, error) }
            let needsRoot = error == .notPermitted && (entry.kind == .characterDevice || entry.kind == .blockDevice)
            log.add(.failed, source, needsRoot ? "making a device needs root" : FileWriter.words(error))
        }
    }

    private func makeNode(_ name: TerminatedName, _ entry: Entry, _ place: OpenHandle) throws(Errno) {
        try name.withPointer { (pointer) throws(Errno) in
            switch entry.kind {
            case .symbolicLink:
                try withCName(entry.target) { (target) throws(Errno) in
                    try FileSystem.makeSymbolicLink(to: target, at: place.raw, pointer)
                }
            case .characterDevice:
                try FileSystem.makeNode(
                    at: place.raw, pointer, kind: .characterDevice, mode: 0o600, device: entry.device)
            case .blockDevice:
                try FileSystem.makeNode(at: place.raw, pointer, kind: .blockDevice, mode: 0o600, device: entry.device)
            case .fifo: try FileSystem.makeNode(at: place.raw, pointer, kind: .fifo, mode: 0o600)
            case .socket: try FileSystem.makeNode(at: place.raw, pointer, kind: .socket, mode: 0o600)
            case .regular, .directory: throw Errno.invalidArgument
            }
        }
    }

    /// Makes a further name of a file. What cannot be linked is handed back as a file of its own.
    func link(_ link: PendingLink) throws {
        let source = link.directory.sourcePath(link.name.name)
        if case .failed = link.cell.current {
            log.add(.failed, source, "it is another name of a file that was not restored")
            release(link.directory)
            return try settle(link.ties.database, false)
        }
        do throws(Errno) {
            let place = try link.directory.handle()
            let isDirect = link.directory.allowsDirect && !link.replaces
            let target = isDirect ? link.name : temporaryName(for: link.name)
            try target.withPointer { (pointer) throws(Errno) in
                do throws(Errno) {
                    try link.cell.link(root: context.root.raw, to: place.raw, pointer)
                } catch {
                    guard error == .exists, !isDirect else { throw error }
                    try FileSystem.remove(at: place.raw, pointer)
                    try link.cell.link(root: context.root.raw, to: place.raw, pointer)
                }
            }
            if !isDirect { try rename(target, to: link.name, in: place, replaces: link.replaces, link.logs) }
            progress.othersWritten.wrappingAdd(1, ordering: .relaxed)
        } catch {
            if error.isNoSpace { throw noSpace(source, error) }
            if link.entry.kind != .regular {
                log.add(.failed, source, FileWriter.words(error))
                return release(link.directory)
            }
            log.cannotKeep("hard links (a file of its own was made)", error, source)
            return context.unlinked.withLock { $0.append(link) }
        }
        release(link.directory)
        try settle(link.ties.database, true)
    }

    func noSpace(_ path: [UInt8], _ error: Errno) -> HoldfastError {
        FileWriter.noSpace(context.destination, path, error)
    }

    /// - Parameter path: what there was no room for, in the point.
    static func noSpace(_ destination: [UInt8], _ path: [UInt8]?, _ error: Errno) -> HoldfastError {
        let shown = TreePath.display(destination)
        let reason = error == .quota ? "The quota of the file system is used up" : "There is no room left"
        return HoldfastError(
            .noSpace,
            "\(reason) where the restore writes to, \(shown)\(path.map { ", for \(TreePath.display($0))" } ?? "").",
            context: [
                "path": shown,
                "hint": "Make room there and run the same command again: what is complete is not fetched again. `df -h "
                    + "\(shown)` shows the file system.",
            ], cause: error)
    }

    /// The name of a thing until it is complete: the same in each run of a point, so that the next run finds and replaces
    /// what a killed one left behind.
    func temporaryName(for name: TerminatedName) -> TerminatedName {
        FileWriter.temporaryName(for: name, mark: context.mark)
    }

    /// What distinguishes the unfinished names of a point.
    static func mark(of point: PointID) -> UInt64 { point.high ^ point.low }

    static func temporaryName(for name: TerminatedName, mark: UInt64) -> TerminatedName {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325 ^ mark
        for byte in name.bytes { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        let digits = String(hash, radix: 16)
        return TerminatedName(Array(".holdfast-unfinished-\(digits)".utf8))
    }

    // MARK: Directories

    /// Ends a hold on a directory. The last one sets its metadata and goes on with the directory above.
    func release(_ directory: RestoreDirectory) {
        var current: RestoreDirectory? = directory
        while let here = current, here.releaseIsLast() {
            finish(here)
            here.dropHandle()
            current = here.parent
        }
    }

    private func finish(_ directory: RestoreDirectory) {
        guard let entry = directory.entry else { return keepTime(directory) }
        do throws(Errno) {
            let handle = try directory.handle()
            let status = try handle.descriptor.status()
            let isSame =
                status.mode == entry.mode && status.modified == FileInstant(entry.mtime)
                && (directory.owner.map { $0.uid == status.uid && $0.gid == status.gid } ?? true)
                && entry.attributes.isEmpty && entry.flags == 0
            if isSame, directory.isNew, !directory.inherits { return }
            let target = MetadataWriter.Target(
                entry: entry, owner: directory.owner, hasOwner: false, hasMode: false,
                mayHaveMore: !directory.isNew || directory.inherits, defersFlags: false,
                path: { directory.source })
            // A mode cannot be set through a reference.
            if handle.isReference, let parent = directory.parent {
                return metadata.finish(at: try parent.handle().raw, directory.name, target)
            }
            metadata.finish(descriptor: handle.raw, target)
        } catch {
            log.add(.failed, directory.source, "its metadata cannot be set: \(error)")
        }
    }

    private func keepTime(_ directory: RestoreDirectory) {
        guard let time = directory.keptTime, let handle = try? directory.handle(),
            let status = try? handle.descriptor.status(), status.modified != time
        else { return }
        // Whoever may not set it did not ask for it either.
        _ = try? FileSystem.setTimes(at: handle.raw, "", modified: time)
    }

    /// Sets the flags that had to wait for all names of their files.
    func setLateFlags() {
        for (path, source, flags) in context.lateFlags.withLock({ $0 }) {
            do throws(Errno) {
                let file = try DirectoryPath.openFile(
                    path, from: context.root.raw, links: .refused, [.readOnly, .nonBlocking])
                let refused = try FileSystem.setFlags(descriptor: file.raw, InodeFlags(rawValue: flags))
                if !refused.isEmpty { log.cannotKeep("inode flags", nil, source) }
            } catch {
                log.cannotKeep("inode flags", error, source)
            }
        }
    }
}

/// Files whose content is not the point's although their size and time are, found out by reading them.
final class DifferingFiles: Sendable {
    private let found = Mutex<Set<[UInt8]>>([])

    func add(_ path: [UInt8]) { found.withLock { _ = $0.insert(path) } }
    var paths: Set<[UInt8]> { found.withLock { $0 } }
}
