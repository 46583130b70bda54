import Model
import Testing

@testable import Vault

/// Bytes from a seeded generator, so that a failing test can be repeated.
struct SeededBytes {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }

    /// Bytes that do not compress.
    mutating func noise(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }

    /// Bytes that compress to about a third.
    mutating func text(_ count: Int) -> [UInt8] {
        let words = ["backup ", "restore ", "machine ", "point\n", "vault ", "0x7f ", "holdfast "].map {
            Array($0.utf8)
        }
        var bytes: [UInt8] = []
        while bytes.count < count {
            bytes += words[below(words.count)]
            bytes.append(UInt8(truncatingIfNeeded: next()))
        }
        return Array(bytes[..<count])
    }

    mutating func bytes32() -> Bytes32 { Bytes32(w0: next(), w1: next(), w2: next(), w3: next()) }
}

/// A blob sealed for a test, with what is needed to open it.
struct SampleBlob {
    static let deriver = BlobKeyDeriver(convergence: [UInt8](repeating: 7, count: 32), number: 1)
    let type: BlobType
    let plain: [UInt8]
    let key: ContentKey
    let packed: PackedBlob
    let framed: [UInt8]

    init(_ type: BlobType, _ plain: [UInt8], references: [BlobID] = [], sealer: BlobSealer) throws {
        let key = plain.withUnsafeBytes { SampleBlob.deriver.contentKey(type, $0) }
        var out: [UInt8] = []
        packed = try plain.withUnsafeBytes {
            try sealer.seal(
                type: type, key: key, id: BlobCrypto.id(of: key), secretNumber: 1, references: references, plain: $0,
                into: &out)
        }
        self.type = type
        self.plain = plain
        self.key = key
        framed = out
    }

    func open(_ opener: BlobOpener) throws -> [UInt8] {
        try framed.withUnsafeBytes { try opener.open($0, key: key, expecting: type) { Array($0) } }
    }
}

@Suite struct SealingTests {
    @Test("a sealed blob opens to the plaintext it was sealed from, at every length and compression")
    func roundTrip() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededBytes(seed: seed)
        let opener = BlobOpener()
        for compression in Compression.allCases {
            let sealer = BlobSealer(compression: compression)
            var lengths = [0, 1, 2, 15, 16, 17, 63, 64, 65, 4095, 8192, 32768, 65537, 262_144, 1 << 20]
            for _ in 0..<10 { lengths.append(random.below(300_000)) }
            for length in lengths {
                for plain in [random.noise(length), random.text(length)] {
                    let blob = try SampleBlob(.data, plain, sealer: sealer)
                    #expect(blob.packed.framedLength == blob.framed.count)
                    #expect(try blob.open(opener) == plain, "seed \(seed), \(compression), \(length) bytes")
                    let verified = try blob.framed.withUnsafeBytes {
                        try opener.openVerified(
                            $0, key: blob.key, expecting: .data, derivers: [SampleBlob.deriver]
                        ) { Array($0) }
                    }
                    #expect(verified == plain)
                    #expect(blob.framed.count <= plain.count + 60 + FormatLimits.sealOverhead)
                }
            }
        }
    }
}
