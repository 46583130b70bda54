import CXXHash

/// XXH3, the checksum of the format. It finds accidents, not attacks: whatever an attacker may write is sealed.
package enum XXH3 {
    /// The 64-bit hash of `bytes`.
    @inline(__always)
    package static func hash(_ bytes: UnsafeRawBufferPointer, seed: UInt64 = 0) -> UInt64 {
        XXH3_64bits_withSeed(bytes.baseAddress, bytes.count, seed)
    }

    /// The 128-bit hash of `bytes`.
    @inline(__always)
    package static func hash128(_ bytes: UnsafeRawBufferPointer, seed: UInt64 = 0) -> (low: UInt64, high: UInt64) {
        let hash = XXH3_128bits_withSeed(bytes.baseAddress, bytes.count, seed)
        return (hash.low64, hash.high64)
    }
}

/// The 64-bit XXH3 (seed 0) of bytes that lie in several places.
struct XXH3Stream: ~Copyable {
    private let state: OpaquePointer

    init() {
        guard let state = XXH3_createState() else { preconditionFailure("no memory for a hash") }
        self.state = state
        XXH3_64bits_reset(state)
    }

    deinit { XXH3_freeState(state) }

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        XXH3_64bits_update(state, bytes.baseAddress, bytes.count)
    }

    mutating func finish() -> UInt64 { XXH3_64bits_digest(state) }
}
