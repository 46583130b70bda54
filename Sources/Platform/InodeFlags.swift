import CLinux

/// The flags of an inode that `lsattr` shows and `chattr` sets (`FS_IOC_GETFLAGS`).
package struct InodeFlags: OptionSet, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let secureDeletion = InodeFlags(rawValue: 0x0000_0001)
    package static let undelete = InodeFlags(rawValue: 0x0000_0002)
    package static let compress = InodeFlags(rawValue: 0x0000_0004)
    package static let synchronous = InodeFlags(rawValue: 0x0000_0008)
    /// Nothing about the file can change while it is set.
    package static let immutable = InodeFlags(rawValue: 0x0000_0010)
    /// Content can only be added.
    package static let appendOnly = InodeFlags(rawValue: 0x0000_0020)
    package static let noDump = InodeFlags(rawValue: 0x0000_0040)
    package static let noAccessTime = InodeFlags(rawValue: 0x0000_0080)
    package static let noCompress = InodeFlags(rawValue: 0x0000_0400)
    package static let journalData = InodeFlags(rawValue: 0x0000_4000)
    package static let noTail = InodeFlags(rawValue: 0x0000_8000)
    package static let synchronousDirectory = InodeFlags(rawValue: 0x0001_0000)
    package static let topDirectory = InodeFlags(rawValue: 0x0002_0000)
    package static let noCopyOnWrite = InodeFlags(rawValue: 0x0080_0000)
    package static let directAccess = InodeFlags(rawValue: 0x0200_0000)
    package static let inheritProject = InodeFlags(rawValue: 0x2000_0000)

    /// What can be set again on a restored file. The others describe how the file system keeps the file (extents,
    /// hashed directory, inline data, huge file) or need more than a flag (encryption, verity, case folding).
    package static let settable: InodeFlags = [
        .secureDeletion, .undelete, .compress, .synchronous, .immutable, .appendOnly, .noDump, .noAccessTime,
        .noCompress, .journalData, .noTail, .synchronousDirectory, .topDirectory, .noCopyOnWrite, .directAccess,
        .inheritProject,
    ]

    /// Flags that only take effect, or are only accepted, while a file is still empty: set them before writing.
    package static let beforeContent: InodeFlags = [.compress, .noCompress, .noCopyOnWrite, .directAccess]

    /// Flags that forbid further changes: set them when everything else about the file, its other names and (for a
    /// directory) its children is done.
    package static let afterEverything: InodeFlags = [.immutable, .appendOnly]

    /// Each single flag in the set.
    var single: [InodeFlags] {
        (0..<32).map { InodeFlags(rawValue: 1 << $0) }.filter { contains($0) }
    }
}

extension FileSystem {
    /// The flags of an open file or directory; empty where the file system has none.
    package static func flags(descriptor: Int32) throws(Errno) -> InodeFlags {
        var value: UInt32 = 0
        do throws(Errno) { try retrying { hf_get_flags(descriptor, &value) } } catch {
            // Besides ENOTTY some file systems answer EINVAL for an ioctl they do not know.
            if error.isUnsupported || error == .invalidArgument { return [] }
            throw error
        }
        return InodeFlags(rawValue: value)
    }

    /// Sets the `settable` flags of an open file to exactly `wanted`, leaving the file system's own flags alone.
    ///
    /// Returns the flags that the file system does not have, does not accept on this file, or needs more rights for.
    @discardableResult
    package static func setFlags(descriptor: Int32, _ wanted: InodeFlags) throws(Errno) -> InodeFlags {
        let wanted = wanted.intersection(.settable)
        let current = try flags(descriptor: descriptor)
        if current.intersection(.settable) == wanted { return [] }
        let own = current.subtracting(.settable)

        func isSet(_ flags: InodeFlags) throws(Errno) -> Bool {
            do throws(Errno) {
                try retrying { hf_set_flags(descriptor, flags.rawValue) }
                return true
            } catch {
                if error.isUnsupported || error.isDenied || error == .invalidArgument { return false }
                throw error
            }
        }
        if try !isSet(own.union(wanted)) {
            // One by one, so that a single unknown flag does not keep the others away. Those that forbid further
            // changes come last.
            var reached = own.union(current.intersection(wanted))
            let order =
                wanted.subtracting(.afterEverything).single + wanted.intersection(.afterEverything).single
            for flag in order where !reached.contains(flag) {
                if try isSet(reached.union(flag)) { reached.formUnion(flag) }
            }
        }
        // A file system may accept a call and keep less.
        return wanted.subtracting(try flags(descriptor: descriptor))
    }
}
