import Model
import Platform

/// The root of a restore's destination, opened, and what is known about it.
struct RestorePlace {
    let handle: OpenHandle
    let status: FileStatus
    /// Everything in it was made by this restore or by an earlier, interrupted run of it.
    let isFresh: Bool
    /// An earlier run of this restore was interrupted here.
    var isUnfinished = false
    /// That run ended with the system: what it wrote may never have reached the disk, whatever size and time say.
    var mayBeTorn = false
    /// Held while the restore runs: two of one point would write under the same unfinished names.
    private var lock: DirectoryLock?

    private final class DirectoryLock {
        private let lock: FileLock
        init(_ lock: consuming FileLock) { self.lock = lock }
    }

    /// Stands in a directory while it is being restored to. Says which point's files come into it and since which start
    /// of the system, and whether everything in it is of this restore: then an interrupted one goes on without taking its
    /// own files for somebody else's.
    static let markName = TerminatedName(Array(".holdfast-restore-unfinished".utf8))

    /// Opens the destination, making the directory when it does not exist.
    static func open(_ request: RestoreRequest, point: PointID) throws -> RestorePlace {
        let path = request.destination.root
        do {
            var isNew = false
            if !request.isInPlace { isNew = try makeDirectories(path) }
            let handle = OpenHandle(try DirectoryPath.open(path))
            let status = try handle.descriptor.status()
            if request.isInPlace { return RestorePlace(handle: handle, status: status, isFresh: false) }
            if !isNew, var place = try unfinished(handle, status, point) {
                place.lock = try lockMark(handle, path)
                return place
            }
            var isFresh = isNew
            if !isFresh { isFresh = try isEmpty(handle) }
            do throws(Errno) { try mark(handle, point, isFresh: isFresh) } catch {
                // Among other files it is only there for the day when the power fails.
                if isFresh, error != .exists { throw error }
            }
            var place = RestorePlace(handle: handle, status: status, isFresh: isFresh)
            if ownMark(handle, point) != nil { place.lock = try lockMark(handle, path) }
            return place
        } catch let error as HoldfastError {
            throw error
        } catch let error as Errno {
            throw failure(path, error)
        }
    }

    /// Locks the mark. Where files cannot be locked nothing keeps two apart.
    private static func lockMark(_ handle: OpenHandle, _ path: [UInt8]) throws -> DirectoryLock? {
        let mark: FileDescriptor
        do throws(Errno) {
            mark = try markName.withPointer { (name) throws(Errno) in
                try FileDescriptor.open(at: handle.raw, name, [.readWrite, .nonBlocking])
            }
        } catch { return nil }
        do throws(Errno) {
            if let lock = try FileLock.acquire(mark) { return DirectoryLock(lock) }
        } catch { return nil }
        let shown = TreePath.display(path)
        throw HoldfastError(
            .busy, "Another restore of this point to \(shown) is running. Nothing was changed.",
            context: ["path": shown, "hint": "Wait for it to end, or find it with `pgrep -af 'holdfast restore'`."],
            isTemporary: true)
    }

    /// As `open`, without changing anything: `nil` when the directory does not exist.
    static func look(_ request: RestoreRequest, point: PointID) throws -> RestorePlace? {
        let path = request.destination.root
        do throws(Errno) {
            let handle = OpenHandle(try DirectoryPath.open(path))
            let status = try handle.descriptor.status()
            if request.isInPlace { return RestorePlace(handle: handle, status: status, isFresh: false) }
            if let place = try unfinished(handle, status, point) { return place }
            return RestorePlace(handle: handle, status: status, isFresh: try isEmpty(handle))
        } catch {
            if error == .noEntry { return nil }
            throw failure(path, error)
        }
    }

    /// Takes the mark away: the restore came to its end, and what it wrote is on the disk.
    func finish(_ point: PointID) {
        guard RestorePlace.ownMark(handle, point) != nil else { return }
        _ = try? RestorePlace.markName.withPointer { (name) throws(Errno) in try FileSystem.remove(at: handle.raw, name)
        }
    }

    private static func failure(_ path: [UInt8], _ error: Errno) -> HoldfastError {
        let shown = TreePath.display(path)
        if error.isNoSpace { return FileWriter.noSpace(path, nil, error) }
        let what = error == .notDirectory ? "it is not a directory" : "\(error)"
        var context = ["path": shown]
        if error == .readOnly { context["hint"] = "Choose a directory on a file system that can be written to." }
        return HoldfastError(
            error.isDenied ? .denied : .io, "Cannot restore to \(shown): \(what).", context: context, cause: error)
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

    /// The place as an interrupted run of the same restore left it; `nil` when none did.
    private static func unfinished(
        _ handle: OpenHandle, _ status: FileStatus, _ point: PointID
    ) throws(Errno) -> RestorePlace? {
        guard let lines = ownMark(handle, point) else { return nil }
        return RestorePlace(
            handle: handle, status: status, isFresh: lines.count < 3 || lines[2] == "fresh",
            isUnfinished: true, mayBeTorn: lines.count < 2 || lines[1] != currentBoot)
    }

    /// The lines of the mark of this restore; `nil` when there is none. In a directory that everybody may write to anybody
    /// may have put something there under its name: only a plain file of whoever runs this counts, and nothing is waited
    /// for.
    private static func ownMark(_ handle: OpenHandle, _ point: PointID) -> [String]? {
        let file = try? markName.withPointer { (name) throws(Errno) in
            try FileDescriptor.open(at: handle.raw, name, [.readOnly, .nonBlocking])
        }
        guard let file, let status = try? file.status(), status.kind == .regular,
            status.uid == MetadataWriter.Rights.current().uid, let text = try? file.readAll(limit: 1024)
        else { return nil }
        let lines = text.split(separator: 0x0A).map { String(decoding: $0, as: UTF8.self) }
        return lines.first == point.hex ? lines : nil
    }

    /// This start of the system.
    static var currentBoot: String { Machine.bootID.map(Hex.encode) ?? "unknown" }

    /// Puts the mark there, on the disk before anything else.
    private static func mark(_ handle: OpenHandle, _ point: PointID, isFresh: Bool) throws(Errno) {
        let file = try markName.withPointer { (name) throws(Errno) in
            try FileDescriptor.open(at: handle.raw, name, [.writeOnly, .create, .exclusive, .nonBlocking], mode: 0o600)
        }
        try file.writeAll(Array("\(point.hex)\n\(currentBoot)\n\(isFresh ? "fresh" : "shared")\n".utf8))
        try file.sync()
        try file.close()
        try handle.descriptor.sync()
    }
}
