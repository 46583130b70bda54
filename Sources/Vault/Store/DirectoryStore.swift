import Model
package import Platform
import Synchronization

/// A vault's objects in a directory: a disk, a USB drive, a network mount.
///
/// An object is written under a temporary name on the same file system, brought to the disk, and then given its name in
/// one step that does not replace anything; then its directory is brought to the disk. So half an object never stands
/// under a key, whenever the machine stops.
package final class DirectoryStore: BlobStore {
    /// The path, for messages.
    package let location: String
    private let root: FileDescriptor
    private let temporary = Mutex<TemporaryFolder?>(nil)
    /// Directories that are known to exist and to be on the disk.
    private let known = Mutex<Set<String>>([])

    /// Opens the store in an existing directory, and removes what killed writers left there.
    ///
    /// - Throws: `notFound` when the directory is missing, which is what an unmounted drive looks like.
    package init(path: [UInt8]) throws {
        location = TreePath.display(path)
        do throws(Errno) {
            root = try FileDescriptor.open(path, [.readOnly, .directory, .followLink])
        } catch {
            if error == .noEntry || error == .notDirectory {
                throw HoldfastError(
                    .notFound, "there is no directory \(TreePath.display(path)); is the drive with the vault mounted?",
                    context: ["vault": TreePath.display(path)], cause: error)
            }
            throw StoreErrors.make(error, .open, "", in: TreePath.display(path))
        }
        TemporaryFolder.removeLeftovers(root: root)
    }

    /// As `init(path:)`, for a path in a string.
    package convenience init(path: String) throws { try self.init(path: Array(path.utf8)) }

    /// The file system that the vault is on.
    package func fileSystem() throws -> FileSystemSpace {
        try wrap(.examine, "") { () throws(Errno) in try FileSystem.space(descriptor: root.raw) }
    }

    /// Whether other hosts may write to the directory at the same time, or nobody can tell (FUSE): then one host at a
    /// time must own the vault.
    package func isShared() throws -> Bool {
        let space = try fileSystem()
        return space.isNetwork || space.typeName == "fuse"
    }

    // MARK: BlobStore

    package func put(_ key: String, _ bytes: UnsafeRawBufferPointer, mode: PutMode) throws -> Bool {
        let (folder, name) = try split(key)
        return try wrap(.write, key) { () throws(Errno) in
            let target = try openFolder(folder, creating: true)
            if mode == .ifAbsent, try FileSystem.statusIfAny(at: target.raw, name) != nil {
                // Whoever gave it its name may have been stopped before the next step.
                try target.sync()
                return false
            }
            let created = try writeAside(as: name, in: target.raw, mode: mode) { file throws(Errno) in
                try file.writeAll(bytes)
            }
            try target.sync()
            return created
        }
    }

    package func get(_ key: String, atMost limit: Int) throws -> [UInt8] {
        let (folder, name) = try split(key)
        let file = try wrap(.read, key) { () throws(Errno) in try openObject(folder, name) }
        let size = try wrap(.read, key) { () throws(Errno) in
            let status = try file.status()
            guard status.kind == .regular else { throw .noEntry }
            return status.size
        }
        guard size <= UInt64(limit) else {
            throw HoldfastError(
                .damaged, "\(location)/\(key) is longer than it can be: \(size) bytes",
                context: ["object": key, "vault": location])
        }
        let count = Int(size)
        let bytes = try [UInt8](unsafeUninitializedCapacity: count) { buffer, initialised in
            let target = UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: count)
            initialised = try wrap(.read, key) { () throws(Errno) in try file.readFully(into: target, at: 0) }
        }
        guard bytes.count == count else { throw cutShort(key) }
        return bytes
    }

    package func read(_ key: String, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        let (folder, name) = try split(key)
        let count = try wrap(.read, key) { () throws(Errno) in
            do throws(Errno) { return try openObject(folder, name).readFully(into: buffer, at: offset) } catch {
                throw error == .isDirectory ? .noEntry : error
            }
        }
        guard count == buffer.count else { throw cutShort(key) }
    }

    package func head(_ key: String) throws -> UInt64? {
        let (folder, name) = try split(key)
        return try wrap(.examine, key) { () throws(Errno) -> UInt64? in
            do throws(Errno) {
                let status = try FileSystem.status(at: root.raw, path(folder, name))
                return status.kind == .regular ? status.size : nil
            } catch {
                if error == .noEntry || error == .notDirectory { return nil }
                throw error
            }
        }
    }

    package func list(_ prefix: String, _ body: (StoredObject) throws -> Bool) throws {
        let slash = prefix.lastIndex(of: "/")
        let folder = slash.map { String(prefix[..<$0]) } ?? ""
        let start = slash.map { String(prefix[prefix.index(after: $0)...]) } ?? prefix
        if !folder.isEmpty { try StoreKey.check(folder) }
        _ = try list(folder: folder, namesFrom: start, depth: 0, body)
    }

    package func delete(_ keys: [String]) throws {
        var folders: Set<String> = []
        for key in keys {
            let (folder, name) = try split(key)
            try wrap(.delete, key) { () throws(Errno) in
                do throws(Errno) { try FileSystem.remove(at: root.raw, path(folder, name)) } catch {
                    if error != .noEntry && error != .notDirectory { throw error }
                }
            }
            folders.insert(folder)
        }
        // Each directory is brought to the disk once, however many of its objects went.
        for folder in folders {
            try wrap(.delete, folder) { () throws(Errno) in
                do throws(Errno) { try openFolder(folder, creating: false).sync() } catch {
                    if error != .noEntry && error != .notDirectory { throw error }
                }
            }
        }
    }

    package func space() throws -> StoreSpace? {
        let space = try fileSystem()
        return StoreSpace(total: space.total, available: space.available)
    }

    // MARK: Writing

    /// Writes a file aside and gives it its name.
    ///
    /// - Returns: whether it got the name; `false` when the name was taken and the mode is `.ifAbsent`.
    private func writeAside(
        as name: String, in folder: Int32, mode: PutMode, _ fill: (borrowing FileDescriptor) throws(Errno) -> Void
    ) throws(Errno) -> Bool {
        let aside = try temporaryFolder()
        let own = aside.nextName()
        do throws(Errno) {
            let file = try FileDescriptor.open(at: aside.descriptor.raw, own, [.writeOnly, .create, .exclusive])
            try fill(file)
            try file.sync()
            try file.close()
            return try install(own, from: aside.descriptor.raw, as: name, in: folder, mode: mode)
        } catch {
            try? FileSystem.remove(at: aside.descriptor.raw, own)
            throw error
        }
    }

    private func install(
        _ own: String, from aside: Int32, as name: String, in folder: Int32, mode: PutMode
    ) throws(Errno) -> Bool {
        if mode == .replacing {
            try FileSystem.rename(at: aside, own, to: folder, name, .replace)
            return true
        }
        do throws(Errno) {
            try FileSystem.rename(at: aside, own, to: folder, name, .keep)
            return true
        } catch {
            if error == .exists {
                try FileSystem.remove(at: aside, own)
                return false
            }
            // NFS and some FUSE file systems cannot rename without replacing.
            guard error == .invalidArgument || error.isUnsupported else { throw error }
        }
        return try installByLink(own, from: aside, as: name, in: folder)
    }

    private func installByLink(
        _ own: String, from aside: Int32, as name: String, in folder: Int32
    ) throws(Errno) -> Bool {
        let created: Bool
        do throws(Errno) {
            try FileSystem.link(at: aside, own, to: folder, name)
            created = true
        } catch {
            if error == .exists {
                // When the answer of an NFS server is lost, the call is repeated and fails over its own success.
                created = try FileSystem.status(at: aside, own).links == 2
            } else {
                guard error.isUnsupported || error.isDenied else { throw error }
                return try installByLooking(own, from: aside, as: name, in: folder)
            }
        }
        try FileSystem.remove(at: aside, own)
        return created
    }

    /// Where neither is possible: look, then rename, one at a time in this process. Two hosts cannot be kept apart
    /// there, but a pack replaced by a pack of the same name is replaced by the same bytes.
    private func installByLooking(
        _ own: String, from aside: Int32, as name: String, in folder: Int32
    ) throws(Errno) -> Bool {
        var failure: Errno?
        let created = known.withLock { _ in
            do throws(Errno) {
                if try FileSystem.statusIfAny(at: folder, name) != nil {
                    try FileSystem.remove(at: aside, own)
                    return false
                }
                try FileSystem.rename(at: aside, own, to: folder, name, .replace)
                return true
            } catch {
                failure = error
                return false
            }
        }
        if let failure { throw failure }
        return created
    }

    private func temporaryFolder() throws(Errno) -> TemporaryFolder {
        var failure: Errno?
        let folder: TemporaryFolder? = temporary.withLock { folder in
            if let folder, folder.isPresent { return folder }
            do throws(Errno) { folder = try TemporaryFolder(root: root) } catch {
                failure = error
                return nil
            }
            return folder
        }
        guard let folder else { throw failure ?? .noEntry }
        return folder
    }

    // MARK: Names

    private func split(_ key: String) throws -> (folder: String, name: String) {
        try StoreKey.check(key)
        guard let slash = key.lastIndex(of: "/") else { return ("", key) }
        return (String(key[..<slash]), String(key[key.index(after: slash)...]))
    }

    private func path(_ folder: String, _ name: String) -> String { folder.isEmpty ? name : "\(folder)/\(name)" }

    private func openObject(_ folder: String, _ name: String) throws(Errno) -> FileDescriptor {
        try FileDescriptor.open(at: root.raw, path(folder, name), [.readOnly, .nonBlocking])
    }

    private func openFolder(_ folder: String, creating: Bool) throws(Errno) -> FileDescriptor {
        if folder.isEmpty { return try FileDescriptor.open(at: root.raw, ".", [.readOnly, .directory]) }
        if creating && !known.withLock({ $0.contains(folder) }) { try makeFolder(folder) }
        do throws(Errno) {
            return try FileDescriptor.open(at: root.raw, folder, [.readOnly, .directory])
        } catch {
            // Somebody removed a directory that was known.
            guard creating, error == .noEntry else { throw error }
            try makeFolder(folder)
            return try FileDescriptor.open(at: root.raw, folder, [.readOnly, .directory])
        }
    }

    /// Makes a directory and those above it, each on the disk before this returns.
    private func makeFolder(_ folder: String) throws(Errno) {
        let parent = folder.lastIndex(of: "/").map { String(folder[..<$0]) } ?? ""
        let above = try openFolder(parent, creating: true)
        do throws(Errno) { try FileSystem.makeDirectory(at: root.raw, folder) } catch {
            if error != .exists { throw error }
        }
        // Also when it exists: who made it may have been stopped before this.
        try above.sync()
        known.withLock { _ = $0.insert(folder) }
    }

    // MARK: Listing

    private func list(
        folder: String, namesFrom start: String, depth: Int, _ body: (StoredObject) throws -> Bool
    ) throws -> Bool {
        let directory: FileDescriptor
        do throws(Errno) { directory = try openFolder(folder, creating: false) } catch {
            if error == .noEntry || error == .notDirectory { return true }
            throw StoreErrors.make(error, .list, folder, in: location)
        }
        var reader = DirectoryReader()
        reader.start(directory.raw)
        while let next = try nextName(&reader, in: folder) {
            guard let name = String(validating: next.bytes, as: UTF8.self), name.hasPrefix(start) else { continue }
            let key = path(folder, name)
            guard StoreKey.isValid(key), key != TemporaryFolder.parent else { continue }
            let status: FileStatus
            do throws(Errno) { status = try FileSystem.status(at: directory.raw, next.pointer) } catch {
                if error == .noEntry { continue }  // deleted since the directory was read
                throw StoreErrors.make(error, .list, key, in: location)
            }
            if status.kind == .directory {
                // A vault is three levels deep; what else lies below is not looked for.
                if depth < 4, !(try list(folder: key, namesFrom: "", depth: depth + 1, body)) { return false }
            } else if status.kind == .regular {
                if !(try body(StoredObject(key: key, size: status.size))) { return false }
            }
        }
        return true
    }

    private func nextName(_ reader: inout DirectoryReader, in folder: String) throws -> DirectoryReader.Name? {
        do throws(Errno) { return try reader.next() } catch {
            throw StoreErrors.make(error, .list, folder, in: location)
        }
    }

    // MARK: Errors

    private func wrap<R: ~Copyable>(
        _ action: StoreErrors.Action, _ key: String, _ body: () throws(Errno) -> R
    ) throws -> R {
        do throws(Errno) { return try body() } catch { throw StoreErrors.make(error, action, key, in: location) }
    }

    private func cutShort(_ key: String) -> HoldfastError {
        HoldfastError(
            .damaged, "\(location)/\(key) ends too early: it is damaged", context: ["object": key, "vault": location])
    }
}

