import ArgumentParser
import Catalog
import Model
import Server
import Vault

/// `holdfast account place`
struct AccountPlaceGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "place",
        abstract: "What of which machines is a person's own.",
        discussion: """
            An account of the role person sees its places and nothing else, and of them what that user of the machine could read at the \
            time that is looked at: by owner, groups, mode and access control lists of the point.
            """,
        subcommands: [AccountPlaceAdd.self, AccountPlaceList.self, AccountPlaceRemove.self])

    /// A machine by its name, or by its id where names are not enough.
    static func machine(_ text: String, _ catalog: any ServerCatalog) throws -> ManagedMachine {
        let found = try catalog.machines().filter { $0.name == text || $0.id.hex == text }
        guard let machine = found.first else {
            throw HoldfastError(
                .notFound, "There is no machine \(text).",
                context: ["hint": "`holdfast server machines` shows all of them."])
        }
        guard found.count == 1 else {
            throw HoldfastError(
                .usage, "Several machines are called \(text): name one by its id.",
                context: ["hint": found.map(\.id.hex).joined(separator: ", ")])
        }
        return machine
    }

    static func path(_ text: String) throws -> TreePath {
        guard text.hasPrefix("/"), let path = TreePath(text) else {
            throw HoldfastError(.usage, "\(text) is no path: it begins with / and has no “..” in it.")
        }
        return path
    }
}

/// `holdfast account place add`
struct AccountPlaceAdd: Command {
    static let configuration = CommandConfiguration(
        commandName: "add",
        abstract: "Give a person a directory of a machine, as a user of that machine.",
        usage: """
            holdfast account place add <account> <machine> <path> (--user <name> | --uid <number>)
            [<options>]
            """,
        discussion: """
            With --user the number is that of the machine's /etc/passwd at the time that is looked at. --uid is for users of a directory \
            service, which stand in no file; both together must belong together.

            Examples:
              holdfast account place add ann laptop-ann /home/ann --user ann
            """
    )

    @Argument(help: ArgumentHelp("The account.", valueName: "account"))
    var account: String
    @Argument(help: ArgumentHelp("The machine's name or id.", valueName: "machine"))
    var machine: String
    @Argument(help: ArgumentHelp("A directory of it.", valueName: "path"))
    var path: String
    @Option(help: ArgumentHelp("Who the person is on the machine.", valueName: "name"))
    var user: String?
    @Option(help: ArgumentHelp("The number of that user.", valueName: "number"))
    var uid: UInt32?
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let place = try ServerPlace(console, global)
        let book = try AccountGroup.book(console, global)
        let known = try AccountGroup.account(account, book)
        let target = try AccountPlaceGroup.machine(machine, place.catalog)
        let new = Account.Place(machine: target.id, path: try AccountPlaceGroup.path(path), uid: uid, user: user)
        guard !known.places.contains(new) else { throw HoldfastError(.exists, "That is theirs already.") }
        try book.setPlaces(known.id, known.places + [new], by: AccountGroup.who, from: "")
        try console.emit(
            "account_place",
            ["account": .string(known.name), "machine": .id(target.id), "path": .string(new.path.displayText)])
        try console.line(
            "\(known.name) sees \(new.path.displayText) of \(target.name), as far as that user could read it.")
        return .done
    }
}

/// `holdfast account place list`
struct AccountPlaceList: Command {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Show what is a person's own.",
        usage: "holdfast account place list <account> [<options>]")

    @Argument(help: ArgumentHelp("The account.", valueName: "account"))
    var account: String
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let place = try ServerPlace(console, global)
        let known = try AccountGroup.account(account, try AccountGroup.book(console, global))
        var table = Table(("machine", .left), ("path", .left), ("user", .left), ("uid", .left))
        for each in known.places {
            let name = try place.catalog.machine(each.machine)?.name ?? each.machine.hex
            var fields: [String: JSON] = ["machine": .id(each.machine), "machine_name": .string(name)]
            fields.setPath("path", each.path)
            if let user = each.user { fields["user"] = .string(user) }
            if let uid = each.uid { fields["uid"] = .count(uid) }
            try console.emit("account_place", fields)
            table.add(
                TreePath.display(name.utf8), each.path.displayText, each.user ?? "", each.uid.map(String.init) ?? "")
        }
        if !console.isJSON { try console.table(table) }
        return .done
    }
}

/// `holdfast account place remove`
struct AccountPlaceRemove: Command {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Take a directory of a machine away from a person.",
        usage: "holdfast account place remove <account> <machine> <path> [<options>]")

    @Argument(help: ArgumentHelp("The account.", valueName: "account"))
    var account: String
    @Argument(help: ArgumentHelp("The machine's name or id.", valueName: "machine"))
    var machine: String
    @Argument(help: ArgumentHelp("The directory.", valueName: "path"))
    var path: String
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let place = try ServerPlace(console, global)
        let book = try AccountGroup.book(console, global)
        let known = try AccountGroup.account(account, book)
        let target = try AccountPlaceGroup.machine(machine, place.catalog)
        let path = try AccountPlaceGroup.path(path)
        let left = known.places.filter { $0.machine != target.id || $0.path != path }
        guard left.count < known.places.count else { throw HoldfastError(.notFound, "That is not theirs.") }
        try book.setPlaces(known.id, left, by: AccountGroup.who, from: "")
        try console.emit("account_place_removed", ["account": .string(known.name), "machine": .id(target.id)])
        try console.line("\(known.name) does not see \(path.displayText) of \(target.name) any more.")
        return .done
    }
}

/// `holdfast account disable`
struct AccountDisable: Command {
    static let configuration = CommandConfiguration(
        commandName: "disable",
        abstract: "Keep an account from signing in, or let it again.",
        usage: "holdfast account disable <name> [--undo] [<options>]",
        discussion: "Its sessions and tokens end at once. Its name, role and places stay."
    )

    @Argument(help: ArgumentHelp("The account.", valueName: "name"))
    var name: String
    @Flag(help: "Let it sign in again.")
    var undo = false
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let book = try AccountGroup.book(console, global)
        let account = try AccountGroup.account(name, book)
        try book.setDisabled(account.id, !undo, by: AccountGroup.who, from: "")
        try console.emit("account_disabled", ["name": .string(account.name), "disabled": .bool(!undo)])
        try console.line(undo ? "\(account.name) can sign in again." : "\(account.name) cannot sign in any more.")
        return .done
    }
}
