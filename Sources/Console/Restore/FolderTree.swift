import Browsing
import Catalog
import Model
import Vault

/// *Where*: the directories on the way to a path with those beside them, as of the time that is looked at.
enum FolderTree {
    /// Directories of one that are shown; half as many further up.
    private static let limit = 100

    /// A page's content with the tree beside it, or folded above it where there is little room.
    static func frame(
        _ place: RestorePlace, directory: TreePath? = nil, listing: MachineFiles.Listing? = nil,
        gone: [MachineFiles.Item] = [], _ content: HTML
    ) throws -> HTML {
        let directory = directory ?? place.path
        let branches = try place.files.branches(to: directory, at: place.point, listing: listing, limit: limit)
        let tree = Tree(place: place, path: directory, branches: branches, gone: gone)
        return """
            <div class="explorer"><details class="where"><summary>Directories</summary>\
            <nav class="tree" aria-label="Directories"><ul>\(tree.tops)</ul></nav></details>
            <div class="what">\(content)</div></div>
            """
    }

    private struct Tree {
        let place: RestorePlace
        let path: TreePath
        let branches: [MachineFiles.Branch]
        let gone: [MachineFiles.Item]

        /// Where it begins: at the root, or at each part that is somebody's own.
        var tops: [HTML] {
            let first = branches.first?.directory
            guard let sight = place.files.sight else { return [node(first ?? .root)] }
            var tops: [TreePath] = []
            for part in sight.places where !tops.contains(part.path) { tops.append(part.path) }
            // Of a deep path the upper part is left out.
            if let first, !tops.contains(first) {
                tops = tops.map { $0.contains(first) ? first : $0 }
            }
            return tops.map { node($0, isTop: true) }
        }

        /// A directory, and what is in it when it is on the way.
        private func node(_ directory: TreePath, isTop: Bool = false) -> HTML {
            let name =
                directory.isRoot
                ? place.machine.name : isTop ? directory.displayText : TreePath.display(directory.name)
            let mark: HTML = directory == path ? " aria-current=\"\(path == place.path ? "page" : "true")\"" : .nothing
            let branch = branches.first { $0.directory == directory }
            let state: HTML = branch == nil ? .nothing : " class=\"open\""
            return """
                <li><a\(state)\(mark) href="\(place.address(path: directory))">\(name)</a>\
                \(branch.map { below($0) } ?? .nothing)</li>
                """
        }

        private func below(_ branch: MachineFiles.Branch) -> HTML {
            var nodes = branch.folders.map { node($0) }
            if branch.directory == path {
                nodes += gone.filter { $0.entry.kind == .directory }.map { item in
                    """
                    <li><a class="gone" href="\(place.address(path: item.path, point: item.lastPoint))">\
                    \(TreePath.display(item.path.name))<span class="unseen">, deleted</span></a></li>
                    """
                }
            }
            if branch.isMore {
                let name = branch.directory.isRoot ? place.machine.name : TreePath.display(branch.directory.name)
                nodes.append(
                    "<li><a class=\"more\" href=\"\(place.address(path: branch.directory))\">more in \(name) …</a></li>"
                )
            }
            return nodes.isEmpty ? .nothing : "<ul>\(nodes)</ul>"
        }
    }
}
