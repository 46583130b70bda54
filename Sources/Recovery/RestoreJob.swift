package import Model
import Platform
import Synchronization
package import Vault

/// A restore from its plan to its end. In place, what it replaces or removes goes into a point first, and the machine
/// remembers what it did, so that `UndoJob` takes it back.
package final class RestoreJob {
    private let reader: PointReader
    private var request: RestoreRequest
    private let undo: UndoStore?
    private var planned: (plan: RestorePlan, recorder: UndoRecorder?)?
    private var lock: UndoLock?
    /// By what the machine knows again what this run has changed; `nil` when it has changed nothing that could be taken back.
    package private(set) var undoIdentifier: String?
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
        try request.check(reader)
        if let undo, lock == nil { lock = try undo.lock() }
        if undo != nil { request.moment = .now() }
        try compareContents()
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

    /// Reads what is there, when that was asked for or when size and time cannot be trusted: a restore that the power cut
    /// short may have left names whose content never reached the disk.
    private func compareContents() throws {
        if request.differing != nil { return }
        guard let place = try RestorePlace.look(request, point: reader.point) else { return }
        var isDoubtful = request.readsContents || place.mayBeTorn
        if let last = try undo?.last(), !last.isComplete, last.boot != RestorePlace.currentBoot { isDoubtful = true }
        guard isDoubtful else { return }
        let limit = request.openFiles > 0 ? request.openFiles : ProcessLimits.raiseOpenFiles()
        request.differing = try Restorer.compare(reader, request, place, planning, openLimit: limit)
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
            lock?.release()
            return report
        }
        let before = plan.protect.isEmpty ? nil : try protect(RestoreJob.below(request.destination.root, plan.protect))
        var record = UndoRecord(
            vault: reader.service.vault, restored: reader.point, before: before, root: request.destination.root,
            time: Timestamp(nanoseconds: SystemClock.wall), list: recorder.name)
        record.asked = UndoRecord.text(for: request.paths)
        if let last = try undo.last(), !last.isComplete, last.taking.isEmpty, last.vault == record.vault,
            last.restored == record.restored, last.root == record.root, last.asked == record.asked
        {
            // The same restore goes on: it is one for who takes it back.
            record.earlier = last.steps
        }
        try undo.save(record)
        undoIdentifier = record.identifier
        planned = nil
        let report = try Restorer(reader: reader, request: request, progress: progress).run()
        record.complete()
        try undo.save(record)
        lock?.release()
        return report
    }

    /// What is replaced and removed, as paths of this machine, while `protect` runs: directories that it was given may hold
    /// more.
    package func plannedPaths() throws -> PlannedPaths {
        guard let undo, let recorder = planned?.recorder else { return PlannedPaths([TreePath.root]) }
        var paths: [TreePath] = []
        try undo.read(recorder.name) { line in
            if case .changed(let path) = line { paths.append(TreePath(unchecked: path)) }
        }
        return PlannedPaths(RestoreJob.below(request.destination.root, paths))
    }

    /// Paths of the destination as paths of this machine.
    static func below(_ root: [UInt8], _ paths: [TreePath]) -> [TreePath] {
        guard let top = TreePath(normalizing: root), !top.isRoot else { return paths }
        return paths.map { $0.isRoot ? top : TreePath(unchecked: top.bytes + [UInt8(ascii: "/")] + $0.bytes) }
    }
}
