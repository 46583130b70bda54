import CLinux

/// A queue of what happens on the file systems it watches: fanotify(7), Linux 5.9 and later.
///
/// Needs CAP_SYS_ADMIN, and CAP_DAC_READ_SEARCH to turn the handles of events into paths. The queue is bounded by
/// `fs.fanotify.max_queued_events`; what did not fit is told by one event with `overflow`.
package final class FanotifyGroup: Sendable {
    private let descriptor: FileDescriptor
    /// Renames come as one event with both names; else as two events (before Linux 5.17).
    package let pairsRenames: Bool

    /// Opens a group.
    ///
    /// Throws `notPermitted` without the privilege, `invalidArgument` on a kernel before 5.9, `notImplemented` on one
    /// without fanotify, `tooManyOpenFiles` when `fs.fanotify.max_user_groups` is reached.
    /// - Parameter pairsRenames: false leaves out what only Linux 5.17 and later have.
    package init(pairsRenames: Bool = true) throws(Errno) {
        var outcome = pairsRenames ? hf_fanotify_init(1) : hf_fanotify_init(0)
        self.pairsRenames = pairsRenames && outcome >= 0
        if pairsRenames, outcome == -Int(Errno.invalidArgument.code) { outcome = hf_fanotify_init(0) }
        if outcome < 0 { throw Errno(code: Int32(-outcome)) }
        descriptor = FileDescriptor(owning: Int32(outcome))
    }

    /// For `Poll.wait`, with `.readable`.
    package var raw: Int32 { descriptor.raw }

    /// Watches the whole file system that an open file or directory lies on, through whatever mount it is written.
    ///
    /// Throws `crossDevice` on a subvolume of btrfs, `notSupported` or `noDevice` where the file system has no handles
    /// or no identity.
    package func watchFileSystem(of open: Int32, _ mask: FanotifyMask) throws(Errno) {
        let group = raw
        try withCName([UInt8(ascii: ".")]) { (name) throws(Errno) in
            _ = try retrying { hf_fanotify_watch(group, mask.rawValue, open, name) }
        }
    }

    /// No events any more for what lies directly in an open directory; what lies further below goes on.
    ///
    /// Throws `invalidArgument` before Linux 6.0.
    package func ignoreChildren(of directory: Int32, _ mask: FanotifyMask) throws(Errno) {
        let group = raw
        let wanted = mask.union([.onChild, .directory])
        try withCName([UInt8(ascii: ".")]) { (name) throws(Errno) in
            _ = try retrying { hf_fanotify_ignore(group, wanted.rawValue, directory, name) }
        }
    }

    /// Takes all watches of file systems away; no further events come.
    package func unwatchAll() throws(Errno) {
        let group = raw
        try retrying { hf_fanotify_flush(group) }
    }

    /// Fills the buffer with whole events without waiting; 0 when there are none.
    ///
    /// Throws `invalidArgument` when the buffer is too small for one event: 4 KiB always suffice.
    package func read(into buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
        do throws(Errno) {
            return try descriptor.read(into: buffer)
        } catch {
            if error == .again { return 0 }
            throw error
        }
    }
}

/// The system's limit of the queue.
package enum FanotifyQueue {
    private static let path = Array("/proc/sys/fs/fanotify/max_queued_events".utf8)

    /// How many events a queue holds that is opened now; `nil` where the kernel does not say (before 5.13).
    package static var limit: Int? {
        guard let text = try? FileDescriptor.open(path, .readOnly).readAll(limit: 64) else { return nil }
        return Int(String(decoding: text, as: UTF8.self).filter(\.isNumber))
    }

    /// Raises the limit for groups opened from now on; nothing happens when it is as high already.
    package static func raiseLimit(to count: Int) throws(Errno) {
        if let limit, limit >= count { return }
        try FileDescriptor.open(path, .writeOnly).writeAll(Array("\(count)\n".utf8))
    }
}

/// Handles of files: what a file system knows them by, whatever their names.
package enum FileHandle {
    /// The handle of an open file.
    ///
    /// Throws `notSupported` where the file system has none.
    package static func of(_ descriptor: Int32) throws(Errno) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 8 + 128)
        let length = try retrying { hf_handle_of(descriptor, &bytes, 8 + 128) }
        return Array(bytes[..<length])
    }

    /// A reference to what a handle stands for.
    ///
    /// Throws `stale` when it is gone, `notPermitted` without CAP_DAC_READ_SEARCH.
    /// - Parameter mount: any open directory on the file system.
    package static func open(_ handle: UnsafeRawBufferPointer, mount: Int32) throws(Errno) -> FileDescriptor {
        guard let start = handle.baseAddress else { throw .invalidArgument }
        var attempts = 0
        while true {
            do throws(Errno) {
                return FileDescriptor(
                    owning: Int32(
                        try retrying { hf_open_handle(mount, start, handle.count, HF_O_PATH | HF_O_CLOEXEC) }))
            } catch {
                // ext4 says so of a file that is gone while its number is being given to another one, for an instant.
                attempts += 1
                if error != .noMemory || attempts == 20 { throw error }
                SystemClock.pause(milliseconds: 1)
            }
        }
    }
}

extension FileDescriptor {
    /// The path of an open file as the kernel sees it now, from the root of this process, as bytes. Of a mount that is
    /// nowhere in the tree of names: from the top of that mount.
    ///
    /// Throws `nameTooLong` for a path of 4,096 bytes or more. For a file that was removed the answer is meaningless:
    /// look at its status.
    package func currentPath() throws(Errno) -> [UInt8] {
        try withCName(Array("/proc/self/fd/\(raw)".utf8)) { (name) throws(Errno) in
            try FileSystem.linkTarget(at: FileSystem.currentDirectory, name)
        }
    }

    /// Mounts a file system read-only for this process alone, nowhere in the tree of names; the mount goes with the
    /// descriptor of its top directory.
    ///
    /// Throws `notImplemented` before Linux 5.2, `notPermitted` without CAP_SYS_ADMIN.
    package static func mountDetached(
        type: String, source: [UInt8], option: String, value: String
    ) throws(Errno) -> FileDescriptor {
        let raw = try withCName(source) { (source) throws(Errno) in
            try retrying { hf_mount_detached(type, source, option, value) }
        }
        return FileDescriptor(owning: Int32(raw))
    }
}
