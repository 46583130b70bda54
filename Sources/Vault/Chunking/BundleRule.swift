/// Where bundles of small files end. The end is chosen by the files themselves, so that machines with the same packages
/// make the same bundles.
package struct BundleRule: Sendable {
    /// Contents up to this many bytes are bundled; longer ones are chunked.
    package static let smallFileLimit = 64 << 10
    /// No bundle is longer.
    package static let maximum = 1 << 20
    /// Bundles have about this length: a file of n bytes ends one with the chance n / average.
    package static let average: UInt64 = 256 << 10

    /// The bundle seed of the domain.
    package let seed: UInt64

    package init(seed: UInt64) { self.seed = seed }

    /// What decides whether a bundle ends after the file with this content.
    package func hash(_ content: UnsafeRawBufferPointer) -> UInt64 { KeyedHash.xxh3(content, seed: seed) }

    /// Whether a bundle ends after a file of `size` bytes whose content has the given `hash(_:)`.
    package static func endsAfter(hash: UInt64, size: Int) -> Bool { hash % average < UInt64(size) }

    /// Whether a bundle of `length` bytes ends before a file of `size` bytes because both do not fit into one blob.
    package static func endsBefore(length: Int, size: Int) -> Bool { length + size > maximum }
}
