import Model
package import Vault

/// Somebody on a machine at the time of a point, as far as the point says who they were.
///
/// Root's exemption from all modes is never theirs: whoever is to see everything is no self-service user.
package struct CapturedUser: Hashable, Sendable {
    package var uid: UInt32?
    package var name: [UInt8]?
    /// The primary and all other groups; `nil` when the point does not say.
    package var groups: Set<UInt32>?

    package init(uid: UInt32?, name: [UInt8]?, groups: Set<UInt32>?) {
        self.uid = uid
        self.name = name
        self.groups = groups
    }

    /// By number, and by the name that the machine gave the owner when it was captured: a number that was somebody else's then
    /// does not count.
    func owns(_ entry: Entry) -> Bool {
        if let uid {
            guard entry.uid == uid else { return false }
            return entry.user.isEmpty || name == nil || entry.user == name
        }
        guard let name else { return false }
        return entry.user == name
    }

    // MARK: Who somebody was at a point

    /// Larger files of users or groups are not read.
    private static let longest: UInt64 = 8 << 20

    /// Who `wanted` was at a point: by its `/etc/passwd` and `/etc/group` where it has them. `nil` when there was nobody of that
    /// name and number.
    package static func find(_ wanted: SystemUser, in reader: PointReader) throws -> CapturedUser? {
        let name = wanted.name.map { Array($0.utf8) }
        guard let users = try lines(of: "/etc/passwd", reader) else {
            return CapturedUser(uid: wanted.uid, name: name, groups: nil)
        }
        let found: (name: [UInt8], uid: UInt32, gid: UInt32)?
        if let name {
            found = users.first { $0.first == name }.flatMap(user)
        } else {
            found = users.lazy.compactMap(user).first { $0.uid == wanted.uid }
        }
        guard let found else {
            // Users of a directory service stand in no file. The number must not be somebody else's, though.
            guard let uid = wanted.uid, !users.contains(where: { user($0)?.uid == uid }) else { return nil }
            return CapturedUser(uid: uid, name: name, groups: nil)
        }
        if let uid = wanted.uid, uid != found.uid { return nil }
        guard let groups = try lines(of: "/etc/group", reader) else {
            return CapturedUser(uid: found.uid, name: found.name, groups: nil)
        }
        var own: Set<UInt32> = [found.gid]
        for group in groups where group.count >= 4 {
            guard let gid = number(group[2]) else { continue }
            if group[3].split(separator: UInt8(ascii: ",")).contains(where: { $0.elementsEqual(found.name) }) {
                own.insert(gid)
            }
        }
        return CapturedUser(uid: found.uid, name: found.name, groups: own)
    }

    /// The fields of each line; `nil` when the point has no such file.
    private static func lines(of path: String, _ reader: PointReader) throws -> [[[UInt8]]]? {
        guard let path = TreePath(path), let entry = try reader.tree.lookup(path), entry.kind == .regular,
            !entry.remarks.contains(.contentMissing), entry.size <= longest
        else { return nil }
        var text: [UInt8] = []
        try reader.read(entry) { bytes in
            text.append(contentsOf: bytes)
            return true
        }
        return text.split(separator: UInt8(ascii: "\n")).map { line in
            line.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false).map { Array($0) }
        }
    }

    private static func user(_ fields: [[UInt8]]) -> (name: [UInt8], uid: UInt32, gid: UInt32)? {
        guard fields.count >= 4, !fields[0].isEmpty, let uid = number(fields[2]), let gid = number(fields[3]) else {
            return nil
        }
        return (fields[0], uid, gid)
    }

    private static func number(_ text: [UInt8]) -> UInt32? { UInt32(String(decoding: text, as: UTF8.self)) }
}

/// Whom an account stands for on a machine: a name, a number, or both, which must then belong together.
package struct SystemUser: Hashable, Sendable {
    package var uid: UInt32?
    package var name: String?

    package init(uid: UInt32?, name: String?) {
        self.uid = uid
        self.name = name
    }
}
