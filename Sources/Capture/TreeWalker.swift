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
        /// A directory above what is protected: only these names of it are looked at.
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
    private let cache: CacheReader?
    private let damaged: Set<BlobID>
    private let slabs: SlabPool
    private let progress: CaptureProgress
    private let emit: (CaptureBatch) throws -> Void

    private var reader = DirectoryReader()
    private var names = NameList()
    private var batch = CaptureBatch()
    private var links: [CaptureSource.FileNode: (cell: LinkCell, remaining: UInt32)] = [:]
    private var nameBuffer: [UInt8] = []

    /// - Parameter emit: takes each batch in order; blocks when there are too many on their way.
    init(
        source: CaptureSource, cache: CacheReader?, damaged: Set<BlobID>, slabs: SlabPool, progress: CaptureProgress,
        emit: @escaping (CaptureBatch) throws -> Void
    ) {
        self.source = source
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
        let only = source.roots == [.root] ? nil : ancestorNames(of: [])
        add(key: [], name: [], directory: handle, status: status, isAncestor: only != nil)
        var stack = [frame(path: [], handle: handle, status: status, only: only)]
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
        try send()
        progress.walkIsComplete.store(true, ordering: .releasing)
    }

    // MARK: Directories

    private func frame(path: [UInt8], handle: DirectoryHandle, status: FileStatus, only: [[UInt8]]?) -> Frame {
        Frame(
            path: path, prefix: TreePath(unchecked: path).childrenPrefix, handle: handle, device: status.device,
            inode: status.inode, only: only)
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
            let child = DirectoryHandle(
                try withCName(name) { pointer throws(Errno) in
                    try FileDescriptor.openDirectory(at: handle.raw, pointer)
                })
            let status = try child.descriptor.status()
            let isAncestor = parent.only != nil && !source.roots.contains { $0.bytes == path }
            return frame(path: path, handle: child, status: status, only: isAncestor ? ancestorNames(of: path) : nil)
        } catch {
            if error == .noEntry {
                warn(.vanished, path, "the directory was removed while the backup ran")
            } else {
                warn(error.isDenied ? .denied : .io, path, "the directory cannot be opened: \(error)")
            }
            return nil
        }
    }

    /// Opens a directory again from one of its children, or from the top when the child was moved meanwhile.
    private func reopen(_ frame: Frame, from child: Frame) -> DirectoryHandle? {
        if let handle = child.handle,
            let up = try? FileDescriptor.open(at: handle.raw, Array("..".utf8), [.readOnly, .directory])
        {
            let opened = DirectoryHandle(up)
            if let status = try? opened.descriptor.status(), status.device == frame.device, status.inode == frame.inode
            {
                return opened
            }
        }
        guard var current = try? FileDescriptor.open([UInt8(ascii: "/")], [.readOnly, .directory]) else { return nil }
        for component in TreePath(unchecked: frame.path).components {
            guard let next = try? FileDescriptor.open(at: current.raw, Array(component), [.readOnly, .directory]) else {
                return nil
            }
            current = next
        }
        return DirectoryHandle(current)
    }

    private func list(_ frame: inout Frame) throws {
        guard let handle = frame.handle else { return }
        if let only = frame.only {
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
            if frame.only != nil {
                warn(.vanished, path, "it does not exist")
            } else if error != .noEntry {
                warn(error.isDenied ? .denied : .io, path, "its status cannot be read: \(error)")
            }
            return
        }
        let isRoot: Bool
        let isAncestor: Bool
        if frame.only != nil {
            let path = childPath(frame, Array(name))
            isRoot = source.roots.contains { $0.bytes == path }
            isAncestor = !isRoot
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
        add(key: key, name: name, directory: handle, status: status, isAncestor: isAncestor)
        progress.entriesSeen.wrappingAdd(1, ordering: .relaxed)
        if status.kind == .regular {
            progress.filesSeen.wrappingAdd(1, ordering: .relaxed)
            progress.bytesSeen.wrappingAdd(status.size, ordering: .relaxed)
        }
        if status.kind == .directory, shouldDescend(status, name, frame, handle, isProtectedRoot: isRoot, isAncestor) {
            frame.belowStarts.append(frame.below.count)
            frame.below.append(contentsOf: name)
            frame.below.append(0)
        }
        let isFull =
            batch.items.count >= TreeWalker.batchItems
            || batch.slabUsed > slabs.slabSize - BundleRule.smallFileLimit
        if isFull { try send() }
    }

    private func shouldDescend(
        _ status: FileStatus, _ name: UnsafeRawBufferPointer, _ frame: Frame, _ handle: DirectoryHandle,
        isProtectedRoot: Bool, _ isAncestor: Bool
    ) -> Bool {
        if source.ownDirectories.contains(.init(device: status.device, inode: status.inode)) { return false }
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

    /// Whether the kernel makes up what lies below: nothing there is worth keeping, and some of it never ends.
    private func isKernelFileSystem(at directory: Int32, _ name: [UInt8]) -> Bool {
        guard let opened = try? FileDescriptor.open(at: directory, name, [.readOnly, .directory]),
            let space = try? FileSystem.space(descriptor: opened.raw)
        else { return false }
        return space.isPseudo
    }

    private func add(
        key: [UInt8], name: some Collection<UInt8>, directory: DirectoryHandle?, status: FileStatus, isAncestor: Bool
    ) {
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
                kind == .regular || (known == identity && size == status.size && time == mtime)
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
            if isSame, !isToBundle {
                item.work = .none
                item.cached = cached
                batch.items.append(item)
                return
            }
            // Of a damaged file nothing is taken over, so that all of it is asked for and what is lost is sent again; of one
            // that is to be bundled again neither, or it would stay where it is.
            if status.kind == .regular, !isDamaged, !isToBundle { item.cached = cached }
        }
        batch.needsReading = true
        guard status.kind == .regular else {
            batch.items.append(item)
            return
        }
        if status.links > 1 {
            let node = CaptureSource.FileNode(device: status.device, inode: status.inode)
            if let known = links[node] {
                item.work = .link(known.cell)
                item.cached = nil
                if known.remaining <= 1 { links[node] = nil } else { links[node]?.remaining = known.remaining - 1 }
                batch.items.append(item)
                return
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
        progress.warnings.wrappingAdd(1, ordering: .relaxed)
        batch.warnings.append(PointWarning(reason: reason, path: path, text: text))
    }
}
