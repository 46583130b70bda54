import Catalog
import Model
import Platform
import Synchronization
import Vault

/// The vault that a server serves. It can be let go of for as long as its catalog is made anew.
final class VaultHolder: Sendable {
    private let vault: Mutex<LocalVault?>
    /// What opens the vault again, after it was let go of.
    private let reopening = Mutex<Reopening?>(nil)
    /// As a value of its own: see `PolicyObjectives` for what a mutex does to a closure.
    private struct Reopening: Sendable {
        let open: @Sendable () throws -> LocalVault
    }
    /// The catalog is being made anew.
    private let isRebuilding = Mutex(false)
    private let prepare: @Sendable (LocalVault) -> Void
    let id: VaultID
    let config: VaultConfig

    /// - Parameter prepare: called with the vault each time it was opened.
    init(_ vault: LocalVault, prepare: @escaping @Sendable (LocalVault) -> Void) {
        self.vault = Mutex(vault)
        self.prepare = prepare
        id = vault.vault
        config = vault.config
        prepare(vault)
    }

    /// Throws `busy` while the catalog is being made anew.
    func get() throws -> LocalVault {
        guard let vault = current else {
            throw HoldfastError(
                .busy, "the vault's catalog is being made anew; try again when that has ended", isTemporary: true)
        }
        return vault
    }

    var current: LocalVault? { vault.withLock { $0 } }

    /// Lets go of the vault, makes its catalog anew, and opens it again, also when that has failed.
    ///
    /// - Parameter letGo: called when the vault can be had from here no more, for those who hold it without being at work.
    func rebuild(path: [UInt8], letGo: () -> Void) throws -> RebuildReport {
        let isMine = vault.withLock { vault in
            defer { vault = nil }
            return vault != nil
        }
        isRebuilding.withLock { $0 = isMine || $0 }
        defer { if isMine { isRebuilding.withLock { $0 = false } } }
        guard isMine else { _ = try get(); throw HoldfastError(.busy, "the vault's catalog is being made anew") }
        letGo()
        var options = VaultDirectory.Options()
        options.access = .change
        let asked = options
        reopening.withLock { $0 = Reopening { try VaultDirectory.open(path: path, options: asked) } }
        let report = Result { try VaultHolder.patiently { try VaultDirectory.rebuild(path: path, options: options) } }
        try VaultHolder.patiently { try reopen() }
        return try report.get()
    }

    /// Opens a vault that was let go of and could not be opened again; does nothing for one that is open.
    func reopen() throws {
        try reopening.withLock { reopening in
            guard let found = reopening else { return }
            let opened = try found.open()
            prepare(opened)
            vault.withLock { $0 = opened }
            reopening = nil
        }
    }

    /// After a rebuild whose vault could not be opened: tries again. To be called from time to time.
    func upkeep() {
        if isRebuilding.withLock({ $0 }) { return }
        try? reopen()
    }

    /// Requests that are under way hold the vault for a moment longer.
    private static func patiently<R>(_ body: () throws -> R) throws -> R {
        for _ in 0..<600 {
            do { return try body() } catch let error as HoldfastError where error.code == .busy {
                SystemClock.pause(milliseconds: 100)
            }
        }
        return try body()
    }
}
