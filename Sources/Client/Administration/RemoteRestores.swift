package import Model
package import Vault

/// A line of an order's log.
package struct RestoreOrderLine: Hashable, Sendable {
    package var number: Int64
    package var time: Timestamp
    package var text: String

    package init(number: Int64, time: Timestamp, text: String) {
        self.number = number
        self.time = time
        self.text = text
    }

    package var json: JSONValue {
        .object(["number": .integer(number), "time": .integer(time.nanoseconds), "text": .string(text)])
    }

    init(_ value: JSONValue, document: String) throws {
        let fields = try JSONFields(value, document: document)
        number = try fields.integer("number", in: 1...Int64.max)
        time = Timestamp(nanoseconds: try fields.integer("time", in: Int64.min...Int64.max))
        text = try fields.string("text")
    }
}

/// Restores on machines, ordered through a server by a person.
package struct RemoteRestores: Sendable {
    private static let document = "the server's answer about orders"
    private static let base = "/api/v1/restores"
    private let connection: ServerConnection

    package init(_ connection: ServerConnection) { self.connection = connection }

    package func order(_ wish: RestoreWish) throws -> RestoreOrder {
        try RestoreOrder.decode(
            try connection.request("POST", Self.base, body: JSONValue.object(wish.members).encoded()))
    }

    /// The newest orders, newest first; without plans and results in full.
    package func list(newest count: Int = 100) throws -> [RestoreOrder] {
        let body = try connection.request("GET", Self.base + "?newest=\(count)")
        return try JSONFields(parsing: body, document: Self.document, atMost: 64 << 20)
            .array("orders", atMost: 1_000).map { try RestoreOrder(JSONFields($0, document: Self.document)) }
    }

    /// An order, and what was said about it since line `after`. Waits for news when `wait` seconds are given: for lines, or
    /// for another revision or state than those in `known`.
    package func order(
        _ id: RestoreOrderID, after: Int64 = 0, wait: Int = 0, known: RestoreOrder? = nil
    ) throws -> (order: RestoreOrder, lines: [RestoreOrderLine]) {
        var target = "\(Self.base)/\(id.hex)?after=\(after)&wait=\(wait)"
        if let known { target += "&heard=\(known.heard.nanoseconds)" }
        let body = try connection.request("GET", target, seconds: wait + 30)
        let fields = try JSONFields(parsing: body, document: Self.document, atMost: 2 * RestoreOrder.maximumLength)
        return (
            try RestoreOrder(fields.object("order")),
            try fields.array("lines", atMost: 10_000).map { try RestoreOrderLine($0, document: Self.document) }
        )
    }

    /// Agrees to the plan that an order has here. Throws `forbidden` when it is another one by now.
    package func confirm(_ order: RestoreOrder) throws -> RestoreOrder {
        try RestoreOrder.decode(
            try connection.request("POST", "\(Self.base)/\(order.id.hex)/confirm?plan=\(order.planNumber)"))
    }

    /// Wants an order to end.
    package func stop(_ id: RestoreOrderID) throws -> RestoreOrder {
        try RestoreOrder.decode(try connection.request("POST", "\(Self.base)/\(id.hex)/stop"))
    }
}

/// Orders as the machine sees them that is to carry them out.
package struct MachineRestores: Sendable {
    private let connection: ServerConnection
    private let machine: MachineID

    package init(_ connection: ServerConnection, machine: MachineID) {
        self.connection = connection
        self.machine = machine
    }

    /// Says how an order stands. Throws `forbidden` or `notFound` when it is none that goes on.
    package func report(_ report: RestoreOrderReport, of order: RestoreOrderID) throws -> RestoreOrderAnswer {
        try RestoreOrderAnswer(
            decoding: try connection.request(
                "POST", "/api/v1/machines/\(machine.hex)/restores/\(order.hex)", body: report.encoded(), seconds: 30))
    }
}
