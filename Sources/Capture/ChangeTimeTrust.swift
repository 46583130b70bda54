import Glibc
package import Model
import Platform

/// Tells whether a file's change time vouches for what was read of it.
///
/// Before Linux 6.13 times of files advance with the timer, every 1 to 10 ms. A file that is read and then written again
/// within one such step, to the same size, keeps its change time: by its times it did not change. So what changed just before
/// it was read is read again the next time, as `git` does with its index ("racy git"). From 6.13 on the kernel gives a new
/// time to each change after the time was looked at (multigrain timestamps), in ext4, XFS, btrfs and tmpfs only. Others go
/// on with the timer or in whole seconds (FAT in two of them), as does ext4 with the small inodes of old file systems: a
/// time without a fraction is taken for one of those. On network file systems it is another machine's clock that counts.
package struct ChangeTimeTrust: Sendable {
    /// How long before its reading a change must lie where the file system keeps times as finely as the kernel can, in
    /// nanoseconds; 0 where each change has a time of its own.
    package let margin: Int64

    /// Where times may be of whole seconds, or of two.
    package static let coarseMargin: Int64 = 2_000_000_000
    /// Where the times are those of another machine: clocks are hardly further apart than this.
    package static let remoteMargin: Int64 = 300_000_000_000

    package init(margin: Int64) { self.margin = margin }

    /// As the running kernel needs it: twice the longest step.
    package static let thisKernel = ChangeTimeTrust(release: Machine.kernelRelease)

    /// - Parameter release: as `uname -r` says it, `6.1.0-28-amd64`.
    package init(release: String) {
        let numbers = release.split(whereSeparator: { !$0.isNumber }).prefix(2).compactMap { Int($0) }
        let isFine = numbers.count == 2 && (numbers[0], numbers[1]) >= (6, 13)
        self.init(margin: isFine ? 0 : 20_000_000)
    }

    /// How a file system keeps change times.
    package enum Clock: Hashable, Sendable {
        /// As finely as the kernel can.
        case fine
        /// In steps that nobody knows, of at most two seconds.
        case coarse
        /// By another machine's clock.
        case remote

        /// - Parameter type: the name of the file system's kind; `nil` when it does not say what it is.
        package init(type: String?, isNetwork: Bool) {
            switch type {
            case "ext4", "xfs", "btrfs", "tmpfs": self = .fine
            // What a program serves may come from another machine, as with sshfs.
            case "fuse": self = .remote
            default: self = isNetwork ? .remote : .coarse
            }
        }
    }

    /// - Parameters:
    ///   - changed: the change time that stood when the reading began.
    ///   - now: the clock when the reading began, in nanoseconds since 1970.
    ///   - clock: of the file system that the file is on.
    package func vouches(for changed: FileTime, readAt now: Int64, on clock: Clock) -> Bool {
        var margin = margin
        switch clock {
        case .fine: if changed.nanoseconds == 0 { margin = max(margin, ChangeTimeTrust.coarseMargin) }
        case .coarse: margin = max(margin, ChangeTimeTrust.coarseMargin)
        case .remote: margin = max(margin, ChangeTimeTrust.remoteMargin)
        }
        if margin == 0 { return true }
        let (seconds, isTooFar) = changed.seconds.multipliedReportingOverflow(by: 1_000_000_000)
        if isTooFar { return true }
        let age = now.subtractingReportingOverflow(seconds &+ Int64(changed.nanoseconds))
        // A time far ahead is of a clock that was wrong once: it would never age.
        return age.overflow || age.partialValue >= margin || age.partialValue < -3_600_000_000_000
    }
}
