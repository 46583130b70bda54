import Model
import Platform
import Synchronization
import Vault

/// Walks tree and destination, makes directories and everything without content at once, and gathers files into windows.
final class RestoreDecider: RestoreWalkHandler {
    /// Windows grow to this many files, so that the first ones come soon and later ones meet shared blobs once.
    private static let smallestWindow = 128
    private static let largestWindow = 8192
    /// Bytes of content in a window for each file it may have: 512 MiB in the largest.
    private static let bytesPerFile: UInt64 = 64 << 10
    private static let slicesPerWindow = 32_768

    private let reader: PointReader
    private let request: RestoreRequest
    private let place: RestorePlace
    private let context: FileWriter.Context
    private let writer: FileWriter
    private let examiner: Examiner
    private let conflict: RestoreRequest.Conflict
    /// What is in the destination is this restore's own unless somebody put it there meanwhile.
    private let ownsPlace: Bool
    private let openLimit: Int
    private let verifying: Bool
    private let submit: (RestoreWindow, FileWriter) throws -> Void
    private let drain: (Int) throws -> Void
    private let boundaries: RemovalBounds
    private var owners: OwnerResolver
    private var links = LinkTable()
    /// Files that logs may follow, and those of them that logs wait for.
    private var databases = EarlierNames<DatabaseCell>()
    private var awaited: [DatabaseCell] = []
    private var window = RestoreWindow(number: 0)
    private var windowLimit = smallestWindow
    private var notedDevice: UInt64?
    /// Directories that the point has incompletely, and that were reported.
    private var gaps: Set<[UInt8]> = []

    private var log: RestoreLog { context.log }
    private var progress: RestoreProgress { context.progress }

    /// - Parameters:
    ///   - submit: takes a filled window.
    ///   - drain: waits until so many windows are settled.
    init(
        reader: PointReader, request: RestoreRequest, place: RestorePlace, context: FileWriter.Context, openLimit: Int,
        verifying: Bool, submit: @escaping (RestoreWindow, FileWriter) throws -> Void,
        drain: @escaping (Int) throws -> Void
    ) {
        var request = request
        // What was restored is newer than the moment, and is read all the same.
        if verifying { request.moment = nil }
        self.reader = reader
        self.request = request
        self.place = place
        self.context = context
        self.openLimit = openLimit
        self.verifying = verifying
        self.submit = submit
        self.drain = drain
        writer = FileWriter(context)
        examiner = Examiner(
            reader: reader, request: request, setsOwners: context.rights.isRoot, place: place, onlyCompares: verifying)
        conflict = request.effectiveConflict
        ownsPlace = place.isFresh && request.conflict == nil
        boundaries = RemovalBounds(reader: reader, request: request)
        owners = OwnerResolver(request.owners)
    }

    var unknownOwners: ([UnknownOwner], [UnknownOwner]) {
        (
            owners.unknownUsers.values.sorted { $0.name.lexicographicallyPrecedes($1.name) },
            owners.unknownGroups.values.sorted { $0.name.lexicographicallyPrecedes($1.name) }
        )
    }

    func run() throws {
        // When the restore ends early nothing waits any more, and what is not complete goes.
        defer { for cell in awaited { _ = cell.settle(false) } }
        if !verifying {
            if let refusal = boundaries.refusal { log.add(.conflict, [], refusal) }
            gaps = PointGaps.report(reader, request.paths, log)
        }
        let walk = RestoreWalk(
            reader: reader, selection: PathSelection(reader.withLogs(request.paths)), handler: self)
        try walk.run()
        try flush()
        try drain(window.number)
        try restoreUnlinked()
        if !verifying { writer.setLateFlags() }
    }

    /// Names that could not be linked become files of their own.
    private func restoreUnlinked() throws {
        while true {
            let waiting = context.unlinked.withLock { links in
                defer { links = [] }
                return links
            }
            if waiting.isEmpty { return }
            for link in waiting {
                try write(
                    link.name, link.entry, link.owner, in: link.directory, replaces: link.replaces, cell: nil,
                    reusing: nil, link.ties)
                writer.release(link.directory)
            }
            try flush()
            try drain(window.number)
        }
    }

