import Model
import Platform
import Synchronization
import Vault

/// Walks the protected paths in the order of the tree's keys and cuts what it finds into batches.
///
/// The order is: all names of a directory, sorted by bytes, then what lies below each of its directories in the same
/// order. Beside the walk runs a cursor over the cache of the run before, which is in the same order, so that an
/// unchanged file costs one `statx`.
final class TreeWalker {
    private struct Frame {
        let path: [UInt8]
        /// The prefix of the keys of the names in this directory.
        let prefix: [UInt8]
        var handle: DirectoryHandle?
        let device: UInt64
        let inode: UInt64
        /// Lies above what is protected: names in it are only on the way.
        let isAbove: Bool
        /// All below it is looked at, as far as it is protected.
        let isDeep: Bool
        /// Only these names of it are looked at.
        let only: [[UInt8]]?
        /// Names of the directories to descend into, each with its terminator.
        var below: [UInt8] = []
        var belowStarts: [Int] = []
        var next = 0
    }

    /// Directories kept open on the way down; beyond it those further up are opened again on the way back.
    private static let openFrames = 128
    private static let batchItems = 512

    private let source: CaptureSource
    private let cache: (any KnownEntries)?
    private let selection: PathSelection?
    private let damaged: Set<BlobID>
    private let slabs: SlabPool
    private let progress: CaptureProgress
    private let emit: (CaptureBatch) throws -> Void
    /// Protected paths that were selected, or lie on the way to one, and are not there.
    private(set) var gone: [TreePath] = []

    private var reader = DirectoryReader()
    private var names = NameList()
    private var batch = CaptureBatch()
    private var links: [CaptureSource.FileNode: (cell: LinkCell, remaining: UInt32)] = [:]
    private var nameBuffer: [UInt8] = []
    /// The names in the directory at hand that have a log of SQLite beside them; `nil` when it is not listed.
    private var logged: Set<[UInt8]>?
    /// The protected paths that were met.
    private var reached: Set<[UInt8]> = []
    /// Those that were warned of.
    private var complained: Set<[UInt8]> = []
    /// What first stood in the way to a protected path.
    private var obstacle: (path: [UInt8], error: Errno)?
    /// The file systems of the run before, by what they are now: their numbers change between two starts of a machine.
    private var devicesBefore: [UInt64: UInt64] = [:]

    /// - Parameters:
    ///   - selection: what is to be looked at; `nil`: everything.
    ///   - emit: takes each batch in order; blocks when there are too many on their way.
    init(
        source: CaptureSource, selection: PathSelection? = nil, cache: (any KnownEntries)?, damaged: Set<BlobID>,
        slabs: SlabPool, progress: CaptureProgress, emit: @escaping (CaptureBatch) throws -> Void
    ) {
        self.source = source
        self.selection = selection
        self.cache = cache
        self.damaged = damaged
        self.slabs = slabs
        self.progress = progress
        self.emit = emit
    }

    /// Walks everything.
    func run() throws {
        let handle: DirectoryHandle
        let status: FileStatus
        do {
            handle = DirectoryHandle(try FileDescriptor.open([UInt8(ascii: "/")], [.readOnly, .directory]))
            status = try handle.descriptor.status()
        } catch {
            throw HoldfastError(.io, "cannot open the root directory: \(error)", cause: error)
        }
        let isAbove = source.roots != [.root]
        if let before = add(key: [], name: [], directory: handle, status: status, isAncestor: isAbove) {
            devicesBefore[status.device] = before
        }
        if !isAbove { reached.insert([]) }
        let isDeep = selection?.deep.contains(.root) ?? true
        var stack = [frame(path: [], handle: handle, status: status, isAbove: isAbove, isDeep: isDeep)]
        try list(&stack[0])
        while var top = stack.popLast() {
            if progress.stopRequested.load(ordering: .relaxed) {
                throw HoldfastError(
                    .cancelled,
                    "the backup was stopped; nothing of it is visible, and what was read so far is not read again")
            }
            guard top.next < top.belowStarts.count else {
                if var parent = stack.popLast() {
                    if parent.handle == nil, parent.next < parent.belowStarts.count {
                        parent.handle = reopen(parent, from: top)
                    }
                    stack.append(parent)
                }
                continue
            }
            let start = top.belowStarts[top.next]
            let end = top.next + 1 < top.belowStarts.count ? top.belowStarts[top.next + 1] : top.below.count
            let name = Array(top.below[start..<(end - 1)])
            top.next += 1
            let handle = top.handle
            let child = descend(into: name, of: top, handle: handle)
            stack.append(top)
            guard var child else { continue }
            try list(&child)
            stack.append(child)
            if stack.count > TreeWalker.openFrames { stack[stack.count - 1 - TreeWalker.openFrames].handle = nil }
        }
        if selection == nil { try checkRoots() }
        try send()
        progress.walkIsComplete.store(true, ordering: .releasing)
    }

