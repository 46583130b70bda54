/// The types of blobs and records; the number stands in the blob's header.
package enum BlobType: UInt8, Sendable, CaseIterable {
    /// File contents (a chunk or a bundle), or encoded attributes. Names nothing.
    case data = 1
    /// A node of a tree.
    case node = 2
    /// A piece of a list of extents.
    case extents = 3
    /// Changes over a tree.
    case delta = 4
    /// Records of class 3, written by the vault only.
    case point = 16
    case machine = 17
    case hold = 18
    case redaction = 19

    /// The class of pack that blobs of this type go into.
    package var packClass: PackClass {
        switch self {
        case .data: .data
        case .node, .extents, .delta: .meta
        case .point, .machine, .hold, .redaction: .points
        }
    }

    /// Whether blobs of this type may name others.
    package var hasReferences: Bool { self != .data && self != .machine && self != .hold }

    /// Largest plaintext in bytes. Readers refuse more before they allocate.
    package var maximumPlainLength: Int {
        switch self {
        case .data, .node, .extents, .delta: FormatLimits.blobPlainLength
        case .point, .machine, .hold, .redaction: FormatLimits.recordLength
        }
    }
}

/// Packs of different classes are never mixed.
package enum PackClass: UInt8, Sendable, CaseIterable {
    case data = 1
    case meta = 2
    case points = 3
}

/// How a blob's plaintext is encoded before it is sealed. An encoder may be retired, a decoder never.
package enum BlobEncoding: UInt8, Sendable, CaseIterable {
    case raw = 0
    case zstd = 1
}

/// Bounds that every reader applies before it allocates, with their reasons.
package enum FormatLimits {
    /// The format that this version writes, and the newest it reads.
    package static let version: UInt16 = 1
    /// 1 MiB: chunks, bundles and nodes are at most this long, so that a reader needs one bounded buffer.
    package static let blobPlainLength = 1 << 20
    /// 4 MiB: a point's record with its warnings.
    package static let recordLength = 4 << 20
    /// Nonce, inner length and tag around the encoded bytes.
    package static let sealOverhead = 12 + 4 + 16
    /// Most references of one blob: a node of 1 MiB cannot hold a longer table of 32-byte keys.
    package static let references = 32_768
    /// Bytes at which a pack is closed.
    package static let packTarget = 16 << 20
    /// Largest pack that a reader accepts: 64 MiB.
    package static let packLength = 64 << 20
    /// Most blobs in one pack.
    package static let packBlobs = 1 << 20
    /// Deepest tree: 32 levels of at least two children hold more entries than 64 bits count.
    package static let treeDepth = 32
    /// Longest tree key in bytes, and so about the longest path: 64 KiB, sixteen times PATH_MAX.
    package static let keyLength = 64 << 10
    /// Most deltas over one root; the next folds.
    package static let deltas = 32
}
