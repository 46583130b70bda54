import Catalog
import Client
import Model
import Vault

/// Restores on machines, ordered by people.
enum RestoreOperations {
    private static let base = "/api/v1/restores"
    private static let people: Operation.Access = .personWithAny(Desk.restoreRights)
    private static let gone = (status: 404, meaning: "There is no such order, or it is not for who asks to see.")

    static let all: [Operation] = [
        Operation(
            "POST", base,
            "Orders a restore: the machine makes a plan, and carries it out when somebody has agreed to it or nobody was to be "
                + "asked. What a machine may be told to do, its own administrator says there.",
            tag: "restores", access: people, request: .json("RestoreWish"), response: .json("RestoreOrder"),
            status: 201,
            failures: [
                (401, "The vault is owner-only."), (404, "There is no such machine, point or path."),
                (503, "Too many restores wait for this machine."),
            ]
        ) { core, request in
            let wish = try RestoreWish(JSONFields(parsing: request.body, document: "the order"))
            return ServerAnswer(status: 201, body: try core.desk(request).orderRestore(wish).encoded())
        },
        Operation(
            "GET", base, "The newest orders, newest first.", tag: "restores", access: people,
            query: [("newest", "So many at most; 100 when nothing is said, 1,000 at most.")],
            response: .json("RestoreOrderList")
        ) { core, request in
            let count = try request.number("newest", in: 1...1_000) ?? 100
            let orders = try core.desk(request).restoreOrders(newest: count).map { order -> JSONValue in
                var short = order
                // What one page of one order shows is too much for a list.
                short.plan = nil
                short.result?.keep(issues: [])
                return short.json
            }
            return .json(JSONValue.object(["orders": .array(orders)]).encoded())
        },
        Operation(
            "GET", base + "/{order}", "An order: what was asked, how it stands, its plan, its result, and its log.",
            tag: "restores", access: people,
            query: [
                ("after", "The last line of the log that is known already."),
                ("heard", "When something was heard of it last, as was told: with `wait`, news are what came later."),
                ("wait", "Seconds to wait for news, at most \(JobOperations.longestWait)."),
            ], response: .json("RestoreOrderNews"), failures: [gone]
        ) { core, request in
            let desk = try core.desk(request)
            let after = try request.number("after", in: 0...Int.max) ?? 0
            let wait = try request.number("wait", in: 0...JobOperations.longestWait) ?? 0
            let order = try desk.restoreOrder(request.parameters["order"])
            let lines = try desk.log(of: order, after: Int64(after))
            let isKnown = request.query["heard"] == String(order.heard.nanoseconds)
            if wait > 0, order.state.isOpen, isKnown, lines.isEmpty, !request.isLastLook { throw NotYet() }
            return .json(
                JSONValue.object(["order": order.json, "lines": .array(lines.map(\.json))]).encoded())
        },
        Operation(
            "POST", base + "/{order}/confirm", "Agrees to an order's plan: the machine carries it out.",
            tag: "restores", access: people,
            query: [("plan", "The `plan_number` of the plan that was seen; another one is not agreed to then.")],
            response: .json("RestoreOrder"),
            failures: [gone, (409, "There is no plan that waits for this, or it is another one by now.")]
        ) { core, request in
            let desk = try core.desk(request)
            let seen = try request.number("plan", in: 0...Int.max).map { Int64($0) }
            return .json(
                try desk.confirmRestore(try desk.restoreOrder(request.parameters["order"]), seen: seen).encoded())
        },
        Operation(
            "POST", base + "/{order}/stop",
            "Wants an order to end. What is restored until then stays; the same order again goes on from there.",
            tag: "restores", access: people, response: .json("RestoreOrder"),
            failures: [gone, (409, "It has ended already.")]
        ) { core, request in
            let desk = try core.desk(request)
            return .json(try desk.stopRestore(try desk.restoreOrder(request.parameters["order"])).encoded())
        },
        Operation(
            "POST", base + "/{order}/undo",
            "Orders that what an order has restored in place is taken back: the machine makes a plan of that, too.",
            tag: "restores", access: people, response: .json("RestoreOrder"), status: 201,
            failures: [gone, (404, "It was no restore in place, or the machine cannot take it back.")]
        ) { core, request in
            let desk = try core.desk(request)
            let undo = try desk.undoRestore(try desk.restoreOrder(request.parameters["order"]))
            return ServerAnswer(status: 201, body: undo.encoded())
        },
        Operation(
            "POST", "/api/v1/machines/{machine}/restores/{order}",
            "A machine says how an order of its own stands, and learns what is wanted now.", tag: "restores",
            access: .machine, request: .json("RestoreOrderReport"), response: .json("RestoreOrderAnswer"),
            failures: [(409, "The order has ended, or cannot become what was said.")]
        ) { core, request in
            let machine = try request.machine()
            guard try request.id("machine", as: MachineID.self) == machine else {
                throw HoldfastError(.denied, "a machine speaks of its own orders only")
            }
            let report = try RestoreOrderReport.decode(request.body)
            return .json(
                try core.restores.take(report, of: try request.id("order"), from: machine).encoded())
        },
    ]
}