    /// A protected path that was never met must not look like a backup of it.
    private func checkRoots() throws {
        let missed = source.roots.filter { !reached.contains($0.bytes) }
        if missed.count == source.roots.count, let first = missed.first {
            let others = missed.count > 1 ? " and the other paths" : ""
            if let obstacle {
                throw HoldfastError(
                    obstacle.error.isDenied ? .denied : .io,
                    "\(first.displayText)\(others) could not be reached; nothing was stored: "
                        + "\(TreePath(unchecked: obstacle.path).displayText): \(obstacle.error)", cause: obstacle.error)
            }
            throw HoldfastError(
                .notFound, "\(first.displayText)\(others) could not be reached; nothing was stored",
                context: ["hint": "Is something not mounted, or was a directory on the way replaced?"])
        }
        for root in missed where !complained.contains(root.bytes) {
            warn(.vanished, root.bytes, "it was not reached: what lies above it is no directory, or cannot be entered")
        }
    }

    // MARK: Directories

    private func frame(
        path: [UInt8], handle: DirectoryHandle, status: FileStatus, isAbove: Bool, isDeep: Bool
    ) -> Frame {
        var only = isAbove ? ancestorNames(of: path) : nil
        if let selection, !isDeep {
            let names = selection.names(in: path)
            only = only.map { only in names.filter { only.contains($0) } } ?? names
        }
        return Frame(
            path: path, prefix: TreePath(unchecked: path).childrenPrefix, handle: handle, device: status.device,
            inode: status.inode, isAbove: isAbove, isDeep: isDeep, only: only)
    }

    /// The names in `path` that lead to protected paths, sorted.
    private func ancestorNames(of path: [UInt8]) -> [[UInt8]] {
        let depth = TreePath(unchecked: path).components.count
        var found: Set<[UInt8]> = []
        for root in source.roots where TreePath(unchecked: path).contains(root) {
            let components = root.components
            if components.count > depth { found.insert(Array(components[depth])) }
        }
        return found.sorted { $0.lexicographicallyPrecedes($1) }
    }

    private func childPath(_ frame: Frame, _ name: [UInt8]) -> [UInt8] {
        frame.path.isEmpty ? name : frame.path + [UInt8(ascii: "/")] + name
    }

