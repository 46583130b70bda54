package import Browsing
package import Catalog
import Model

/// Somebody who asks: an account in a browser, a token of one, or an access code. Whatever the way, rights and machines are looked
/// at here and nowhere else.
package struct Person: Hashable, Sendable {
    /// For logs and for people.
    package let name: String
    package let rights: Set<AccountRight>
    /// The groups of machines that they are for; `nil` for all.
    package let groups: Set<String>?
    /// Persons of self-service: what is theirs.
    package let places: [Account.Place]
    /// `nil` for an access code.
    package let account: AccountID?
    /// The token by which they came; `nil` in a browser.
    package let token: Account.Token?

    /// Somebody who has signed in with a password.
    package init(_ account: Account) { self.init(account, nil) }

    /// A program with a token of an account: never more than the account may.
    package init(_ account: Account, token: Account.Token) { self.init(account, .some(token)) }

    private init(_ account: Account, _ token: Account.Token?) {
        name = token.map { "\(account.name) (token \($0.name))" } ?? account.name
        self.account = account.id
        self.token = token
        var rights = account.role.rights
        if let token { rights.formIntersection(token.rights.compactMap { AccountRight(rawValue: $0) }) }
        self.rights = rights
        switch account.role {
        case .owner, .administrator, .auditor: groups = nil
        case .operator, .helpDesk: groups = account.groups.isEmpty ? nil : Set(account.groups)
        case .person: groups = []
        }
        places = account.role == .person ? account.places : []
    }

    /// Somebody with an access code; `nil` for a code that is for machines.
    package init?(_ code: AccessToken) {
        switch code.role {
        case .enrolment: return nil
        case .administrator: rights = Account.Role.owner.rights
        // Reads whatever it likes, and tells no machine what to do.
        case .reader: rights = [.seeStates, .seeNames, .seeContents]
        case .viewer: rights = [.seeStates]
        }
        name = code.name
        groups = nil
        places = []
        account = nil
        token = nil
    }

    package func may(_ right: AccountRight) -> Bool { rights.contains(right) }

    /// Whether they may look for files at all: for any, or for their own.
    package var mayBrowse: Bool { may(.seeNames) || mayRead }
    /// Whether they may see contents: of any files, or of their own.
    package var mayRead: Bool { may(.seeContents) || may(.seeOwn) }

    /// Whether nothing is hidden from them because of its group.
    package var seesAllMachines: Bool { groups == nil }

    /// Whether they are for machines of this group.
    package func covers(group: String) -> Bool { groups?.contains(group) ?? true }

    /// Whether they see a machine: as one of their groups, or because something of it is theirs.
    package func covers(_ machine: ManagedMachine) -> Bool {
        covers(group: machine.group) || places.contains { $0.machine == machine.id }
    }

    /// What of a machine's files they see; `nil` for all.
    package func sight(of machine: ManagedMachine) -> Sight? {
        if places.isEmpty, may(.seeNames) || may(.seeContents), covers(group: machine.group) { return nil }
        return Sight(
            places: places.filter { $0.machine == machine.id }.map { place in
                Sight.Place(path: place.path, user: SystemUser(uid: place.uid, name: place.user))
            })
    }
}