    // MARK: Directories

    func start(_ entry: Entry?, role: PathSelection.Role) throws -> RestoreDirectory {
        let directory = RestoreDirectory(parent: nil, name: TerminatedName([]), source: [], handle: place.handle)
        directory.device = place.status.device
        directory.inode = place.status.inode
        directory.allowsDirect = place.isFresh && (ownsPlace || conflict == .always)
        try inherit(directory, from: place.status)
        if let entry, role == .chosen, !entry.remarks.contains(.ancestor), place.isFresh || request.isInPlace,
            examiner.setsMetadata, !verifying, !isLate(place.status)
        {
            directory.entry = try complete(entry, [])
            directory.owner = owners.owner(of: entry)
        }
        directory.removesExtra =
            !verifying && entry != nil && role == .chosen
            && boundaries.allowsRemoval(in: [], entry, status: place.status, parentDevice: nil)
        if !request.isInPlace || role == .chosen { note(directory) }
        return directory
    }

    func enter(
        _ name: [UInt8], _ entry: Entry, role: PathSelection.Role, in parent: RestoreDirectory
    ) throws -> RestoreDirectory? {
        try progress.checkStop()
        if role == .chosen { progress.entries.wrappingAdd(1, ordering: .relaxed) }
        let source = parent.sourcePath(name)
        // It holds its parent back until it is given up.
        var opened: RestoreDirectory?
        do throws(Errno) {
            guard let (directory, status) = try open(TerminatedName(name), entry, role, source, parent) else {
                return nil
            }
            opened = directory
            directory.device = status.device
            directory.inode = status.inode
            if request.own.contains(status) {
                if !verifying, examiner.hasContents(source) { log.add(.conflict, source, OwnPlaces.words) }
                writer.release(directory)
                return nil
            }
            if directory.isNew || role == .chosen { note(directory) }
            if role == .chosen, !verifying, entry.remarks.contains(.contentMissing), !gaps.contains(source) {
                log.add(.incomplete, source, PointGaps.words)
            }
            if directory.isNew {
                directory.inherits = parent.inherits
                directory.givesGroup = status.mode & 0o2000 != 0 || status.gid != context.rights.gid
            } else {
                try inherit(directory, from: status)
            }
            let isLate = !directory.isNew && isLate(status)
            var setsMetadata =
                role == .chosen && !entry.remarks.contains(.ancestor) && examiner.setsMetadata && !verifying
            if isLate, setsMetadata {
                setsMetadata = false
                log.add(.conflict, source, "its own owner, mode and attributes: \(PlanMoment.words)")
            }
            directory.allowsDirect = ownsPlace || ((place.isFresh || directory.isNew) && conflict == .always)
            if (directory.isNew && !verifying) || setsMetadata {
                directory.owner = owners.owner(of: entry)
                directory.entry = entry
            }
            if !verifying, role == .chosen, !directory.isNew, !examiner.setsMetadata {
                directory.keptTime = status.modified
            }
            directory.removesExtra =
                !verifying && role == .chosen && !directory.isNew
                && boundaries.allowsRemoval(in: source, entry, status: status, parentDevice: parent.device)
            if !verifying, boundaries.sparesMount(in: source, role, status, parentDevice: parent.device) {
                log.add(.conflict, source, RemovalBounds.mountWords)
            }
            if directory.removesExtra, request.own.holds(status, try directory.handle().raw) {
                directory.removesExtra = false
                log.add(.conflict, source, "it is a vault: nothing in it was removed")
            }
            if directory.entry != nil, entry.attributesBlob != nil {
                do { directory.entry = try complete(entry, source) } catch {
                    log.add(.damaged, source, "its attributes are damaged or missing in the vault")
                }
            }
            // The last thing that can fail: it gets its flags back when everything in it is done. One whose metadata are not
            // set would never get them back.
            if setsMetadata,
                status.attributes.contains(.immutable) || status.attributes.contains(.appendOnly)
            {
                let handle = try directory.handle()
                let flags = try FileSystem.flags(descriptor: handle.raw)
                try FileSystem.setFlags(descriptor: handle.raw, flags.subtracting(.afterEverything))
            }
            return directory
        } catch {
            if error.isNoSpace { throw writer.noSpace(source, error) }
            log.add(.failed, source, "the directory and everything below it: \(FileWriter.words(error))")
            if let opened {
                opened.entry = nil
                writer.release(opened)
            }
            return nil
        }
    }

