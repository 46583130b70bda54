package import Model
package import Vault

/// What a server keeps beside its vault: machines, tokens and settings. Rows are small and few; every method is one
/// transaction, durable on return.
package protocol ServerCatalog: AnyObject, Sendable {
    // MARK: Machines

    /// Adds a machine. Throws `exists` when there is one with this id.
    func add(_ machine: ManagedMachine) throws
    /// Replaces what is known of a machine. Throws `notFound`.
    func update(_ machine: ManagedMachine) throws
    func machine(_ id: MachineID) throws -> ManagedMachine?
    /// All of them, by name.
    func machines() throws -> [ManagedMachine]
    /// Notes that a machine has been heard of. One that is unknown is passed over.
    func seen(_ id: MachineID, at time: Timestamp) throws

    // MARK: Tokens

    func add(_ token: AccessToken) throws
    /// The token with this hash, whether it still holds or not.
    func token(hash: Bytes32) throws -> AccessToken?
    /// All of them, oldest first.
    func tokens() throws -> [AccessToken]
    /// Takes one use of a token. `false` when none is left or its time is over: of two that come at once for the last use
    /// one gets it.
    func use(tokenHash: Bytes32, at time: Timestamp) throws -> Bool
    /// Gives back a use that led to nothing.
    func giveBack(tokenHash: Bytes32) throws
    /// Removes a token. `false` when there is none.
    func remove(tokenHash: Bytes32) throws -> Bool

    // MARK: Settings

    func setting(_ name: String) throws -> [UInt8]?
    func set(_ name: String, _ value: [UInt8]) throws
}

/// A machine as its server knows it.
package struct ManagedMachine: Hashable, Sendable {
    package enum State: UInt8, Sendable, CaseIterable {
        /// Known, and may back up and restore.
        case active = 0
        /// Its id is another machine's already: waits until a person decides whether it goes on with that history.
        case waiting = 1
        /// Gone for good; what the rules keep of it stays.
        case retired = 2
    }

    package let id: MachineID
    package var name: String
    /// Names that it had before, newest first.
    package var formerNames: [String]
    package var group: String
    package var state: State
    /// Its requests are signed with this.
    package var key: VerifyingKey
    /// During a change of keys: the one before, until the new one has been used.
    package var previousKey: VerifyingKey?
    /// A key that waits for approval, with the record key that came with it; see `State.waiting`.
    package var waitingKey: VerifyingKey?
    package var waitingSigning: VerifyingKey?
    package var enrolled: Timestamp
    package var lastSeen: Timestamp

    package init(
        id: MachineID, name: String, formerNames: [String] = [], group: String, state: State = .active,
        key: VerifyingKey, previousKey: VerifyingKey? = nil, waitingKey: VerifyingKey? = nil,
        waitingSigning: VerifyingKey? = nil, enrolled: Timestamp, lastSeen: Timestamp
    ) {
        self.id = id
        self.name = name
        self.formerNames = formerNames
        self.group = group
        self.state = state
        self.key = key
        self.previousKey = previousKey
        self.waitingKey = waitingKey
        self.waitingSigning = waitingSigning
        self.enrolled = enrolled
        self.lastSeen = lastSeen
    }
}

/// What somebody holds who is let in without a machine's key. Only its hash is kept.
package struct AccessToken: Hashable, Sendable {
    package enum Role: UInt8, Sendable, CaseIterable {
        /// Lets machines enrol.
        case enrolment = 0
        /// Everything.
        case administrator = 1
        /// Reads and restores, changes nothing in the vault.
        case reader = 2
        /// Reads status and lists; no contents.
        case viewer = 3
    }

    /// SHA-256 of the token.
    package let hash: Bytes32
    package var role: Role
    /// For people.
    package var name: String
    /// Enrolment: the group of the machines.
    package var group: String
    /// Uses that are left; `nil` without end.
    package var uses: Int?
    /// `nil` without end.
    package var expires: Timestamp?
    package var created: Timestamp

    package init(
        hash: Bytes32, role: Role, name: String, group: String, uses: Int?, expires: Timestamp?, created: Timestamp
    ) {
        self.hash = hash
        self.role = role
        self.name = name
        self.group = group
        self.uses = uses
        self.expires = expires
        self.created = created
    }
}
