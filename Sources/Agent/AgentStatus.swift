package import Capture
package import Model
package import Vault

/// How protection stands, at one instant.
package struct AgentStatus: Sendable {
    /// What the agent does now.
    package enum Activity: String, Sendable {
        /// Everything that is known to have changed is stored.
        case idle
        /// It looks at everything.
        case scanning
        /// Something has changed and is about to be stored.
        case capturing
        /// The vault could not be reached; it is tried again.
        case waiting
        /// Somebody wants nothing to be protected for a while.
        case paused
    }

    package var activity = Activity.scanning
    package var roots: [TreePath] = []
    /// How changes are found, for each file system.
    package var fileSystems: [WatchStatus] = []
    /// Since when the oldest change that is not stored yet waits, in nanoseconds; 0 when all is stored.
    package var lag: Int64 = 0
    /// Paths that are known to have changed and wait.
    package var waiting = 0
    /// The numbers of the newest point; `nil` before the first.
    package var statistics: PointStatistics?
    package var lastPoint: CommittedPoint?
    package var lastTime: Timestamp?
    /// Points since the start.
    package var points: UInt64 = 0
    package var scans: UInt64 = 0
    /// Paths that the round through all directories found to be other than was known, of which the watch may have told
    /// nothing.
    package var rollingFound: UInt64 = 0
    /// Versions are in the spool that the vault does not have yet.
    package var spooled = false
    /// What the spool uses, local history included, in bytes.
    package var spoolBytes: UInt64 = 0
    /// What it may use in all.
    package var spoolLimit: UInt64 = 0
    /// The last version did not fit into the spool: its path waits instead.
    package var isSpoolFull = false
    /// Why everything was looked at the last time.
    package var scanReasons: [String] = []
    /// Why the vault could not be reached the last time; `nil` when it could.
    package var problem: String?
    /// Paths that are protected and could not be kept as they are, and why; the first ones.
    package var notKept: [PointWarning] = []
    /// How many there are.
    package var notKeptCount: UInt64 = 0

    package init() {}
}