    /// Opens a directory of the destination, making it or what stands in its way room for it as the rules allow.
    private func open(
        _ wanted: TerminatedName, _ entry: Entry, _ role: PathSelection.Role, _ source: [UInt8],
        _ parent: RestoreDirectory
    ) throws(Errno) -> (RestoreDirectory, FileStatus)? {
        let handle = try parent.handle()
        var name = wanted
        // In a new directory nothing stands in the way.
        var isNew = !verifying && parent.isNew
        if isNew { isNew = try make(name, handle) }
        if verifying {
            let status = try name.withPointer { (pointer) throws(Errno) in
                try FileSystem.statusIfAny(at: handle.raw, pointer)
            }
            if status?.kind != .directory { return nil }
        } else if !isNew {
            let status = try name.withPointer { (pointer) throws(Errno) in
                try FileSystem.statusIfAny(at: handle.raw, pointer)
            }
            if let status, status.kind != .directory {
                guard let cleared = try clear(name, status, entry, role, source, parent, handle) else { return nil }
                name = cleared
            }
            isNew = try make(name, handle)
        }
        let opened = try OpenHandle.passage(at: handle.raw, name)
        let status = try opened.descriptor.status()
        let directory = RestoreDirectory(parent: parent, name: name, source: source, handle: opened)
        directory.isNew = isNew
        return (directory, status)
    }

    /// Makes a directory; false when something stands there.
    private func make(_ name: TerminatedName, _ handle: OpenHandle) throws(Errno) -> Bool {
        do throws(Errno) {
            try name.withPointer { (pointer) throws(Errno) in
                try FileSystem.makeDirectory(at: handle.raw, pointer, mode: 0o700)
            }
            progress.othersWritten.wrappingAdd(1, ordering: .relaxed)
            return true
        } catch {
            if error == .exists { return false }
            throw error
        }
    }

    /// Makes room for a directory where something else stands; the name to use, or `nil` when it stays.
    private func clear(
        _ name: TerminatedName, _ status: FileStatus, _ entry: Entry, _ role: PathSelection.Role, _ source: [UInt8],
        _ parent: RestoreDirectory, _ handle: OpenHandle
    ) throws(Errno) -> TerminatedName? {
        let what = status.kind == .symbolicLink ? "a symbolic link" : "something that is no directory"
        let isReplaced =
            switch conflict {
            case .always: true
            case .newer: status.modified < FileInstant(entry.mtime)
            case .never, .rename: false
            }
        if role == .chosen, conflict == .rename {
            progress.renamed.wrappingAdd(1, ordering: .relaxed)
            return examiner.renamed(name.name)
        }
        if !isReplaced || role == .passage || entry.remarks.contains(.ancestor) {
            log.add(
                .conflict, source, "\(what) stands where this directory was; it stays, and nothing is restored below it"
            )
            return nil
        }
        if isLate(status) {
            log.add(.conflict, source, PlanMoment.words)
            return nil
        }
        if let words = examiner.obstacle(removing: name, status, in: parent, handle) {
            log.add(.conflict, source, words)
            return nil
        }
        request.moment?.noteNames(status)
        try Removal.makeChangeable(at: handle.raw, name, status)
        try name.withPointer { (pointer) throws(Errno) in try FileSystem.remove(at: handle.raw, pointer) }
        return name
    }

    /// Whether somebody may have changed what stands there since the plan.
    private func isLate(_ status: FileStatus) -> Bool { request.moment?.isBefore(status) == true }

