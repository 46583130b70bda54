package import Model

/// Something that may have changed. A hint, never the truth: whoever takes it looks at the path as it is then. There may
/// be too many of them; that one is missing is a fault.
package enum DirtyFact: Hashable, Sendable {
    /// What somebody did to a file last.
    package enum Writer: Hashable, Sendable {
        /// Closed after it could be written: likely whole.
        case closed
        /// Written, and still open somewhere.
        case open
        /// Mode, owner, times, attributes or links only.
        case metadata
    }

    /// What became of a name.
    package enum NameChange: Hashable, Sendable {
        case created, deleted
        /// A directory went, maybe elsewhere: what was below it is gone from there, of which nothing else is told.
        case directoryDeleted
    }

    /// Content or metadata of what has this path changed. Of a file that has several names each is told that
    /// `ChangeWatcher.Configuration.otherNames` knows.
    case file(TreePath, Writer)
    /// A name came or went.
    case entry(directory: TreePath, name: [UInt8], NameChange)
    /// What had the first path has the second now. A directory brought all below it along: nothing of that is told, and
    /// what is below `to` has to be looked at. What had the second path before is gone.
    case renamed(from: TreePath, to: TreePath, isDirectory: Bool)
    /// Anything at this path or below it may have changed.
    case subtree(TreePath)
    /// Anything on the file system mounted here may have changed, as far as it is protected.
    case fileSystem(TreePath, lost: Loss)

    /// Why what happened on a file system is not known.
    package enum Loss: Hashable, Sendable {
        /// The watch has just begun; what was before is unknown.
        case started
        /// Too much happened at once for the kernel's queue.
        case overflow
        /// The heartbeat's event did not come.
        case dead
        /// It is mounted newly, or elsewhere, or another one is.
        case mounted
        /// It is not mounted there any more. What was on it is out of sight, not deleted.
        case unmounted
        /// An event could not be assigned to a path; the reason in words.
        case unresolved(String)
    }

    /// The path the fact begins at: itself or what lies below may be dirty. For a rename the new one.
    package var path: TreePath {
        switch self {
        case .file(let path, _), .subtree(let path), .fileSystem(let path, _): path
        case .entry(let directory, let name, _): directory.appending(name)
        case .renamed(_, let to, _): to
        }
    }

    /// Whether the fact says that something may have changed at a path. Of a path that is gone say so those as well that
    /// say it of a directory above which is gone too.
    package func covers(_ other: TreePath) -> Bool {
        switch self {
        case .file(let path, _): path == other
        case .entry(let directory, let name, .directoryDeleted): directory.appending(name).contains(other)
        case .entry(let directory, let name, _): directory.appending(name) == other
        case .renamed(let from, let to, let isDirectory):
            isDirectory ? from.contains(other) || to.contains(other) : from.contains(other) || to == other
        case .subtree(let path), .fileSystem(let path, _): path.contains(other)
        }
    }
}

/// Takes what a `ChangeWatcher` finds.
package protocol ChangeConsumer: Sendable {
    /// Called on the watcher's own thread with facts in the order of what happened, each batch coalesced. Return soon: the
    /// kernel's queue fills meanwhile.
    func received(_ facts: [DirtyFact])
    /// Called on the watcher's own thread when the way a file system is watched has changed.
    func changed(_ status: [WatchStatus])
}

/// How changes on one file system are found.
package struct WatchStatus: Hashable, Sendable {
    package enum Mode: Hashable, Sendable {
        /// By the kernel's events, as they happen.
        case events
        /// By scans only; why, for people.
        case scan(String)
    }

    /// Where the file system is mounted: the first place of those that matter.
    package var mountPoint: TreePath
    /// For example `ext4`.
    package var type: String
    package var mode: Mode
    /// When the heartbeat's event came last, by `SystemClock.monotonic`; `nil`: never, or there is no heartbeat here.
    package var lastHeartbeat: Int64?
    /// How often the queue was full since the start.
    package var overflows: Int

    package init(
        mountPoint: TreePath, type: String, mode: Mode, lastHeartbeat: Int64? = nil, overflows: Int = 0
    ) {
        self.mountPoint = mountPoint
        self.type = type
        self.mode = mode
        self.lastHeartbeat = lastHeartbeat
        self.overflows = overflows
    }

    /// The kernel tells nothing of it.
    package var isScanned: Bool { mode != .events }

    /// One line for people.
    package var displayText: String {
        switch mode {
        case .events: "\(mountPoint.displayText) (\(type)): events"
        case .scan(let reason): "\(mountPoint.displayText) (\(type)): scanning, because \(reason)"
        }
    }
}
