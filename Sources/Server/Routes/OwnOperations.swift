import Catalog
import Client
import Model
import Vault

/// The account of who asks: password, second factor, sessions, tokens.
enum OwnOperations {
    private static let base = "/api/v1/me"

    static let all: [Operation] = [
        Operation(
            "GET", base, "Who asks, what they may, and which machines or places are theirs.", tag: "own account",
            access: .personWithAny(AccountRight.allCases), response: .json("Me")
        ) { core, request in
            let person = try request.person()
            var fields: [String: JSONValue] = [
                "name": .string(person.name),
                "rights": .array(person.rights.map(\.rawValue).sorted().map { .string($0) }),
                "all_machines": .bool(person.seesAllMachines),
            ]
            if let id = person.account, let account = try core.catalog.account(id) {
                fields["account"] = AccountOperations.describe(account)
            }
            return .json(JSONValue.object(fields).encoded())
        },
        Operation(
            "POST", base + "/password", "Changes the password; all sessions end.", tag: "own account",
            access: .account, request: .json("PasswordChange"), status: 204, maximumBody: 16 << 10, isGuessable: true
        ) { core, request in
            let fields = try JSONFields(parsing: request.body, document: "the change")
            try core.desk(request).changeOwnPassword(
                from: try fields.string("old"), to: try fields.string("new"))
            return .nothing
        },
        Operation(
            "POST", base + "/second-factor",
            "Turns the second factor on, once a code for the secret is right. The codes that stand in for it are shown once.",
            tag: "own account", access: .account, request: .json("SecondFactor"), response: .json("BackupCodes"),
            failures: [(409, "It is on already.")], maximumBody: 16 << 10, isGuessable: true
        ) { core, request in
            let fields = try JSONFields(parsing: request.body, document: "the second factor")
            let codes = try core.desk(request).enableOwnSecondFactor(
                password: try fields.string("password"),
                secret: try fields.bytes("secret", count: OneTimePassword.secretLength),
                code: try fields.string("code"))
            return .json(JSONValue.object(["codes": .array(codes.map { .string($0) })]).encoded())
        },
        Operation(
            "GET", base + "/sessions", "The browsers in which the account is signed in.", tag: "own account",
            access: .account, response: .json("SessionList")
        ) { core, request in
            let sessions = try core.desk(request).ownSessions().map { session in
                JSONValue.object([
                    "address": .string(session.address), "browser": .string(session.browser),
                    "begun": .integer(session.begun.nanoseconds), "used": .integer(session.used.nanoseconds),
                ])
            }
            return .json(JSONValue.object(["sessions": .array(sessions)]).encoded())
        },
        Operation(
            "DELETE", base + "/sessions", "Ends all sessions of the account.", tag: "own account", access: .account,
            status: 204
        ) { core, request in
            try core.desk(request).endOwnSessions(except: nil)
            return .nothing
        },
        Operation(
            "GET", base + "/tokens", "The account's tokens, without their secrets.", tag: "own account",
            access: .account, response: .json("TokenList")
        ) { core, request in
            let tokens = try core.desk(request).ownTokens().map { describe($0.token, $0.use) }
            return .json(JSONValue.object(["tokens": .array(tokens)]).encoded())
        },
        Operation(
            "POST", base + "/tokens",
            "Makes a token of the account: a name, some of its rights, and an end. The code is shown once.",
            tag: "own account", access: .account, request: .json("NewToken"), response: .json("TokenCode"),
            status: 201, failures: [(409, "There is a token of this name.")]
        ) { core, request in
            let fields = try JSONFields(parsing: request.body, document: "the token")
            let rights = try fields.strings("rights", atMost: 100).map { word in
                guard let right = AccountRight(rawValue: word) else {
                    throw HoldfastError(.usage, "there is no right \(word)")
                }
                return right
            }
            let seconds =
                try fields.has("seconds")
                ? fields.integer("seconds", in: 1...Int64.max) : AccountBook.usualToken
            let made = try core.desk(request).makeOwnToken(
                name: try fields.string("name"), rights: Set(rights), seconds: seconds)
            return ServerAnswer(
                status: 201,
                body: JSONValue.object(["code": .string(made.code.text), "token": describe(made.token, nil)]).encoded())
        },
        Operation(
            "DELETE", base + "/tokens/{token}", "Ends a token of the account.", tag: "own account", access: .account,
            status: 204, failures: [(404, "There is no such token.")]
        ) { core, request in
            try core.desk(request).endOwnToken(request.parameters["token"] ?? "")
            return .nothing
        },
    ]

    private static func describe(_ token: Account.Token, _ use: TokenUse?) -> JSONValue {
        var fields: [String: JSONValue] = [
            "id": .string(AccountBook.identifier(token)), "name": .string(token.name),
            "rights": .array(token.rights.map { .string($0) }), "created": .integer(token.created.nanoseconds),
            "expires": .integer(token.expires.nanoseconds),
        ]
        if let use {
            fields["used"] = .integer(use.time.nanoseconds)
            fields["used_from"] = .string(use.address)
        }
        return .object(fields)
    }
}
