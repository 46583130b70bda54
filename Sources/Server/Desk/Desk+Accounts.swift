package import Catalog
package import Client
package import Model
import Vault

/// Accounts, for those who look after them and for those whose they are.
extension Desk {
    // MARK: Of others

    /// Nobody gives or takes what they do not have themselves: an administrator changes no owner, and a token that may look after
    /// accounts makes nobody who may more than it.
    package func mayChange(_ role: Account.Role) -> Bool {
        // What is a person's own is given by those who have nothing of their own, and could see it: whoever gives places, or sets a
        // person's password, reads what that person reads.
        var needed = role.rights
        if needed.remove(.seeOwn) != nil { needed.insert(.seeContents) }
        return person.may(.manageAccounts) && needed.isSubset(of: person.rights)
    }

    package func accounts() throws -> [Account] {
        try require(.manageAccounts)
        return try core.catalog.accounts()
    }

    /// An account that who asks may change.
    package func account(_ hex: String?) throws -> Account {
        try require(.manageAccounts)
        guard let id = hex.flatMap({ AccountID(hex: $0) }), let account = try core.catalog.account(id) else {
            throw HoldfastError(.notFound, "There is no such account.")
        }
        guard mayChange(account.role) else {
            throw HoldfastError(.denied, "This account may more than you do; only somebody who may as much changes it.")
        }
        return account
    }

    /// Makes an account, with the secret of the link that sets its password.
    package func createAccount(
        name: String, role: Account.Role, groups: [String]
    ) throws -> (account: Account, secret: SecretToken) {
        try require(role: role)
        return try core.accounts.create(name: name, role: role, groups: groups, by: person.name, from: address)
    }

    private func require(role: Account.Role) throws {
        try require(.manageAccounts)
        guard mayChange(role) else {
            throw HoldfastError(
                .denied, "You cannot make anybody \(role.title.lowercased()): that is more than you may.")
        }
    }

    package func newLink(for account: Account) throws -> (account: Account, secret: SecretToken) {
        try requireAnother(account)
        return try core.accounts.newLink(account.id, by: person.name, from: address)
    }

    package func resetSecondFactor(of account: Account) throws {
        try requireAnother(account)
        try core.accounts.disableSecondFactor(account.id, by: person.name, from: address)
    }

    package func setRole(of account: Account, _ role: Account.Role, groups: [String]) throws {
        try requireOther(account)
        try require(role: role)
        try core.accounts.setRole(account.id, role, groups: groups, by: person.name, from: address)
    }

    package func setDisabled(_ account: Account, _ isDisabled: Bool) throws {
        try requireOther(account)
        guard account.id != person.account else { throw Self.ownAccount }
        try core.accounts.setDisabled(account.id, isDisabled, by: person.name, from: address)
    }

    package func removeAccount(_ account: Account) throws {
        try requireOther(account)
        guard account.id != person.account else { throw Self.ownAccount }
        try core.accounts.remove(account.id, by: person.name, from: address)
    }

    /// For one's own account it takes the password: whoever finds an open browser must not make it theirs.
    private func requireAnother(_ account: Account) throws {
        try requireOther(account)
        guard account.id != person.account else {
            throw HoldfastError(
                .forbidden, "This is your own account.",
                context: [
                    "hint":
                        "Change your password under your name. Who has lost it asks another owner, or types `holdfast account link` on the server."
                ])
        }
    }

    private static let ownAccount = HoldfastError(
        .forbidden, "You cannot remove or disable the account that you are signed in with.")

    private func requireOther(_ account: Account) throws { _ = try self.account(account.id.hex) }

    /// Says what of which machines is a person's own.
    package func setPlaces(of account: Account, _ places: [Account.Place]) throws {
        try requireOther(account)
        for place in places {
            guard let machine = try core.catalog.machine(place.machine), person.covers(group: machine.group) else {
                throw Self.noMachine
            }
        }
        try core.accounts.setPlaces(account.id, places, by: person.name, from: address)
    }

    // MARK: One's own

    /// The account of who asks. Throws `denied` for an access code, which is nobody's.
    package func ownAccount() throws -> Account {
        guard let id = person.account, let account = try core.catalog.account(id) else {
            throw HoldfastError(
                .denied, "This is for accounts; an access code of `holdfast server access` has none.")
        }
        return account
    }

    /// Changes the password; all sessions end.
    package func changeOwnPassword(from old: String, to new: String) throws {
        try core.accounts.changePassword(
            of: try ownAccount(), from: old, to: new, except: nil, who: person.name, address: address)
    }

    /// Turns the second factor on, once the app shows the right code. Answers the codes that stand in for it.
    package func enableOwnSecondFactor(password: String, secret: [UInt8], code: String) throws -> [String] {
        let account = try ownAccount()
        try core.accounts.confirm(account, password, address: address)
        return try core.accounts.enableSecondFactor(
            of: account, secret: secret, code: code, except: nil, who: person.name, address: address)
    }

    /// A token that was made for less than its account may does nothing to the account's other ways in.
    private func requireWhole(_ account: Account) throws {
        guard person.token == nil || person.rights == account.role.rights else { throw ServerCore.notForYou }
    }

    package func ownSessions() throws -> [AccountSession] { try core.catalog.sessions(of: try ownAccount().id) }

    package func endOwnSessions(except session: Bytes32?) throws {
        let account = try ownAccount()
        try requireWhole(account)
        try note("session.others-ended")
        try core.catalog.removeSessions(of: account.id, except: session)
    }

    /// The tokens of the account that still hold, with their last uses.
    package func ownTokens() throws -> [(token: Account.Token, use: TokenUse?)] {
        let account = try ownAccount()
        let uses = try core.catalog.tokenUses(of: account.id)
        let now = core.time
        return account.tokens.filter { now < $0.expires }.map { ($0, uses[$0.hash]) }
    }

    package func makeOwnToken(
        name: String, rights: Set<AccountRight>, seconds: Int64
    ) throws -> (token: Account.Token, code: AccessCode) {
        let made = try core.accounts.makeToken(
            of: try ownAccount().id, name: name, rights: rights, seconds: seconds, by: person, who: person.name,
            from: address)
        return (made.token, AccessCode(token: made.secret, serverKey: core.identity.key.verifyingKey))
    }

    /// Ends a token by its identifier. Throws `notFound`.
    package func endOwnToken(_ identifier: String) throws {
        let account = try ownAccount()
        if person.token.map(AccountBook.identifier) != identifier { try requireWhole(account) }
        try core.accounts.endToken(
            of: account.id, where: { AccountBook.identifier($0) == identifier }, who: person.name,
            from: address)
    }
}
