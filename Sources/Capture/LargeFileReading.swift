import Model
import Platform
import Synchronization
import Vault

/// What became of a large file.
struct LargeFile {
    var content: EntryContent
    /// The chunks with their hashes for the next run; empty when there are more than are worth remembering.
    var chunks: [CachedChunk]
    /// Bytes read or skipped as holes: less than the size when the file shrank meanwhile.
    var length: UInt64
    /// Chunks that were cut anew, not recognised.
    var cutChunks: Int
    /// Content keys of the pieces of the list of extents, if it is long.
    var pieces: [ContentKey]
    /// Instead of `content` and `chunks`: the chunks of a file of few, whose keys are still being worked out. Waiting for
    /// them here would leave the reader idle after every file of a few hundred kilobytes.
    var deferred: [PendingChunk]
}

/// A chunk whose content key is known when its ticket is.
struct PendingChunk {
    let ticket: BlobTicket
    let length: UInt32
    let hash: UInt64
}

/// The slab that a reader fills, shared by one large file after the other.
struct OpenSlab {
    var slab: Slab?
    var used = 0
}

/// One reading of a large file: cuts it into chunks, hands them to the pipeline and builds the list of extents.
///
/// Where a chunk of the reading before began and its range still has the same hash, the chunk is taken over without
/// cutting, hashing or asking: a 4 KB change in a huge file costs reading at memory speed and one or two new chunks.
struct LargeFileReading {
    /// More chunks than this are not remembered (64 GB of file, 12 MB of memory): such files are cut again when they change.
    static let rememberedChunks = 262_144

    let file: FileContent
    let size: UInt64
    let isSparse: Bool
    let known: [CachedChunk]
    let pipeline: SealingPipeline
    let slabs: SlabPool
    let chunker: Chunker
    let secret: DomainSecret
    let progress: CaptureProgress

    private let sink: RecordingSink
    private var extents: ExtentListBuilder
    private var pending: [PendingChunk] = []
    private var pendingHead = 0
    private var chunks: [CachedChunk] = []
    private var cutChunks = 0
    /// Whether anything is in the list of extents already.
    private var hasExtents = false
    /// Where reading goes on in the reader's slab.
    private(set) var open: OpenSlab
    private var isForgetful = false
    /// The chunk of the reading before that begins at or behind the current position.
    private var knownIndex = 0
    private var knownOffset: UInt64 = 0

    init(
        file: FileContent, size: UInt64, isSparse: Bool, known: [CachedChunk], knownPieces: [ContentKey],
        pipeline: SealingPipeline, slabs: SlabPool, chunker: Chunker, secret: DomainSecret, progress: CaptureProgress,
        open: OpenSlab
    ) {
        self.file = file
        self.size = size
        self.isSparse = isSparse
        self.known = known
        self.pipeline = pipeline
        self.slabs = slabs
        self.chunker = chunker
        self.secret = secret
        self.progress = progress
        self.open = open
        sink = RecordingSink(pipeline: pipeline, known: Set(knownPieces))
        extents = ExtentListBuilder(seed: secret.extentsSeed, sink: sink)
    }

    /// Reads the file up to `size`.
    mutating func run() throws -> LargeFile {
        var offset: UInt64 = 0
        while offset < size {
            var end = size
            if isSparse {
                guard let data = try file.nextData(from: offset, size: size) else {
                    try hole(size - offset)
                    offset = size
                    break
                }
                if data.offset > offset {
                    try hole(data.offset - offset)
                    offset = data.offset
                }
                end = data.offset + data.length
            }
            let reached = try data(from: offset, to: end)
            offset = reached
            if reached < end { break }
        }
        if !hasExtents, pending.count <= Entry.maximumInlineExtents, !pending.isEmpty {
            return LargeFile(
                content: .none, chunks: [], length: offset, cutChunks: cutChunks, pieces: [], deferred: pending)
        }
        try drain(all: true)
        let content = try extents.finish()
        return LargeFile(
            content: content, chunks: isForgetful ? [] : chunks, length: offset, cutChunks: cutChunks,
            pieces: isForgetful ? [] : Array(sink.recorded), deferred: [])
    }

    private mutating func hole(_ length: UInt64) throws {
        try drain(all: true)
        hasExtents = true
        try extents.append(Extent(key: nil, offset: 0, length: length))
        // A hole is remembered as a chunk without a blob, so that positions behind it are found.
        var left = length
        while left > 0 {
            let piece = UInt32(min(left, UInt64(FormatLimits.blobPlainLength)))
            if left > 64 << 30 { isForgetful = true }
            remember(CachedChunk(length: piece, hash: 0, key: ContentKey(.zero)))
            if isForgetful { break }
            left -= UInt64(piece)
        }
    }

