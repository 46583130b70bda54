package import Model
import Platform
import Synchronization
package import Vault

/// A restore from its plan to its end. In place, what it replaces or removes goes into a point first, and the machine
/// remembers what it did, so that `UndoJob` takes it back.
package final class RestoreJob {
    private let reader: PointReader
    private let request: RestoreRequest
    private let undo: UndoStore?
    private var planned: (plan: RestorePlan, recorder: UndoRecorder?)?
    /// Of the plan: `entries` counts.
    package let planning = RestoreProgress()
    /// Of the restore.
    package let progress = RestoreProgress()

    /// - Parameter undo: where the machine remembers its last restore in place; without it nothing can be taken back.
    package init(reader: PointReader, request: RestoreRequest, undo: UndoStore?) {
        self.reader = reader
        self.request = request
        self.undo = request.isInPlace ? undo : nil
    }

    deinit { if let planned { discard(planned.recorder) } }

    private func discard(_ recorder: UndoRecorder?) {
        if let recorder { undo?.discard(recorder.name) }
    }

    /// What the restore will do. Changes nothing.
    package func plan() throws -> RestorePlan {
        if let planned { return planned.plan }
        let recorder = try undo?.record()
        do {
            let plan = try RestorePlanner(reader: reader, request: request, progress: planning, recorder: recorder)
                .run()
            try recorder?.finish()
            planned = (plan, recorder)
            return plan
        } catch {
            discard(recorder)
            throw error
        }
    }

    /// Carries it out.
    ///
    /// - Parameter protect: makes a point of these paths (as they are now) and returns its id. Called before anything is
    ///   changed, and only in place when something will be replaced or removed; what it throws ends the restore.
    package func run(protect: ([TreePath]) throws -> PointID) throws -> RestoreReport {
        guard let undo else { return try Restorer(reader: reader, request: request, progress: progress).run() }
        let plan = try self.plan()
        guard let recorder = planned?.recorder else {
            throw HoldfastError(.internalError, "a restore was run twice (a fault of this program)")
        }
        if plan.isEmpty {
            let report = try Restorer(reader: reader, request: request, progress: progress).run()
            discard(recorder)
            planned = nil
            return report
        }
        let before = plan.protect.isEmpty ? nil : try protect(RestoreJob.below(request.destination.root, plan.protect))
        var record = UndoRecord(
            vault: reader.service.vault, restored: reader.point, before: before, root: request.destination.root,
            time: Timestamp(nanoseconds: SystemClock.wall), isComplete: false, list: recorder.name)
        try undo.save(record)
        planned = nil
        let report = try Restorer(reader: reader, request: request, progress: progress).run()
        record.isComplete = true
        try undo.save(record)
        return report
    }

    /// Paths of the destination as paths of this machine.
    static func below(_ root: [UInt8], _ paths: [TreePath]) -> [TreePath] {
        guard let top = TreePath(normalizing: root), !top.isRoot else { return paths }
        return paths.map { $0.isRoot ? top : TreePath(unchecked: top.bytes + [UInt8(ascii: "/")] + $0.bytes) }
    }
}

