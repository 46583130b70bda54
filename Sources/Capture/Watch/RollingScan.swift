package import Model

/// A look at all directories within a day, a twenty-fourth of them each hour: what events missed is found by it.
///
/// Pure: which directories belong to which hour depends on their paths alone, so nothing has to be remembered but the last
/// hour that was done, and a directory that is renamed is looked at all the same.
package enum RollingScan {
    /// How many slices there are.
    package static let slices = 24
    /// Nanoseconds of one.
    package static let period: Int64 = 3_600_000_000_000

    /// One of the slices of all directories.
    package struct Slice: Hashable, Sendable {
        /// 0 to 23.
        package let number: Int

        package init(number: Int) { self.number = ((number % slices) + slices) % slices }

        /// Whether a directory's names are looked at. Of every directory exactly one slice says so.
        package func includes(_ directory: TreePath) -> Bool { RollingScan.slice(of: directory) == number }
    }

    /// The slice of a directory: FNV-1a over its path.
    static func slice(of directory: TreePath) -> Int {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in directory.bytes { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        // The low bits alone follow the last byte closely.
        hash ^= hash >> 32
        return Int(hash % UInt64(slices))
    }

    /// The slices that are due, the longest due first, and what to remember as `done` when they are looked at.
    ///
    /// - Parameters:
    ///   - now: nanoseconds since 1970 by the wall clock; a clock that was put back makes nothing due, until it is later
    ///     than before again, but for at most a day.
    ///   - done: the hour that was done last; `nil`: none ever, which makes the present one due.
    package static func due(at now: Int64, done: Int64?) -> (slices: [Slice], done: Int64) {
        let hour = now / period - (now % period < 0 ? 1 : 0)
        guard let done, done - hour <= Int64(slices) else { return ([Slice(number: Int(hour % 24))], hour) }
        if hour <= done { return ([], done) }
        // After a long sleep one round is all there is to do.
        let first = max(done + 1, hour - Int64(slices) + 1)
        return ((first...hour).map { Slice(number: Int($0 % 24)) }, hour)
    }
}

/// What is to be walked again.
package struct ScanPlan: Hashable, Sendable {
    /// Why, for status and log.
    package enum Reason: Hashable, Sendable {
        case loss(DirtyFact.Loss)
        /// Too many paths were dirty to keep them apart, or a directory came by a rename.
        case subtree
        /// The day's round.
        case rolling
        /// Policy says so where events cannot be had.
        case scheduled
    }

    /// What lies at or below these paths; no path lies below another.
    package private(set) var subtrees: [TreePath]
    /// The protected part of what is mounted here, without the file systems mounted below.
    package private(set) var fileSystems: Set<TreePath>
    /// Of all that is protected only the directories of these slices.
    package private(set) var slices: Set<RollingScan.Slice>
    package private(set) var reasons: Set<Reason>

    package init(
        subtrees: [TreePath] = [], fileSystems: Set<TreePath> = [], slices: Set<RollingScan.Slice> = [], reason: Reason
    ) {
        self.subtrees = ScanPlan.topmost(subtrees)
        self.fileSystems = fileSystems
        self.slices = slices
        reasons = [reason]
    }

    package var isEmpty: Bool { subtrees.isEmpty && fileSystems.isEmpty && slices.isEmpty }

    /// Nobody waits for it: it runs at idle priority.
    package var isIdle: Bool { reasons.allSatisfy { $0 == .rolling } }

    /// Both plans in one.
    package mutating func formUnion(_ other: ScanPlan) {
        subtrees = ScanPlan.topmost(subtrees + other.subtrees)
        fileSystems.formUnion(other.fileSystems)
        slices.formUnion(other.slices)
        reasons.formUnion(other.reasons)
    }

    /// Whether the names in a directory are to be looked at.
    ///
    /// - Parameter mountPoint: where the file system is mounted that the directory lies on.
    package func includes(_ directory: TreePath, on mountPoint: TreePath) -> Bool {
        fileSystems.contains(mountPoint) || subtrees.contains { $0.contains(directory) }
            || slices.contains { $0.includes(directory) }
    }

    /// Whether anything at or below a directory may be included: else the walk passes it by.
    ///
    /// - Parameters:
    ///   - directory: a directory.
    ///   - mountPoint: where its file system is mounted; what is mounted below is asked for of its own.
    ///   - mounts: the mount points below the directory.
    package func reaches(_ directory: TreePath, on mountPoint: TreePath, mounts: [TreePath] = []) -> Bool {
        !slices.isEmpty || fileSystems.contains(mountPoint)
            || subtrees.contains { $0.contains(directory) || directory.contains($0) }
            || mounts.contains { directory.contains($0) && fileSystems.contains($0) }
    }

    private static func topmost(_ paths: [TreePath]) -> [TreePath] {
        var kept: [TreePath] = []
        var known: Set<TreePath> = []
        for path in Set(paths).sorted(by: { $0.bytes.count < $1.bytes.count }) {
            var above: TreePath? = path
            var isBelow = false
            while let directory = above, !isBelow {
                isBelow = known.contains(directory)
                above = directory.parent
            }
            if isBelow { continue }
            known.insert(path)
            kept.append(path)
        }
        return kept.sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }
    }
}
