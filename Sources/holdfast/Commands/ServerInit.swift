import ArgumentParser
import Catalog
import Client
import Model
import Platform
import Server
import Vault

/// `holdfast server init`
struct ServerInit: Command {
    static let configuration = CommandConfiguration(
        commandName: "init",
        abstract: "Give the server on this machine a key to a vault.",
        usage: "holdfast server init --vault <dir> [<options>]",
        discussion: """
            Adds a key slot for the server to a vault that is there, and keeps the key in the server's state. Make the vault \
            first with `holdfast vault init`, and keep its key sheet away from this machine: with the sheet and the vault \
            everything comes back when the server is lost.

            Example:
              holdfast vault init --vault /srv/vault
              holdfast server init --vault /srv/vault
            """
    )

    @OptionGroup var location: VaultOptions
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let place = try ServerPlace(console, global, makes: true)
        let session = try VaultSession(console, location, global, for: .change)
        let vault = try session.localVault()
        guard vault.config.kind == .serverReadable else {
            throw HoldfastError(
                .usage,
                "The vault is owner-only: no server may hold a key to it. `holdfast server run` serves it as it is.")
        }
        let isNew = try ServerInit.giveKey(to: place, vault, now: session.now) { try session.keys(passphrase) }
        try emit(console, place, vault, isNew: isNew)
        if !isNew {
            try console.line("This server has a key to the vault \(vault.vault.hex.prefix(8)) already.")
            return .done
        }
        try console.line("This server may open the vault \(vault.vault.hex.prefix(8)).")
        try console.line("  holdfast server run --vault \(session.name)\(global.stateWords)")
        return .done
    }

    /// Adds a key slot for a server, unless it has one.
    ///
    /// - Parameter keys: the vault's, asked for only if they are needed.
    static func giveKey(
        to place: ServerPlace, _ vault: LocalVault, now: Timestamp, keys: () throws -> VaultKeys
    ) throws -> Bool {
        if let key = try place.state.serverKey(of: vault.vault), try opens(vault, key) { return false }
        let keys = try keys()
        let key = try place.state.serverKey(of: vault.vault) ?? .random()
        // Kept before the slot: a slot whose key nobody has would be one too many.
        try place.state.save(key, of: vault.vault)
        let slot = try keys.addSlot(.serverKey(key), label: "server \(Machine.hostName)", created: now)
        guard try vault.store.put(KeyFiles.prefix + slot.fileName, slot.encoded(), mode: .ifAbsent) else {
            throw HoldfastError(.busy, "Somebody else has just added a key slot. Try again.", isTemporary: true)
        }
        return true
    }

    private static func opens(_ vault: LocalVault, _ key: ServerKey) throws -> Bool {
        let material = try VaultSession.keyMaterial(vault.store)
        return (try? VaultKeys.unlock(config: material.config, files: material.files, secret: .serverKey(key))) != nil
    }

    private func emit(_ console: Console, _ place: ServerPlace, _ vault: LocalVault, isNew: Bool) throws {
        try console.emit(
            "server_init",
            ["server": .id(place.state.identity.id), "vault": .id(vault.vault), "new": .bool(isNew)])
    }
}
