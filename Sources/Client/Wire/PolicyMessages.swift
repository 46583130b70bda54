import Model
import Vault

/// Policies and who they are for, on the wire: JSON with sorted keys.
package enum PolicyMessages {
    private static let document = "the server's answer about policies"
    /// Longest answer or request, in bytes: one policy as a JSON text, or lists of names.
    package static let maximumLength = 8 << 20
    private static let maximumList = 100_000

    private static func fields(_ body: [UInt8]) throws -> JSONFields {
        try JSONFields(parsing: body, document: document, atMost: maximumLength)
    }

    private static func items<T>(_ body: [UInt8], _ name: String, _ decode: (JSONFields) throws -> T) throws -> [T] {
        try fields(body).array(name, atMost: maximumList).map { try decode(try JSONFields($0, document: document)) }
    }

    private static func time(_ fields: JSONFields) throws -> Timestamp {
        Timestamp(nanoseconds: try fields.integer("time", in: Int64.min...Int64.max))
    }

    private static func optional(_ fields: JSONFields, _ name: String) throws -> String? {
        fields.has(name) ? try fields.string(name) : nil
    }

    // MARK: Policies

    private static func members(_ revision: PolicyRevision) -> [String: JSONValue] {
        [
            "name": .string(revision.name), "revision": .integer(revision.revision),
            "author": .string(revision.author), "time": .integer(revision.time.nanoseconds),
        ]
    }

    private static func revision(_ fields: JSONFields) throws -> PolicyRevision {
        PolicyRevision(
            name: try fields.string("name"), revision: try fields.integer("revision", in: 1...Int64.max),
            author: try fields.string("author"), time: try time(fields))
    }

    package static func encode(_ revision: PolicyRevision) -> [UInt8] { JSONValue.object(members(revision)).encoded() }
    package static func revision(_ body: [UInt8]) throws -> PolicyRevision { try revision(try fields(body)) }

    package static func encode(_ revisions: [PolicyRevision]) -> [UInt8] {
        JSONValue.object(["revisions": .array(revisions.map { .object(members($0)) })]).encoded()
    }

    package static func revisions(_ body: [UInt8]) throws -> [PolicyRevision] { try items(body, "revisions", revision) }

    package static func encode(_ policy: PolicyText) -> [UInt8] {
        JSONValue.object(members(policy.revision).merging(["text": .string(policy.text)]) { $1 }).encoded()
    }

    package static func policy(_ body: [UInt8]) throws -> PolicyText {
        let fields = try fields(body)
        return PolicyText(revision: try revision(fields), text: try fields.string("text"))
    }

    package static func encode(_ policies: [PolicyListing]) -> [UInt8] {
        let list = policies.map { policy -> JSONValue in
            var fields = members(policy.newest)
            fields["groups"] = .array(policy.groups.map { .string($0) })
            fields["machines"] = .array(policy.machines.map { .string($0.hex) })
            return .object(fields)
        }
        return JSONValue.object(["policies": .array(list)]).encoded()
    }

    package static func policies(_ body: [UInt8]) throws -> [PolicyListing] {
        try items(body, "policies") { fields in
            PolicyListing(
                newest: try revision(fields), groups: try fields.strings("groups", atMost: maximumList),
                machines: try fields.strings("machines", atMost: maximumList).map {
                    guard let id = MachineID(hex: $0) else { throw fields.wrong("machines") }
                    return id
                })
        }
    }

    package static func encode(putting text: String, file: String) -> [UInt8] {
        JSONValue.object(["text": .string(text), "file": .string(file)]).encoded()
    }

    package static func putting(_ body: [UInt8]) throws -> (text: String, file: String) {
        let fields = try JSONFields(parsing: body, document: "the policy", atMost: maximumLength)
        return (try fields.string("text"), try fields.string("file"))
    }

    // MARK: Who they are for

    package static func encode(assigning policy: String?) -> [UInt8] {
        JSONValue.object(["policy": .string(policy ?? "")]).encoded()
    }

    package static func assigning(_ body: [UInt8]) throws -> String? {
        let name = try JSONFields(parsing: body, document: "the assignment").string("policy")
        return name.isEmpty ? nil : name
    }

    package static func encode(_ machines: [PolicySubject]) -> [UInt8] {
        let list = machines.map { machine -> JSONValue in
            var fields: [String: JSONValue] = [
                "machine": .string(machine.machine.hex), "name": .string(machine.name),
                "groups": .array(machine.groups.map { .string($0) }), "zone": .string(machine.zone),
            ]
            if let value = machine.machineClass { fields["class"] = .string(value) }
            if let value = machine.policy { fields["policy"] = .string(value) }
            return .object(fields)
        }
        return JSONValue.object(["machines": .array(list)]).encoded()
    }

    package static func machines(_ body: [UInt8]) throws -> [PolicySubject] {
        try items(body, "machines") { fields in
            PolicySubject(
                machine: try fields.identifier("machine"), name: try fields.string("name"),
                machineClass: try optional(fields, "class"),
                groups: try fields.strings("groups", atMost: PolicyDocument.maximumGroups),
                policy: try optional(fields, "policy"), zone: try fields.string("zone"))
        }
    }

    package static func encode(_ change: PlacementChange) -> [UInt8] {
        var fields: [String: JSONValue] = [:]
        if let value = change.machineClass { fields["class"] = .string(value) }
        if let value = change.groups { fields["groups"] = .array(value.map { .string($0) }) }
        if let value = change.policy { fields["policy"] = .string(value) }
        return JSONValue.object(fields).encoded()
    }

    package static func placement(_ body: [UInt8]) throws -> PlacementChange {
        let fields = try JSONFields(parsing: body, document: "the change")
        return PlacementChange(
            machineClass: try optional(fields, "class"),
            groups: fields.has("groups")
                ? try fields.strings("groups", atMost: PolicyDocument.maximumGroups) : nil,
            policy: try optional(fields, "policy"))
    }

    // MARK: Changes

    package static func encode(_ changes: [PolicyChangeLine]) -> [UInt8] {
        let list = changes.map { change -> JSONValue in
            .object([
                "time": .integer(change.time.nanoseconds), "author": .string(change.author),
                "text": .string(change.text),
            ])
        }
        return JSONValue.object(["changes": .array(list)]).encoded()
    }

    package static func changes(_ body: [UInt8]) throws -> [PolicyChangeLine] {
        try items(body, "changes") { fields in
            PolicyChangeLine(
                time: try time(fields), author: try fields.string("author"), text: try fields.string("text"))
        }
    }
}
