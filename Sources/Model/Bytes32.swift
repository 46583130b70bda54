/// Thirty-two bytes held in four machine words, ordered and hashed like the bytes they stand for.
///
/// Identifiers and keys of the vault are values of this shape; a struct of words is compared, hashed and copied
/// without touching the heap.
package struct Bytes32: Hashable, Comparable, Sendable {
    /// The bytes read as four big-endian words, so that comparing words compares bytes.
    package let w0: UInt64, w1: UInt64, w2: UInt64, w3: UInt64

    @inlinable
    package init(w0: UInt64, w1: UInt64, w2: UInt64, w3: UInt64) {
        self.w0 = w0
        self.w1 = w1
        self.w2 = w2
        self.w3 = w3
    }

    /// Reads 32 bytes from the start of `bytes`, which must hold at least that many.
    @inlinable
    package init(_ bytes: UnsafeRawBufferPointer) {
        precondition(bytes.count >= 32)
        w0 = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self))
        w1 = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        w2 = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
        w3 = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 24, as: UInt64.self))
    }

    /// Reads exactly 32 bytes; `nil` for any other count.
    package init?<Bytes: Collection>(_ bytes: Bytes) where Bytes.Element == UInt8 {
        guard bytes.count == 32 else { return nil }
        let array = Array(bytes)
        self = array.withUnsafeBytes { Bytes32($0) }
    }

    /// Writes the 32 bytes to the start of `buffer`.
    @inlinable
    package func store(to buffer: UnsafeMutableRawBufferPointer) {
        precondition(buffer.count >= 32)
        buffer.storeBytes(of: w0.bigEndian, toByteOffset: 0, as: UInt64.self)
        buffer.storeBytes(of: w1.bigEndian, toByteOffset: 8, as: UInt64.self)
        buffer.storeBytes(of: w2.bigEndian, toByteOffset: 16, as: UInt64.self)
        buffer.storeBytes(of: w3.bigEndian, toByteOffset: 24, as: UInt64.self)
    }

    /// The 32 bytes.
    package var array: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 32) { buffer, count in
            store(to: UnsafeMutableRawBufferPointer(buffer))
            count = 32
        }
    }

    @inlinable
    package static func < (a: Bytes32, b: Bytes32) -> Bool {
        if a.w0 != b.w0 { return a.w0 < b.w0 }
        if a.w1 != b.w1 { return a.w1 < b.w1 }
        if a.w2 != b.w2 { return a.w2 < b.w2 }
        return a.w3 < b.w3
    }

    /// The first words of a digest are uniform: hashing one of them is enough.
    @inlinable
    package func hash(into hasher: inout Hasher) {
        hasher.combine(w0)
        hasher.combine(w1)
    }

    /// All bytes zero.
    package static let zero = Bytes32(w0: 0, w1: 0, w2: 0, w3: 0)
}
