import Model
import Platform

/// Who owns what is restored.
package enum OwnerPolicy: Sendable {
    /// By name; by number where the name is unknown here. For a living system.
    case names
    /// By number. For a system that is made anew with its own `/etc/passwd`.
    case numbers
    /// Whoever runs the restore.
    case me
    /// By a table, then by name.
    case map(OwnerMap)
}

/// A table of owners: which user or group of the point becomes which one here.
package struct OwnerMap: Hashable, Sendable {
    /// From a name or a number in the point (as text) to a number here.
    package private(set) var users: [[UInt8]: UInt32] = [:]
    package private(set) var groups: [[UInt8]: UInt32] = [:]

    /// Reads a file of lines `user FROM TO` and `group FROM TO`. FROM is a name or number in the point, TO a name or
    /// number here; `#` begins a comment.
    ///
    /// - Throws: `usage` with the line that makes no sense.
    package init(parsing bytes: [UInt8]) throws {
        for (index, line) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            let content = line.prefix { $0 != UInt8(ascii: "#") }
            let words = content.split { $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }.map(Array.init)
            if words.isEmpty { continue }
            let isUser = words[0] == Array("user".utf8)
            guard words.count == 3, isUser || words[0] == Array("group".utf8) else {
                throw HoldfastError(
                    .usage,
                    "Line \(index + 1) of the table of owners is not “user FROM TO” or “group FROM TO”: "
                        + TreePath.display(line))
            }
            let number = OwnerMap.number(words[2]) ?? (isUser ? Accounts.uid(words[2]) : Accounts.gid(words[2]))
            guard let number else {
                throw HoldfastError(
                    .usage,
                    "Line \(index + 1) of the table of owners: this machine has no \(isUser ? "user" : "group") "
                        + "\(TreePath.display(words[2])).")
            }
            // chown takes it for "leave the owner as it is".
            if number == .max {
                throw HoldfastError(
                    .usage, "Line \(index + 1) of the table of owners: \(UInt32.max) is no number of an owner.")
            }
            if isUser { users[words[1]] = number } else { groups[words[1]] = number }
        }
    }

    static func number(_ text: [UInt8]) -> UInt32? { UInt32(String(decoding: text, as: UTF8.self)) }
}

/// A user or group of the point that this machine does not know by name.
package struct UnknownOwner: Hashable, Sendable {
    package var name: [UInt8]
    /// The number that is used instead.
    package var number: UInt32
    /// How many entries it owns.
    package var count: Int
}

/// Finds the owners of entries. One for each thread that asks; remembers what it was asked before.
struct OwnerResolver {
    private struct Known {
        var name: [UInt8]
        var number: UInt32
        var isUnknown: Bool
        /// It is who the point means.
        var isSame: Bool
    }

    private let policy: OwnerPolicy
    private var users: [UInt32: Known] = [:]
    private var groups: [UInt32: Known] = [:]
    private(set) var unknownUsers: [[UInt8]: UnknownOwner] = [:]
    private(set) var unknownGroups: [[UInt8]: UnknownOwner] = [:]

    init(_ policy: OwnerPolicy) { self.policy = policy }

    /// The numbers to set; `nil` when owners stay whoever runs the restore.
    mutating func owner(of entry: Entry) -> Ownership? {
        if case .me = policy { return nil }
        let user = user(entry.uid, entry.user)
        let group = group(entry.gid, entry.group)
        return Ownership(uid: user.number, gid: group.number, isSameUser: user.isSame, isSameGroup: group.isSame)
    }

    private mutating func user(_ uid: UInt32, _ name: [UInt8]) -> Known {
        if let known = users[uid], known.name == name {
            if known.isUnknown { unknownUsers[name]?.count += 1 }
            return known
        }
        let known = known(uid, name, isUser: true)
        users[uid] = known
        if known.isUnknown { unknownUsers[name, default: UnknownOwner(name: name, number: uid, count: 0)].count += 1 }
        return known
    }

    private mutating func group(_ gid: UInt32, _ name: [UInt8]) -> Known {
        if let known = groups[gid], known.name == name {
            if known.isUnknown { unknownGroups[name]?.count += 1 }
            return known
        }
        let known = known(gid, name, isUser: false)
        groups[gid] = known
        if known.isUnknown { unknownGroups[name, default: UnknownOwner(name: name, number: gid, count: 0)].count += 1 }
        return known
    }

    private func known(_ number: UInt32, _ name: [UInt8], isUser: Bool) -> Known {
        let found = find(number, name, isUser: isUser)
        var isSame = found != nil
        // A table may give a file to somebody else, or to who it was.
        if case .map = policy { isSame = found == Ownership.counterpart(number, name, isUser: isUser) }
        return Known(name: name, number: found ?? number, isUnknown: found == nil, isSame: isSame)
    }

    /// `nil` when there was a name and nobody here has it.
    private func find(_ number: UInt32, _ name: [UInt8], isUser: Bool) -> UInt32? {
        if case .numbers = policy { return number }
        if case .map(let map) = policy {
            let table = isUser ? map.users : map.groups
            if let mapped = table[name] ?? table[Array(String(number).utf8)] { return mapped }
        }
        if name.isEmpty { return number }
        return isUser ? Accounts.uid(name) : Accounts.gid(name)
    }
}
