package import Model

/// `config.json`: what a vault is, with a MAC under the master secret.
///
/// Anybody can read it; only who holds the master secret can tell whether somebody changed it. Writers, who hold no
/// master secret, compare it with what they pinned when they joined.
package struct VaultConfig: Hashable, Sendable {
    /// The name of the object in the store.
    package static let fileName = "config.json"
    /// The chunker of this version.
    package static let currentChunker = "fastcdc-1/64K/256K/1M"
    /// The tree of this version.
    package static let currentTree = "prolly-1/8K/32K/128K"
    /// Features that this version knows and a vault may require.
    static let knownFeatures: Set<String> = []

    /// Who can read what the vault holds.
    package enum Kind: String, Sendable, CaseIterable {
        /// The server has a key slot: it shows, searches and checks.
        case serverReadable = "server-readable"
        /// Only a person's passphrase or key sheet opens points, on their machine.
        case ownerOnly = "owner-only"
    }

    /// What a program wants to do with the vault.
    package enum Operation: String, Sendable, CaseIterable {
        case read
        case write
        case delete
    }

    package let vault: VaultID
    package let kind: Kind
    /// When the vault was made, in whole seconds.
    package let created: Timestamp
    package let chunker: String
    package let tree: String
    /// Names of features that a program must know, per operation.
    package let requires: [Operation: [String]]
    /// The public half of the vault's own signing key.
    package let signing: VerifyingKey
    /// HMAC over `authenticated`.
    package let mac: Bytes32

    /// The whole document with every field, also those this version does not know, but without the MAC.
    private let members: [String: JSONValue]

    /// Describes a new vault.
    package init(vault: VaultID, kind: Kind, created: Timestamp, master: MasterSecret) {
        self.init(vault: vault, kind: kind, created: created, master: master, requires: [:])
    }

    init(
        vault: VaultID,
        kind: Kind,
        created: Timestamp,
        master: MasterSecret,
        requires: [Operation: [String]],
        chunker: String = VaultConfig.currentChunker,
        tree: String = VaultConfig.currentTree
    ) {
        self.vault = vault
        self.kind = kind
        self.created = Timestamp(seconds: created.seconds)
        self.chunker = chunker
        self.tree = tree
        self.requires = Dictionary(
            uniqueKeysWithValues: Operation.allCases.map { ($0, (requires[$0] ?? []).sorted()) }
        )
        signing = master.vaultSigningKey.verifyingKey
        members = [
            "chunker": .string(chunker),
            "created": .string(RFC3339.encode(created)),
            "format": .integer(Int64(FormatLimits.version)),
            "kind": .string(kind.rawValue),
            "requires": .object(
                Dictionary(
                    uniqueKeysWithValues: Operation.allCases.map { operation in
                        (operation.rawValue, .array((requires[operation] ?? []).sorted().map { .string($0) }))
                    }
                )
            ),
            "signing": .string(signing.description),
            "tree": .string(tree),
            "vault": .string(vault.hex),
        ]
        mac = Bytes32(KeyCrypto.hmac(master.configKey, JSONValue.object(members).encoded()))!
    }

    // MARK: Coding

    /// The bytes of the file.
    package func encoded() -> [UInt8] {
        var all = members
        all["mac"] = .string(Hex.encode(mac.array))
        return JSONValue.object(all).encoded()
    }

    /// The bytes that the MAC covers: the file without the field `mac`.
    var authenticated: [UInt8] { JSONValue.object(members).encoded() }

    /// Reads the file. A newer format is refused with its number before anything else is looked at.
    package static func decode(_ bytes: [UInt8]) throws -> VaultConfig {
        let fields = try JSONFields(parsing: bytes, document: fileName)
        let format = try fields.integer("format", in: 1...Int64.max)
        guard format <= Int64(FormatLimits.version) else {
            throw HoldfastError(
                .unsupported,
                "This vault has format \(format), and this version of Holdfast knows formats up to "
                    + "\(FormatLimits.version). Install a version that knows format \(format).",
                context: ["format": String(format)]
            )
        }
        let config = try VaultConfig(fields)
        // The MAC is over bytes: another spelling of the same values was not written by this program.
        guard config.encoded() == bytes else {
            throw HoldfastError(
                .damaged,
                "\(fileName) was changed: it is not in the form in which Holdfast writes it. Put a copy of the original back."
            )
        }
        return config
    }

    private init(_ fields: JSONFields) throws {
        vault = try fields.identifier("vault")
        let kindName = try fields.string("kind")
        guard let kind = Kind(rawValue: kindName) else { throw fields.wrong("kind") }
        self.kind = kind
        created = try fields.time("created")
        chunker = try fields.string("chunker")
        tree = try fields.string("tree")
        signing = VerifyingKey(bytes: try fields.digest("signing"))
        mac = try fields.digest("mac")
        let requirements = try fields.object("requires")
        var requires: [Operation: [String]] = [:]
        for operation in Operation.allCases {
            do {
                requires[operation] = try requirements.strings(operation.rawValue, atMost: 256)
            } catch {
                throw fields.wrong("requires")
            }
        }
        self.requires = requires
        var members = fields.members
        members["mac"] = nil
        self.members = members
    }

    // MARK: Checks

    /// Throws `damaged` unless the file is as who holds `master` wrote it.
    package func verify(mac master: MasterSecret) throws {
        guard KeyCrypto.equal(KeyCrypto.hmac(master.configKey, authenticated), mac.array),
            master.vaultSigningKey.verifyingKey == signing
        else {
            throw HoldfastError(
                .damaged,
                "\(VaultConfig.fileName) was changed by somebody without this vault's keys, or belongs to another vault. "
                    + "Put a copy of the original back.",
                context: ["vault": vault.hex]
            )
        }
    }

    /// Throws `unsupported` when the vault requires a feature for `operation` that this version does not know.
    package func check(operation: Operation) throws {
        var unknown = (requires[operation] ?? []).filter { !VaultConfig.knownFeatures.contains($0) }
        if operation == .write {
            // How data is cut does not matter to a reader.
            if chunker != VaultConfig.currentChunker { unknown.append("chunker \(chunker)") }
            if tree != VaultConfig.currentTree { unknown.append("tree \(tree)") }
        }
        if unknown.isEmpty { return }
        let verb = operation == .delete ? "delete from" : operation == .write ? "write to" : "read"
        throw HoldfastError(
            .unsupported,
            "To \(verb) this vault, a program must know: \(unknown.joined(separator: ", ")). This version of Holdfast "
                + "does not; install a newer one.",
            context: ["operation": operation.rawValue]
        )
    }
}
