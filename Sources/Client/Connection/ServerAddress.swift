package import Model
package import Vault

/// Where a server is and by which identity key it is known.
package struct ServerAddress: Hashable, Sendable {
    package static let defaultPort = 7443
    static let scheme = "https://"

    package var host: String
    package var port: Int
    /// What stands before `/api`, for a server behind a proxy; empty or `/...` without a slash at the end.
    package var prefix: String

    package init(host: String, port: Int = ServerAddress.defaultPort, prefix: String = "") {
        self.host = host
        self.port = port
        self.prefix = prefix
    }

    /// Whether a location of a vault means a server.
    package static func isServer(_ location: String) -> Bool {
        location.lowercased().hasPrefix(scheme) || location.lowercased().hasPrefix("http://")
    }

    /// Reads `https://host[:port][/prefix]`.
    package init(_ text: String) throws {
        func wrong(_ what: String) -> HoldfastError {
            HoldfastError(
                .usage, "\"\(TreePath.display(text.utf8))\" is not the address of a server: \(what).",
                context: ["hint": "It looks like https://backup.example.org:\(ServerAddress.defaultPort)"])
        }
        guard text.lowercased().hasPrefix(ServerAddress.scheme) else { throw wrong("it must begin with https://") }
        var rest = text.dropFirst(ServerAddress.scheme.count)
        guard rest.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw wrong("it has letters that no address has")
        }
        guard !rest.contains(where: { "?#@".contains($0) }) else {
            throw wrong("only host, port and path can stand in it")
        }
        if let slash = rest.firstIndex(of: "/") {
            prefix = String(rest[slash...])
            while prefix.hasSuffix("/") { prefix.removeLast() }
            rest = rest[..<slash]
        } else {
            prefix = ""
        }
        var name = rest
        port = ServerAddress.defaultPort
        let colon = rest.lastIndex(of: ":")
        let bracket = rest.lastIndex(of: "]")
        if let colon, bracket.map({ $0 < colon }) ?? true {
            guard let number = Int(rest[rest.index(after: colon)...]), (1...65_535).contains(number) else {
                throw wrong("the port is a number from 1 to 65535")
            }
            port = number
            name = rest[..<colon]
        }
        guard !name.isEmpty else { throw wrong("it names no host") }
        host = String(name)
    }

    /// As it is typed and shown.
    package var description: String { "\(ServerAddress.scheme)\(host):\(port)\(prefix)" }
}

/// What a machine keeps of a server: where it is, which key it is known by, and the key by which this machine is known there.
package struct ServerCredentials: SecretValue {
    static let version: Int64 = 1

    package var address: ServerAddress
    package let server: ServerID
    /// Pinned: who does not have the private half is not that server.
    package let serverKey: VerifyingKey
    package let vault: VaultID
    package let machine: MachineID
    /// Signs this machine's requests.
    package var key: SigningKey

    package init(
        address: ServerAddress, server: ServerID, serverKey: VerifyingKey, vault: VaultID, machine: MachineID,
        key: SigningKey
    ) {
        self.address = address
        self.server = server
        self.serverKey = serverKey
        self.vault = vault
        self.machine = machine
        self.key = key
    }

    /// For the state directory, readable by its owner only.
    package func encoded() -> [UInt8] {
        JSONValue.object([
            "address": .string(address.description), "key-seed": .string(Hex.encode(key.seed)),
            "machine": .string(machine.hex), "server": .string(server.hex),
            "server-key": .string(serverKey.description), "vault": .string(vault.hex),
            "version": .integer(ServerCredentials.version),
        ]).encoded()
    }

    package static func decode(_ bytes: [UInt8], document: String) throws -> ServerCredentials {
        let fields = try JSONFields(parsing: bytes, document: document)
        guard try fields.integer("version", in: 1...Int64.max) == version else {
            throw HoldfastError(.unsupported, "\(document) was written by a newer version of Holdfast.")
        }
        guard let key = SigningKey(seed: try fields.bytes("key-seed")) else { throw fields.wrong("key-seed") }
        return ServerCredentials(
            address: try ServerAddress(try fields.string("address")), server: try fields.identifier("server"),
            serverKey: VerifyingKey(bytes: try fields.digest("server-key")), vault: try fields.identifier("vault"),
            machine: try fields.identifier("machine"), key: key)
    }
}
