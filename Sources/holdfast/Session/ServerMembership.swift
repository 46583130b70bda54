import Client
import Model
import Vault

/// What this machine keeps of a server that it has enrolled with.
struct ServerMembership {
    private static let folder = "servers"
    /// What the names of documents begin with that hold keys of an enrolment under way.
    private static let enrolling = "enrolling_"

    var credentials: ServerCredentials
    var secrets: WriterSecrets

    /// One file for each server, named for its address.
    private static func fileName(_ address: ServerAddress) -> String {
        let name = "\(address.host)_\(address.port)\(address.prefix)"
        return String(name.map { $0.isASCII && ($0.isLetter || $0.isNumber || ".-_".contains($0)) ? $0 : "_" })
            + ".json"
    }

    /// Throws `keyNeeded` with what to do when this machine has not enrolled there.
    static func load(_ address: ServerAddress, _ global: GlobalOptions) throws -> ServerMembership {
        guard let state = try StateDirectory.existing(path: try global.stateDirectory()),
            let bytes = try state.document(fileName(address), in: folder)
        else {
            throw HoldfastError(
                .keyNeeded, "This machine has not enrolled with \(address.description) yet.",
                context: ["hint": "Run the line that `holdfast server token` prints on that server."])
        }
        let credentials = try ServerCredentials.decode(bytes, document: "\(folder)/\(fileName(address))")
        guard let secrets = try state.writerSecrets(of: credentials.vault) else {
            throw HoldfastError(
                .keyNeeded, "What this machine writes to the vault of \(address.description) with is gone.",
                context: ["hint": "Enrol again with the line that `holdfast server token` prints on that server."])
        }
        return ServerMembership(credentials: credentials, secrets: secrets)
    }

    /// The server that this machine has enrolled with, when it is the only one; for a service that nobody has told anything.
    static func only(_ global: GlobalOptions) throws -> ServerAddress? {
        guard let state = try StateDirectory.existing(path: try global.stateDirectory()) else { return nil }
        let names = try state.documents(in: folder).filter { !$0.hasPrefix(enrolling) }
        guard names.count == 1, let name = names.first, let bytes = try state.document(name, in: folder) else {
            return nil
        }
        return try ServerCredentials.decode(bytes, document: "\(folder)/\(name)").address
    }

    /// The credentials that are kept for a server; `nil` when there are none.
    static func credentials(_ address: ServerAddress, _ state: StateDirectory) throws -> ServerCredentials? {
        try state.document(fileName(address), in: folder).map {
            try ServerCredentials.decode($0, document: "\(folder)/\(fileName(address))")
        }
    }

    /// The keys with which this machine comes to a server, kept before the first request: when the answer is lost, it comes
    /// again as the same.
    static func keys(
        for address: ServerAddress, machine: MachineID, _ state: StateDirectory
    ) throws -> (key: SigningKey, signing: SigningKey) {
        let name = "\(enrolling)\(machine.hex.prefix(8))_\(fileName(address))"
        func known() throws -> (key: SigningKey, signing: SigningKey)? {
            guard let bytes = try state.document(name, in: folder) else { return nil }
            let fields = try JSONFields(parsing: bytes, document: "\(folder)/\(name)")
            guard let key = SigningKey(seed: try fields.bytes("key-seed")),
                let signing = SigningKey(seed: try fields.bytes("signing-seed"))
            else { throw fields.wrong("key-seed") }
            return (key, signing)
        }
        if let known = try known() { return known }
        let made = (key: SigningKey.random(), signing: SigningKey.random())
        let document = JSONValue.object([
            "key-seed": .string(Hex.encode(made.key.seed)), "signing-seed": .string(Hex.encode(made.signing.seed)),
        ])
        if try state.keep(document.encoded(), as: name, in: folder, replacing: false) { return made }
        return try known() ?? made
    }

    func save(_ state: StateDirectory) throws {
        try state.save(secrets)
        try ServerMembership.save(credentials, state)
    }

    static func save(_ credentials: ServerCredentials, _ state: StateDirectory) throws {
        try state.keep(credentials.encoded(), as: fileName(credentials.address), in: folder)
    }
}
