package import Model
package import Vault

/// An alert as people see it.
package struct AlertSummary: Hashable, Sendable {
    package var number: Int64
    package var kind: String
    package var machine: MachineID?
    package var machineName: String?
    /// `warning` or `critical`.
    package var severity: String
    package var text: String
    /// `open`, `acknowledged` or `resolved`.
    package var state: String
    package var raised: Timestamp
    package var changed: Timestamp
    /// Who acknowledged or resolved it.
    package var by: String?

    package init(
        number: Int64, kind: String, machine: MachineID?, machineName: String?, severity: String, text: String,
        state: String, raised: Timestamp, changed: Timestamp, by: String?
    ) {
        self.number = number
        self.kind = kind
        self.machine = machine
        self.machineName = machineName
        self.severity = severity
        self.text = text
        self.state = state
        self.raised = raised
        self.changed = changed
        self.by = by
    }

    package var json: JSONValue {
        var fields: [String: JSONValue] = [
            "number": .integer(number), "kind": .string(kind), "severity": .string(severity), "text": .string(text),
            "state": .string(state), "raised": .integer(raised.nanoseconds), "changed": .integer(changed.nanoseconds),
        ]
        if let machine { fields["machine"] = .string(machine.hex) }
        if let machineName { fields["machine_name"] = .string(machineName) }
        if let by { fields["by"] = .string(by) }
        return .object(fields)
    }

    init(_ value: JSONValue) throws {
        let fields = try JSONFields(value, document: "the server's alerts")
        func time(_ name: String) throws -> Timestamp {
            Timestamp(nanoseconds: try fields.integer(name, in: Int64.min...Int64.max))
        }
        number = try fields.integer("number", in: 1...Int64.max)
        kind = try fields.string("kind")
        machine = fields.has("machine") ? try fields.identifier("machine") : nil
        machineName = fields.has("machine_name") ? try fields.string("machine_name") : nil
        severity = try fields.string("severity")
        text = try fields.string("text")
        state = try fields.string("state")
        raised = try time("raised")
        changed = try time("changed")
        by = fields.has("by") ? try fields.string("by") : nil
    }
}

/// What came of a test of one way on which alerts go out.
package struct AlertTrial: Hashable, Sendable {
    /// `mail`, `webhook URL` or `heartbeat URL`.
    package var target: String
    /// Why it failed; `nil` when it worked.
    package var failure: String?

    package init(target: String, failure: String?) {
        self.target = target
        self.failure = failure
    }
}

/// What somebody says of an alert.
package enum AlertWord: String, Sendable {
    /// They have seen it.
    case acknowledge
    /// It is over. What still holds is raised anew.
    case resolve
}

/// Alerts, asked for through a server by a person.
package struct RemoteAlerts: Sendable {
    let connection: ServerConnection
    static let document = "the server's alerts"
    /// Alerts in one answer.
    package static let maximumList = 5_000

    package init(_ connection: ServerConnection) { self.connection = connection }

    /// What is open, and the newest so many of what is resolved; newest first.
    package func list(resolved: Int) throws -> [AlertSummary] {
        let body = try connection.request("GET", "/api/v1/alerts?resolved=\(resolved)")
        return try JSONFields(parsing: body, document: Self.document, atMost: 16 << 20)
            .array("alerts", atMost: Self.maximumList).map { try AlertSummary($0) }
    }

    package func say(_ word: AlertWord, of number: Int64) throws -> AlertSummary {
        try AlertSummary(
            try JSONValue(parsing: try connection.request("POST", "/api/v1/alerts/\(number)/\(word.rawValue)")))
    }

    /// Sends a message on every way on which alerts go out.
    package func test() throws -> [AlertTrial] {
        let body = try connection.request("POST", "/api/v1/alerts/test", seconds: 300)
        return try JSONFields(parsing: body, document: Self.document).array("targets", atMost: 100).map { value in
            let fields = try JSONFields(value, document: Self.document)
            return AlertTrial(
                target: try fields.string("target"),
                failure: fields.has("failure") ? try fields.string("failure") : nil)
        }
    }
}
