import Catalog
import Client
package import Model
import Platform
package import Vault

/// What a server keeps on its machine: who it is, its certificate, the key to its vault, and its database.
///
/// Everything is in one directory of mode 0700. Losing it loses no backup: `docs/server.md` says how a server comes back.
package struct ServerState: Sendable {
    static let folder = "server"

    package let directory: StateDirectory
    package let identity: ServerIdentity

    /// Opens the state, making a new identity when there is none.
    package init(path: [UInt8]) throws {
        directory = try StateDirectory(path: path)
        if let bytes = try directory.document("identity.json", in: Self.folder) {
            identity = try ServerIdentity.decode(bytes, document: "server/identity.json")
            return
        }
        let made = ServerIdentity.random()
        // Of two that start at once one is the server.
        if try directory.keep(made.encoded(), as: "identity.json", in: Self.folder, replacing: false) {
            identity = made
        } else {
            guard let bytes = try directory.document("identity.json", in: Self.folder) else {
                throw HoldfastError(.io, "The server's identity was removed while it was read.")
            }
            identity = try ServerIdentity.decode(bytes, document: "server/identity.json")
        }
    }

    // MARK: The key to the vault

    /// The key of the slot that lets this server open its vault; `nil` before there is one.
    package func serverKey(of vault: VaultID) throws -> ServerKey? {
        guard let bytes = try directory.document("\(vault.hex).key", in: Self.folder) else { return nil }
        return try ServerKey(bytes)
    }

    package func save(_ key: ServerKey, of vault: VaultID) throws {
        try directory.keep(key.fileBytes, as: "\(vault.hex).key", in: Self.folder)
    }

    // MARK: Certificate

    /// Certificate chain and key (PEM) that the server made for itself or was given; `nil` before.
    package func certificate() throws -> (chain: String, key: String)? {
        guard let chain = try directory.document("certificate.pem", in: Self.folder),
            let key = try directory.document("certificate-key.pem", in: Self.folder)
        else { return nil }
        return (String(decoding: chain, as: UTF8.self), String(decoding: key, as: UTF8.self))
    }

    package func saveCertificate(chain: String, key: String) throws {
        // The key first: one without its certificate is replaced with it.
        try directory.keep(Array(key.utf8), as: "certificate-key.pem", in: Self.folder)
        try directory.keep(Array(chain.utf8), as: "certificate.pem", in: Self.folder)
    }

    /// Path of the database.
    package var database: String { ServerState.database(in: directory.path) }

    static func database(in path: [UInt8]) -> String { String(decoding: path, as: UTF8.self) + "/server.sqlite" }
}
