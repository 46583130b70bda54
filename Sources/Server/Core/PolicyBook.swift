package import Catalog
package import Client
package import Model
package import Policy

/// The server's policies, and which of them are whose. Used by the server itself and by commands on its machine.
package final class PolicyBook: PolicyAdministration {
    let catalog: any ServerCatalog
    let zones: ZoneSource
    private let clock: @Sendable () -> Timestamp
    /// Who changes things, for people.
    private let author: String

    package init(
        _ catalog: any ServerCatalog, zones: ZoneSource, author: String, clock: @escaping @Sendable () -> Timestamp
    ) {
        self.catalog = catalog
        self.zones = zones
        self.author = author
        self.clock = clock
    }

    // MARK: Policies

    private static func revision(_ stored: StoredPolicy) -> PolicyRevision {
        PolicyRevision(name: stored.name, revision: stored.revision, author: stored.author, time: stored.time)
    }

    package func policies() throws -> [PolicyListing] {
        let groups = try catalog.groupPolicies()
        let machines = try catalog.placements()
        return try catalog.policies().map { policy in
            PolicyListing(
                newest: Self.revision(policy), groups: groups.filter { $0.value == policy.name }.keys.sorted(),
                machines: machines.filter { $0.value.policy == policy.name }.keys.sorted())
        }
    }

    package func policy(_ name: String, revision: Int64?) throws -> PolicyText {
        guard let stored = try catalog.policy(name, revision: revision) else {
            throw HoldfastError(
                .notFound,
                revision.map { "The server has no revision \($0) of a policy \"\(TreePath.display(name.utf8))\"." }
                    ?? "The server has no policy \"\(TreePath.display(name.utf8))\".",
                context: ["hint": "`holdfast policy list` names those it has."])
        }
        return PolicyText(revision: Self.revision(stored), text: stored.text)
    }

    package func revisions(of name: String) throws -> [PolicyRevision] {
        let found = try catalog.revisions(of: name)
        if found.isEmpty { _ = try policy(name, revision: nil) }
        return found.map(Self.revision)
    }

    package func put(_ text: String, file: String) throws -> PolicyRevision {
        let policy = try PolicyFile(zones: zones).parse(Array(text.utf8), file: file)
        return Self.revision(try catalog.put(policy.name, text, author: author, at: clock()))
    }

    package func remove(_ name: String) throws { try catalog.removePolicy(name, author: author, at: clock()) }

    // MARK: Who they are for

    /// A name of a group as commands and files may carry it.
    static func checkGroup(_ name: String) throws {
        let isPlain = name.unicodeScalars.allSatisfy {
            $0.properties.isAlphabetic || $0.properties.numericType != nil || "._-".unicodeScalars.contains($0)
        }
        guard isPlain, (1...64).contains(name.unicodeScalars.count) else {
            throw HoldfastError(
                .usage,
                "\"\(TreePath.display(name.utf8))\" cannot be the name of a group: it takes up to 64 letters, digits, "
                    + "\".\", \"_\" and \"-\".")
        }
    }

    package func assign(_ policy: String?, toGroup group: String) throws {
        try Self.checkGroup(group)
        try catalog.assign(policy, toGroup: group, author: author, at: clock())
    }

    package func machines() throws -> [PolicySubject] {
        let placements = try catalog.placements()
        return try catalog.machines().map { machine in
            let place = placements[machine.id] ?? MachinePlacement(groups: [machine.group])
            return PolicySubject(
                machine: machine.id, name: machine.name, machineClass: place.machineClass, groups: place.groups,
                policy: place.policy, zone: place.zone)
        }
    }

    package func place(_ machine: MachineID, _ change: PlacementChange) throws {
        if let name = change.machineClass, !name.isEmpty, MachineClass(rawValue: name) == nil {
            throw HoldfastError(
                .usage,
                "There is no class \"\(TreePath.display(name.utf8))\". The classes are "
                    + MachineClass.allCases.map(\.rawValue).joined(separator: ", ") + ".")
        }
        if let groups = change.groups {
            guard (1...PolicyDocument.maximumGroups).contains(groups.count), Set(groups).count == groups.count else {
                throw HoldfastError(
                    .usage, "A machine is in 1 to \(PolicyDocument.maximumGroups) groups, each once.")
            }
            for group in groups { try Self.checkGroup(group) }
        }
        try catalog.place(machine, author: author, at: clock()) { place in
            if let name = change.machineClass { place.machineClass = name.isEmpty ? nil : name }
            if let groups = change.groups { place.groups = groups }
            if let name = change.policy { place.policy = name.isEmpty ? nil : name }
        }
    }

    package func document(of machine: MachineID) throws -> PolicyDocument {
        let place = try catalog.placement(of: machine)
        let assigned = try catalog.groupPolicies()
        func layer(_ name: String) throws -> PolicyDocument.Layer? {
            try catalog.policy(name, revision: nil).map { PolicyDocument.Layer(name: $0.name, text: $0.text) }
        }
        return PolicyDocument(
            machine: machine, machineClass: place.machineClass,
            groups: try place.groups.compactMap { try assigned[$0].flatMap(layer) },
            own: try place.policy.flatMap(layer))
    }

    /// What holds for a machine. Throws when one of its policies cannot be read by this version: nobody guesses then.
    package func effective(of machine: MachineID) throws -> EffectivePolicy {
        try document(of: machine).policySet(zones).effective
    }

    // MARK: Commands and changes

    package func backUpNow(_ machine: MachineID) throws {
        _ = try catalog.placement(of: machine)
        _ = try catalog.add(
            MachineCommand(
                id: .random(), machine: machine, kind: MachineOrders.backUpNow, owner: author, created: clock()))
    }

    package func changes() throws -> [PolicyChangeLine] {
        try catalog.policyChanges(newest: 1_000).map {
            PolicyChangeLine(time: $0.time, author: $0.author, text: $0.text)
        }
    }
}
