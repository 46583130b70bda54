package import Model
import Platform
import Synchronization
package import Vault

/// Looks at some protected paths and says what became of them, against what is known of the paths before.
///
/// The same walk, readers and bundles as a full backup, on the calling thread: what changes from second to second is little,
/// and only sealing is worth more threads.
package final class PathCapture {
    /// More paths than this that changed: a full scan is the better way.
    package static let limit = 100_000
    /// Paths that are looked at below what was selected.
    private let lookLimit: Int

    /// What was found.
    package struct Outcome: Sendable {
        /// What is there and is not as it was known, in the order of the keys.
        package var changed: [CachedEntry] = []
        /// What was known and is not there any more; of a directory only itself, with `emptied`.
        package var gone: [CachedEntry] = []
        /// Paths that are not directories any more, or are gone, and had something below them: what that was.
        package var emptied: [(path: TreePath, lost: [CachedEntry])] = []
        package var warnings: [PointWarning] = []
        package var omittedWarnings: UInt64 = 0
        package var bytesRead: UInt64 = 0
        /// Databases among what changed that were in use, and were captured as of one moment.
        package var openDatabases: UInt64 = 0
        /// Entries that were as they were known.
        package var unchanged = 0

        /// Nothing was found.
        package init() {}

        package var isEmpty: Bool { changed.isEmpty && gone.isEmpty && emptied.isEmpty }
    }

    private static let smallSlab = 2 << 20
    private static let largeSlab = 4 << 20

    private let source: CaptureSource
    private let memory: EntryMemory
    private let secret: DomainSecret
    private let changeTimes: ChangeTimeTrust
    private let staging: StagingPlace?
    private let smallSlabs = SlabPool(slabSize: PathCapture.smallSlab, limit: 4)
    private let largeSlabs = SlabPool(slabSize: PathCapture.largeSlab, limit: 6)

    /// - Parameter staging: a directory of this program, for what has to be taken at once and is read later.
    package init(
        source: CaptureSource, memory: EntryMemory, secret: DomainSecret, changeTimes: ChangeTimeTrust = .thisKernel,
        lookLimit: Int = PathCapture.limit, staging: [UInt8]? = nil
    ) {
        self.staging = staging.map { StagingPlace(directory: $0) }
        self.lookLimit = lookLimit
        self.source = source
        self.memory = memory
        self.secret = secret
        self.changeTimes = changeTimes
    }

    /// A key in few bytes. Two keys of one scan that have the same are one in many million scans, and then something that is gone
    /// is noticed by the next one.
    private static func short(_ key: [UInt8]) -> Int {
        var hasher = Hasher()
        key.withUnsafeBytes { hasher.combine(bytes: $0) }
        return hasher.finalize()
    }

    /// Looks at what is selected and gives contents that are new to `pipeline`. Nothing that is said of a path is older than
    /// the call.
    ///
    /// - Parameter moves: what was renamed, as far as is known.
    /// - Throws: `tooMuch` when there is more than `limit`; the errors of the pipeline; `cancelled` after
    ///   `progress.stopRequested`.
    package func run(
        _ selection: PathSelection, moves: [EntryMemory.Move] = [], pipeline: SealingPipeline,
        progress: CaptureProgress = CaptureProgress()
    ) throws -> Outcome {
        var outcome = Outcome()
        var seen: Set<Int> = []
        memory.expect(moves)
        defer { memory.expect([]) }
        let reader = FileReader(
            pipeline: pipeline, slabs: largeSlabs, secret: secret, progress: progress, changeTimes: changeTimes,
            staging: staging)
        let memory = memory
        let hasDeep = !selection.deep.isEmpty
        let sequencer = CaptureSequencer(pipeline: pipeline, progress: progress, reader: reader) { found in
            if hasDeep {
                seen.insert(PathCapture.short(found.key))
                if seen.count > self.lookLimit { throw PathCapture.tooMuch }
            }
            if let known = memory.entry(found.key), PathCapture.isSame(known.entry, found.entry) {
                outcome.unchanged += 1
                return
            }
            outcome.changed.append(found)
            if outcome.changed.count > PathCapture.limit { throw PathCapture.tooMuch }
        }
        let walker = TreeWalker(
            source: source, selection: selection, cache: memory, damaged: [], slabs: smallSlabs, progress: progress
        ) { batch in
            if batch.needsReading { try reader.complete(batch) }
            batch.isComplete.store(true, ordering: .releasing)
            try sequencer.take(batch)
        }
        try walker.run()
        try sequencer.finish()
        outcome.openDatabases = progress.remarks.withLock { $0.openDatabaseCount }
        outcome.bytesRead = progress.bytesRead.load(ordering: .relaxed)
        // What vanished is told by itself, and is no trouble.
        outcome.warnings = sequencer.warnings.warnings.filter { $0.reason != .vanished }
        outcome.omittedWarnings = sequencer.warnings.omitted
        findLosses(walker.gone, selection, seen, &outcome)
        if let failure = memory.failure { throw failure }
        return outcome
    }

    /// Directories above what is protected change their times with things that are nobody's business here.
    private static func isSame(_ known: Entry, _ found: Entry) -> Bool {
        guard found.remarks.contains(.ancestor), known.remarks.contains(.ancestor) else { return known == found }
        var known = known
        known.mtime = found.mtime
        return known == found
    }

    /// More is to be looked at than is wise without a full scan.
    package static var tooMuch: HoldfastError {
        HoldfastError(.tooMuchChanged, "more has changed than can be looked at path by path")
    }

    /// What was known and is not there: what the walk did not find, what lies below it, and what a deep look did not see.
    private func findLosses(
        _ missing: [TreePath], _ selection: PathSelection, _ seen: Set<Int>, _ outcome: inout Outcome
    ) {
        var lost: [TreePath: CachedEntry] = [:]
        func lose(_ known: CachedEntry) { if let path = TreePath(key: known.key) { lost[path] = known } }
        for path in missing { if let known = memory.entry(path.key) { lose(known) } }
        for deep in selection.deep where memory.entry(deep.key) != nil {
            // What was left out of the walk (by a rule, or because it could not be entered) is not seen either; it was not
            // known, or it is gone from what is kept, as after a full scan.
            memory.forEach(below: deep) { if !seen.contains(PathCapture.short($0.key)) { lose($0) } }
        }
        var emptied: Set<TreePath> = []
        for (path, known) in lost where known.entry.kind == .directory { emptied.insert(path) }
        for found in outcome.changed where found.entry.kind != .directory {
            guard let known = memory.entry(found.key), known.entry.kind == .directory,
                let path = TreePath(key: found.key)
            else { continue }
            emptied.insert(path)
        }
        // Of what is gone with the directory above it nothing is to be said.
        func isBelowEmptied(_ path: TreePath) -> Bool {
            var above = path.parent
            while let directory = above {
                if emptied.contains(directory) { return true }
                above = directory.parent
            }
            return false
        }
        outcome.gone = lost.filter { !isBelowEmptied($0.key) }.map(\.value)
        for path in emptied where !isBelowEmptied(path) {
            var below: [CachedEntry] = []
            memory.forEach(below: path) { below.append($0) }
            if !below.isEmpty { outcome.emptied.append((path, below)) }
        }
    }
}