// MARK: - The reserve

extension DirectoryStore: SpaceReserve {
    /// 256 MiB, or 1 % of a disk below 25 GiB.
    package static func reserveSize(total: UInt64) -> UInt64 { min(256 << 20, total / 100) }

    @discardableResult
    package func createReserve() throws -> Bool {
        let space = try fileSystem()
        let size = DirectoryStore.reserveSize(total: space.total)
        if let present = try head(StoreKey.reserve), present >= size { return true }
        // Taking the last room would only make the disk full earlier.
        guard size > 0, space.available >= 4 * size else { return false }
        return try takeReserve(size)
    }

    @discardableResult
    package func retakeReserve() throws -> Bool {
        if try contains(StoreKey.reserve) { return true }
        let space = try fileSystem()
        // A little stays for what is being closed.
        let left = space.available > 128 << 10 ? space.available - 128 << 10 : 0
        let size = min(DirectoryStore.reserveSize(total: space.total), left)
        return size >= 64 << 10 ? try takeReserve(size) : false
    }

    private func takeReserve(_ size: UInt64) throws -> Bool {
        try wrap(.write, StoreKey.reserve) { () throws(Errno) in
            do throws(Errno) {
                _ = try writeAside(as: StoreKey.reserve, in: root.raw, mode: .replacing) { file throws(Errno) in
                    if try file.reserve(length: size) {
                        try file.truncate(to: size)
                    } else {
                        try DirectoryStore.takeRoom(file, size)
                    }
                }
                try root.sync()
                return true
            } catch {
                if error.isNoSpace { return false }
                throw error
            }
        }
    }

    @discardableResult
    package func releaseReserve() throws -> Bool {
        try wrap(.delete, StoreKey.reserve) { () throws(Errno) in
            do throws(Errno) { try FileSystem.remove(at: root.raw, StoreKey.reserve) } catch {
                if error == .noEntry { return false }
                throw error
            }
            try root.sync()
            return true
        }
    }

    /// Takes room by writing, where the file system cannot reserve it. Not zeros: some file systems do not store them.
    private static func takeRoom(_ file: borrowing FileDescriptor, _ size: UInt64) throws(Errno) {
        var generator = SystemRandomNumberGenerator()
        var bytes: [UInt8] = []
        for _ in 0..<8192 { withUnsafeBytes(of: generator.next() as UInt64) { bytes.append(contentsOf: $0) } }
        var rest = size
        while rest > 0 {
            if rest < UInt64(bytes.count) { bytes.removeLast(bytes.count - Int(rest)) }
            try file.writeAll(bytes)
            rest -= UInt64(bytes.count)
        }
    }
}
