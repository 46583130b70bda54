import Catalog
import Client
import Model
import Vault

/// Accounts, for those who look after them.
enum AccountOperations {
    private static let base = "/api/v1/accounts"
    private static let gone = (status: 404, meaning: "There is no such account.")

    static let all: [Operation] = [
        Operation(
            "GET", base, "Who signs in.", tag: "accounts", access: .person(.manageAccounts),
            response: .json("AccountList")
        ) { core, request in
            let accounts = try core.desk(request).accounts().map { describe($0) }
            return .json(JSONValue.object(["accounts": .array(accounts)]).encoded())
        },
        Operation(
            "POST", base, "Makes an account. The link that sets its password is shown once, and holds a day.",
            tag: "accounts", access: .person(.manageAccounts), request: .json("NewAccount"),
            response: .json("AccountLink"), status: 201, failures: [(409, "There is an account of this name.")]
        ) { core, request in
            let fields = try JSONFields(parsing: request.body, document: "the account")
            let made = try core.desk(request).createAccount(
                name: try fields.string("name"), role: try role(fields), groups: try groups(fields))
            return ServerAnswer(status: 201, body: link(made.account, made.secret).encoded())
        },
        Operation(
            "PUT", base + "/{account}",
            "Changes an account: its role and groups, what of which machines is its own, whether it may sign in.",
            tag: "accounts", access: .person(.manageAccounts), request: .json("AccountChange"),
            response: .json("Account"), failures: [gone]
        ) { core, request in try change(core, request) },
        Operation(
            "DELETE", base + "/{account}", "Removes an account with its sessions and tokens.", tag: "accounts",
            access: .person(.manageAccounts), status: 204, failures: [gone]
        ) { core, request in
            let desk = try core.desk(request)
            try desk.removeAccount(try desk.account(request.parameters["account"]))
            return .nothing
        },
        Operation(
            "POST", base + "/{account}/link", "Makes a new link that sets the password; the one before holds no more.",
            tag: "accounts", access: .person(.manageAccounts), response: .json("AccountLink"), failures: [gone]
        ) { core, request in
            let desk = try core.desk(request)
            let made = try desk.newLink(for: try desk.account(request.parameters["account"]))
            return .json(link(made.account, made.secret).encoded())
        },
        Operation(
            "DELETE", base + "/{account}/second-factor", "Turns the second factor of an account off.", tag: "accounts",
            access: .person(.manageAccounts), status: 204, failures: [gone]
        ) { core, request in
            let desk = try core.desk(request)
            try desk.resetSecondFactor(of: try desk.account(request.parameters["account"]))
            return .nothing
        },
        Operation(
            "POST", "/api/v1/links/use", "Sets the password of an account by the secret of a link, once.",
            tag: "accounts", access: .open, request: .json("LinkUse"), status: 204,
            failures: [(403, "The link has been used, or its time is over.")], maximumBody: 16 << 10,
            isGuessable: true
        ) { core, request in
            let fields = try JSONFields(parsing: request.body, document: "the link")
            _ = try core.accounts.setPassword(
                link: try fields.string("secret"), try fields.string("password"), address: request.address)
            return .nothing
        },
    ]

    // MARK: Changes

    private static func role(_ fields: JSONFields) throws -> Account.Role {
        guard let role = Account.Role(word: try fields.string("role")) else {
            throw HoldfastError(
                .usage, "role is one of \(Account.Role.allCases.map(\.word).joined(separator: ", "))")
        }
        return role
    }

    private static func groups(_ fields: JSONFields) throws -> [String] {
        let groups = try fields.has("groups") ? fields.strings("groups", atMost: 1_000) : []
        for group in groups { try ServerCore.requireGroupName(group) }
        return groups
    }

    private static func change(_ core: ServerCore, _ request: ServerRequest) throws -> ServerAnswer {
        let desk = try core.desk(request)
        let account = try desk.account(request.parameters["account"])
        let fields = try JSONFields(parsing: request.body, document: "the change")
        let places = try fields.has("places") ? fields.array("places", atMost: 1_000).map(place) : nil
        if fields.has("role") || fields.has("groups") {
            try desk.setRole(
                of: account, fields.has("role") ? try role(fields) : account.role,
                groups: fields.has("groups") ? try groups(fields) : account.groups)
        }
        if let places { try desk.setPlaces(of: account, places) }
        if fields.has("disabled") { try desk.setDisabled(account, try fields.boolean("disabled")) }
        return .json(describe(try core.catalog.account(account.id) ?? account).encoded())
    }

    private static func place(_ value: JSONValue) throws -> Account.Place {
        let fields = try JSONFields(value, document: "a place")
        guard let path = TreePath(try fields.string("path")) else { throw fields.wrong("path") }
        return Account.Place(
            machine: try fields.identifier("machine"), path: path,
            uid: fields.has("uid") ? UInt32(try fields.integer("uid", in: 0...Int64(UInt32.max))) : nil,
            user: fields.has("user") ? try fields.string("user") : nil)
    }

    // MARK: Descriptions

    private static func link(_ account: Account, _ secret: SecretToken) -> JSONValue {
        .object([
            "account": describe(account), "secret": .string(secret.text),
            "path": .string("/welcome/\(secret.text)"),
        ])
    }

    static func describe(_ account: Account) -> JSONValue {
        var fields: [String: JSONValue] = [
            "id": .string(account.id.hex), "name": .string(account.name), "role": .string(account.role.word),
            "groups": .array(account.groups.map { .string($0) }), "disabled": .bool(account.isDisabled),
            "second_factor": .bool(account.secondFactor != nil), "password": .bool(account.password != nil),
            "created": .integer(account.created.nanoseconds),
            "places": .array(
                account.places.map { place in
                    var fields: [String: JSONValue] = ["machine": .string(place.machine.hex)]
                    fields.setPath("path", place.path)
                    if let uid = place.uid { fields["uid"] = .integer(Int64(uid)) }
                    if let user = place.user { fields["user"] = .string(user) }
                    return .object(fields)
                }),
        ]
        if let time = account.lastSignIn { fields["last_sign_in"] = .integer(time.nanoseconds) }
        return .object(fields)
    }
}