/// Takes the last restore in place back: what it replaced or removed returns from the point that was made before it, and what
/// it made is removed. This is a restore in place itself, with a point before it: it can be taken back in turn.
package final class UndoJob {
    package let record: UndoRecord
    /// What comes back, in the destination.
    package private(set) var returning: [TreePath] = []
    /// What is removed.
    package private(set) var removing: [TreePath] = []

    private let store: UndoStore
    private let place: OpenHandle
    private var directories: [(path: [UInt8], mode: UInt16, uid: UInt32, gid: UInt32, mtime: FileInstant)] = []
    package let progress = RestoreProgress()

    /// Reads what is to be taken back.
    ///
    /// - Throws: `notFound` when there is nothing.
    package init(store: UndoStore) throws {
        guard let record = try store.last() else {
            throw HoldfastError(.notFound, "There is no restore in place to take back.")
        }
        self.store = store
        self.record = record
        do throws(Errno) { place = OpenHandle(try DirectoryPath.open(record.root)) } catch {
            throw HoldfastError(.io, "\(TreePath.display(record.root)) cannot be opened: \(error).", cause: error)
        }
        try store.read(record) { line in
            switch line {
            case .created(let path): removing.append(TreePath(unchecked: path))
            case .changed(let path): returning.append(TreePath(unchecked: path))
            case .directory(let path, let mode, let uid, let gid, let mtime):
                directories.append((path, mode, uid, gid, mtime))
            }
        }
    }

    /// Takes it back.
    ///
    /// - Parameters:
    ///   - open: opens the point that was made before; called only when something comes back from it.
    ///   - protect: as in `RestoreJob.run`.
    package func run(
        open: (PointID) throws -> PointReader, protect: ([TreePath]) throws -> PointID
    ) throws -> RestoreReport {
        // What would be lost by taking it back, written down as for any restore.
        let recorder = try store.record()
        var protection = ProtectionList()
        do throws(Errno) {
            for path in returning {
                if exists(path) {
                    protection.add(path.bytes)
                    try recorder.changed(path.bytes)
                } else {
                    try recorder.created(path.bytes)
                }
            }
            for path in removing where exists(path) {
                protection.add(path.bytes)
                try recorder.changed(path.bytes)
            }
            for directory in directories {
                if let status = try? status(directory.path) { try recorder.directory(directory.path, status) }
            }
            try recorder.finish()
        } catch {
            store.discard(recorder.name)
            throw HoldfastError(.io, "What is to be taken back cannot be written down: \(error).", cause: error)
        }
        let before: PointID?
        let reader: PointReader?
        do {
            reader = returning.isEmpty ? nil : try record.before.map { try open($0) }
            before = protection.all.isEmpty ? nil : try protect(RestoreJob.below(record.root, protection.all))
        } catch {
            store.discard(recorder.name)
            throw error
        }
        var next = UndoRecord(
            vault: record.vault, restored: record.before ?? record.restored, before: before, root: record.root,
            time: Timestamp(nanoseconds: SystemClock.wall), isComplete: false, list: recorder.name)
        try store.save(next)

        let log = RestoreLog()
        for path in removing { remove(path, log) }
        var report = RestoreReport(progress, log)
        if let reader {
            // The point was made of this machine as it is, so its paths begin at the very root.
            var request = RestoreRequest(paths: RestoreJob.below(record.root, returning), destination: .inPlace)
            request.conflict = .always
            // A directory that was removed or replaced returns as it was.
            request.deleteExtra = true
            request.owners = .numbers
            let restored = try Restorer(reader: reader, request: request, progress: progress).run()
            let (issues, counts) = (report.issues, report.issueCounts)
            report = restored
            report.issues = issues + restored.issues
            report.issueCounts.merge(counts) { $0 + $1 }
        }
        restoreDirectories(log)
        next.isComplete = true
        try store.save(next)
        return report
    }

    private func status(_ path: [UInt8]) throws(Errno) -> FileStatus {
        if path.isEmpty { return try place.descriptor.status() }
        return try DirectoryPath.withParent(of: path, from: place.raw, links: .refused) {
            (parent, name) throws(Errno) in
            try FileSystem.status(at: parent, name)
        }
    }

    private func exists(_ path: TreePath) -> Bool { (try? status(path.bytes)) != nil }

    private func remove(_ path: TreePath, _ log: RestoreLog) {
        guard exists(path), let parent = path.parent else { return }
        do throws(Errno) {
            let directory = try DirectoryPath.open(parent.bytes, from: place.raw, links: .refused)
            let count = Removal.remove(
                at: directory.raw, TerminatedName(path.name), path: path.bytes, isKept: { _ in false },
                { log.add(.failed, $0.path, $0.text) })
            progress.removed.wrappingAdd(count, ordering: .relaxed)
        } catch {
            log.add(.failed, path.bytes, "it cannot be removed: \(error)")
        }
    }

    /// Directories get their times back last, from the deepest up, as they were written down.
    private func restoreDirectories(_ log: RestoreLog) {
        for directory in directories {
            do throws(Errno) {
                let opened = try DirectoryPath.open(directory.path, from: place.raw, links: .refused)
                let status = try opened.status()
                if status.uid != directory.uid || status.gid != directory.gid {
                    try FileSystem.setOwner(descriptor: opened.raw, uid: directory.uid, gid: directory.gid)
                }
                if status.mode != directory.mode { try FileSystem.setMode(descriptor: opened.raw, directory.mode) }
                try FileSystem.setTimes(at: opened.raw, "", modified: directory.mtime)
            } catch {
                if error != .noEntry { log.add(.failed, directory.path, "its metadata cannot be set back: \(error)") }
            }
        }
    }
}
