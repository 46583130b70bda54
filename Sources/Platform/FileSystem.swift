import CLinux

/// System calls on names, relative to directory descriptors. The last component of a name is never followed unless a
/// function says so; every descriptor is closed on exec; interrupted calls are repeated.
///
/// Names are terminated C strings, so that loops over millions of entries allocate nothing; string literals work too.
/// Where it reads better, an array of bytes can be given instead.
package enum FileSystem {
    /// Stands for the current directory in place of a descriptor.
    package static let currentDirectory: Int32 = HF_AT_FDCWD

    /// The status of a name; an empty name means `directory` itself. A symbolic link is not followed.
    @inline(__always)
    package static func status(at directory: Int32, _ name: UnsafePointer<CChar>) throws(Errno) -> FileStatus {
        var raw = hf_status()
        try retrying { hf_statx(directory, name, &raw) }
        guard let status = FileStatus(raw) else { throw .notSupported }
        return status
    }

    /// As `status`, for a name or path in an array.
    package static func status(at directory: Int32 = currentDirectory, _ name: [UInt8]) throws(Errno) -> FileStatus {
        try withCName(name) { (pointer) throws(Errno) in try status(at: directory, pointer) }
    }

    /// As `status`, but a symbolic link is followed.
    package static func statusFollowing(
        at directory: Int32 = currentDirectory,
        _ name: UnsafePointer<CChar>
    ) throws(Errno) -> FileStatus {
        var raw = hf_status()
        try retrying { hf_statx_following(directory, name, &raw) }
        guard let status = FileStatus(raw) else { throw .notSupported }
        return status
    }

    /// The status of a name, or `nil` when there is nothing.
    package static func statusIfAny(at directory: Int32, _ name: UnsafePointer<CChar>) throws(Errno) -> FileStatus? {
        do throws(Errno) { return try status(at: directory, name) } catch {
            if error == .noEntry { return nil }
            throw error
        }
    }

    package static func makeDirectory(
        at directory: Int32,
        _ name: UnsafePointer<CChar>,
        mode: UInt32 = 0o700
    ) throws(Errno) {
        try retrying { hf_mkdirat(directory, name, mode) }
    }

    /// Removes a name that is not a directory.
    package static func remove(at directory: Int32, _ name: UnsafePointer<CChar>) throws(Errno) {
        try retrying { hf_unlinkat(directory, name) }
    }

    /// Removes an empty directory.
    package static func removeDirectory(at directory: Int32, _ name: UnsafePointer<CChar>) throws(Errno) {
        try retrying { hf_rmdirat(directory, name) }
    }

    /// What happens when the new name is taken.
    package enum RenameMode: Sendable {
        /// It is replaced in one step.
        case replace
        /// The call fails with `exists`.
        case keep
        /// The two names change places.
        case exchange
    }

    /// Gives a file another name. `.keep` and `.exchange` throw `invalidArgument` where the file system lacks them.
    package static func rename(
        at directory: Int32,
        _ name: UnsafePointer<CChar>,
        to newDirectory: Int32,
        _ newName: UnsafePointer<CChar>,
        _ mode: RenameMode = .replace
    ) throws(Errno) {
        let flags: UInt32 =
            switch mode {
            case .replace: 0
            case .keep: HF_RENAME_NOREPLACE
            case .exchange: HF_RENAME_EXCHANGE
            }
        try retrying { hf_renameat2(directory, name, newDirectory, newName, flags) }
    }

    /// Makes a symbolic link with the given target.
    package static func makeSymbolicLink(
        to target: UnsafePointer<CChar>,
        at directory: Int32,
        _ name: UnsafePointer<CChar>
    ) throws(Errno) {
        try retrying { hf_symlinkat(target, directory, name) }
    }

    /// The target of a symbolic link; an empty name means a link opened with `pathOnly`.
    package static func linkTarget(at directory: Int32, _ name: UnsafePointer<CChar>) throws(Errno) -> [UInt8] {
        // The kernel keeps targets below PATH_MAX (4,096 with the terminator); some file systems allow more.
        var room = 4096
        while true {
            var failure: Errno?
            let bytes = [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
                do throws(Errno) {
                    count = try retrying {
                        buffer.withMemoryRebound(to: CChar.self) {
                            hf_readlinkat(directory, name, $0.baseAddress.unsafelyUnwrapped, room)
                        }
                    }
                } catch { failure = error }
            }
            if let failure { throw failure }
            if bytes.count < room { return bytes }
            if room >= 1 << 20 { throw .nameTooLong }
            room *= 4
        }
    }

    /// A further name for a file; a symbolic link gets the further name itself.
    package static func link(
        at directory: Int32,
        _ name: UnsafePointer<CChar>,
        to newDirectory: Int32,
        _ newName: UnsafePointer<CChar>
    ) throws(Errno) {
        try retrying { hf_linkat(directory, name, newDirectory, newName) }
    }

    /// A name for what a descriptor refers to, one opened with `pathOnly` or `unnamed` included.
    package static func link(
        descriptor: Int32,
        to newDirectory: Int32,
        _ newName: UnsafePointer<CChar>
    ) throws(Errno) {
        try retrying { hf_link_descriptor(descriptor, newDirectory, newName) }
    }

    /// Makes a device, FIFO, socket or empty regular file. `device` is major << 32 | minor. The umask applies.
    package static func makeNode(
        at directory: Int32,
        _ name: UnsafePointer<CChar>,
        kind: FileKind,
        mode: UInt16,
        device: UInt64 = 0
    ) throws(Errno) {
        try retrying { hf_mknodat(directory, name, kind.modeBits | UInt32(mode & 0o7777), device) }
    }
}

// MARK: - Owners, modes, times

extension FileSystem {
    /// Sets owner and group of a name; `nil` leaves one as it is. The set-user-id bits may go away: set modes after.
    package static func setOwner(
        at directory: Int32,
        _ name: UnsafePointer<CChar>,
        uid: UInt32?,
        gid: UInt32?
    ) throws(Errno) {
        try retrying { hf_fchownat(directory, name, uid ?? .max, gid ?? .max) }
    }

    /// As `setOwner`, of an open file.
    package static func setOwner(descriptor: Int32, uid: UInt32?, gid: UInt32?) throws(Errno) {
        try retrying { hf_fchown(descriptor, uid ?? .max, gid ?? .max) }
    }

    /// Sets permission bits (07777) of a name. Symbolic links have none of their own: `notSupported`.
    package static func setMode(at directory: Int32, _ name: UnsafePointer<CChar>, _ mode: UInt16) throws(Errno) {
        try retrying { hf_fchmodat(directory, name, UInt32(mode & 0o7777)) }
    }

    /// As `setMode`, of an open file.
    package static func setMode(descriptor: Int32, _ mode: UInt16) throws(Errno) {
        try retrying { hf_fchmod(descriptor, UInt32(mode & 0o7777)) }
    }

    /// Sets modification and access time of a name, a symbolic link itself included; `nil` leaves a time as it is.
    /// An empty name means the open file `directory`. A file system that cannot hold a time keeps the nearest one it
    /// can and does not say so: compare with `status` where that matters.
    package static func setTimes(
        at directory: Int32,
        _ name: UnsafePointer<CChar>,
        modified: FileInstant?,
        accessed: FileInstant? = nil
    ) throws(Errno) {
        try retrying {
            hf_utimensat(
                directory, name,
                accessed?.seconds ?? 0, accessed?.nanoseconds ?? .max,
                modified?.seconds ?? 0, modified?.nanoseconds ?? .max)
        }
    }
}
