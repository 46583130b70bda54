package import Client
import Glibc
package import Model
import Platform
package import Policy
package import Recovery

/// What this machine lets its server do, by the file that only its own administrator can change.
package struct RestoreConsent: Sendable {
    private let file: [UInt8]
    /// Who the agent runs as: files and directories of this user are believed like those of root.
    private let user: UInt32

    /// - Parameter file: the consent file.
    package init(file: [UInt8] = Array(MachineAllowance.defaultPath.utf8), user: UInt32 = geteuid()) {
        self.file = file
        self.user = user
    }

    /// The directory of the file: no order changes anything in it.
    package var directory: [UInt8] { DirectoryPath.split(file).parent }

    private var name: String { TreePath.display(file) }

    /// What is allowed now: what the file says, or without one what holds without one.
    ///
    /// - Throws: `forbidden` when the file cannot be believed or read; nothing is allowed then.
    package func allowance() throws -> MachineAllowance {
        let bytes: [UInt8]
        do {
            let opened = try DirectoryPath.openFile(file, [.readOnly, .nonBlocking])
            let status = try opened.status()
            if let doubt = doubt(status, .regular) { throw refused("\(name) \(doubt)") }
            let above = try DirectoryPath.open(directory).status()
            if let doubt = doubt(above, .directory) { throw refused("The directory of \(name) \(doubt)") }
            bytes = try opened.readAll(limit: 1 << 20)
        } catch let error as Errno {
            if error == .noEntry { return MachineAllowance() }
            let why = error == .symbolicLink ? "is a symbolic link" : "cannot be read: \(error)"
            throw refused("\(name) \(why)")
        }
        do { return try MachineAllowance.parse(bytes, file: name) } catch let error as HoldfastError {
            throw refused(error.message)
        }
    }

    /// Why a file or directory cannot be believed; `nil` when it can.
    private func doubt(_ status: FileStatus, _ kind: FileKind) -> String? {
        if status.kind != kind { return kind == .regular ? "is no plain file." : "is no directory." }
        if status.uid != 0, status.uid != user { return "does not belong to root." }
        // In a directory like /tmp only the owner of a name can replace it.
        let isSticky = kind == .directory && status.mode & 0o1000 != 0
        if status.mode & 0o022 != 0, !isSticky { return "can be written by others than root (chmod go-w)." }
        return nil
    }

    private func refused(_ why: String) -> HoldfastError {
        HoldfastError(
            .forbidden, "This machine allows nothing now: \(why)",
            context: ["hint": "Put \(name) right on the machine, and order the restore again."])
    }

    // MARK: One order

    /// Where an order may be carried out. Changes nothing.
    ///
    /// - Parameters:
    ///   - protected: the paths that the policy protects.
    ///   - own: this machine.
    ///   - begun: where this order has begun before, which is then no longer new.
    /// - Throws: `forbidden` with what the machine's administrator can do about it.
    package func destination(
        of wish: RestoreWish, named name: String, protected: [[UInt8]], own: MachineID, begun: [UInt8]?
    ) throws -> RestoreRequest.Destination {
        let allowance = try allowance()
        if wish.source != own, !allowance.otherMachines {
            throw denied("files of another machine to be restored here", "restore: {other-machines: true}")
        }
        switch wish.destination {
        case .inPlace:
            try checkInPlace(wish.paths, protected: protected)
            return .inPlace
        case .newFolder:
            guard let base = allowance.newFolders else {
                throw denied("new folders to be made", "restore: {new-folder: /var/restored}")
            }
            let path = base + [UInt8(ascii: "/")] + name.utf8
            try look(below: base, at: path)
            return .directory(try fresh(path, begun))
        case .folder(let path):
            guard let place = allowance.place(for: path) else {
                throw denied(
                    "anything to be restored to \(TreePath.display(path))",
                    "restore: {paths: [\(TreePath.display(path))]}")
            }
            try look(below: place, at: path)
            return .directory(allowance.newFolders == place ? try fresh(path, begun) : path)
        }
    }

    /// Throws `forbidden` unless all of these may be changed where they are.
    ///
    /// - Parameter protected: the paths that the policy protects.
    package func checkInPlace(_ paths: [TreePath], protected: [[UInt8]]) throws {
        let allowance = try allowance()
        for path in paths {
            let bytes = [UInt8(ascii: "/")] + path.bytes
            guard allowance.allowsInPlace(bytes, protected: protected) else {
                let shown = TreePath.display(bytes)
                let example = path.isRoot ? "true" : "[\(shown)]"
                throw denied("\(shown) to be put back in place", "restore: {in-place: \(example)}")
            }
        }
    }

    private func denied(_ what: String, _ line: String) -> HoldfastError {
        HoldfastError(
            .forbidden, "This machine does not allow \(what).",
            context: [
                "hint":
                    "If it is to be allowed, its administrator writes into \(name) there: \(line). Then order it again."
            ])
    }

    /// Throws unless nothing is there, or what this order has made there before.
    private func fresh(_ path: [UInt8], _ begun: [UInt8]?) throws -> [UInt8] {
        if path == begun || (try? FileSystem.status(path)) == nil { return path }
        throw HoldfastError(
            .forbidden, "\(TreePath.display(path)) is there already, and this machine allows new folders only.",
            context: ["hint": "Choose another name, or allow the folder: restore: {paths: [...]} in \(name)."])
    }

    /// Makes the folder that an order goes to, and what is missing above it: for everybody to enter, whatever the agent's own
    /// files are made with. What is in it has the rights that it had.
    package func make(_ destination: RestoreRequest.Destination) throws {
        guard case .directory(let path) = destination else { return }
        do throws(Errno) {
            var here = try DirectoryPath.open([UInt8(ascii: "/")])
            var at = [UInt8]()
            for name in path.split(separator: UInt8(ascii: "/")) {
                at += [UInt8(ascii: "/")] + name
                let above = here.raw
                let isNew = try exists(at) == nil
                let next = try withCName(Array(name)) { (pointer) throws(Errno) in
                    if isNew { try FileSystem.makeDirectory(at: above, pointer, mode: 0o755) }
                    return try FileDescriptor.open(at: above, pointer, [.readOnly, .directory, .followLink])
                }
                if isNew { try FileSystem.setMode(descriptor: next.raw, 0o755) }
                here = next
            }
        } catch {
            throw HoldfastError(
                error.isNoSpace ? .noSpace : .io, "\(TreePath.display(path)) cannot be made: \(error).", cause: error)
        }
    }

    /// Looks at every directory on the way to `path`: nobody but root may be able to put something else in its place.
    private func look(below place: [UInt8], at path: [UInt8]) throws {
        do {
            var end = 0
            var isShared = false
            while end < path.count {
                end = path[(end + 1)...].firstIndex(of: UInt8(ascii: "/")) ?? path.count
                let here = Array(path[..<end])
                guard let status = try exists(here) else {
                    if !isShared { return }
                    // Before it is made, somebody else could make it, and lead somewhere.
                    throw HoldfastError(
                        .forbidden,
                        "Nothing is restored to \(TreePath.display(path)): \(TreePath.display(here)) is not there, and everybody may "
                            + "make names in the directory above it.",
                        context: ["hint": "Make that directory as root first, or choose one that only root can change."]
                    )
                }
                isShared = status.kind == .directory && status.mode & 0o022 != 0
                // Above the place its administrator may have set links.
                if status.kind == .symbolicLink, here.count < place.count, status.uid == 0 || status.uid == user {
                    continue
                }
                guard let doubt = doubt(status, .directory) else { continue }
                throw HoldfastError(
                    .forbidden,
                    "Nothing is restored to \(TreePath.display(path)): \(TreePath.display(here)) \(doubt)",
                    context: [
                        "hint":
                            "Somebody else could lead the restore elsewhere. Choose a directory that only root can change."
                    ])
            }
        } catch let error as Errno {
            throw HoldfastError(
                .forbidden, "\(TreePath.display(path)) cannot be looked at: \(error).", cause: error)
        }
    }

    private func exists(_ path: [UInt8]) throws(Errno) -> FileStatus? {
        do throws(Errno) { return try FileSystem.status(path) } catch {
            if error == .noEntry { return nil }
            throw error
        }
    }
}
