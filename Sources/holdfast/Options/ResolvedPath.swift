import Model
import Platform

/// A path that somebody wants protected, without symbolic links on its way: the tree of a point has none to go through.
///
/// A link at its end stays what it is, unless a slash behind it says that what it leads to is meant.
struct ResolvedPath {
    /// Where it is.
    let path: TreePath
    /// The absolute path that was typed, with `.` and repeated slashes taken out; without slashes at its ends.
    let asTyped: [UInt8]
    /// Where it leads to, when it is a symbolic link that leads somewhere.
    let target: TreePath?

    private static let slash = UInt8(ascii: "/")
    /// As many as the kernel follows.
    private static let linkLimit = 40

    /// Throws `notFound` with what to do when there is nothing.
    init(_ argument: PathArgument) throws {
        let absolute = try argument.fromWorkingDirectory()
        let isDirectory = absolute.last == Self.slash || absolute.suffix(2) == [Self.slash, UInt8(ascii: ".")]
        asTyped = Array(
            absolute.split(separator: Self.slash).filter { $0 != [0x2E] }.joined(separator: [Self.slash]))
        do {
            let found = try Self.resolve(absolute, followsLast: isDirectory)
            guard let path = TreePath(normalizing: Array(found.names.joined(separator: [Self.slash]))) else {
                throw HoldfastError(.usage, "\(argument) cannot be a path: it has a name of more than 255 bytes.")
            }
            self.path = path
        } catch let error as Errno {
            let text = TreePath.display([Self.slash] + asTyped)
            if error.isGone {
                throw HoldfastError(
                    .notFound, "There is no \(text).",
                    context: ["hint": "Is something not mounted? Nothing was protected."], cause: error)
            }
            throw HoldfastError(
                error.isDenied ? .denied : .io, "\(text) cannot be looked at: \(error).", cause: error)
        }
        let link = try? FileSystem.status([Self.slash] + path.bytes)
        guard link?.kind == .symbolicLink, let end = try? Self.resolve(absolute, followsLast: true) else {
            target = nil
            return
        }
        target = TreePath(normalizing: Array(end.names.joined(separator: [Self.slash])))
    }

    /// Walks down an absolute path of any length as the kernel would.
    private static func resolve(_ absolute: [UInt8], followsLast: Bool) throws(Errno) -> (names: [[UInt8]], links: Int)
    {
        var pending = Array(absolute.split(separator: slash).map(Array.init).reversed())
        var names: [[UInt8]] = []
        var links = 0
        var here = try FileDescriptor.open([slash], [.pathOnly, .directory])
        while let name = pending.popLast() {
            if name == [0x2E] { continue }
            if name == [0x2E, 0x2E] {
                _ = names.popLast()
                here = try descend(here.raw, name)
                continue
            }
            let isLast = pending.allSatisfy { $0 == [0x2E] }
            let status = try FileSystem.status(at: here.raw, name)
            guard status.kind == .symbolicLink, !isLast || followsLast else {
                names.append(name)
                if !isLast { here = try descend(here.raw, name) }
                continue
            }
            links += 1
            if links > linkLimit { throw .symbolicLink }
            let raw = here.raw
            let target = try withCName(name) { (pointer) throws(Errno) in
                try FileSystem.linkTarget(at: raw, pointer)
            }
            if target.first == slash {
                names = []
                here = try FileDescriptor.open([slash], [.pathOnly, .directory])
            }
            pending += target.split(separator: slash).map(Array.init).reversed()
        }
        return (names, links)
    }

    private static func descend(_ directory: Int32, _ name: [UInt8]) throws(Errno) -> FileDescriptor {
        try FileDescriptor.open(at: directory, name, [.pathOnly, .directory])
    }
}
