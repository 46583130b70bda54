import Model
import TestSupport
import Testing

@testable import Vault

/// Packs made for tests.
enum SamplePack {
    static let vault = VaultID(high: 0x1111_2222_3333_4444, low: 0x5555_6666_7777_8888)
    static let writer = WriterID(high: 1, low: 2)

    /// A pack of `count` blobs and what was sealed into it.
    static func make(
        _ packClass: PackClass, count: Int, seed: UInt64, compression: Compression = .fast
    ) throws -> (pack: SealedPack, blobs: [SampleBlob]) {
        var random = SeededBytes(seed: seed)
        let sealer = BlobSealer(compression: compression)
        var builder = PackBuilder(vault: vault, writer: writer, packClass: packClass)
        var blobs: [SampleBlob] = []
        for index in 0..<count {
            let type: BlobType = packClass == .data ? .data : [.node, .extents, .delta][index % 3]
            let references =
                packClass == .data ? [] : Set((0..<random.below(5)).map { _ in BlobID(random.bytes32()) }).sorted()
            let length = random.below(3000)
            let plain = index % 2 == 0 ? random.noise(length) : random.text(length)
            // The number keeps contents apart.
            let blob = try SampleBlob(type, plain + Array("\(index)".utf8), references: references, sealer: sealer)
            try builder.append(from: blob.framed, blob.packed)
            blobs.append(blob)
        }
        return (try builder.finish(), blobs)
    }

    /// A pack of class 3 with one record of each type.
    static func records() throws -> SealedPack {
        var builder = PackBuilder(vault: vault, writer: writer, packClass: .points)
        for type in [BlobType.point, .machine, .hold, .redaction] {
            var framed: [UInt8] = []
            let references = type.hasReferences ? [BlobID(Bytes32(w0: 1, w1: 1, w2: 1, w3: 1))] : []
            let packed = try Array("record \(type)".utf8).withUnsafeBytes {
                try BlobSealer.frame(record: type, body: $0, references: references, into: &framed)
            }
            try builder.append(from: framed, packed)
        }
        return try builder.finish()
    }
}

@Suite struct PackTests {
    @Test("a pack is read back as it was built", arguments: [PackClass.data, .meta], [1, 2, 57])
    func roundTrip(packClass: PackClass, count: Int) throws {
        let (pack, blobs) = try SamplePack.make(packClass, count: count, seed: UInt64(count))
        #expect(pack.name == pack.bytes.withUnsafeBytes { BlobCrypto.packName(of: $0) })
        let parsed = try pack.bytes.withUnsafeBytes { try PackReader.parse($0, vault: SamplePack.vault) }
        #expect(parsed.header.packClass == packClass && parsed.header.writer == SamplePack.writer)
        #expect(parsed.blobs == pack.blobs)
        #expect(try SealedPack(parsing: pack.bytes, vault: SamplePack.vault).name == pack.name)
        let opener = BlobOpener()
        for (placed, blob) in zip(parsed.blobs, blobs) {
            #expect(placed.id == blob.packed.id && placed.references == blob.packed.references)
            let range = Int(placed.range.lowerBound)..<Int(placed.range.upperBound)
            let plain = try pack.bytes[range].withUnsafeBytes { framed in
                try opener.openVerified(
                    framed, key: blob.key, expecting: blob.type, derivers: [SampleBlob.deriver]
                ) { Array($0) }
            }
            #expect(plain == blob.plain)
        }
    }

