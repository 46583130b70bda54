import CLinux

/// What a name stands for. The numbers are those of the vault's format.
package enum FileKind: UInt8, Sendable, CaseIterable {
    case regular = 1
    case directory = 2
    case symbolicLink = 3
    case characterDevice = 4
    case blockDevice = 5
    case fifo = 6
    case socket = 7

    /// From the upper bits of a mode; `nil` for what Linux does not have.
    @inlinable
    package init?(mode: UInt32) {
        switch mode & 0o170000 {
        case 0o100000: self = .regular
        case 0o040000: self = .directory
        case 0o120000: self = .symbolicLink
        case 0o020000: self = .characterDevice
        case 0o060000: self = .blockDevice
        case 0o010000: self = .fifo
        case 0o140000: self = .socket
        default: return nil
        }
    }

    /// From a directory's record (`d_type`); `nil` when the file system does not say.
    @inlinable
    init?(directoryType: UInt8) { self.init(mode: UInt32(directoryType) << 12) }

    /// The upper bits of a mode.
    package var modeBits: UInt32 {
        switch self {
        case .regular: 0o100000
        case .directory: 0o040000
        case .symbolicLink: 0o120000
        case .characterDevice: 0o020000
        case .blockDevice: 0o060000
        case .fifo: 0o010000
        case .socket: 0o140000
        }
    }
}

/// A time as file systems keep it: also before 1970 and after 2262.
package struct FileInstant: Hashable, Comparable, Sendable {
    /// Seconds since 1970, negative before.
    package var seconds: Int64
    /// 0 to 999,999,999.
    package var nanoseconds: UInt32

    @inlinable
    package init(seconds: Int64, nanoseconds: UInt32) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    @inlinable
    package static func < (a: FileInstant, b: FileInstant) -> Bool {
        a.seconds != b.seconds ? a.seconds < b.seconds : a.nanoseconds < b.nanoseconds
    }
}

/// What `statx` says about a file.
package struct FileStatus: Hashable, Sendable {
    package var kind: FileKind
    /// Permission bits with set-user-id, set-group-id and sticky (07777).
    package var mode: UInt16
    package var uid: UInt32
    package var gid: UInt32
    /// Logical size in bytes.
    package var size: UInt64
    /// Room taken, in units of 512 bytes.
    package var blocks: UInt64
    /// Bytes that it takes on the disk, and no more than it is long: holes are none, and what reading it gives at most.
    package var usedBytes: UInt64 { min(size, blocks * 512) }
    package var inode: UInt64
    /// How many names the file has.
    package var links: UInt32
    /// The file system it is on: major << 32 | minor.
    package var device: UInt64
    /// The device that a device node stands for: major << 32 | minor.
    package var specialDevice: UInt64
    /// The mount it was reached through; 0 where the kernel does not say.
    package var mount: UInt64
    package var modified: FileInstant
    package var changed: FileInstant
    package var accessed: FileInstant
    /// When it was made, where the file system knows.
    package var created: FileInstant?
    /// The preferred size of reads in bytes.
    package var blockSize: UInt32
    package var attributes: Attributes

    /// Attributes that `statx` reports, when `known` says that the file system does.
    package struct Attributes: OptionSet, Hashable, Sendable {
        package let rawValue: UInt64
        package init(rawValue: UInt64) { self.rawValue = rawValue }
        package static let compressed = Attributes(rawValue: HF_STATX_ATTR_COMPRESSED)
        package static let immutable = Attributes(rawValue: HF_STATX_ATTR_IMMUTABLE)
        package static let appendOnly = Attributes(rawValue: HF_STATX_ATTR_APPEND)
        /// Left out by `dump`, and by us when asked to.
        package static let noDump = Attributes(rawValue: HF_STATX_ATTR_NODUMP)
        package static let encrypted = Attributes(rawValue: HF_STATX_ATTR_ENCRYPTED)
        package static let automount = Attributes(rawValue: HF_STATX_ATTR_AUTOMOUNT)
        package static let mountRoot = Attributes(rawValue: HF_STATX_ATTR_MOUNT_ROOT)
        package static let verity = Attributes(rawValue: HF_STATX_ATTR_VERITY)
    }

    /// `nil` when the file is of a kind that Linux does not have.
    @inline(__always)
    init?(_ s: hf_status) {
        guard let kind = FileKind(mode: s.mode) else { return nil }
        self.kind = kind
        mode = UInt16(truncatingIfNeeded: s.mode & 0o7777)
        uid = s.uid
        gid = s.gid
        size = s.size
        blocks = s.blocks
        inode = s.inode
        links = s.links
        device = s.device
        specialDevice = s.special_device
        mount = s.has_mount != 0 ? s.mount : 0
        modified = FileInstant(seconds: s.mtime_s, nanoseconds: s.mtime_ns)
        changed = FileInstant(seconds: s.ctime_s, nanoseconds: s.ctime_ns)
        accessed = FileInstant(seconds: s.atime_s, nanoseconds: s.atime_ns)
        created = s.has_btime != 0 ? FileInstant(seconds: s.btime_s, nanoseconds: s.btime_ns) : nil
        blockSize = s.block_size
        attributes = Attributes(rawValue: s.attributes & s.attributes_mask)
    }

    /// Whether both are the same file on the same file system.
    @inlinable
    package func isSameFile(as other: FileStatus) -> Bool { inode == other.inode && device == other.device }

    /// Whether nothing was written to the file or its metadata between the two.
    @inlinable
    package func isUnchanged(since other: FileStatus) -> Bool {
        isSameFile(as: other) && size == other.size && modified == other.modified && changed == other.changed
    }
}
