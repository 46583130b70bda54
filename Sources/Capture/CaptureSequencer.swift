import Glibc
import Model
import Platform
import Synchronization
import Vault

/// Takes completed batches in tree order, bundles small files, and feeds tree and cache.
///
/// Bundles are formed here, in one thread and in tree order, so that equal files make equal bundles on every machine
/// with the same secret. Entries wait in a queue until the keys of the blobs they name are known.
final class CaptureSequencer {
    /// Small files that are being joined into one blob.
    private final class Bundle {
        var pieces: [SlabRange] = []
        var length = 0
        var ticket: BlobTicket?
    }

    private enum Content {
        case ready
        case bundle(Bundle, offset: UInt32, length: UInt32)
        case chunks([PendingChunk])
        case link(LinkCell)
    }

    private struct Waiting {
        let key: [UInt8]
        let identity: FileIdentity
        var entry: Entry
        let content: Content
        var contentHash: ContentHash?
        var chunks: [CachedChunk]
        var pieces: [ContentKey]
        let cell: LinkCell?
    }

    /// Small files of this run that a further equal file refers to.
    private static let recentFiles = 65_536
    /// Entries that wait for keys; beyond it the open bundle is closed early. Bounds memory, at about 300 B each.
    private static let waitingLimit = 32_768

    private let pipeline: SealingPipeline
    private let progress: CaptureProgress
    private let reader: FileReader
    private let append: (CachedEntry) throws -> Void

    private var bundle = Bundle()
    private var recent: [ContentHash: (bundle: Bundle, offset: UInt32)] = [:]
    private var recentOrder: [ContentHash] = []
    private var recentNext = 0
    private var waiting: [Waiting] = []
    private var head = 0

    private(set) var warnings = WarningList()
    private(set) var files: UInt64 = 0
    private(set) var directories: UInt64 = 0
    private(set) var entries: UInt64 = 0
    private(set) var bytes: UInt64 = 0

    /// - Parameters:
    ///   - reader: reads a further name of a file whose first name got lost.
    ///   - append: takes finished entries in key order.
    init(
        pipeline: SealingPipeline, progress: CaptureProgress, reader: FileReader,
        append: @escaping (CachedEntry) throws -> Void
    ) {
        self.pipeline = pipeline
        self.progress = progress
        self.reader = reader
        self.append = append
    }

    /// Takes the next batch, which must be complete.
    func take(_ batch: CaptureBatch) throws {
        for warning in batch.warnings { warnings.add(warning) }
        for item in batch.items {
            if item.isGone || item.isReplaced { item.cell?.isLost = true }
            if !item.isGone { try take(try readingLostContent(of: item, batch), batch) }
        }
        releaseSlab(of: batch)
        try drain(all: false)
    }

    /// Closes what is open and feeds everything.
    func finish() throws {
        try closeBundle()
        try drain(all: true)
    }

    private func take(_ item: CaptureItem, _ batch: CaptureBatch) throws {
        let identity = item.isFresh ? FileIdentity(item.status).untrusted : FileIdentity(item.status)
        if case .none = item.work, let cached = item.cached {
            waiting.append(
                Waiting(
                    key: item.key, identity: identity, entry: cached.entry, content: .ready,
                    contentHash: cached.contentHash, chunks: cached.chunks, pieces: cached.pieces, cell: item.cell))
            return
        }
        guard var entry = item.entry else { return }
        try spillAttributes(&entry, of: item)
        var content = Content.ready
        switch item.content {
        case .none: break
        case .known(let known): entry.content = known
        case .link(let cell): content = .link(cell)
        case .chunks(let chunks): content = .chunks(chunks)
        case .small(let range, let hash, let rule): content = try place(range, hash, rule, batch)
        }
        waiting.append(
            Waiting(
                key: item.key, identity: identity, entry: entry, content: content, contentHash: item.contentHash,
                chunks: item.chunks, pieces: item.pieces, cell: item.isReplaced ? nil : item.cell))
    }

