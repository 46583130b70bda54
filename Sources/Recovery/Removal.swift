import Model
import Platform

/// Removes trees of the destination without following links, without leaving the file system, and without recursion.
enum Removal {
    /// What stopped a removal.
    struct Failure {
        let path: [UInt8]
        let text: String
    }

    /// Removes a name and everything below it. What cannot be removed stays, with all directories above it.
    ///
    /// - Parameters:
    ///   - path: of the name, for messages.
    ///   - isKept: asked for each path below and the name itself; true leaves it alone.
    /// - Returns: how many names were removed.
    static func remove(
        at directory: Int32, _ name: TerminatedName, path: [UInt8], isKept: ([UInt8]) -> Bool,
        _ failed: (Failure) -> Void
    ) -> UInt64 {
        if isKept(path) {
            failed(Failure(path: path, text: "it is a vault or a place of this program and was left alone"))
            return 0
        }
        do throws(Errno) {
            let status = try name.withPointer { (pointer) throws(Errno) in try FileSystem.status(at: directory, pointer)
            }
            if status.kind != .directory {
                try makeChangeable(at: directory, name, status)
                try name.withPointer { (pointer) throws(Errno) in try FileSystem.remove(at: directory, pointer) }
                return 1
            }
            return try removeDirectory(at: directory, name, status, path: path, isKept: isKept, failed)
        } catch {
            if error != .noEntry { failed(Failure(path: path, text: "it cannot be removed: \(error)")) }
            return 0
        }
    }

    private final class Level {
        let name: TerminatedName
        let path: [UInt8]
        let descriptor: FileDescriptor
        var names = NameList()
        var next = 0

        init(_ name: TerminatedName, _ path: [UInt8], _ descriptor: consuming FileDescriptor) {
            self.name = name
            self.path = path
            self.descriptor = descriptor
        }
    }

    private static func removeDirectory(
        at directory: Int32, _ name: TerminatedName, _ status: FileStatus, path: [UInt8], isKept: ([UInt8]) -> Bool,
        _ failed: (Failure) -> Void
    ) throws(Errno) -> UInt64 {
        var removed: UInt64 = 0
        var listing = DirectoryReader()
        var levels = [try open(at: directory, name, path, &listing)]
        while let level = levels.last {
            if level.next == level.names.count {
                levels.removeLast()
                let parent = levels.last?.descriptor.raw ?? directory
                do throws(Errno) {
                    try level.name.withPointer { (pointer) throws(Errno) in
                        try FileSystem.removeDirectory(at: parent, pointer)
                    }
                    removed += 1
                } catch {
                    // Not empty: what is left in it was reported already.
                    if error != .notEmpty, error != .exists, error != .noEntry {
                        failed(Failure(path: level.path, text: "it cannot be removed: \(error)"))
                    }
                }
                continue
            }
            let child = TerminatedName(level.names.name(level.next))
            level.next += 1
            let childPath = level.path + [UInt8(ascii: "/")] + child.name
            if isKept(childPath) {
                failed(Failure(path: childPath, text: "it is a vault or a place of this program and was left alone"))
                continue
            }
            do throws(Errno) {
                let found = try child.withPointer { (pointer) throws(Errno) in
                    try FileSystem.status(at: level.descriptor.raw, pointer)
                }
                if found.kind != .directory {
                    try makeChangeable(at: level.descriptor.raw, child, found)
                    try child.withPointer { (pointer) throws(Errno) in
                        try FileSystem.remove(at: level.descriptor.raw, pointer)
                    }
                    removed += 1
                } else if found.device != status.device || found.attributes.contains(.mountRoot) {
                    failed(Failure(path: childPath, text: "another file system is mounted there; it was left alone"))
                } else {
                    try makeChangeable(at: level.descriptor.raw, child, found)
                    levels.append(try open(at: level.descriptor.raw, child, childPath, &listing))
                }
            } catch {
                if error != .noEntry { failed(Failure(path: childPath, text: "it cannot be removed: \(error)")) }
            }
        }
        return removed
    }

    private static func open(
        at directory: Int32, _ name: TerminatedName, _ path: [UInt8], _ listing: inout DirectoryReader
    ) throws(Errno) -> Level {
        let descriptor = try name.withPointer { (pointer) throws(Errno) in
            try FileDescriptor.openDirectory(at: directory, pointer)
        }
        let level = Level(name, path, descriptor)
        try level.names.read(level.descriptor.raw, with: &listing)
        return level
    }

    /// Takes flags away that forbid to replace or remove a file.
    static func makeChangeable(at directory: Int32, _ name: TerminatedName, _ status: FileStatus) throws(Errno) {
        guard status.attributes.contains(.immutable) || status.attributes.contains(.appendOnly) else { return }
        guard status.kind == .regular || status.kind == .directory else { return }
        let file = try name.withPointer { (pointer) throws(Errno) in
            try FileDescriptor.open(at: directory, pointer, [.readOnly, .nonBlocking])
        }
        let flags = try FileSystem.flags(descriptor: file.raw)
        try FileSystem.setFlags(descriptor: file.raw, flags.subtracting(.afterEverything))
    }
}
