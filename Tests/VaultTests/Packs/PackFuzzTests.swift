import Model
import TestSupport
import Testing

@testable import Vault

/// Hostile packs: whatever the bytes, there is an answer or a `HoldfastError`, within the bounds.
@Suite struct PackFuzzTests {
    /// Changes bytes as accidents and as somebody who knows the format would.
    private func mutate(_ bytes: inout [UInt8], _ random: inout SeededBytes) {
        for _ in 0..<(1 + random.below(3)) {
            if bytes.isEmpty { return }
            switch random.below(8) {
            case 0: bytes[random.below(bytes.count)] ^= 1 << UInt8(random.below(8))
            case 1: bytes[random.below(bytes.count)] = UInt8(truncatingIfNeeded: random.next())
            case 2: bytes.removeLast(min(bytes.count, 1 + random.below(100)))
            case 3: bytes.insert(contentsOf: random.noise(random.below(80)), at: random.below(bytes.count))
            case 4:
                // A number where numbers stand.
                let value = [0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x10_0000, 0x40_0001][random.below(7)]
                let offset = random.below(max(1, bytes.count - 4))
                for index in 0..<4 where offset + index < bytes.count {
                    bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index))
                }
            case 5:
                let start = random.below(bytes.count)
                let count = random.below(min(200, bytes.count - start) + 1)
                let piece = Array(bytes[start..<(start + count)])
                let target = random.below(bytes.count - count + 1)
                bytes.replaceSubrange(target..<(target + count), with: piece)
            case 6:
                let trailer = bytes.count - 32
                if trailer > 0 { bytes[trailer + random.below(24)] = UInt8(truncatingIfNeeded: random.next()) }
            default:
                let start = random.below(bytes.count)
                bytes.removeSubrange(start..<(start + random.below(min(64, bytes.count - start) + 1)))
            }
        }
    }

    /// Writes checksums that fit, as a hostile writer can: whatever is behind them must hold by itself.
    private func repairChecksums(_ bytes: inout [UInt8]) {
        guard bytes.count >= 80 else { return }
        let trailer = bytes.count - 32
        let (count, offset) = bytes.withUnsafeBytes {
            ($0.littleEndian(at: trailer, as: UInt32.self), $0.littleEndian(at: trailer + 8, as: UInt64.self))
        }
        if offset < UInt64(trailer), UInt64(count) * 56 == UInt64(trailer) - offset {
            let footer = bytes.withUnsafeBytes {
                XXH3.hash(UnsafeRawBufferPointer(rebasing: $0[Int(offset)..<trailer]))
            }
            bytes.withUnsafeMutableBytes { $0.storeLittleEndian(footer, at: trailer + 16) }
        }
        var position = 48
        while position + 60 <= bytes.count {
            let length = bytes.withUnsafeBytes { all -> Int? in
                let rest = UnsafeRawBufferPointer(rebasing: all[position...])
                guard let frame = BlobFrame(plausible: rest), frame.framedLength <= rest.count else { return nil }
                return frame.framedLength
            }
            guard let length else { return }
            let sum = bytes.withUnsafeBytes {
                BlobFrame.checksum(UnsafeRawBufferPointer(rebasing: $0[position..<(position + length)]))
            }
            bytes.withUnsafeMutableBytes { $0.storeLittleEndian(sum, at: position + 52) }
            position += length
        }
    }

    @Test("mutated packs are parsed or refused, and scanned, without harm", arguments: [false, true])
    func packs(repaired: Bool) throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededBytes(seed: seed)
        let originals = [
            try SamplePack.make(.data, count: 6, seed: 1).pack, try SamplePack.make(.meta, count: 9, seed: 2).pack,
            try SamplePack.records(),
        ]
        var refused = 0
        for round in 0..<3000 {
            let original = originals[round % 3]
            var bytes = original.bytes
            mutate(&bytes, &random)
            if repaired { repairChecksums(&bytes) }
            do {
                let pack = try bytes.withUnsafeBytes { try PackReader.parse($0, vault: SamplePack.vault) }
                // What is accepted keeps every rule that others rely on.
                var position: UInt64 = 48
                for blob in pack.blobs {
                    #expect(blob.offset == position && blob.type.packClass == pack.header.packClass)
                    #expect(blob.references == Set(blob.references).sorted())
                    position = blob.range.upperBound
                }
                #expect(position < UInt64(bytes.count))
                #expect(Set(pack.blobs.map(\.id)).count == pack.blobs.count)
            } catch let error as HoldfastError {
                refused += 1
                #expect([.damaged, .unsupported].contains(error.code), "seed \(seed), round \(round): \(error)")
            }
            let scan = bytes.withUnsafeBytes { PackReader.scan($0, vault: SamplePack.vault) }
            for blob in scan.blobs { #expect(blob.range.upperBound <= UInt64(bytes.count)) }

            if round % 10 == 0 {
                let store = MemoryStore()
                let name = bytes.withUnsafeBytes { BlobCrypto.packName(of: $0) }
                try store.put(StoreKey.pack(name), bytes)
                do { _ = try PackIndexReader.read(name, from: store, vault: SamplePack.vault) } catch is HoldfastError {
                }
            }
        }
        #expect(refused > 1000, "seed \(seed): only \(refused) of 3000 were refused")
    }

    @Test("mutated blobs never open, and do no harm")
    func blobs() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededBytes(seed: seed)
        let sealer = BlobSealer()
        let opener = BlobOpener()
        let blobs = try [
            SampleBlob(.data, random.text(5000), sealer: sealer), SampleBlob(.data, random.noise(700), sealer: sealer),
            SampleBlob(.node, random.text(300), references: [BlobID(random.bytes32())], sealer: sealer),
        ]
        for round in 0..<3000 {
            let blob = blobs[round % blobs.count]
            var framed = blob.framed
            mutate(&framed, &random)
            if framed == blob.framed { continue }
            do {
                let plain = try framed.withUnsafeBytes {
                    try opener.open($0, key: blob.key, expecting: blob.type) { Array($0) }
                }
                // Only the checksum is outside of the seal.
                #expect(plain == blob.plain)
                #expect(framed[..<52] == blob.framed[..<52] && framed[60...] == blob.framed[60...], "seed \(seed)")
            } catch let error as HoldfastError {
                // The byte that says the type can become that of another one.
                let isRetyped = error.code == .misnamed && framed[4] != blob.framed[4]
                #expect(error.code == .damaged || isRetyped, "seed \(seed), round \(round): \(error)")
            }
        }
    }

    @Test("whoever holds the content key can seal nonsense, and it is refused within its bounds")
    func hostileInside() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededBytes(seed: seed)
        let opener = BlobOpener()
        let compressor = ZstdCompressor(level: 1)
        let key = ContentKey(random.bytes32())
        let text = random.text(20_000)
        var frame = [UInt8](repeating: 0, count: 30_000)
        let length = try #require(
            text.withUnsafeBytes { text in frame.withUnsafeMutableBytes { compressor.compress(text, into: $0) } })
        frame.removeLast(frame.count - length)

        func open(_ encoding: BlobEncoding, plainLength: UInt32, _ encoded: [UInt8]) throws -> [UInt8] {
            let framed = try HostileSealer.seal(
                .data, encoding: encoding, key: key, plainLength: plainLength, encoded: encoded)
            return try framed.withUnsafeBytes { try opener.open($0, key: key, expecting: .data) { Array($0) } }
        }
        #expect(try open(.zstd, plainLength: 20_000, frame) == text)
        #expect(try open(.raw, plainLength: 3, [1, 2, 3]) == [1, 2, 3])
        for lie in [0, 1, 19_999, 20_001, 1 << 20, 1 << 20 + 1, 0xFFFF_FFFF] as [UInt32] {
            #expect(throws: HoldfastError.self) { try open(.zstd, plainLength: lie, frame) }
            #expect(throws: HoldfastError.self) { try open(.raw, plainLength: lie, frame) }
        }
        // Two frames, a frame and more, a frame that is cut short.
        #expect(throws: HoldfastError.self) { try open(.zstd, plainLength: 40_000, frame + frame) }
        #expect(throws: HoldfastError.self) { try open(.zstd, plainLength: 20_000, frame + [0]) }
        #expect(throws: HoldfastError.self) { try open(.zstd, plainLength: 20_000, frame.dropLast()) }
        #expect(throws: HoldfastError.self) { try open(.zstd, plainLength: 0, []) }
        for round in 0..<1000 {
            var bytes = frame
            mutate(&bytes, &random)
            if bytes == frame { continue }
            do {
                #expect(try open(.zstd, plainLength: 20_000, bytes).count == 20_000)
            } catch let error as HoldfastError {
                #expect(error.code == .damaged, "seed \(seed), round \(round)")
            }
        }
    }

    @Test("a blob with a genuine seal but another plaintext is found by its content key")
    func poisoned() throws {
        let opener = BlobOpener()
        let honest: [UInt8] = Array("what everybody relies on".utf8)
        let key = honest.withUnsafeBytes { SampleBlob.deriver.contentKey(.data, $0) }
        let framed = try HostileSealer.seal(
            .data, encoding: .raw, key: key, plainLength: 6, encoded: Array("poison".utf8))
        framed.withUnsafeBytes { framed in
            #expect(throws: Never.self) {
                let plain = try opener.open(framed, key: key, expecting: .data) { Array($0) }
                #expect(plain == Array("poison".utf8))
            }
            let error = #expect(throws: HoldfastError.self) {
                try opener.openVerified(framed, key: key, expecting: .data, derivers: [SampleBlob.deriver]) { _ in }
            }
            #expect(error?.code == .damaged)
            let missing = #expect(throws: HoldfastError.self) {
                try opener.openVerified(
                    framed, key: key, expecting: .data,
                    derivers: [BlobKeyDeriver(convergence: [UInt8](repeating: 1, count: 32), number: 9)]
                ) { _ in }
            }
            #expect(missing?.code == .keyNeeded)
        }
    }
}