    private func descend(into name: [UInt8], of parent: Frame, handle: DirectoryHandle?) -> Frame? {
        let path = childPath(parent, name)
        guard let handle else {
            warn(.io, path, "its directory could not be opened again")
            return nil
        }
        do throws(Errno) {
            let isAncestor = parent.isAbove && !source.roots.contains { $0.bytes == path }
            let child = DirectoryHandle(
                try withCName(name) { pointer throws(Errno) in
                    // Nothing but one name of it is looked at: it need not be readable.
                    var isReference = false
                    return isAncestor
                        ? try FileDescriptor.openPassage(at: handle.raw, pointer, isReference: &isReference)
                        : try FileDescriptor.openDirectory(at: handle.raw, pointer)
                })
            let status = try child.descriptor.status()
            let isDeep = parent.isDeep || selection?.deep.contains(TreePath(unchecked: path)) == true
            return frame(path: path, handle: child, status: status, isAbove: isAncestor, isDeep: isDeep)
        } catch {
            if selection != nil, error == .noEntry || error == .notDirectory || error == .symbolicLink {
                // It went just now, of which there will be word.
                return nil
            }
            if error == .noEntry {
                warn(.vanished, path, "the directory was removed while the backup ran")
            } else {
                warn(error.isDenied ? .denied : .io, path, "the directory cannot be opened: \(error)")
                if parent.only != nil, obstacle == nil { obstacle = (path, error) }
            }
            return nil
        }
    }

    /// Opens a directory again from one of its children, or from the top when the child was moved meanwhile.
    private func reopen(_ frame: Frame, from child: Frame) -> DirectoryHandle? {
        if let handle = child.handle,
            let up = try? FileDescriptor.open(
                at: handle.raw, Array("..".utf8),
                frame.only == nil ? [.readOnly, .directory] : [.pathOnly, .directory])
        {
            let opened = DirectoryHandle(up)
            if let status = try? opened.descriptor.status(), status.device == frame.device, status.inode == frame.inode
            {
                return opened
            }
        }
        guard var current = try? FileDescriptor.open([UInt8(ascii: "/")], [.readOnly, .directory]) else { return nil }
        let components = TreePath(unchecked: frame.path).components
        for (index, component) in components.enumerated() {
            let isLast = index == components.count - 1 && frame.only == nil
            let flags: OpenFlags = isLast ? [.readOnly, .directory] : [.pathOnly, .directory]
            guard let next = try? FileDescriptor.open(at: current.raw, Array(component), flags) else {
                return nil
            }
            current = next
        }
        return DirectoryHandle(current)
    }

    private func list(_ frame: inout Frame) throws {
        guard let handle = frame.handle else { return }
        logged = nil
        if let only = frame.only {
            if source.excludeCaches, !frame.isAbove, CacheDirectoryTag.isPresent(in: handle.raw) { return }
            for name in only {
                nameBuffer.removeAll(keepingCapacity: true)
                nameBuffer.append(contentsOf: name)
                nameBuffer.append(0)
                try nameBuffer.withUnsafeBytes { bytes in
                    try visit(UnsafeRawBufferPointer(rebasing: bytes.dropLast()), in: &frame, handle)
                }
            }
            return
        }
        do throws(Errno) {
            try names.read(handle.raw, with: &reader)
        } catch {
            warn(.io, frame.path, "the directory cannot be listed: \(error)")
            return
        }
        var logged: Set<[UInt8]> = []
        for index in 0..<names.count {
            if let database = SQLiteSnapshot.database(ofLog: names.name(index)) { logged.insert(Array(database)) }
        }
        self.logged = logged
        if names.count == 0, source.roots.contains(where: { $0.bytes == frame.path }) {
            let path = TreePath(unchecked: frame.path)
            progress.remarks.withLock { $0.emptyRoots.append(path) }
            if cache?.hasKey(beginningWith: frame.prefix) == true {
                warn(.mount, frame.path, "it is empty and was not at the last backup: is something not mounted?")
            }
        }
        if source.excludeCaches, isCacheDirectory(handle) { return }
        for index in 0..<names.count { try visit(names.name(index), in: &frame, handle) }
    }

    private func isCacheDirectory(_ handle: DirectoryHandle) -> Bool {
        Array("CACHEDIR.TAG".utf8).withUnsafeBytes { tag in
            names.index(of: tag) != nil && CacheDirectoryTag.isPresent(in: handle.raw)
        }
    }

    // MARK: Names

