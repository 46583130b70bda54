package import Model
import Vault

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
    /// `nil`: `always` in place (what is replaced is in the point that is made before), `rename` below a directory, be it
    /// one that an interrupted run began: who knows who has worked there since.
    package var conflict: Conflict?
    /// Remove what the point does not have, below the asked paths and only inside of what was protected.
    package var deleteExtra = false
    package var owners: OwnerPolicy = .names
    /// Read everything back when it is done and compare it with the vault. Implies `checksContents`.
    package var verify = false
    /// Compare the contents of files that are there with the vault, instead of trusting size and modification time. What
    /// differs is replaced as the conflict rule says.
    package var checksContents = false
    /// Wait until everything is on the disk, on every file system that was written to.
    package var sync = true
    /// Remove also what the backup was told to leave out; without it `deleteExtra` is refused for such points.
    package var deletesExcluded = false
    /// Threads that open blobs and write files; 0: one for each processor, at most 8.
    package var workers = 0
    /// Files that may be open at once; 0: as many as the system allows.
    package var openFiles = 0
    /// Check every blob against its content key, besides the tag of its seal.
    package var checkContents = true
    /// Nothing is brought back that gives rights beyond those of who owns it: no set-user-id and set-group-id bits, no
    /// capabilities, no devices. For what somebody elsewhere has ordered.
    package var withholdsPrivileges = false
    /// What is never changed: the vault and the state of this program.
    package var own = OwnPlaces()

    /// Paths in the point whose content in the destination is another one although size and time are the same; `nil`:
    /// nobody has looked.
    var differing: Set<[UInt8]>?
    /// A restore is taken back: nobody typed the paths, and what was restored may well look like what was there before.
    var takesBack = false
    /// In place with a point before: what was changed since then is neither replaced nor removed.
    var moment: PlanMoment?

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

    /// Whether files that are there are read before anything is decided on.
    var readsContents: Bool { checksContents || verify }

    /// Why an entry is not restored at all; `nil` when it may be.
    func refusal(of entry: Entry) -> String? {
        let isDevice = entry.kind == .characterDevice || entry.kind == .blockDevice
        return withholdsPrivileges && isDevice ? "a device: the order of a server makes none" : nil
    }

    /// Throws `usage` for wishes that exclude each other or the point's nature, and `notFound` for paths that are not in it.
    func check(_ reader: PointReader) throws {
        if deleteExtra, effectiveConflict == .rename {
            throw HoldfastError(
                .usage,
                "--delete makes a directory exactly what it was; it does not go with --conflict rename. Choose --conflict "
                    + "always (or never, or newer).")
        }
        if deleteExtra, reader.locator.isPartial, !takesBack {
            throw HoldfastError(
                .usage,
                "This point was made before its backup had come to the end: --delete would remove what the backup had not "
                    + "read yet. Nothing was changed.",
                context: ["hint": "Restore without --delete, or from a point that is complete: `holdfast points`."])
        }
        if destination.root.isEmpty { throw HoldfastError(.usage, "The directory to restore to has no name.") }
        let rules = reader.record.exclusions
        if deleteExtra, !deletesExcluded, !rules.isEmpty {
            let shown = rules.prefix(3).map { TreePath.display($0) }.joined(separator: ", ")
            throw HoldfastError(
                .usage,
                "This point was made with \(shown)\(rules.count > 3 ? " and \(rules.count - 3) more rules" : ""): --delete "
                    + "would remove what the backup was told to leave out. Nothing was changed.",
                context: [
                    "hint": "Restore without --delete, or add --delete-excluded if that is to be removed as well."
                ])
        }
        try checkPaths(reader)
        try own.refuse(destination: destination.root)
    }

    private func checkPaths(_ reader: PointReader) throws {
        if takesBack { return }
        let missing = try paths.filter { try !$0.isRoot && reader.tree.lookup($0) == nil }
        guard let first = missing.first else { return }
        let held = reader.protectedPaths.prefix(5).map(\.displayText).joined(separator: ", ")
        throw HoldfastError(
            .notFound,
            missing.count == 1
                ? "\(first.displayText) is not in this point. Nothing was restored."
                : "\(first.displayText) and \(missing.count - 1) more paths are not in this point. Nothing was restored.",
            context: [
                "path": first.displayText,
                "hint":
                    "The point holds \(held)\(reader.protectedPaths.count > 5 ? ", ..." : ""); `holdfast find` looks "
                    + "for names.",
            ])
    }
}
