import Platform

/// Makes copies of files that share their blocks (`FICLONE`, on XFS and btrfs), so that a file that goes on changing is read as it
/// was at one moment.
///
/// A copy has no name and ends with its descriptor. It has to lie on the file system of the original: in the staging place, or where
/// the file system is mounted, if this process may write there. Nothing of it stays open.
final class CloneRoom {
    /// Shorter files are read faster than cloned, in bytes.
    static let leastSize: UInt64 = 1 << 20

    private let staging: StagingPlace?
    /// Where clones could be made of files on a file system; `nil`: nowhere.
    private var places: [UInt64: [UInt8]?] = [:]

    init(_ staging: StagingPlace?) { self.staging = staging }

    /// A copy of an open file; `nil` where none can be made.
    func clone(of file: DirectoryHandle, _ status: FileStatus) -> DirectoryHandle? {
        if let known = places[status.device] { return known.flatMap { clone(file, in: $0) } }
        var found: [UInt8]?
        defer { places[status.device] = .some(found) }
        for place in candidates(file, status.device) {
            if let copy = clone(file, in: place) {
                found = place
                return copy
            }
        }
        return nil
    }

    private func candidates(_ file: DirectoryHandle, _ device: UInt64) -> [[UInt8]] {
        guard let type = (try? FileSystem.space(descriptor: file.raw))?.typeName, type == "xfs" || type == "btrfs"
        else {
            return []
        }
        var found: [[UInt8]] = []
        if let staging { found.append(staging.directory) }
        if let table = try? MountTable.current() {
            for entry in table.entries where entry.device == device && !entry.isReadOnly {
                found.append(entry.mountPoint)
            }
        }
        return found
    }

    private func clone(_ file: DirectoryHandle, in place: [UInt8]) -> DirectoryHandle? {
        guard let directory = try? FileDescriptor.open(place, [.readOnly, .directory]),
            let opened = try? FileDescriptor.open(at: directory.raw, [UInt8(ascii: ".")], [.readWrite, .unnamed]),
            (try? opened.clone(from: file.descriptor)) == true
        else { return nil }
        return DirectoryHandle(opened)
    }
}
