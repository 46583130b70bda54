import Glibc
import Model
import Platform

/// Gives files, links and directories the metadata of their entries; one for each thread.
///
/// The order matters: the time first (a file that has it is complete, whatever else is to come), the owner (it takes
/// set-user-id bits and capabilities away), then attributes, the mode, access control lists (their mask is a part of the
/// mode), and flags that forbid changes last. What the target or our rights do not allow is counted in the log and never
/// fails a file.
final class MetadataWriter {
    /// Facts about whoever runs the restore, found out once.
    struct Rights: Sendable {
        let uid: UInt32
        let gid: UInt32
        /// Permission bits that the kernel takes from new files.
        let umask: UInt16
        /// No set-user-id and set-group-id bits and no capabilities are given, whoever owns the file.
        var withholdsPrivileges = false
        var isRoot: Bool { uid == 0 }

        static func current(withholding: Bool = false) -> Rights {
            var mask: UInt16 = 0o777
            // Asking for the mask by setting it would race with other threads.
            if let file = try? FileDescriptor.open("/proc/self/status", .readOnly),
                let text = try? file.readAll(limit: 64 * 1024)
            {
                for line in text.split(separator: 0x0A) where line.starts(with: "Umask:".utf8) {
                    let digits = line.filter { (0x30...0x37).contains($0) }
                    mask = UInt16(String(decoding: digits, as: UTF8.self), radix: 8) ?? 0o777
                }
            }
            return Rights(uid: geteuid(), gid: getegid(), umask: mask, withholdsPrivileges: withholding)
        }
    }

    private let log: RestoreLog
    let rights: Rights
    private var attributes = AttributeReader()

    init(log: RestoreLog, rights: Rights) {
        self.log = log
        self.rights = rights
    }

    /// The permission bits to make a file with, so that nothing needs to be set afterwards where that is safe: the owner is
    /// right from the start. `nil`: make it readable by nobody else and set the mode later.
    func directMode(_ entry: Entry, _ owner: Ownership?, in directory: RestoreDirectory) -> UInt16? {
        guard !directory.givesGroup, !directory.inherits, entry.attributes.isEmpty, entry.mode & 0o7000 == 0,
            entry.mode & rights.umask == 0
        else { return nil }
        if let owner, owner.uid != rights.uid || owner.gid != rights.gid { return nil }
        return entry.mode
    }

    /// What is done to a file that is complete.
    struct Target {
        var entry: Entry
        var owner: Ownership?
        /// The file was made with its owner.
        var hasOwner: Bool
        /// The file was made with its mode.
        var hasMode: Bool
        /// Attributes and flags that the entry does not have may be there.
        var mayHaveMore: Bool
        /// Flags that forbid changes are set by somebody else, later.
        var defersFlags: Bool
        /// In the point, for the log.
        var path: () -> [UInt8]
    }

    /// An open file or directory.
    func finish(descriptor: Int32, _ target: Target) {
        let empty = TerminatedName([])
        apply(to: target, at: descriptor, empty, isLink: false)
        var flags = InodeFlags(rawValue: target.entry.flags)
        if target.defersFlags { flags.subtract(.afterEverything) }
        if !flags.isEmpty || target.mayHaveMore { setFlags(descriptor, flags, target) }
    }

    /// A name that cannot be opened: a link, device, FIFO or socket.
    func finish(at directory: Int32, _ name: TerminatedName, _ target: Target) {
        apply(to: target, at: directory, name, isLink: target.entry.kind == .symbolicLink)
    }

    /// Sets only the flags, for files whose other names had to come first.
    func setFlags(_ descriptor: Int32, _ flags: InodeFlags, _ target: Target) {
        do throws(Errno) {
            let refused = try FileSystem.setFlags(descriptor: descriptor, flags)
            if !refused.isEmpty {
                log.cannotKeep("inode flags \(MetadataWriter.letters(refused))", nil, target.path())
            }
        } catch {
            log.cannotKeep("inode flags \(MetadataWriter.letters(flags))", error, target.path())
        }
    }

    private func apply(to given: Target, at directory: Int32, _ name: TerminatedName, isLink: Bool) {
        var target = given
        do throws(Errno) {
            try name.withPointer { (pointer) throws(Errno) in
                try FileSystem.setTimes(at: directory, pointer, modified: FileInstant(given.entry.mtime))
            }
        } catch {
            log.cannotKeep("modification time", error, given.path())
        }
        do throws(Errno) {
            try name.withPointer { (pointer) throws(Errno) in
                if !target.hasOwner, let owner = target.owner { setOwner(owner, at: directory, pointer, target) }
                if Privileges.areGranted(by: target.entry) { limitPrivileges(of: &target, at: directory, pointer) }
                let entry = target.entry
                if target.mayHaveMore { removeAttributes(at: directory, pointer, target) }
                // A user may set attributes only while the mode lets them write.
                if !entry.attributes.isEmpty { setAttributes(at: directory, pointer, target, lists: false) }
                if !target.hasMode, !isLink {
                    do throws(Errno) {
                        try setMode(entry.mode, at: directory, pointer, isOpen: name.bytes.count == 1)
                    } catch {
                        log.cannotKeep("permissions", error, target.path())
                    }
                }
                if !entry.attributes.isEmpty { setAttributes(at: directory, pointer, target, lists: true) }
            }
        } catch {
            log.cannotKeep("metadata", error, given.path())
        }
    }

