package import Model
import Platform
import Synchronization
package import Vault

/// Takes the last restore in place back: what it replaced or removed returns from the point that was made before it, and
/// what it made is removed. This is a restore in place itself, with a point before it: it can be taken back in turn.
///
/// A restore that was interrupted and run again is taken back as one. Where its runs disagree about a path, what a newer run
/// found there counts: it may be somebody's work of the time between; only when that is a file that the older run had begun
/// and not completed, the older one saw what had been there. An undo that was interrupted, or that could not do all of it, is gone on with by the next one.
package final class UndoJob {
    package let record: UndoRecord
    /// What comes back, in the destination.
    package var returning: [TreePath] { sources.flatMap(\.paths) }
    /// What is removed.
    package private(set) var removing: [TreePath] = []
    /// A restore in place was killed after the one that is taken back, before it changed anything.
    package let hasAbandoned: Bool

    /// What comes back from which point, those of the newest run first: what older ones say of the same place comes last.
    private var sources: [(before: PointID?, paths: [TreePath])] = []
    /// Paths that a newer run replaced and an older one too, or made: what the older one says of them.
    private var contested: [TreePath: Older] = [:]
    private enum Older {
        case made
        /// It returns from the point of that run, an index of `sources`.
        case replaced(Int)
    }
    /// What is taken back, newest first.
    private let steps: [UndoRecord.Step]
    private let store: UndoStore
    private let own: OwnPlaces
    private let lock: UndoLock
    private let place: OpenHandle
    private var directories: [(path: [UInt8], was: RecordedDirectory)] = []
    private let written = WrittenFileSystems()
    package let progress = RestoreProgress()

    /// Reads what is to be taken back, and keeps other restores in place away until the end of the value.
    ///
    /// - Parameter own: what is never removed.
    /// - Throws: `notFound` when there is nothing, `busy` while another restore in place runs.
    package init(store: UndoStore, own: OwnPlaces = OwnPlaces()) throws {
        lock = try store.lock()
        guard let record = try store.last() else {
            throw HoldfastError(.notFound, "There is no restore in place to take back.")
        }
        self.store = store
        self.own = own
        self.record = record
        hasAbandoned = store.hasAbandoned(besides: record)
        do throws(Errno) { place = OpenHandle(try DirectoryPath.open(record.root)) } catch {
            throw HoldfastError(.io, "\(TreePath.display(record.root)) cannot be opened: \(error).", cause: error)
        }
        steps = record.isUnfinishedUndo ? record.taking : record.steps
        try read()
    }

    /// Reads the lists, the oldest first.
    private func read() throws {
        var known: Set<TreePath> = []
        var knownDirectories: Set<[UInt8]> = []
        for step in steps.reversed() {
            var found: Set<TreePath> = []
            var paths: [TreePath] = []
            try store.read(step.list) { line in
                switch line {
                case .created(let bytes), .changed(let bytes):
                    let path = TreePath(unchecked: bytes)
                    // A restore names only what it finds different; a taking back names what its first run had done, too.
                    if case .changed = line, !record.asked.isEmpty, known.contains(path) {
                        contested[path] = .made
                        paths.append(path)
                        return
                    }
                    if UndoJob.isCovered(path, by: known) { return }
                    found.insert(path)
                    if case .created = line { removing.append(path) } else { paths.append(path) }
                case .directory(let path, let was):
                    if knownDirectories.insert(path).inserted { directories.append((path, was)) }
                }
            }
            sources.insert((step.before, paths), at: 0)
            if steps.count > 1 { known.formUnion(found) }
        }
        if !contested.isEmpty { preferNewer() }
    }

    /// Of several lines about a path the newest counts; the next older one is remembered.
    private func preferNewer() {
        var seen: Set<TreePath> = []
        for index in sources.indices {
            sources[index].paths.removeAll { path in
                guard contested[path] != nil, !seen.insert(path).inserted else { return false }
                if case .made? = contested[path] { contested[path] = .replaced(index) }
                return true
            }
        }
        removing.removeAll { contested[$0] != nil }
    }

    /// What an older run had begun and not completed is nobody's work: there the older run's word counts after all.
    private func dropUnfinished(open: (PointID) throws -> PointReader) throws {
        if contested.isEmpty { return }
        var unfinished: Set<TreePath> = []
        for source in sources {
            guard let before = source.before else { continue }
            for path in source.paths where contested[path] != nil {
                guard let place = RestoreJob.below(record.root, [path]).first,
                    let entry = try open(before).tree.lookup(place), entry.kind == .regular,
                    entry.mode & 0o7777 == FileWriter.unfinishedMode
                else { continue }
                unfinished.insert(path)
            }
        }
        if unfinished.isEmpty { return }
        for index in sources.indices { sources[index].paths.removeAll { unfinished.contains($0) } }
        for path in unfinished.sorted(by: { $0.bytes.lexicographicallyPrecedes($1.bytes) }) {
            switch contested[path] {
            case .replaced(let other)?: sources[other].paths.append(path)
            default: removing.append(path)
            }
        }
    }

    /// Whether a path is among others, or below one of them.
    private static func isCovered(_ path: TreePath, by known: Set<TreePath>) -> Bool {
        if known.isEmpty { return false }
        var above: TreePath? = path
        while let here = above {
            if known.contains(here) { return true }
            above = here.parent
        }
        return false
    }

    // MARK: What would be lost

    /// What was changed since the restore ended, where it would be replaced or removed now. Of one that was interrupted
    /// nobody knows when that was: then what was changed since it began, by itself too.
    ///
    /// - Returns: how many names, and the first of them.
    package func changedSince() -> (count: Int, samples: [TreePath]) {
        let ended = record.ended ?? record.time
        let (seconds, rest) = ended.nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        let end = FileInstant(seconds: seconds, nanoseconds: UInt32(max(rest, 0)))
        var found: (count: Int, samples: [TreePath]) = (0, [])
        func look(_ path: TreePath, _ status: FileStatus) {
            guard end < status.changed else { return }
            found.count += 1
            if found.samples.count < 10 { found.samples.append(path) }
        }
        var waiting: [TreePath] = []
        for path in returning + removing {
            guard let status = try? status(path.bytes) else { continue }
            look(path, status)
            for log in logs(beside: path) { look(log.path, log.status) }
            if status.kind == .directory { waiting.append(path) }
        }
        while let path = waiting.popLast() {
            guard let directory = try? DirectoryPath.open(path.bytes, from: place.raw, links: .refused),
                let above = try? directory.status(), !own.contains(above)
            else { continue }
            var reader = DirectoryReader()
            reader.start(directory.raw)
            while let name = try? reader.next() {
                let child = TerminatedName(name.bytes)
                let status = try? child.withPointer { (pointer) throws(Errno) in
                    try FileSystem.status(at: directory.raw, pointer)
                }
                guard let status else { continue }
                let childPath = TreePath(unchecked: path.bytes + [UInt8(ascii: "/")] + child.name)
                look(childPath, status)
                if status.kind == .directory, status.device == above.device { waiting.append(childPath) }
            }
        }
        return found
    }

    /// What is replaced and removed, as paths of this machine.
    package var plannedPaths: PlannedPaths { PlannedPaths(RestoreJob.below(record.root, returning + removing)) }

    // MARK: Doing it

    /// Takes it back.
    ///
    /// - Parameters:
    ///   - open: opens the point that was made before; called only when something comes back from it.
    ///   - protect: as in `RestoreJob.run`.
    package func run(
        open: (PointID) throws -> PointReader, protect: ([TreePath]) throws -> PointID
    ) throws -> RestoreReport {
        let start = SystemClock.monotonic
        let moment = PlanMoment.now()
        let (recorder, protection) = try writeDown()
        let before: PointID?
        let readers: [(reader: PointReader, paths: [TreePath])]
        do {
            var opened: [PointID: PointReader] = [:]
            func reader(_ point: PointID) throws -> PointReader {
                if let known = opened[point] { return known }
                let made = try open(point)
                opened[point] = made
                return made
            }
            try dropUnfinished(open: reader)
            readers = try sources.compactMap { source in
                guard !source.paths.isEmpty, let before = source.before else { return nil }
                return (try reader(before), source.paths)
            }
            before = protection.isEmpty ? nil : try protect(RestoreJob.below(record.root, protection))
        } catch {
            store.discard(recorder.name)
            throw error
        }
        var next = UndoRecord(
            vault: record.vault, restored: record.before ?? record.restored, before: before, root: record.root,
            time: Timestamp(nanoseconds: SystemClock.wall), list: recorder.name)
        next.taking = steps
        if record.isUnfinishedUndo { next.earlier = record.steps }
        try store.save(next)

        let log = RestoreLog()
        written.note(device: try deviceOfRoot(), place)
        unseal(log, moment)
        if !record.isComplete { removeUnfinished(log, moment) }
        let (comeBack, made) = (Set(returning), Set(removing))
        for path in removing where !goesWithDatabase(path, comeBack, made) { remove(path, log, moment) }
        // What one point brought back another may replace: that is no change of somebody else.
        let restored = try readers.enumerated().map { index, source in
            try bringBack(source.paths, from: source.reader, index == 0 ? moment : .now())
        }
        restoreDirectories(log)
        try written.sync()

        var report = RestoreReport(progress, log)
        for restored in restored {
            report.issues += restored.issues
            report.issueCounts.merge(restored.issueCounts) { $0 + $1 }
            report.unknownUsers += restored.unknownUsers
            report.unknownGroups += restored.unknownGroups
        }
        // What could not be taken back is not forgotten: the next one tries again.
        if !report.issueCounts.contains(where: { ($0.key.isFailure || $0.key == .conflict) && $0.value > 0 }) {
            next.complete()
            try store.save(next)
        }
        lock.release()
        report.milliseconds = UInt64(max(SystemClock.monotonic - start, 0)) / 1_000_000
        return report
    }

    /// Writes down what will happen, as for any restore.
    ///
    /// - Returns: the list, and what has to be in a point first.
    private func writeDown() throws -> (UndoRecorder, [TreePath]) {
        let recorder = try store.record()
        var protection = ProtectionList()
        do throws(Errno) {
            for path in returning {
                if exists(path) {
                    protection.add(path.bytes)
                    try recorder.changed(path.bytes)
                    for log in logs(beside: path) where log.isRecorded {
                        protection.add(log.path.bytes)
                        try recorder.changed(log.path.bytes)
                    }
                } else {
                    try recorder.created(path.bytes)
                }
            }
            for path in removing where exists(path) {
                protection.add(path.bytes)
                try recorder.changed(path.bytes)
                for log in logs(beside: path) where log.isRecorded {
                    protection.add(log.path.bytes)
                    try recorder.changed(log.path.bytes)
                }
            }
            for directory in directories {
                if let opened = try openIfAny(directory.path) {
                    try recorder.directory(directory.path, try RecordedDirectory(opened))
                }
            }
            try recorder.finish()
        } catch {
            store.discard(recorder.name)
            throw HoldfastError(.io, "What is to be taken back cannot be written down: \(error).", cause: error)
        }
        return (recorder, protection.all)
    }

    private func bringBack(
        _ paths: [TreePath], from reader: PointReader, _ moment: PlanMoment
    ) throws -> RestoreReport {
        // The point was made of this machine as it is, so its paths begin at the very root.
        var request = RestoreRequest(paths: RestoreJob.below(record.root, paths), destination: .inPlace)
        request.conflict = .always
        // A directory that was removed or replaced returns as it was.
        request.deleteExtra = true
        request.owners = .numbers
        request.own = own
        request.takesBack = true
        request.moment = moment
        // What replaced something may have its size and time, when its content was the reason.
        request.checksContents = true
        return try Restorer(reader: reader, request: request, progress: progress).run()
    }

    private func status(_ path: [UInt8]) throws(Errno) -> FileStatus {
        if path.isEmpty { return try place.descriptor.status() }
        return try DirectoryPath.withParent(of: path, from: place.raw, links: .refused) {
            (parent, name) throws(Errno) in
            try FileSystem.status(at: parent, name)
        }
    }

    private func deviceOfRoot() throws -> UInt64 {
        do { return try place.descriptor.status().device } catch {
            throw HoldfastError(.io, "\(TreePath.display(record.root)) cannot be looked at: \(error).", cause: error)
        }
    }

    /// The logs of databases that programs have used since the restore, beside what is taken back.
    private func logs(beside path: TreePath) -> [(path: TreePath, status: FileStatus, isRecorded: Bool)] {
        guard !path.isRoot, let parent = path.parent, let status = try? status(path.bytes),
            DatabaseLogs.concern(status),
            let directory = try? DirectoryPath.openFile(
                parent.bytes, from: place.raw, links: .refused, [.pathOnly, .directory])
        else { return [] }
        let logs = DatabaseLogs(of: TerminatedName(path.name))
        let recorded = logs.recorded(at: directory.raw).map(\.name)
        return logs.going(at: directory.raw).map { log in
            (parent.appending(log.name.name), log.status, recorded.contains(log.name))
        }
    }

    private func exists(_ path: TreePath) -> Bool { (try? status(path.bytes)) != nil }

    /// A directory of the destination; `nil` when it is gone.
    private func openIfAny(_ path: [UInt8]) throws(Errno) -> OpenHandle? {
        do throws(Errno) {
            return OpenHandle(try DirectoryPath.open(path, from: place.raw, links: .refused))
        } catch {
            if error == .noEntry { return nil }
            guard error == .accessDenied else { throw error }
        }
        return OpenHandle(
            try DirectoryPath.openFile(path, from: place.raw, links: .refused, [.pathOnly, .directory]),
            isReference: true)
    }

    /// Takes flags away that forbid changes in directories; they get theirs at the end.
    private func unseal(_ log: RestoreLog, _ moment: PlanMoment) {
        for directory in directories {
            do throws(Errno) {
                guard let opened = try openIfAny(directory.path) else { continue }
                let status = try opened.descriptor.status()
                written.note(device: status.device, opened)
                guard !opened.isReference,
                    status.attributes.contains(.immutable) || status.attributes.contains(.appendOnly)
                else {
                    continue
                }
                if !moment.isBefore(status) { moment.note(status) }
                let flags = try FileSystem.flags(descriptor: opened.raw)
                try FileSystem.setFlags(descriptor: opened.raw, flags.subtracting(.afterEverything))
            } catch {
                log.add(.failed, directory.path, "its flags cannot be changed: \(error)")
            }
        }
    }

    /// What a run that was killed had not completed lies beside its place, under a name that only a run of that point makes.
    private func removeUnfinished(_ log: RestoreLog, _ moment: PlanMoment) {
        let points = Set([record.restored] + steps.compactMap(\.before))
        for path in returning + removing {
            guard let parent = path.parent,
                let directory = try? DirectoryPath.openFile(
                    parent.bytes, from: place.raw, links: .refused, [.pathOnly, .directory])
            else { continue }
            for point in points {
                let name = FileWriter.temporaryName(for: TerminatedName(path.name), mark: FileWriter.mark(of: point))
                do throws(Errno) {
                    // The directory's change time will be of this removal.
                    let above = try directory.status()
                    let isOurs = !moment.isBefore(above)
                    try name.withPointer { (pointer) throws(Errno) in
                        try FileSystem.remove(at: directory.raw, pointer)
                    }
                    if isOurs { moment.note(above) }
                } catch {
                    if error != .noEntry {
                        log.add(.failed, path.bytes, "what was not completed of it cannot be removed: \(error)")
                    }
                }
            }
        }
    }

    /// Whether a log that was made goes when its database gets what it was, or stays because that could not be removed.
    private func goesWithDatabase(_ path: TreePath, _ returning: Set<TreePath>, _ made: Set<TreePath>) -> Bool {
        guard let parent = path.parent, let name = SQLiteFiles.database(of: path.name) else { return false }
        let database = parent.appending(name)
        return returning.contains(database) || (made.contains(database) && exists(database))
    }

    private func remove(_ path: TreePath, _ log: RestoreLog, _ moment: PlanMoment) {
        guard exists(path), let parent = path.parent else { return }
        do throws(Errno) {
            let directory = try DirectoryPath.openFile(
                parent.bytes, from: place.raw, links: .refused, [.pathOnly, .directory])
            // Its change time will be of this removal.
            let above = try directory.status()
            if !moment.isBefore(above) { moment.note(above) }
            // The logs of a database go with it, and after it: alone they mean nothing.
            let names = [path] + logs(beside: path).map(\.path)
            for name in names where name == path || !exists(path) {
                let count = Removal.remove(
                    at: directory.raw, TerminatedName(name.name), path: name.bytes, own: own, moment: moment,
                    { log.add($0.kind, $0.path, $0.text) })
                progress.removed.wrappingAdd(count, ordering: .relaxed)
            }
        } catch {
            log.add(.failed, path.bytes, "it cannot be removed: \(error)")
        }
    }

    /// Directories get their metadata back last, as they were written down: the planner left them from the deepest up.
    private func restoreDirectories(_ log: RestoreLog) {
        let writer = MetadataWriter(log: log, rights: .current())
        for directory in directories {
            do throws(Errno) {
                guard let opened = try openIfAny(directory.path) else { continue }
                let was = directory.was
                // Somebody else's, as far as that can be told: nothing of it was changed.
                if opened.isReference { continue }
                writer.finish(
                    descriptor: opened.raw,
                    MetadataWriter.Target(
                        entry: was.entry, owner: Ownership(uid: was.uid, gid: was.gid), hasOwner: false, hasMode: false,
                        mayHaveMore: true, defersFlags: false, path: { directory.path }))
            } catch {
                log.add(.failed, directory.path, "its metadata cannot be set back: \(error)")
            }
        }
    }
}
