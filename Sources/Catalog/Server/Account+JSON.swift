import Model
package import Vault

/// An account as a document: in the database, and in what the server puts into safety of itself.
extension Account {
    package var json: JSONValue {
        var fields: [String: JSONValue] = [
            "id": .string(id.hex), "name": .string(name), "role": .string(role.word),
            "created": .integer(created.nanoseconds), "last_step": .integer(lastStep), "disabled": .bool(isDisabled),
            "groups": .array(groups.map { .string($0) }),
            "places": .array(
                places.map { place in
                    var fields: [String: JSONValue] = [
                        "machine": .string(place.machine.hex), "path": .string(Hex.encode(place.path.bytes)),
                    ]
                    if let uid = place.uid { fields["uid"] = .integer(Int64(uid)) }
                    if let user = place.user { fields["user"] = .string(user) }
                    return .object(fields)
                }),
            "tokens": .array(
                tokens.map { token in
                    .object([
                        "hash": .string(Hex.encode(token.hash.array)), "name": .string(token.name),
                        "rights": .array(token.rights.map { .string($0) }),
                        "created": .integer(token.created.nanoseconds), "expires": .integer(token.expires.nanoseconds),
                    ])
                }),
            "backup_codes": .array(backupCodes.map { .string(Hex.encode($0.array)) }),
        ]
        if let password { fields["password"] = .string(password) }
        if let secondFactor { fields["second_factor"] = .string(Hex.encode(secondFactor)) }
        if let link { fields["link"] = .string(Hex.encode(link.array)) }
        if let linkEnds { fields["link_ends"] = .integer(linkEnds.nanoseconds) }
        if let lastSignIn { fields["last_sign_in"] = .integer(lastSignIn.nanoseconds) }
        return .object(fields)
    }

    /// Throws `damaged` for what is no account.
    package init(_ value: JSONValue) throws {
        let fields = try JSONFields(value, document: "an account")
        func damaged(_ what: String) -> HoldfastError {
            HoldfastError(.damaged, "an account is damaged: \(what)")
        }
        func time(_ name: String) throws -> Timestamp {
            Timestamp(nanoseconds: try fields.integer(name, in: Int64.min...Int64.max))
        }
        func digest(_ text: String) throws -> Bytes32 {
            guard let bytes = Hex.decode(text), let digest = Bytes32(bytes) else { throw damaged("a hash") }
            return digest
        }
        guard let id = AccountID(hex: try fields.string("id")), let role = Role(word: try fields.string("role")) else {
            throw damaged("its id or role")
        }
        self.init(id: id, name: try fields.string("name"), role: role, created: try time("created"))
        lastStep = try fields.integer("last_step", in: 0...Int64.max)
        isDisabled = try fields.boolean("disabled")
        groups = try fields.array("groups", atMost: 10_000).map { value in
            guard case .string(let text) = value else { throw damaged("its groups") }
            return text
        }
        places = try fields.array("places", atMost: 10_000).map { value in
            let place = try JSONFields(value, document: "a place of an account")
            guard let machine = MachineID(hex: try place.string("machine")),
                let bytes = Hex.decode(try place.string("path")), let path = TreePath(normalizing: bytes)
            else { throw damaged("its places") }
            let uid = place.has("uid") ? UInt32(try place.integer("uid", in: 0...Int64(UInt32.max))) : nil
            return Place(
                machine: machine, path: path, uid: uid, user: place.has("user") ? try place.string("user") : nil)
        }
        if fields.has("tokens") {
            tokens = try fields.array("tokens", atMost: 10_000).map { value in
                let token = try JSONFields(value, document: "a token of an account")
                func time(_ name: String) throws -> Timestamp {
                    Timestamp(nanoseconds: try token.integer(name, in: Int64.min...Int64.max))
                }
                return Token(
                    hash: try digest(try token.string("hash")), name: try token.string("name"),
                    rights: try token.strings("rights", atMost: 100), created: try time("created"),
                    expires: try time("expires"))
            }
        }
        backupCodes = try fields.array("backup_codes", atMost: 100).map { value in
            guard case .string(let text) = value else { throw damaged("its codes") }
            return try digest(text)
        }
        if fields.has("password") { password = try fields.string("password") }
        if fields.has("second_factor") {
            guard let secret = Hex.decode(try fields.string("second_factor")) else {
                throw damaged("its second factor")
            }
            secondFactor = secret
        }
        if fields.has("link") { link = try digest(try fields.string("link")) }
        if fields.has("link_ends") { linkEnds = try time("link_ends") }
        if fields.has("last_sign_in") { lastSignIn = try time("last_sign_in") }
    }
}

extension Account.Role {
    /// As it is written in documents and on the command line.
    package var word: String {
        switch self {
        case .owner: "owner"
        case .administrator: "administrator"
        case .operator: "operator"
        case .helpDesk: "help-desk"
        case .auditor: "auditor"
        case .person: "person"
        }
    }

    package init?(word: String) {
        guard let role = Self.allCases.first(where: { $0.word == word }) else { return nil }
        self = role
    }
}
