import Model
import Platform
package import Synchronization

/// Something about a restore that a person should know.
package struct RestoreIssue: Hashable, Sendable {
    /// The kinds of trouble.
    package enum Kind: String, Hashable, Sendable, CaseIterable {
        /// Content is damaged or missing in the vault; the file was not restored.
        case damaged
        /// It could not be written, or removed.
        case failed
        /// Something else stands there and stayed; what the point has for the name was not restored.
        case conflict
        /// A part of the metadata that the target or its rights do not allow.
        case metadata
        /// The point itself has it incompletely: it could not be read, or changed while it was.
        case incomplete
        /// What was written is not what the vault has.
        case differs
        /// A file that was there had another content than its size and time promised.
        case content

        /// Whether something that was to be restored was not, for no reason that the user gave: the restore failed in
        /// part.
        package var isFailure: Bool { self == .damaged || self == .failed || self == .differs }
    }

    package var kind: Kind
    /// As in the point; empty for what concerns all.
    package var path: [UInt8]
    package var text: String
    /// How many paths it is about: the one, or so many that have it in common.
    package var count: Int

    package init(kind: Kind, path: [UInt8], text: String, count: Int = 1) {
        self.kind = kind
        self.path = path
        self.text = text
        self.count = count
    }
}

/// Collects issues from all threads: the first of each kind with their paths, all of them by count.
final class RestoreLog: Sendable {
    /// So many of each kind are kept with their paths.
    static let kept = 1000

    private struct State {
        var issues: [RestoreIssue] = []
        var counts: [RestoreIssue.Kind: Int] = [:]
        /// Metadata that cannot be kept, by what and why: one line each, however many files have it.
        var metadata: [String: (first: [UInt8], count: Int)] = [:]
        var ownersSkipped = 0
    }

    private let state = Mutex(State())

    func add(_ kind: RestoreIssue.Kind, _ path: [UInt8], _ text: String) {
        state.withLock { state in
            let count = state.counts[kind, default: 0]
            state.counts[kind] = count + 1
            if count < RestoreLog.kept { state.issues.append(RestoreIssue(kind: kind, path: path, text: text)) }
        }
    }

    /// Metadata of a path that could not be set; `what` is short and does not name the path.
    func cannotKeep(_ what: String, _ error: Errno?, _ path: [UInt8]) {
        let text = error.map { "\(what): \($0)" } ?? what
        state.withLock { state in
            guard state.metadata[text] != nil || state.metadata.count < RestoreLog.kept else { return }
            state.metadata[text, default: (path, 0)].count += 1
        }
    }

    /// An owner that could not be set for want of rights.
    func skipOwner() { state.withLock { $0.ownersSkipped += 1 } }

    /// Everything so far, summarised.
    func collected() -> (issues: [RestoreIssue], counts: [RestoreIssue.Kind: Int]) {
        state.withLock { state in
            var issues = state.issues
            var counts = state.counts
            if state.ownersSkipped > 0 {
                counts[.metadata, default: 0] += state.ownersSkipped
                issues.append(
                    RestoreIssue(
                        kind: .metadata, path: [],
                        text:
                            "owners of \(state.ownersSkipped) paths were not set: that needs root. They belong to you.",
                        count: state.ownersSkipped)
                )
            }
            for (text, found) in state.metadata.sorted(by: { $0.key < $1.key }) {
                counts[.metadata, default: 0] += found.count
                let others = found.count > 1 ? " (and \(found.count - 1) more paths)" : ""
                issues.append(
                    RestoreIssue(kind: .metadata, path: found.first, text: text + others, count: found.count))
            }
            return (issues, counts)
        }
    }
}

/// Numbers of a running restore; read them from any thread.
package final class RestoreProgress: Sendable {
    /// Entries decided on, whatever the decision.
    package let entries = Atomic<UInt64>(0)
    /// Regular files written to their end.
    package let filesWritten = Atomic<UInt64>(0)
    /// Bytes written into files.
    package let bytesWritten = Atomic<UInt64>(0)
    /// Regular files that were there already.
    package let filesUnchanged = Atomic<UInt64>(0)
    /// Their bytes, and those parts of changed files that were there already.
    package let bytesUnchanged = Atomic<UInt64>(0)
    /// Directories, links, devices and so on that were made.
    package let othersWritten = Atomic<UInt64>(0)
    /// Names whose metadata alone was set right.
    package let metadataOnly = Atomic<UInt64>(0)
    /// Names that were removed.
    package let removed = Atomic<UInt64>(0)
    /// Names that stayed because of the conflict rule.
    package let kept = Atomic<UInt64>(0)
    /// Names that were restored under another name.
    package let renamed = Atomic<UInt64>(0)
    /// Set it and the restore ends soon, leaving only whole files under their names.
    package let stopRequested = Atomic<Bool>(false)

    /// A part of the work that is counted on its own stops with the whole.
    private let whole: RestoreProgress?

    package init() { whole = nil }

    init(partOf whole: RestoreProgress) { self.whole = whole }

    var isStopping: Bool { stopRequested.load(ordering: .relaxed) || whole?.isStopping == true }

    func checkStop() throws {
        if isStopping {
            throw HoldfastError(
                .cancelled,
                "The restore was stopped. Run it again to go on: what is complete is not fetched again.")
        }
    }
}

/// What a restore did.
package struct RestoreReport: Sendable {
    package var entries: UInt64 = 0
    package var filesWritten: UInt64 = 0
    package var bytesWritten: UInt64 = 0
    package var filesUnchanged: UInt64 = 0
    package var bytesUnchanged: UInt64 = 0
    package var othersWritten: UInt64 = 0
    package var metadataOnly: UInt64 = 0
    package var removed: UInt64 = 0
    package var kept: UInt64 = 0
    package var renamed: UInt64 = 0
    /// Files read back and compared, when that was asked for.
    package var verified: UInt64 = 0
    package var milliseconds: UInt64 = 0
    /// File systems whose disks have confirmed everything.
    package var syncedFileSystems = 0
    /// The first of each kind, with paths.
    package var issues: [RestoreIssue] = []
    /// All of them.
    package var issueCounts: [RestoreIssue.Kind: Int] = [:]
    package var unknownUsers: [UnknownOwner] = []
    package var unknownGroups: [UnknownOwner] = []

    package init() {}

    /// 0: everything is as the point has it; 1: something of it could not be restored; 3: done with warnings.
    package var exitStatus: Int32 {
        if issueCounts.isEmpty { return 0 }
        return issueCounts.contains { $0.key.isFailure && $0.value > 0 } ? 1 : 3
    }

    init(_ progress: RestoreProgress, _ log: RestoreLog) {
        entries = progress.entries.load(ordering: .relaxed)
        filesWritten = progress.filesWritten.load(ordering: .relaxed)
        bytesWritten = progress.bytesWritten.load(ordering: .relaxed)
        filesUnchanged = progress.filesUnchanged.load(ordering: .relaxed)
        bytesUnchanged = progress.bytesUnchanged.load(ordering: .relaxed)
        othersWritten = progress.othersWritten.load(ordering: .relaxed)
        metadataOnly = progress.metadataOnly.load(ordering: .relaxed)
        removed = progress.removed.load(ordering: .relaxed)
        kept = progress.kept.load(ordering: .relaxed)
        renamed = progress.renamed.load(ordering: .relaxed)
        (issues, issueCounts) = log.collected()
    }
}
