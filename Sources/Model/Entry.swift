/// What a name in a tree is.
package enum EntryKind: UInt8, Sendable, CaseIterable {
    case regular = 1
    case directory = 2
    case symbolicLink = 3
    case characterDevice = 4
    case blockDevice = 5
    case fifo = 6
    case socket = 7
}

/// A time of a file: wider than `Timestamp`, because file systems hold years beyond 2262.
package struct FileTime: Hashable, Comparable, Sendable {
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
    package static func < (a: FileTime, b: FileTime) -> Bool {
        a.seconds != b.seconds ? a.seconds < b.seconds : a.nanoseconds < b.nanoseconds
    }

    /// For showing; clamps to the range of a `Timestamp`.
    package var timestamp: Timestamp { Timestamp(seconds: seconds, nanoseconds: Int64(nanoseconds)) }
}

/// One extended attribute. POSIX ACLs (`system.posix_acl_access`) and capabilities (`security.capability`) are among them.
package struct ExtendedAttribute: Hashable, Sendable {
    /// The full name with its name space, without a terminator.
    package var name: [UInt8]
    package var value: [UInt8]
    package init(name: [UInt8], value: [UInt8]) {
        self.name = name
        self.value = value
    }
}

/// A piece of a file's content, in file order.
package struct Extent: Hashable, Sendable {
    /// The blob that holds the bytes; `nil` for a hole.
    package var key: ContentKey?
    /// Where in the blob's plaintext the bytes begin; 0 for a hole.
    package var offset: UInt32
    /// How many bytes, at least 1; at most 1 MiB unless it is a hole.
    package var length: UInt64

    @inlinable
    package init(key: ContentKey?, offset: UInt32, length: UInt64) {
        self.key = key
        self.offset = offset
        self.length = length
    }
}

/// Where the content of a regular file lies.
package enum EntryContent: Hashable, Sendable {
    /// No content: an empty file, or not a regular file.
    case none
    /// The extents themselves, at most `Entry.maximumInlineExtents`.
    case extents([Extent])
    /// The root of a list of extents kept in blobs of its own, and how many extents it has.
    case list(ContentKey, count: UInt64)
}

/// The names of a hard-linked file share its device and inode number.
package struct LinkGroup: Hashable, Sendable {
    package var device: UInt64
    package var inode: UInt64
    package init(device: UInt64, inode: UInt64) {
        self.device = device
        self.inode = inode
    }
}

/// One path's metadata and content.
package struct Entry: Hashable, Sendable {
    /// More extents than this go into a list of their own.
    package static let maximumInlineExtents = 64
    /// Encoded attributes larger than this go into a blob of their own.
    package static let maximumInlineAttributes = 16 * 1024

    /// What is special about how the entry was captured.
    package struct Remarks: OptionSet, Hashable, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        /// The file went on changing while it was read.
        package static let fuzzy = Remarks(rawValue: 1)
        /// The content could not be read; only the metadata is kept.
        package static let contentMissing = Remarks(rawValue: 2)
        /// A directory above what was protected: its other children are not in the point.
        package static let ancestor = Remarks(rawValue: 4)
    }

    package var kind: EntryKind
    /// Permission bits with set-user-id, set-group-id and sticky (07777).
    package var mode: UInt16
    package var uid: UInt32
    package var gid: UInt32
    /// Name of the owner on the captured machine; empty when it had none.
    package var user: [UInt8]
    /// Name of the group on the captured machine; empty when it had none.
    package var group: [UInt8]
    /// Logical size of a regular file in bytes; 0 for everything else.
    package var size: UInt64
    package var mtime: FileTime
    /// Set when the file has more than one name.
    package var linkGroup: LinkGroup?
    /// Target of a symbolic link.
    package var target: [UInt8]
    /// Major (upper 32 bits) and minor number of a device.
    package var device: UInt64
    /// Sorted by name, each name once. Empty when `attributesBlob` is set.
    package var attributes: [ExtendedAttribute]
    /// The blob that holds the encoded attributes when they are too large for the entry.
    package var attributesBlob: ContentKey?
    /// The inode flags of `FS_IOC_GETFLAGS` that can be set again.
    package var flags: UInt32
    package var remarks: Remarks
    package var content: EntryContent

    package init(
        kind: EntryKind,
        mode: UInt16,
        uid: UInt32 = 0,
        gid: UInt32 = 0,
        user: [UInt8] = [],
        group: [UInt8] = [],
        size: UInt64 = 0,
        mtime: FileTime = FileTime(seconds: 0, nanoseconds: 0),
        linkGroup: LinkGroup? = nil,
        target: [UInt8] = [],
        device: UInt64 = 0,
        attributes: [ExtendedAttribute] = [],
        attributesBlob: ContentKey? = nil,
        flags: UInt32 = 0,
        remarks: Remarks = [],
        content: EntryContent = .none
    ) {
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.user = user
        self.group = group
        self.size = size
        self.mtime = mtime
        self.linkGroup = linkGroup
        self.target = target
        self.device = device
        self.attributes = attributes
        self.attributesBlob = attributesBlob
        self.flags = flags
        self.remarks = remarks
        self.content = content
    }
}
