import CLinux

/// What a system call answered instead of a result. `description` reads "permission denied (EACCES)".
package struct Errno: Error, Hashable, Sendable, CustomStringConvertible {
    /// The number, always positive.
    package let code: Int32

    package init(code: Int32) { self.code = code }

    /// Operation not permitted (EPERM).
    package static let notPermitted = Errno(code: 1)
    /// No such file or directory (ENOENT).
    package static let noEntry = Errno(code: 2)
    /// Interrupted (EINTR); only `Terminal` lets this one out.
    package static let interrupted = Errno(code: 4)
    /// The device failed (EIO).
    package static let inputOutput = Errno(code: 5)
    /// No such device or address (ENXIO); also: no data or hole behind an offset.
    package static let noDevice = Errno(code: 6)
    /// The descriptor is not open, or not open for this (EBADF).
    package static let badDescriptor = Errno(code: 9)
    /// Try again (EAGAIN): a lock is held, or there is nothing to read yet.
    package static let again = Errno(code: 11)
    /// Out of memory (ENOMEM).
    package static let noMemory = Errno(code: 12)
    /// Permission denied (EACCES).
    package static let accessDenied = Errno(code: 13)
    /// In use (EBUSY).
    package static let busy = Errno(code: 16)
    /// It exists already (EEXIST).
    package static let exists = Errno(code: 17)
    /// The two are on different file systems, or a path leads out of its directory (EXDEV).
    package static let crossDevice = Errno(code: 18)
    /// Not a directory (ENOTDIR).
    package static let notDirectory = Errno(code: 20)
    /// It is a directory (EISDIR).
    package static let isDirectory = Errno(code: 21)
    /// An argument makes no sense here (EINVAL).
    package static let invalidArgument = Errno(code: 22)
    /// The process has too many open files (EMFILE).
    package static let tooManyOpenFiles = Errno(code: 24)
    /// The device does not know this request (ENOTTY).
    package static let notSupportedRequest = Errno(code: 25)
    /// The file is too large for the file system (EFBIG).
    package static let tooLarge = Errno(code: 27)
    /// No space left on the device (ENOSPC).
    package static let noSpace = Errno(code: 28)
    /// The file system is mounted read-only (EROFS).
    package static let readOnly = Errno(code: 30)
    /// The result does not fit into the buffer (ERANGE).
    package static let range = Errno(code: 34)
    /// A name is too long (ENAMETOOLONG).
    package static let nameTooLong = Errno(code: 36)
    /// The kernel lacks the system call (ENOSYS).
    package static let notImplemented = Errno(code: 38)
    /// A directory is not empty (ENOTEMPTY).
    package static let notEmpty = Errno(code: 39)
    /// A symbolic link stands where none may be followed, or links go round (ELOOP).
    package static let symbolicLink = Errno(code: 40)
    /// There is no such attribute, or nothing to read (ENODATA).
    package static let noData = Errno(code: 61)
    /// A value does not fit (EOVERFLOW).
    package static let overflow = Errno(code: 75)
    /// The file system does not support it (EOPNOTSUPP).
    package static let notSupported = Errno(code: 95)
    /// The file is gone from the server (ESTALE).
    package static let stale = Errno(code: 116)
    /// The quota is used up (EDQUOT).
    package static let quota = Errno(code: 122)

    /// No room is left: the disk is full or the quota is used up.
    package var isNoSpace: Bool { self == .noSpace || self == .quota }
    /// The path does not lead to anything any more.
    package var isGone: Bool { self == .noEntry || self == .notDirectory || self == .stale }
    /// The operating system refuses; trying again does not help.
    package var isDenied: Bool { self == .accessDenied || self == .notPermitted }
    /// The file system or the kernel cannot do it at all.
    package var isUnsupported: Bool {
        self == .notSupported || self == .notSupportedRequest || self == .notImplemented
    }

    /// The symbol, for example "EACCES".
    package var name: String {
        guard let name = hf_error_name(code) else { return "errno \(code)" }
        return String(cString: name)
    }

    package var description: String {
        guard let text = hf_error_text(code) else { return "unknown error (\(name))" }
        var words = String(cString: text)
        // The C library begins with a capital letter; messages go on in the middle of a sentence. "I/O error" stays.
        if let second = words.dropFirst().first, second.isLowercase || second == " " {
            words = words.prefix(1).lowercased() + words.dropFirst()
        }
        return "\(words) (\(name))"
    }
}
