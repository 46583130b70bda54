package import Client
import Model
package import Vault

/// The key by which a server is known. Certificates and addresses come and go; this stays, so that agents need not be told.
package struct ServerIdentity: SecretValue {
    package let id: ServerID
    package let key: SigningKey

    package static func random() -> ServerIdentity { ServerIdentity(id: .random(), key: .random()) }

    package init(id: ServerID, key: SigningKey) {
        self.id = id
        self.key = key
    }

    func encoded() -> [UInt8] {
        JSONValue.object([
            "key-seed": .string(Hex.encode(key.seed)), "server": .string(id.hex), "version": .integer(1),
        ]).encoded()
    }

    static func decode(_ bytes: [UInt8], document: String) throws -> ServerIdentity {
        let fields = try JSONFields(parsing: bytes, document: document)
        guard let key = SigningKey(seed: try fields.bytes("key-seed")) else { throw fields.wrong("key-seed") }
        return ServerIdentity(id: try fields.identifier("server"), key: key)
    }
}
