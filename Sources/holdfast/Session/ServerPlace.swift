import Catalog
import Client
import Foundation
import Model
import Platform
import Server
import Vault

/// A server on this machine: its state and its vault, as its commands need them.
struct ServerPlace {
    let console: Console
    let state: ServerState
    let catalog: SQLiteServerCatalog

    /// - Parameter makes: a machine without a server becomes one. Where it does not, a command that was meant for another
    ///   state directory would list nothing, and print codes of a server that nobody runs.
    init(_ console: Console, _ global: GlobalOptions, makes: Bool = false) throws {
        self.console = console
        guard try makes || ServerPlace.isThere(global) else {
            throw HoldfastError(
                .notFound, "There is no server in \(TreePath.display(try global.stateDirectory())).",
                context: [
                    "hint":
                        "Run this on the server's machine, as its user, with the --state of `holdfast server run`; where the package "
                        + "is installed, `holdfast-server COMMAND` does that."
                ])
        }
        state = try ServerState(path: try global.stateDirectory())
        catalog = try SQLiteServerCatalog(path: state.database)
    }

    /// Whether this machine has a server.
    static func isThere(_ global: GlobalOptions) throws -> Bool {
        (try? FileSystem.status(try global.stateDirectory() + Array("/server.sqlite".utf8))) != nil
    }

    /// The server with its vault opened, ready to be asked.
    ///
    /// - Parameters:
    ///   - given: the certificate that was given, instead of one that the server makes for itself.
    ///   - isBehindProxy: another program shows its own certificate to the machines.
    func core(
        _ options: VaultOptions, given: (chain: String, key: String)? = nil, isBehindProxy: Bool = false,
        metricsAreOpen: Bool = false, offer: PackageOffer = .nothing
    ) throws -> ServerCore {
        let path = try options.location()
        if ServerAddress.isServer(String(decoding: path, as: UTF8.self)) {
            throw HoldfastError(.usage, "A server serves a vault in a directory: name that with --vault.")
        }
        var opening = VaultDirectory.Options()
        opening.takesOver = options.takeOver
        opening.access = .change
        let vault = try VaultDirectory.open(path: path, options: opening)
        for note in vault.notes { console.note("holdfast: \(note)") }
        let keys = try keys(vault)
        let own = given == nil && !isBehindProxy ? try certificate().chain : nil
        var protect: (@Sendable (ServerExport, LocalVault) throws -> Void)?
        if let keys {
            let protection = ServerProtection(state: state, keys: keys)
            protect = { export, vault in try protection.keep(export, in: vault) }
        }
        let core = ServerCore(
            identity: state.identity, vault: vault, keys: keys, catalog: catalog, ownCertificate: own,
            vaultPath: path, sheetCommand: sheetCommand(path), metricsAreOpen: metricsAreOpen, offer: offer,
            protect: protect)
        if let given { core.certificateChanged(given.chain) }
        return core
    }

    /// What somebody types on this machine to say the words of the key sheet, wherever vault and state are.
    private func sheetCommand(_ vault: [UInt8]) -> String {
        let own = state.directory.path
        // Where the package keeps them its own command knows the way.
        if own == Array("/var/lib/holdfast-server".utf8) { return "holdfast-server check-sheet" }
        func words(_ path: [UInt8]) -> String {
            UpScreen.quoted((try? PathArgument(bytes: path).fromWorkingDirectory()) ?? path)
        }
        return "\(UpScreen.program) server check-sheet --vault \(words(vault)) --state \(words(own))"
    }

    /// The vault's keys by the server's own slot; `nil` for an owner-only vault.
    private func keys(_ vault: LocalVault) throws -> VaultKeys? {
        if vault.config.kind == .ownerOnly { return nil }
        guard let key = try state.serverKey(of: vault.vault) else {
            throw HoldfastError(
                .keyNeeded, "This server has no key to the vault \(vault.vault.hex.prefix(8)) yet.",
                context: ["hint": "Run `holdfast server init --vault DIR` once; it asks for the vault's passphrase."])
        }
        let material = try VaultSession.keyMaterial(vault.store)
        return try VaultKeys.unlock(config: material.config, files: material.files, secret: .serverKey(key))
    }

    /// The certificate that this server shows: the one it was given, or one that it makes for itself and renews.
    func certificate() throws -> (chain: String, key: String) {
        if let known = try state.certificate(), !SelfMadeCertificate.needsRenewal(known.chain) { return known }
        return try renewed()
    }

    /// A new certificate when the one that the server made for itself is near its end; `nil` when it is not.
    func renewedCertificate() throws -> (chain: String, key: String)? {
        guard let known = try state.certificate(), SelfMadeCertificate.needsRenewal(known.chain) else { return nil }
        return try renewed()
    }

    private func renewed() throws -> (chain: String, key: String) {
        let made = try SelfMadeCertificate.make(names: [Machine.hostName, "localhost", "127.0.0.1", "::1"])
        try state.saveCertificate(chain: made.chain, key: made.key)
        return made
    }
}
