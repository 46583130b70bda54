package import Model

/// A point opened for reading: its record, the state of its tree, and the contents of its files.
///
/// Holds a reader's lease, so that nothing of the point is collected meanwhile; `close` (or the end of the value) gives it
/// back. Not for use from several threads at once; `makeFetcher` gives each further thread its own way to the blobs.
package final class PointReader {
    package let service: any VaultService
    package let locator: PointLocator
    package let record: PointRecord
    /// The state at the point.
    package let tree: TreeReader
    /// Checks contents against content keys; `nil` when the domain of the point's secrets is not the usual one.
    package let checker: ContentChecker?
    /// Whether a machine of the vault is known to have made the point.
    package let isSigned: Bool

    private let lease: LeaseID?
    private let source: BlobSource
    private var isClosed = false

    /// Gives nodes to the tree.
    private final class BlobSource: NodeSource {
        let fetcher: BlobFetcher
        init(_ fetcher: BlobFetcher) { self.fetcher = fetcher }
        func node(_ key: ContentKey, type: BlobType) throws -> [UInt8] {
            try fetcher.fetch(key, type: type) { Array($0) }
        }
    }

    /// Opens the point `id` with the vault's keys, or with what a server grants.
    ///
    /// - Parameters:
    ///   - acceptsUnsigned: reads the point although nobody can tell who made it; `isSigned` then says so.
    ///   - cacheBytes: memory for decoded nodes of the tree.
    /// - Throws: `notFound`; `wrongKey` or `damaged` when the record does not open.
    package convenience init(
        service: any VaultService, keys: some PointOpener, point id: PointID, acceptsUnsigned: Bool = false,
        cacheBytes: Int = 16 << 20
    ) throws {
        let lease = try service.openLease(.reader([id]))
        do {
            let sealed = try service.point(id)
            let machines = try service.machineRecords(of: sealed.locator.machine)
            let redactions = try service.redactions(of: id)
            let record: PointRecord
            var isSigned = true
            do {
                record = try keys.openRecord(sealed, machines: machines, redactions: redactions)
            } catch let error as HoldfastError where error.code == .damaged && acceptsUnsigned {
                record = try keys.openRecord(unverified: sealed, redactions: redactions)
                isSigned = false
            }
            let checker = try PointReader.checker(
                service: service, keys: keys, machine: sealed.locator.machine, root: record.root)
            self.init(
                service: service, locator: sealed.locator, record: record, checker: checker, isSigned: isSigned,
                lease: lease.id, cacheBytes: cacheBytes)
        } catch {
            service.closeLease(lease.id)
            throw error
        }
    }

    /// Takes a record that is open already.
    package init(
        service: any VaultService, locator: PointLocator, record: PointRecord, checker: ContentChecker?,
        isSigned: Bool = true, lease: LeaseID? = nil, cacheBytes: Int = 16 << 20
    ) {
        self.service = service
        self.locator = locator
        self.record = record
        self.checker = checker
        self.isSigned = isSigned
        self.lease = lease
        source = BlobSource(BlobFetcher(service: service, checker: checker))
        tree = TreeReader(source: source, root: record.root, deltas: record.deltas, cacheBytes: cacheBytes)
    }

    deinit { close() }

    /// Gives the lease back. Calling it again changes nothing.
    package func close() {
        if isClosed { return }
        isClosed = true
        if let lease { service.closeLease(lease) }
    }

    /// Which secrets the point was made with shows its root: only a checker under which the root has its own key is used.
    private static func checker(
        service: any VaultService, keys: some PointOpener, machine: MachineID, root: ContentKey
    ) throws -> ContentChecker? {
        let opener = BlobOpener()
        var result: ContentChecker?
        try service.read([BlobCrypto.id(of: root)]) { _, framed in
            let number = try BlobFrame(framed).secretNumber
            try opener.open(framed, key: root, expecting: .node) { plain in
                for checker in keys.checkers(of: machine)
                where checker.deriver(number)?.contentKey(.node, plain) == root { result = checker }
            }
        }
        return result
    }

    // MARK: What it is

    package var point: PointID { locator.point }

    /// What was protected. Paths that are not in normal form (a hostile writer's) are left out.
    package var protectedPaths: [TreePath] { record.protectedPaths.compactMap { TreePath(normalizing: $0) } }

    /// Whether `path` lies in what was protected, so that what the point does not have of it was not there.
    package func isProtected(_ path: TreePath) -> Bool { protectedPaths.contains { $0.contains(path) } }

    // MARK: Paths

    /// A path that somebody typed, in the point: `nil` when the point does not have it. The root is always there.
    package struct Resolved {
        package var path: TreePath
        package var entry: Entry
    }

    /// Finds a path that a person typed; nothing is followed, a symbolic link is the link itself.
    ///
    /// - Throws: `usage` for a path that cannot be one, `notFound` with the deepest directory that is there.
    package func resolve(_ typed: [UInt8]) throws -> Resolved {
        guard let path = TreePath(normalizing: typed) else {
            throw HoldfastError(
                .usage, "\(TreePath.display(typed)) is not a path in a point: it has “..” or a name that is too long.")
        }
        if let entry = try entry(of: path) { return Resolved(path: path, entry: entry) }
        var above = path.parent ?? .root
        while !above.isRoot, try tree.lookup(above) == nil { above = above.parent ?? .root }
        throw HoldfastError(
            .notFound,
            "\(path.displayText) is not in this point; \(above.displayText) is the deepest part of it that is there.",
            context: ["path": path.displayText])
    }

    /// The entry of a path; a point without an entry for the root still has a root.
    package func entry(of path: TreePath) throws -> Entry? {
        if let entry = try tree.lookup(path) { return entry }
        return path.isRoot ? Entry(kind: .directory, mode: 0o755, remarks: .ancestor) : nil
    }

    // MARK: Contents

    /// Another way to the blobs of this point, for one further thread.
    package func makeFetcher() -> BlobFetcher { BlobFetcher(service: service, checker: checker) }

    /// All extended attributes of an entry, those in a blob of their own included.
    package func attributes(of entry: Entry) throws -> [ExtendedAttribute] {
        guard let key = entry.attributesBlob else { return entry.attributes }
        return try source.fetcher.fetch(key, type: .data) { try AttributeCoding.decode($0) }
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
        let stream = ContentStream(fetcher: source.fetcher, start: start, end: end)
        try tree.extents(of: entry, from: start) { extent, position in
            guard position < end else { return false }
            return try stream.take(extent, at: position, body)
        }
        if stream.wantsMore { _ = try stream.flush(body) }
        // A tree can say that a file is longer than its extents: the rest is a hole.
        if stream.wantsMore { _ = try stream.zeros(to: end, body) }
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
