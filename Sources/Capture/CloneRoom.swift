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

    /// A copy of an open file; `nil` where none can be made, or where it might fill the disk: as long as it lives, what is
    /// written to the file takes room of its own.
    func clone(of file: DirectoryHandle, _ status: FileStatus) -> DirectoryHandle? {
        guard let space = try? FileSystem.space(descriptor: file.raw),
            CloneRoom.hasRoom(for: status.blocks, available: space.available)
        else { return nil }
        if let known = places[status.device] {
            guard case .copy(let copy)? = known.map({ clone(file, in: $0) }) else { return nil }
            return copy
        }
        for place in candidates(file, status) {
            switch clone(file, in: place) {
            case .copy(let copy):
                places[status.device] = .some(place)
                return copy
            // Another file may well be.
            case .notThis: return nil
            case .notHere: continue
            }
        }
        places[status.device] = .some(nil)
        return nil
    }

    /// Whether a file may be written anew in whole while its copy lives, and half of the free disk is left.
    ///
    /// - Parameters:
    ///   - blocks: of 512 bytes.
    ///   - available: free bytes.
    static func hasRoom(for blocks: UInt64, available: UInt64) -> Bool {
        let (bytes, overflow) = blocks.multipliedReportingOverflow(by: 512)
        return !overflow && bytes <= available / 2
    }

    private func candidates(_ file: DirectoryHandle, _ status: FileStatus) -> [[UInt8]] {
        guard let type = (try? FileSystem.space(descriptor: file.raw))?.typeName, type == "xfs" || type == "btrfs"
        else {
            return []
        }
        var found: [[UInt8]] = []
        if let staging { found.append(staging.directory) }
        if let table = try? MountTable.current() {
            // Subvolumes of btrfs have device numbers of their own, which are not those of the mount.
            for entry in table.entries
            where (entry.device == status.device || entry.id == status.mount) && !entry.isReadOnly {
                found.append(entry.mountPoint)
            }
        }
        return found
    }

    private enum Outcome {
        case copy(DirectoryHandle)
        /// The file is one that cannot be, as one without copy-on-write.
        case notThis
        case notHere
    }

    private func clone(_ file: DirectoryHandle, in place: [UInt8]) -> Outcome {
        guard let directory = try? FileDescriptor.open(place, [.readOnly, .directory]),
            let opened = try? FileDescriptor.open(at: directory.raw, [UInt8(ascii: ".")], [.readWrite, .unnamed])
        else { return .notHere }
        do throws(Errno) {
            return try opened.clone(from: file.descriptor) ? .copy(DirectoryHandle(opened)) : .notHere
        } catch {
            return .notThis
        }
    }
}
