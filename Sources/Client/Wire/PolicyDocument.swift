package import Model
package import Policy
package import Vault

/// The policies of one machine as its server sends them: what each of them says, word for word, so that every value still
/// knows its line on the machine.
package struct PolicyDocument: Hashable, Sendable {
    /// A policy in its place.
    package struct Layer: Hashable, Sendable {
        package var name: String
        package var text: String

        package init(name: String, text: String) {
            self.name = name
            self.text = text
        }
    }

    /// Longest in bytes, with its texts.
    package static let maximumLength = 16 << 20
    /// Groups of one machine.
    package static let maximumGroups = 64
    static let version: Int64 = 1

    package var machine: MachineID
    /// The name of a class that the program brings.
    package var machineClass: String?
    /// The policies of the machine's groups, the one that counts least first.
    package var groups: [Layer]
    /// The machine's own policy.
    package var own: Layer?

    package init(machine: MachineID, machineClass: String? = nil, groups: [Layer] = [], own: Layer? = nil) {
        self.machine = machine
        self.machineClass = machineClass
        self.groups = groups
        self.own = own
    }

    /// The same bytes for the same policies.
    package func encoded() -> [UInt8] {
        func encode(_ layer: Layer) -> JSONValue {
            .object(["name": .string(layer.name), "text": .string(layer.text)])
        }
        var fields: [String: JSONValue] = [
            "version": .integer(PolicyDocument.version), "machine": .string(machine.hex),
            "groups": .array(groups.map(encode)),
        ]
        if let machineClass { fields["class"] = .string(machineClass) }
        if let own { fields["own"] = encode(own) }
        return JSONValue.object(fields).encoded()
    }

    package static func decode(_ bytes: [UInt8]) throws -> PolicyDocument {
        let fields = try JSONFields(parsing: bytes, document: "the policy", atMost: maximumLength)
        guard try fields.integer("version", in: 1...Int64.max) == version else {
            throw HoldfastError(.unsupported, "The policy was written by a newer version of Holdfast.")
        }
        func layer(_ fields: JSONFields) throws -> Layer {
            Layer(name: try fields.string("name"), text: try fields.string("text"))
        }
        return PolicyDocument(
            machine: try fields.identifier("machine"),
            machineClass: fields.has("class") ? try fields.string("class") : nil,
            groups: try fields.array("groups", atMost: maximumGroups).map {
                try layer(try JSONFields($0, document: fields.document))
            }, own: fields.has("own") ? try layer(try fields.object("own")) : nil)
    }

    /// Tells whether something has changed: SHA-256 of the bytes.
    package var revision: Bytes32 { encoded().withUnsafeBytes { BlobCrypto.sha256($0) } }

    /// Nothing says anything: only the defaults hold.
    package var isEmpty: Bool { machineClass == nil && groups.isEmpty && own == nil }

    /// The policies, read. A policy of several groups counts where it stands last.
    ///
    /// - Throws: `usage` or `unsupported` with the line of what cannot be read.
    package func policySet(_ zones: ZoneSource) throws -> PolicySet {
        let file = PolicyFile(zones: zones)
        var set = PolicySet()
        if let machineClass {
            guard let known = MachineClass(rawValue: machineClass) else {
                throw HoldfastError(
                    .unsupported, "This version knows no class of machines \"\(TreePath.display(machineClass.utf8))\".")
            }
            set.machineClass = known
        }
        for (index, layer) in groups.enumerated()
        where !groups[(index + 1)...].contains(where: { $0.name == layer.name }) {
            set.groups.append(try file.parse(Array(layer.text.utf8), file: layer.name))
        }
        if let own { set.machine = try file.parse(Array(own.text.utf8), file: own.name) }
        return set
    }
}

