package import Model
package import Vault

/// A state of the protected paths that is kept on this machine: what changed since the one before.
package struct SpoolMoment: Sendable {
    /// Ascending in the order of capture; never used again.
    package var sequence: Int64
    package var time: Timestamp
    /// What its point will say; the root in it means nothing.
    package var record: PointRecord
    /// The point that was about to be committed for it, and what the vault then holds; `nil` before the first attempt.
    package var attempt: ContinuousState?
}

/// A pack of a spool.
package struct SpoolPack: Sendable {
    package var number: Int64
    package var name: PackName
    package var bytes: UInt64
}

/// Where a blob of a spool lies.
package struct SpoolBlob: Sendable {
    package var id: BlobID
    /// `nil` for blobs of class meta.
    package var key: ContentKey?
    package var start: UInt64
    package var length: Int

    package init(id: BlobID, key: ContentKey?, start: UInt64, length: Int) {
        self.id = id
        self.key = key
        self.start = start
        self.length = length
    }
}

/// What the newest state is made of that the vault has acknowledged, and what it counts.
package struct SpoolBase: Sendable {
    /// What was protected: the name of the writer's cache is made from it.
    package var source: [UInt8]
    /// The point of the last full scan, which the writer's cache describes.
    package var scan: PointID
    /// The newest acknowledged state.
    package var state: ContinuousState
    /// The numbers of the newest captured state.
    package var totals: PointStatistics

    package init(source: [UInt8], scan: PointID, state: ContinuousState, totals: PointStatistics) {
        self.source = source
        self.scan = scan
        self.state = state
        self.totals = totals
    }
}

/// One version of a path in the local history.
package struct SpoolVersion: Sendable {
    package var sequence: Int64
    package var time: Timestamp
    /// `nil` when the path was gone from then on.
    package var entry: CachedEntry?
    /// Who could reach it, in the words of whoever captured it.
    package var access: [UInt8]
    package var isSent: Bool
    /// The point that holds it, once it is sent.
    package var point: PointID?
}

/// How much a spool holds.
package struct SpoolSummary: Sendable {
    /// Bytes of packs.
    package var bytes: UInt64 = 0
    package var moments = 0
    /// Moments that are not stored in the vault yet, and when the oldest of them was captured.
    package var waiting = 0
    package var oldestWaiting: Timestamp?
    /// The newest moment that waits.
    package var newestWaiting: Int64?
    package var oldest: Timestamp?

    package init() {}
}
