import CLinux
import Synchronization

/// Names of users and groups, asked from the system once each and remembered. Safe to use from several threads.
package enum Accounts {
    private struct Cache {
        var userNames: [UInt32: [UInt8]] = [:]
        var groupNames: [UInt32: [UInt8]] = [:]
        var userNumbers: [[UInt8]: UInt32?] = [:]
        var groupNumbers: [[UInt8]: UInt32?] = [:]
    }

    private static let cache = Mutex(Cache())

    /// The name of a user; empty when there is none.
    package static func userName(_ uid: UInt32) -> [UInt8] {
        if let known = cache.withLock({ $0.userNames[uid] }) { return known }
        let name = read { hf_user_name(uid, $0, $1) }
        cache.withLock { $0.userNames[uid] = name }
        return name
    }

    /// The name of a group; empty when there is none.
    package static func groupName(_ gid: UInt32) -> [UInt8] {
        if let known = cache.withLock({ $0.groupNames[gid] }) { return known }
        let name = read { hf_group_name(gid, $0, $1) }
        cache.withLock { $0.groupNames[gid] = name }
        return name
    }

    /// The number of a user by name; `nil` when this machine has none of that name.
    package static func uid(_ name: [UInt8]) -> UInt32? {
        if let known = cache.withLock({ $0.userNumbers[name] }) { return known }
        let number = look(name) { hf_user_number($0, &$1) }
        cache.withLock { $0.userNumbers[name] = .some(number) }
        return number
    }

    /// The number of a group by name; `nil` when this machine has none of that name.
    package static func gid(_ name: [UInt8]) -> UInt32? {
        if let known = cache.withLock({ $0.groupNumbers[name] }) { return known }
        let number = look(name) { hf_group_number($0, &$1) }
        cache.withLock { $0.groupNumbers[name] = .some(number) }
        return number
    }

    /// Has names of hosts, users and groups looked up without modules of the system where the program is linked statically.
    /// Call first thing: those modules would end it.
    package static func confineNames() { _ = hf_names_confine() }

    /// Forgets everything, for long-running processes: accounts come and go.
    package static func forget() { cache.withLock { $0 = Cache() } }

    private static func read(_ call: (UnsafeMutablePointer<CChar>, Int) -> Int) -> [UInt8] {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 1024) { buffer in
            // A directory service that fails is no reason to fail a backup: the number is kept in any case.
            let length = call(buffer.baseAddress.unsafelyUnwrapped, buffer.count)
            if length <= 0 { return [] }
            return [UInt8](UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<length]))
        }
    }

    private static func look(_ name: [UInt8], _ call: (UnsafePointer<CChar>, inout UInt32) -> Int) -> UInt32? {
        if name.isEmpty || name.contains(0) { return nil }
        var number: UInt32 = 0
        let outcome = (name + [0]).withUnsafeBufferPointer { bytes in
            bytes.withMemoryRebound(to: CChar.self) { call($0.baseAddress.unsafelyUnwrapped, &number) }
        }
        return outcome == 1 ? number : nil
    }
}