    /// What names made in an existing directory get from it.
    private func inherit(_ directory: RestoreDirectory, from status: FileStatus) throws(Errno) {
        let handle = try directory.handle()
        directory.givesGroup = status.mode & 0o2000 != 0
        let hasDefaultList =
            try? FileSystem.attribute(at: handle.raw, "", "system.posix_acl_default")
        let flags = (try? FileSystem.flags(descriptor: handle.raw)) ?? []
        directory.inherits = hasDefaultList != nil || !flags.intersection(.settable).isEmpty
    }

    func leave(_ directory: RestoreDirectory) throws { writer.release(directory) }

    // MARK: Names

    func visit(_ name: TerminatedName, _ entry: Entry, in directory: RestoreDirectory) throws {
        try progress.checkStop()
        progress.entries.wrappingAdd(1, ordering: .relaxed)
        let source = { directory.sourcePath(name.name) }
        let owner = owners.owner(of: entry)
        let cell = entry.linkGroup.flatMap { links.find($0) }
        var entry = entry
        if entry.attributesBlob != nil {
            do { entry = try complete(entry, source()) } catch {
                log.add(.damaged, source(), "its attributes are damaged or missing in the vault")
            }
        }
        if !verifying {
            if entry.remarks.contains(.contentMissing) {
                log.add(.incomplete, source(), "its content could not be read when the point was made; it was left out")
                return
            }
            if entry.remarks.contains(.fuzzy) {
                log.add(.incomplete, source(), "it was changing while the point was made")
            }
            if let refusal = request.refusal(of: entry) { return log.add(.conflict, source(), refusal) }
        }
        do {
            let decision = try examiner.decide(name, entry, owner: owner, in: directory, linkedTo: cell)
            if verifying { return try verify(decision, name, entry, in: directory) }
            note(directory)
            noteDifference(decision, name, in: directory)
            let ties = ties(of: name, entry, decision, in: directory)
            do { try act(on: decision, name, entry, owner, in: directory, cell, ties) } catch {
                try writer.settle(ties.database, false)
                throw error
            }
        } catch let error as Errno {
            if error.isNoSpace { throw writer.noSpace(source(), error) }
            log.add(.failed, source(), FileWriter.words(error))
        }
    }

    private func act(
        on decision: Decision, _ name: TerminatedName, _ entry: Entry, _ owner: Ownership?,
        in directory: RestoreDirectory, _ cell: LinkCell?, _ ties: DatabaseTies
    ) throws {
        switch decision {
        case .create:
            try restore(name, entry, owner, in: directory, replaces: false, cell, reusing: nil, ties)
        case .replace(let status):
            request.moment?.noteNames(status)
            if status.kind == .directory { try remove(name, in: directory) }
            try restore(name, entry, owner, in: directory, replaces: true, cell, reusing: status, ties)
        case .rename(let other, let replaces):
            progress.renamed.wrappingAdd(1, ordering: .relaxed)
            if let replaces { request.moment?.noteNames(replaces) }
            try restore(
                other, entry, owner, in: directory, replaces: replaces != nil, cell, reusing: nil, ties,
                sourceName: name)
        case .same:
            if entry.kind == .regular {
                progress.filesUnchanged.wrappingAdd(1, ordering: .relaxed)
                progress.bytesUnchanged.wrappingAdd(entry.size, ordering: .relaxed)
            }
            try noteExisting(name, entry, in: directory, cell)
        case .metadata(let status):
            request.moment?.noteNames(status)
            progress.metadataOnly.wrappingAdd(1, ordering: .relaxed)
            try setMetadata(name, entry, owner, in: directory)
            try noteExisting(name, entry, in: directory, cell)
        case .keep(let warning):
            progress.kept.wrappingAdd(1, ordering: .relaxed)
            if let warning { log.add(.conflict, directory.sourcePath(name.name), warning) }
        }
    }

    /// What a name that is made has to do with those before and after it.
    private func ties(
        of name: TerminatedName, _ entry: Entry, _ decision: Decision, in directory: RestoreDirectory
    ) -> DatabaseTies {
        databases.come(to: name, in: directory)
        switch decision {
        case .create, .replace, .rename: break
        case .same, .metadata, .keep: return DatabaseTies()
        }
        var ties = DatabaseTies()
        guard entry.kind == .regular else { return ties }
        if examiner.isFollowing, let database = SQLiteFiles.database(of: name.name),
            let cell = databases.find(database)
        {
            ties.after = cell
            awaited.append(cell)
        }
        if entry.size >= SQLiteFiles.smallestPage {
            let cell = DatabaseCell()
            ties.database = cell
            databases.note(name, cell)
        }
        return ties
    }

