package import Model

/// Takes the nodes, lists of extents and deltas that builders make.
package protocol NodeSink: AnyObject {
    /// Keeps one blob and returns its content key. `children` are the content keys that the blob names, each once, in
    /// the order of their first use. The same `plain` may come again; it has the same key.
    func put(type: BlobType, plain: [UInt8], children: [ContentKey]) throws -> ContentKey
}

/// Gives the nodes, lists of extents and deltas that readers ask for.
package protocol NodeSource: AnyObject {
    /// The plaintext of a blob of the given type.
    func node(_ key: ContentKey, type: BlobType) throws -> [UInt8]
}

/// What a finished tree is.
package struct TreeSummary: Hashable, Sendable {
    /// The content key of the root node.
    package var root: ContentKey
    /// How many entries the tree holds.
    package var entries: UInt64
    /// The sum of their sizes in bytes; stays at the largest number when it would be more.
    package var bytes: UInt64

    package init(root: ContentKey, entries: UInt64, bytes: UInt64) {
        self.root = root
        self.entries = entries
        self.bytes = bytes
    }
}

/// The numbers of the tree's format.
enum TreeLimits {
    /// A node is at least this long before a key can end it.
    static let minimumNode = 8 << 10
    /// A node ends before the item that would make it longer.
    static let maximumNode = 128 << 10
    /// One key in so many ends a node.
    static let boundary: UInt64 = 256
    /// Longest name of an owner or group that is kept.
    static let nameLength = 4096
    /// Longest name of an extended attribute: XATTR_NAME_MAX.
    static let attributeNameLength = 255
    /// Longest value of an extended attribute: XATTR_SIZE_MAX.
    static let attributeValueLength = 64 << 10
    /// Longest target of a symbolic link: far above PATH_MAX.
    static let targetLength = 64 << 10
    /// A delta's keys written out in full. Keys share prefixes, and a hostile delta of 1 MiB could otherwise unfold
    /// into gigabytes.
    static let deltaKeysLength = 8 << 20
    /// A piece of a list of extents has at least this many items before a key can end it.
    static let minimumPiece = 128
    /// A piece of a list of extents has at most this many items.
    static let maximumPiece = 4096
    /// One content key in so many ends a piece.
    static let pieceBoundary: UInt64 = 512
}

extension UInt64 {
    /// Addition that stays at the largest number; sparse files can claim more bytes than a number holds.
    @inline(__always)
    func addingSaturated(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
