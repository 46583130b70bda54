import Model
import Platform

/// Whom something is given to, and whether that is who owned it when the point was made.
struct Ownership: Hashable, Sendable {
    var uid: UInt32
    var gid: UInt32
    /// The user is the point's, as far as names and numbers tell.
    var isSameUser = true
    var isSameGroup = true

    /// Who here is a user or group of the point; `nil` when nobody has the name.
    static func counterpart(_ number: UInt32, _ name: [UInt8], isUser: Bool) -> UInt32? {
        if name.isEmpty { return number }
        return isUser ? Accounts.uid(name) : Accounts.gid(name)
    }
}

/// What a program may do beyond what those may who run it: the set-user-id and set-group-id bits, and capabilities. They
/// are the owner's to give, so they come back only with the owner that the point has.
struct Privileges: Hashable, Sendable {
    /// The permission bits that fit.
    var mode: UInt16
    /// Whether `security.capability` may be set.
    var keepsCapabilities = true

    static let capability = Array("security.capability".utf8)

    /// Whether an entry gives any. The bits of a directory only say who owns what is made in it.
    static func areGranted(by entry: Entry) -> Bool {
        entry.kind != .directory && entry.kind != .symbolicLink
            && (entry.mode & 0o6000 != 0 || entry.attributes.contains { $0.name == capability })
    }

    /// - Parameters:
    ///   - owner: who was to own it; `nil`: whoever makes it.
    ///   - uid: who owns it indeed.
    ///   - gid: the group that it belongs to indeed.
    ///   - withheld: none are given, whoever owns it.
    init(of entry: Entry, _ owner: Ownership?, uid: UInt32, gid: UInt32, withheld: Bool = false) {
        mode = entry.mode
        if entry.kind == .directory || entry.kind == .symbolicLink { return }
        if withheld {
            mode &= ~0o6000
            keepsCapabilities = false
            return
        }
        let isUser =
            owner.map { $0.isSameUser && $0.uid == uid }
            ?? (Ownership.counterpart(entry.uid, entry.user, isUser: true) == uid)
        let isGroup =
            owner.map { $0.isSameGroup && $0.gid == gid }
            ?? (Ownership.counterpart(entry.gid, entry.group, isUser: false) == gid)
        if !isUser { mode &= ~0o4000 }
        if !isGroup { mode &= ~0o2000 }
        keepsCapabilities = isUser && isGroup
    }
}
