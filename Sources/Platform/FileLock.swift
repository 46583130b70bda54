import CLinux

/// A lock on a file, held by an open file description: it ends with the process, however that dies, and needs no clock.
///
/// Two locks of one process stand against each other like those of two processes.
package struct FileLock: ~Copyable, Sendable {
    /// The locked file, for writing into it who holds it.
    package let descriptor: FileDescriptor

    /// Locks a file, which is made when it is missing, without waiting; `nil` when somebody else holds it.
    ///
    /// The lock is on the file that has the name when the call returns: one that was removed and made again meanwhile
    /// is opened anew.
    package static func acquire(
        at directory: Int32,
        _ name: UnsafePointer<CChar>,
        shared: Bool = false,
        mode: UInt32 = 0o600
    ) throws(Errno) -> FileLock? {
        while true {
            let file = try FileDescriptor.open(at: directory, name, [.readWrite, .create], mode: mode)
            guard try lock(file.raw, shared: shared) else { return nil }
            let mine = try file.status()
            if let named = try FileSystem.statusIfAny(at: directory, name), named.isSameFile(as: mine) {
                return FileLock(descriptor: file)
            }
        }
    }

    /// Locks an open file without waiting; `nil` when somebody else holds it. A shared lock needs a descriptor that can
    /// read, an exclusive one a descriptor that can write.
    package static func acquire(_ file: consuming FileDescriptor, shared: Bool = false) throws(Errno) -> FileLock? {
        guard try lock(file.raw, shared: shared) else { return nil }
        return FileLock(descriptor: file)
    }

    /// Locks an open file for writing and waits as long as somebody else holds it.
    package static func wait(for file: consuming FileDescriptor) throws(Errno) -> FileLock {
        let number = file.raw
        try retrying { hf_lock_wait(number) }
        return FileLock(descriptor: file)
    }

    /// Whether somebody holds a lock on the file; `false` when there is no such file.
    package static func isHeld(at directory: Int32, _ name: UnsafePointer<CChar>) throws(Errno) -> Bool {
        let file: FileDescriptor
        do throws(Errno) {
            file = try FileDescriptor.open(at: directory, name, .readOnly)
        } catch {
            if error == .noEntry { return false }
            throw error
        }
        let number = file.raw
        return try retrying { hf_lock_test(number, 1) } == 1
    }

    private static func lock(_ descriptor: Int32, shared: Bool) throws(Errno) -> Bool {
        do throws(Errno) {
            try retrying { hf_lock(descriptor, shared ? 0 : 1) }
            return true
        } catch {
            if error == .again { return false }
            throw error
        }
    }

    /// Gives the lock up. The end of the value does the same.
    package consuming func release() {
        _ = hf_unlock(descriptor.raw)
    }
}
