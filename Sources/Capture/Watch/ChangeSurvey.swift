package import Model
import Platform
package import Vault

/// What has changed below a directory, by names, sizes and times alone: how much a look at all of it would store at most, before
/// anything of it is read.
package struct ChangeSurvey: Sendable {
    /// Something that is new, gone, or not as it is known.
    package struct Found: Hashable, Sendable {
        package var path: TreePath
        /// Bytes of its content on the disk; 0 for what has none.
        package var bytes: UInt64
    }

    /// Names that are looked at.
    package static let limit = 500_000

    /// All that was found, the directory itself among it.
    package private(set) var found: [Found] = []
    /// Bytes of all of it.
    package private(set) var bytes: UInt64 = 0
    /// There is more than is looked at here.
    package private(set) var isPartial = false

    package init(
        of directory: TreePath, beside memory: EntryMemory, _ source: CaptureSource, limit: Int = ChangeSurvey.limit
    ) {
        var own: UInt64 = 0
        if let status = try? FileSystem.status([UInt8(ascii: "/")] + directory.bytes), status.kind == .regular {
            own = status.usedBytes
        }
        add(directory, own)
        var seen: Set<TreePath> = []
        var ahead = [directory]
        while let next = ahead.popLast() {
            let listing = DirectoryListing(next, stored: [])
            if listing.names.count >= DirectoryListing.limit || seen.count + listing.names.count > limit {
                isPartial = true
                return
            }
            for name in listing.names {
                let path = next.appending(name.name)
                if !listing.isWanted(name, path, source) { continue }
                seen.insert(path)
                if name.kind == .directory { ahead.append(path) }
                if let known = memory.entry(path.key), name.isSame(known) { continue }
                add(path, name.kind == .regular ? name.used : 0)
            }
        }
        memory.forEach(below: directory) { known in
            if let path = TreePath(key: known.key), !seen.contains(path) { add(path, 0) }
        }
    }

    private mutating func add(_ path: TreePath, _ bytes: UInt64) {
        found.append(Found(path: path, bytes: bytes))
        self.bytes += bytes
    }
}
