import Model
import Platform

/// The root of a restore's destination, opened, and what is known about it.
struct RestorePlace {
    let handle: OpenHandle
    let status: FileStatus
    /// Everything in it was made by this restore or by an earlier, interrupted run of it.
    let isFresh: Bool
    /// It was made just now, or would be.
    let isNew: Bool

    /// Stands in a fresh directory while it is being filled. Says with the point's id whose files are in it, so that an
    /// interrupted restore can go on without taking its own files for somebody else's.
    static let markName = TerminatedName(Array(".holdfast-restore-unfinished".utf8))

    /// Opens the destination, making the directory when it does not exist.
    static func open(_ request: RestoreRequest, point: PointID) throws -> RestorePlace {
        let path = request.destination.root
        do throws(Errno) {
            var isNew = false
            if !request.isInPlace { isNew = try makeDirectories(path) }
            let handle = OpenHandle(try DirectoryPath.open(path))
            let status = try handle.descriptor.status()
            if request.isInPlace { return RestorePlace(handle: handle, status: status, isFresh: false, isNew: false) }
            var isFresh = isNew || isUnfinished(handle, point)
            if !isFresh { isFresh = try isEmpty(handle) }
            if isFresh { try mark(handle, point) }
            return RestorePlace(handle: handle, status: status, isFresh: isFresh, isNew: isNew)
        } catch {
            throw failure(path, error)
        }
    }

    /// As `open`, without changing anything: `nil` when the directory does not exist.
    static func look(_ request: RestoreRequest, point: PointID) throws -> RestorePlace? {
        let path = request.destination.root
        do throws(Errno) {
            let handle = OpenHandle(try DirectoryPath.open(path))
            let status = try handle.descriptor.status()
            if request.isInPlace { return RestorePlace(handle: handle, status: status, isFresh: false, isNew: false) }
            var isFresh = isUnfinished(handle, point)
            if !isFresh { isFresh = try isEmpty(handle) }
            return RestorePlace(handle: handle, status: status, isFresh: isFresh, isNew: false)
        } catch {
            if error == .noEntry { return nil }
            throw failure(path, error)
        }
    }

    /// Takes the mark away: the restore came to its end.
    func finish() {
        guard isFresh else { return }
        _ = try? RestorePlace.markName.withPointer { (name) throws(Errno) in try FileSystem.remove(at: handle.raw, name)
        }
    }

    private static func failure(_ path: [UInt8], _ error: Errno) -> HoldfastError {
        let what = error == .notDirectory ? "it is not a directory" : "\(error)"
        return HoldfastError(
            error.isNoSpace ? .noSpace : error.isDenied ? .denied : .io,
            "Cannot restore to \(TreePath.display(path)): \(what).", context: ["path": TreePath.display(path)],
            cause: error)
    }

    /// Makes the directory and those above it; whether it was not there before. A path that a person typed may lead
    /// through links.
    private static func makeDirectories(_ path: [UInt8]) throws(Errno) -> Bool {
        do throws(Errno) {
            _ = try DirectoryPath.open(path)
            return false
        } catch {
            if error != .noEntry { throw error }
        }
        let (parent, _) = DirectoryPath.split(path)
        if !parent.isEmpty, parent.count < path.count { _ = try makeDirectories(parent) }
        try DirectoryPath.withParent(of: path) { (directory, name) throws(Errno) in
            do throws(Errno) {
                try FileSystem.makeDirectory(at: directory, name, mode: 0o755)
            } catch {
                if error != .exists { throw error }
            }
        }
        return true
    }

    private static func isEmpty(_ handle: OpenHandle) throws(Errno) -> Bool {
        let own = try FileDescriptor.open(at: handle.raw, ".", [.readOnly, .directory])
        var reader = DirectoryReader(bufferSize: 4096)
        reader.start(own.raw)
        while let name = try reader.next() {
            // A new ext4 file system is empty, although it has this.
            if !name.bytes.elementsEqual("lost+found".utf8) { return false }
        }
        return true
    }

    private static func isUnfinished(_ handle: OpenHandle, _ point: PointID) -> Bool {
        let file = try? markName.withPointer { (name) throws(Errno) in
            try FileDescriptor.open(at: handle.raw, name, .readOnly)
        }
        guard let file, let text = try? file.readAll(limit: 1024) else { return false }
        return text.starts(with: point.hex.utf8)
    }

    private static func mark(_ handle: OpenHandle, _ point: PointID) throws(Errno) {
        let file = try markName.withPointer { (name) throws(Errno) in
            try FileDescriptor.open(at: handle.raw, name, [.writeOnly, .create, .truncate], mode: 0o600)
        }
        try file.writeAll(Array((point.hex + "\n").utf8))
        try file.close()
    }
}
