package import Model
import Platform
import Synchronization
import Vault

/// What to capture and how.
package struct CaptureSource: Sendable {
    /// The protected paths, absolute, in normal form. None lies below another.
    package let roots: [TreePath]
    /// Stay on the file systems of the roots.
    package var oneFileSystem: Bool
    package var exclusions: ExclusionRules
    /// Leave out the contents of directories that hold a `CACHEDIR.TAG`.
    package var excludeCaches: Bool
    /// Files larger than this are left out and counted; `nil`: no limit.
    package var maximumFileSize: UInt64?
    /// Directories that are never captured: the vault and the state of this program.
    package var ownDirectories: Set<FileNode>

    /// A file by device and inode.
    package struct FileNode: Hashable, Sendable {
        package let device: UInt64
        package let inode: UInt64
        package init(device: UInt64, inode: UInt64) {
            self.device = device
            self.inode = inode
        }
    }

    /// Roots below other roots are dropped: they are captured with those.
    package init(
        roots: [TreePath], oneFileSystem: Bool = false, exclusions: ExclusionRules = ExclusionRules(),
        excludeCaches: Bool = false, maximumFileSize: UInt64? = nil, ownDirectories: Set<FileNode> = []
    ) {
        let sorted = Set(roots).sorted { $0.bytes.count < $1.bytes.count }
        var kept: [TreePath] = []
        for root in sorted where !kept.contains(where: { $0.contains(root) }) { kept.append(root) }
        self.roots = kept.sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }
        self.oneFileSystem = oneFileSystem
        self.exclusions = exclusions
        self.excludeCaches = excludeCaches
        self.maximumFileSize = maximumFileSize
        self.ownDirectories = ownDirectories
    }
}

extension CaptureSource {
    /// What names the cache: two schedules with different paths do not wear out each other's.
    package var cacheSource: [UInt8] { roots.reduce(into: []) { $0 += $1.bytes + [0] } }

    /// The rules by which names are left out, as they would be given on a command line; each once. For the point's record:
    /// with them nobody takes what was left out for something that was not there. (File systems that are not crossed are
    /// recognised without a rule.)
    package var exclusionTexts: [[UInt8]] {
        var texts: [[UInt8]] = []
        var known: Set<[UInt8]> = []
        for pattern in exclusions.patterns where known.insert(pattern.text).inserted {
            texts.append(Array("--exclude ".utf8) + pattern.text)
        }
        if excludeCaches { texts.append(Array("--exclude-caches".utf8)) }
        if let maximumFileSize { texts.append(Array("--exclude-larger-than \(maximumFileSize)".utf8)) }
        return texts
    }
}

/// A directory kept open while names in it are read; closed with the last reference.
final class DirectoryHandle: Sendable {
    let descriptor: FileDescriptor
    init(_ descriptor: consuming FileDescriptor) { self.descriptor = descriptor }
    var raw: Int32 { descriptor.raw }
}

/// What the names of a hard-linked file share, filled in when the first of them has been read.
final class LinkCell: @unchecked Sendable {
    // Sound: written and read by the sequencer only.
    var content: EntryContent?
    /// Of the file as its content was read: all names say the same.
    var size: UInt64 = 0
    var mtime = FileTime(seconds: 0, nanoseconds: 0)
    /// The name that was to be read vanished or is another file now: the next name of the file is read instead.
    var isLost = false
    var remarks: Entry.Remarks = []
    var contentHash: ContentHash?
    var chunks: [CachedChunk] = []
    var pieces: [ContentKey] = []
}

/// One path on its way from the walk to the tree.
struct CaptureItem {
    /// What has to be done for it.
    enum Work {
        /// Nothing: the cached entry holds.
        case none
        /// Metadata only.
        case metadata
        /// Content of at most `BundleRule.smallFileLimit` bytes, into the batch's slab.
        case small
        /// Longer content, cut into chunks.
        case large
        /// A further name of a file that comes earlier.
        case link(LinkCell)
    }

    /// Content as a reader found it.
    enum Content {
        case none
        /// Known already: from the cache, or cut into chunks.
        case known(EntryContent)
        /// In the batch's slab, to be bundled.
        case small(Range<Int>, ContentHash, rule: UInt64)
        /// Cut into a few chunks whose keys are being worked out.
        case chunks([PendingChunk])
        case link(LinkCell)
    }

    let key: [UInt8]
    /// The name with its terminator, in the batch's names.
    let name: Range<Int>
    let directory: DirectoryHandle?
    var status: FileStatus
    var work: Work
    /// The entry of the run before, if the cache has one.
    var cached: CachedEntry?
    /// Set for the first of several names of a file.
    var cell: LinkCell?
    var extraRemarks: Entry.Remarks = []

    // What the reader found:
    var entry: Entry?
    var content: Content = .none
    var contentHash: ContentHash?
    var chunks: [CachedChunk] = []
    var pieces: [ContentKey] = []
    /// The path vanished before it was read: there is no entry.
    var isGone = false
    /// It changed so shortly before it was read that its change time would not tell a later change: see `ChangeTimeTrust`.
    var isFresh = false
    /// The name belonged to another file when it was opened than when it was listed; the item is that of the new one.
    var isReplaced = false
}

/// Some paths in tree order that are read together by one thread.
final class CaptureBatch: @unchecked Sendable {
    // Sound: the walker fills it, one reader completes it, then the sequencer reads it; the queues hand it over.
    var items: [CaptureItem] = []
    var names: [UInt8] = []
    var slab: Slab?
    /// Bytes of the slab promised to small files.
    var slabUsed = 0
    var warnings: [PointWarning] = []
    var needsReading = false
    /// Set by the reader when every item is complete.
    let isComplete = Atomic<Bool>(false)

    func withName<R>(_ item: CaptureItem, _ body: (UnsafePointer<CChar>) throws -> R) rethrows -> R {
        try names.withUnsafeBytes { bytes in
            try body((bytes.baseAddress! + item.name.lowerBound).assumingMemoryBound(to: CChar.self))
        }
    }
}

extension FileTime {
    init(_ instant: FileInstant) { self.init(seconds: instant.seconds, nanoseconds: instant.nanoseconds) }
}

extension FileIdentity {
    /// The same file with a change time that no file has: the next run reads it again.
    var untrusted: FileIdentity {
        FileIdentity(device: device, inode: inode, changeTime: FileTime(seconds: 0, nanoseconds: 0))
    }

    init(_ status: FileStatus) {
        self.init(device: status.device, inode: status.inode, changeTime: FileTime(status.changed))
    }
}
