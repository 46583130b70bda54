package import Model
package import Vault

extension MachineFiles {
    /// A directory with those in it.
    package struct Branch: Sendable {
        package var directory: TreePath
        package var folders: [TreePath] = []
        /// There are more, or not all names were looked at.
        package var isMore = false
    }

    /// Levels of a tree, the deepest; what is above them is left out.
    private static let levels = 20
    /// Names that are looked at for one tree: among a million files the directories are not searched for.
    private static let mostLooks = 6_000

    /// The directories on the way to a path, each with at most `limit` of those in it, from the top down: from the root, or from the
    /// part that who asks may see. What is not there is left out; a directory on the way is always in the list of the one above it.
    ///
    /// - Parameter listing: of the path from its first name on, when it was read already.
    package func branches(
        to path: TreePath, at point: PointSummary, listing: Listing? = nil, limit: Int
    ) throws -> [Branch] {
        let top = sight.map { sight in sight.places.map(\.path).first { $0.contains(path) } } ?? .root
        guard let top else { return [] }
        var way: [TreePath] = []
        var above: TreePath? = path
        while let directory = above, top.contains(directory), way.count < Self.levels {
            way.append(directory)
            above = directory.parent
        }
        return try view(point.id) { view in
            var looks = Self.mostLooks
            var branches: [Branch] = []
            // What is nearest matters most.
            for (index, directory) in way.enumerated() {
                guard try view.entry(of: directory)?.kind == .directory else { continue }
                var branch = Branch(directory: directory)
                if index == 0, let listing {
                    let folders = listing.items.filter { $0.entry.kind == .directory }.map(\.path)
                    branch.folders = Array(folders.prefix(limit))
                    branch.isMore = listing.isMore || folders.count > limit
                    branches.append(branch)
                    continue
                }
                // Half of what is left: one large directory does not take it all.
                var share = max(looks / 2, min(looks, 500))
                looks -= share
                (branch.folders, branch.isMore) = try view.directories(
                    in: directory, limit: index < 2 ? limit : limit / 2, looks: &share)
                looks += share
                if let next = branches.last?.directory, !branch.folders.contains(next) { branch.folders.append(next) }
                branches.append(branch)
            }
            return branches.reversed()
        }
    }
}

extension PointView {
    /// At most `limit` directories in a directory that are shown, in the order of their names, and whether there may be more; `looks`
    /// counts down the names that may be looked at for that.
    func directories(in directory: TreePath, limit: Int, looks: inout Int) throws -> ([TreePath], isMore: Bool) {
        var found: [TreePath] = []
        var isMore = false
        guard try mayList(directory) else { return (found, false) }
        try reader.tree.list(directory) { item in
            isMore = looks <= 0
            if isMore { return false }
            looks -= 1
            let entry = try item.entry()
            guard entry.kind == .directory else { return true }
            let path = directory.appending(item.name)
            guard try shows(path, entry) else { return true }
            isMore = found.count == limit
            if !isMore { found.append(path) }
            return !isMore
        }
        return (found, isMore)
    }
}