    private mutating func remember(_ chunk: CachedChunk) {
        if isForgetful { return }
        if chunks.count >= LargeFileReading.rememberedChunks {
            isForgetful = true
            chunks = []
        } else {
            chunks.append(chunk)
        }
    }

    /// Cuts the bytes from `start` to `end`; returns where it got to, less than `end` when the file shrank.
    private mutating func data(from start: UInt64, to end: UInt64) throws -> UInt64 {
        var end = end
        var slab = try open.slab ?? take()
        // The bytes of the slab that are read and not yet cut.
        var low = open.used
        var high = low
        defer { open = OpenSlab(slab: slab, used: high) }
        var position = start
        while true {
            if progress.stopRequested.load(ordering: .relaxed) {
                throw HoldfastError(.cancelled, "the backup was stopped")
            }
            while high - low < FormatLimits.blobPlainLength && position + UInt64(high - low) < end {
                if slab.capacity - low < FormatLimits.blobPlainLength || high == slab.capacity {
                    let next = try take()
                    UnsafeMutableRawBufferPointer(start: next.base, count: next.capacity)
                        .copyMemory(from: slab.bytes(low..<high))
                    slab = next
                    high -= low
                    low = 0
                }
                let readFrom = position + UInt64(high - low)
                let wanted = min(slab.capacity - high, Int(min(end - readFrom, UInt64(Int32.max))))
                let count = try file.readFully(
                    into: UnsafeMutableRawBufferPointer(start: slab.base + high, count: wanted), at: readFrom)
                progress.bytesRead.wrappingAdd(UInt64(count), ordering: .relaxed)
                high += count
                if count < wanted { end = position + UInt64(high - low) }
            }
            if low == high { return position }
            let available = slab.bytes(low..<high)
            let length = try chunk(available, at: position, isLast: position + UInt64(available.count) == end) {
                length in
                SlabRange(slab: slab, range: low..<(low + length))
            }
            low += length
            position += UInt64(length)
            if pending.count - pendingHead > Entry.maximumInlineExtents { try drain(all: false) }
        }
    }

    private func take() throws -> Slab {
        guard let slab = slabs.take() else {
            throw pipeline.failure ?? HoldfastError(.cancelled, "the backup was stopped")
        }
        return slab
    }

    /// Takes over or cuts the chunk at the start of `available`; returns its length.
    private mutating func chunk(
        _ available: UnsafeRawBufferPointer, at position: UInt64, isLast: Bool, range: (Int) -> SlabRange
    ) throws -> Int {
        while knownIndex < known.count && knownOffset < position {
            knownOffset += UInt64(known[knownIndex].length)
            knownIndex += 1
        }
        if knownIndex < known.count && knownOffset == position {
            let old = known[knownIndex]
            let length = Int(old.length)
            if old.key != ContentKey(.zero) && length <= available.count
                && XXH3.hash(UnsafeRawBufferPointer(rebasing: available[..<length]), seed: secret.bundleSeed)
                    == old.hash
            {
                pending.append(PendingChunk(ticket: BlobTicket(key: old.key), length: old.length, hash: old.hash))
                return length
            }
        }
        guard let length = chunker.cut(available, isLast: isLast) else {
            throw HoldfastError(.internalError, "the chunker found no cut in a full buffer")
        }
        let hash = XXH3.hash(UnsafeRawBufferPointer(rebasing: available[..<length]), seed: secret.bundleSeed)
        let ticket = try pipeline.submit([range(length)])
        pending.append(PendingChunk(ticket: ticket, length: UInt32(length), hash: hash))
        cutChunks += 1
        return length
    }

    /// Moves chunks whose keys are known to the list of extents, in order.
    private mutating func drain(all: Bool) throws {
        while pendingHead < pending.count {
            let next = pending[pendingHead]
            let key: ContentKey
            if let known = next.ticket.key {
                key = known
            } else if all {
                key = try pipeline.wait(for: next.ticket)
            } else {
                break
            }
            hasExtents = true
            try extents.append(Extent(key: key, offset: 0, length: UInt64(next.length)))
            remember(CachedChunk(length: next.length, hash: next.hash, key: key))
            pendingHead += 1
        }
        if pendingHead == pending.count {
            pending.removeAll(keepingCapacity: true)
            pendingHead = 0
        } else if pendingHead > 1024 {
            pending.removeFirst(pendingHead)
            pendingHead = 0
        }
    }
}