    /// `name` has a terminator right behind it.
    private func visit(_ name: UnsafeRawBufferPointer, in frame: inout Frame, _ handle: DirectoryHandle) throws {
        let pointer = name.baseAddress!.assumingMemoryBound(to: CChar.self)
        let status: FileStatus
        do throws(Errno) {
            status = try FileSystem.status(at: handle.raw, pointer)
        } catch {
            let path = childPath(frame, Array(name))
            if frame.isAbove, error == .noEntry {
                warn(.vanished, path, "it does not exist")
            } else if selection != nil, error == .noEntry || error == .notDirectory {
                gone.append(TreePath(unchecked: path))
            } else if error != .noEntry {
                warn(error.isDenied ? .denied : .io, path, "its status cannot be read: \(error)")
                if frame.isAbove, obstacle == nil { obstacle = (path, error) }
            }
            return
        }
        let isRoot: Bool
        let isAncestor: Bool
        if frame.isAbove {
            let path = childPath(frame, Array(name))
            isRoot = source.roots.contains { $0.bytes == path }
            isAncestor = !isRoot
            if isRoot { reached.insert(path) }
        } else {
            isRoot = false
            isAncestor = false
            if !source.exclusions.isEmpty {
                let path = childPath(frame, Array(name))
                let isExcluded = path.withUnsafeBytes { bytes in
                    source.exclusions.excludes(
                        bytes, nameOffset: bytes.count - name.count, isDirectory: status.kind == .directory)
                }
                if isExcluded { return }
            }
        }
        if status.kind == .regular, let limit = source.maximumFileSize, status.size > limit {
            progress.filesTooLarge.wrappingAdd(1, ordering: .relaxed)
            // What was smaller before is not kept any more.
            if selection != nil { gone.append(TreePath(unchecked: childPath(frame, Array(name)))) }
            return
        }
        if status.kind == .regular, SQLiteSnapshot.isNeeded(name, at: handle.raw) == false {
            // What is in it is captured with its database.
            if selection != nil { gone.append(TreePath(unchecked: childPath(frame, Array(name)))) }
            return
        }
        guard frame.prefix.count + name.count <= FormatLimits.keyLength else {
            warn(.unsupported, childPath(frame, Array(name)), "the path is longer than 64 KiB")
            return
        }
        var key = [UInt8]()
        key.reserveCapacity(frame.prefix.count + name.count)
        key.append(contentsOf: frame.prefix)
        key.append(contentsOf: name)
        let before = add(key: key, name: name, directory: handle, status: status, isAncestor: isAncestor)
        if let before { compareMount(before, status, name, frame, isRoot: isRoot, isAncestor: isAncestor) }
        progress.entriesSeen.wrappingAdd(1, ordering: .relaxed)
        if status.kind == .regular {
            progress.filesSeen.wrappingAdd(1, ordering: .relaxed)
            progress.bytesSeen.wrappingAdd(status.size, ordering: .relaxed)
            if isRoot { warnOfKernelFile(name, frame, handle) }
        }
        if status.kind == .directory, isSelected(below: name, of: frame),
            shouldDescend(status, name, frame, handle, isProtectedRoot: isRoot, isAncestor)
        {
            frame.belowStarts.append(frame.below.count)
            frame.below.append(contentsOf: name)
            frame.below.append(0)
        }
        let isFull =
            batch.items.count >= TreeWalker.batchItems
            || batch.slabUsed > slabs.slabSize - BundleRule.smallFileLimit
        if isFull { try send() }
    }

    private func isSelected(below name: UnsafeRawBufferPointer, of frame: Frame) -> Bool {
        guard let selection, !frame.isDeep else { return true }
        let path = childPath(frame, Array(name))
        return selection.leads(into: path) || selection.deep.contains(TreePath(unchecked: path))
    }