    @Test("records are framed as they are and named by their bodies")
    func records() throws {
        let pack = try SamplePack.records()
        let parsed = try pack.bytes.withUnsafeBytes { try PackReader.parse($0, vault: SamplePack.vault) }
        #expect(parsed.blobs.map(\.type) == [.point, .machine, .hold, .redaction])
        for blob in parsed.blobs {
            let range = Int(blob.range.lowerBound)..<Int(blob.range.upperBound)
            let body = try pack.bytes[range].withUnsafeBytes { Array(try BlobOpener.record($0, expecting: blob.type)) }
            #expect(body == Array("record \(blob.type)".utf8))
            #expect(throws: HoldfastError.self) {
                try pack.bytes[range].withUnsafeBytes {
                    _ = try BlobOpener.record($0, expecting: blob.type == .hold ? .point : .hold)
                }
            }
        }
    }

    @Test("blobs move between packs verbatim")
    func moving() throws {
        let (pack, blobs) = try SamplePack.make(.data, count: 10, seed: 5)
        var builder = PackBuilder(
            vault: SamplePack.vault, writer: WriterID(high: 9, low: 9), packClass: .data,
            buffer: [UInt8](repeating: 1, count: 1000))
        for blob in pack.blobs.reversed() { try builder.append(from: pack.bytes, blob) }
        let moved = try builder.finish()
        let parsed = try SealedPack(parsing: moved.bytes, vault: SamplePack.vault)
        #expect(parsed.blobs.map(\.id) == pack.blobs.map(\.id).reversed())
        let first = parsed.blobs[9]
        let framed = Array(moved.bytes[Int(first.range.lowerBound)..<Int(first.range.upperBound)])
        #expect(framed == blobs[0].framed)
    }

    @Test("a builder refuses what does not belong into its pack")
    func refusals() throws {
        let (_, blobs) = try SamplePack.make(.meta, count: 2, seed: 6)
        var data = PackBuilder(vault: SamplePack.vault, writer: SamplePack.writer, packClass: .data)
        #expect(data.isEmpty)
        do {
            try data.append(from: blobs[0].framed, blobs[0].packed)
            Issue.record("another class was taken")
        } catch {}
        var meta = PackBuilder(vault: SamplePack.vault, writer: SamplePack.writer, packClass: .meta)
        try meta.append(from: blobs[0].framed, blobs[0].packed)
        #expect(meta.contains(blobs[0].packed.id) && meta.count == 1 && !meta.isFull)
        do {
            try meta.append(from: blobs[0].framed, blobs[0].packed)
            Issue.record("a blob was taken twice")
        } catch {}
        var longer = blobs[1].packed
        longer.sealedLength += 1
        do {
            try meta.append(from: blobs[1].framed, longer)
            Issue.record("a wrong length was taken")
        } catch {}
        do {
            _ = try data.finish()
            Issue.record("an empty pack was finished")
        } catch {}
        _ = try meta.finish()
    }

    @Test("a pack of another vault, of a newer version or cut short is refused with the right word")
    func refusedPacks() throws {
        let (pack, _) = try SamplePack.make(.data, count: 3, seed: 7)
        func code(_ change: (inout [UInt8]) -> Void, vault: VaultID = SamplePack.vault) -> HoldfastError.Code? {
            var bytes = pack.bytes
            change(&bytes)
            do {
                _ = try bytes.withUnsafeBytes { try PackReader.parse($0, vault: vault) }
                return nil
            } catch { return (error as? HoldfastError)?.code }
        }
        #expect(code({ _ in }) == nil)
        #expect(code({ _ in }, vault: VaultID(high: 0, low: 0)) == .damaged)
        #expect(code({ $0[8] = 2 }) == .unsupported)
        for length in 0..<pack.bytes.count where length % 7 == 0 {
            #expect(code({ $0.removeLast($0.count - length) }) == .damaged, "cut to \(length)")
        }
        #expect(code({ $0.append(0) }) == .damaged)
    }

    @Test("the index of a stored pack is read without its data", arguments: [PackClass.data, .meta], [3, 2000])
    func indexReader(packClass: PackClass, count: Int) throws {
        let (pack, _) = try SamplePack.make(packClass, count: count, seed: 8)
        let counter = CountingStore(MemoryStore())
        try counter.put(StoreKey.pack(pack.name), pack.bytes)
        let index = try PackIndexReader.read(pack.name, from: counter, vault: SamplePack.vault)
        #expect(index.blobs == pack.blobs)
        #expect(index.header.packClass == packClass)
        if packClass == .data {
            #expect(counter.counts.reads <= 3)
            #expect(counter.counts.bytesRead < 64 * 1024 + 48 + UInt64(56 * count + 32))
        }
        let other = PackName(Bytes32(w0: 1, w1: 2, w2: 3, w3: 4))
        let error = try #require(throws: HoldfastError.self) {
            try PackIndexReader.read(other, from: counter, vault: SamplePack.vault)
        }
        #expect(error.code == .notFound)
    }

    @Test("the blobs of a damaged pack are found except for the damaged ones")
    func scanning() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededBytes(seed: seed)
        let (pack, _) = try SamplePack.make(.meta, count: 60, seed: seed)
        let whole = pack.bytes.withUnsafeBytes { PackReader.scan($0, vault: SamplePack.vault) }
        #expect(whole.blobs == pack.blobs && whole.lostBytes == 0 && !whole.gaveUp && whole.header != nil)

        for _ in 0..<60 {
            var bytes = pack.bytes
            let start = random.below(bytes.count)
            let end = min(bytes.count, start + 1 + random.below(3000))
            for index in start..<end { bytes[index] = UInt8(truncatingIfNeeded: random.next()) }
            let scan = bytes.withUnsafeBytes { PackReader.scan($0, vault: SamplePack.vault) }
            if start < PackHeader.length {
                // The header is gone, or it is that of nobody's vault: then the blobs cannot be trusted to be ours.
                continue
            }
            let expected = pack.blobs.filter {
                $0.range.upperBound <= UInt64(start) || $0.range.lowerBound >= UInt64(end)
            }
            #expect(scan.blobs == expected, "seed \(seed), \(start)..<\(end)")
        }
        // Without its end, as after a lost write.
        let half = Array(pack.bytes[..<(pack.bytes.count / 2)])
        let scan = half.withUnsafeBytes { PackReader.scan($0, vault: SamplePack.vault) }
        #expect(scan.blobs == pack.blobs.filter { $0.range.upperBound <= UInt64(half.count) })
        // Without its header.
        var headless = pack.bytes
        for index in 0..<48 { headless[index] = 0 }
        let found = headless.withUnsafeBytes { PackReader.scan($0, vault: SamplePack.vault) }
        #expect(found.header == nil && found.blobs == pack.blobs)
    }

    @Test("a pack made of nothing but beginnings does not keep the scanner for ever")
    func patience() throws {
        var bytes = PackHeader(packClass: .data, vault: SamplePack.vault, writer: SamplePack.writer).encoded()
        let header = [UInt8](unsafeUninitializedCapacity: 60) { buffer, count in
            BlobFrame.store(
                type: .data, encoding: .raw, secretNumber: 1, references: 0, sealed: 1 << 20,
                id: BlobID(.zero), to: UnsafeMutableRawBufferPointer(buffer))
            count = 60
        }
        while bytes.count < 3 << 20 { bytes += header }
        let scan = bytes.withUnsafeBytes { PackReader.scan($0, vault: SamplePack.vault) }
        #expect(scan.blobs.isEmpty && scan.gaveUp)
    }
}
