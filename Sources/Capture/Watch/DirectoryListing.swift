package import Model
import Platform
package import Vault

/// The names in a directory and what they stand for, to be compared with what is known: see `RollingScan`.
package struct DirectoryListing: Sendable {
    /// Of a directory with more names than this the rest is left to the full scan.
    package static let limit = 50_000

    struct Name: Sendable {
        let name: [UInt8]
        let identity: FileIdentity
        let kind: EntryKind
        let size: UInt64
        /// Bytes that it takes on the disk, and no more than it is long.
        let used: UInt64
        let mtime: FileTime

        /// As far as that is known without reading it.
        func isSame(_ known: CachedEntry) -> Bool {
            known.identity == identity && known.entry.kind == kind && known.entry.mtime == mtime
                && (kind != .regular || known.entry.size == size)
        }
    }

    package let directory: TreePath
    /// Names that were stored since the last scan.
    let stored: [[UInt8]]
    private(set) var names: [Name] = []
    /// It could not be listed to its end, so that nothing can be said to be missing in it.
    private(set) var isPartial = false

    /// Lists a directory. Takes as long as that takes; nothing of it is followed.
    ///
    /// - Parameter stored: names that were stored since the last scan; see `EntryMemory.directories`.
    package init(_ directory: TreePath, stored: [[UInt8]]) {
        self.directory = directory
        self.stored = stored
        do throws(Errno) {
            let root = try FileDescriptor.open([UInt8(ascii: "/")], [.readOnly, .directory])
            let opened = try DirectoryPath.open(directory.bytes, from: root.raw, links: .refused)
            try list(opened)
        } catch {
            // What is not there any more is missing in the directory above.
            isPartial = true
        }
    }

    private mutating func list(_ opened: borrowing FileDescriptor) throws(Errno) {
        var reader = DirectoryReader()
        reader.start(opened.raw)
        while let next = try reader.next() {
            if names.count == DirectoryListing.limit {
                isPartial = true
                return
            }
            let name = Array(next.bytes)
            guard let status = try? FileSystem.status(at: opened.raw, name),
                let kind = EntryKind(rawValue: status.kind.rawValue)
            else { continue }
            names.append(
                Name(
                    name: name, identity: FileIdentity(status), kind: kind, size: status.size,
                    used: status.usedBytes, mtime: FileTime(status.modified)))
        }
    }

    /// What is not as it is known, as the watch would tell of it.
    package func differences(from memory: EntryMemory, _ source: CaptureSource) -> [DirtyFact] {
        var facts: [DirtyFact] = []
        var seen: Set<[UInt8]> = []
        for found in names {
            let path = directory.appending(found.name)
            seen.insert(found.name)
            if !isWanted(found, path, source) { continue }
            guard let known = memory.entry(path.key) else {
                facts.append(found.kind == .directory ? .subtree(path) : .file(path, .metadata))
                continue
            }
            if !found.isSame(known) { facts.append(.file(path, .metadata)) }
        }
        if isPartial { return facts }
        func miss(_ name: [UInt8]) {
            if seen.insert(name).inserted { facts.append(.file(directory.appending(name), .metadata)) }
        }
        memory.known(in: directory) { known in
            if let path = TreePath(key: known.key) { miss(Array(path.name)) }
        }
        for name in stored where memory.entry(directory.appending(name).key) != nil { miss(name) }
        return facts
    }

    /// Whether something in it is protected and not left out.
    func isWanted(_ found: Name, _ path: TreePath, _ source: CaptureSource) -> Bool {
        let isExcluded = path.bytes.withUnsafeBytes { bytes in
            source.exclusions.excludes(
                bytes, nameOffset: bytes.count - found.name.count, isDirectory: found.kind == .directory)
        }
        return !isExcluded && isProtected(path, source)
    }

    /// Above the protected paths only what leads to them is.
    private func isProtected(_ path: TreePath, _ source: CaptureSource) -> Bool {
        source.roots.contains { $0.contains(path) || path.contains($0) }
    }
}
