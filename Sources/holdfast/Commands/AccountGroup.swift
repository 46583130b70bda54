import ArgumentParser
import Catalog
import Client
import Model
import Platform
import Server
import Vault

/// `holdfast account`
struct AccountGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "account",
        abstract: "The people that sign in to a server's console.",
        discussion: """
            Run these on the server's machine, beside the running server. Nobody has a password by default: an account is made with \
            a link, that holds a day and sets the password once.
            """,
        subcommands: [
            AccountAdd.self, AccountList.self, AccountLink.self, AccountDisable.self, AccountRemove.self,
            AccountTokenGroup.self, AccountPlaceGroup.self,
        ]
    )

    /// The address of a link, as it can be opened.
    static func link(_ secret: SecretToken, _ address: String?) throws -> String {
        let server = try ServerAddress(address ?? "https://\(Machine.hostName):\(ServerAddress.defaultPort)")
        return "\(server.description)/welcome/\(secret.text)"
    }

    static let who = "command line on the server"

    static func book(_ console: Console, _ global: GlobalOptions) throws -> AccountBook {
        let place = try ServerPlace(console, global)
        return AccountBook(place.catalog) { Timestamp(nanoseconds: SystemClock.wall) }
    }

    static func account(_ name: String, _ book: AccountBook) throws -> Account {
        guard let account = try book.catalog.account(named: name) else {
            throw HoldfastError(
                .notFound, "There is no account \(name).",
                context: ["hint": "`holdfast account list` shows all of them."])
        }
        return account
    }
}

extension Account.Role: ExpressibleByArgument {
    public init?(argument: String) { self.init(word: argument) }
    public static var allValueStrings: [String] { allCases.map(\.word) }
}

/// `holdfast account add`
struct AccountAdd: Command {
    static let configuration = CommandConfiguration(
        commandName: "add",
        abstract: "Make an account, and print the link that sets its password.",
        usage: "holdfast account add <name> [<options>]",
        discussion: """
            Roles: owner (everything), administrator (everything but owners and keys), operator (machines of some groups), help-desk \
            (restores without seeing contents), auditor (sees states and the audit log), person (their own files).

            Examples:
              holdfast account add anna --role administrator
              holdfast account add night-shift --role operator --group laptops
            """
    )

    @Argument(help: ArgumentHelp("What is typed to sign in.", valueName: "name"))
    var name: String
    @Option(help: ArgumentHelp("What the account may do.", valueName: "role"))
    var role: Account.Role = .administrator
    @Option(
        help: ArgumentHelp(
            "Operators and help desks: a group of machines; may be given again. (default: all)", valueName: "group"))
    var group: [String] = []
    @Option(help: ArgumentHelp("The address by which people reach this server.", valueName: "address"))
    var address: String?
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let book = try AccountGroup.book(console, global)
        let (account, secret) = try book.create(
            name: name, role: role, groups: group, by: AccountGroup.who, from: "")
        let link = try AccountGroup.link(secret, address)
        try console.emit(
            "account", ["name": .string(account.name), "role": .string(role.word), "link": .string(link)])
        try console.line(
            "\(role.title) \(account.name). The link sets the password, once, and holds a day:\n\n  \(link)")
        return .done
    }
}

/// `holdfast account list`
struct AccountList: Command {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Show the accounts.", usage: "holdfast account list [<options>]")

    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let book = try AccountGroup.book(console, global)
        var table = Table(("name", .left), ("role", .left), ("second factor", .left), ("last sign-in", .left))
        for account in try book.catalog.accounts() {
            var fields: [String: JSON] = [
                "name": .string(account.name), "role": .string(account.role.word),
                "second_factor": .bool(account.secondFactor != nil), "password": .bool(account.password != nil),
                "disabled": .bool(account.isDisabled),
            ]
            if let time = account.lastSignIn { fields["last_sign_in"] = .time(time) }
            try console.emit("account", fields)
            table.add(
                account.name, account.role.word, account.secondFactor == nil ? "no" : "yes",
                account.lastSignIn.map { TimeText.local($0, in: console.zone) }
                    ?? (account.password == nil ? "no password yet" : "never"))
        }
        if !console.isJSON { try console.table(table) }
        return .done
    }
}

/// `holdfast account link`
struct AccountLink: Command {
    static let configuration = CommandConfiguration(
        commandName: "link",
        abstract: "Print a new link that sets an account's password.",
        usage: "holdfast account link <name> [<options>]",
        discussion: """
            For who has lost the password, or did not use the first link in time. With --remove-second-factor the codes of the app \
            are not asked for any more either.
            """
    )

