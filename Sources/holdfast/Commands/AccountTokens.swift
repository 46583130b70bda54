import ArgumentParser
import Catalog
import Client
import Model
import Platform
import Server
import Vault

/// `holdfast account token`
struct AccountTokenGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token",
        abstract: "Tokens with which programs sign in for an account.",
        discussion: """
            A token stands in for password and second factor: in the API, and with --token-file (HOLDFAST_TOKEN_FILE) for the commands. It \
            has some of the account's rights, ends by itself, and is gone when the account is. People make their own on the page of \
            their account.
            """,
        subcommands: [AccountTokenAdd.self, AccountTokenList.self, AccountTokenEnd.self])
}

/// `holdfast account token add`
struct AccountTokenAdd: Command {
    static let configuration = CommandConfiguration(
        commandName: "add",
        abstract: "Make a token of an account, and print it once.",
        usage: "holdfast account token add <account> --name <name> [<options>]",
        discussion: """
            Rights: \(AccountRight.allCases.map(\.rawValue).joined(separator: ", ")).

            Examples:
              holdfast account token add anna --name reports --right see-states --valid 30d
              holdfast account token add night-shift --name restores --right see-states --right see-contents
            """
    )

    @Argument(help: ArgumentHelp("The account.", valueName: "account"))
    var account: String
    @Option(help: ArgumentHelp("What the token is for.", valueName: "name"))
    var name: String
    @Option(
        help: ArgumentHelp(
            "A right that it has; may be given again. (default: all of the account's)", valueName: "right"))
    var right: [AccountRight] = []
    @Option(help: ArgumentHelp("How long it holds, at most 366d. (default: 90d)", valueName: "time"))
    var valid: SpanArgument?
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let place = try ServerPlace(console, global)
        let book = try AccountGroup.book(console, global)
        let known = try AccountGroup.account(account, book)
        let now = Timestamp(nanoseconds: SystemClock.wall)
        let seconds =
            valid.map { now.since($0.span.before(now, in: console.zone)) / 1_000_000_000 } ?? AccountBook.usualToken
        let made = try book.makeToken(
            of: known.id, name: name, rights: right.isEmpty ? known.role.rights : Set(right), seconds: seconds, by: nil,
            who: AccountGroup.who, from: "")
        let code = AccessCode(token: made.secret, serverKey: place.state.identity.key.verifyingKey)
        try console.emit(
            "account_token",
            [
                "account": .string(known.name), "name": .string(made.token.name), "code": .string(code.text),
                "rights": .strings(made.token.rights), "expires": .time(made.token.expires),
            ])
        try console.line(code.text)
        return .done
    }
}

extension AccountRight: ExpressibleByArgument {
    public init?(argument: String) { self.init(rawValue: argument) }
    public static var allValueStrings: [String] { allCases.map(\.rawValue) }
}

/// `holdfast account token list`
struct AccountTokenList: Command {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Show the tokens of an account, without their secrets.",
        usage: "holdfast account token list <account> [<options>]")

    @Argument(help: ArgumentHelp("The account.", valueName: "account"))
    var account: String
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let book = try AccountGroup.book(console, global)
        let known = try AccountGroup.account(account, book)
        let uses = try book.catalog.tokenUses(of: known.id)
        let now = Timestamp(nanoseconds: SystemClock.wall)
        var table = Table(("name", .left), ("rights", .left), ("last used", .left), ("from", .left), ("until", .left))
        for token in known.tokens where now < token.expires {
            let use = uses[token.hash]
            var fields: [String: JSON] = [
                "name": .string(token.name), "rights": .strings(token.rights), "created": .time(token.created),
                "expires": .time(token.expires),
            ]
            if let use {
                fields["used"] = .time(use.time)
                fields["used_from"] = .string(use.address)
            }
            try console.emit("account_token", fields)
            table.add(
                TreePath.display(token.name.utf8), token.rights.joined(separator: ", "),
                use.map { TimeText.local($0.time, in: console.zone) } ?? "never", use?.address ?? "",
                TimeText.local(token.expires, in: console.zone))
        }
        if !console.isJSON { try console.table(table) }
        return .done
    }
}

/// `holdfast account token end`
struct AccountTokenEnd: Command {
    static let configuration = CommandConfiguration(
        commandName: "end", abstract: "End a token of an account: it opens nothing from now on.",
        usage: "holdfast account token end <account> <name> [<options>]")

    @Argument(help: ArgumentHelp("The account.", valueName: "account"))
    var account: String
    @Argument(help: ArgumentHelp("The token's name.", valueName: "name"))
    var name: String
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let book = try AccountGroup.book(console, global)
        let known = try AccountGroup.account(account, book)
        try book.endToken(of: known.id, where: { $0.name == name }, who: AccountGroup.who, from: "")
        try console.emit("account_token_ended", ["account": .string(known.name), "name": .string(name)])
        try console.line("The token \(name) of \(known.name) has ended.")
        return .done
    }
}
