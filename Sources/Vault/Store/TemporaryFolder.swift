import Glibc
import Platform
import Synchronization

/// Where one process writes objects before they get their names: `tmp/<random>/` in the vault, with a lock that is held
/// as long as the process lives. Who opens the vault removes the folders whose lock nobody holds: what killed writers
/// left.
final class TemporaryFolder: Sendable {
    static let parent = "tmp"
    private static let lockName = "lock"
    /// Where there are no locks (some network file systems) age decides: a week, in seconds.
    private static let patience: Int64 = 7 * 24 * 3600

    let descriptor: FileDescriptor
    /// Open for its lock.
    private let lock: FileDescriptor
    private let path: String
    private let root: FileDescriptor
    private let counter = Atomic<UInt64>(0)

    /// Makes and locks a fresh folder below the open directory `root`.
    init(root: borrowing FileDescriptor) throws(Errno) {
        self.root = try root.duplicate()
        do throws(Errno) { try FileSystem.makeDirectory(at: root.raw, TemporaryFolder.parent) } catch {
            if error != .exists { throw error }
        }
        while true {
            var generator = SystemRandomNumberGenerator()
            let path = "\(TemporaryFolder.parent)/\(String(generator.next() as UInt64, radix: 16))"
            do throws(Errno) {
                try FileSystem.makeDirectory(at: root.raw, path)
                let folder = try FileDescriptor.open(at: root.raw, path, [.readOnly, .directory])
                let lock = try FileDescriptor.open(
                    at: folder.raw, TemporaryFolder.lockName, [.readWrite, .create, .exclusive])
                // Until the lock was held, somebody who opened the vault may have taken the folder for a leftover.
                if TemporaryFolder.take(lock.raw) == .held { continue }
                if try lock.status().links == 0 { continue }
                self.descriptor = folder
                self.lock = lock
                self.path = path
                return
            } catch {
                if error != .noEntry && error != .exists { throw error }
            }
        }
    }

    deinit {
        try? FileSystem.remove(at: descriptor.raw, TemporaryFolder.lockName)
        try? FileSystem.removeDirectory(at: root.raw, path)
    }

    /// Whether the folder still stands: somebody may have cleaned up by hand.
    var isPresent: Bool { ((try? lock.status().links) ?? 0) > 0 }

    /// A file name that this process has not used yet.
    func nextName() -> String { String(counter.add(1, ordering: .relaxed).newValue) }

    // MARK: Leftovers

    /// Removes the folders of processes that are gone. Nothing here is an error: who opens next tries again.
    static func removeLeftovers(root: borrowing FileDescriptor) {
        guard let parent = try? FileDescriptor.open(at: root.raw, TemporaryFolder.parent, [.readOnly, .directory])
        else { return }
        var reader = DirectoryReader(bufferSize: 4096)
        reader.start(parent.raw)
        while let next = try? reader.next() { removeIfAbandoned(parent: parent.raw, next.pointer) }
    }

    private static func removeIfAbandoned(parent: Int32, _ name: UnsafePointer<CChar>) {
        guard let folder = try? FileDescriptor.open(at: parent, name, [.readOnly, .directory]),
            let changed = try? folder.status().changed.seconds
        else { return }
        let isOld = changed < Int64(time(nil)) - patience
        if let lock = try? FileDescriptor.open(at: folder.raw, lockName, [.readWrite]) {
            switch take(lock.raw) {
            case .held: return
            case .unknown: if !isOld { return }
            case .taken: break
            }
            empty(folder.raw)
            try? FileSystem.remove(at: folder.raw, lockName)
        } else {
            // Without a lock it is a moment old, or its writer was killed in that moment.
            guard isOld else { return }
            empty(folder.raw)
        }
        try? FileSystem.removeDirectory(at: parent, name)
    }

    private static func empty(_ folder: Int32) {
        var reader = DirectoryReader(bufferSize: 4096)
        reader.start(folder)
        while let next = try? reader.next() {
            if !next.bytes.elementsEqual(lockName.utf8) { try? FileSystem.remove(at: folder, next.pointer) }
        }
    }

    private enum Lock {
        /// This process has it now.
        case taken
        /// Another process has it.
        case held
        /// The file system has no locks.
        case unknown
    }

    private static func take(_ descriptor: Int32) -> Lock {
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            switch errno {
            case EINTR: continue
            case EWOULDBLOCK: return .held
            default: return .unknown
            }
        }
        return .taken
    }
}