    /// Says that a file was not what its size and time promised.
    private func noteDifference(_ decision: Decision, _ name: TerminatedName, in directory: RestoreDirectory) {
        guard !request.takesBack, examiner.differs(name, in: directory) else { return }
        let source = directory.sourcePath(name.name)
        switch decision {
        case .replace:
            log.add(.content, source, "its content was not the point's although size and time were; it was replaced")
        case .rename:
            log.add(
                .content, source, "its content is not the point's although size and time are; the point's is beside it")
        case .keep:
            log.add(.conflict, source, "its content is not the point's although size and time are; it stays")
        case .create, .same, .metadata: break
        }
    }

    /// The directory's file system is written to.
    private func note(_ directory: RestoreDirectory) {
        if directory.device == notedDevice || verifying { return }
        context.written.note(directory)
        if (try? directory.handle())?.isReference == false { notedDevice = directory.device }
    }

    /// The first name of a hard-linked file was there already: the others are linked to it.
    private func noteExisting(
        _ name: TerminatedName, _ entry: Entry, in directory: RestoreDirectory, _ cell: LinkCell?
    ) throws {
        guard let group = entry.linkGroup, cell == nil else { return }
        let handle = try directory.handle()
        let status = try name.withPointer { (pointer) throws(Errno) in try FileSystem.status(at: handle.raw, pointer) }
        // Further names change it.
        request.moment?.note(status)
        links.insert(
            group,
            LinkCell(
                path: directory.destinationPath(name.name), state: .complete(device: status.device, inode: status.inode)
            ))
    }

    private func setMetadata(
        _ name: TerminatedName, _ entry: Entry, _ owner: Ownership?, in directory: RestoreDirectory
    ) throws(Errno) {
        let handle = try directory.handle()
        let target = MetadataWriter.Target(
            entry: entry, owner: owner, hasOwner: false, hasMode: false, mayHaveMore: true, defersFlags: false,
            path: { directory.sourcePath(name.name) })
        let status = try name.withPointer { (pointer) throws(Errno) in try FileSystem.status(at: handle.raw, pointer) }
        try Removal.makeChangeable(at: handle.raw, name, status)
        guard entry.kind == .regular else {
            return writer.metadata.finish(at: handle.raw, name, target)
        }
        let file: FileDescriptor
        do throws(Errno) {
            file = try name.withPointer { (pointer) throws(Errno) in
                try FileDescriptor.open(at: handle.raw, pointer, [.readOnly, .nonBlocking])
            }
        } catch {
            guard error.isDenied else { throw error }
            // Not readable for us, but ours: owner, mode and time can be set by name.
            return writer.metadata.finish(at: handle.raw, name, target)
        }
        writer.metadata.finish(descriptor: file.raw, target)
    }

    /// Makes a name that is not there or is to be replaced.
    private func restore(
        _ name: TerminatedName, _ entry: Entry, _ owner: Ownership?, in directory: RestoreDirectory,
        replaces: Bool, _ cell: LinkCell?, reusing status: FileStatus?, _ ties: DatabaseTies,
        sourceName: TerminatedName? = nil
    ) throws {
        if ties.after != nil {
            // What stands there is of another database, and goes before that gets its name. It never is a link.
            if entry.linkGroup != nil {
                log.cannotKeep(
                    "hard links (a file of its own was made)", nil, directory.sourcePath((sourceName ?? name).name))
            }
            return try write(
                name, entry, owner, in: directory, replaces: replaces, cell: nil, reusing: nil, ties,
                sourceName: sourceName)
        }
        if let cell {
            directory.retain()
            let link = PendingLink(
                directory: directory, name: name, entry: entry, owner: owner, cell: cell, replaces: replaces,
                logs: logs(of: name, from: sourceName, entry, in: directory), ties: ties)
            if case .pending = cell.current {
                window.links.append(link)
            } else {
                try writer.link(link)
            }
            return
        }
        var own: LinkCell?
        if let group = entry.linkGroup {
            let made = LinkCell(path: directory.destinationPath(name.name))
            links.insert(group, made)
            own = made
        }
        guard entry.kind == .regular else {
            return try writer.make(
                name, entry, owner: owner, in: directory, replaces: replaces, cell: own,
                source: directory.sourcePath((sourceName ?? name).name))
        }
        if let status, status.kind == .regular, entry.size > UInt64(BundleRule.smallFileLimit), status.size > 0 {
            if try update(name, entry, owner, in: directory, cell: own, ties) { return }
        }
        try write(
            name, entry, owner, in: directory, replaces: replaces, cell: own, reusing: nil, ties,
            sourceName: sourceName)
    }

