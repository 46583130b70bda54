package import Model

/// What a restore is to do.
package struct RestoreRequest: Sendable {
    /// Where things go.
    package enum Destination: Hashable, Sendable {
        /// Each path below this directory under its full path: `DIR/etc/fstab`. Made when it does not exist.
        case directory([UInt8])
        /// To where it was, below a root: `/`, or where a machine's file systems are mounted for its recovery.
        case inPlace(root: [UInt8])

        /// Back to where it was on this machine.
        package static let inPlace = Destination.inPlace(root: [UInt8(ascii: "/")])

        /// The directory that stands for the root of the captured machine.
        package var root: [UInt8] {
            switch self {
            case .directory(let path), .inPlace(let path): path
            }
        }
    }

    /// What happens when a name is taken by something else than what the point has. What is there already with the same
    /// content and metadata is never touched.
    package enum Conflict: String, Hashable, Sendable, CaseIterable {
        /// What is there stays; the point's goes beside it under a name with a suffix (`Restorer.renamed`).
        case rename
        /// What is there is replaced.
        case always
        /// What is there stays.
        case never
        /// What is there is replaced only when the point's has a later modification time.
        case newer
    }

    /// The paths to restore, in normal form; the root stands for all.
    package var paths: [TreePath]
    package var destination: Destination
    /// `nil`: `always` in place (what is replaced is in the point that is made before), `rename` below a directory.
    package var conflict: Conflict?
    /// Remove what the point does not have, below the asked paths and only inside of what was protected.
    package var deleteExtra = false
    package var owners: OwnerPolicy = .names
    /// Compare everything that was written with the vault once more.
    package var verify = false
    /// Wait until everything is on the disk. `nil`: in place yes, below a directory no.
    package var sync: Bool?
    /// Threads that open blobs and write files; 0: one for each processor, at most 8.
    package var workers = 0
    /// Files that may be open at once; 0: as many as the system allows.
    package var openFiles = 0
    /// Check every blob against its content key, besides the tag of its seal.
    package var checkContents = true
    /// Places in the destination, relative to its root, that are never removed or replaced: vaults and state.
    package var untouchable: [TreePath] = []

    package init(paths: [TreePath] = [.root], destination: Destination) {
        self.paths = paths
        self.destination = destination
    }

    /// The conflict rule that holds.
    package var effectiveConflict: Conflict { conflict ?? (isInPlace ? .always : .rename) }

    package var isInPlace: Bool {
        if case .inPlace = destination { return true }
        return false
    }

    /// Whether the end waits for the disk.
    var syncs: Bool { sync ?? isInPlace }

    /// Throws `usage` for wishes that exclude each other.
    func check() throws {
        if deleteExtra, effectiveConflict == .rename {
            throw HoldfastError(
                .usage,
                "--delete makes a directory exactly what it was; it does not go with --conflict rename. Choose --conflict "
                    + "always (or never, or newer).")
        }
        if destination.root.isEmpty { throw HoldfastError(.usage, "The directory to restore to has no name.") }
    }
}
