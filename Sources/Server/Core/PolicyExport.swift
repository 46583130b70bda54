import Catalog
import Model
import Vault

/// Policies and who they are for, as a part of the server's own state: see `ServerExport`.
package struct PolicyExport: Sendable {
    private static let author = "restored"

    var policies: [StoredPolicy] = []
    var groups: [String: String] = [:]
    var placements: [MachineID: MachinePlacement] = [:]
    /// Newest first.
    var changes: [PolicyChange] = []

    package init() {}

    /// Everything that the catalog has; of each policy the newest revision.
    init(_ catalog: any ServerCatalog) throws {
        policies = try catalog.policies()
        groups = try catalog.groupPolicies()
        placements = try catalog.placements()
        changes = try catalog.policyChanges(newest: 10_000)
    }

    // MARK: Coding

    var encoded: JSONValue {
        .object([
            "policies": .array(
                policies.map {
                    .object([
                        "name": .string($0.name), "revision": .integer($0.revision), "text": .string($0.text),
                        "author": .string($0.author), "time": .integer($0.time.nanoseconds),
                    ])
                }),
            "groups": .object(groups.mapValues { .string($0) }),
            "placements": .array(
                placements.sorted { $0.key < $1.key }.map { machine, place in
                    .object([
                        "machine": .string(machine.hex), "class": .string(place.machineClass ?? ""),
                        "groups": .array(place.groups.map { .string($0) }), "policy": .string(place.policy ?? ""),
                        "zone": .string(place.zone),
                    ])
                }),
            "changes": .array(
                changes.map {
                    .object([
                        "time": .integer($0.time.nanoseconds), "author": .string($0.author), "text": .string($0.text),
                    ])
                }),
        ])
    }

    init(_ fields: JSONFields) throws {
        func items(_ name: String) throws -> [JSONFields] {
            try fields.array(name, atMost: 1_000_000).map { try JSONFields($0, document: fields.document) }
        }
        func time(_ fields: JSONFields) throws -> Timestamp {
            Timestamp(nanoseconds: try fields.integer("time", in: Int64.min...Int64.max))
        }
        func text(_ fields: JSONFields, _ name: String) throws -> String? {
            let text = try fields.string(name)
            return text.isEmpty ? nil : text
        }
        policies = try items("policies").map {
            StoredPolicy(
                name: try $0.string("name"), revision: try $0.integer("revision", in: 1...Int64.max),
                text: try $0.string("text"), author: try $0.string("author"), time: try time($0))
        }
        let names = try fields.object("groups")
        groups = Dictionary(uniqueKeysWithValues: try names.members.keys.map { ($0, try names.string($0)) })
        for item in try items("placements") {
            placements[try item.identifier("machine")] = MachinePlacement(
                machineClass: try text(item, "class"), groups: try item.strings("groups", atMost: 1_024),
                policy: try text(item, "policy"), zone: try item.string("zone"))
        }
        changes = try items("changes").map {
            PolicyChange(time: try time($0), author: try $0.string("author"), text: try $0.string("text"))
        }
    }

    // MARK: Coming back

    /// Fills a new catalog, which has the machines already. Coming again does no harm.
    func restore(to catalog: any ServerCatalog) throws {
        try catalog.restore(changes)
        for policy in policies { try catalog.restore(policy) }
        let now = changes.first?.time ?? policies.map(\.time).max() ?? Timestamp(nanoseconds: 0)
        for (group, policy) in groups {
            try catalog.assign(policy, toGroup: group, author: Self.author, at: now)
        }
        for (machine, place) in placements {
            try catalog.note(zone: place.zone, of: machine)
            try catalog.place(machine, author: Self.author, at: now) { current in
                current.machineClass = place.machineClass
                current.groups = place.groups
                current.policy = place.policy
            }
        }
    }
}
