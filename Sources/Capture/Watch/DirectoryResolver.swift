import Model
import Platform

/// Turns the handles of directories into the paths they have now.
///
/// Answers are kept until `forget`, which is due before each buffer of events in which a directory was renamed. A rename
/// that happens after a buffer was read stands in one of the next: whatever is answered wrongly until then is made good by
/// it, because what was renamed is dirty as a whole.
final class DirectoryResolver {
    /// A place where a directory can be seen and concerns what is protected.
    struct Seen: Hashable {
        /// Which of the file system's places.
        let place: Int
        let path: TreePath
        let standing: WatchScope.Standing
        let isOverlay: Bool
        /// The path is that of a directory further up: the real one is too long for the kernel to tell.
        let isTruncated: Bool
    }

    enum Answer {
        /// Where it can be seen; empty when it does not concern what is protected.
        case seen([Seen])
        /// It was removed.
        case gone
        /// It cannot be found out.
        case unknown(Errno)
    }

    /// A directory of the file system through which its handles are opened.
    private struct Anchor {
        let handle: DirectoryHandle
        /// What the kernel says of its path, without a slash at the end.
        let prefix: [UInt8]
        /// What of the file system it is the top of.
        let part: TreePath
        /// The file system counts the links of directories, so none means that one was removed.
        let countsLinks: Bool
    }

    /// Each entry takes some 200 bytes.
    private static let capacity = 65_536

    private let scope: WatchScope
    private var plan: PlannedFileSystem
    private var anchors: [Anchor] = []
    private var cache: [[UInt8]: [Seen]] = [:]
    private var last: (handle: [UInt8], seen: [Seen])?

    init(_ plan: PlannedFileSystem, scope: WatchScope) {
        self.plan = plan
        self.scope = scope
    }

    /// Takes over what is mounted where now.
    func update(_ plan: PlannedFileSystem) {
        self.plan = plan
        forget()
    }

    /// Drops all answers.
    func forget() {
        cache.removeAll(keepingCapacity: true)
        last = nil
    }

    // MARK: Anchors

    /// Opens the file system, for as long as a batch takes: a directory kept open would stand in the way of unmounting.
    ///
    /// Throws `stale` when none of the mounts is there any more.
    func open() throws(Errno) {
        guard anchors.isEmpty else { return }
        if let whole = plan.mounts.first(where: { $0.root == [UInt8(ascii: "/")] && append($0) }) {
            _ = whole
            return
        }
        if plan.mounts.first?.type == "btrfs" {
            // Of subvolumes only parts are mounted, and the kernel refuses to watch those.
            let top = try FileDescriptor.mountDetached(
                type: "btrfs", source: plan.source, option: "subvolid", value: "5")
            try append(top, part: .root)
            return
        }
        for mount in plan.mounts { append(mount) }
        if anchors.isEmpty { throw .stale }
    }

    func close() { anchors.removeAll() }

    /// An open directory on the file system; after `open`.
    var anyDirectory: Int32? { anchors.first?.handle.raw }

    @discardableResult
    private func append(_ mount: MountEntry) -> Bool {
        guard let directory = try? FileDescriptor.open(mount.mountPoint, [.readOnly, .directory]),
            let status = try? directory.status(), status.mount == mount.id || status.mount == 0,
            let part = FileSystemPlan.path(mount.root)
        else { return false }
        return (try? append(directory, part: part)) != nil
    }

    private func append(_ directory: consuming FileDescriptor, part: TreePath) throws(Errno) {
        var prefix = try directory.currentPath()
        if prefix == [UInt8(ascii: "/")] { prefix = [] }
        let countsLinks = try directory.status().links > 0
        anchors.append(
            Anchor(handle: DirectoryHandle(directory), prefix: prefix, part: part, countsLinks: countsLinks))
    }

    // MARK: Handles

