import Glibc
import Model
import Platform
import Synchronization

/// The file systems that a restore wrote to, so that its end can wait for all of them: a restore may cross mounts, and
/// waiting for one file system says nothing about another.
final class WrittenFileSystems: Sendable {
    private let handles = Mutex<[UInt64: OpenHandle]>([:])

    /// Notes the file system of a directory. Any open directory on it serves to wait for it later.
    func note(_ directory: RestoreDirectory) {
        if handles.withLock({ $0[directory.device]?.isReference == false }) { return }
        guard let handle = try? directory.handle() else { return }
        note(device: directory.device, handle)
    }

    func note(device: UInt64, _ handle: OpenHandle) {
        handles.withLock { handles in
            // One that can be waited for is better than a reference.
            if handles[device]?.isReference != false { handles[device] = handle }
        }
    }

    /// Waits until everything is on the disk.
    ///
    /// - Throws: `io` when a disk says that something could not be written.
    func sync() throws {
        for handle in handles.withLock({ Array($0.values) }) {
            if handle.isReference {
                // Nothing on it could be read: all disks are waited for.
                Glibc.sync()
                continue
            }
            do throws(Errno) { try FileSystem.syncFileSystem(descriptor: handle.raw) } catch {
                throw HoldfastError(
                    .io, "The disk reports that not everything could be written: \(error). Run the restore again.",
                    cause: error)
            }
        }
    }

    /// How many there are.
    var count: Int { handles.withLock { $0.count } }
}
