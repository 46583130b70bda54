import ArgumentParser
import Client
import Model
import Vault

/// `holdfast orders`
struct OrdersGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "orders",
        abstract: "Restores that were ordered on machines.",
        discussion: """
            `holdfast restore ... --on MACHINE` and the console order restores through the server: the machine's agent makes a plan, \
            somebody agrees to it, and the agent carries it out. What a machine lets its server do stands in its \
            /etc/holdfast/allow.yaml.

              holdfast orders                  what was ordered, and how it stands
              holdfast orders show 3fa9        one order: its plan, how far it is, what came of it
              holdfast orders confirm 3fa9     agree to its plan
              holdfast orders stop 3fa9        end it; what was restored until then stays
              holdfast orders undo 3fa9        take a restore in place back
            """,
        subcommands: [OrdersList.self, OrdersShow.self, OrdersConfirm.self, OrdersStop.self, OrdersUndo.self],
        defaultSubcommand: OrdersList.self
    )
}

/// `holdfast orders list`
struct OrdersList: Command {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List orders, newest first.",
        usage: "holdfast orders [list] [--newest <count>] --vault <server> --token-file <file>"
    )

    @Option(help: ArgumentHelp("Show so many. (default: 20)", valueName: "count"))
    var newest = 20
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if !(1...1_000).contains(newest) { throw ValidationError("--newest takes a number from 1 to 1000.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let ordering = RestoreOrdering(restores: try session.restores(), session: session, console: console)
        let orders = try ordering.restores.list(newest: newest)
        var table = Table(
            ("order", .left), ("state", .left), ("ordered", .left), ("by", .left), ("machine", .left), ("what", .left))
        for order in orders {
            try console.emit("order", ordering.fields(order))
            let first = order.wish.paths.first?.displayText ?? "/"
            let more = order.wish.paths.count > 1 ? " +\(order.wish.paths.count - 1)" : ""
            table.add(
                order.shortID, order.isWaiting ? "planned, waits" : order.state.rawValue,
                Units.age(of: order.created, at: session.now), TreePath.display(order.owner.utf8),
                session.machineName(order.wish.target), "\(first)\(more) \(order.wish.place)")
        }
        if !orders.isEmpty { try console.table(table) }
        if orders.isEmpty { try console.line("Nothing was ordered yet: holdfast restore POINT PATH --on MACHINE") }
        return .done
    }
}

/// The order that somebody named by the beginning of its id.
struct OrderArgument {
    static func find(_ text: String, _ restores: RemoteRestores) throws -> RestoreOrder {
        if let id = RestoreOrderID(hex: text) { return try restores.order(id).order }
        let lowered = text.lowercased()
        let found = try restores.list(newest: 1_000).filter { !lowered.isEmpty && $0.id.hex.hasPrefix(lowered) }
        let shown = TreePath.display(text.utf8)
        guard let first = found.first else {
            throw HoldfastError(
                .notFound, "There is no order \"\(shown)\".", context: ["hint": "`holdfast orders` lists them."])
        }
        guard found.count == 1 else {
            throw HoldfastError(.usage, "Several orders begin with \"\(shown)\"; use more digits.")
        }
        return try restores.order(first.id).order
    }
}

/// `holdfast orders show`
struct OrdersShow: Command {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Show an order: its plan, how far it is, what came of it.",
        usage: "holdfast orders show <order> [--log] --vault <server> --token-file <file>",
        discussion: """
            Exit status: 0 it goes on or went well, 3 it is done with warnings, 1 it failed, was stopped, refused, or expired.
            """
    )

    @Argument(help: ArgumentHelp("The beginning of its id.", valueName: "order"))
    var order: String
    @Flag(help: "Print its log as well.")
    var log = false
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let ordering = RestoreOrdering(restores: try session.restores(), session: session, console: console)
        let found = try OrderArgument.find(order, ordering.restores)
        let status = try ordering.show(found)
        if log {
            for line in try ordering.restores.order(found.id).lines {
                try console.emit(
                    "order_line",
                    ["number": .integer(line.number), "time": .time(line.time), "text": .string(line.text)])
                try console.line(
                    "\(TimeText.local(line.time, in: console.zone))  \(TreePath.display(line.text.utf8))")
            }
        }
        return status
    }
}

