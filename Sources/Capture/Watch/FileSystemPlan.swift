package import Model
package import Platform

/// A part of a file system that can be seen at a place in the tree of names.
package struct WatchPlace: Hashable, Sendable {
    /// Where it can be seen.
    package var mountPoint: TreePath
    /// What of the file system can be seen there: a path from its top.
    package var part: TreePath
    /// The number of the mount; of an overlay the mount that its upper directory lies on.
    package var mount: UInt64
    /// It is seen through an overlay: directories in it are merged with others that nobody writes to.
    package var isOverlay: Bool
}

/// A file system to watch, and where what is on it can be seen.
package struct PlannedFileSystem: Hashable, Sendable {
    package var device: UInt64
    package var type: String
    package var source: [UInt8]
    /// The places that matter for what is protected; at least one.
    package var places: [WatchPlace]
    /// All mounts of the file system: through any of them its directories can be opened.
    package var mounts: [MountEntry]
    /// Only scans can find changes there; why, for people.
    package var obstacle: String?

    /// For status and facts: the first place that matters.
    package var mountPoint: TreePath { places[0].mountPoint }

    /// What its facts of a loss name: every place that matters.
    package var mountPoints: [TreePath] { places.map(\.mountPoint) }
}

/// Which file systems what is protected lies on.
package enum FileSystemPlan {
    /// Types whose contents others can change without this kernel noticing.
    private static let remote: Set<String> = [
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "9p", "virtiofs", "lustre", "afs", "ocfs2", "gfs2", "glusterfs",
        "coda", "orangefs", "beegfs", "gpfs",
    ]
    /// Types whose contents the kernel makes up.
    private static let pseudo: Set<String> = [
        "proc", "sysfs", "cgroup", "cgroup2", "devtmpfs", "devpts", "debugfs", "tracefs", "securityfs", "bpf", "pstore",
        "mqueue", "binfmt_misc", "configfs", "fusectl", "autofs", "efivarfs", "nsfs", "rpc_pipefs", "selinuxfs",
        "hugetlbfs", "nfsd", "pidfs",
    ]

    /// The file systems of the roots, and with `crossing` also those mounted below them, by their first place.
    ///
    /// - Parameter exists: whether a path (with its slash) is a directory; asked for the upper directories of overlays.
    package static func make(
        _ table: MountTable, roots: [TreePath], crossing: Bool, exists: ([UInt8]) -> Bool
    ) -> [PlannedFileSystem] {
        var chosen: [MountEntry] = []
        var known: Set<UInt64> = []
        func choose(_ entry: MountEntry) {
            if !pseudo.contains(entry.type), known.insert(entry.id).inserted { chosen.append(entry) }
        }
        // What a later mount on the same place hides cannot be seen there.
        var visible: [TreePath: MountEntry] = [:]
        for entry in table.entries { if let point = path(entry.mountPoint) { visible[point] = entry } }
        let below = visible.sorted { $0.key.bytes.lexicographicallyPrecedes($1.key.bytes) }
        for root in roots {
            if let entry = mount(of: root, in: table) { choose(entry) }
            guard crossing else { continue }
            for (point, entry) in below where root.contains(point) { choose(entry) }
        }
        var found: [PlannedFileSystem] = []
        for entry in chosen {
            guard let mountPoint = path(entry.mountPoint) else { continue }
            var lower = entry
            var place: WatchPlace?
            var obstacle: String?
            if entry.type == "overlay" {
                switch upper(of: entry, in: table, exists: exists) {
                case .success(let (below, part)):
                    lower = below
                    place = WatchPlace(mountPoint: mountPoint, part: part, mount: below.id, isOverlay: true)
                case .failure(let reason): obstacle = reason.text
                }
            }
            if obstacle == nil { obstacle = self.obstacle(lower) }
            let seen =
                place
                ?? WatchPlace(
                    mountPoint: mountPoint, part: path(entry.root) ?? .root, mount: entry.id, isOverlay: false)
            if let index = found.firstIndex(where: { $0.device == lower.device }) {
                found[index].places.append(seen)
            } else {
                found.append(
                    PlannedFileSystem(
                        device: lower.device, type: entry.type, source: lower.source, places: [seen],
                        mounts: table.entries.filter { $0.device == lower.device }, obstacle: obstacle))
            }
        }
        return found
    }

    /// The mount that a path is on: the last of those with the longest mount point.
    static func mount(of wanted: TreePath, in table: MountTable) -> MountEntry? {
        var best: (entry: MountEntry, length: Int)?
        for entry in table.entries {
            guard let point = path(entry.mountPoint), point.contains(wanted) else { continue }
            if best.map({ point.bytes.count >= $0.length }) ?? true { best = (entry, point.bytes.count) }
        }
        return best?.entry
    }

    /// A mount's path in normal form.
    static func path(_ bytes: [UInt8]) -> TreePath? { TreePath(normalizing: bytes) }

    private static func obstacle(_ entry: MountEntry) -> String? {
        if remote.contains(entry.type) {
            return "\(entry.type) is a network file system, whose changes by others this kernel does not see"
        }
        if entry.type == "fuse" || entry.type.hasPrefix("fuse.") || entry.type == "fuseblk" {
            return "\(entry.type) is served by a program, whose own changes the kernel does not see"
        }
        return nil
    }

    private struct Reason: Error { let text: String }

    /// The mount that an overlay's upper directory lies on, and where on its file system.
    private static func upper(
        of entry: MountEntry, in table: MountTable, exists: ([UInt8]) -> Bool
    ) -> Result<(MountEntry, TreePath), Reason> {
        guard let option = entry.option("upperdir") else {
            return .failure(Reason(text: "the overlay has no upper directory"))
        }
        // Older kernels keep the backslash before a comma or colon as it was given to mount.
        let candidates = [option, option.filter { $0 != UInt8(ascii: "\\") }]
        guard let upper = candidates.first(where: { $0.first == UInt8(ascii: "/") && exists($0) }),
            let directory = path(upper), let below = mount(of: directory, in: table),
            let point = path(below.mountPoint), let part = path(below.root)
        else {
            return .failure(Reason(text: "the overlay's upper directory cannot be found from here"))
        }
        if below.type == "overlay" {
            return .failure(Reason(text: "the overlay's upper directory lies on another overlay"))
        }
        let rest = directory.bytes.dropFirst(point.isRoot ? 0 : point.bytes.count + 1)
        return .success((below, rest.isEmpty ? part : joined(part, rest)))
    }

    /// `rest` below `path`, both in normal form.
    static func joined(_ path: TreePath, _ rest: some Collection<UInt8>) -> TreePath {
        if rest.isEmpty { return path }
        return path.appending(rest)
    }
}
