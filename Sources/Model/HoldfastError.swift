/// What went wrong, in words a person can act on.
///
/// One type crosses module boundaries. `message` says what happened and what to do; `context` names the path, machine
/// or object; `cause` keeps the error underneath for logs. Secrets never appear in any of them.
package struct HoldfastError: Error, Sendable, CustomStringConvertible {
    /// The kind of failure; an open set.
    package struct Code: Hashable, Sendable, CustomStringConvertible {
        package let description: String
        package init(_ description: String) { self.description = description }

        /// Arguments or options make no sense.
        package static let usage = Code("usage")
        /// The thing named does not exist.
        package static let notFound = Code("not-found")
        /// It exists already.
        package static let exists = Code("exists")
        /// Passphrase, key sheet or key does not open this.
        package static let wrongKey = Code("wrong-key")
        /// A key is needed and none was given.
        package static let keyNeeded = Code("key-needed")
        /// The operating system or the store refused access.
        package static let denied = Code("denied")
        /// Bytes are not what they should be: damaged or forged.
        package static let damaged = Code("damaged")
        /// Written by a newer version, or asks for a feature this version lacks.
        package static let unsupported = Code("unsupported")
        /// Somebody else holds it: another owner, another writer.
        package static let busy = Code("busy")
        /// No room left.
        package static let noSpace = Code("no-space")
        /// A blob that is named is not registered.
        package static let missingBlobs = Code("missing-blobs")
        /// The pack's name is condemned; its blobs must be packed anew.
        package static let condemned = Code("condemned")
        /// The lease is unknown or was closed.
        package static let leaseLost = Code("lease-lost")
        /// A rule forbids it: a hold, the last complete point.
        package static let forbidden = Code("forbidden")
        /// Input or output failed.
        package static let io = Code("io")
        /// Stopped on request.
        package static let cancelled = Code("cancelled")
        /// A fault of this program.
        package static let internalError = Code("internal")
    }

    package var code: Code
    package var message: String
    /// What it was about, for example `path` or `machine`.
    package var context: [String: String]
    package var cause: (any Error)?
    /// Whether trying again later may help.
    package var isTemporary: Bool
    /// For `missingBlobs`: the blobs.
    package var blobs: [BlobID] = []

    package init(
        _ code: Code,
        _ message: String,
        context: [String: String] = [:],
        cause: (any Error)? = nil,
        isTemporary: Bool = false
    ) {
        self.code = code
        self.message = message
        self.context = context
        self.cause = cause
        self.isTemporary = isTemporary
    }

    package var description: String { message }
}
