import Model
import Platform
import Synchronization

/// Says which leases are live, without a clock: a lease is live as long as the process that opened it.
package protocol LeaseGuard: AnyObject, Sendable {
    /// Makes the lease live until it is released or this process ends, however it ends.
    func hold(_ id: LeaseID) throws
    /// Ends what `hold` began. Fine for leases that are not held here.
    func release(_ id: LeaseID)
    /// Whether any process holds the lease.
    func isHeld(_ id: LeaseID) throws -> Bool
    /// Leases that left traces, held or not.
    func traces() throws -> [LeaseID]
    /// Removes the traces of a lease that is not held.
    func forget(_ id: LeaseID)

    /// Takes a role that one process at a time has; `nil` when another has it.
    func take(_ role: VaultRole) throws -> (any HeldRole)?
    /// Takes part in a role that many have at once, `nil` while one has it for itself.
    func join(_ role: VaultRole) throws -> (any HeldRole)?
}

/// Work that one process at a time does on a vault. Writers and readers go on meanwhile.
package enum VaultRole: String, Sendable {
    /// Collects what nothing refers to, or rewrites point packs.
    case collector
    /// Compares store and catalog.
    case comparison
    /// Uses the catalog (many at once), or replaces it (one alone).
    case catalog
}

/// Ends the role when it is let go.
package protocol HeldRole: AnyObject, Sendable {}

/// Leases as locked files in the vault's `leases` directory: an open file lock ends with its process.
package final class LeaseFiles: LeaseGuard {
    private let directory: FileDescriptor
    private let location: String
    private let held = Mutex<[LeaseID: LockedFile]>([:])

    /// A lock with reference semantics; the file stays locked while the object lives.
    private final class LockedFile: HeldRole, Sendable {
        let lock: FileLock
        init(_ lock: consuming FileLock) { self.lock = lock }
    }

    /// Opens (and makes) the directory `leases` of the vault at `path`.
    package init(vaultPath path: [UInt8]) throws {
        location = TreePath.display(path) + "/leases"
        do throws(Errno) {
            let vault = try FileDescriptor.open(path, [.readOnly, .directory, .followLink])
            do throws(Errno) { try FileSystem.makeDirectory(at: vault.raw, "leases", mode: 0o700) } catch {
                if error != .exists { throw error }
            }
            directory = try FileDescriptor.open(at: vault.raw, "leases", [.readOnly, .directory])
        } catch {
            throw StoreErrors.make(error, .open, "leases", in: TreePath.display(path))
        }
    }

    package func hold(_ id: LeaseID) throws {
        // Whoever sees the final name must find it locked: the file is locked before it gets it.
        let fresh = "new-" + id.hex
        do throws(Errno) {
            for attempt in 1... {
                guard let lock = try FileLock.acquire(at: directory.raw, fresh) else { throw .again }
                do throws(Errno) {
                    try FileSystem.rename(at: directory.raw, fresh, to: directory.raw, id.hex)
                } catch {
                    // Somebody who looked between the file and its lock has taken it for a killed writer's.
                    if error == .noEntry, attempt < LeaseFiles.attempts { continue }
                    throw error
                }
                let file = LockedFile(lock)
                held.withLock { $0[id] = file }
                return
            }
        } catch {
            throw StoreErrors.make(error, .write, id.hex, in: location)
        }
    }

    /// How often a file that somebody has removed is made again.
    private static let attempts = 64

    package func release(_ id: LeaseID) {
        // The name goes first: nobody may find it unlocked and take the lease for a killed one.
        let file = held.withLock { $0.removeValue(forKey: id) }
        guard file != nil else { return }
        try? FileSystem.remove(at: directory.raw, id.hex)
    }

    package func isHeld(_ id: LeaseID) throws -> Bool {
        // Of a thousand leases of one server none has to be looked at on the disk.
        if held.withLock({ $0[id] != nil }) { return true }
        do throws(Errno) {
            return try FileLock.isHeld(at: directory.raw, id.hex)
        } catch {
            throw StoreErrors.make(error, .examine, id.hex, in: location)
        }
    }

    package func traces() throws -> [LeaseID] {
        do throws(Errno) {
            var found: [LeaseID] = []
            let listing = try FileDescriptor.open(at: directory.raw, ".", [.readOnly, .directory])
            var reader = DirectoryReader()
            reader.start(listing.raw)
            while let entry = try reader.next() {
                let name = String(decoding: entry.bytes, as: UTF8.self)
                if let id = LeaseID(hex: name) {
                    found.append(id)
                } else if name.hasPrefix("new-"), try !FileLock.isHeld(at: directory.raw, name) {
                    try? FileSystem.remove(at: directory.raw, name)
                }
            }
            return found
        } catch {
            throw StoreErrors.make(error, .list, "", in: location)
        }
    }

    package func forget(_ id: LeaseID) {
        try? FileSystem.remove(at: directory.raw, id.hex)
    }

    package func take(_ role: VaultRole) throws -> (any HeldRole)? { try lock(role, shared: false) }
    package func join(_ role: VaultRole) throws -> (any HeldRole)? { try lock(role, shared: true) }

    private func lock(_ role: VaultRole, shared: Bool) throws -> (any HeldRole)? {
        do throws(Errno) {
            guard let lock = try FileLock.acquire(at: directory.raw, role.rawValue + ".lock", shared: shared) else {
                return nil
            }
            return LockedFile(lock)
        } catch {
            throw StoreErrors.make(error, .open, role.rawValue, in: location)
        }
    }
}

/// The witness of a catalog in a file beside it.
package final class WitnessFile: CatalogWitness {
    private let path: [UInt8]

    package init(path: [UInt8]) { self.path = path }

    package func read() throws -> UInt64? {
        do throws(Errno) {
            let file = try FileDescriptor.open(path, [.readOnly])
            let bytes = try file.readAll(limit: 64)
            guard bytes.count == 8 else { return nil }
            return bytes.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) }
        } catch {
            if error == .noEntry { return nil }
            throw StoreErrors.make(error, .read, "", in: TreePath.display(path))
        }
    }

    /// In place: a torn value is a wrong one, and a wrong one only costs a comparison.
    package func write(_ value: UInt64) throws {
        do throws(Errno) {
            let file = try FileDescriptor.open(path, [.writeOnly, .create], mode: 0o600)
            try withUnsafeBytes(of: value.littleEndian) { bytes throws(Errno) in try file.writeAll(bytes, at: 0) }
            try file.close()
        } catch {
            throw StoreErrors.make(error, .write, "", in: TreePath.display(path))
        }
    }
}
