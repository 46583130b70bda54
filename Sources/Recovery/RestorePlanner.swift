import Model
import Platform
import Synchronization
package import Vault

/// Finds out what a restore would do; changes nothing.
package final class RestorePlanner: RestoreWalkHandler {
    private let reader: PointReader
    private let request: RestoreRequest
    private let progress: RestoreProgress
    private let place: RestorePlace?
    private let examiner: Examiner
    private let conflict: RestoreRequest.Conflict
    private let boundaries: RemovalBounds
    private let log = RestoreLog()
    private let recorder: UndoRecorder?
    private let rights = MetadataWriter.Rights.current()
    private var owners: OwnerResolver
    private var links = LinkTable()
    private var plan: RestorePlan
    private var protection = ProtectionList()
    /// Directories in which something would change; their metadata now is recorded when they are left.
    private var changed: Set<ObjectIdentifier> = []
    /// Logs that go with their databases, and databases that are removed, in the destination.
    private var goingLogs: Set<[UInt8]> = []
    private var goingDatabases: Set<[UInt8]> = []
    /// Directories that the point has incompletely, and that were reported.
    private var gaps: Set<[UInt8]> = []

    package convenience init(
        reader: PointReader, request: RestoreRequest, progress: RestoreProgress = RestoreProgress()
    ) throws {
        try self.init(reader: reader, request: request, progress: progress, recorder: nil)
    }

    init(
        reader: PointReader, request: RestoreRequest, progress: RestoreProgress, recorder: UndoRecorder?
    ) throws {
        try request.check(reader)
        let place = try RestorePlace.look(request, point: reader.point)
        self.reader = reader
        self.request = request
        self.progress = progress
        self.place = place
        self.recorder = recorder
        conflict = request.effectiveConflict
        examiner = Examiner(reader: reader, request: request, setsOwners: rights.isRoot, place: place)
        boundaries = RemovalBounds(reader: reader, request: request)
        owners = OwnerResolver(request.owners)
        plan = RestorePlan(point: reader.point, request: request, conflict: conflict)
    }

    /// Walks the point beside the destination.
    package func run() throws -> RestorePlan {
        if let refusal = boundaries.refusal { log.add(.conflict, [], refusal) }
        gaps = PointGaps.report(reader, request.paths, log)
        let walk = RestoreWalk(
            reader: reader, selection: PathSelection(reader.withLogs(request.paths)), handler: self)
        try walk.run()
        plan.unknownUsers = owners.unknownUsers.values.sorted { $0.name.lexicographicallyPrecedes($1.name) }
        plan.unknownGroups = owners.unknownGroups.values.sorted { $0.name.lexicographicallyPrecedes($1.name) }
        (plan.issues, plan.issueCounts) = log.collected()
        plan.protect = request.isInPlace ? protection.all : []
        // A directory that is to be made will be on the file system of the nearest one that is there.
        let nearest = try? OwnPlaces.openNearest(request.destination.root)
        if let nearest { plan.freeBytes = try? FileSystem.space(descriptor: nearest.raw).available }
        return plan
    }

    // MARK: Directories

    func start(_ entry: Entry?, role: PathSelection.Role) throws -> RestoreDirectory {
        let directory = RestoreDirectory(parent: nil, name: TerminatedName([]), source: [], handle: place?.handle)
        guard let place else {
            directory.isMissing = true
            return directory
        }
        directory.device = place.status.device
        directory.inode = place.status.inode
        directory.removesExtra =
            entry != nil && role == .chosen
            && boundaries.allowsRemoval(in: [], entry, status: place.status, parentDevice: nil)
        return directory
    }

    func enter(
        _ name: [UInt8], _ entry: Entry, role: PathSelection.Role, in parent: RestoreDirectory
    ) throws -> RestoreDirectory? {
        try progress.checkStop()
        if role == .chosen { count() }
        let source = parent.sourcePath(name)
        if role == .chosen, entry.remarks.contains(.contentMissing), !gaps.contains(source) {
            log.add(.incomplete, source, PointGaps.words)
        }
        let owner = owners.owner(of: entry)
        let wanted = TerminatedName(name)
        if parent.isMissing { return missing(wanted, source, parent) }
        do throws(Errno) {
            let handle = try parent.handle()
            let status = try wanted.withPointer { (pointer) throws(Errno) in
                try FileSystem.statusIfAny(at: handle.raw, pointer)
            }
            guard let status else {
                try create(wanted, in: parent)
                return missing(wanted, source, parent)
            }
            guard status.kind == .directory else {
                return try clear(wanted, status, entry, role, source, parent)
            }
            if request.own.contains(status) {
                if examiner.hasContents(source) { log.add(.conflict, source, OwnPlaces.words) }
                return nil
            }
            let opened = try OpenHandle.passage(at: handle.raw, wanted)
            let directory = RestoreDirectory(parent: parent, name: wanted, source: source, handle: opened)
            directory.device = status.device
            directory.inode = status.inode
            directory.removesExtra =
                role == .chosen
                && boundaries.allowsRemoval(in: source, entry, status: status, parentDevice: parent.device)
            if boundaries.sparesMount(in: source, role, status, parentDevice: parent.device) {
                log.add(.conflict, source, RemovalBounds.mountWords)
            }
            if directory.removesExtra, request.own.holds(status, try directory.handle().raw) {
                directory.removesExtra = false
                log.add(.conflict, source, "it is a vault: nothing in it is removed")
            }
            if role == .chosen, !entry.remarks.contains(.ancestor), examiner.setsMetadata,
                try !examiner.hasSameMetadata(wanted, entry, owner, status, handle)
            {
                plan.metadata.add(0, directory.path)
                changed.insert(ObjectIdentifier(directory))
            } else if role == .chosen {
                plan.unchanged.add(0, directory.path)
            }
            return directory
        } catch {
            log.add(.failed, source, "the directory and everything below it: \(error)")
            return nil
        }
    }

    private func missing(_ name: TerminatedName, _ source: [UInt8], _ parent: RestoreDirectory) -> RestoreDirectory {
        let directory = RestoreDirectory(parent: parent, name: name, source: source, handle: nil)
        directory.isMissing = true
        plan.directories.add(0, directory.path)
        return directory
    }

    private func clear(
        _ name: TerminatedName, _ status: FileStatus, _ entry: Entry, _ role: PathSelection.Role, _ source: [UInt8],
        _ parent: RestoreDirectory
    ) throws(Errno) -> RestoreDirectory? {
        let isReplaced =
            conflict == .always || (conflict == .newer && status.modified < FileInstant(entry.mtime))
        if role == .chosen, conflict == .rename {
            let other = examiner.renamed(name.name)
            plan.renames.add(0, parent.destinationPath(other.name))
            try create(other, in: parent)
            return missing(other, source, parent)
        }
        let place = parent.destinationPath(name.name)
        if !isReplaced || role == .passage || entry.remarks.contains(.ancestor) {
            plan.kept.add(0, place)
            log.add(.conflict, source, "something that is no directory stands where this directory was; it stays")
            return nil
        }
        if let words = examiner.obstacle(removing: name, status, in: parent, try parent.handle()) {
            plan.kept.add(0, place)
            log.add(.conflict, source, words)
            return nil
        }
        plan.overwrites.add(0, place)
        try replace(name, in: parent)
        return missing(name, source, parent)
    }

    func leave(_ directory: RestoreDirectory) throws {
        if changed.remove(ObjectIdentifier(directory)) != nil, let recorder, !directory.isMissing {
            try recorder.directory(directory.path, try RecordedDirectory(try directory.handle()))
        }
        directory.dropHandle()
    }

    /// A name that nothing stands under will be made.
    private func create(_ name: TerminatedName, in directory: RestoreDirectory) throws(Errno) {
        changed.insert(ObjectIdentifier(directory))
        try recorder?.created(directory.destinationPath(name.name))
    }

    /// What stands under a name will be replaced or removed.
    private func replace(_ name: TerminatedName, in directory: RestoreDirectory) throws(Errno) {
        changed.insert(ObjectIdentifier(directory))
        let path = directory.destinationPath(name.name)
        protection.add(path)
        try recorder?.changed(path)
    }

    /// Logs beside what is made or replaced go with what stood there. The point of before has them in their database.
    private func replaceLogs(
        of name: TerminatedName, from source: TerminatedName? = nil, _ entry: Entry, in directory: RestoreDirectory
    ) throws(Errno) {
        guard DatabaseLogs.concern(entry) else { return }
        let handle = try directory.handle()
        let logs = examiner.logs(of: name, from: source, in: directory, now: handle)
        for log in logs.going(at: handle.raw) {
            let path = directory.destinationPath(log.name.name)
            goingLogs.insert(path)
            plan.removes.add(0, path)
        }
        for log in logs.recorded(at: handle.raw) { try replace(log.name, in: directory) }
    }

    // MARK: Names

    private func count() {
        plan.entries += 1
        progress.entries.wrappingAdd(1, ordering: .relaxed)
    }

    func visit(_ name: TerminatedName, _ entry: Entry, in directory: RestoreDirectory) throws {
        try progress.checkStop()
        count()
        let owner = owners.owner(of: entry)
        let path = { directory.destinationPath(name.name) }
        // A file with several names counts once.
        let cell = entry.linkGroup.flatMap { links.find($0) }
        let size = cell == nil && entry.kind == .regular ? entry.size : 0
        if entry.remarks.contains(.contentMissing) {
            log.add(
                .incomplete, directory.sourcePath(name.name), "its content could not be read when the point was made")
            return
        }
        if let refusal = request.refusal(of: entry) {
            return log.add(.conflict, directory.sourcePath(name.name), refusal)
        }
        if directory.isMissing {
            plan.creates.add(size, path())
            return note(entry, path(), cell, nil)
        }
        do throws(Errno) {
            let decision = try examiner.decide(name, entry, owner: owner, in: directory, linkedTo: cell)
            switch decision {
            case .create:
                plan.creates.add(size, path())
                try create(name, in: directory)
                try replaceLogs(of: name, entry, in: directory)
            case .same: plan.unchanged.add(size, path())
            case .metadata:
                plan.metadata.add(0, path())
                try replace(name, in: directory)
            case .replace:
                if examiner.differs(name, in: directory) {
                    log.add(
                        .content, directory.sourcePath(name.name),
                        "its content is not the point's although size and time are")
                }
                plan.overwrites.add(size, path())
                if DatabaseLogs.isInDatabase(name.name, at: try directory.handle().raw) {
                    // The point of before has what is in this log in its database: it never comes back by itself.
                    try create(name, in: directory)
                } else {
                    try replace(name, in: directory)
                }
                try replaceLogs(of: name, entry, in: directory)
            case .keep(let warning):
                plan.kept.add(size, path())
                if let warning { log.add(.conflict, directory.sourcePath(name.name), warning) }
            case .rename(let other, let replaces):
                plan.renames.add(size, directory.destinationPath(other.name))
                if replaces != nil { try replace(other, in: directory) } else { try create(other, in: directory) }
                try replaceLogs(of: other, from: name, entry, in: directory)
            }
            var status: FileStatus?
            if case .same = decision, entry.linkGroup != nil {
                let handle = try directory.handle()
                status = try name.withPointer { (pointer) throws(Errno) in
                    try FileSystem.status(at: handle.raw, pointer)
                }
            }
            note(entry, path(), cell, status)
        } catch {
            log.add(.failed, directory.sourcePath(name.name), "it cannot be looked at: \(error)")
        }
    }

    private func note(_ entry: Entry, _ path: [UInt8], _ cell: LinkCell?, _ status: FileStatus?) {
        guard let group = entry.linkGroup, cell == nil else { return }
        let state: LinkCell.State =
            status.map { .complete(device: $0.device, inode: $0.inode) } ?? .pending
        links.insert(group, LinkCell(path: path, state: state))
    }

    // MARK: What is not in the point

    func extra(_ name: TerminatedName, in directory: RestoreDirectory) throws {
        if name == RestorePlace.markName, directory.path.isEmpty { return }
        if boundaries.isDoubtful(directory.sourcePath(name.name)) { return }
        let path = directory.destinationPath(name.name)
        do throws(Errno) {
            let handle = try directory.handle()
            let status = try name.withPointer { (pointer) throws(Errno) in
                try FileSystem.status(at: handle.raw, pointer)
            }
            if try request.own.holds(status, at: handle.raw, name) {
                plan.kept.add(0, path)
                return log.add(.conflict, path, OwnPlaces.words)
            }
            if goingLogs.contains(path) { return }
            if DatabaseLogs.isPart(name, at: handle.raw) {
                let database = SQLiteFiles.database(of: name.name) ?? []
                // It goes with its database, or stays with it.
                guard goingDatabases.contains(directory.destinationPath(database)) else { return }
                plan.removes.add(0, path)
                let recorded = DatabaseLogs(of: TerminatedName(database)).recorded(at: handle.raw)
                if recorded.contains(where: { $0.name == name }) { try replace(name, in: directory) }
                return
            }
            if let words = examiner.obstacle(removing: name, status, in: directory, handle) {
                plan.kept.add(0, path)
                return log.add(.conflict, path, words)
            }
            if DatabaseLogs.concern(status) { goingDatabases.insert(path) }
            plan.removes.add(0, path)
            try replace(name, in: directory)
        } catch {
            if error != .noEntry { log.add(.failed, path, "\(error)") }
        }
    }

    func problem(_ kind: RestoreIssue.Kind, _ path: [UInt8], _ text: String) throws { log.add(kind, path, text) }
}
