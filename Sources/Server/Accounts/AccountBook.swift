package import Catalog
package import Client
import Crypto
package import Model
import Platform
import Synchronization
import Vault

/// Accounts at work: signing in, sessions, links, second factors.
package final class AccountBook: Sendable {
    /// A session that is not used for so long is over, in nanoseconds.
    package static let idleTime: Int64 = 60 * 60 * 1_000_000_000
    /// And however it is used after this.
    package static let longestTime: Int64 = 12 * 60 * 60 * 1_000_000_000
    /// A link that sets a password holds so long.
    package static let linkTime: Int64 = 24 * 60 * 60 * 1_000_000_000
    private static let backupCodeCount = 10

    package let catalog: any AccountCatalog
    package let audit: AuditLog
    private let provider: any IdentityProvider
    private let clock: @Sendable () -> Timestamp
    /// Bounds how often a password or a code for one account may be wrong; the address is bounded by who serves.
    private let guesses: GuessLimiter
    /// At most so many passwords are hashed at once: each takes 32 MiB and a core.
    private let hashing = Mutex<Void>(())
    /// Those who wait for that, each on a thread; more are told to come back, so that nobody's signing in stops everything else.
    private let waiting = Mutex(0)
    static let mostWaiting = 8
    /// When the uses of tokens were written down last, by a clock that only goes forward.
    private let tokenUses = Mutex<[Bytes32: Timestamp]>([:])

    package init(
        _ catalog: any AccountCatalog, provider: (any IdentityProvider)? = nil,
        clock: @escaping @Sendable () -> Timestamp
    ) {
        self.catalog = catalog
        self.provider = provider ?? LocalAccounts(catalog)
        self.clock = clock
        audit = AuditLog(catalog, clock: clock)
        guesses = GuessLimiter()
    }

    var time: Timestamp { clock() }

    /// Whether the use of a token is to be written down now: not again within a minute.
    func noteUse(_ token: Bytes32, _ now: Timestamp) -> Bool {
        tokenUses.withLock { uses in
            if let last = uses[token], now.since(last) < 60_000_000_000, now >= last { return false }
            if uses.count > 10_000 { uses = [:] }
            uses[token] = now
            return true
        }
    }

    // MARK: Signing in

    package enum SignIn: Sendable {
        /// Signed in: the secret for the cookie.
        case done(SecretToken, Account)
        /// The password is right, and a code is needed too.
        case codeNeeded
    }

    private static let wrong = HoldfastError(.denied, "Name, password or code is wrong.")

    /// Signs somebody in. Throws `denied` for a wrong name, password or code, in the same words; `overloaded` for too many
    /// attempts.
    package func signIn(
        name: String, password: String, code: String?, address: String, browser: String
    ) throws -> SignIn {
        let name = name.lowercased().trimmed
        guard name.utf8.count <= 100 else { throw Self.wrong }
        if let seconds = guesses.enter(name, from: address) { throw Self.tooMany(seconds) }
        var isWrong = false
        defer { if !isWrong { guesses.giveBack(name, from: address) } }
        let found = try hashed { try provider.check(name: name, password: password) }
        isWrong = found == nil
        guard let account = found else { throw try failed(name, address) }
        if let secret = account.secondFactor {
            guard let code, !code.trimmed.isEmpty else { return .codeNeeded }
            isWrong = try !take(code, secret, account)
            if isWrong { throw try failed(name, address) }
        }
        let token = SecretToken.random()
        let now = clock()
        try catalog.forgetSessions(
            begunBefore: now.advanced(by: -Self.longestTime), usedBefore: now.advanced(by: -Self.idleTime))
        try catalog.add(
            AccountSession(
                hash: token.hash, account: account.id, begun: now, used: now, address: address,
                browser: String(browser.prefix(200))))
        let signedIn = try catalog.changeAccount(account.id) { $0.lastSignIn = now }
        try audit.note("session.begun", by: account.name, from: address)
        return .done(token, signedIn)
    }

    private func failed(_ name: String, _ address: String) throws -> HoldfastError {
        // A name that nobody has may be a password typed into the wrong field.
        let known = try catalog.account(named: name) != nil
        try audit.note("session.refused", by: known ? name : "(unknown)", from: address, succeeded: false)
        return Self.wrong
    }

    /// Takes a code of the app or one of the backup codes, once.
    private func take(_ code: String, _ secret: [UInt8], _ account: Account) throws -> Bool {
        let now = clock()
        var isTaken = false
        try catalog.changeAccount(account.id) { current in
            if let step = OneTimePassword.accept(code, secret, at: now, after: current.lastStep) {
                current.lastStep = step
                isTaken = true
                return
            }
            let hash = Self.hash(ofCode: code)
            guard let index = current.backupCodes.firstIndex(of: hash) else { return }
            current.backupCodes.remove(at: index)
            isTaken = true
        }
        return isTaken
    }

    private static func hash(ofCode code: String) -> Bytes32 {
        let text = code.lowercased().filter { $0.isLetter || $0.isNumber }
        return Array(text.utf8).withUnsafeBytes { BlobCrypto.sha256($0) }
    }

    // MARK: Sessions

    /// Somebody who is signed in.
    package struct Visitor: Hashable, Sendable {
        package let account: Account
        package let session: Bytes32

        package init(account: Account, session: Bytes32) {
            self.account = account
            self.session = session
        }

        /// What forms of this session carry, so that no other site can send them.
        package var formToken: String {
            let text = Array("holdfast form".utf8) + session.array
            return Hex.encode(text.withUnsafeBytes { BlobCrypto.sha256($0) }.array)
        }

        /// With their rights and machines.
        package var person: Person { Person(account) }

        package func may(_ right: AccountRight) -> Bool { person.may(right) }
    }

    /// Who a cookie belongs to; `nil` when its time is over or it was never given.
    ///
    /// - Parameter isThere: somebody does something; a page that asks for itself anew keeps no session from ending.
    package func visitor(_ text: String, isThere: Bool = true) throws -> Visitor? {
        guard let hash = SecretToken.hash(text), let session = try catalog.session(hash: hash) else { return nil }
        let now = clock()
        guard now.since(session.begun) < Self.longestTime, now.since(session.used) < Self.idleTime,
            let account = try catalog.account(session.account), !account.isDisabled
        else {
            try catalog.removeSession(hash: hash)
            return nil
        }
        if isThere, now.since(session.used) > 60_000_000_000 { try catalog.touch(session: hash, at: now) }
        return Visitor(account: account, session: hash)
    }

    /// Whether a session still holds; looking at it does not make it last longer.
    package func isOpen(_ visitor: Visitor) -> Bool {
        guard let session = try? catalog.session(hash: visitor.session),
            let account = try? catalog.account(visitor.account.id), !account.isDisabled
        else { return false }
        let now = clock()
        return account.role == visitor.account.role && account.groups == visitor.account.groups
            && now.since(session.begun) < Self.longestTime && now.since(session.used) < Self.idleTime
    }

    package func signOut(_ visitor: Visitor, address: String) throws {
        try catalog.removeSession(hash: visitor.session)
        try audit.note("session.ended", by: visitor.account.name, from: address)
    }

    // MARK: Accounts and links

    /// Makes an account, and a link's secret with which its owner sets a password.
    package func create(
        name: String, role: Account.Role, groups: [String] = [], places: [Account.Place] = [], by who: String,
        from address: String
    ) throws -> (Account, SecretToken) {
        let name = name.lowercased().trimmed
        guard Self.isName(name) else {
            throw HoldfastError(
                .usage, "The name of an account has 1 to 64 letters, digits, dots, dashes, underscores or @.")
        }
        let token = SecretToken.random()
        let now = clock()
        var account = Account(id: .random(), name: name, role: role, created: now)
        account.groups = groups
        account.places = places
        account.link = token.hash
        account.linkEnds = now.advanced(by: Self.linkTime)
        try catalog.add(account)
        try audit.note("account.created", by: who, from: address, to: name, ["role": .string(role.word)])
        return (account, token)
    }

    static func isName(_ name: String) -> Bool {
        (1...64).contains(name.utf8.count)
            && name.unicodeScalars.allSatisfy { "abcdefghijklmnopqrstuvwxyz0123456789.-_@".unicodeScalars.contains($0) }
    }

    /// A new link for an account; the one before does not hold any more.
    package func newLink(_ id: AccountID, by who: String, from address: String) throws -> (Account, SecretToken) {
        let token = SecretToken.random()
        let now = clock()
        let account = try catalog.changeAccount(id) { account in
            account.link = token.hash
            account.linkEnds = now.advanced(by: Self.linkTime)
        }
        try audit.note("account.link", by: who, from: address, to: account.name)
        return (account, token)
    }

    /// The account that a link is for; `nil` when it has been used or its time is over.
    package func account(link text: String) throws -> Account? {
        guard let hash = SecretToken.hash(text) else { return nil }
        let now = clock()
        return try catalog.accounts().first { account in
            account.link == hash && !account.isDisabled && account.linkEnds.map { now < $0 } == true
        }
    }

    /// Sets the password by a link, which is then used up; all sessions and tokens of the account end.
    package func setPassword(link text: String, _ password: String, address: String) throws -> Account {
        guard let hash = SecretToken.hash(text), let account = try account(link: text) else {
            throw HoldfastError(
                .denied, "This link has been used, or its time is over.",
                context: ["hint": "Ask an administrator for a new one: holdfast account link NAME."])
        }
        let kept = try hashed { try PasswordHash.make(password) }
        let changed = try catalog.changeAccount(account.id) { current in
            // Of two that use it at once, one does.
            guard current.link == hash else { throw Self.wrong }
            current.password = kept
            current.link = nil
            current.linkEnds = nil
            // Whoever had the account before has nothing left of it.
            current.tokens = []
        }
        try catalog.removeSessions(of: account.id, except: nil)
        try audit.note("account.password", by: account.name, from: address, to: account.name)
        return changed
    }

    /// Changes somebody's own password; their other sessions end.
    package func changePassword(_ visitor: Visitor, from old: String, to new: String, address: String) throws {
        try changePassword(
            of: visitor.account, from: old, to: new, except: visitor.session, who: visitor.account.name,
            address: address)
    }

    /// - Parameter session: goes on; all others end.
    func changePassword(
        of account: Account, from old: String, to new: String, except session: Bytes32?, who: String, address: String
    ) throws {
        try confirm(account, old, address: address)
        let kept = try hashed { try PasswordHash.make(new) }
        try catalog.changeAccount(account.id) { $0.password = kept }
        try catalog.removeSessions(of: account.id, except: session)
        try audit.note("account.password", by: who, from: address, to: account.name)
    }

    /// Throws `denied` unless this is the account's password; who tries many waits.
    package func confirm(_ account: Account, _ password: String, address: String) throws {
        if let seconds = guesses.enter(account.name, from: address) { throw Self.tooMany(seconds) }
        var isWrong = false
        defer { if !isWrong { guesses.giveBack(account.name, from: address) } }
        isWrong = try hashed { try !PasswordHash.matches(password, account.password) }
        if isWrong {
            try audit.note("account.password", by: account.name, from: address, to: account.name, succeeded: false)
            throw HoldfastError(.denied, "The password that you have now is another one.")
        }
    }

    private func hashed<Result>(_ body: () throws -> Result) throws -> Result {
        let isIn = waiting.withLock { waiting in
            if waiting < Self.mostWaiting { waiting += 1 } else { return false }
            return true
        }
        guard isIn else {
            throw HoldfastError(
                .overloaded, "Too many people sign in at this moment. Try again in some seconds.",
                context: ["retry_after": "3"], isTemporary: true)
        }
        defer { waiting.withLock { $0 -= 1 } }
        return try hashing.withLock { _ in try body() }
    }

    private static func tooMany(_ seconds: Int) -> HoldfastError {
        HoldfastError(
            .overloaded, "Too many attempts for this account. Try again in \(seconds) seconds.",
            context: ["retry_after": "\(seconds)"], isTemporary: true)
    }

    /// The secret of the link for the first owner, as long as nobody has ever set a password; `nil` afterwards. Each call makes
    /// the link of the one before useless.
    package func setUp() throws -> SecretToken? {
        let known = try catalog.accounts()
        if known.contains(where: { $0.password != nil }) { return nil }
        if let owner = known.first(where: { $0.role == .owner }) {
            return try newLink(owner.id, by: "first start", from: "").1
        }
        return try create(name: "owner", role: .owner, by: "first start", from: "").1
    }

    // MARK: Second factor

    /// Turns the second factor on once the app shows the right code. Answers codes that stand in for it, once each.
    package func enableSecondFactor(
        _ visitor: Visitor, secret: [UInt8], code: String, address: String
    ) throws -> [String] {
        try enableSecondFactor(
            of: visitor.account, secret: secret, code: code, except: visitor.session, who: visitor.account.name,
            address: address)
    }

    func enableSecondFactor(
        of owner: Account, secret: [UInt8], code: String, except session: Bytes32?, who: String, address: String
    ) throws -> [String] {
        // One that is on is turned off by an administrator, not replaced by who has found an open browser.
        guard owner.secondFactor == nil else {
            throw HoldfastError(.exists, "The second factor is on already; an administrator can turn it off.")
        }
        guard let step = OneTimePassword.accept(code, secret, at: clock(), after: 0) else {
            throw HoldfastError(.denied, "That is not the code that the app shows for this key now.")
        }
        let codes = (0..<Self.backupCodeCount).map { _ in
            let text = OneTimePassword.base32(PasswordHash.random(10)).lowercased()
            return text.prefix(8) + "-" + text.dropFirst(8)
        }.map(String.init)
        try catalog.changeAccount(owner.id) { account in
            account.secondFactor = secret
            account.lastStep = step
            account.backupCodes = codes.map { Self.hash(ofCode: $0) }
        }
        try catalog.removeSessions(of: owner.id, except: session)
        try audit.note("account.second-factor", by: who, from: address, to: owner.name)
        return codes
    }

    package func disableSecondFactor(_ id: AccountID, by who: String, from address: String) throws {
        let account = try catalog.changeAccount(id) { account in
            account.secondFactor = nil
            account.backupCodes = []
        }
        try audit.note("account.second-factor-removed", by: who, from: address, to: account.name)
    }
}

extension String {
    /// Without white space at its ends.
    var trimmed: String {
        String(drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
    }
}
