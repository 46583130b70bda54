package import Model
import Vault

/// What the local history says of a path.
extension SpoolIndex {
    /// The versions of a path, oldest first. Of what was there before the first one nothing is known here.
    package func versions(of path: TreePath) throws -> [SpoolVersion] {
        let ancestors = SpoolIndex.ancestors(of: path)
        return try read { session in
            var versions: [Int64: SpoolVersion] = [:]
            let select: SQLText =
                """
                SELECT change.sequence, moment.time, moment.state, change.what, change.entry, change.access,
                moment.point FROM change
                JOIN moment ON moment.sequence = change.sequence WHERE change.path = $1 ORDER BY change.sequence
                """
            for ancestor in ancestors {
                try session.prepare(select).rows([.bytes(ancestor)]) { row in
                    if SpoolSchema.What(rawValue: row.integer(3)) == .emptied {
                        versions[row.integer(0)] = SpoolVersion(
                            sequence: row.integer(0), time: row.time(1), entry: nil, access: [],
                            isSent: row.integer(2) == SpoolSchema.MomentState.sent.rawValue,
                            point: row.isNull(6) ? nil : try row.identifier(6))
                    }
                    return true
                }
            }
            // What a moment says of the path itself counts more than that it emptied a directory above.
            try session.prepare(select).rows([.bytes(path.key)]) { row in
                let what = SpoolSchema.What(rawValue: row.integer(3))
                if what == .emptied { return true }
                versions[row.integer(0)] = SpoolVersion(
                    sequence: row.integer(0), time: row.time(1),
                    entry: what == .put ? try CachedEntry(decoding: row.bytes(4), key: path.key) : nil,
                    access: row.bytes(5),
                    isSent: row.integer(2) == SpoolSchema.MomentState.sent.rawValue,
                    point: row.isNull(6) ? nil : try row.identifier(6))
                return true
            }
            return versions.values.sorted { $0.sequence < $1.sequence }
        }
    }

    private static func ancestors(of path: TreePath) -> [[UInt8]] {
        var keys: [[UInt8]] = []
        var above = path.parent
        while let directory = above {
            keys.append(directory.key)
            above = directory.parent
        }
        return keys
    }
}