    /// Where a directory can be seen now; after `open`.
    func resolve(_ handle: UnsafeRawBufferPointer) -> Answer {
        if let last, last.handle.count == handle.count, handle.elementsEqual(last.handle) { return .seen(last.seen) }
        let key = Array(handle)
        if let known = cache[key] {
            last = (key, known)
            return .seen(known)
        }
        var found: [Seen] = []
        for anchor in anchors {
            let located: (part: TreePath, isTruncated: Bool)?
            do throws(Errno) {
                located = try locate(handle, anchor)
            } catch {
                return error == .stale ? .gone : .unknown(error)
            }
            guard let located else { continue }
            for seen in places(of: located.part, isTruncated: located.isTruncated) where !found.contains(seen) {
                found.append(seen)
            }
        }
        if cache.count >= DirectoryResolver.capacity { cache.removeAll(keepingCapacity: true) }
        cache[key] = found
        last = (key, found)
        return .seen(found)
    }

    /// A file by its handle: its status, and one of its names if the kernel knows one now. `nil` when it is gone.
    ///
    /// Throws when it may be there and cannot be opened.
    func file(_ handle: UnsafeRawBufferPointer) throws(Errno) -> (status: FileStatus, part: TreePath?)? {
        for anchor in anchors {
            let file: FileDescriptor
            do throws(Errno) {
                file = try FileHandle.open(handle, mount: anchor.handle.raw)
            } catch {
                if error == .stale { continue }
                throw error
            }
            let status = try file.status()
            if status.links == 0 { continue }
            let path = try? file.currentPath()
            return (status, path.flatMap { DirectoryResolver.part($0, of: anchor) })
        }
        return nil
    }

    /// Where a directory can be seen that is known by its path from the top of the file system.
    func places(of part: TreePath) -> [Seen] { places(of: part, isTruncated: false) }

    /// A path of the kernel as one from the top of the file system; `nil` when it is not below the anchor.
    private static func part(_ path: [UInt8], of anchor: Anchor) -> TreePath? {
        guard path.starts(with: anchor.prefix) else { return nil }
        let rest = path.dropFirst(anchor.prefix.count)
        guard rest.isEmpty || rest.first == UInt8(ascii: "/") else { return nil }
        return FileSystemPlan.joined(anchor.part, rest.drop { $0 == UInt8(ascii: "/") })
    }

    /// The path of a directory from the top of the file system; `nil` when it is not below the anchor. Throws `stale` when
    /// it is gone.
    private func locate(
        _ handle: UnsafeRawBufferPointer, _ anchor: Anchor
    ) throws(Errno) -> (part: TreePath, isTruncated: Bool)? {
        var directory = try FileHandle.open(handle, mount: anchor.handle.raw)
        // One that is removed and still open somewhere can be opened, but has no path.
        if anchor.countsLinks, try directory.status().links == 0 { throw .stale }
        var isTruncated = false
        var path: [UInt8] = []
        while true {
            do throws(Errno) {
                path = try directory.currentPath()
                break
            } catch {
                guard error == .nameTooLong else { throw error }
                isTruncated = true
            }
            directory = try FileDescriptor.open(at: directory.raw, Array("..".utf8), [.pathOnly, .directory])
        }
        return DirectoryResolver.part(path, of: anchor).map { ($0, isTruncated) }
    }

    /// Where a part of the file system can be seen, as far as it concerns what is protected.
    private func places(of part: TreePath, isTruncated: Bool) -> [Seen] {
        var found: [Seen] = []
        for (index, place) in plan.places.enumerated() where place.part.contains(part) {
            let skip = place.part.isRoot || part.bytes.count == place.part.bytes.count ? 0 : 1
            let path = FileSystemPlan.joined(
                place.mountPoint, part.bytes.dropFirst(place.part.bytes.count + skip))
            let standing = scope.standing(of: path)
            if standing == .outside { continue }
            found.append(
                Seen(
                    place: index, path: path, standing: standing, isOverlay: place.isOverlay, isTruncated: isTruncated))
        }
        return found
    }
}