/// A document with the server's signature, which holds as long as the document is kept.
package struct SignedPolicy: Hashable, Sendable {
    private static let purpose = Array("holdfast/1/policy\u{0}".utf8)

    package let document: [UInt8]
    package let signature: [UInt8]

    package init(_ document: PolicyDocument, signing key: SigningKey) throws {
        self.document = document.encoded()
        signature = try key.sign(SignedPolicy.purpose + self.document)
    }

    private init(document: [UInt8], signature: [UInt8]) {
        self.document = document
        self.signature = signature
    }

    package func encoded() -> [UInt8] {
        JSONValue.object([
            "document": .string(String(decoding: document, as: UTF8.self)), "signature": .string(Hex.encode(signature)),
        ]).encoded()
    }

    package static func decode(_ bytes: [UInt8]) throws -> SignedPolicy {
        let fields = try JSONFields(
            parsing: bytes, document: "the signed policy", atMost: 2 * PolicyDocument.maximumLength)
        return SignedPolicy(
            document: Array(try fields.string("document").utf8),
            signature: try fields.bytes("signature", count: SigningKey.signatureLength))
    }

    /// The document. Throws `untrusted` unless this server has signed it, and for this machine.
    package func open(_ key: VerifyingKey, machine: MachineID) throws -> PolicyDocument {
        guard key.verifies(signature, of: SignedPolicy.purpose + document) else {
            throw HoldfastError(.untrusted, "The policy is not signed by the server that this machine knows.")
        }
        let opened = try PolicyDocument.decode(document)
        guard opened.machine == machine else {
            throw HoldfastError(.untrusted, "The policy is another machine's.")
        }
        return opened
    }
}

/// What a server wants of a machine, by the answer to its question.
package struct MachineOrders: Hashable, Sendable {
    package struct Command: Hashable, Sendable {
        package var id: RequestNonce
        /// `back-up-now`; others are passed over.
        package var kind: String
        package var owner: String

        package init(id: RequestNonce, kind: String, owner: String) {
            self.id = id
            self.kind = kind
            self.owner = owner
        }
    }

    package static let backUpNow = "back-up-now"
    /// Commands of one answer, and ids of one question.
    package static let maximumCommands = 64
    /// The longest that a server lets a machine wait, in seconds.
    package static let longestWait = 50

    /// Restores of one answer; the others come when these have ended.
    package static let maximumRestores = 16

    /// The restores that are to be done or are being done, and a digest that tells whether something about them is new.
    package struct Restores: Hashable, Sendable {
        package var digest: String
        package var orders: [RestoreOrder]

        package init(_ orders: [RestoreOrder]) {
            self.orders = orders
            let text = orders.map { "\($0.id.hex):\($0.revision)\n" }.joined()
            digest = Hex.encode(Array(text.utf8).withUnsafeBytes { BlobCrypto.sha256($0) }.array.prefix(16))
        }
    }

    /// The revision of the machine's policies.
    package var policy: Bytes32
    package var commands: [Command]
    /// `nil` unless the machine said what it knows of them.
    package var restores: Restores?

    package init(policy: Bytes32, commands: [Command], restores: Restores? = nil) {
        self.policy = policy
        self.commands = commands
        self.restores = restores
    }

    package func encoded() -> [UInt8] {
        var fields: [String: JSONValue] = [
            "policy": .string(Hex.encode(policy.array)),
            "commands": .array(
                commands.map {
                    .object(["id": .string($0.id.hex), "kind": .string($0.kind), "owner": .string($0.owner)])
                }),
        ]
        if let restores { fields["restores"] = .array(restores.orders.map(\.json)) }
        return JSONValue.object(fields).encoded()
    }

    package static func decode(_ bytes: [UInt8]) throws -> MachineOrders {
        let fields = try JSONFields(
            parsing: bytes, document: "the server's orders", atMost: maximumRestores * RestoreOrder.maximumLength)
        let commands = try fields.array("commands", atMost: maximumCommands).map { value in
            let inner = try JSONFields(value, document: fields.document)
            return Command(
                id: try inner.identifier("id"), kind: try inner.string("kind"), owner: try inner.string("owner"))
        }
        var orders = MachineOrders(policy: try fields.digest("policy"), commands: commands)
        if fields.has("restores") {
            orders.restores = Restores(
                try fields.array("restores", atMost: maximumRestores).map {
                    try RestoreOrder(JSONFields($0, document: fields.document))
                })
        }
        return orders
    }
}
