import Model
import Platform
import Synchronization
import Vault

/// A point that is read, by many threads at once. As long as somebody has it, a lease keeps its contents in the vault.
final class OpenPoint: Sendable {
    /// Only its constants are used by many; the rest by the shelf's own thread.
    struct Reader: @unchecked Sendable {
        // Sound: `makeFetcher` and the record only read what never changes, and the lease is the shelf's alone.
        let reader: PointReader
    }

    let place: PointPlace
    private let box: Reader
    private let isChecked: Bool
    private let cache: BlobCache
    private let bin: ReaderBin
    /// Each is used by whoever took it out.
    private let trees = Monitor<[TreeReader]>([])
    private let fetchers = Monitor<[BlobFetcher]>([])
    private let used = Atomic<Int64>(SystemClock.monotonic)

    init(_ place: PointPlace, _ reader: PointReader, cache: BlobCache, bin: ReaderBin) {
        self.place = place
        box = Reader(reader: reader)
        isChecked = reader.checker != nil
        self.cache = cache
        self.bin = bin
    }

    /// Giving a lease back can take a while when the vault is far away, and nobody who reads should wait for it.
    deinit { bin.add(box) }

    /// By the monotonic clock.
    var lastUse: Int64 { used.load(ordering: .relaxed) }
    func touch() { used.store(SystemClock.monotonic, ordering: .relaxed) }

    /// A new lease, in case that the server has forgotten the old one.
    func renewLease() throws { try box.reader.renewLease() }

    // MARK: The tree

    /// Decoded nodes that each reader of a tree keeps, in bytes, and how many readers are kept.
    private static let nodeMemory = 4 << 20, idleTrees = 2

    /// Runs `body` with a reader of the tree that nobody else has meanwhile.
    func withTree<R>(_ body: (TreeReader) throws -> R) throws -> R {
        let record = box.reader.record
        let tree =
            trees.withLock { $0.popLast() }
            ?? TreeReader(
                source: CachedNodes(self), root: record.root, deltas: record.deltas, cacheBytes: Self.nodeMemory)
        defer {
            trees.withLock { trees in
                if trees.count < Self.idleTrees { trees.append(tree) }
            }
        }
        return try body(tree)
    }

    /// The entry of a path; `nil` when there is none. The root is always there.
    func entry(of path: TreePath) throws -> Entry? {
        if let entry = try withTree({ try $0.lookup(path) }) { return entry }
        return path.isRoot ? Entry(kind: .directory, mode: 0o755, remarks: .ancestor) : nil
    }

    /// All extended attributes of an entry.
    func attributes(of entry: Entry) throws -> [ExtendedAttribute] {
        guard let key = entry.attributesBlob else { return entry.attributes }
        return try AttributeCoding.decode(try blob(key, type: .data).bytes)
    }

    // MARK: Blobs

    private func name(_ key: ContentKey, _ type: BlobType) -> BlobKey {
        BlobKey(key: key, type: type, machine: place.machine, isChecked: isChecked)
    }

    func blob(_ key: ContentKey, type: BlobType) throws -> Blob {
        guard let blob = try blobs([key], type: type)[key] else { throw Self.lost }
        return blob
    }

    /// Blobs, from memory or from the vault. Throws when one of them is lost.
    func blobs(_ keys: [ContentKey], type: BlobType) throws -> [ContentKey: Blob] {
        var found: [ContentKey: Blob] = [:]
        var missing: [ContentKey] = []
        for key in keys where found[key] == nil {
            if let blob = cache.find(name(key, type)) { found[key] = blob } else { missing.append(key) }
        }
        while !missing.isEmpty {
            try load(cache.claim(missing.map { name($0, type) })) { found[$0.key] = $1 }
            var rest: [ContentKey] = []
            for key in missing where found[key] == nil {
                // One that was dropped again at once, in too small a memory, or given up by who read ahead, is asked for again.
                if let blob = try cache.wait(name(key, type)) { found[key] = blob } else { rest.append(key) }
            }
            missing = rest
        }
        return found
    }

    /// Begins to bring data that will be wanted soon: what it claims is to be handed to `load`.
    func claim(_ keys: [ContentKey]) -> [BlobKey] { cache.claim(keys.map { name($0, .data) }) }

    /// Gives claimed blobs up: who waits for one of them brings it.
    func drop(_ claimed: [BlobKey]) { cache.release(claimed) }

    /// Brings what was claimed, all of one type. Nobody waits for ever, whatever happens.
    func load(_ claimed: [BlobKey], _ body: (BlobKey, Blob) -> Void = { _, _ in }) throws {
        guard let type = claimed.first?.type else { return }
        var missing = Set(claimed)
        let fetcher = fetchers.withLock { $0.popLast() } ?? box.reader.makeFetcher()
        defer {
            fetchers.withLock { fetchers in
                if fetchers.count < 8 { fetchers.append(fetcher) }
            }
        }
        do {
            let lost = try fetcher.fetch(claimed.map(\.key), type: type) { index, bytes in
                let blob = Blob(copying: bytes)
                missing.remove(claimed[index])
                cache.fill(claimed[index], blob)
                body(claimed[index], blob)
            }
            if !lost.isEmpty { throw Self.lost }
        } catch {
            cache.fail(Array(missing), error)
            throw error
        }
    }

    static let lost = HoldfastError(
        .damaged, "a part of it is damaged or missing in the vault, and there is no other copy")
}

/// Nodes of trees and lists of extents, from the memory that all points of a machine share: neighbours differ in little.
private final class CachedNodes: NodeSource {
    // The point has the trees, which have this.
    private weak var point: OpenPoint?

    init(_ point: OpenPoint) { self.point = point }

    func node(_ key: ContentKey, type: BlobType) throws -> [UInt8] {
        guard let point else { throw HoldfastError(.internalError, "a point was read after its end") }
        return Array(try point.blob(key, type: type).bytes)
    }
}

/// Readers that nobody uses any more, until somebody has the time to close them.
final class ReaderBin: Sendable {
    private let readers = Mutex<[OpenPoint.Reader]>([])

    func add(_ reader: OpenPoint.Reader) { readers.withLock { $0.append(reader) } }

    /// - Parameter end: when to leave the rest, by the monotonic clock.
    func empty(until end: Int64 = .max) {
        while SystemClock.monotonic < end, let box = readers.withLock({ $0.popLast() }) { box.reader.close() }
    }
}
