import Model
import Platform

/// Directories that no restore changes, whatever a point or the user says: the vault that is restored from, and the state
/// of this program.
///
/// They are told apart by device and inode, so that it does not matter through which link, mount or relative path somebody
/// named them. Besides them, whatever looks like a vault is never removed.
package struct OwnPlaces: Sendable {
    private struct Node: Hashable, Sendable {
        var device: UInt64
        var inode: UInt64

        init(_ status: FileStatus) {
            device = status.device
            inode = status.inode
        }
    }

    /// For messages about what was left alone.
    static let words = "it is a vault or a place of this program, and was left alone"

    private var nodes: Set<Node> = []

    package init() {}

    /// - Parameter paths: as this process names them; links are followed. What is not there needs no care.
    /// - Throws: `io` for a place that cannot be looked at: what is not known cannot be spared.
    package init(_ paths: [[UInt8]]) throws {
        for path in paths {
            do throws(Errno) {
                nodes.insert(
                    Node(try withCName(path) { (name) throws(Errno) in try FileSystem.statusFollowing(name) }))
            } catch {
                if error == .noEntry { continue }
                throw HoldfastError(
                    .io, "\(TreePath.display(path)) cannot be looked at: \(error). Nothing was restored.",
                    context: ["path": TreePath.display(path)], cause: error)
            }
        }
    }

    /// Whether a file is one of the places.
    func contains(_ status: FileStatus) -> Bool { nodes.contains(Node(status)) }

    /// Whether a directory that is about to be removed or emptied is one of the places, or anybody's vault.
    func holds(_ status: FileStatus, _ descriptor: Int32) -> Bool {
        contains(status) || OwnPlaces.isVault(descriptor)
    }

    /// As the other `holds`, for a name that was not opened yet.
    func holds(_ status: FileStatus, at directory: Int32, _ name: TerminatedName) throws(Errno) -> Bool {
        guard status.kind == .directory else { return false }
        if contains(status) { return true }
        let opened = try name.withPointer { (pointer) throws(Errno) in
            try FileDescriptor.openDirectory(at: directory, pointer)
        }
        return OwnPlaces.isVault(opened.raw)
    }

    /// Whether a directory looks like a vault: its configuration, and keys or packs.
    private static func isVault(_ directory: Int32) -> Bool {
        guard kind(directory, "config.json") == .regular else { return false }
        return kind(directory, "packs") == .directory || kind(directory, "keys") == .directory
    }

    private static func kind(_ directory: Int32, _ name: UnsafePointer<CChar>) -> FileKind? {
        (try? FileSystem.statusIfAny(at: directory, name))??.kind
    }

    /// Throws `usage` when a directory to restore to, or one that would have to be made for it, is one of the places, a
    /// vault, or inside of one.
    func refuse(destination: [UInt8]) throws {
        let isInside: Bool
        do throws(Errno) { isInside = try encloses(destination) } catch {
            throw HoldfastError(
                error.isDenied ? .denied : .io, "Cannot restore to \(TreePath.display(destination)): \(error).",
                context: ["path": TreePath.display(destination)], cause: error)
        }
        if isInside {
            throw HoldfastError(
                .usage,
                "\(TreePath.display(destination)) is, or lies in, a vault or a place of this program. Restore to another "
                    + "directory.", context: ["path": TreePath.display(destination)])
        }
    }

    private func encloses(_ path: [UInt8]) throws(Errno) -> Bool {
        var here = try OwnPlaces.openNearest(path)
        while true {
            let status = try here.status()
            if holds(status, here.raw) { return true }
            let number = here.raw
            let above: FileDescriptor
            do throws(Errno) {
                above = try FileDescriptor.open(at: number, "..", [.pathOnly, .directory])
            } catch {
                // Whoever may not look further up does not find a vault there either.
                if error.isDenied { return false }
                throw error
            }
            if try above.status().isSameFile(as: status) { return false }
            here = above
        }
    }

    /// The directory, or the nearest one above it that is there.
    static func openNearest(_ path: [UInt8]) throws(Errno) -> FileDescriptor {
        var path = path
        while true {
            do throws(Errno) { return try DirectoryPath.open(path) } catch {
                guard error == .noEntry, !path.isEmpty else { throw error }
                path = DirectoryPath.split(path).parent
            }
        }
    }
}
