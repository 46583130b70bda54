package import Model
package import Vault

/// Opens points with the record keys that a server grants, to a machine for its own points and to a person for those that
/// they may read: neither holds anything that opens history.
package final class PointGrants: PointOpener {
    package let vault: VaultID
    package let vaultVerifying: VerifyingKey
    private let connection: ServerConnection
    private let domainSecrets: [DomainSecret]

    package init(_ connection: ServerConnection, secrets: WriterSecrets) {
        vault = secrets.vault
        vaultVerifying = secrets.vaultSigning
        self.connection = connection
        domainSecrets = secrets.domainSecrets
    }

    /// For a person, who has no secrets of the vault: contents are believed by their seals, whose keys stand in the signed
    /// point.
    package init(_ connection: ServerConnection, config: VaultConfig) {
        vault = config.vault
        vaultVerifying = config.signing
        self.connection = connection
        domainSecrets = []
    }

    package func recordKey(of wrap: [UInt8], in point: PointID) throws -> RecordKey {
        let hash = wrap.withUnsafeBytes { BlobCrypto.sha256($0) }
        let body = JSONValue.object(["wrap": .string(Hex.encode(hash.array))]).encoded()
        let answer = try connection.request(
            "POST", "/api/v1/vaults/\(vault.hex)/points/\(point.hex)/grant", body: body)
        let fields = try JSONFields(parsing: answer, document: "the server's grant")
        guard let key = RecordKey(granted: try fields.bytes("key"), wrap: wrap) else { throw fields.wrong("key") }
        return key
    }

    package func checkers(of machine: MachineID) -> [ContentChecker] {
        domainSecrets.isEmpty ? [] : [ContentChecker(secrets: domainSecrets)]
    }
}