    @Argument(help: ArgumentHelp("The account.", valueName: "name"))
    var name: String
    @Flag(help: "Turn the second factor off as well.")
    var removeSecondFactor = false
    @Option(help: ArgumentHelp("The address by which people reach this server.", valueName: "address"))
    var address: String?
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let book = try AccountGroup.book(console, global)
        let account = try AccountGroup.account(name, book)
        if removeSecondFactor { try book.disableSecondFactor(account.id, by: AccountGroup.who, from: "") }
        let (_, secret) = try book.newLink(account.id, by: AccountGroup.who, from: "")
        let link = try AccountGroup.link(secret, address)
        try console.emit("account", ["name": .string(account.name), "link": .string(link)])
        try console.line(link)
        return .done
    }
}

/// `holdfast account remove`
struct AccountRemove: Command {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Remove an account and end its sessions.",
        usage: "holdfast account remove <name> [<options>]")

    @Argument(help: ArgumentHelp("The account.", valueName: "name"))
    var name: String
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let book = try AccountGroup.book(console, global)
        let account = try AccountGroup.account(name, book)
        try book.remove(account.id, by: AccountGroup.who, from: "")
        try console.emit("account_removed", ["name": .string(account.name)])
        try console.line("The account \(account.name) is gone.")
        return .done
    }
}

/// `holdfast audit`
struct AuditGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "Who did what on a server.",
        subcommands: [AuditVerify.self, AuditList.self])
}

/// `holdfast audit verify`
struct AuditVerify: Command {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Check that no line of the audit log was changed or taken out.",
        usage: "holdfast audit verify [--kept <number:hash>] [<options>]",
        discussion: """
            Each line carries the hash of the one before. What is printed at the end, number and hash of the newest line, can be kept \
            elsewhere: a later log has that line, and says with --kept whether it has. Lines that were taken off the end are found so, \
            and in no other way.

            Exit status: 0 the log is whole, 1 it is not what was written.

            Example:
              holdfast audit verify --kept 812:9f0c...
            """
    )

    @Option(
        help: ArgumentHelp("A line that you have kept elsewhere, as this command printed it.", valueName: "number:hash")
    )
    var kept: String?

    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if let kept, AuditLog.Mark(kept) == nil {
            throw ValidationError("--kept takes the number of a line, a colon, and its hash of 64 digits.")
        }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let verdict = try AccountGroup.book(console, global).audit.verify(kept.flatMap { AuditLog.Mark($0) })
        var fields: [String: JSON] = [
            "whole": .bool(verdict.isWhole), "lacks_kept": .bool(verdict.lacksKept),
            "lines": .count(UInt64(verdict.lines)), "hash": .string(Hex.encode(verdict.hash.array)),
        ]
        if let broken = verdict.firstBroken { fields["first_broken"] = .count(UInt64(broken)) }
        try console.emit("audit", fields)
        if let broken = verdict.firstBroken {
            try console.line("The log is not what was written, from line \(broken) on.")
            return .failed
        }
        if verdict.lacksKept {
            try console.line("The line that was kept is not in the log: it was shortened, or made anew.")
            return .failed
        }
        try console.line(
            "\(verdict.lines) lines, whole. To keep elsewhere:\n\(verdict.lines):\(Hex.encode(verdict.hash.array))")
        return .done
    }
}

/// `holdfast audit list`
struct AuditList: Command {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Show the newest lines of the audit log.",
        usage: "holdfast audit list [<options>]")

    @Option(help: ArgumentHelp("How many.", valueName: "count"))
    var newest = 50
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if !(1...100_000).contains(newest) { throw ValidationError("--newest takes a number from 1 to 100,000.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let book = try AccountGroup.book(console, global)
        var table = Table(("time", .left), ("who", .left), ("what", .left), ("to", .left), ("from", .left))
        for line in try book.catalog.auditLines(before: .max, limit: newest).reversed() {
            try console.emit(
                "audit_line",
                [
                    "number": .count(UInt64(line.number)), "time": .time(line.time), "who": .string(line.who),
                    "action": .string(line.action), "object": .string(line.object), "address": .string(line.address),
                    "succeeded": .bool(line.succeeded),
                ])
            table.add(
                TimeText.local(line.time, in: console.zone), line.who, line.action, line.object, line.address)
        }
        if !console.isJSON { try console.table(table) }
        return .done
    }
}
