package import Model
import Platform
import Vault

/// What a restore would do, found out without changing anything.
package struct RestorePlan: Sendable {
    /// Names of one kind of decision.
    package struct Tally: Hashable, Sendable {
        package var count = 0
        /// Sizes of the regular files among them.
        package var bytes: UInt64 = 0
        /// The first of them, in the destination; no leading slash.
        package var samples: [[UInt8]] = []

        /// So many names are kept.
        package static let kept = 200

        package init() {}

        mutating func add(_ bytes: UInt64, _ path: @autoclosure () -> [UInt8]) {
            count += 1
            let (sum, overflow) = self.bytes.addingReportingOverflow(bytes)
            self.bytes = overflow ? .max : sum
            if samples.count < Tally.kept { samples.append(path()) }
        }
    }

    package var point: PointID
    package var destination: [UInt8]
    package var isInPlace: Bool
    package var conflict: RestoreRequest.Conflict
    /// Entries that were looked at.
    package var entries = 0
    /// Regular files, links and so on that are made where nothing stands.
    package var creates = Tally()
    /// Directories that are made.
    package var directories = Tally()
    /// What is there already with the same content and metadata.
    package var unchanged = Tally()
    /// What is there already with the same content; owners, modes, times or attributes are set right.
    package var metadata = Tally()
    /// What stands there and is replaced. Parts of large files that are the same are not fetched.
    package var overwrites = Tally()
    /// What stands there, is not in the point, and is removed with everything below it.
    package var removes = Tally()
    /// What stands there and stays; the point's is left out.
    package var kept = Tally()
    /// What stands there and stays; the point's goes beside it.
    package var renames = Tally()
    /// Owners of the point that nobody here has the name of; their numbers are used.
    package var unknownUsers: [UnknownOwner] = []
    package var unknownGroups: [UnknownOwner] = []
    /// Free bytes where the restore writes; `nil` when the file system does not say.
    package var freeBytes: UInt64?
    package var issues: [RestoreIssue] = []
    package var issueCounts: [RestoreIssue.Kind: Int] = [:]
    /// What a point must hold before the restore begins, so that it can be taken back: everything that is replaced or
    /// removed, or directories that hold it when that is too much to name.
    package var protect: [TreePath] = []

    /// Bytes that are written at most.
    package var bytesToWrite: UInt64 {
        [creates.bytes, overwrites.bytes, renames.bytes].reduce(0) { sum, bytes in
            let (total, overflow) = sum.addingReportingOverflow(bytes)
            return overflow ? .max : total
        }
    }

    /// Whether the destination has not enough room for what is written, by the sizes of files.
    package var lacksRoom: Bool { freeBytes.map { bytesToWrite > $0 } ?? false }

    /// As of a report: 0 when all would go well, 1 when something could not be restored, else 3.
    package var exitStatus: Int32 {
        if issueCounts.isEmpty { return 0 }
        return issueCounts.contains { $0.key.isFailure && $0.value > 0 } ? 1 : 3
    }

    /// Whether nothing would happen.
    package var isEmpty: Bool {
        creates.count + directories.count + metadata.count + overwrites.count + removes.count + renames.count == 0
    }

    init(point: PointID, request: RestoreRequest, conflict: RestoreRequest.Conflict) {
        self.point = point
        destination = request.destination.root
        isInPlace = request.isInPlace
        self.conflict = conflict
    }
}

/// The names that something in place replaces or removes, each with everything below it.
package struct PlannedPaths {
    private var paths: Set<TreePath> = []
    private var above: Set<TreePath> = []

    init(_ paths: some Sequence<TreePath>) {
        for path in paths where self.paths.insert(path).inserted {
            var directory = path.parent
            while let here = directory, above.insert(here).inserted { directory = here.parent }
        }
    }

    /// Whether one of them is at a path, below it or above it.
    package func touches(_ path: TreePath) -> Bool {
        if above.contains(path) { return true }
        var here: TreePath? = path
        while let directory = here {
            if paths.contains(directory) { return true }
            here = directory.parent
        }
        return false
    }
}

/// Collects paths of which a point is to be made; keeps their number small enough for any backup.
struct ProtectionList {
    /// More than this, and directories stand for what is in them.
    static let limit = 1000
    private var paths: Set<TreePath> = []
    mutating func add(_ path: [UInt8]) {
        let path = TreePath(unchecked: path)
        var above = path.parent
        while let directory = above {
            if paths.contains(directory) { return }
            above = directory.parent
        }
        paths.insert(path)
        if paths.count > ProtectionList.limit { collapse() }
    }

    /// Replaces the deepest paths by their directories until half the room is free.
    private mutating func collapse() {
        while paths.count > ProtectionList.limit / 2 {
            let deepest = paths.map { $0.components.count }.max() ?? 0
            if deepest <= 1 { return }
            var next: Set<TreePath> = []
            for path in paths {
                let isDeepest = path.components.count == deepest
                next.insert(isDeepest ? (path.parent ?? path) : path)
            }
            paths = next
        }
    }

    /// The paths, none below another.
    var all: [TreePath] {
        var kept: [TreePath] = []
        for path in paths.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            var above = path.parent
            var isCovered = false
            while let directory = above {
                if paths.contains(directory) { isCovered = true }
                above = directory.parent
            }
            if !isCovered { kept.append(path) }
        }
        return kept
    }
}