extension PathCapture.Outcome {
    /// What a memory learns from it once it is stored.
    package var memoryChanges: EntryMemory.Changes {
        var changes = EntryMemory.Changes()
        changes.puts = changed
        changes.gone = gone.map(\.key)
        changes.emptied = emptied.map { $0.path.key }
        return changes
    }

    /// How the numbers of the state change. `before` gives what was known of a key.
    package func update(_ totals: inout PointStatistics, before: (_ key: [UInt8]) -> CachedEntry?) {
        for found in changed {
            if let known = before(found.key) { Self.count(known.entry, &totals, adds: false) }
            Self.count(found.entry, &totals, adds: true)
        }
        for known in gone { Self.count(known.entry, &totals, adds: false) }
        for (_, lost) in emptied { for known in lost { Self.count(known.entry, &totals, adds: false) } }
    }

    private static func count(_ entry: Entry, _ totals: inout PointStatistics, adds: Bool) {
        func change(_ number: inout UInt64, _ by: UInt64) {
            number = adds ? number &+ by : number - min(by, number)
        }
        change(&totals.entries, 1)
        switch entry.kind {
        case .regular:
            change(&totals.files, 1)
            change(&totals.bytes, entry.size)
        case .directory: change(&totals.directories, 1)
        default: break
        }
    }
}

extension HoldfastError.Code {
    /// More has changed than is worth looking at path by path: scan.
    package static let tooMuchChanged = HoldfastError.Code("too-much-changed")
}
