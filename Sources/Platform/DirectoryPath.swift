import CLinux
import Synchronization

/// Opens paths of any length and any bytes. A path longer than the kernel takes (4,095 bytes) is walked in pieces.
package enum DirectoryPath {
    /// What happens to symbolic links on the way.
    package enum Links: Sendable {
        /// They are followed, as everywhere: for paths that a person typed.
        case followed
        /// The path stays beneath the directory it begins in: no link anywhere, no `..`, no leading `/`.
        /// A link is answered with `symbolicLink`, the others with `crossDevice`.
        case refused
    }

    /// The longest path that one system call takes, without its terminator.
    static let pieceLimit = 4095

    /// Opens the directory at `path`, relative to `directory` unless it begins with `/` (links followed only).
    /// An empty path means `directory` itself.
    package static func open(
        _ path: [UInt8],
        from directory: Int32 = FileSystem.currentDirectory,
        links: Links = .followed
    ) throws(Errno) -> FileDescriptor {
        try openFile(path, from: directory, links: links, [.readOnly, .directory])
    }

    /// Opens whatever is at `path`. With links followed the last component is followed only with `.followLink`.
    /// With `.create` it may be new, its directory may not.
    package static func openFile(
        _ path: [UInt8],
        from directory: Int32 = FileSystem.currentDirectory,
        links: Links = .followed,
        _ flags: OpenFlags,
        mode: UInt32 = 0o600
    ) throws(Errno) -> FileDescriptor {
        if path.contains(0) { throw .invalidArgument }
        if links == .refused {
            return try openBeneath(path, directory, flags, mode, byWalking: !Beneath.kernelHelps)
        }
        if path.isEmpty { return try .open(at: directory, ".", flags, mode: mode) }
        // O_DIRECTORY with O_NOFOLLOW would refuse `/home` where that is a link; a directory asked for by path is
        // followed, anything else is not.
        let last = flags.contains(.directory) ? flags.union(.followLink) : flags
        var steps = PieceIterator(path)
        guard let first = steps.next() else { return try .open(at: directory, "/", last, mode: mode) }
        var piece = first
        var here: FileDescriptor?
        while true {
            let start = here?.raw ?? directory
            guard let next = steps.next() else {
                return try withCName(piece) { (name) throws(Errno) in try .open(at: start, name, last, mode: mode) }
            }
            let deeper = try withCName(piece) { (name) throws(Errno) in
                try FileDescriptor.open(at: start, name, [.pathOnly, .directory, .followLink])
            }
            here = consume deeper
            piece = next
        }
    }

    /// Opens the directory that holds `path`'s last component and gives it with that component to `body`.
    ///
    /// Throws `invalidArgument` when the path has no last component: it is empty, `/`, or ends in `.` or `..`.
    package static func withParent<R: ~Copyable>(
        of path: [UInt8],
        from directory: Int32 = FileSystem.currentDirectory,
        links: Links = .followed,
        _ body: (_ directory: Int32, _ name: UnsafePointer<CChar>) throws(Errno) -> R
    ) throws(Errno) -> R {
        let (parent, name) = split(path)
        if name.isEmpty || name == [0x2E] || name == [0x2E, 0x2E] { throw .invalidArgument }
        // It need not be readable for this.
        let place = try openFile(parent, from: directory, links: links, [.pathOnly, .directory])
        let number = place.raw
        return try withCName(name) { (pointer) throws(Errno) in try body(number, pointer) }
    }

    /// Makes a file that must not exist yet, beneath `directory`, without ever following a link.
    package static func createFile(
        _ path: [UInt8],
        beneath directory: Int32,
        mode: UInt32 = 0o600
    ) throws(Errno) -> FileDescriptor {
        try withParent(of: path, from: directory, links: .refused) { (parent, name) throws(Errno) in
            try .open(at: parent, name, [.readWrite, .create, .exclusive], mode: mode)
        }
    }

    /// Opens the directory at `path` beneath `directory`, making what is missing of it, without ever following a link.
    package static func makeDirectories(
        _ path: [UInt8],
        beneath directory: Int32,
        mode: UInt32 = 0o700
    ) throws(Errno) -> FileDescriptor {
        if path.first == 0x2F { throw .crossDevice }
        var here = try FileDescriptor.open(at: directory, ".", [.readOnly, .directory])
        for component in path.split(separator: 0x2F) where component != [0x2E] {
            if component == [0x2E, 0x2E] { throw .crossDevice }
            let number = here.raw
            here = try withCName(Array(component)) { (name) throws(Errno) in
                do throws(Errno) {
                    try FileSystem.makeDirectory(at: number, name, mode: mode)
                } catch {
                    if error != .exists { throw error }
                }
                return try openComponent(at: number, name, [.readOnly, .directory], 0)
            }
        }
        return here
    }

    /// The directory part and the last component of a path; slashes at the end do not count.
    package static func split(_ path: [UInt8]) -> (parent: [UInt8], name: [UInt8]) {
        var end = path.count
        while end > 0 && path[end - 1] == 0x2F { end -= 1 }
        guard let slash = path[..<end].lastIndex(of: 0x2F) else { return ([], Array(path[..<end])) }
        return (Array(path[...slash]), Array(path[(slash + 1)..<end]))
    }

    // MARK: - Beneath a directory

    /// Whether the kernel has openat2 (since Linux 5.6) and lets us use it.
    private enum Beneath {
        static let kernelHelps: Bool = {
            let outcome = hf_openat2(
                FileSystem.currentDirectory, "/", OpenFlags([.pathOnly, .directory]).kernel, 0, HF_RESOLVE_NO_MAGICLINKS
            )
            if outcome >= 0 { _ = hf_close(Int32(outcome)) }
            return outcome >= 0
        }()
    }

    static func openBeneath(
        _ path: [UInt8],
        _ directory: Int32,
        _ flags: OpenFlags,
        _ mode: UInt32,
        byWalking: Bool
    ) throws(Errno) -> FileDescriptor {
        if path.first == 0x2F { throw .crossDevice }
        if path.split(separator: 0x2F).contains([0x2E, 0x2E]) { throw .crossDevice }
        var steps = PieceIterator(path, limit: byWalking ? 1 : pieceLimit)
        guard var piece = steps.next() else { return try .open(at: directory, ".", flags, mode: mode) }
        var here: FileDescriptor?
        while true {
            let start = here?.raw ?? directory
            let next = steps.next()
            let wanted = next == nil ? flags.subtracting(.followLink) : [.pathOnly, .directory]
            let deeper = try withCName(piece) { (name) throws(Errno) in
                try byWalking ? openComponent(at: start, name, wanted, mode) : openPiece(at: start, name, wanted, mode)
            }
            guard let next else { return deeper }
            here = consume deeper
            piece = next
        }
    }

    /// Opens several components with the kernel keeping watch.
    private static func openPiece(
        at directory: Int32,
        _ name: UnsafePointer<CChar>,
        _ flags: OpenFlags,
        _ mode: UInt32
    ) throws(Errno) -> FileDescriptor {
        do throws(Errno) {
            let opened = FileDescriptor(
                owning: Int32(
                    try retrying {
                        hf_openat2(directory, name, flags.kernel, mode, HF_RESOLVE_BENEATH | HF_RESOLVE_NO_SYMLINKS)
                    }))
            // O_PATH refers to a link itself instead of refusing it.
            if flags.contains(.pathOnly), try opened.status().kind == .symbolicLink { throw Errno.symbolicLink }
            return opened
        } catch {
            // A link where a directory was asked for: one more look says so.
            guard error == .notDirectory else { throw error }
            let link = try? FileSystem.status(at: directory, name)
            throw link?.kind == .symbolicLink ? .symbolicLink : error
        }
    }

    /// Opens one component; a link is answered as openat2 does.
    private static func openComponent(
        at directory: Int32,
        _ name: UnsafePointer<CChar>,
        _ flags: OpenFlags,
        _ mode: UInt32
    ) throws(Errno) -> FileDescriptor {
        do throws(Errno) {
            let opened = try FileDescriptor.open(at: directory, name, flags, mode: mode)
            // O_PATH refers to a link itself instead of refusing it.
            if flags.contains(.pathOnly), try opened.status().kind == .symbolicLink { throw Errno.symbolicLink }
            return opened
        } catch {
            guard error == .notDirectory else { throw error }
            // What O_DIRECTORY and O_NOFOLLOW together say of a link.
            let kind = try FileSystem.status(at: directory, name).kind
            throw kind == .symbolicLink ? .symbolicLink : error
        }
    }
}

/// Cuts a path into pieces of whole components, each as long as the limit allows and at least one component.
struct PieceIterator {
    private let path: [UInt8]
    private let limit: Int
    private var position = 0

    init(_ path: [UInt8], limit: Int = DirectoryPath.pieceLimit) {
        self.path = path
        self.limit = limit
    }

    /// The next piece; relative but for the first of an absolute path. `nil` at the end.
    mutating func next() -> [UInt8]? {
        let isAbsolute = position == 0 && path.first == 0x2F
        while position < path.count && path[position] == 0x2F { position += 1 }
        let room = limit - (isAbsolute ? 1 : 0)
        let start = position
        var end = start
        var scan = start
        while scan < path.count {
            let stop = path[scan...].firstIndex(of: 0x2F) ?? path.count
            if end > start && stop - start > room { break }
            end = stop
            scan = stop
            while scan < path.count && path[scan] == 0x2F { scan += 1 }
        }
        if end == start { return nil }
        position = scan
        return (isAbsolute ? [0x2F] : []) + path[start..<end]
    }
}
