import Glibc

/// Random nonces, fetched from the kernel 21 at a time: a system call for each blob would cost as much as hashing it.
struct NoncePool {
    private static let batch = 21  // 252 bytes; getentropy gives at most 256 at once
    private var bytes = [UInt8](repeating: 0, count: NoncePool.batch * SealingCipher.nonceLength)
    private var next = NoncePool.batch
    /// Set by tests that need the same bytes each time.
    private let fixed: [UInt8]?

    init(fixed: [UInt8]? = nil) { self.fixed = fixed }

    /// Writes 12 bytes to `target`.
    mutating func take(_ target: UnsafeMutableRawPointer) {
        if let fixed {
            fixed.withUnsafeBytes { target.copyMemory(from: $0.baseAddress!, byteCount: SealingCipher.nonceLength) }
            return
        }
        if next == NoncePool.batch {
            // Fails only for a bad address or more than 256 bytes.
            let result = bytes.withUnsafeMutableBytes { getentropy($0.baseAddress!, $0.count) }
            precondition(result == 0, "the kernel has no random bytes")
            next = 0
        }
        bytes.withUnsafeBytes {
            target.copyMemory(
                from: $0.baseAddress! + next * SealingCipher.nonceLength, byteCount: SealingCipher.nonceLength)
        }
        next += 1
    }
}
