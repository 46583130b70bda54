package import Capture
package import Model
package import Policy
package import Vault

/// What an agent protects, and how.
package struct AgentConfiguration: Sendable {
    package var source: CaptureSource
    /// Directories of this program, which are neither watched nor captured.
    package var ignored: [TreePath]
    /// How long something is quiet before it is captured.
    package var durations: Settling.Durations
    /// At least so long between two points, in nanoseconds.
    package var interval: Int64
    package var sealing: SealingPipeline.Options
    /// Threads that read files in a full scan.
    package var readers = 2
    /// Where the writer's caches live.
    package var cacheDirectory: [UInt8]
    /// Where versions wait to be sent, and where the local history is.
    package var spoolDirectory: [UInt8]
    package var spoolLimits = SpoolLimits()
    /// On what a checkpoint is made.
    package var checkpoints: Set<CheckpointEvent> = []
    package var hostName: String
    package var program: String
    /// Where every change is told, everything is looked at so often all the same, in nanoseconds.
    package var scanInterval: Int64 = 86_400_000_000_000
    /// And so often where changes are found by scans only.
    package var blindScanInterval: Int64 = 900_000_000_000
    /// The longest wait before the vault is tried again, in nanoseconds.
    package var longestPause: Int64 = 60_000_000_000
    /// A lease that is older is opened anew, in nanoseconds: a long-lived one keeps the collector from freeing things.
    package var leaseAge: Int64 = 600_000_000_000
    /// All directories are looked at once while so much time goes by 24 times, a twenty-fourth each time, in nanoseconds.
    package var rollingInterval: Int64 = RollingScan.period
    /// How long the machine has slept since its start, in nanoseconds.
    var asleep = SleepClock.system
    /// For tests and for special cases: changes how the watch works.
    package var watching: @Sendable (inout ChangeWatcher.Configuration) -> Void = { _ in }

    /// - Parameter settle: seconds of quiet after a close before a file is captured; writes without a close and deletions wait
    ///   in proportion.
    package init(
        source: CaptureSource, ignored: [TreePath], settle: Double, sealing: SealingPipeline.Options,
        cacheDirectory: [UInt8], spoolDirectory: [UInt8], hostName: String, program: String
    ) {
        self.spoolDirectory = spoolDirectory
        self.source = source
        self.ignored = ignored
        let unit = Int64(max(settle, 0) * 1_000_000_000)
        durations = Settling.Durations(
            afterClose: unit, afterWrite: 5 * unit, most: unit == 0 ? 0 : max(60_000_000_000, 5 * unit),
            deletion: 2 * unit)
        interval = unit
        self.sealing = sealing
        self.cacheDirectory = cacheDirectory
        self.hostName = hostName
        self.program = program
    }
}
