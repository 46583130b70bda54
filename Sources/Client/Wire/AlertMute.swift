package import Model
package import Vault

/// A rule by which nobody is told of some alerts for a while. They are raised and listed all the same; what is open when the rule ends
/// is told then.
package struct AlertMute: Hashable, Sendable {
    package static let maximum = 200
    package static let maximumReason = 200
    /// Longest time, in seconds: a rule that nobody remembers hides what somebody should know.
    package static let seconds: ClosedRange<Int64> = 60...(366 * 86_400)

    /// What stands for it in lists and addresses: 16 hexadecimal digits.
    package var id: String
    /// The kind of the alerts; `nil` for all kinds.
    package var kind: String?
    /// The machine that they are about; `nil` for those of all, or of a group.
    package var machine: MachineID?
    /// The group of machines that they are about.
    package var group: String?
    package var until: Timestamp
    package var reason: String
    package var by: String
    package var created: Timestamp

    package init(
        id: String, kind: String?, machine: MachineID?, group: String?, until: Timestamp, reason: String, by: String,
        created: Timestamp
    ) {
        self.id = id
        self.kind = kind
        self.machine = machine
        self.group = group
        self.until = until
        self.reason = reason
        self.by = by
        self.created = created
    }

    /// Whether it is about an alert.
    ///
    /// - Parameter group: that of the machine; `nil` for an alert of the server, which only a rule for everything is about.
    package func covers(kind: String, machine: MachineID?, group: String?) -> Bool {
        if let own = self.kind, own != kind { return false }
        if let own = self.machine { return own == machine }
        if let own = self.group { return own == group }
        return true
    }

    /// What it is about, for people.
    package func words(name: (MachineID) -> String?) -> String {
        let what = kind.map { "alerts “\($0)”" } ?? "all alerts"
        if let machine { return "\(what) of \(name(machine) ?? machine.hex)" }
        if let group { return "\(what) of machines of the group \(group)" }
        return what
    }

    // MARK: JSON

    package var json: JSONValue {
        var fields: [String: JSONValue] = [
            "id": .string(id), "until": .integer(until.nanoseconds), "reason": .string(reason), "by": .string(by),
            "created": .integer(created.nanoseconds),
        ]
        if let kind { fields["kind"] = .string(kind) }
        if let machine { fields["machine"] = .string(machine.hex) }
        if let group { fields["group"] = .string(group) }
        return .object(fields)
    }

    package init(_ fields: JSONFields) throws {
        func time(_ name: String) throws -> Timestamp {
            Timestamp(nanoseconds: try fields.integer(name, in: Int64.min...Int64.max))
        }
        self.init(
            id: try fields.string("id"), kind: fields.has("kind") ? try fields.string("kind") : nil,
            machine: fields.has("machine") ? try fields.identifier("machine") : nil,
            group: fields.has("group") ? try fields.string("group") : nil, until: try time("until"),
            reason: try fields.string("reason"), by: try fields.string("by"), created: try time("created"))
    }
}

/// What somebody wants not to be told.
package struct AlertMuteWish: Hashable, Sendable {
    package var kind: String?
    package var machine: MachineID?
    package var group: String?
    package var seconds: Int64
    package var reason: String

    package init(kind: String?, machine: MachineID?, group: String?, seconds: Int64, reason: String) {
        self.kind = kind
        self.machine = machine
        self.group = group
        self.seconds = seconds
        self.reason = reason
    }

    package var json: JSONValue {
        var fields: [String: JSONValue] = ["seconds": .integer(seconds), "reason": .string(reason)]
        if let kind { fields["kind"] = .string(kind) }
        if let machine { fields["machine"] = .string(machine.hex) }
        if let group { fields["group"] = .string(group) }
        return .object(fields)
    }

    package init(_ fields: JSONFields) throws {
        self.init(
            kind: fields.has("kind") ? try fields.string("kind") : nil,
            machine: fields.has("machine") ? try fields.identifier("machine") : nil,
            group: fields.has("group") ? try fields.string("group") : nil,
            seconds: try fields.integer("seconds", in: Int64.min...Int64.max),
            reason: fields.has("reason") ? try fields.string("reason") : "")
    }
}

extension RemoteAlerts {
    private static let base = "/api/v1/alert-mutes"

    /// The rules that hold.
    package func mutes() throws -> [AlertMute] {
        let body = try connection.request("GET", Self.base)
        return try JSONFields(parsing: body, document: Self.document).array("mutes", atMost: AlertMute.maximum).map {
            try AlertMute(JSONFields($0, document: Self.document))
        }
    }

    package func mute(_ wish: AlertMuteWish) throws -> AlertMute {
        let body = try connection.request("POST", Self.base, body: wish.json.encoded())
        return try AlertMute(JSONFields(parsing: body, document: Self.document))
    }

    package func unmute(_ id: String) throws {
        _ = try connection.request("DELETE", "\(Self.base)/\(id)")
    }
}