    private func shouldDescend(
        _ status: FileStatus, _ name: UnsafeRawBufferPointer, _ frame: Frame, _ handle: DirectoryHandle,
        isProtectedRoot: Bool, _ isAncestor: Bool
    ) -> Bool {
        if source.ownDirectories.contains(.init(device: status.device, inode: status.inode)) {
            let path = TreePath(unchecked: childPath(frame, Array(name)))
            if isProtectedRoot || isAncestor {
                warn(
                    .unsupported, path.bytes,
                    "it is a vault or the state of holdfast, which is never protected into itself")
            } else {
                progress.remarks.withLock { $0.ownDirectories.append(path) }
            }
            return false
        }
        if status.device == frame.device || isAncestor { return true }
        if source.oneFileSystem && !isProtectedRoot { return false }
        if isKernelFileSystem(at: handle.raw, Array(name)) {
            if isProtectedRoot {
                warn(.unsupported, childPath(frame, Array(name)), "a file system of the kernel holds nothing to keep")
            }
            return false
        }
        return true
    }

    /// Compares where a directory lies with where it lay at the last backup: an empty mount point is a good directory, and
    /// a backup of it would look like one of what belongs there.
    private func compareMount(
        _ before: UInt64, _ status: FileStatus, _ name: UnsafeRawBufferPointer, _ frame: Frame, isRoot: Bool,
        isAncestor: Bool
    ) {
        guard let known = devicesBefore[status.device] else {
            devicesBefore[status.device] = before
            if isRoot, status.device != frame.device, devicesBefore[frame.device] == before {
                warn(
                    .mount, childPath(frame, Array(name)),
                    "another file system is mounted on it, which was not so at the last backup")
            }
            return
        }
        if known == before || (source.oneFileSystem && !isRoot && !isAncestor) { return }
        warn(
            .mount, childPath(frame, Array(name)),
            "it was a file system of its own at the last backup and is none now: is something not mounted?")
    }

    /// Files that the kernel makes up say that they are empty.
    private func warnOfKernelFile(_ name: UnsafeRawBufferPointer, _ frame: Frame, _ handle: DirectoryHandle) {
        guard let space = try? FileSystem.space(descriptor: handle.raw), space.isPseudo else { return }
        warn(.unsupported, childPath(frame, Array(name)), "a file system of the kernel holds nothing to keep")
    }

    /// Whether the kernel makes up what lies below: nothing there is worth keeping, and some of it never ends.
    private func isKernelFileSystem(at directory: Int32, _ name: [UInt8]) -> Bool {
        guard let opened = try? FileDescriptor.open(at: directory, name, [.readOnly, .directory]),
            let space = try? FileSystem.space(descriptor: opened.raw)
        else { return false }
        return space.isPseudo
    }

