package import Model

/// Whether somebody could do something with a file, by what is stored of it: owner, groups, mode, and POSIX access control list.
///
/// The order of the questions is that of `acl(5)`: the owner; a named user; the owning and the named groups; everybody else. The
/// first that is about somebody decides. In doubt the answer is no: what was never allowed must not be shown, and what was and is not
/// shown an operator can still restore.
package enum AccessCheck {
    /// Bits of one class of a mode.
    package struct Right: OptionSet, Sendable {
        package let rawValue: UInt16
        package init(rawValue: UInt16) { self.rawValue = rawValue }
        package static let read = Right(rawValue: 4)
        /// To pass through a directory to what is in it.
        package static let search = Right(rawValue: 1)
    }

    private static let listName = Array("system.posix_acl_access".utf8)
    /// Lists of other kinds, which are not looked into: only the owner counts then.
    private static let foreignLists = ["system.nfs4_acl", "system.richacl", "system.cifs_acl"].map { Array($0.utf8) }

    /// Whether `user` had all of `wanted` on an entry.
    ///
    /// - Parameter attributes: all of the entry's, those in a blob of their own included.
    package static func grants(
        _ wanted: Right, on entry: Entry, attributes: [ExtendedAttribute], to user: CapturedUser
    ) -> Bool {
        let list: AccessList?
        if let attribute = attributes.first(where: { $0.name == listName }) {
            // A list that cannot be read grants nothing to anybody.
            guard let parsed = AccessList(attribute.value) else { return false }
            list = parsed
        } else {
            list = nil
        }
        if user.owns(entry) { return has(list?.owner ?? entry.mode >> 6, wanted) }
        if attributes.contains(where: { foreignLists.contains($0.name) }) { return false }
        guard let list else {
            return byClass(
                groups: [(entry.gid, entry.mode >> 3)], others: entry.mode, mask: 7, wanted, user)
        }
        if let uid = user.uid, let own = list.users[uid] { return has(own & list.mask, wanted) }
        // Who is known by name only may be any of the users that the list names.
        if user.uid == nil, !list.users.values.allSatisfy({ has($0 & list.mask, wanted) }) { return false }
        return byClass(
            groups: [(entry.gid, list.group)] + list.groups.map { ($0.key, $0.value) }, others: list.others,
            mask: list.mask, wanted, user)
    }

    private static func byClass(
        groups: [(gid: UInt32, bits: UInt16)], others: UInt16, mask: UInt16, _ wanted: Right, _ user: CapturedUser
    ) -> Bool {
        guard let own = user.groups else {
            // Which groups they were in is not known: whatever would decide has to say yes.
            return has(others, wanted) && groups.allSatisfy { has($0.bits & mask, wanted) }
        }
        let about = groups.filter { own.contains($0.gid) }
        if about.isEmpty { return has(others, wanted) }
        return about.contains { has($0.bits & mask, wanted) }
    }

    private static func has(_ bits: UInt16, _ wanted: Right) -> Bool { bits & wanted.rawValue == wanted.rawValue }
}

/// A POSIX access control list as the kernel keeps it in `system.posix_acl_access` (`linux/posix_acl_xattr.h`).
struct AccessList: Hashable {
    private(set) var owner: UInt16 = 0
    private(set) var users: [UInt32: UInt16] = [:]
    private(set) var group: UInt16 = 0
    private(set) var groups: [UInt32: UInt16] = [:]
    private(set) var others: UInt16 = 0
    /// Bounds what named users and all groups have; everything when there is no such entry.
    private(set) var mask: UInt16 = 7

    private static let version: UInt32 = 2

    /// `nil` for what is no whole list.
    init?(_ bytes: [UInt8]) {
        func number(_ offset: Int, _ count: Int) -> UInt32 {
            (0..<count).reduce(UInt32(0)) { $0 | UInt32(bytes[offset + $1]) << UInt32($1 * 8) }
        }
        guard bytes.count >= 4, (bytes.count - 4) % 8 == 0, number(0, 4) == Self.version else { return nil }
        var seen: Set<UInt32> = []
        for offset in stride(from: 4, to: bytes.count, by: 8) {
            let (tag, bits, id) = (number(offset, 2), UInt16(number(offset + 2, 2)), number(offset + 4, 4))
            guard bits <= 7 else { return nil }
            switch tag {
            case 0x01: owner = bits
            case 0x02: guard users.updateValue(bits, forKey: id) == nil else { return nil }
            case 0x04: group = bits
            case 0x08: guard groups.updateValue(bits, forKey: id) == nil else { return nil }
            case 0x10: mask = bits
            case 0x20: others = bits
            default: return nil
            }
            if tag != 0x02, tag != 0x08 { guard seen.insert(tag).inserted else { return nil } }
        }
        guard seen.isSuperset(of: [0x01, 0x04, 0x20]) else { return nil }
        if !users.isEmpty || !groups.isEmpty { guard seen.contains(0x10) else { return nil } }
    }
}