    /// Takes away what would give whoever runs a program the rights of an owner that it did not have: the owner that was
    /// set, or could not be set, is looked at, not the one that was wanted.
    private func limitPrivileges(of target: inout Target, at directory: Int32, _ name: UnsafePointer<CChar>) {
        let status = try? FileSystem.status(at: directory, name)
        // Nobody has the number -1.
        let privileges = Privileges(
            of: target.entry, target.owner, uid: status?.uid ?? .max, gid: status?.gid ?? .max,
            withheld: rights.withholdsPrivileges)
        let hasCapabilities = target.entry.attributes.contains { $0.name == Privileges.capability }
        if privileges.mode == target.entry.mode, privileges.keepsCapabilities || !hasCapabilities { return }
        target.entry.mode = privileges.mode
        if !privileges.keepsCapabilities {
            target.entry.attributes.removeAll { $0.name == Privileges.capability }
            target.mayHaveMore = true
        }
        log.cannotKeep("set-user-id, set-group-id or capabilities: it has another owner here", nil, target.path())
    }

    private func setMode(
        _ mode: UInt16, at directory: Int32, _ name: UnsafePointer<CChar>, isOpen: Bool
    ) throws(Errno) {
        if isOpen {
            try FileSystem.setMode(descriptor: directory, mode)
        } else {
            try FileSystem.setMode(at: directory, name, mode)
        }
    }

    private func setOwner(
        _ owner: Ownership, at directory: Int32, _ name: UnsafePointer<CChar>, _ target: Target
    ) {
        do throws(Errno) {
            if rights.isRoot {
                try FileSystem.setOwner(at: directory, name, uid: owner.uid, gid: owner.gid)
                return
            }
            // Whoever is not root can still give files to groups of their own.
            let status = try FileSystem.status(at: directory, name)
            if status.gid != owner.gid {
                try FileSystem.setOwner(at: directory, name, uid: nil, gid: owner.gid)
            }
            if status.uid != owner.uid { skipOwner(target) }
        } catch {
            if !rights.isRoot, error.isDenied || error == .invalidArgument {
                skipOwner(target)
            } else {
                log.cannotKeep("owner", error, target.path())
            }
        }
    }

    /// A directory above what was protected (`/home`) is nearly always of somebody else; nobody asked for it.
    private func skipOwner(_ target: Target) {
        if !target.entry.remarks.contains(.ancestor) { log.skipOwner() }
    }

    private func setAttributes(
        at directory: Int32, _ name: UnsafePointer<CChar>, _ target: Target, lists: Bool
    ) {
        for attribute in target.entry.attributes
        where attribute.name.starts(with: "system.posix_acl_".utf8) == lists {
            do throws(Errno) {
                try FileSystem.setAttribute(
                    at: directory, name, FileAttribute(name: attribute.name, value: attribute.value))
            } catch {
                log.cannotKeep("attribute \(TreePath.display(attribute.name))", error, target.path())
            }
        }
    }

    /// Takes away what an existing file had or a new one got from its directory.
    private func removeAttributes(at directory: Int32, _ name: UnsafePointer<CChar>, _ target: Target) {
        guard let present = try? attributes.read(at: directory, name), !present.isEmpty else { return }
        for attribute in present where !Examiner.isOwn(attribute.name) {
            if target.entry.attributes.contains(where: { $0.name == attribute.name }) { continue }
            do throws(Errno) {
                try withCName(attribute.name) { (attributeName) throws(Errno) in
                    try FileSystem.removeAttribute(at: directory, name, attributeName)
                }
            } catch {
                if error == .noData || !Examiner.isSettable(attribute.name, asRoot: rights.isRoot) { continue }
                log.cannotKeep("removal of attribute \(TreePath.display(attribute.name))", error, target.path())
            }
        }
    }

    /// As `lsattr` shows them.
    private static func letters(_ flags: InodeFlags) -> String {
        let known: [(InodeFlags, String)] = [
            (.secureDeletion, "s"), (.undelete, "u"), (.compress, "c"), (.synchronous, "S"), (.immutable, "i"),
            (.appendOnly, "a"), (.noDump, "d"), (.noAccessTime, "A"), (.noCompress, "m"), (.journalData, "j"),
            (.noTail, "t"), (.synchronousDirectory, "D"), (.topDirectory, "T"), (.noCopyOnWrite, "C"),
            (.directAccess, "x"), (.inheritProject, "P"),
        ]
        return known.filter { flags.contains($0.0) }.map(\.1).joined()
    }
}
