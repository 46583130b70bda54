package import Catalog
import Client
package import Model
package import Vault

/// Everything by which a server is itself: its identity, the key to its vault, machines, tokens and settings. With it and the
/// vault a server comes back on a clean host, and its machines do not notice.
package struct ServerExport: SecretValue {
    static let version: Int64 = 1
    /// Longest in bytes: hundreds of thousands of machines.
    package static let maximumLength = 256 << 20
    private static let purpose = Array("holdfast/1/server-state\u{0}".utf8)

    package var identity: ServerIdentity
    package var vault: VaultID
    /// Opens the server's key slot in the vault; `nil` in an owner-only vault.
    package var serverKey: [UInt8]?
    package var certificate: (chain: String, key: String)?
    /// Counts the changes that are in it.
    package var revision: Int64
    package var time: Timestamp
    package var machines: [ManagedMachine]
    package var tokens: [AccessToken]
    package var settings: [String: [UInt8]]
    package var policies = PolicyExport()
    /// People, with what they sign in by; sessions are begun anew.
    package var accounts: [Account] = []

    // MARK: Coding

    /// Signed by the vault: a machine that is taken over cannot put something of its own in this one's place.
    package func signed(by key: SigningKey) throws -> [UInt8] {
        let body = encoded()
        return try key.sign(ServerExport.purpose + body) + body
    }

    /// Reads what `signed` wrote. Throws `damaged` when the vault did not sign it.
    package static func open(_ bytes: [UInt8], signedBy key: VerifyingKey) throws -> ServerExport {
        let length = SigningKey.signatureLength
        guard bytes.count > length, bytes.count <= maximumLength,
            key.verifies(Array(bytes[..<length]), of: purpose + bytes[length...])
        else { throw HoldfastError(.damaged, "this is not the state of a server that the vault has signed") }
        return try decode(Array(bytes[length...]))
    }

    private func encoded() -> [UInt8] {
        var fields: [String: JSONValue] = [
            "version": .integer(ServerExport.version), "identity": .string(Hex.encode(identity.encoded())),
            "vault": .string(vault.hex), "revision": .integer(revision), "time": .integer(time.nanoseconds),
            "machines": .array(machines.map(ServerExport.encode)), "tokens": .array(tokens.map(ServerExport.encode)),
            "settings": .object(settings.mapValues { .string(Hex.encode($0)) }),
            "policies": policies.encoded, "accounts": .array(accounts.map(\.json)),
        ]
        if let serverKey { fields["server_key"] = .string(Hex.encode(serverKey)) }
        if let certificate {
            fields["certificate"] = .object([
                "chain": .string(certificate.chain), "key": .string(certificate.key),
            ])
        }
        return JSONValue.object(fields).encoded()
    }

    private static func decode(_ bytes: [UInt8]) throws -> ServerExport {
        let fields = try JSONFields(parsing: bytes, document: "the server's state", atMost: maximumLength)
        guard try fields.integer("version", in: 1...Int64.max) == version else {
            throw HoldfastError(.unsupported, "The server's state was written by a newer version of Holdfast.")
        }
        var certificate: (chain: String, key: String)?
        if fields.has("certificate") {
            let inner = try fields.object("certificate")
            certificate = (try inner.string("chain"), try inner.string("key"))
        }
        let settings = try fields.object("settings")
        return ServerExport(
            identity: try ServerIdentity.decode(try fields.bytes("identity"), document: fields.document),
            vault: try fields.identifier("vault"),
            serverKey: fields.has("server_key") ? try fields.bytes("server_key") : nil, certificate: certificate,
            revision: try fields.integer("revision", in: 0...Int64.max), time: try time(fields, "time"),
            machines: try fields.array("machines", atMost: 1_000_000).map(machine),
            tokens: try fields.array("tokens", atMost: 1_000_000).map(token),
            settings: Dictionary(
                uniqueKeysWithValues: try settings.members.keys.map { ($0, try settings.bytes($0)) }),
            // Servers before this one had none.
            policies: fields.has("policies") ? try PolicyExport(try fields.object("policies")) : PolicyExport(),
            accounts: fields.has("accounts")
                ? try fields.array("accounts", atMost: 1_000_000).map { try Account($0) } : [])
    }

    private static func time(_ fields: JSONFields, _ name: String) throws -> Timestamp {
        Timestamp(nanoseconds: try fields.integer(name, in: Int64.min...Int64.max))
    }

    private static func encode(_ machine: ManagedMachine) -> JSONValue {
        var fields: [String: JSONValue] = [
            "id": .string(machine.id.hex), "name": .string(machine.name),
            "former": .array(machine.formerNames.map { .string($0) }), "group": .string(machine.group),
            "state": .integer(Int64(machine.state.rawValue)), "key": .string(machine.key.description),
            "enrolled": .integer(machine.enrolled.nanoseconds), "seen": .integer(machine.lastSeen.nanoseconds),
        ]
        if let key = machine.previousKey { fields["previous"] = .string(key.description) }
        if let key = machine.waitingKey { fields["waiting"] = .string(key.description) }
        if let key = machine.waitingSigning { fields["waiting_signing"] = .string(key.description) }
        return .object(fields)
    }

    private static func machine(_ value: JSONValue) throws -> ManagedMachine {
        let fields = try JSONFields(value, document: "the server's state")
        func key(_ name: String) throws -> VerifyingKey? {
            fields.has(name) ? VerifyingKey(bytes: try fields.digest(name)) : nil
        }
        guard let state = ManagedMachine.State(rawValue: UInt8(try fields.integer("state", in: 0...255))) else {
            throw fields.wrong("state")
        }
        return ManagedMachine(
            id: try fields.identifier("id"), name: try fields.string("name"),
            formerNames: try fields.strings("former", atMost: 65_536), group: try fields.string("group"), state: state,
            key: VerifyingKey(bytes: try fields.digest("key")), previousKey: try key("previous"),
            waitingKey: try key("waiting"), waitingSigning: try key("waiting_signing"),
            enrolled: try time(fields, "enrolled"), lastSeen: try time(fields, "seen"))
    }

    private static func encode(_ token: AccessToken) -> JSONValue {
        var fields: [String: JSONValue] = [
            "hash": .string(Hex.encode(token.hash.array)), "role": .integer(Int64(token.role.rawValue)),
            "name": .string(token.name), "group": .string(token.group), "created": .integer(token.created.nanoseconds),
        ]
        if let uses = token.uses { fields["uses"] = .integer(Int64(uses)) }
        if let expires = token.expires { fields["expires"] = .integer(expires.nanoseconds) }
        return .object(fields)
    }

    private static func token(_ value: JSONValue) throws -> AccessToken {
        let fields = try JSONFields(value, document: "the server's state")
        guard let role = AccessToken.Role(rawValue: UInt8(try fields.integer("role", in: 0...255))) else {
            throw fields.wrong("role")
        }
        return AccessToken(
            hash: try fields.digest("hash"), role: role, name: try fields.string("name"),
            group: try fields.string("group"),
            uses: fields.has("uses") ? Int(try fields.integer("uses", in: 0...Int64.max)) : nil,
            expires: fields.has("expires") ? try time(fields, "expires") : nil, created: try time(fields, "created"))
    }

    // MARK: Coming back

    /// Fills the empty state directory of a new host.
    package func restore(to state: [UInt8]) throws {
        let directory = try StateDirectory(path: state)
        guard try directory.document("identity.json", in: ServerState.folder) == nil else {
            throw HoldfastError(
                .exists, "There is a server in this state directory already; nothing was changed.",
                context: ["hint": "Name an empty one with --state, or move the old one away."])
        }
        if let serverKey {
            try directory.keep(serverKey, as: "\(vault.hex).key", in: ServerState.folder, replacing: true)
        }
        if let certificate {
            try directory.keep(
                Array(certificate.key.utf8), as: "certificate-key.pem", in: ServerState.folder, replacing: true)
            try directory.keep(
                Array(certificate.chain.utf8), as: "certificate.pem", in: ServerState.folder, replacing: true)
        }
        let path = ServerState.database(in: state)
        let catalog = try SQLiteServerCatalog(path: path)
        for machine in machines where try catalog.machine(machine.id) == nil { try catalog.add(machine) }
        for token in tokens where try catalog.token(hash: token.hash) == nil { try catalog.add(token) }
        for (name, value) in settings { try catalog.set(name, value) }
        try policies.restore(to: catalog)
        for account in accounts where try catalog.account(account.id) == nil { try catalog.add(account) }
        // Last: a restore that was interrupted before is begun again.
        try directory.keep(identity.encoded(), as: "identity.json", in: ServerState.folder, replacing: false)
    }
}

extension ServerCore {
    /// What makes this server itself, as it is now.
    package func export(revision: Int64) throws -> ServerExport {
        ServerExport(
            identity: identity, vault: vaultID, revision: revision, time: clock(), machines: try catalog.machines(),
            tokens: try catalog.tokens(), settings: try catalog.settings(), policies: try PolicyExport(catalog),
            accounts: try catalog.accounts())
    }
}