/// Seals any inner bytes under a content key, as a writer can who does not keep the rules.
enum HostileSealer {
    static func seal(
        _ type: BlobType, encoding: BlobEncoding, key: ContentKey, plainLength: UInt32, encoded: [UInt8]
    ) throws -> [UInt8] {
        let sealed = 12 + 4 + encoded.count + 16
        var framed = [UInt8](repeating: 0, count: 60 + sealed)
        try framed.withUnsafeMutableBytes { frame in
            BlobFrame.store(
                type: type, encoding: encoding, secretNumber: 1, references: 0, sealed: sealed,
                id: BlobCrypto.id(of: key), to: frame)
            frame.storeLittleEndian(plainLength, at: 72)
            UnsafeMutableRawBufferPointer(rebasing: frame[76...]).copyBytes(from: encoded)
            try SealingCipher().seal(
                key: BlobCrypto.sealingKey(of: key), nonce: frame.baseAddress! + 60,
                additional: UnsafeRawBufferPointer(rebasing: frame[..<60]),
                text: UnsafeMutableRawBufferPointer(rebasing: frame[72..<(76 + encoded.count)]),
                tag: frame.baseAddress! + 76 + encoded.count)
            let checksum = XXH3.hash(UnsafeRawBufferPointer(frame))
            frame.storeLittleEndian(checksum, at: 52)
        }
        return framed
    }
}
