package import Model
package import Synchronization

/// How far a capture is; counted by its threads, read by displays at any time.
package final class CaptureProgress: Sendable {
    /// Paths seen by the walk.
    package let entriesSeen = Atomic<UInt64>(0)
    /// Regular files among them.
    package let filesSeen = Atomic<UInt64>(0)
    /// Their logical bytes.
    package let bytesSeen = Atomic<UInt64>(0)
    /// Whether the walk has seen everything, so that what it saw is the whole.
    package let walkIsComplete = Atomic<Bool>(false)
    /// Paths that are in the tree.
    package let entriesDone = Atomic<UInt64>(0)
    /// Logical bytes of regular files that are in the tree.
    package let bytesDone = Atomic<UInt64>(0)
    /// Regular files that were opened and read.
    package let filesRead = Atomic<UInt64>(0)
    /// Bytes that were read from them.
    package let bytesRead = Atomic<UInt64>(0)
    /// Files left out because they are larger than the limit asked for.
    package let filesTooLarge = Atomic<UInt64>(0)
    /// Warnings so far.
    package let warnings = Atomic<UInt64>(0)
    /// What a person should hear of although nothing went wrong.
    package let remarks = Mutex(Remarks())
    /// Set to ask the capture to stop; it ends with `cancelled`.
    package let stopRequested = Atomic<Bool>(false)

    /// The label of a point with a database in it that was in use.
    package static let databaseLabel = "database"

    /// How long is waited in all for journals of which nobody can tell yet whether they are in use.
    let patience: JournalPatience

    /// - Parameter journalWait: how long a capture waits in all until it can be told whether journals of databases are in
    ///   use, in nanoseconds. What cannot be told then is kept with a warning.
    package init(journalWait: Int64 = 15_000_000_000) { patience = JournalPatience(journalWait) }

    /// Things that are as they were asked for, or as they usually are, and may still surprise.
    package struct Remarks: Sendable {
        /// Directories of this program below the protected paths (the vault, its state), which were left out.
        package var ownDirectories: [TreePath] = []
        /// Protected directories with nothing in them.
        package var emptyRoots: [TreePath] = []
        /// SQLite databases that were in use, or not closed since a crash, and were captured as of one moment. The first few.
        package var openDatabases: [TreePath] = []
        /// How many of them there are.
        package var openDatabaseCount: UInt64 = 0
    }
}
