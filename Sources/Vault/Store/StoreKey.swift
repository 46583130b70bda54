package import Model

/// The keys of a vault's objects.
package enum StoreKey {
    package static let config = "config.json"
    package static let owner = "owner.json"
    package static let reserve = "reserve"
    package static let keysPrefix = "keys/"
    package static let packsPrefix = "packs/"
    /// Says how far deletion has gone; see `removal`. Its name comes after that of the packs: a copy that is made in the order
    /// of names while packs are deleted takes it last, and errs on the safe side.
    package static let removalsPrefix = "removals/"

    /// Longest key in bytes.
    package static let maximumLength = 200

    /// The key of a pack.
    package static func pack(_ name: PackName) -> String {
        let digits = name.hex
        return "packs/\(digits.prefix(2))/\(digits)"
    }

    /// The name of the pack with this key; `nil` when it is not the key of a pack.
    package static func packName(of key: String) -> PackName? {
        guard let last = key.split(separator: "/", omittingEmptySubsequences: false).last,
            let name = PackName(hex: last), pack(name) == key
        else { return nil }
        return name
    }

    /// The key of the empty object that announces deletions; see `LocalVault.deleteCondemned`.
    package static func removal(_ number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return removalsPrefix + String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// The number of the removal with this key; `nil` when it is not the key of one.
    package static func removalNumber(of key: String) -> UInt64? {
        guard key.hasPrefix(removalsPrefix), let number = UInt64(key.dropFirst(removalsPrefix.count), radix: 16),
            number > 0, number < 1 << 62, removal(number) == key
        else { return nil }
        return number
    }

    /// Whether `key` is well-formed: components of letters, digits, `.`, `_` and `-` that do not begin with a dot,
    /// separated by single slashes, at most 200 bytes.
    package static func isValid(_ key: String) -> Bool {
        var atStart = true
        var length = 0
        for byte in key.utf8 {
            length += 1
            switch byte {
            case UInt8(ascii: "/"):
                if atStart { return false }
                atStart = true
                continue
            case UInt8(ascii: "."):
                if atStart { return false }
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
                break
            default:
                return false
            }
            atStart = false
        }
        return !atStart && length <= maximumLength
    }

    /// Throws `usage` for a malformed key.
    static func check(_ key: String) throws {
        guard isValid(key) else {
            throw HoldfastError(.usage, "not a key of a store: \(TreePath.display(Array(key.utf8)))")
        }
    }
}
