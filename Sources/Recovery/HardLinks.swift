import Model
import Platform
import Synchronization

/// The first name of a hard-linked file in this restore; the others are linked to it when it is complete.
final class LinkCell: Sendable {
    enum State {
        /// It is being written.
        case pending
        case complete(device: UInt64, inode: UInt64)
        /// It could not be restored: its content is lost, or writing failed.
        case failed
    }

    /// Where the first name is in the destination.
    let path: [UInt8]
    private let state: Mutex<State>

    init(path: [UInt8], state: State = .pending) {
        self.path = path
        self.state = Mutex(state)
    }

    var current: State { state.withLock { $0 } }

    func complete(_ status: FileStatus) {
        state.withLock { $0 = .complete(device: status.device, inode: status.inode) }
    }

    func fail() { state.withLock { $0 = .failed } }

    /// Whether a file is that one.
    func isSame(_ status: FileStatus) -> Bool {
        guard case .complete(let device, let inode) = current else { return false }
        return status.device == device && status.inode == inode
    }

    /// Makes a further name.
    ///
    /// The first name is reached from the root without following a link and must still be the file that was written.
    func link(root: Int32, to directory: Int32, _ name: UnsafePointer<CChar>) throws(Errno) {
        guard case .complete(let device, let inode) = current else { throw .noEntry }
        try DirectoryPath.withParent(of: path, from: root, links: .refused) { (parent, first) throws(Errno) in
            let status = try FileSystem.status(at: parent, first)
            guard status.device == device, status.inode == inode else { throw Errno.stale }
            try FileSystem.link(at: parent, first, to: directory, name)
        }
    }
}

/// A further name that waits for the first.
struct PendingLink {
    let directory: RestoreDirectory
    let name: TerminatedName
    let entry: Entry
    let owner: Ownership?
    let cell: LinkCell
    /// Something stands there that it replaces.
    let replaces: Bool
    /// Logs that go when it gets its name.
    let logs: DatabaseLogs?
    /// Its own logs wait for it.
    let ties: DatabaseTies
}

/// The hard-linked files met so far. For the planner's thread.
///
/// Grows with their number (about 200 bytes each): a further name can come at any time, and nothing in a tree says how
/// many there are.
struct LinkTable {
    private var cells: [LinkGroup: LinkCell] = [:]

    func find(_ group: LinkGroup) -> LinkCell? { cells[group] }
    mutating func insert(_ group: LinkGroup, _ cell: LinkCell) { cells[group] = cell }
}
