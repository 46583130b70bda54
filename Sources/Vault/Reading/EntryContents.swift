package import Model

/// Reads what entries name: the contents of files, and attributes that lie in a blob of their own.
package final class EntryContents {
    private let fetcher: BlobFetcher
    private let nodes: any NodeSource

    init(fetcher: BlobFetcher, nodes: any NodeSource) {
        self.fetcher = fetcher
        self.nodes = nodes
    }

    /// Reads from `source` with whatever keys entries name.
    package convenience init(source: any BlobSource, checker: ContentChecker?) {
        let fetcher = BlobFetcher(service: source, checker: checker)
        self.init(fetcher: fetcher, nodes: FetchedNodes(fetcher))
    }

    /// All extended attributes of an entry, those in a blob of their own included.
    package func attributes(of entry: Entry) throws -> [ExtendedAttribute] {
        guard let key = entry.attributesBlob else { return entry.attributes }
        return try fetcher.fetch(key, type: .data) { try AttributeCoding.decode($0) }
    }

    /// Streams the content of a regular file in order; holes are given as zeros.
    ///
    /// - Parameters:
    ///   - start: the first byte wanted.
    ///   - length: at most so many bytes; `nil` for all.
    ///   - body: gets one piece after the other (valid during the call) until it returns false.
    /// - Throws: `damaged` when a blob of it is lost; what came before it was given.
    package func read(
        _ entry: Entry, from start: UInt64 = 0, length: UInt64? = nil, _ body: (UnsafeRawBufferPointer) throws -> Bool
    ) throws {
        let end = length.map { start.addingSaturated($0) }.map { min($0, entry.size) } ?? entry.size
        if start >= end { return }
        let stream = ContentStream(fetcher: fetcher, start: start, end: end)
        try EntryContents.extents(of: entry, from: start, nodes: nodes) { extent, position in
            guard position < end else { return false }
            return try stream.take(extent, at: position, body)
        }
        if stream.wantsMore { _ = try stream.flush(body) }
        // A tree can say that a file is longer than its extents: the rest is a hole.
        if stream.wantsMore { _ = try stream.zeros(to: end, body) }
    }

    /// The extents of an entry in the order of the file, each with the place in the file where it begins, until `body`
    /// returns false.
    ///
    /// - Parameter start: the first extent is the one that holds this byte; nothing is read of those before it.
    static func extents(
        of entry: Entry, from start: UInt64, nodes: any NodeSource,
        _ body: (Extent, _ position: UInt64) throws -> Bool
    ) throws {
        switch entry.content {
        case .none: return
        case .extents(let extents):
            var position: UInt64 = 0
            for extent in extents {
                let end = try ExtentCoding.add(position, extent.length)
                if end > start, try !body(extent, position) { return }
                position = end
            }
        case .list(let root, let count):
            try ExtentListReader(source: nodes).read(root, count: count, from: start, body)
        }
    }
}

/// Nodes as they come from a fetcher.
final class FetchedNodes: NodeSource {
    let fetcher: BlobFetcher

    init(_ fetcher: BlobFetcher) { self.fetcher = fetcher }

    func node(_ key: ContentKey, type: BlobType) throws -> [UInt8] {
        try fetcher.fetch(key, type: type) { Array($0) }
    }
}

/// Puts blobs that come in the store's order into the file's order, a few at a time.
private final class ContentStream {
    /// So many blobs are fetched together; each is at most 1 MiB.
    private static let readAhead = 8

    private let fetcher: BlobFetcher
    private let end: UInt64
    private var position: UInt64
    private var waiting: [(extent: Extent, position: UInt64)] = []
    private(set) var wantsMore = true
    private static let zeroBlock = [UInt8](repeating: 0, count: 64 << 10)

    init(fetcher: BlobFetcher, start: UInt64, end: UInt64) {
        self.fetcher = fetcher
        self.end = end
        position = start
    }

    func take(
        _ extent: Extent, at start: UInt64, _ body: (UnsafeRawBufferPointer) throws -> Bool
    ) throws -> Bool {
        waiting.append((extent, start))
        if waiting.count >= ContentStream.readAhead { return try flush(body) }
        return true
    }

    func flush(_ body: (UnsafeRawBufferPointer) throws -> Bool) throws -> Bool {
        var keys: [ContentKey] = []
        for (extent, _) in waiting { if let key = extent.key, !keys.contains(key) { keys.append(key) } }
        var plain = [[UInt8]?](repeating: nil, count: keys.count)
        _ = try fetcher.fetch(keys, type: .data) { index, bytes in plain[index] = Array(bytes) }
        for (extent, start) in waiting where wantsMore {
            let stop = min(start.addingSaturated(extent.length), end)
            guard stop > position else { continue }
            guard let key = extent.key else {
                if try !zeros(to: stop, body) { return false }
                continue
            }
            guard let index = keys.firstIndex(of: key), let bytes = plain[index] else {
                throw HoldfastError(
                    .damaged, "a part of the content is damaged or missing and there is no other copy of it",
                    context: ["blob": BlobCrypto.id(of: key).hex])
            }
            let from = Int(extent.offset) + Int(position - start)
            let count = Int(stop - position)
            guard from + count <= bytes.count else { throw ByteReader.malformed("an extent outside of its blob") }
            position = stop
            wantsMore = try bytes.withUnsafeBytes {
                try body(UnsafeRawBufferPointer(rebasing: $0[from..<(from + count)]))
            }
        }
        waiting.removeAll(keepingCapacity: true)
        return wantsMore
    }

    /// Gives zeros up to `stop`; whether more is wanted.
    func zeros(to stop: UInt64, _ body: (UnsafeRawBufferPointer) throws -> Bool) throws -> Bool {
        while position < stop, wantsMore {
            let count = Int(min(stop - position, UInt64(ContentStream.zeroBlock.count)))
            position += UInt64(count)
            wantsMore = try ContentStream.zeroBlock.withUnsafeBytes {
                try body(UnsafeRawBufferPointer(rebasing: $0[..<count]))
            }
        }
        return wantsMore
    }
}
