package import Model
package import Vault

/// What a server keeps beside its vault: machines, tokens and settings. Rows are small and few; every method is one
/// transaction, durable on return.
package protocol ServerCatalog: LifeCatalog, PolicyCatalog, AccountCatalog, RestoreCatalog {
    // MARK: Machines

    /// Adds a machine. Throws `exists` when there is one with this id.
    func add(_ machine: ManagedMachine) throws
    /// Replaces what is known of a machine. Throws `notFound`.
    func update(_ machine: ManagedMachine) throws
    /// Changes what is known of a machine in one step: nobody changes it between the look and the change. Nothing is written
    /// when `body` changes nothing. Throws `notFound`, and what `body` throws.
    @discardableResult
    func change(_ id: MachineID, _ body: (inout ManagedMachine) throws -> Void) throws -> ManagedMachine
    /// Forgets a machine that was never let in. `false` when there is none of this id.
    func removeWaiting(_ id: MachineID) throws -> Bool
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
    /// The same, unless the setting is not `known` any more; `nil`: unless there is one. Answers whether it was set.
    func set(_ name: String, _ value: [UInt8], replacing known: [UInt8]?) throws -> Bool
    /// The same for what need not be put into safety because of it: what the server notes of itself from time to time.
    func keep(_ name: String, _ value: [UInt8]) throws
    /// All of them.
    func settings() throws -> [String: [UInt8]]

    // MARK: Revisions

    /// Counts the changes to machines, tokens and settings, and says up to which they have been put into safety.
    func revision() throws -> (number: Int64, safe: Int64)
    /// Notes that everything up to a revision is safe.
    func markSafe(_ revision: Int64) throws

    // MARK: Jobs

    /// Adds a job that runs. `false` when one of its kind does already.
    func start(_ job: JobRecord) throws -> Bool
    func job(_ id: JobID) throws -> JobRecord?
    /// The newest, newest first.
    func jobs(newest: Int) throws -> [JobRecord]
    func setProgress(_ id: JobID, done: UInt64, total: UInt64) throws
    /// Ends a job. One that has ended already stays as it is.
    func end(_ id: JobID, _ state: JobRecord.State, result: [UInt8]?, failure: [UInt8]?, at time: Timestamp) throws
    /// Marks what runs as interrupted: the process that ran it is gone. Answers how many there were.
    func interruptJobs(at time: Timestamp) throws -> Int
    /// Adds a line to a job's log.
    func append(_ text: String, to job: JobID, at time: Timestamp) throws
    /// Lines of a job's log after line `number` (from 1 on), at most `limit`.
    func log(of job: JobID, after number: Int64, limit: Int) throws -> [JobLine]
    /// Forgets all but the newest jobs that have ended.
    func forgetJobs(keeping count: Int) throws
}

/// The id of a job.
package struct JobID: RandomIdentifier {
    package let high: UInt64, low: UInt64
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

/// Long work that a server does, from its beginning to what came of it.
package struct JobRecord: Hashable, Sendable {
    package enum State: UInt8, Sendable, CaseIterable {
        case running = 0
        case done = 1
        case failed = 2
        case cancelled = 3
        /// The server ended while it ran.
        case interrupted = 4
    }

    package let id: JobID
    package let kind: String
    package var state = State.running
    /// Who asked for it, for people.
    package let owner: String
    /// A JSON object.
    package let parameters: [UInt8]
    package let started: Timestamp
    package var ended: Timestamp?
    package var done: UInt64 = 0
    /// 0 while it is not known.
    package var total: UInt64 = 0
    /// A JSON object.
    package var result: [UInt8]?
    /// A problem document.
    package var failure: [UInt8]?

    package init(id: JobID, kind: String, owner: String, parameters: [UInt8], started: Timestamp) {
        self.id = id
        self.kind = kind
        self.owner = owner
        self.parameters = parameters
        self.started = started
    }
}

/// A line of a job's log.
package struct JobLine: Hashable, Sendable {
    package let number: Int64
    package let time: Timestamp
    package let text: String
}

/// A machine as its server knows it.
package struct ManagedMachine: Hashable, Sendable {
    package enum State: UInt8, Sendable, CaseIterable {
        /// Known, and may back up and restore.
        case active = 0
        /// Was never let in: the vault knows its id already, and a person decides whether it goes on with that history.
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
