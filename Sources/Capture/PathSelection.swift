package import Model

/// Some of the protected paths, to be looked at without walking the rest.
///
/// What is protected at all is still for the roots and rules of a `CaptureSource` to say.
package struct PathSelection: Sendable {
    /// Paths to be looked at themselves, not what is below them.
    package let shallow: Set<TreePath>
    /// Paths to be looked at with all below them.
    package let deep: Set<TreePath>
    /// For each directory on the way the names that lead to something selected.
    private let ways: [[UInt8]: Set<[UInt8]>]

    package init(shallow: Set<TreePath>, deep: Set<TreePath> = []) {
        self.shallow = shallow
        self.deep = deep
        var ways: [[UInt8]: Set<[UInt8]>] = [:]
        for path in shallow.union(deep) {
            var path = path
            while let parent = path.parent, ways[parent.bytes, default: []].insert(Array(path.name)).inserted {
                path = parent
            }
        }
        self.ways = ways
    }

    package var isEmpty: Bool { shallow.isEmpty && deep.isEmpty }
    package var count: Int { shallow.count + deep.count }

    /// The names in a directory that lead to something selected, sorted.
    func names(in directory: [UInt8]) -> [[UInt8]] {
        (ways[directory] ?? []).sorted { $0.lexicographicallyPrecedes($1) }
    }

    /// Whether anything below a directory is selected.
    func leads(into directory: [UInt8]) -> Bool { ways[directory] != nil }
}

extension TreePath {
    /// The database that this would be the write-ahead log of by its name.
    package var ofDatabaseLog: TreePath? {
        guard let parent else { return nil }
        let name = Array(self.name)
        return name.withUnsafeBytes { name in
            SQLiteSnapshot.database(ofLog: name).map { parent.appending(Array($0)) }
        }
    }
}
