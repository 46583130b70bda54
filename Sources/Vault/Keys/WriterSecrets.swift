package import Model

/// What a machine keeps of a vault so that it can write to it without a passphrase. It opens nothing that is stored.
package struct WriterSecrets: SecretValue {
    static let version: Int64 = 1
    /// Most domain secrets of one machine.
    static let maximumDomainSecrets = 64

    package let vault: VaultID
    /// Where the vault was when this machine joined; a hint for messages and for finding it again.
    package var location: String
    package let machine: MachineID
    /// Signs this machine's points.
    package let signing: SigningKey
    /// The vault's public key, pinned.
    package let publicKey: VaultPublicKey
    /// The public half of the vault's signing key, pinned.
    package let vaultSigning: VerifyingKey
    /// All of one domain, newest first; never empty.
    package let domainSecrets: [DomainSecret]
    /// The chunker named in `config.json` when the machine joined.
    package let chunker: String
    /// The tree named in `config.json` when the machine joined.
    package let tree: String

    /// The secret that new blobs are sealed with.
    package var domainSecret: DomainSecret { domainSecrets[0] }

    /// `domainSecrets` is not empty and all are of one domain; they may be in any order.
    package init(
        vault: VaultID,
        location: String,
        machine: MachineID,
        signing: SigningKey,
        publicKey: VaultPublicKey,
        vaultSigning: VerifyingKey,
        domainSecrets: [DomainSecret],
        chunker: String,
        tree: String
    ) {
        precondition(!domainSecrets.isEmpty, "a writer has a domain secret")
        self.vault = vault
        self.location = location
        self.machine = machine
        self.signing = signing
        self.publicKey = publicKey
        self.vaultSigning = vaultSigning
        self.domainSecrets = domainSecrets.sorted { $0.number > $1.number }
        self.chunker = chunker
        self.tree = tree
    }

    /// Throws unless `config` is of the vault that this machine joined and nothing it pinned has changed.
    package func check(_ config: VaultConfig) throws {
        guard config.vault == vault else {
            throw HoldfastError(
                .damaged,
                "This is vault \(config.vault), and this machine joined vault \(vault). Use `holdfast vault join` to write to "
                    + "this one.",
                context: ["vault": config.vault.hex]
            )
        }
        guard config.signing == vaultSigning, config.chunker == chunker, config.tree == tree else {
            throw HoldfastError(
                .damaged,
                "The vault's config.json is not the one that this machine joined with: somebody changed it. Compare it with "
                    + "a copy; if the change is meant, let this machine join again with `holdfast vault join`.",
                context: ["vault": vault.hex]
            )
        }
        try config.check(operation: .write)
    }

    // MARK: Coding

    /// The bytes of the file in the state directory, which must be readable by its owner only.
    package func encoded() -> [UInt8] {
        JSONValue.object([
            "chunker": .string(chunker),
            "domain": .string(domainSecret.domain),
            "location": .string(location),
            "machine": .string(machine.hex),
            "public": .string(Hex.encode(publicKey.bytes)),
            "public-number": .integer(Int64(publicKey.number)),
            "secrets": .array(
                domainSecrets.map {
                    .object(["number": .integer(Int64($0.number)), "secret": .string(Hex.encode($0.secret))])
                }
            ),
            "signing-seed": .string(Hex.encode(signing.seed)),
            "tree": .string(tree),
            "vault": .string(vault.hex),
            "vault-signing": .string(vaultSigning.description),
            "version": .integer(WriterSecrets.version),
        ]).encoded()
    }

    /// Reads what `encoded` wrote; `document` names the file in errors.
    package static func decode(_ bytes: [UInt8], document: String) throws -> WriterSecrets {
        let fields = try JSONFields(parsing: bytes, document: document)
        try fields.checkVersion(WriterSecrets.version)
        let domain = try fields.string("domain")
        let secrets = try fields.array("secrets", atMost: maximumDomainSecrets).map { value in
            let item = try JSONFields(value, document: document)
            guard
                let secret = DomainSecret(
                    secret: try item.bytes("secret"),
                    domain: domain,
                    number: UInt16(try item.integer("number", in: 1...Int64(UInt16.max)))
                )
            else { throw fields.wrong("secrets") }
            return secret
        }
        guard !secrets.isEmpty, Set(secrets.map(\.number)).count == secrets.count else { throw fields.wrong("secrets") }
        guard let signing = SigningKey(seed: try fields.bytes("signing-seed")) else {
            throw fields.wrong("signing-seed")
        }
        let number = UInt16(try fields.integer("public-number", in: 1...Int64(UInt16.max)))
        guard let publicKey = VaultPublicKey(number: number, bytes: try fields.bytes("public")) else {
            throw fields.wrong("public")
        }
        return WriterSecrets(
            vault: try fields.identifier("vault"),
            location: try fields.string("location"),
            machine: try fields.identifier("machine"),
            signing: signing,
            publicKey: publicKey,
            vaultSigning: VerifyingKey(bytes: try fields.digest("vault-signing")),
            domainSecrets: secrets,
            chunker: try fields.string("chunker"),
            tree: try fields.string("tree")
        )
    }
}

extension JSONFields {
    /// Refuses a file of the state directory that a newer version wrote.
    func checkVersion(_ known: Int64) throws {
        let version = try integer("version", in: 1...Int64.max)
        guard version <= known else {
            throw HoldfastError(
                .unsupported,
                "\(document) was written by a newer version of Holdfast (version \(version) of the file; this program knows "
                    + "\(known)). Install the newer version again."
            )
        }
    }
}
