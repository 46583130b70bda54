import Model
import Platform
import Vault

/// What is to happen to a name.
enum Decision {
    /// Nothing stands there.
    case create
    /// It is there as the point has it.
    case same
    /// The content is there, metadata differ.
    case metadata(FileStatus)
    /// Something else stands there and is replaced.
    case replace(FileStatus)
    /// Something else stands there and stays; the reason, when that is worth a warning.
    case keep(warning: String?)
    /// Something else stands there and stays; the point's goes under this name, in place of what an earlier run put there.
    case rename(TerminatedName, FileStatus?)
}

/// Compares the destination with entries and applies the conflict rule. For one thread.
final class Examiner {
    let reader: PointReader
    private let conflict: RestoreRequest.Conflict
    private let deleteExtra: Bool
    /// Whether owners can be set at all: root, or the right to.
    let setsOwners: Bool
    /// The suffix of names under the rule `rename`.
    private let suffix: [UInt8]
    private var attributes = AttributeReader()
    private let own: OwnPlaces
    private let withholdsPrivileges: Bool
    /// What was found to differ although size and time do not, by path in the point.
    private let differing: Set<[UInt8]>
    /// The files with several names that entries were compared with.
    private var shared: [SharedFile: LinkGroup?] = [:]
    private let keepsBeside: Bool
    /// Everything in the destination was made by this restore, or by an earlier run of it that was interrupted.
    private let isFresh: Bool
    /// An earlier run was.
    private let isResumed: Bool
    let moment: PlanMoment?
    /// A directory that a restore put where something else was makes room for it again, with everything in it.
    private let takesBack: Bool

    private struct SharedFile: Hashable {
        let device: UInt64
        let inode: UInt64
    }

    /// Nothing is to happen: what has the content is answered with `same` or `metadata`, whatever the rule.
    let onlyCompares: Bool

    // Of databases and their logs; see `follow`.
    var databases = EarlierNames<KnownDatabase>()
    /// What was asked for.
    let chosen: Set<TreePath>
    /// The last decision was that of a log that goes with its database.
    var isFollowing = false
    /// The point's version is under this name already, as the last decision found.
    var beside: TerminatedName?
    /// What stays by the last decision is what the point has.
    var isThere = false

    /// - Parameter place: the destination, if it is there already.
    init(
        reader: PointReader, request: RestoreRequest, setsOwners: Bool, place: RestorePlace?, onlyCompares: Bool = false
    ) {
        self.onlyCompares = onlyCompares
        self.reader = reader
        conflict = request.effectiveConflict
        deleteExtra = request.deleteExtra
        self.setsOwners = setsOwners
        suffix = Array(".restored-\(reader.point.hex.prefix(8))".utf8)
        own = request.own
        withholdsPrivileges = request.withholdsPrivileges
        differing = request.differing ?? []
        isFresh = place?.isFresh != false
        isResumed = place?.isUnfinished == true && isFresh
        keepsBeside = isResumed && request.conflict != nil
        moment = request.moment
        takesBack = request.takesBack
        chosen = Set(reader.withLogs(request.paths))
    }

    /// The name that the point's version of `name` gets under the rule `rename`; cut where it would be too long.
    func renamed(_ name: some Collection<UInt8>) -> TerminatedName {
        TerminatedName(Array(name.prefix(255 - suffix.count)) + suffix)
    }

    /// Whether what is there with the same content gets the point's metadata. Under the rules that leave what is there
    /// nobody could take that back: a mode that was made stricter would be lost.
    var setsMetadata: Bool {
        switch conflict {
        case .always: true
        case .never: false
        case .newer, .rename: isFresh
        }
    }

    /// What is to happen to a name that is not a directory in the point. To be asked for the names of a directory in their
    /// order: a log goes where its database went.
    func decide(
        _ name: TerminatedName, _ entry: Entry, owner: Ownership?, in directory: RestoreDirectory,
        linkedTo cell: LinkCell?
    ) throws(Errno) -> Decision {
        if onlyCompares { return try judge(name, entry, owner: owner, in: directory, linkedTo: cell) }
        func byItself() throws(Errno) -> Decision {
            let decision = try judge(name, entry, owner: owner, in: directory, linkedTo: cell)
            return try allowed(decision, name, entry, in: directory)
        }
        databases.come(to: name, in: directory)
        isFollowing = false
        (beside, isThere) = (nil, false)
        let decision: Decision
        if let followed = try follow(name, entry, in: directory, byItself) {
            decision = followed
        } else {
            decision = try byItself()
        }
        if entry.kind == .regular {
            databases.note(name, KnownDatabase(isLikely: DatabaseLogs.concern(entry), fate: fate(of: decision)))
        }
        return decision
    }

    /// A decision, unless something stands against it.
    func allowed(
        _ decision: Decision, _ name: TerminatedName, _ entry: Entry, in directory: RestoreDirectory
    ) throws(Errno) -> Decision {
        if let words = try obstacle(to: decision, name, entry, in: directory) { return .keep(warning: words) }
        return late(decision) ? .keep(warning: PlanMoment.words) : decision
    }

