import Model
import Vault

/// The entries that a restore of some paths touches, in the order of the tree: the paths, what is below them, and the
/// directories on the way to them.
struct PathSelection {
    /// Why an entry is there.
    enum Role {
        /// It was asked for, or lies below what was.
        case chosen
        /// A directory on the way to what was asked for.
        case passage
    }

    /// A piece of the tree's order.
    private enum Unit {
        case one(key: [UInt8], Role)
        case below(prefix: [UInt8])

        var start: [UInt8] {
            switch self {
            case .one(let key, _): key
            case .below(let prefix): prefix
            }
        }
    }

    private var units: [Unit] = []
    /// The paths without those that lie below others.
    let paths: [TreePath]

    init(_ wanted: [TreePath]) {
        var kept: [TreePath] = []
        // Sorted by their components, what lies below a path follows it at once.
        let sorted = Set(wanted).sorted {
            $0.bytes.lexicographicallyPrecedes($1.bytes, by: { PathSelection.rank($0) < PathSelection.rank($1) })
        }
        for path in sorted where kept.last?.contains(path) != true { kept.append(path) }
        paths = kept
        if kept.first?.isRoot == true {
            units = [.below(prefix: [])]
            return
        }
        var passages: Set<TreePath> = []
        for path in kept {
            units.append(.one(key: path.key, .chosen))
            units.append(.below(prefix: path.subtreePrefix))
            var above = path.parent
            while let passage = above, passages.insert(passage).inserted {
                units.append(.one(key: passage.key, .passage))
                above = passage.parent
            }
        }
        units.sort { $0.start.lexicographicallyPrecedes($1.start) }
    }

    /// A slash ranks below every other byte, so that a directory's contents follow it directly.
    private static func rank(_ byte: UInt8) -> UInt8 { byte == UInt8(ascii: "/") ? 0 : byte }

    /// Gives every entry with its role to `body`.
    ///
    /// - Parameter missing: gets each asked path that the point does not have.
    func forEach(
        in tree: TreeReader, missing: (TreePath) throws -> Void, _ body: (TreeItem, Role) throws -> Void
    ) throws {
        for unit in units {
            switch unit {
            case .one(let key, let role):
                if let item = try tree.find(key) {
                    try body(item, role)
                } else if role == .chosen, let path = TreePath(key: key) {
                    try missing(path)
                }
            case .below(let prefix):
                try tree.scan(from: prefix, prefix: prefix) { item in
                    try body(item, .chosen)
                    return true
                }
            }
        }
    }
}