/// `holdfast orders confirm`
struct OrdersConfirm: Command {
    static let configuration = CommandConfiguration(
        commandName: "confirm",
        abstract: "Agree to an order's plan: the machine carries it out.",
        usage: "holdfast orders confirm <order> [--detach] --vault <server> --token-file <file>"
    )

    @Argument(help: ArgumentHelp("The beginning of its id.", valueName: "order"))
    var order: String
    @Flag(help: "Do not wait until it is done.")
    var detach = false
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let ordering = RestoreOrdering(restores: try session.restores(), session: session, console: console)
        let confirmed = try ordering.restores.confirm(try OrderArgument.find(order, ordering.restores))
        return try ordering.show(detach ? confirmed : ordering.follow(confirmed))
    }
}

/// `holdfast orders stop`
struct OrdersStop: Command {
    static let configuration = CommandConfiguration(
        commandName: "stop",
        abstract: "End an order. What was restored until then stays.",
        usage: "holdfast orders stop <order> --vault <server> --token-file <file>",
        discussion: """
            The same order given again goes on from there. One that the machine does not answer to any more ends at once; the machine \
            is told when it is back.
            """
    )

    @Argument(help: ArgumentHelp("The beginning of its id.", valueName: "order"))
    var order: String
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let ordering = RestoreOrdering(restores: try session.restores(), session: session, console: console)
        let stopped = try ordering.restores.stop(try OrderArgument.find(order, ordering.restores).id)
        try console.emit("order", ordering.fields(stopped))
        try console.line(
            stopped.state.isOpen
                ? "Order \(stopped.shortID) is being stopped." : "Order \(stopped.shortID): \(stopped.state.rawValue).")
        return .done
    }
}

/// `holdfast orders undo`
struct OrdersUndo: Command {
    static let configuration = CommandConfiguration(
        commandName: "undo",
        abstract: "Take a restore in place back.",
        usage: "holdfast orders undo <order> [--yes] [--detach] --vault <server> --token-file <file>",
        discussion: """
            Only the machine's last restore in place can be taken back. This is an order of its own, with a plan.
            """
    )

    @Argument(help: ArgumentHelp("The beginning of its id.", valueName: "order"))
    var order: String
    @Flag(help: "Do not ask before it begins.")
    var yes = false
    @Flag(help: "Do not wait until it is done.")
    var detach = false
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global)
        let ordering = RestoreOrdering(restores: try session.restores(), session: session, console: console)
        let done = try OrderArgument.find(order, ordering.restores)
        var wish = RestoreWish.undo(done)
        wish.asksFirst = !yes
        return try ordering.carryOut(wish, asks: !yes, detaches: detach)
    }
}

extension RestoreOrdering {
    /// Orders something, waits for its plan, asks, and waits for its end.
    func carryOut(
        _ wish: RestoreWish, asks: Bool, detaches: Bool, isRehearsal: Bool = false
    ) throws -> ExitStatus {
        var order = try restores.order(wish)
        console.note("Order \(order.shortID) goes to \(session.machineName(wish.target)).")
        if detaches { return try show(order) }
        order = try follow(order)
        guard order.isWaiting else { return try show(order) }
        if isRehearsal {
            let status = try show(order)
            _ = try restores.stop(order.id)
            return status
        }
        if asks {
            guard let plan = order.plan else { return try show(order) }
            try show(plan)
            guard try Self.ask(order) else {
                _ = try restores.stop(order.id)
                throw HoldfastError(.cancelled, "Nothing was changed.")
            }
        }
        return try show(try follow(try restores.confirm(order)))
    }
}
