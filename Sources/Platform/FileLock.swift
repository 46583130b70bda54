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

// MARK: - Ranges

/// Locks on ranges of bytes, by which programs agree about one file (`fcntl`). They belong to the open file, so nothing else
/// that this process does with the same file ends them; they stand against the locks of others, and never wait.
extension FileDescriptor {
    /// How somebody else has locked something.
    package enum OthersLock: Int, Comparable, Sendable {
        case none
        /// Reading, by a lock of the open file, as this program has when it reads: no SQLite has such.
        case holding
        case reading, writing
        package static func < (a: OthersLock, b: OthersLock) -> Bool { a.rawValue < b.rawValue }
    }

    /// Keeps others from locking a range for writing; `false` when somebody has it locked so. The file must be open for reading.
    package func lockForReading(_ range: Range<UInt64>) throws(Errno) -> Bool {
        do throws(Errno) {
            try retrying { hf_lock_range(raw, Int64(clamping: range.lowerBound), Int64(range.count), 1) }
            return true
        } catch {
            if error == .again { return false }
            throw error
        }
    }

    /// Gives up what is locked of a range.
    package func unlock(_ range: Range<UInt64>) {
        _ = hf_lock_range(raw, Int64(clamping: range.lowerBound), Int64(range.count), 0)
    }

    /// What others have locked of a range. Locks for reading are only seen where there is none for writing.
    package func othersLock(on range: Range<UInt64>) throws(Errno) -> OthersLock {
        let start = Int64(clamping: range.lowerBound)
        let length = Int64(range.count)
        if try retrying({ hf_lock_range_test(raw, start, length, 0) }) != 0 { return .writing }
        switch try retrying({ hf_lock_range_test(raw, start, length, 1) }) {
        case 0: return .none
        case 3: return .holding
        default: return .reading
        }
    }
}
