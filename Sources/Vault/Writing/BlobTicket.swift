package import Model
package import Synchronization

/// A blob on its way through the sealing pipeline: its content key is known once a worker has hashed it and either
/// sealed it into a pack or learnt that the vault holds it.
package final class BlobTicket: @unchecked Sendable {
    // Sound: `key` is written once before `resolved` is released and read only after it was acquired.
    private var storedKey = ContentKey(.zero)
    private let resolved = Atomic<Bool>(false)

    package init() {}

    /// A ticket for a blob whose key is known already.
    package init(key: ContentKey) {
        storedKey = key
        resolved.store(true, ordering: .releasing)
    }

    /// The content key, once it is known.
    package var key: ContentKey? { resolved.load(ordering: .acquiring) ? storedKey : nil }

    func resolve(_ key: ContentKey) {
        storedKey = key
        resolved.store(true, ordering: .releasing)
    }
}

/// A stretch of plaintext in a slab.
package struct SlabRange: Sendable {
    package let slab: Slab
    package let range: Range<Int>
    package init(slab: Slab, range: Range<Int>) {
        self.slab = slab
        self.range = range
    }
    package var bytes: UnsafeRawBufferPointer { slab.bytes(range) }
}

/// What a run of a writer did, counted as it goes; read by progress displays.
package final class WritingCounters: Sendable {
    /// Plaintext bytes that were hashed.
    package let hashedBytes = Atomic<UInt64>(0)
    /// Plaintext bytes that the vault did not hold.
    package let newBytes = Atomic<UInt64>(0)
    /// Data blobs that the vault did not hold.
    package let newBlobs = Atomic<UInt64>(0)
    /// Bytes of the packs that were stored.
    package let storedBytes = Atomic<UInt64>(0)
    /// Packs that were stored.
    package let storedPacks = Atomic<UInt64>(0)

    package init() {}
}
