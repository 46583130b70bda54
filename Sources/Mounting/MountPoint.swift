import CFuse
import Glibc
import Model
import Platform
import Synchronization

/// The directory that a file system is mounted on, from mounting to unmounting.
package final class MountPoint: Sendable {
    /// Absolute, without links.
    package let directory: [UInt8]
    /// Whether the kernel takes the file system away when this process is killed.
    package let endsWithProcess: Bool
    private let helper: String?
    /// The connection on which the helper sees this process end; -1 without a helper.
    private let link: Int32
    private let descriptor: Mutex<Int32?>

    private init(directory: [UInt8], helper: String?, link: Int32, descriptor: Int32) {
        self.directory = directory
        self.helper = helper
        self.link = link
        endsWithProcess = link >= 0
        self.descriptor = Mutex(descriptor)
    }

    /// The descriptor of /dev/fuse; whoever takes it has it.
    package func takeDescriptor() -> Int32 { descriptor.withLock { $0.take() } ?? -1 }

    private static var isRoot: Bool { geteuid() == 0 }
    private static let helperName = "fusermount3"
    private static let type = "fuse.holdfast"

    /// What ends the mount by hand.
    package var command: String { Self.command(directory) }

    private static func command(_ directory: [UInt8]) -> String {
        let name = TreePath.display(directory)
        let word = name.allSatisfy { $0.isLetter || $0.isNumber || "/._-+".contains($0) } ? name : "'\(name)'"
        return "\(isRoot ? "umount" : "\(helperName) -u") \(word)"
    }

    // MARK: Before

    /// The directory as it is called without links, after the check that it can be mounted on. Mounts nothing.
    package static func check(_ directory: [UInt8]) throws -> [UInt8] {
        let shown = TreePath.display(directory)
        let resolved: [UInt8]
        do {
            let place = try FileDescriptor.open(directory, [.readOnly, .directory, .followLink])
            resolved = try withCName(Array("/proc/self/fd/\(place.raw)".utf8)) { (name) throws(Errno) in
                try FileSystem.linkTarget(at: FileSystem.currentDirectory, name)
            }
            if isMounted(resolved) { throw alreadyMounted(resolved) }
            var reader = DirectoryReader()
            reader.start(place.raw)
            if try reader.next() != nil {
                throw HoldfastError(
                    .exists, "\(shown) is not empty: what is in it would be hidden. Nothing was mounted.",
                    context: ["hint": "Make an empty directory for it: mkdir DIR."])
            }
        } catch let error as HoldfastError {
            throw error
        } catch let error as Errno {
            // Left behind by a program that was killed (ENOTCONN), or that does not answer any more (ECONNABORTED).
            if error.code == 107 || error.code == 103 { throw stale(directory) }
            if error == .noEntry {
                throw HoldfastError(
                    .notFound, "There is no directory \(shown) to mount on.",
                    context: ["hint": "Make it first: mkdir \(shown)"])
            }
            if error == .notDirectory {
                throw HoldfastError(.usage, "\(shown) is not a directory: a file system is mounted on one.")
            }
            throw HoldfastError(
                error.isDenied ? .denied : .io, "\(shown) cannot be mounted on: \(error).", cause: error)
        }
        return resolved
    }

    private static func isMounted(_ directory: [UInt8]) -> Bool {
        guard let table = try? MountTable.current() else { return false }
        return table.entries.last { $0.mountPoint == directory }?.type == type
    }

    private static func alreadyMounted(_ directory: [UInt8]) -> HoldfastError {
        HoldfastError(
            .exists, "A vault is mounted on \(TreePath.display(directory)) already.",
            context: ["hint": "`\(command(directory))` ends that."])
    }

    private static func stale(_ directory: [UInt8]) -> HoldfastError {
        HoldfastError(
            .exists,
            "\(TreePath.display(directory)) is what is left of a mount whose program was killed. Nothing was mounted.",
            context: ["hint": "Type `\(command(directory))`, and then the same command again."])
    }

    // MARK: Mounting

    /// Mounts. From now on everybody who looks into the directory waits until somebody answers.
    ///
    /// - Parameter directory: as `check` gave it.
    package static func mount(_ directory: [UInt8], allowsOthers: Bool) throws -> MountPoint {
        guard (try? FileSystem.status(Array("/dev/fuse".utf8))) != nil else {
            throw HoldfastError(
                .unsupported, "This system has no /dev/fuse, which a vault is mounted with.",
                context: ["hint": "As root: modprobe fuse. In a container the device has to be passed to it."])
        }
        // The helper notices when this process ends, however it ends, and unmounts then: it is used by root as well.
        guard let helper = findHelper() else {
            guard isRoot else {
                throw HoldfastError(
                    .denied, "The program \(helperName) is missing; without it only root can mount.",
                    context: ["hint": "As root: apt install fuse3. Or run this command as root."])
            }
            return try mountDirectly(directory, allowsOthers)
        }
        var link: Int32 = -1
        var words = [CChar](repeating: 0, count: 1_024)
        let options =
            "ro,nosuid,nodev,auto_unmount,fsname=holdfast,subtype=holdfast"
            + (allowsOthers ? ",default_permissions,allow_other" : "")
        let outcome = try name(directory) { directory in
            hf_fuse_mount_by(helper, directory, options, &link, &words, words.count)
        }
        if outcome < 0 {
            let said = String(
                decoding: words.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self
            ).split(separator: "\n").joined(separator: "; ")
            // A helper that cannot run at all is none.
            if said.isEmpty, isRoot { return try mountDirectly(directory, allowsOthers) }
            throw refusal(directory, said, Errno(code: Int32(-outcome)), allowsOthers)
        }
        return MountPoint(directory: directory, helper: helper, link: link, descriptor: Int32(outcome))
    }

    private static func mountDirectly(_ directory: [UInt8], _ allowsOthers: Bool) throws -> MountPoint {
        let outcome = try name(directory) { hf_fuse_mount($0, allowsOthers ? 1 : 0) }
        if outcome < 0 { throw refusal(directory, "", Errno(code: Int32(-outcome)), allowsOthers) }
        return MountPoint(directory: directory, helper: nil, link: -1, descriptor: Int32(outcome))
    }

    private static func refusal(_ directory: [UInt8], _ said: String, _ errno: Errno, _ allowsOthers: Bool)
        -> HoldfastError
    {
        let shown = TreePath.display(directory)
        if said.contains("user_allow_other") {
            return HoldfastError(
                .denied, "This system does not let users show what they mount to others. Nothing was mounted.",
                context: [
                    "hint": "As root write the line user_allow_other into /etc/fuse.conf, or leave --allow-other out."
                ])
        }
        return HoldfastError(
            errno.isDenied || said.contains("ermission") || said.contains("permitted") ? .denied : .io,
            "Nothing can be mounted on \(shown): \(said.isEmpty ? "\(errno)" : said).", cause: errno)
    }

    private static func findHelper() -> String? {
        let path = Machine.environment("PATH") ?? ""
        let folders = path.split(separator: ":").map(String.init) + ["/usr/bin", "/bin", "/usr/local/bin"]
        return folders.map { "\($0)/\(helperName)" }.first { (try? FileSystem.status(Array($0.utf8))) != nil }
    }

    private static func name<R>(_ path: [UInt8], _ body: (UnsafePointer<CChar>) -> R) throws -> R {
        try withCName(path) { (name) throws(Errno) in body(name) }
    }

    // MARK: Afterwards

    /// Has the kernel read more at once, where it lets us: requests of 1 MiB instead of 128 KiB. Call it when requests are answered.
    package func raiseReadAhead() {
        _ = try? Self.name(directory) { hf_fuse_read_ahead($0, 1_024) }
    }

    /// Takes the file system out of the tree of names. Programs that have something of it open get errors once this process ends.
    package func unmount() {
        let outcome = try? Self.name(directory) { directory in
            Self.isRoot
                ? hf_fuse_unmount(directory) : helper.map { hf_fuse_unmount_by($0, directory) } ?? -1
        }
        _ = outcome
        if link >= 0 { _ = FileDescriptor(owning: link) }
    }
}

