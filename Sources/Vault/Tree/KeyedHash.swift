import CXXHash

/// XXH3 with a seed, 64 bits: where nodes, lists and bundles end.
enum KeyedHash {
    @inline(__always)
    static func xxh3(_ bytes: UnsafeRawBufferPointer, seed: UInt64) -> UInt64 {
        XXH3_64bits_withSeed(bytes.baseAddress, bytes.count, seed)
    }

    /// The hash of the 32 bytes of a content key.
    static func xxh3(_ digest: (UInt64, UInt64, UInt64, UInt64), seed: UInt64) -> UInt64 {
        withUnsafeBytes(of: (digest.0.bigEndian, digest.1.bigEndian, digest.2.bigEndian, digest.3.bigEndian)) {
            xxh3($0, seed: seed)
        }
    }
}
