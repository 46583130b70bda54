package import Model
package import Vault

/// What a machine says of itself when it enrols.
package struct EnrolmentRequest: SecretValue {
    package var token: SecretToken
    package var machine: MachineID
    package var name: String
    /// Signs its requests.
    package var key: VerifyingKey
    /// Signs its points.
    package var signing: VerifyingKey
    /// `proof` is made with `key` and shows that whoever asks holds it.
    package var proof: [UInt8]

    package init(
        token: SecretToken, machine: MachineID, name: String, key: SigningKey, signing: VerifyingKey, server: ServerID
    ) throws {
        self.token = token
        self.machine = machine
        self.name = name
        self.key = key.verifyingKey
        self.signing = signing
        proof = []
        proof = try key.sign(EnrolmentRequest.message(self, server))
    }

    private static func message(_ request: EnrolmentRequest, _ server: ServerID) -> [UInt8] {
        var writer = ByteWriter()
        writer.raw("holdfast/1/enrol".utf8)
        writer.u8(0)
        writer.raw(server.array)
        writer.digest(request.token.hash)
        writer.raw(request.machine.array)
        writer.digest(request.key.bytes)
        writer.digest(request.signing.bytes)
        return writer.bytes
    }

    /// Whether it comes from the holder of `key`, for this server.
    package func isProven(for server: ServerID) -> Bool {
        key.verifies(proof, of: EnrolmentRequest.message(self, server))
    }

    package func encoded() -> [UInt8] {
        JSONValue.object([
            "token": .string(token.text), "machine": .string(machine.hex), "name": .string(name),
            "key": .string(key.description), "signing": .string(signing.description),
            "proof": .string(Base64URL.encode(proof)),
        ]).encoded()
    }

    package static func decode(_ body: [UInt8]) throws -> EnrolmentRequest {
        try EnrolmentRequest(try JSONFields(parsing: body, document: "the request to enrol"))
    }

    private init(_ fields: JSONFields) throws {
        guard let token = SecretToken(try fields.string("token")) else { throw fields.wrong("token") }
        guard let proof = Base64URL.decode(try fields.string("proof")) else { throw fields.wrong("proof") }
        self.token = token
        machine = try fields.identifier("machine")
        name = try fields.string("name")
        guard !name.isEmpty, name.utf8.count <= MachineRecord.maximumNameLength,
            name.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F })
        else {
            throw fields.wrong("name")
        }
        key = VerifyingKey(bytes: try fields.digest("key"))
        signing = VerifyingKey(bytes: try fields.digest("signing"))
        self.proof = proof
    }
}

/// What a machine gets when it has enrolled with the server of an owner-only vault, which has no key to it: the key files,
/// with which the owner's passphrase makes what the machine writes with, on the machine.
package struct OwnerOnlyGrant: Sendable {
    package var machine: MachineID
    package var vault: VaultID
    package var material: KeyMaterial
    /// Until a person approves, nothing can be written.
    package var isWaiting: Bool

    package init(machine: MachineID, vault: VaultID, material: KeyMaterial, isWaiting: Bool) {
        self.machine = machine
        self.vault = vault
        self.material = material
        self.isWaiting = isWaiting
    }

    package func encoded() -> [UInt8] {
        JSONValue.object([
            "machine": .string(machine.hex), "vault": .string(vault.hex), "waiting": .bool(isWaiting),
            "owner_only": .bool(true),
            "material": .string(String(decoding: AdministrationMessages.encode(material), as: UTF8.self)),
        ]).encoded()
    }

    /// `nil` when the answer is that of a server that can open its vault.
    package static func decode(_ body: [UInt8]) throws -> OwnerOnlyGrant? {
        let fields = try JSONFields(parsing: body, document: "the server's answer to the enrolment")
        guard fields.has("owner_only") else { return nil }
        return OwnerOnlyGrant(
            machine: try fields.identifier("machine"), vault: try fields.identifier("vault"),
            material: try AdministrationMessages.keyMaterial(Array(try fields.string("material").utf8)),
            isWaiting: try VaultMessages.flag(fields, "waiting"))
    }
}

/// What a machine gets when it has enrolled: all that it writes with but its own keys.
package struct EnrolmentGrant: SecretValue {
    package var machine: MachineID
    package var vault: VaultID
    package var publicKey: VaultPublicKey
    package var vaultSigning: VerifyingKey
    package var domain: String
    package var domainSecrets: [DomainSecret]
    package var chunker: String
    package var tree: String
    /// Until a person approves, nothing can be written.
    package var isWaiting: Bool

    /// What the vault with these keys gives to `machine`.
    package init(machine: MachineID, keys: VaultKeys, isWaiting: Bool) throws {
        self.machine = machine
        vault = keys.vault
        publicKey = try keys.publicKey
        vaultSigning = keys.config.signing
        domain = keys.defaultDomain(of: machine)
        domainSecrets = [keys.domainSecret(domain: domain, number: 1)]
        chunker = keys.config.chunker
        tree = keys.config.tree
        self.isWaiting = isWaiting
    }

    /// The writer's secrets, with the machine's own signing key.
    package func secrets(signing: SigningKey, location: String) -> WriterSecrets {
        WriterSecrets(
            vault: vault, location: location, machine: machine, signing: signing, publicKey: publicKey,
            vaultSigning: vaultSigning, domainSecrets: domainSecrets, chunker: chunker, tree: tree)
    }

    package func encoded() -> [UInt8] {
        JSONValue.object([
            "machine": .string(machine.hex), "vault": .string(vault.hex),
            "public": .string(Hex.encode(publicKey.bytes)), "public_number": .integer(Int64(publicKey.number)),
            "vault_signing": .string(vaultSigning.description), "domain": .string(domain),
            "secrets": .array(
                domainSecrets.map {
                    .object(["number": .integer(Int64($0.number)), "secret": .string(Hex.encode($0.secret))])
                }), "chunker": .string(chunker), "tree": .string(tree), "waiting": .bool(isWaiting),
        ]).encoded()
    }

    package static func decode(_ body: [UInt8]) throws -> EnrolmentGrant {
        try EnrolmentGrant(try JSONFields(parsing: body, document: "the server's answer to the enrolment"))
    }

    private init(_ fields: JSONFields) throws {
        machine = try fields.identifier("machine")
        vault = try fields.identifier("vault")
        guard
            let key = VaultPublicKey(
                number: UInt16(try fields.integer("public_number", in: 1...Int64(UInt16.max))),
                bytes: try fields.bytes("public"))
        else { throw fields.wrong("public") }
        publicKey = key
        vaultSigning = VerifyingKey(bytes: try fields.digest("vault_signing"))
        let domain = try fields.string("domain")
        self.domain = domain
        domainSecrets = try fields.array("secrets", atMost: 64).map { value in
            let item = try JSONFields(value, document: "the server's answer to the enrolment")
            guard
                let secret = DomainSecret(
                    secret: try item.bytes("secret"), domain: domain,
                    number: UInt16(try item.integer("number", in: 1...Int64(UInt16.max))))
            else { throw fields.wrong("secrets") }
            return secret
        }
        guard !domainSecrets.isEmpty else { throw fields.wrong("secrets") }
        chunker = try fields.string("chunker")
        tree = try fields.string("tree")
        isWaiting = try VaultMessages.flag(fields, "waiting")
    }
}
