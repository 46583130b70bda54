import Model
import Platform

/// Removes trees of the destination without following links, without leaving the file system, and without recursion.
enum Removal {
    /// What stopped a removal.
    struct Failure {
        let path: [UInt8]
        let text: String
        /// It could not be removed, or (a conflict) it was not to be.
        var kind = RestoreIssue.Kind.failed
    }

    /// Removes a name and everything below it. What cannot be removed stays, with all directories above it.
    ///
    /// - Parameters:
    ///   - path: of the name, for messages.
    ///   - own: what is left alone, as is every other vault.
    ///   - moment: what was changed since then is left alone, a directory with everything in it.
    /// - Returns: how many names were removed.
    static func remove(
        at directory: Int32, _ name: TerminatedName, path: [UInt8], own: OwnPlaces,
        moment: PlanMoment?, _ failed: (Failure) -> Void
    ) -> UInt64 {
        do throws(Errno) {
            let status = try name.withPointer { (pointer) throws(Errno) in try FileSystem.status(at: directory, pointer)
            }
            if let moment {
                if moment.isBefore(status) {
                    failed(Failure(path: path, text: PlanMoment.words, kind: .conflict))
                    return 0
                }
                moment.noteNames(status)
            }
            if let words = DatabaseLogs.obstacle(removing: name, status, at: directory, moment) {
                failed(Failure(path: path, text: words, kind: .conflict))
                return 0
            }
            if status.kind != .directory {
                try makeChangeable(at: directory, name, status)
                try name.withPointer { (pointer) throws(Errno) in try FileSystem.remove(at: directory, pointer) }
                return 1
            }
            let parent = try FileSystem.status(at: directory, "")
            if parent.device != status.device || status.attributes.contains(.mountRoot) {
                failed(Failure(path: path, text: mounted, kind: .conflict))
                return 0
            }
            return try removeDirectory(
                at: directory, name, status, path: path, own: own, moment: moment, failed)
        } catch {
            if error != .noEntry { failed(Failure(path: path, text: "it cannot be removed: \(error)")) }
            return 0
        }
    }

    private static let mounted = "another file system is mounted there; it was left alone"

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
        at directory: Int32, _ name: TerminatedName, _ status: FileStatus, path: [UInt8], own: OwnPlaces,
        moment: PlanMoment?, _ failed: (Failure) -> Void
    ) throws(Errno) -> UInt64 {
        var removed: UInt64 = 0
        var listing = DirectoryReader()
        var levels: [Level] = []
        func enter(at directory: Int32, _ name: TerminatedName, _ path: [UInt8], _ found: FileStatus) throws(Errno) {
            let level = try open(at: directory, name, path, &listing)
            // What is removed is what was opened, and that is what is looked at.
            if own.holds(try level.descriptor.status(), level.descriptor.raw) {
                failed(Failure(path: path, text: OwnPlaces.words, kind: .conflict))
                return
            }
            try makeChangeable(at: directory, name, found)
            levels.append(level)
        }
        try enter(at: directory, name, path, status)
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
            do throws(Errno) {
                let found = try child.withPointer { (pointer) throws(Errno) in
                    try FileSystem.status(at: level.descriptor.raw, pointer)
                }
                if let moment {
                    if moment.isBefore(found) {
                        failed(Failure(path: childPath, text: PlanMoment.words, kind: .conflict))
                        continue
                    }
                    moment.noteNames(found)
                }
                if let words = DatabaseLogs.obstacle(removing: child, found, at: level.descriptor.raw, moment) {
                    failed(Failure(path: childPath, text: words, kind: .conflict))
                    continue
                }
                if found.kind != .directory {
                    try makeChangeable(at: level.descriptor.raw, child, found)
                    try child.withPointer { (pointer) throws(Errno) in
                        try FileSystem.remove(at: level.descriptor.raw, pointer)
                    }
                    removed += 1
                } else if found.device != status.device || found.attributes.contains(.mountRoot) {
                    failed(Failure(path: childPath, text: mounted, kind: .conflict))
                } else {
                    try enter(at: level.descriptor.raw, child, childPath, found)
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