    /// Whether somebody has changed what would be replaced since the plan.
    func late(_ decision: Decision) -> Bool {
        guard let moment else { return false }
        switch decision {
        case .replace(let status), .metadata(let status), .rename(_, .some(let status)): return moment.isBefore(status)
        case .create, .same, .keep, .rename(_, nil): return false
        }
    }

    private func judge(
        _ name: TerminatedName, _ entry: Entry, owner: Ownership?, in directory: RestoreDirectory,
        linkedTo cell: LinkCell?
    ) throws(Errno) -> Decision {
        if directory.isNew || directory.isMissing { return .create }
        let handle = try directory.handle()
        let status = try name.withPointer { (pointer) throws(Errno) in
            try FileSystem.statusIfAny(at: handle.raw, pointer)
        }
        guard let status else { return .create }
        var modified = status.modified
        var isLogged = false
        var pointModified = FileInstant(entry.mtime)
        if !onlyCompares, DatabaseLogs.concern(status), DatabaseLogs.concern(entry) {
            // What is committed in a log is a part of the database, which is not the same then.
            for log in logs(of: name, in: directory, now: handle).others(at: handle.raw) {
                isLogged = true
                modified = max(modified, log.status.modified)
                if let restored = log.restored { pointModified = max(pointModified, FileInstant(restored.mtime)) }
            }
        }
        if !isLogged, let cell, cell.isSame(status) { return .same }
        var looksSame = status.kind.rawValue == entry.kind.rawValue && !isLogged
        if looksSame { looksSame = try hasSameContent(name, entry, status, handle) }
        // Nobody but the run that was interrupted leaves files like these.
        if isResumed, FileWriter.isUnfinished(status, entry) || (looksSame && differs(name, in: directory)) {
            return .replace(status)
        }
        if cell == nil, looksSame, !differs(name, in: directory) {
            let isSame = try hasSameMetadata(name, entry, owner, status, handle)
            // What the point has as two files must not stay one: the metadata of one would be the other's.
            if status.links < 2 || ((isSame || entry.linkGroup != nil) && !isShared(status, with: entry)) {
                if isSame { return .same }
                if onlyCompares { return .metadata(status) }
                isThere = !setsMetadata
                return setsMetadata ? .metadata(status) : .keep(warning: nil)
            }
            isThere = !setsMetadata
            return setsMetadata ? .replace(status) : .keep(warning: nil)
        }
        // A link to be that is an equal file of its own, as where the file system has no links, is what was asked for.
        if cell != nil, looksSame, conflict != .always, !differs(name, in: directory) {
            isThere = true
            return .keep(warning: nil)
        }
        switch conflict {
        case .always: break
        case .never: return try keeping(name, entry, owner, status, handle)
        case .newer:
            if !(modified < pointModified) {
                return try keeping(name, entry, owner, status, handle)
            }
        case .rename: return try renaming(name, entry, owner, handle)
        }
        if status.kind == .directory {
            if try own.holds(status, at: handle.raw, name) { return .keep(warning: OwnPlaces.words) }
            if status.attributes.contains(.mountRoot) {
                return .keep(warning: "a file system is mounted where this was")
            }
            let isEmpty = try isEmptyDirectory(name, handle)
            if !isEmpty, !takesBack, !(deleteExtra && directory.removesExtra) {
                return .keep(
                    warning: "a directory with contents stands where this was; with --delete it would be replaced")
            }
        }
        return .replace(status)
    }

    /// Whether a name's content was found to be another one, although size and time are the point's.
    func differs(_ name: TerminatedName, in directory: RestoreDirectory) -> Bool {
        !differing.isEmpty && differing.contains(directory.sourcePath(name.name))
    }

    /// Whether a file with several names was found already under a name that the point has as another file. Remembers it
    /// as the entry's when it was not.
    func isShared(_ status: FileStatus, with entry: Entry) -> Bool {
        let file = SharedFile(device: status.device, inode: status.inode)
        guard let known = shared[file] else {
            shared[file] = .some(entry.linkGroup)
            return false
        }
        return known == nil || known != entry.linkGroup
    }

    /// What stands there stays. Among what an interrupted run left nobody can tell half a file of that run from
    /// somebody's own: then the point's goes beside it, so that neither is lost.
    private func keeping(
        _ name: TerminatedName, _ entry: Entry, _ owner: Ownership?, _ status: FileStatus, _ handle: OpenHandle
    ) throws(Errno) -> Decision {
        guard keepsBeside, entry.kind == .regular, status.kind == .regular else { return .keep(warning: nil) }
        return try renaming(name, entry, owner, handle)
    }

