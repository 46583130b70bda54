package import Catalog
import Model

/// Who says whether a name and a password belong together.
package protocol IdentityProvider: Sendable {
    /// The account of somebody who gave the right password; `nil` for a wrong one, an unknown name and a disabled account,
    /// which takes as long.
    func check(name: String, password: String) throws -> Account?
}

/// The accounts that this server keeps itself.
package struct LocalAccounts: IdentityProvider {
    private let catalog: any AccountCatalog

    package init(_ catalog: any AccountCatalog) { self.catalog = catalog }

    package func check(name: String, password: String) throws -> Account? {
        let account = try catalog.account(named: name)
        let isRight = try PasswordHash.matches(password, account?.password)
        guard let account, isRight, !account.isDisabled else { return nil }
        return account
    }
}
