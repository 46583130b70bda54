import Model
import Platform
import Synchronization

/// A regular file on its way into the destination.
///
/// Its pieces may come from any thread in any order; whoever writes the last one finishes it.
final class FileJob: @unchecked Sendable {
    // Sound: variable state is guarded by the mutex or atomic; `reused` is set before other threads see the value.

    enum Purpose {
        case write
        /// Compare what is there with what the vault has.
        case compare
    }

    struct State: ~Copyable {
        /// The open file, -1 while it is not open.
        var descriptor: Int32 = -1
        /// Who uses the open file now.
        var users = 0
        var isCreated = false
        /// Of a file that may be opened again; 0 for others.
        var inode: UInt64 = 0
        var hasFailed = false
        /// It has its name and its metadata, or what was written of it was taken away.
        var isSettled = false
        /// It was made with its owner.
        var hasOwner = false

        deinit {
            if descriptor >= 0 {
                _ = FileDescriptor(owning: descriptor)
                OpenHandle.openCount.wrappingSubtract(1, ordering: .relaxed)
            }
        }
    }

    let purpose: Purpose
    let directory: RestoreDirectory
    /// The open directory it is made in.
    let place: OpenHandle
    let name: TerminatedName
    /// The name it has until it is complete; `nil`: its own from the start.
    let temporary: TerminatedName?
    /// The name in the point, when it is restored under another one.
    let sourceName: TerminatedName?
    let entry: Entry
    let owner: Ownership?
    /// What stands under its name may be replaced.
    let replaces: Bool
    /// Others are linked to it.
    let cell: LinkCell?
    /// Logs that go when it gets its name.
    let logs: DatabaseLogs?
    /// Its own logs wait for it, or it waits for its database.
    let ties: DatabaseTies
    /// Its content does not come in one piece that fills it.
    var needsSize = false

    let state = Mutex(State())
    private let pieces = Atomic<Int>(1)

    init(
        purpose: Purpose = .write, directory: RestoreDirectory, place: OpenHandle, name: TerminatedName,
        temporary: TerminatedName?, sourceName: TerminatedName? = nil, entry: Entry,
        owner: Ownership?, replaces: Bool, cell: LinkCell? = nil, logs: DatabaseLogs? = nil,
        ties: DatabaseTies = DatabaseTies()
    ) {
        self.ties = ties
        self.logs = logs
        self.purpose = purpose
        self.directory = directory
        self.place = place
        self.name = name
        self.temporary = temporary
        self.sourceName = sourceName
        self.entry = entry
        self.owner = owner
        self.replaces = replaces
        self.cell = cell
        directory.retain()
    }

    deinit {
        // The restore ended before the file did: only whole files stay.
        guard state.withLock({ $0.isCreated && !$0.isSettled }) else { return }
        _ = try? (temporary ?? name).withPointer { (pointer) throws(Errno) in
            try FileSystem.remove(at: place.raw, pointer)
        }
    }

    /// In the point.
    var sourcePath: [UInt8] { directory.sourcePath((sourceName ?? name).name) }

    func retain() { pieces.wrappingAdd(1, ordering: .relaxed) }

    /// Whether that was the last piece.
    func releaseIsLast() -> Bool { pieces.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0 }
}

/// What became of a database whose logs are restored with it: a log gets its name after its database has got its own, and only
/// then.
final class DatabaseCell: Sendable {
    private struct State {
        /// Whether it has its name; `nil` while it is being written.
        var isRestored: Bool?
        /// Logs that are complete.
        var waiting: [FileJob] = []
    }

    private let state = Mutex(State())

    /// Notes how it ended. What was noted first counts.
    ///
    /// - Returns: the logs that waited for that.
    func settle(_ isRestored: Bool) -> [FileJob] {
        state.withLock { state in
            if state.isRestored == nil { state.isRestored = isRestored }
            defer { state.waiting = [] }
            return state.waiting
        }
    }

    /// Whether it has its name. While nobody knows the log waits: `settle` hands it out.
    func outcome(orWaiting log: FileJob) -> Bool? {
        state.withLock { state in
            if state.isRestored == nil { state.waiting.append(log) }
            return state.isRestored
        }
    }
}

/// What holds a database and its logs together while they are restored.
struct DatabaseTies: Sendable {
    /// Logs may wait for this file.
    var database: DatabaseCell?
    /// It is a log, and waits for this.
    var after: DatabaseCell?
}
