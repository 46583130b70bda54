/// Cuts contents longer than 64 KiB into chunks at places that the contents themselves choose: FastCDC (Xia et al.,
/// USENIX ATC 2016) with normalised chunking at level 2 and a gear table derived from a secret.
///
/// A change in a file moves the cuts near it and no others. The table is secret so that lengths of chunks tell an
/// observer nothing about known files. There is no state between calls: a cut depends on the bytes from the chunk's
/// start alone.
package struct Chunker: Sendable {
    /// No cut before this many bytes, unless the file ends.
    package static let minimum = 64 << 10
    /// Where the rule changes from rarely cutting to often cutting.
    package static let average = 256 << 10
    /// Always a cut here; equals `FormatLimits.blobPlainLength`.
    package static let maximum = 1 << 20

    /// Before the average the 20 highest bits must be zero, after it the 16 highest: two bits more and fewer than the
    /// 18 that the average alone would ask for, which narrows the distribution of lengths.
    private static let rareMask: UInt64 = 0xFFFF_F000_0000_0000
    private static let oftenMask: UInt64 = 0xFFFF_0000_0000_0000

    private let gear: [UInt64]

    /// `gearTable` has 256 values, one for each byte; see "Keys" in the format.
    package init(gearTable: [UInt64]) {
        precondition(gearTable.count == 256, "a gear table has 256 values")
        gear = gearTable
    }

    /// The length of the chunk that begins at the start of `bytes`, or `nil` when more bytes are needed to tell.
    ///
    /// More are needed only when fewer than `maximum` bytes are given and `isLast` is false: with a buffer of 1 MiB the
    /// answer is never `nil`.
    /// - Parameters:
    ///   - bytes: the content from the chunk's start, as much as is at hand; not empty.
    ///   - isLast: whether the content ends with `bytes`.
    package func cut(_ bytes: UnsafeRawBufferPointer, isLast: Bool) -> Int? {
        let end = min(bytes.count, Chunker.maximum)
        if end > Chunker.minimum, let base = bytes.baseAddress {
            let input = base.assumingMemoryBound(to: UInt8.self)
            let length = gear.withUnsafeBufferPointer { table -> Int in
                // Checked in `init`.
                guard let table = table.baseAddress else { return 0 }
                return Chunker.scan(input, end, table)
            }
            if length > 0 { return length }
        }
        if end == Chunker.maximum { return end }
        return isLast ? end : nil
    }

    /// The one hot loop: the length up to the first cut before `end`, or 0.
    ///
    /// Two bytes a turn: the sum of both table values is ready before the hash is, so that only one shift and one
    /// addition a turn wait for each other.
    private static func scan(_ input: UnsafePointer<UInt8>, _ end: Int, _ gear: UnsafePointer<UInt64>) -> Int {
        var hash: UInt64 = 0
        var index = minimum
        let middle = min(average, end)
        while index + 1 < middle {
            let first = gear[Int(input[index])]
            let second = gear[Int(input[index + 1])]
            let between = (hash << 1) &+ first
            hash = (hash << 2) &+ ((first << 1) &+ second)
            if between & rareMask == 0 { return index + 1 }
            if hash & rareMask == 0 { return index + 2 }
            index += 2
        }
        if index < middle {
            hash = (hash << 1) &+ gear[Int(input[index])]
            index += 1
            if hash & rareMask == 0 { return index }
        }
        while index + 1 < end {
            let first = gear[Int(input[index])]
            let second = gear[Int(input[index + 1])]
            let between = (hash << 1) &+ first
            hash = (hash << 2) &+ ((first << 1) &+ second)
            if between & oftenMask == 0 { return index + 1 }
            if hash & oftenMask == 0 { return index + 2 }
            index += 2
        }
        if index < end {
            hash = (hash << 1) &+ gear[Int(input[index])]
            if hash & oftenMask == 0 { return index + 1 }
        }
        return 0
    }
}