/// A process that goes on while the one that was started by somebody ends.
package enum Background {
    /// The descriptor on which the process in the background says that all is well.
    package static let number: Int32 = 3

    /// Starts this program once more with `arguments`, and waits until it says that it is ready, or ends.
    ///
    /// - Returns: `nil` when it goes on; else its exit status.
    package static func start(_ arguments: [[UInt8]]) throws -> Int32? {
        let (reading, writing) = try FileDescriptor.pipe()
        let reader = FileDescriptor(owning: reading)
        let process: Int
        do {
            let writer = FileDescriptor(owning: writing)
            var words: [UnsafeMutablePointer<CChar>?] = arguments.map { argument in
                let copy = UnsafeMutablePointer<CChar>.allocate(capacity: argument.count + 1)
                for (index, byte) in argument.enumerated() { copy[index] = CChar(bitPattern: byte) }
                copy[argument.count] = 0
                return copy
            }
            words.append(nil)
            defer { for word in words { word?.deallocate() } }
            process = hf_start_with("/proc/self/exe", words, writer.raw)
            try? writer.close()
        }
        guard process > 0 else {
            throw HoldfastError(.io, "The program cannot be started once more: \(Errno(code: Int32(-process))).")
        }
        var byte: UInt8 = 0
        let count = try withUnsafeMutableBytes(of: &byte) { buffer in try reader.readFully(into: buffer) }
        if count == 1 { return nil }
        return Int32(clamping: hf_wait_process(Int32(process)))
    }

    /// Whether there is somebody who waits for `enter`.
    package static var isAwaited: Bool { hf_is_pipe(number) != 0 }

    /// In the background: says that all is well, and leaves the terminal.
    package static func enter() throws {
        let outcome = hf_leave_terminal()
        guard outcome >= 0 else {
            throw HoldfastError(.io, "The terminal cannot be left: \(Errno(code: Int32(-outcome))).")
        }
        try FileDescriptor(owning: number).writeAll([1])
    }

    /// A line in the system's log, where one in the background speaks.
    package static func log(_ text: String, isWarning: Bool) { hf_log_line(isWarning ? 1 : 0, text) }
}
