import Glibc
import Platform
import Synchronization

/// The moment just before a restore in place looked at the destination for the first time.
///
/// What is replaced or removed goes into a point first, and which names those are is found out before. What was changed
/// since this moment may be in no point: it is never replaced or removed, whatever was planned. A change is told by the
/// change time, which nobody can set; what this restore itself did to a file with several names is noted here.
final class PlanMoment: Sendable {
    private struct Node: Hashable {
        let device: UInt64
        let inode: UInt64

        init(_ status: FileStatus) {
            device = status.device
            inode = status.inode
        }
    }

    /// For what was left alone.
    static let words = "it was changed after the restore had begun: it is kept in no point, and stays"

    private let start: FileInstant
    private let own = Mutex<Set<Node>>([])
    /// What the plan left alone although nothing was changed there, in the destination, and why.
    private let spared = Mutex<[[UInt8]: String]>([:])

    init(_ start: FileInstant) { self.start = start }

    /// Waits until the clock of local file systems, which goes in steps of 1 to 10 ms, has passed the present: every
    /// change before this call has an earlier change time, every one after it none that is earlier.
    static func now() -> PlanMoment {
        let begin = SystemClock.wall
        var reached = SystemClock.ofFiles
        // A clock that is set back meanwhile is not waited for.
        for _ in 0..<100 where reached <= begin {
            usleep(500)
            reached = SystemClock.ofFiles
        }
        let (seconds, rest) = reached.quotientAndRemainder(dividingBy: 1_000_000_000)
        return PlanMoment(FileInstant(seconds: seconds, nanoseconds: UInt32(max(rest, 0))))
    }

    /// A change time that lies further in the future than this, in seconds, was made when the clock was wrong: it says nothing,
    /// and cannot be set back. It would keep its file from being restored until that time has come.
    private static let future: Int64 = 3_600

    /// - Parameter now: the present in seconds since 1970.
    static func mayBeLate(_ changed: FileInstant, now: Int64) -> Bool { changed.seconds <= now + future }

    /// Whether somebody else may have changed a file since.
    func isBefore(_ status: FileStatus) -> Bool {
        let changed = status.changed
        guard PlanMoment.mayBeLate(changed, now: SystemClock.wall / 1_000_000_000) else { return false }
        // Some file systems keep whole seconds, FAT two of them: then the change may have come later than it says.
        let isLater =
            changed.nanoseconds == 0 ? changed.seconds >= start.seconds - 1 : !(changed < start)
        return isLater && !own.withLock { $0.contains(Node(status)) }
    }

    /// This restore is about to change the change time of a file that it may meet again.
    func note(_ status: FileStatus) { own.withLock { _ = $0.insert(Node(status)) } }

    /// Something stays, whatever is found there later: it is in no point.
    func spare(_ path: [UInt8], _ words: String) { spared.withLock { $0[path] = words } }

    /// Why the plan left it alone, if it did.
    func whySpared(_ path: [UInt8]) -> String? { spared.withLock { $0[path] } }

    /// As `note`, for a name that is replaced, removed or set right: only further names of it will be met.
    func noteNames(_ status: FileStatus) {
        if status.kind != .directory, status.links > 1 { note(status) }
    }
}
