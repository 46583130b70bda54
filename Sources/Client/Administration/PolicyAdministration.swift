package import Model

/// What an administrator does with policies: on the server's machine, or through the server.
package protocol PolicyAdministration: AnyObject, Sendable {
    /// Every policy with who has it, by name.
    func policies() throws -> [PolicyListing]
    /// A revision of a policy; the newest when none is named. Throws `notFound`.
    func policy(_ name: String, revision: Int64?) throws -> PolicyText
    /// The revisions of a policy, newest first, without their texts.
    func revisions(of name: String) throws -> [PolicyRevision]
    /// Checks a text and keeps it under the name that it says. `file` stands in the errors.
    func put(_ text: String, file: String) throws -> PolicyRevision
    /// Removes a policy that nobody has. Throws `notFound`, `forbidden`.
    func remove(_ name: String) throws
    /// Gives a group a policy, or none.
    func assign(_ policy: String?, toGroup group: String) throws
    /// Every machine with what decides about its policy, by name.
    func machines() throws -> [PolicySubject]
    /// Changes what decides about a machine's policy.
    func place(_ machine: MachineID, _ change: PlacementChange) throws
    /// The policies of a machine.
    func document(of machine: MachineID) throws -> PolicyDocument
    /// Tells a machine to store everything that has changed.
    func backUpNow(_ machine: MachineID) throws
    /// Who has changed what, newest first.
    func changes() throws -> [PolicyChangeLine]
}

/// A revision of a policy.
package struct PolicyRevision: Hashable, Sendable {
    package var name: String
    package var revision: Int64
    package var author: String
    package var time: Timestamp

    package init(name: String, revision: Int64, author: String, time: Timestamp) {
        self.name = name
        self.revision = revision
        self.author = author
        self.time = time
    }
}

/// A revision with what it says.
package struct PolicyText: Hashable, Sendable {
    package var revision: PolicyRevision
    package var text: String

    package init(revision: PolicyRevision, text: String) {
        self.revision = revision
        self.text = text
    }
}

/// A policy and who has it.
package struct PolicyListing: Hashable, Sendable {
    package var newest: PolicyRevision
    package var groups: [String]
    /// Machines whose own policy it is.
    package var machines: [MachineID]

    package init(newest: PolicyRevision, groups: [String], machines: [MachineID]) {
        self.newest = newest
        self.groups = groups
        self.machines = machines
    }
}

/// What decides about a machine's policy.
package struct PolicySubject: Hashable, Sendable {
    package var machine: MachineID
    package var name: String
    package var machineClass: String?
    /// The one that counts least first.
    package var groups: [String]
    package var policy: String?
    /// The zone of its own clock; empty while it is not known.
    package var zone: String

    package init(
        machine: MachineID, name: String, machineClass: String?, groups: [String], policy: String?, zone: String
    ) {
        self.machine = machine
        self.name = name
        self.machineClass = machineClass
        self.groups = groups
        self.policy = policy
        self.zone = zone
    }
}

/// What is to become different; what is `nil` stays.
package struct PlacementChange: Hashable, Sendable {
    /// A class; empty for none.
    package var machineClass: String?
    package var groups: [String]?
    /// A policy of its own; empty for none.
    package var policy: String?

    package init(machineClass: String? = nil, groups: [String]? = nil, policy: String? = nil) {
        self.machineClass = machineClass
        self.groups = groups
        self.policy = policy
    }
}

/// Somebody has changed something about policies.
package struct PolicyChangeLine: Hashable, Sendable {
    package var time: Timestamp
    package var author: String
    package var text: String

    package init(time: Timestamp, author: String, text: String) {
        self.time = time
        self.author = author
        self.text = text
    }
}
