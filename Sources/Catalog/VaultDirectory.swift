import Glibc
package import Model
import Platform
package import Vault

/// A vault in a directory: store, catalog, leases and, on a network file system, the claim of this host.
package enum VaultDirectory {
    static let catalogName = "catalog.sqlite"
    static let witnessName = "catalog.witness"

    /// How a vault is opened.
    package struct Options: Sendable {
        /// Takes the vault over from another host that owns it.
        package var takesOver = false
        /// The vault's clock.
        package var clock: @Sendable () -> Timestamp = { Timestamp(nanoseconds: SystemClock.wall) }
        /// Decorates the store. What fails for a reason that may pass is tried again; tests and limits bring their own.
        package var decorate: @Sendable (DirectoryStore) -> any BlobStore = { RetryingStore($0) }
        /// What the vault is opened for.
        package var access = Access.read
        /// How the catalog keeps its journal; `nil`: as the file system demands.
        package var journal: SQLiteCatalog.Journal?

        package init() {}
    }

    /// What a vault is opened for.
    package enum Access: Sendable {
        /// Reading, if need be from a vault that cannot be written to. Whoever may write can do that too.
        case read
        /// Changing what is there: deletion, holds. A full disk's reserve is for this.
        case change
        /// Storing more. Has no use of the reserve, which it would fill.
        case fill
    }

    /// Makes a vault in an existing directory, which may hold other things but no vault.
    ///
    /// Nothing that is there is ever replaced: the key files of a vault are the only way to what it holds.
    ///
    /// - Parameters:
    ///   - config: the bytes of `config.json`, written last: a directory without it is no vault.
    ///   - files: the key files.
    /// - Throws: `exists` when there is a vault already, or what is left of one.
    package static func create(
        path: [UInt8], config: [UInt8], files: [(name: String, bytes: [UInt8])]
    ) throws {
        try checkIsFree(path: path)
        let store = try DirectoryStore(path: path)
        var own: [String] = []
        func take(_ name: String, _ bytes: [UInt8]) throws {
            guard try store.put(name, bytes, mode: .ifAbsent) else {
                // Another `init` was faster. What this one has made alone would only be in the way.
                try store.delete(own)
                throw isTaken(path)
            }
            own.append(name)
        }
        for file in files { try take(file.name, file.bytes) }
        try take(StoreKey.config, config)
        try store.createReserve()
    }

    /// Throws `exists` unless a vault can be made in the directory: it holds neither a vault nor what is left of one.
    package static func checkIsFree(path: [UInt8]) throws {
        let store = try DirectoryStore(path: path)
        if try store.contains(StoreKey.config) { throw isTaken(path) }
        if let remains = try remains(in: store, path) { throw remains }
    }

    private static func isTaken(_ path: [UInt8]) -> HoldfastError {
        HoldfastError(
            .exists, "there is a vault in \(TreePath.display(path)) already; nothing was changed",
            context: [
                "vault": TreePath.display(path), "hint": "`holdfast vault join` lets this machine write to it.",
            ])
    }

    /// What to say of a directory without `config.json` that holds packs or key files; `nil` when it holds neither.
    private static func remains(in store: DirectoryStore, _ path: [UInt8]) throws -> HoldfastError? {
        func holds(_ prefix: String) throws -> Bool {
            var isThere = false
            try store.list(prefix) { _ in
                isThere = true
                return false
            }
            return isThere
        }
        let shown = TreePath.display(path)
        if try holds(StoreKey.packsPrefix) {
            return HoldfastError(
                .exists,
                "\(shown) holds the packs of a vault whose config.json is missing; without that file nothing opens it",
                context: [
                    "vault": shown,
                    "hint": "Look for config.json in lost+found and in copies of the vault, and put it back. "
                        + "Do not make a new vault here: it would stand in the way of the old one.",
                ])
        }
        if try holds(StoreKey.keysPrefix) {
            return HoldfastError(
                .exists, "\(shown) holds the key files of a vault (keys/), but no config.json and no packs",
                context: [
                    "vault": shown,
                    "hint": "If a vault was here, put back its config.json and packs. If `holdfast vault init` was "
                        + "interrupted here, remove the directory keys and run it again.",
                ])
        }
        return nil
    }

    /// The vault's configuration. Throws `notFound` when the directory holds no vault, `exists` when it holds one that has
    /// lost its configuration.
    package static func config(path: [UInt8]) throws -> VaultConfig {
        let store = try DirectoryStore(path: path)
        do {
            return try VaultConfig.decode(try store.get(StoreKey.config, atMost: 1 << 20))
        } catch let error as HoldfastError where error.code == .notFound {
            if let remains = try remains(in: store, path) { throw remains }
            throw HoldfastError(
                .notFound,
                "there is no vault in \(TreePath.display(path)) (no config.json); `holdfast vault init` makes one",
                context: ["vault": TreePath.display(path)], cause: error)
        }
    }

    /// Opens a vault. A catalog that is missing or damaged is rebuilt from the packs, which `notes` then says.
    ///
    /// On a full disk the reserve is given back as long as the vault is open. A vault that can only be read, or whose disk is
    /// full and has no reserve left, is opened for reading with a catalog of this process's own.
    ///
    /// - Throws: `notFound`, `unsupported`, `busy` for another owner or while the catalog is being rebuilt; for other access
    ///   than `.read` also `denied` for a vault that cannot be written to, and `noSpace`.
    package static func open(path: [UInt8], options: Options = Options()) throws -> LocalVault {
        let directory = try DirectoryStore(path: path)
        let parts = Parts(
            path: path, config: try config(path: path), store: options.decorate(directory),
            isShared: try directory.isShared(), options: options)
        if let refusal = try refusal(path) {
            guard options.access == .read else { throw refusal }
            return try Place(parts, besideFor: refusal).open()
        }
        do {
            do {
                return try Place(parts).open()
            } catch let error as HoldfastError where options.access != .fill && parts.reserve.makesRoom(for: error) {
                return try Place(parts).open()
            }
        } catch let error as HoldfastError where parts.reserve.isForWantOfRoom(error) {
            let full = HoldfastError(
                .noSpace, "the disk with the vault \(TreePath.display(path)) is full",
                context: [
                    "vault": TreePath.display(path),
                    "hint": options.access == .fill
                        ? "Free some room there, or delete points and run `holdfast vault reclaim`."
                        : "Free some room there; then delete points and run `holdfast vault reclaim`.",
                ], cause: error)
            guard options.access == .read else { throw full }
            return try Place(parts, besideFor: full).open()
        }
    }

    /// Makes the catalog anew from the packs, without a key. Nobody may use the vault meanwhile.
    ///
    /// - Throws: `busy` while others use the vault.
    package static func rebuild(path: [UInt8], options: Options = Options()) throws -> RebuildReport {
        let directory = try DirectoryStore(path: path)
        if let refusal = try refusal(path) { throw refusal }
        let parts = Parts(
            path: path, config: try config(path: path), store: options.decorate(directory),
            isShared: try directory.isShared(), options: options)
        do {
            return try Place(parts).rebuild()
        } catch let error as HoldfastError where parts.reserve.makesRoom(for: error) {
            return try Place(parts).rebuild()
        }
    }

    /// Why the vault cannot be written to; `nil` when it can.
    private static func refusal(_ path: [UInt8]) throws -> HoldfastError? {
        let shown = TreePath.display(path)
        do throws(Errno) {
            let folder = try FileDescriptor.open(path, [.readOnly, .directory, .followLink])
            for name in [".", "leases"] where faccessat(folder.raw, name, W_OK, AT_EACCESS) != 0 {
                let error = Errno(code: errno)
                if error == .readOnly {
                    return HoldfastError(
                        .denied,
                        "the vault \(shown) is on a file system that is mounted read-only: it can be read and not "
                            + "changed", context: ["vault": shown, "hint": "Mount it writable first."], cause: error)
                }
                if error.isDenied {
                    return HoldfastError(
                        .denied, "the vault \(shown) can be read by you and not changed",
                        context: ["vault": shown, "hint": "Run as its owner, or as root."], cause: error)
                }
            }
            return nil
        } catch {
            throw HoldfastError(.io, "the vault's directory cannot be opened: \(error)", cause: error)
        }
    }

    /// What a vault is opened with, wherever its catalog lies.
    private struct Parts {
        let path: [UInt8]
        let config: VaultConfig
        let store: any BlobStore
        let isShared: Bool
        let options: Options
        let reserve: ReserveUse

        init(path: [UInt8], config: VaultConfig, store: any BlobStore, isShared: Bool, options: Options) {
            self.path = path
            self.config = config
            self.store = store
            self.isShared = isShared
            self.options = options
            reserve = ReserveUse(store)
        }
    }

    /// A vault but for its catalog: in the vault's directory, or beside a vault that is only read.
    private struct Place {
        let parts: Parts
        /// Where the catalog lies.
        let path: [UInt8]
        let guards: any LeaseGuard
        let owner: VaultOwner?
        let journal: SQLiteCatalog.Journal
        /// Why nothing in the vault can be changed.
        let refusal: HoldfastError?

        /// In the vault.
        init(_ parts: Parts) throws {
            self.parts = parts
            path = parts.path
            guards = try LeaseFiles(vaultPath: path)
            journal = parts.options.journal ?? (parts.isShared ? .rollback : .log)
            refusal = nil
            owner =
                parts.isShared
                ? try VaultOwner.claim(
                    vault: parts.config.vault, in: parts.store, takesOver: parts.options.takesOver) : nil
        }

        /// Beside a vault that can only be read, because of `refusal`.
        init(_ parts: Parts, besideFor refusal: HoldfastError) throws {
            self.parts = parts
            let catalog = try PrivateCatalog(of: parts.path)
            path = catalog.path
            guards = PrivateLeases(refusal: refusal, place: catalog)
            journal = .log
            self.refusal = refusal
            owner = nil
        }

        func open() throws -> LocalVault {
            // Only a catalog that cannot be opened is rebuilt; other things that are missing or damaged are not its fault.
            if let use = try use(), let catalog = try catalog() {
                removeUnfinishedCatalog()
                return try vault(catalog, use)
            }
            let hadCatalog = try parts.store.contains(VaultDirectory.catalogName)
            var note: String?
            do {
                let report = try rebuild()
                note =
                    (hadCatalog ? "the vault's catalog was damaged" : "the vault had no catalog")
                    + "; it was rebuilt from \(report.packs) packs with \(report.points) points"
                note? +=
                    "; what was known of damage is lost: `holdfast vault verify --level packs` finds it again"
                let unreadable = Set(report.unreadable.map(\.pack)).count
                if unreadable > 0 {
                    note? +=
                        "; \(unreadable) packs cannot be read, or not in full: `holdfast vault verify` names them"
                }
            } catch let error as HoldfastError where error.code == .busy {
                // Another process has just seen the same and rebuilds.
            }
            guard let use = try use(), let catalog = try catalog() else { throw catalogBusy }
            let vault = try vault(catalog, use)
            if let note { vault.addNote(note) }
            return vault
        }

        func catalog(name: String, create: Bool) throws -> SQLiteCatalog {
            try SQLiteCatalog(
                path: try file(name), vault: parts.config.vault,
                witness: WitnessFile(path: path + Array("/\(VaultDirectory.witnessName)".utf8)), create: create,
                journal: journal)
        }

        /// SQLite takes paths as text: one that is not UTF-8 goes through a descriptor of the directory, which stays open
        /// as long as the process.
        private func file(_ name: String) throws -> String {
            if let text = String(validating: path, as: UTF8.self) { return text + "/" + name }
            do throws(Errno) {
                let folder = try FileDescriptor.open(path, [.readOnly, .directory, .followLink])
                return "/proc/self/fd/\(folder.release())/\(name)"
            } catch {
                throw HoldfastError(.io, "the vault's directory cannot be opened: \(error)", cause: error)
            }
        }

        /// The catalog; `nil` when it is missing or damaged.
        func catalog() throws -> SQLiteCatalog? {
            do {
                return try catalog(name: VaultDirectory.catalogName, create: false)
            } catch let error as HoldfastError where error.code == .notFound || error.code == .damaged {
                return nil
            }
        }

        func vault(_ catalog: SQLiteCatalog, _ use: any HeldRole) throws -> LocalVault {
            let vault = try LocalVault(
                config: parts.config, store: parts.store, catalog: catalog, guards: guards, owner: owner, use: use,
                reserve: parts.options.access == .fill ? nil : parts.reserve, refusal: refusal,
                clock: parts.options.clock)
            if let refusal {
                vault.addNote("\(refusal.message); it is read with a copy of its catalog, and nothing in it changes")
            }
            if owner?.tookOver == true { try vault.compare() }
            return vault
        }

        var catalogBusy: HoldfastError {
            HoldfastError(
                .busy, "the vault's catalog is being rebuilt by another process; wait until it has finished",
                isTemporary: true)
        }

        /// Says that the catalog is in use. A rebuild of a small vault takes less than a second: waits a little for one.
        func use() throws -> (any HeldRole)? {
            for _ in 0..<100 {
                if let use = try guards.join(.catalog) { return use }
                usleep(50_000)
            }
            throw catalogBusy
        }

        func rebuild() throws -> RebuildReport {
            guard let role = try guards.take(.catalog) else {
                throw HoldfastError(
                    .busy, "the vault is in use; end the backups and restores that run on it, then rebuild its catalog",
                    isTemporary: true)
            }
            defer { withExtendedLifetime(role) {} }
            try owner?.confirm()
            let fresh = VaultDirectory.catalogName + ".new"
            try remove(fresh)
            let catalog = try catalog(name: fresh, create: true)
            let vault = try LocalVault(
                config: parts.config, store: parts.store, catalog: catalog, guards: guards, owner: owner,
                clock: parts.options.clock, compares: false)
            let old = try? self.catalog(name: VaultDirectory.catalogName, create: false)
            let report = try vault.rebuild(takingOverFrom: old)
            try? old?.close()
            try catalog.close()
            // It may have taken hours: another host's catalog must not be replaced.
            try owner?.confirm()
            // Without the old log beside it: SQLite would play it into the new file. A kill in between leaves a vault
            // without catalog, which is rebuilt when it is opened.
            try remove(VaultDirectory.catalogName)
            do throws(Errno) {
                let folder = try FileDescriptor.open(path, [.readOnly, .directory, .followLink])
                try FileSystem.rename(at: folder.raw, fresh, to: folder.raw, VaultDirectory.catalogName)
                // The log was merged; what may be left of it is empty.
                for file in [fresh + "-wal", fresh + "-shm"] { try? FileSystem.remove(at: folder.raw, file) }
                try folder.sync()
            } catch {
                throw HoldfastError(.io, "the rebuilt catalog cannot be put in place: \(error)", cause: error)
            }
            return report
        }

        /// Removes what a killed rebuild left. Nobody rebuilds while the catalog is in use.
        func removeUnfinishedCatalog() {
            if refusal != nil { return }
            let fresh = VaultDirectory.catalogName + ".new"
            if (try? parts.store.contains(fresh)) == true { try? remove(fresh) }
        }

        private func remove(_ name: String) throws {
            do throws(Errno) {
                let folder = try FileDescriptor.open(path, [.readOnly, .directory, .followLink])
                for file in [name, name + "-wal", name + "-shm", name + "-journal"] {
                    do throws(Errno) { try FileSystem.remove(at: folder.raw, file) } catch {
                        if error != .noEntry { throw error }
                    }
                }
            } catch {
                throw HoldfastError(.io, "the old catalog cannot be removed: \(error)", cause: error)
            }
        }
    }
}
