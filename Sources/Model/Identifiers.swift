/// A value that is 32 bytes with a meaning of its own.
package protocol DigestIdentifier: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The bytes.
    var bytes: Bytes32 { get }
    /// Wraps the bytes.
    init(_ bytes: Bytes32)
}

extension DigestIdentifier {
    @inlinable
    package static func < (a: Self, b: Self) -> Bool { a.bytes < b.bytes }

    /// Lower-case hexadecimal, 64 digits.
    package var hex: String { Hex.encode(bytes.array) }

    package var description: String { hex }

    /// Parses 64 hexadecimal digits.
    package init?(hex: some StringProtocol) {
        guard let array = Hex.decode(hex), let bytes = Bytes32(array) else { return nil }
        self.init(bytes)
    }
}

/// The public name of a blob: what the store sees. It can neither open the blob nor be guessed from contents.
package struct BlobID: DigestIdentifier {
    package let bytes: Bytes32
    @inlinable
    package init(_ bytes: Bytes32) { self.bytes = bytes }
}

/// The secret name of a blob: who holds it can find and open the blob. Never printed.
package struct ContentKey: DigestIdentifier {
    package let bytes: Bytes32
    @inlinable
    package init(_ bytes: Bytes32) { self.bytes = bytes }
    package var description: String { "ContentKey(secret)" }
}

/// The SHA-256 of a pack's stored bytes, which is its name in the store.
package struct PackName: DigestIdentifier {
    package let bytes: Bytes32
    @inlinable
    package init(_ bytes: Bytes32) { self.bytes = bytes }
}

/// The SHA-256 of a point's locator; each point names the one before it.
package struct LocatorHash: DigestIdentifier {
    package let bytes: Bytes32
    @inlinable
    package init(_ bytes: Bytes32) { self.bytes = bytes }
    /// What the first point of an incarnation names.
    package static let none = LocatorHash(.zero)
}

/// A value that is 16 random bytes with a meaning of its own, written as 32 hexadecimal digits.
package protocol RandomIdentifier: Hashable, Comparable, Sendable, CustomStringConvertible {
    var high: UInt64 { get }
    var low: UInt64 { get }
    init(high: UInt64, low: UInt64)
}

extension RandomIdentifier {
    /// A fresh identifier from the system's random source.
    package static func random() -> Self {
        var generator = SystemRandomNumberGenerator()
        return Self(high: generator.next(), low: generator.next())
    }

    /// Reads exactly 16 bytes.
    package init?<Bytes: Collection>(_ bytes: Bytes) where Bytes.Element == UInt8 {
        guard bytes.count == 16 else { return nil }
        var high: UInt64 = 0
        var low: UInt64 = 0
        for (index, byte) in bytes.enumerated() {
            if index < 8 { high = high << 8 | UInt64(byte) } else { low = low << 8 | UInt64(byte) }
        }
        self.init(high: high, low: low)
    }

    /// The 16 bytes.
    package var array: [UInt8] {
        (0..<16).map { index in
            let word = index < 8 ? high : low
            return UInt8(truncatingIfNeeded: word >> UInt64(56 - 8 * (index % 8)))
        }
    }

    /// Lower-case hexadecimal, 32 digits.
    package var hex: String { Hex.encode(array) }
    package var description: String { hex }

    /// Parses 32 hexadecimal digits.
    package init?(hex: some StringProtocol) {
        guard let bytes = Hex.decode(hex) else { return nil }
        self.init(bytes)
    }

    package static func < (a: Self, b: Self) -> Bool { a.high != b.high ? a.high < b.high : a.low < b.low }
}

/// A vault.
package struct VaultID: RandomIdentifier {
    package let high: UInt64, low: UInt64
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

/// A machine: never its name, which may change.
package struct MachineID: RandomIdentifier {
    package let high: UInt64, low: UInt64
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

/// One unbroken history of a machine; a machine whose state was reverted or cloned begins a new one.
package struct IncarnationID: RandomIdentifier {
    package let high: UInt64, low: UInt64
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

/// A recovery point.
package struct PointID: RandomIdentifier {
    package let high: UInt64, low: UInt64
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

/// One run of a writer; stands in the header of its packs.
package struct WriterID: RandomIdentifier {
    package let high: UInt64, low: UInt64
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}