    /// - Returns: the file system on which a directory was at the last backup.
    private func add(
        key: [UInt8], name: some Collection<UInt8>, directory: DirectoryHandle?, status: FileStatus, isAncestor: Bool
    ) -> UInt64? {
        var deviceBefore: UInt64?
        let start = batch.names.count
        batch.names.append(contentsOf: name)
        batch.names.append(0)
        var item = CaptureItem(
            key: key, name: start..<(batch.names.count), directory: directory, status: status, work: .metadata)
        if isAncestor { item.extraRemarks = .ancestor }
        let identity = FileIdentity(status)
        let mtime = FileTime(status.modified)
        if let cached = cache?.find(
            key,
            where: { known, kind, size, time in
                if kind == .directory { deviceBefore = known.device }
                return kind == .regular || (known == identity && size == status.size && time == mtime)
            })
        {
            let isDamaged = touchesDamage(cached)
            let isSame =
                cached.identity == identity && cached.entry.mtime == mtime
                && (status.kind != .regular || cached.entry.size == status.size)
                && cached.entry.kind.rawValue == status.kind.rawValue
                && cached.entry.remarks.subtracting(.ancestor).isEmpty
                && cached.entry.remarks.contains(.ancestor) == isAncestor
                && cached.entry.user == Accounts.userName(status.uid)
                && cached.entry.group == Accounts.groupName(status.gid)
                && !(cached.entry.attributesBlob != nil && !damaged.isEmpty)
                && !isDamaged
            let isToBundle = isSame && cache?.plan.includes(cached.entry) == true
            if isSame, !isToBundle, !hasLog(name, directory, status) {
                item.work = .none
                item.cached = cached
                batch.items.append(item)
                return deviceBefore
            }
            if !isSame, !isDamaged, isMoved(cached, status) {
                item.work = .metadata
                item.content = .known(cached.entry.content)
                item.contentHash = cached.contentHash
                item.chunks = cached.chunks
                item.pieces = cached.pieces
                batch.needsReading = true
                batch.items.append(item)
                return deviceBefore
            }
            // Of a damaged file nothing is taken over, so that all of it is asked for and what is lost is sent again; of one
            // that is to be bundled again neither, or it would stay where it is.
            if status.kind == .regular, !isDamaged, !isToBundle { item.cached = cached }
        }
        batch.needsReading = true
        guard status.kind == .regular else {
            batch.items.append(item)
            return deviceBefore
        }
        if status.links > 1 {
            let node = CaptureSource.FileNode(device: status.device, inode: status.inode)
            if let known = links[node] {
                item.work = .link(known.cell)
                item.cached = nil
                if known.remaining <= 1 { links[node] = nil } else { links[node]?.remaining = known.remaining - 1 }
                batch.items.append(item)
                return nil
            }
            let cell = LinkCell()
            item.cell = cell
            // Names outside of what is protected never come; a bound keeps such files from filling the memory.
            if links.count > 1_000_000 { links.removeAll() }
            links[node] = (cell, status.links - 1)
        }
        if status.size == 0 {
            item.work = .metadata
        } else if status.size <= UInt64(BundleRule.smallFileLimit) {
            item.work = .small
            if batch.slab == nil { batch.slab = slabs.take() }
            batch.slabUsed += Int(status.size)
        } else {
            item.work = .large
        }
        batch.items.append(item)
        return nil
    }

    /// Whether a database may have changed without its file changing.
    private func hasLog(_ name: some Collection<UInt8>, _ directory: DirectoryHandle?, _ status: FileStatus) -> Bool {
        guard status.kind == .regular, status.size >= SQLiteSnapshot.smallest, let directory else { return false }
        if let logged { return !logged.isEmpty && logged.contains(Array(name)) }
        return SQLiteSnapshot.hasLog(Array(name), at: directory.raw)
    }

    /// Whether a file is the one that was known by another path: a rename leaves everything but its change time.
    private func isMoved(_ cached: CachedEntry, _ status: FileStatus) -> Bool {
        status.kind == .regular && status.links == 1 && cache?.isMoved(cached.key) == true
            && cached.entry.kind == .regular && cached.entry.remarks.isEmpty && cached.entry.linkGroup == nil
            && cached.identity.device == status.device && cached.identity.inode == status.inode
            && cached.identity != cached.identity.untrusted && cached.entry.size == status.size
            && cached.entry.mtime == FileTime(status.modified)
    }

    private func touchesDamage(_ cached: CachedEntry) -> Bool {
        if damaged.isEmpty { return false }
        switch cached.entry.content {
        case .none: return false
        case .extents(let extents):
            return extents.contains { extent in
                extent.key.map { damaged.contains(BlobCrypto.id(of: $0)) } ?? false
            }
        // The pieces of a long list are not looked into: the file is read again, and what is whole is recognised.
        case .list: return true
        }
    }

    /// Hands the open batch on.
    private func send() throws {
        guard !batch.items.isEmpty || !batch.warnings.isEmpty else { return }
        let full = batch
        batch = CaptureBatch()
        try emit(full)
    }

    private func warn(_ reason: PointWarning.Reason, _ path: [UInt8], _ text: String) {
        if source.roots.contains(where: { $0.bytes == path }) { complained.insert(path) }
        progress.warnings.wrappingAdd(1, ordering: .relaxed)
        batch.warnings.append(PointWarning(reason: reason, path: path, text: text))
    }
}
