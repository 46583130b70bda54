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

    /// Before the average the 20 highest bits must be zero, after it the 16 highest, which is the same as being below
    /// these limits: two bits more and fewer than the 18 that the average alone would ask for, which narrows the
    /// distribution of lengths.
    private static let rareLimit: UInt64 = 1 << 44
    private static let oftenLimit: UInt64 = 1 << 48

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
                var hash: UInt64 = 0
                let middle = min(Chunker.average, end)
                let early = Chunker.scan(input, from: Chunker.minimum, to: middle, Chunker.rareLimit, &hash, table)
                if early > 0 { return early }
                return Chunker.scan(input, from: middle, to: end, Chunker.oftenLimit, &hash, table)
            }
            if length > 0 { return length }
        }
        if end == Chunker.maximum { return end }
        return isLast ? end : nil
    }

    /// The one hot loop: the length up to the first cut, or 0. Eight bytes a turn with one load of the input; a hash
    /// below `limit` has its highest bits zero. Measured a fifth faster than byte by byte.
    @inline(__always)
    private static func scan(
        _ input: UnsafePointer<UInt8>, from start: Int, to end: Int, _ limit: UInt64, _ hash: inout UInt64,
        _ gear: UnsafePointer<UInt64>
    ) -> Int {
        let raw = UnsafeRawPointer(input)
        var index = start
        var h0 = hash
        while index &+ 8 <= end {
            let word = UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: index, as: UInt64.self))
            let h1 = (h0 &<< 1) &+ gear[Int(word & 0xFF)]
            let h2 = (h1 &<< 1) &+ gear[Int((word &>> 8) & 0xFF)]
            let h3 = (h2 &<< 1) &+ gear[Int((word &>> 16) & 0xFF)]
            let h4 = (h3 &<< 1) &+ gear[Int((word &>> 24) & 0xFF)]
            let h5 = (h4 &<< 1) &+ gear[Int((word &>> 32) & 0xFF)]
            let h6 = (h5 &<< 1) &+ gear[Int((word &>> 40) & 0xFF)]
            let h7 = (h6 &<< 1) &+ gear[Int((word &>> 48) & 0xFF)]
            let h8 = (h7 &<< 1) &+ gear[Int(word &>> 56)]
            if h1 < limit { return index &+ 1 }
            if h2 < limit { return index &+ 2 }
            if h3 < limit { return index &+ 3 }
            if h4 < limit { return index &+ 4 }
            if h5 < limit { return index &+ 5 }
            if h6 < limit { return index &+ 6 }
            if h7 < limit { return index &+ 7 }
            if h8 < limit { return index &+ 8 }
            h0 = h8
            index &+= 8
        }
        while index < end {
            h0 = (h0 &<< 1) &+ gear[Int(input[index])]
            index &+= 1
            if h0 < limit { return index }
        }
        hash = h0
        return 0
    }
}