    /// The logs that go when something gets its name; `nil` where none can be.
    private func logs(
        of name: TerminatedName, from source: TerminatedName?, _ entry: Entry, in directory: RestoreDirectory
    ) -> DatabaseLogs? {
        directory.isNew || !DatabaseLogs.concern(entry) ? nil : examiner.logs(of: name, from: source, in: directory)
    }

    // MARK: Content

    /// Queues a file. `reusing`: parts that an older version of it has, and that version.
    private func write(
        _ name: TerminatedName, _ entry: Entry, _ owner: Ownership?, in directory: RestoreDirectory,
        replaces: Bool, cell: LinkCell?, reusing old: OldVersion?, _ ties: DatabaseTies,
        sourceName: TerminatedName? = nil
    ) throws {
        let handle = try directory.handle()
        let logs = logs(of: name, from: sourceName, entry, in: directory)
        let isDirect =
            directory.allowsDirect && !replaces && ties.after == nil
            && logs?.lying(at: handle.raw).isEmpty != false
        let job = FileJob(
            directory: directory, place: handle, name: name,
            temporary: isDirect ? nil : writer.temporaryName(for: name), sourceName: sourceName, entry: entry,
            owner: owner, replaces: replaces, cell: cell, logs: logs, ties: ties)
        try queue(job, reusing: old)
    }

    private func queue(_ job: FileJob, reusing old: OldVersion?) throws {
        // Whatever happens, the hold of this thread ends.
        var isReleased = false
        defer { if !isReleased { try? writer.release(job) } }
        window.add(job)
        if case .extents(let extents) = job.entry.content, extents.count == 1, old == nil,
            extents[0].length == job.entry.size, let key = extents[0].key
        {
            window.add(key, blobOffset: extents[0].offset, length: UInt32(extents[0].length), fileOffset: 0)
        } else {
            job.needsSize = job.entry.size > 0
            var index = 0
            var end: UInt64 = 0
            do {
                try reader.tree.extents(of: job.entry) { extent, position in
                    defer { index += 1 }
                    guard position.addingReportingOverflow(extent.length).partialValue <= job.entry.size else {
                        throw HoldfastError(.damaged, "extents beyond the end of a file")
                    }
                    end = position + extent.length
                    guard let key = extent.key else {
                        if job.purpose == .compare { try writer.compareHole(position, extent.length, of: job) }
                        return true
                    }
                    if let old, old.has[index] {
                        try writer.reuse(from: old.file, offset: position, length: extent.length, of: job)
                        return true
                    }
                    window.add(
                        key, blobOffset: extent.offset, length: UInt32(extent.length), fileOffset: position)
                    if window.slices.count >= RestoreDecider.slicesPerWindow || isFull {
                        try flush()
                        window.add(job)
                    }
                    return true
                }
                if job.purpose == .compare, end < job.entry.size {
                    try writer.compareHole(end, job.entry.size - end, of: job)
                }
            } catch let error as HoldfastError where error.code == .damaged {
                try writer.abandon(job, .damaged, "the list of its parts is damaged or missing in the vault")
            }
        }
        isReleased = true
        try writer.release(job)
        if isFull { try flush() }
    }

