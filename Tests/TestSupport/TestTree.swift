package import Model
import Vault

/// A name in a point that a test makes up, with all that it is to have.
package struct TestName: Sendable {
    package var path: String
    package var entry: Entry
    package var text: String

    package static func file(
        _ path: String, _ text: String = "", mode: UInt16 = 0o644, uid: UInt32 = 0, gid: UInt32 = 0, user: String = "",
        attributes: [ExtendedAttribute] = []
    ) -> TestName {
        TestName(
            path: path,
            entry: Entry(
                kind: .regular, mode: mode, uid: uid, gid: gid, user: Array(user.utf8), size: UInt64(text.utf8.count),
                mtime: FileTime(seconds: 1_700_000_000, nanoseconds: 5), attributes: attributes), text: text)
    }

    package static func directory(
        _ path: String, mode: UInt16 = 0o755, uid: UInt32 = 0, gid: UInt32 = 0, user: String = "",
        attributes: [ExtendedAttribute] = []
    ) -> TestName {
        TestName(
            path: path,
            entry: Entry(
                kind: .directory, mode: mode, uid: uid, gid: gid, user: Array(user.utf8), attributes: attributes),
            text: "")
    }
}

extension TestWriter {
    /// Keeps nodes until they go into a pack.
    private final class Nodes: NodeSink {
        let make: TestBlobMaker
        var blobs: [TestBlob] = []

        init(_ make: TestBlobMaker) { self.make = make }

        func put(type: BlobType, plain: [UInt8], children: [ContentKey]) throws -> ContentKey {
            let blob = make.blob(type, plain, children.map { BlobCrypto.id(of: $0) })
            if !blobs.contains(where: { $0.id == blob.id }) { blobs.append(blob) }
            return blob.key
        }
    }

    /// A point with these names and nothing else; directories above them that are not named are as root has them.
    ///
    /// - Parameter protected: the paths that are protected; `nil`: the machine as a whole.
    @discardableResult
    package func backup(_ names: [TestName], time: Timestamp, protected: [String]? = nil) throws -> PointID {
        var entries: [[UInt8]: Entry] = [TreePath.root.key: Entry(kind: .directory, mode: 0o755)]
        var contents: [TestBlob] = []
        for name in names {
            guard let path = TreePath(name.path) else { throw HoldfastError(.usage, "no path: \(name.path)") }
            var above = path.parent
            while let directory = above {
                if entries[directory.key] == nil { entries[directory.key] = Entry(kind: .directory, mode: 0o755) }
                above = directory.parent
            }
            var entry = name.entry
            if !name.text.isEmpty {
                let blob = make.data(name.text)
                contents.append(blob)
                entry.content = .extents([Extent(key: blob.key, offset: 0, length: UInt64(name.text.utf8.count))])
            }
            entries[path.key] = entry
        }
        try send(contents)
        let nodes = Nodes(make)
        var builder = TreeBuilder(seed: machine.secrets.domainSecret.treeSeed, sink: nodes)
        for (key, entry) in entries.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            try builder.append(key: key, entry: entry)
        }
        let root = try builder.finish().root
        try send(nodes.blobs)
        var record = PointRecord(root: root)
        let paths = (protected ?? ["/"]).map { Array($0.utf8) }
        record.protectedPaths = paths
        let id = PointID.random()
        let place = position
        let locator = PointLocator(
            vault: machine.secrets.vault, machine: machine.id, incarnation: place.incarnation, point: id,
            number: place.number, time: time, kind: .manual, flags: [],
            series: protected == nil ? 0 : machine.secrets.domainSecret.series(of: paths), previous: place.previous,
            references: [BlobCrypto.id(of: root)])
        try commit(
            try SealedPoint.seal(
                locator: locator, record: record,
                key: RecordKey.fresh(for: machine.secrets.publicKey, vault: machine.secrets.vault),
                signing: machine.secrets.signing))
        return id
    }
}