    /// Whether what was renamed by an earlier run is there already.
    private func renaming(
        _ name: TerminatedName, _ entry: Entry, _ owner: Ownership?, _ handle: OpenHandle
    ) throws(Errno) -> Decision {
        let other = renamed(name.name)
        let status = try other.withPointer { (pointer) throws(Errno) in
            try FileSystem.statusIfAny(at: handle.raw, pointer)
        }
        guard let status else { return .rename(other, nil) }
        if status.kind.rawValue == entry.kind.rawValue, try hasSameContent(other, entry, status, handle) {
            beside = other
            return .keep(warning: nil)
        }
        // Its suffix is that of this very point: an earlier run was interrupted, or somebody worked on it since.
        return status.kind == .directory
            ? .keep(warning: "its name and the one beside it, \(TreePath.display(other.name)), are both taken")
            : .rename(other, status)
    }

    /// Whether the point has anything below a directory. What cannot be read counts.
    func hasContents(_ source: [UInt8]) -> Bool {
        let prefix = TreePath(unchecked: source).subtreePrefix
        var isEmpty = true
        do {
            try reader.tree.scan(from: prefix, prefix: prefix) { _ in
                isEmpty = false
                return false
            }
        } catch { return true }
        return !isEmpty
    }

    private func isEmptyDirectory(_ name: TerminatedName, _ handle: OpenHandle) throws(Errno) -> Bool {
        let directory = try name.withPointer { (pointer) throws(Errno) in
            try FileDescriptor.openDirectory(at: handle.raw, pointer)
        }
        var reader = DirectoryReader(bufferSize: 4096)
        reader.start(directory.raw)
        return try reader.next() == nil
    }

    /// As far as status and, for a link, target tell. A regular file is the same when size and modification time are.
    func hasSameContent(
        _ name: TerminatedName, _ entry: Entry, _ status: FileStatus, _ handle: OpenHandle
    ) throws(Errno) -> Bool {
        switch entry.kind {
        case .regular: return status.size == entry.size && status.modified == FileInstant(entry.mtime)
        case .symbolicLink:
            if status.size != UInt64(entry.target.count), status.size != 0 { return false }
            return try name.withPointer { (pointer) throws(Errno) in
                try FileSystem.linkTarget(at: handle.raw, pointer) == entry.target
            }
        case .characterDevice, .blockDevice: return status.specialDevice == entry.device
        case .directory, .fifo, .socket: return true
        }
    }

    /// Whether mode, owner, time, attributes and those flags that show in the status are what they should be.
    func hasSameMetadata(
        _ name: TerminatedName, _ entry: Entry, _ owner: Ownership?, _ status: FileStatus,
        _ handle: OpenHandle
    ) throws(Errno) -> Bool {
        let privileges = Privileges(
            of: entry, owner, uid: status.uid, gid: status.gid, withheld: withholdsPrivileges)
        if entry.kind != .symbolicLink, status.mode != privileges.mode { return false }
        if setsOwners, let owner, status.uid != owner.uid || status.gid != owner.gid { return false }
        if status.modified != FileInstant(entry.mtime) { return false }
        let flags = InodeFlags(rawValue: entry.flags)
        if flags.contains(.immutable) != status.attributes.contains(.immutable)
            || flags.contains(.appendOnly) != status.attributes.contains(.appendOnly)
        {
            return false
        }
        var wanted: [ExtendedAttribute]
        do { wanted = try reader.attributes(of: entry) } catch { return false }
        if !privileges.keepsCapabilities { wanted.removeAll { $0.name == Privileges.capability } }
        let present = try name.withPointer { (pointer) throws(Errno) in
            try attributes.read(at: handle.raw, pointer)
        }
        return Examiner.settable(wanted, asRoot: setsOwners).elementsEqual(
            present.filter { Examiner.isSettable($0.name, asRoot: setsOwners) && !Examiner.isOwn($0.name) },
            by: { $0.name == $1.name && $0.value == $1.value })
    }

    /// Attributes that take part in the comparison.
    private static func settable(_ attributes: [ExtendedAttribute], asRoot: Bool) -> [ExtendedAttribute] {
        attributes.filter { isSettable($0.name, asRoot: asRoot) && !isOwn($0.name) }
    }

    /// Whether whoever is not root may set attributes of this name.
    static func isSettable(_ name: [UInt8], asRoot: Bool) -> Bool {
        asRoot || !(name.starts(with: "trusted.".utf8) || name.starts(with: "security.".utf8))
    }

    /// Attributes that the target's system keeps by itself: they are set when the point has them, and neither compared
    /// nor removed when it has not.
    static func isOwn(_ name: [UInt8]) -> Bool {
        own.contains { name.starts(with: $0) }
    }

    private static let own: [[UInt8]] = [
        "security.selinux", "security.ima", "security.evm", "security.SMACK64", "trusted.overlay.", "system.nfs4",
        "system.cifs", "btrfs.",
    ].map { Array($0.utf8) }
}

extension FileInstant {
    init(_ time: FileTime) { self.init(seconds: time.seconds, nanoseconds: time.nanoseconds) }
}
