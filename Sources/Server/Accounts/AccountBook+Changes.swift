package import Catalog
import Model
import Vault

/// Changes to accounts by those who look after them.
extension AccountBook {
    private static let lastOwner = HoldfastError(
        .forbidden, "This is the only owner who can sign in. Make another one first.")

    /// Throws when without this account no owner could sign in. One who never set a password cannot, whatever links there are: who
    /// made the account may be the only one who knows of it.
    private static func keepOwner(_ account: Account, _ others: [Account]) throws {
        guard account.role == .owner, !account.isDisabled else { return }
        let isAnother = others.contains { other in
            other.role == .owner && !other.isDisabled && (other.password != nil || other.lastSignIn != nil)
        }
        if !isAnother { throw lastOwner }
    }

    /// The account, when what is done to it may leave it no owner; asked again when it is done, because two may do this at once.
    private func checked(_ id: AccountID, staysOwner: Bool) throws -> Account {
        guard let account = try catalog.account(id) else { throw HoldfastError(.notFound, "There is no such account.") }
        if !staysOwner { try Self.keepOwner(account, catalog.accounts().filter { $0.id != id }) }
        return account
    }

    /// Writes down what is done to an account, does it, and writes down as well when that came to nothing.
    private func noted(
        _ action: String, _ account: Account, by who: String, from address: String, _ detail: [String: JSONValue] = [:],
        _ body: () throws -> Void
    ) throws {
        try audit.note(action, by: who, from: address, to: account.name, detail)
        do { try body() } catch {
            try audit.note(action, by: who, from: address, to: account.name, succeeded: false, detail)
            throw error
        }
    }

    package func remove(_ id: AccountID, by who: String, from address: String) throws {
        let account = try checked(id, staysOwner: false)
        try noted("account.removed", account, by: who, from: address) {
            try catalog.removeAccount(id, among: Self.keepOwner)
        }
    }

    /// Disables an account, which ends its sessions, its tokens and its link, or lets it sign in again.
    package func setDisabled(_ id: AccountID, _ isDisabled: Bool, by who: String, from address: String) throws {
        let account = try checked(id, staysOwner: !isDisabled)
        try noted(isDisabled ? "account.disabled" : "account.enabled", account, by: who, from: address) {
            try catalog.changeAccount(
                id,
                among: { account, others in
                    if isDisabled { try Self.keepOwner(account, others) }
                    account.isDisabled = isDisabled
                    guard isDisabled else { return }
                    account.tokens = []
                    account.link = nil
                    account.linkEnds = nil
                })
        }
        if isDisabled { try catalog.removeSessions(of: id, except: nil) }
    }

    package func setRole(
        _ id: AccountID, _ role: Account.Role, groups: [String], by who: String, from address: String
    ) throws {
        let account = try checked(id, staysOwner: role == .owner)
        try noted(
            "account.role", account, by: who, from: address,
            ["role": .string(role.word), "groups": .array(groups.map { .string($0) })]
        ) {
            try catalog.changeAccount(
                id,
                among: { account, others in
                    if role != .owner { try Self.keepOwner(account, others) }
                    account.role = role
                    account.groups = groups
                })
        }
    }

    /// Says what of which machines is a person's own.
    package func setPlaces(_ id: AccountID, _ places: [Account.Place], by who: String, from address: String) throws {
        for place in places { try Self.check(place) }
        guard places.count <= 1_000 else { throw HoldfastError(.usage, "An account has at most 1,000 places.") }
        let account = try catalog.changeAccount(id) { account in
            guard account.role == .person || places.isEmpty else {
                throw HoldfastError(
                    .usage,
                    "Only accounts of the role person have places of their own; \(account.name) is \(account.role.title.lowercased())."
                )
            }
            account.places = places
        }
        try audit.note(
            "account.places", by: who, from: address, to: account.name,
            [
                "places": .array(
                    places.prefix(100).map { place in
                        .string(
                            "\(place.machine.hex):\(place.path.displayText) as \(place.user ?? "")\(place.uid.map { " (\($0))" } ?? "")"
                        )
                    })
            ])
    }

    static func check(_ place: Account.Place) throws {
        guard place.uid != nil || place.user != nil else {
            throw HoldfastError(.usage, "Say who the person is on the machine: the name or the number of a user.")
        }
        if let user = place.user {
            let isName =
                (1...64).contains(user.utf8.count)
                && !user.unicodeScalars.contains { $0.value <= 0x20 || $0 == ":" || $0 == "," || $0.value == 0x7F }
            guard isName else { throw HoldfastError(.usage, "\(user) is not the name of a user.") }
        }
        guard place.uid != 0, place.user != "root" else {
            throw HoldfastError(
                .usage, "A person's places are never root's: who is to see everything is an operator.")
        }
    }
}