    private var isFull: Bool {
        window.jobs.count >= windowLimit || window.bytes >= UInt64(windowLimit) * RestoreDecider.bytesPerFile
            || window.links.count >= RestoreDecider.largestWindow
            || OpenHandle.openCount.load(ordering: .relaxed) >= openLimit
    }

    private func flush() throws {
        if window.isEmpty { return }
        let full = window
        window = RestoreWindow(number: full.number + 1)
        windowLimit = min(windowLimit * 2, RestoreDecider.largestWindow)
        try submit(full, writer)
        // Too many directories are open: wait until their files are done.
        if OpenHandle.openCount.load(ordering: .relaxed) >= openLimit { try drain(window.number) }
    }

    /// An existing file that has parts of the new content.
    private final class OldVersion {
        let file: FileDescriptor
        /// For each extent whether the file has it at its place.
        var has: [Bool] = []
        init(_ file: consuming FileDescriptor) { self.file = file }
    }

    /// Compares a large existing file with the entry, chunk by chunk, by content keys: what is there is not fetched.
    ///
    /// - Returns: whether that settled it: it was equal, or it was queued with what differs.
    private func update(
        _ name: TerminatedName, _ entry: Entry, _ owner: Ownership?, in directory: RestoreDirectory,
        cell: LinkCell?, _ ties: DatabaseTies
    ) throws -> Bool {
        guard let checker = reader.checker else { return false }
        let handle = try directory.handle()
        let opened = try? name.withPointer { (pointer) throws(Errno) in
            try FileDescriptor.openForReading(at: handle.raw, pointer)
        }
        guard let opened else { return false }
        let old = OldVersion(opened)
        let status = try old.file.status()
        guard status.kind == .regular else { return false }
        let derivers = checker.knownNumbers.compactMap { checker.deriver($0) }
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: FormatLimits.blobPlainLength, alignment: 4096)
        defer { buffer.deallocate() }
        var equal = status.size == entry.size
        var found: UInt64 = 0
        try reader.tree.extents(of: entry) { extent, position in
            try progress.checkStop()
            var isThere = false
            if let key = extent.key, extent.offset == 0, position < status.size {
                let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(extent.length)])
                let count = try old.file.readFully(into: piece, at: position)
                isThere =
                    count == piece.count
                    && derivers.contains { $0.contentKey(.data, UnsafeRawBufferPointer(piece)) == key }
            } else if extent.key == nil {
                let data = try old.file.nextData(from: position, size: status.size)
                isThere = data.map { $0.offset >= position + extent.length } ?? true
            }
            if isThere { found += extent.length } else { equal = false }
            old.has.append(isThere)
            return true
        }
        // What has further names, outside of what is restored or of another file of the point, would share its metadata.
        let isOwn = status.links < 2 || (entry.linkGroup != nil && !examiner.isShared(status, with: entry))
        // What has a log is another database even then.
        let isLogged = logs(of: name, from: nil, entry, in: directory)?.others(at: handle.raw).isEmpty == false
        if equal, isOwn, !isLogged {
            progress.metadataOnly.wrappingAdd(1, ordering: .relaxed)
            progress.bytesUnchanged.wrappingAdd(entry.size, ordering: .relaxed)
            try setMetadata(name, entry, owner, in: directory)
            cell?.complete(status)
            try writer.settle(ties.database, true)
            return true
        }
        if found == 0, entry.size > 0 { return false }
        try write(name, entry, owner, in: directory, replaces: true, cell: cell, reusing: old, ties)
        return true
    }

    private func verify(
        _ decision: Decision, _ name: TerminatedName, _ entry: Entry, in directory: RestoreDirectory
    ) throws {
        guard entry.kind == .regular, entry.size > 0 else { return }
        // Metadata that the target cannot hold are no reason not to look at the content.
        switch decision {
        case .same, .metadata: break
        case .keep:
            // That it stays was asked for; that everything is as in the point must not be said then.
            if conflict == .never || conflict == .newer {
                log.add(
                    .conflict, directory.sourcePath(name.name),
                    "something else stands there and stays: it was not compared")
            }
            return
        case .create, .replace, .rename: return
        }
        let handle = try directory.handle()
        let job = FileJob(
            purpose: .compare, directory: directory, place: handle, name: name, temporary: nil, entry: entry,
            owner: nil,
            replaces: false)
        try queue(job, reusing: nil)
    }

    /// The entry with its attributes, if they are in a blob of their own.
    private func complete(_ entry: Entry, _ source: [UInt8]) throws -> Entry {
        guard entry.attributesBlob != nil else { return entry }
        var entry = entry
        entry.attributes = try reader.attributes(of: entry)
        entry.attributesBlob = nil
        return entry
    }

    // MARK: What is not in the point

    func extra(_ name: TerminatedName, in directory: RestoreDirectory) throws {
        try progress.checkStop()
        if name == RestorePlace.markName, directory.path.isEmpty { return }
        if boundaries.isDoubtful(directory.sourcePath(name.name)) { return }
        // The log of a database that stays belongs to it; that of one that is replaced goes directly before.
        if DatabaseLogs.isPart(name, at: try directory.handle().raw) { return }
        let path = directory.destinationPath(name.name)
        if let words = request.moment?.whySpared(path) { return log.add(.conflict, path, words) }
        try remove(name, in: directory)
    }

    private func remove(_ name: TerminatedName, in directory: RestoreDirectory) throws {
        let handle = try directory.handle()
        note(directory)
        let count = Removal.remove(
            at: handle.raw, name, path: directory.destinationPath(name.name), own: request.own, moment: request.moment,
            { [log] in log.add($0.kind, $0.path, $0.text) })
        progress.removed.wrappingAdd(count, ordering: .relaxed)
    }

    func problem(_ kind: RestoreIssue.Kind, _ path: [UInt8], _ text: String) throws { log.add(kind, path, text) }
}

