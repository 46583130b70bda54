package import Model
import Vault

/// Somebody on this machine, as the kernel knows them.
package struct LocalPerson: Hashable, Sendable {
    package var uid: UInt32
    package var gid: UInt32
    /// Further groups.
    package var groups: [UInt32]

    package init(uid: UInt32, gid: UInt32, groups: [UInt32]) {
        self.uid = uid
        self.gid = gid
        self.groups = groups
    }

    package var isRoot: Bool { uid == 0 }

    fileprivate func belongs(to group: UInt32) -> Bool { gid == group || groups.contains(group) }
}

/// Who could reach a path when it was captured: owner, group and mode of each directory above it, from the top.
///
/// The local history is shown by these, not by what the directories are now: what was private then stays private.
package struct PathAccess: Hashable, Sendable {
    struct Directory: Hashable, Sendable {
        var uid: UInt32
        var gid: UInt32
        var mode: UInt16
        /// It has an access control list, which is not looked into: only its owner counts.
        var hasList: Bool

        init(_ entry: Entry) {
            uid = entry.uid
            gid = entry.gid
            mode = entry.mode
            // A blob of attributes of its own may hold one.
            hasList = entry.attributesBlob != nil || entry.attributes.contains { $0.name == PathAccess.listName }
        }

        init(uid: UInt32, gid: UInt32, mode: UInt16, hasList: Bool) {
            self.uid = uid
            self.gid = gid
            self.mode = mode
            self.hasList = hasList
        }

        /// Whether `person` has all bits of `wanted` (4 to read, 1 to pass through).
        func grants(_ wanted: UInt16, to person: LocalPerson) -> Bool {
            if person.uid == uid { return mode >> 6 & wanted == wanted }
            if hasList { return false }
            return (person.belongs(to: gid) ? mode >> 3 : mode) & wanted == wanted
        }
    }

    private static let listName = Array("system.posix_acl_access".utf8)
    /// `nil` for one of which nothing was known: nobody but root passes.
    private var directories: [Directory?]

    /// - Parameter entry: what is known of a directory.
    package init(of path: TreePath, _ entry: (TreePath) -> Entry?) {
        directories = []
        var above = path.parent
        while let directory = above {
            directories.append(entry(directory).map { Directory($0) })
            above = directory.parent
        }
        directories.reverse()
    }

    /// Whether `person` could read a file that had this entry.
    package func permits(_ entry: Entry, to person: LocalPerson) -> Bool {
        if person.isRoot { return true }
        return directories.allSatisfy { $0?.grants(1, to: person) == true } && Directory(entry).grants(4, to: person)
    }

    // MARK: Coding

    package func encoded() -> [UInt8] {
        var out = ByteWriter(capacity: directories.count * 8)
        for directory in directories {
            guard let directory else {
                out.u8(0)
                continue
            }
            out.u8(directory.hasList ? 2 : 1)
            out.varint(UInt64(directory.uid))
            out.varint(UInt64(directory.gid))
            out.varint(UInt64(directory.mode))
        }
        return out.bytes
    }

    /// Throws `damaged` for anything that `encoded` did not make.
    package init(decoding bytes: [UInt8]) throws {
        directories = try bytes.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            var directories: [Directory?] = []
            while !reader.isAtEnd {
                let kind = try reader.u8()
                guard kind <= 2 else { throw ByteReader.malformed("an access") }
                if kind == 0 {
                    directories.append(nil)
                    continue
                }
                directories.append(
                    Directory(
                        uid: UInt32(try reader.varint(atMost: Int(UInt32.max))),
                        gid: UInt32(try reader.varint(atMost: Int(UInt32.max))),
                        mode: UInt16(try reader.varint(atMost: 0xFFFF)), hasList: kind == 2))
            }
            return directories
        }
    }
}
