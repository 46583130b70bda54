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

    private var lease: LeaseID?
    private let contents: EntryContents
    private var isClosed = false

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
        let source = FetchedNodes(BlobFetcher(service: service, checker: checker))
        contents = EntryContents(fetcher: source.fetcher, nodes: source)
        tree = TreeReader(source: source, root: record.root, deltas: record.deltas, cacheBytes: cacheBytes)
    }

    deinit { close() }

    /// Gives the lease back. Calling it again changes nothing.
    package func close() {
        if isClosed { return }
        isClosed = true
        if let lease { service.closeLease(lease) }
    }

    /// Takes a new lease and gives the old one back: for readers that stay open for days, behind a server that may have been
    /// restarted and has forgotten the old one. May be called beside threads that fetch, never beside `close`.
    ///
    /// Throws `notFound` when the point is gone.
    package func renewLease() throws {
        guard !isClosed, let old = lease else { return }
        lease = try service.openLease(.reader([point])).id
        service.closeLease(old)
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
    package func attributes(of entry: Entry) throws -> [ExtendedAttribute] { try contents.attributes(of: entry) }

    /// Streams the content of a regular file; see `EntryContents.read`.
    package func read(
        _ entry: Entry, from start: UInt64 = 0, length: UInt64? = nil, _ body: (UnsafeRawBufferPointer) throws -> Bool
    ) throws { try contents.read(entry, from: start, length: length, body) }
}
