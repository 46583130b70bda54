import Model
import Testing

@testable import Vault

/// The rule as the format page words it, one byte after the other.
private func referenceCut(_ bytes: ArraySlice<UInt8>, _ gear: [UInt64]) -> Int {
    var hash: UInt64 = 0
    var length = 0
    for byte in bytes {
        length += 1
        if length <= 65_536 { continue }
        hash = (hash << 1) &+ gear[Int(byte)]
        let highBits = length <= 262_144 ? 20 : 16
        if hash >> UInt64(64 - highBits) == 0 { return length }
        if length == 1_048_576 { return length }
    }
    return length
}

private func gearTable(_ seed: UInt64) -> [UInt64] {
    var random = SeededGenerator(seed)
    return (0..<256).map { _ in random.next() }
}

private func randomBytes(_ count: Int, seed: UInt64) -> [UInt8] {
    var random = SeededGenerator(seed)
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
        var index = 0
        while index < count {
            var word = random.next()
            for _ in 0..<min(8, count - index) {
                buffer[index] = UInt8(truncatingIfNeeded: word)
                word >>= 8
                index += 1
            }
        }
        initialized = count
    }
}

extension Chunker {
    /// The lengths of all chunks of a content that is at hand as a whole.
    fileprivate func cuts(_ content: [UInt8]) -> [Int] {
        var lengths: [Int] = []
        content.withUnsafeBytes { bytes in
            var start = 0
            while start < bytes.count {
                let rest = UnsafeRawBufferPointer(rebasing: bytes[start...])
                guard let length = cut(rest, isLast: true), length > 0 else { break }
                lengths.append(length)
                start += length
            }
        }
        return lengths
    }
}

@Suite("Chunker") struct ChunkerTests {
    @Test(
        "cuts stand where the format page says, whatever the parity of their places",
        arguments: 1...4 as ClosedRange<UInt64>)
    func matchesReference(seed: UInt64) {
        print("seed", seed)
        let gear = gearTable(seed)
        let content = randomBytes(2_500_011, seed: seed &+ 100)
        var expected: [Int] = []
        var start = 0
        while start < content.count {
            let length = referenceCut(content[start..<min(start + 1_048_576, content.count)], gear)
            expected.append(length)
            start += length
        }
        #expect(Chunker(gearTable: gear).cuts(content) == expected)
        #expect(expected.dropLast().allSatisfy { $0 > 65_536 && $0 <= 1_048_576 })
    }

    @Test("contents without variety are cut at the maximum")
    func constantContent() {
        // One value of the table repeated: the hash becomes its negative and stays.
        let content = [UInt8](repeating: 0, count: (3 << 20) + 17)
        #expect(Chunker(gearTable: gearTable(1)).cuts(content) == [1 << 20, 1 << 20, 1 << 20, 17])
    }

    @Test("short contents are one chunk", arguments: [1, 65_535, 65_536, 65_537])
    func shortContent(count: Int) {
        #expect(Chunker(gearTable: gearTable(2)).cuts(randomBytes(count, seed: 5)) == [count])
    }

    @Test("more bytes are asked for only while they could change the answer")
    func asksForMore() {
        let chunker = Chunker(gearTable: gearTable(3))
        let content = randomBytes(3 << 20, seed: 9)
        content.withUnsafeBytes { bytes in
            guard let length = chunker.cut(bytes, isLast: false) else {
                Issue.record("1 MiB is always enough")
                return
            }
            for count in [0, 1, 65_536, length - 1] {
                let part = UnsafeRawBufferPointer(rebasing: bytes[..<count])
                #expect(chunker.cut(part, isLast: false) == nil)
                #expect(chunker.cut(part, isLast: true) == count)
            }
            for count in [length, length + 1, 1 << 20, 2 << 20] {
                let part = UnsafeRawBufferPointer(rebasing: bytes[..<count])
                #expect(chunker.cut(part, isLast: false) == length)
                #expect(chunker.cut(part, isLast: true) == length)
            }
        }
    }

    @Test("a byte inserted into a file makes few chunks new")
    func locality() {
        let chunker = Chunker(gearTable: gearTable(4))
        let content = randomBytes(6 << 20, seed: 21)
        var changed = content
        changed.insert(7, at: 2 << 20)
        func chunks(_ content: [UInt8]) -> [ArraySlice<UInt8>] {
            var start = 0
            return chunker.cuts(content).map { length in
                defer { start += length }
                return content[start..<(start + length)]
            }
        }
        let before = Set(chunks(content))
        let new = chunks(changed).filter { !before.contains($0) }
        #expect(new.count >= 1 && new.count <= 3)
    }

    @Test("chunks of random data have about the average length")
    func averageLength() {
        let lengths = Chunker(gearTable: gearTable(6)).cuts(randomBytes(24 << 20, seed: 33))
        let average = (24 << 20) / lengths.count
        #expect(average > 200 << 10 && average < 400 << 10)
    }
}

@Suite("Bundle rule") struct BundleTests {
    @Test("bundles of typical small files have about 256 KiB and never more than 1 MiB")
    func averageLength() {
        let rule = BundleRule(seed: 77)
        var fixture = TreeFixture(seed: 3)
        var bundles: [Int] = []
        var length = 0
        for number in 0..<2500 {
            let content = randomBytes(fixture.number(1..<12_000), seed: UInt64(number))
            if BundleRule.endsBefore(length: length, size: content.count) {
                bundles.append(length)
                length = 0
            }
            length += content.count
            let hash = content.withUnsafeBytes { rule.hash($0) }
            if BundleRule.endsAfter(hash: hash, size: content.count) {
                bundles.append(length)
                length = 0
            }
        }
        let average = bundles.reduce(0, +) / bundles.count
        #expect(average > 180 << 10 && average < 340 << 10)
        #expect(bundles.allSatisfy { $0 <= 1 << 20 })
    }

    @Test("a bundle holds exactly 1 MiB and not a byte more")
    func maximum() {
        #expect(!BundleRule.endsBefore(length: (1 << 20) - 10, size: 10))
        #expect(BundleRule.endsBefore(length: (1 << 20) - 10, size: 11))
    }

    @Test("where bundles end is chosen by the content and the seed")
    func keyed() {
        let content = Array("content".utf8)
        content.withUnsafeBytes { bytes in
            #expect(BundleRule(seed: 1).hash(bytes) == BundleRule(seed: 1).hash(bytes))
            #expect(BundleRule(seed: 1).hash(bytes) != BundleRule(seed: 2).hash(bytes))
        }
        #expect(BundleRule.endsAfter(hash: 262_144 + 9, size: 10))
        #expect(!BundleRule.endsAfter(hash: 262_144 + 10, size: 10))
    }
}
