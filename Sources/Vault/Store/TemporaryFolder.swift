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
    /// `nil` where the file system has no locks.
    private let lock: FileLock?
    private let path: String
    private let root: FileDescriptor
    private let counter = Atomic<UInt64>(0)

    /// Makes and locks a fresh folder below the open directory `root`.
    init(root: borrowing FileDescriptor) throws(Errno) {
        self.root = try root.duplicate()
        while true {
            do throws(Errno) { try FileSystem.makeDirectory(at: root.raw, TemporaryFolder.parent) } catch {
                if error != .exists { throw error }
            }
            var generator = SystemRandomNumberGenerator()
            let path = "\(TemporaryFolder.parent)/\(String(generator.next() as UInt64, radix: 16))"
            do throws(Errno) {
                try FileSystem.makeDirectory(at: root.raw, path)
                let folder = try FileDescriptor.open(at: root.raw, path, [.readOnly, .directory])
                // Until the lock is held, somebody who opens the vault may take the folder for a leftover.
                guard let lock = try TemporaryFolder.makeLock(folder.raw) else { continue }
                self.descriptor = folder
                self.lock = lock.taken
                self.path = path
                return
            } catch {
                if error != .noEntry && error != .exists { throw error }
            }
        }
    }

    private struct NewLock: ~Copyable {
        let taken: FileLock?
    }

    /// Makes the lock file; `nil` when somebody who cleans up was faster.
    private static func makeLock(_ folder: Int32) throws(Errno) -> NewLock? {
        do throws(Errno) {
            guard let lock = try FileLock.acquire(at: folder, lockName) else { return nil }
            return NewLock(taken: lock)
        } catch {
            guard isWithoutLocks(error) else { throw error }
            return NewLock(taken: nil)
        }
    }

    /// EOPNOTSUPP, ENOSYS, ENOLCK, and EINVAL of some FUSE file systems.
    private static func isWithoutLocks(_ error: Errno) -> Bool {
        error.isUnsupported || error.code == 37 || error == .invalidArgument
    }

    deinit {
        try? FileSystem.remove(at: descriptor.raw, TemporaryFolder.lockName)
        try? FileSystem.removeDirectory(at: root.raw, path)
    }

    /// Whether the folder still stands: somebody may have cleaned up by hand.
    var isPresent: Bool { (try? FileSystem.statusIfAny(at: descriptor.raw, TemporaryFolder.lockName)) != nil }

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
        if let file = try? FileDescriptor.open(at: folder.raw, lockName, [.readWrite]) {
            // Held until the folder is gone: a second one who cleans up waits for the next time.
            let lock: FileLock?
            do throws(Errno) {
                lock = try FileLock.acquire(file)
                if lock == nil { return }
            } catch {
                guard isWithoutLocks(error), isOld else { return }
                lock = nil
            }
            empty(folder.raw)
            try? FileSystem.remove(at: folder.raw, lockName)
            lock?.release()
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
}
