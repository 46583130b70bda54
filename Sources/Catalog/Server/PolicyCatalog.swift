package import Model

/// The policies that a server keeps, who they are for, and what machines are told to do. A part of `ServerCatalog`: every
/// method is one transaction, durable on return.
package protocol PolicyCatalog: AnyObject, Sendable {
    // MARK: Policies

    /// The newest revision of every policy, by name.
    func policies() throws -> [StoredPolicy]
    /// A revision of a policy; the newest when none is named. `nil` when there is none, or when it was removed.
    func policy(_ name: String, revision: Int64?) throws -> StoredPolicy?
    /// All that is kept of a policy, newest first; also of one that was removed.
    func revisions(of name: String) throws -> [StoredPolicy]
    /// Keeps a text as the newest revision. One that is the newest already is not kept again.
    func put(_ name: String, _ text: String, author: String, at time: Timestamp) throws -> StoredPolicy
    /// Keeps a revision that was exported, with its number.
    func restore(_ policy: StoredPolicy) throws
    /// Removes a policy; its revisions stay. Throws `notFound`, and `forbidden` while a group or machine has it.
    func removePolicy(_ name: String, author: String, at time: Timestamp) throws

    // MARK: Who they are for

    /// The policies of groups, by the names of both.
    func groupPolicies() throws -> [String: String]
    /// Gives a group a policy, or takes it away. Throws `notFound` for a policy that there is not.
    func assign(_ policy: String?, toGroup group: String, author: String, at time: Timestamp) throws
    /// Where a machine stands; throws `notFound` when it has not enrolled.
    func placement(of machine: MachineID) throws -> MachinePlacement
    /// All of them.
    func placements() throws -> [MachineID: MachinePlacement]
    /// Changes where a machine stands, in one step. Throws `notFound` for the machine and for a policy that there is not.
    @discardableResult
    func place(
        _ machine: MachineID, author: String, at time: Timestamp, _ body: (inout MachinePlacement) throws -> Void
    ) throws -> MachinePlacement
    /// Notes the time zone of a machine's own clock.
    func note(zone: String, of machine: MachineID) throws

    // MARK: Commands

    /// Tells a machine to do something. One of the same kind that waits already is answered instead.
    func add(_ command: MachineCommand) throws -> MachineCommand
    /// What a machine is to do, oldest first.
    func commands(of machine: MachineID) throws -> [MachineCommand]
    /// Removes what a machine has done.
    func remove(commands: [CommandID], of machine: MachineID) throws

    // MARK: Changes

    /// Grows with every change to policies, to who they are for, and to commands.
    func policyEpoch() throws -> Int64
    /// Who has changed what of policies, newest first.
    func policyChanges(newest: Int) throws -> [PolicyChange]
    /// Puts back changes that were exported.
    func restore(_ changes: [PolicyChange]) throws
}

/// A revision of a policy.
package struct StoredPolicy: Hashable, Sendable {
    package let name: String
    /// From 1; never used again, also when the policy was removed meanwhile.
    package let revision: Int64
    package let text: String
    /// Who has put it there, for people.
    package let author: String
    package let time: Timestamp

    package init(name: String, revision: Int64, text: String, author: String, time: Timestamp) {
        self.name = name
        self.revision = revision
        self.text = text
        self.author = author
        self.time = time
    }
}

/// Which policies are a machine's.
package struct MachinePlacement: Hashable, Sendable {
    /// The name of a class that the program brings; `nil` for none.
    package var machineClass: String?
    /// The one that counts least first. The first is the one that the machine enrolled with, until somebody changes it.
    package var groups: [String]
    /// The name of its own policy.
    package var policy: String?
    /// The IANA name of its own clock's zone, as it said; empty while it is not known.
    package var zone: String

    package init(machineClass: String? = nil, groups: [String], policy: String? = nil, zone: String = "") {
        self.machineClass = machineClass
        self.groups = groups
        self.policy = policy
        self.zone = zone
    }
}

/// The id of a command.
package struct CommandID: RandomIdentifier {
    package let high: UInt64, low: UInt64
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

/// What a machine is told to do. It stays until the machine says that it has heard.
package struct MachineCommand: Hashable, Sendable {
    package let id: CommandID
    package let machine: MachineID
    package let kind: String
    /// Who wants it, for people.
    package let owner: String
    package let created: Timestamp

    package init(id: CommandID, machine: MachineID, kind: String, owner: String, created: Timestamp) {
        self.id = id
        self.machine = machine
        self.kind = kind
        self.owner = owner
        self.created = created
    }
}

/// Somebody has changed something about policies.
package struct PolicyChange: Hashable, Sendable {
    package let time: Timestamp
    package let author: String
    /// A sentence without a full stop: `put policy laptops, revision 3`.
    package let text: String

    package init(time: Timestamp, author: String, text: String) {
        self.time = time
        self.author = author
        self.text = text
    }
}
