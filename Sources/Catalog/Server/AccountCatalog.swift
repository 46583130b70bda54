package import Model
import Vault

/// What a server keeps of the people that use it: accounts, sessions, links that set a password, and the audit log. Part of
/// `ServerCatalog`; every method is one transaction, durable on return.
package protocol AccountCatalog: AnyObject, Sendable {
    // MARK: Accounts

    /// Adds an account. Throws `exists` when the name is taken.
    func add(_ account: Account) throws
    /// Changes an account in one step. Throws `notFound`, and what `body` throws; nothing is written then.
    @discardableResult
    func changeAccount(_ id: AccountID, _ body: (inout Account) throws -> Void) throws -> Account
    /// The same, with all other accounts as they are at that moment.
    @discardableResult
    func changeAccount(_ id: AccountID, among body: (inout Account, [Account]) throws -> Void) throws -> Account
    /// Removes an account with its sessions, unless `check` throws: it gets the account and all others as they are at that moment.
    /// Throws `notFound`.
    func removeAccount(_ id: AccountID, among check: (Account, [Account]) throws -> Void) throws
    func account(_ id: AccountID) throws -> Account?
    /// By its name, in whatever case it is written.
    func account(named name: String) throws -> Account?
    /// All of them, by name.
    func accounts() throws -> [Account]

    // MARK: Sessions

    func add(_ session: AccountSession) throws
    /// The session with this hash, whether its time is over or not.
    func session(hash: Bytes32) throws -> AccountSession?
    /// Notes that a session was used.
    func touch(session hash: Bytes32, at time: Timestamp) throws
    func removeSession(hash: Bytes32) throws
    /// Ends the sessions of an account, but for one.
    func removeSessions(of account: AccountID, except hash: Bytes32?) throws
    func sessions(of account: AccountID) throws -> [AccountSession]
    /// Forgets sessions that were begun or last used before then.
    func forgetSessions(begunBefore begun: Timestamp, usedBefore used: Timestamp) throws

    // MARK: Tokens

    /// The account that has the token with this hash, whether either still holds or not.
    func account(token hash: Bytes32) throws -> Account?
    /// Notes that a token was used.
    func touch(token hash: Bytes32, at time: Timestamp, from address: String) throws
    /// When and from where the tokens of an account were used last, by their hashes; those that never were are missing.
    func tokenUses(of account: AccountID) throws -> [Bytes32: TokenUse]

    // MARK: Audit

    /// Adds a line to the audit log; `seal` is given its number and the hash of the line before, and answers the line's own.
    func append(_ line: AuditLine, seal: (_ number: Int64, _ previous: Bytes32) -> Bytes32) throws
    /// Lines before number `before`, newest first, at most `limit`.
    func auditLines(before: Int64, limit: Int) throws -> [AuditLine]
    /// Lines from number `first` on, oldest first, at most `limit`.
    func auditLines(from first: Int64, limit: Int) throws -> [AuditLine]
}

/// The id of an account.
package struct AccountID: RandomIdentifier {
    package let high: UInt64, low: UInt64
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

/// Somebody who signs in.
package struct Account: Hashable, Sendable {
    /// What an account is for. Each role's rights are listed in `AccountRight`.
    package enum Role: UInt8, Sendable, CaseIterable {
        /// Everything, accounts of owners and the vault's keys included.
        case owner = 0
        /// Everything but what only an owner may.
        case administrator = 1
        /// Backs up, restores and looks after the machines of some groups.
        case `operator` = 2
        /// Restores for others without seeing contents.
        case helpDesk = 3
        /// Sees states, settings and the audit log; no contents, and changes nothing.
        case auditor = 4
        /// A person with machines or paths of their own.
        case person = 5
    }

    /// A part of a machine that is a person's own.
    package struct Place: Hashable, Sendable {
        package var machine: MachineID
        /// What they may look at; what they could read at that time they may have.
        package var path: TreePath
        /// Who they are on that machine: a number, a name, or both, which must then belong together.
        package var uid: UInt32?
        package var user: String?

        package init(machine: MachineID, path: TreePath, uid: UInt32?, user: String? = nil) {
            self.machine = machine
            self.path = path
            self.uid = uid
            self.user = user
        }
    }

    /// What stands in for a password and a second factor in programs. Of its secret only the hash is kept.
    package struct Token: Hashable, Sendable {
        package let hash: Bytes32
        /// For people: what it is for.
        package var name: String
        /// Words of the rights that it has, as far as its account has them.
        package var rights: [String]
        package let created: Timestamp
        package let expires: Timestamp

        package init(hash: Bytes32, name: String, rights: [String], created: Timestamp, expires: Timestamp) {
            self.hash = hash
            self.name = name
            self.rights = rights
            self.created = created
            self.expires = expires
        }
    }

    package let id: AccountID
    /// What is typed to sign in; lower case.
    package var name: String
    package var role: Role
    /// Operators and help desks: the groups of machines that they see; empty for all.
    package var groups: [String] = []
    /// Persons: what is theirs.
    package var places: [Place] = []
    package var tokens: [Token] = []
    /// As `PasswordHash` writes it; `nil` until a link has been used.
    package var password: String?
    /// The secret of the second factor, and the last step of it that was used.
    package var secondFactor: [UInt8]?
    package var lastStep: Int64 = 0
    /// SHA-256 of the codes that stand in for the second factor once each.
    package var backupCodes: [Bytes32] = []
    /// SHA-256 of the secret in a link that sets the password, and its end.
    package var link: Bytes32?
    package var linkEnds: Timestamp?
    package var isDisabled = false
    package let created: Timestamp
    package var lastSignIn: Timestamp?

    package init(id: AccountID, name: String, role: Role, created: Timestamp) {
        self.id = id
        self.name = name
        self.role = role
        self.created = created
    }
}

/// A browser in which somebody has signed in. Of its secret only the hash is kept.
package struct AccountSession: Hashable, Sendable {
    package let hash: Bytes32
    package let account: AccountID
    package let begun: Timestamp
    package var used: Timestamp
    /// Where it was begun, for people.
    package let address: String
    package let browser: String

    package init(
        hash: Bytes32, account: AccountID, begun: Timestamp, used: Timestamp, address: String, browser: String
    ) {
        self.hash = hash
        self.account = account
        self.begun = begun
        self.used = used
        self.address = address
        self.browser = browser
    }
}

/// The last use of a token.
package struct TokenUse: Hashable, Sendable {
    package let time: Timestamp
    package let address: String
}

/// Who did what when from where.
package struct AuditLine: Hashable, Sendable {
    /// From 1; given when it is added.
    package var number: Int64 = 0
    package var time: Timestamp
    package var who: String
    package var address: String
    /// What was done, as a word: `restore.begun`.
    package var action: String
    /// To what.
    package var object: String
    /// Whether it was allowed and went well.
    package var succeeded: Bool
    /// Further fields, a JSON object.
    package var detail: [UInt8]
    package var previous = Bytes32.zero
    package var hash = Bytes32.zero

    package init(
        time: Timestamp, who: String, address: String, action: String, object: String, succeeded: Bool = true,
        detail: [UInt8] = Array("{}".utf8)
    ) {
        self.time = time
        self.who = who
        self.address = address
        self.action = action
        self.object = object
        self.succeeded = succeeded
        self.detail = detail
    }
}