/// Where what the point does not have may be removed.
struct RemovalBounds {
    private let isWanted: Bool
    private let roots: [TreePath]
    /// Paths that the backup could not read: that they are not in the point says nothing.
    private let doubtful: Set<[UInt8]>

    /// Why nothing is removed although that was asked for.
    let refusal: String?

    init(reader: PointReader, request: RestoreRequest) {
        // With more warnings than the record holds nobody knows what could not be read.
        isWanted =
            request.deleteExtra && reader.record.furtherWarnings == 0 && !reader.locator.isPartial
        refusal =
            request.deleteExtra && !isWanted
            ? "nothing is removed: the point does not list everything that could not be read, so what it does not have may "
                + "have been there" : nil
        roots = reader.protectedPaths
        doubtful = isWanted ? Set(reader.record.warnings.map { TreePath(normalizing: $0.path)?.bytes ?? $0.path }) : []
    }

    /// Whether names of a directory that the point does not have may go.
    func allowsRemoval(in source: [UInt8], _ entry: Entry?, status: FileStatus, parentDevice: UInt64?) -> Bool {
        guard isWanted, entry?.remarks.isDisjoint(with: [.ancestor, .contentMissing]) != false,
            !doubtful.contains(source)
        else { return false }
        let path = TreePath(unchecked: source)
        guard roots.contains(where: { $0.contains(path) }) else { return false }
        // Another file system may have been left out of the point: only a root that was named is sure to be in it.
        // A directory can be mounted a second time; then only the mount itself tells.
        if let parentDevice, parentDevice != status.device || status.attributes.contains(.mountRoot) {
            return roots.contains(path)
        }
        return true
    }

    /// Whether something is mounted on a directory, of the same file system even, that the point had without it: then
    /// nothing in it is removed, which has to be said.
    func sparesMount(
        in source: [UInt8], _ role: PathSelection.Role, _ status: FileStatus, parentDevice: UInt64
    ) -> Bool {
        isWanted && role == .chosen && status.attributes.contains(.mountRoot) && status.device == parentDevice
            && !roots.contains(TreePath(unchecked: source))
    }

    static let mountWords = "another directory is mounted there: nothing in it is removed"

    /// Whether the backup had trouble with a path.
    func isDoubtful(_ source: [UInt8]) -> Bool { doubtful.contains(source) }
}
