import Model
import Platform

/// Puts what the operating system says about a directory store into words.
enum StoreErrors {
    /// What was tried, for the message.
    enum Action: String {
        case open, read, write, list, delete, examine
    }

    static func make(_ error: Errno, _ action: Action, _ key: String, in location: String) -> HoldfastError {
        let context = ["vault": location, "object": key]
        let what = key.isEmpty ? location : "\(location)/\(key)"
        if error.isNoSpace {
            return HoldfastError(
                .noSpace,
                "the disk with the vault \(location) is full; free some room there, "
                    + "or delete points and run `holdfast vault reclaim`",
                context: context, cause: error)
        }
        if error.isDenied {
            return HoldfastError(
                .denied, "not allowed to \(action.rawValue) \(what): \(error)", context: context, cause: error)
        }
        if error == .readOnly {
            return HoldfastError(
                .denied, "cannot \(action.rawValue) \(what): the file system is mounted read-only",
                context: context, cause: error)
        }
        if error == .noEntry || error == .notDirectory {
            return HoldfastError(.notFound, "\(what) does not exist", context: context, cause: error)
        }
        return HoldfastError(
            .io, "cannot \(action.rawValue) \(what): \(error)", context: context, cause: error,
            isTemporary: temporary.contains(error))
    }

    /// A server that was away, a lack of descriptors or memory, an error of the medium: all of them may pass. EINTR,
    /// EIO, EAGAIN, ENOMEM, EBUSY, ENFILE, EMFILE, ECONNRESET, ETIMEDOUT, EHOSTDOWN, EHOSTUNREACH, ESTALE.
    private static let temporary: Set<Errno> = Set(
        [4, 5, 11, 12, 16, 23, 24, 104, 110, 112, 113, 116].map { Errno(code: $0) })
}