    /// A further name of a file whose first name vanished, or was another file by then, is read in its place.
    private func readingLostContent(of item: CaptureItem, _ batch: CaptureBatch) throws -> CaptureItem {
        guard case .link(let cell) = item.content, cell.isLost else { return item }
        let alone = CaptureBatch()
        alone.names = batch.names
        var again = item
        again.content = .none
        again.work = item.status.size == 0 ? .metadata : .large
        alone.items = [again]
        try reader.complete(alone)
        for warning in alone.warnings { warnings.add(warning) }
        again = alone.items[0]
        if !again.isGone, !again.isReplaced {
            again.cell = cell
            cell.isLost = false
        }
        return again
    }

    /// Attributes that would make a node too large go into a blob of their own. The few that even that has no room for are
    /// left out with a warning, the largest first; access control lists and capabilities are small and stay.
    private func spillAttributes(_ entry: inout Entry, of item: CaptureItem) throws {
        if entry.attributes.isEmpty { return }
        let size = entry.attributes.reduce(0) { $0 + $1.name.count + $1.value.count + 8 }
        if size <= Entry.maximumInlineAttributes { return }
        while AttributeCoding.encodedLength(entry.attributes) > FormatLimits.blobPlainLength,
            let largest = entry.attributes.indices.max(by: {
                entry.attributes[$0].value.count < entry.attributes[$1].value.count
            })
        {
            let left = entry.attributes.remove(at: largest)
            progress.warnings.wrappingAdd(1, ordering: .relaxed)
            warnings.add(
                PointWarning(
                    reason: .metadata, path: TreePath(key: item.key)?.bytes ?? item.key,
                    text:
                        "its attribute \(TreePath.display(left.name)) is left out: a file's attributes are kept up to 1 MiB"
                ))
        }
        let bytes = try AttributeCoding.encode(entry.attributes)
        let slab = Slab(capacity: bytes.count)
        bytes.withUnsafeBytes { slab.base.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
        entry.attributesBlob = try pipeline.wait(
            for: try pipeline.submit([SlabRange(slab: slab, range: 0..<bytes.count)]))
        entry.attributes = []
    }

    // MARK: Bundles

    private func place(_ range: Range<Int>, _ hash: ContentHash, _ rule: UInt64, _ batch: CaptureBatch) throws
        -> Content
    {
        let length = UInt32(range.count)
        if let known = recent[hash] { return .bundle(known.bundle, offset: known.offset, length: length) }
        guard let slab = batch.slab else { return .ready }
        if bundle.length + range.count > FormatLimits.blobPlainLength { try closeBundle() }
        let offset = UInt32(bundle.length)
        if let last = bundle.pieces.last, last.slab === slab, last.range.upperBound == range.lowerBound {
            // Neighbours in the slab are one piece: the usual bundle is sealed without being copied.
            bundle.pieces[bundle.pieces.count - 1] = SlabRange(
                slab: slab, range: last.range.lowerBound..<range.upperBound)
        } else {
            bundle.pieces.append(SlabRange(slab: slab, range: range))
        }
        bundle.length += range.count
        remember(hash, offset)
        let content = Content.bundle(bundle, offset: offset, length: length)
        if BundleRule.endsAfter(hash: rule, size: range.count) { try closeBundle() }
        return content
    }

    private func remember(_ hash: ContentHash, _ offset: UInt32) {
        if recentOrder.count < CaptureSequencer.recentFiles {
            recentOrder.append(hash)
        } else {
            recent[recentOrder[recentNext]] = nil
            recentOrder[recentNext] = hash
            recentNext = (recentNext + 1) % CaptureSequencer.recentFiles
        }
        recent[hash] = (bundle, offset)
    }

    private func closeBundle() throws {
        guard bundle.length > 0 else { return }
        bundle.ticket = try pipeline.submit(bundle.pieces)
        // The pieces belong to the job now; keeping them here would keep the slabs.
        bundle.pieces = []
        bundle = Bundle()
    }

    /// The open bundle must not keep the batch's slab, or the pool could run dry: its bytes are copied aside.
    private func releaseSlab(of batch: CaptureBatch) {
        batch.slab = nil
        guard bundle.length > 0 else { return }
        let slab = Slab(capacity: FormatLimits.blobPlainLength)
        var length = 0
        for piece in bundle.pieces {
            (slab.base + length).copyMemory(from: piece.bytes.baseAddress!, byteCount: piece.range.count)
            length += piece.range.count
        }
        bundle.pieces = [SlabRange(slab: slab, range: 0..<length)]
    }

    // MARK: Feeding

    private func drain(all: Bool) throws {
        if waiting.count - head > CaptureSequencer.waitingLimit { try closeBundle() }
        while head < waiting.count {
            switch waiting[head].content {
            case .ready: break
            case .link(let cell):
                waiting[head].entry.content = cell.content ?? .none
                if cell.content == nil, waiting[head].entry.size > 0 {
                    waiting[head].entry.remarks.insert(.contentMissing)
                } else if cell.content != nil {
                    // The file may have grown between its names: a size without its content would read as zeros.
                    waiting[head].entry.size = cell.size
                    waiting[head].entry.mtime = cell.mtime
                }
                waiting[head].entry.remarks.formUnion(cell.remarks)
                waiting[head].contentHash = cell.contentHash
                waiting[head].chunks = cell.chunks
                waiting[head].pieces = cell.pieces
            case .chunks(let chunks):
                var extents: [Extent] = []
                var cached: [CachedChunk] = []
                for chunk in chunks {
                    let key: ContentKey
                    if let known = chunk.ticket.key {
                        key = known
                    } else if all || waiting.count - head > CaptureSequencer.waitingLimit {
                        key = try pipeline.wait(for: chunk.ticket)
                    } else {
                        return compact()
                    }
                    extents.append(Extent(key: key, offset: 0, length: UInt64(chunk.length)))
                    cached.append(CachedChunk(length: chunk.length, hash: chunk.hash, key: key))
                }
                waiting[head].entry.content = .extents(extents)
                waiting[head].chunks = cached
            case .bundle(let bundle, let offset, let length):
                guard let ticket = bundle.ticket else { return compact() }
                let key: ContentKey
                if let known = ticket.key {
                    key = known
                } else if all || waiting.count - head > CaptureSequencer.waitingLimit {
                    key = try pipeline.wait(for: ticket)
                } else {
                    return compact()
                }
                waiting[head].entry.content = .extents([Extent(key: key, offset: offset, length: UInt64(length))])
            }
            let next = waiting[head]
            if let cell = next.cell {
                cell.content = next.entry.content
                cell.size = next.entry.size
                cell.mtime = next.entry.mtime
                cell.remarks = next.entry.remarks
                cell.contentHash = next.contentHash
                cell.chunks = next.chunks
                cell.pieces = next.pieces
            }
            try feed(next)
            head += 1
        }
        compact()
    }

    private func compact() {
        if head == waiting.count {
            waiting.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 4096 {
            waiting.removeFirst(head)
            head = 0
        }
    }

    private func feed(_ item: Waiting) throws {
        entries += 1
        switch item.entry.kind {
        case .regular:
            files += 1
            bytes += item.entry.size
            progress.bytesDone.wrappingAdd(item.entry.size, ordering: .relaxed)
        case .directory: directories += 1
        default: break
        }
        progress.entriesDone.wrappingAdd(1, ordering: .relaxed)
        try append(
            CachedEntry(
                key: item.key, identity: item.identity, entry: item.entry, contentHash: item.contentHash,
                chunks: item.chunks, pieces: item.pieces))
    }
}

/// The warnings of a point: every path, up to a bound on their bytes, and the count of the rest.
struct WarningList {
    /// A record holds at most 4 MiB; this leaves room for everything else in it.
    private static let limit = 2 << 20

    private(set) var warnings: [PointWarning] = []
    private(set) var omitted: UInt64 = 0
    private var bytes = 0

    mutating func add(_ warning: PointWarning) {
        let size = warning.path.count + warning.text.utf8.count + 8
        if bytes + size > WarningList.limit {
            omitted += 1
        } else {
            bytes += size
            warnings.append(warning)
        }
    }
}
