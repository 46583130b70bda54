package import Model
package import Vault

/// Opens a machine's own points with the record keys that its server grants: a machine holds nothing that opens history.
package final class PointGrants: PointOpener {
    package let vault: VaultID
    package let vaultVerifying: VerifyingKey
    private let connection: ServerConnection
    private let secrets: WriterSecrets

    package init(_ connection: ServerConnection, secrets: WriterSecrets) {
        vault = secrets.vault
        vaultVerifying = secrets.vaultSigning
        self.connection = connection
        self.secrets = secrets
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
        [ContentChecker(secrets: secrets.domainSecrets)]
    }
}
