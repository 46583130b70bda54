import Catalog
import Client
import Model
import Server
import Vault

/// Who signs in.
enum AccountPages {
    static let all: [Page] = [
        .get("/accounts", "Who signs in.", .right(.manageAccounts)) { try show($0, link: nil) },
        .post("/accounts", .right(.manageAccounts), add),
        .post("/accounts/{account}/link", .right(.manageAccounts)) { visit in
            let account = try find(visit)
            let (changed, secret) = try visit.site.accounts.newLink(
                account.id, by: visit.name, from: visit.request.address)
            return try show(visit, link: (changed, secret))
        },
        .post("/accounts/{account}/second-factor", .right(.manageAccounts)) { visit in
            try visit.site.accounts.disableSecondFactor(
                try find(visit).id, by: visit.name, from: visit.request.address)
            return .redirect("/accounts")
        },
        .post("/accounts/{account}/remove", .right(.manageAccounts)) { visit in
            let account = try find(visit)
            guard visit.form.text("name") == account.name else {
                throw HoldfastError(
                    .usage,
                    "Nothing was removed: to remove an account, type its name (\(account.name)) in the field beside it."
                )
            }
            guard account.id != visit.visitor?.account.id else {
                throw HoldfastError(.forbidden, "You cannot remove the account that you are signed in with.")
            }
            try visit.site.accounts.remove(account.id, by: visit.name, from: visit.request.address)
            return .redirect("/accounts")
        },
    ]

    /// The account of an address. Owners are changed by owners only.
    private static func find(_ visit: Visit) throws -> Account {
        guard let id = visit.request.parameters["account"].flatMap({ AccountID(hex: $0) }),
            let account = try visit.core.catalog.account(id)
        else { throw HoldfastError(.notFound, "There is no such account.") }
        guard account.role != .owner || visit.may(.manageOwners) else {
            throw HoldfastError(.denied, "Only an owner changes the account of an owner.")
        }
        return account
    }

    @Sendable private static func add(_ visit: Visit) throws -> ServerAnswer {
        guard let role = Account.Role.allCases.first(where: { $0.word == visit.form.text("role") }) else {
            throw HoldfastError(.usage, "Choose a role.")
        }
        guard role != .owner || visit.may(.manageOwners) else {
            throw HoldfastError(.denied, "Only an owner makes another owner.")
        }
        let groups = visit.form.text("groups").split(separator: ",").map {
            String($0.drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
        }.filter { !$0.isEmpty }
        let made = try visit.site.accounts.create(
            name: visit.form.text("name"), role: role, groups: groups, by: visit.name, from: visit.request.address)
        return try show(visit, link: made)
    }

    private static func show(_ visit: Visit, link: (Account, SecretToken)?) throws -> ServerAnswer {
        let shown: HTML? = link.map { account, secret in
            """
            <section class="good"><h2>A link for \(account.name)</h2><pre tabindex="0"><code>\(visit.origin)/welcome/\(secret.text)</code></pre>
            <p class="hint">It is shown once, sets the password once, and holds a day. Send it on a way that others cannot read.</p></section>
            """
        }
        let rows: [HTML] = try visit.core.catalog.accounts().map { row($0, visit) }
        let roles: [HTML] = Account.Role.allCases.filter { $0 != .owner || visit.may(.manageOwners) }.reversed().map {
            role in "<option value=\"\(role.word)\">\(role.title): \(role.meaning)</option>"
        }
        return Layout.page(
            "Accounts", visit, wide: true,
            """
            \(shown)<table><thead><tr><th>Name</th><th>Role</th><th>Second factor</th><th>Last sign-in</th><th>Change</th></tr></thead>
            <tbody>\(rows)</tbody></table>
            <h2>A further account</h2><form method="post" action="/accounts" class="card narrow">\(Piece.formToken(visit))
            <label>Name<input name="name" required maxlength="64" autocapitalize="none"></label>
            <label>Role<select name="role">\(roles)</select></label>
            <label>Groups of machines, for operators and help desks (empty: all)<input name="groups"></label>
            <button class="main">Make it, and show a link that sets its password</button></form>
            """)
    }

    private static func row(_ account: Account, _ visit: Visit) -> HTML {
        let mayChange = account.role != .owner || visit.may(.manageOwners)
        let base = "/accounts/\(account.id.hex)"
        let factor: HTML? =
            account.secondFactor != nil && mayChange
            ? """
            <form method="post" action="\(base)/second-factor">\(Piece.formToken(visit))<button class="quiet">Turn off</button></form>
            """ : nil
        let change: HTML? =
            mayChange
            ? """
            <form method="post" action="\(base)/link">\(Piece.formToken(visit))<button class="quiet">New link</button></form>
            <details><summary>Remove</summary><form method="post" action="\(base)/remove">\(Piece.formToken(visit))
            <label>Its name, to be sure<input name="name" autocomplete="off"></label><button>Remove \(account.name)</button></form></details>
            """ : nil
        let groups: HTML? = account.groups.isEmpty ? nil : "<small>\(account.groups.joined(separator: ", "))</small>"
        return """
            <tr><th scope="row">\(account.name)</th><td>\(account.role.title)\(groups)</td>
            <td>\(account.secondFactor == nil ? "no" : "yes")\(factor)</td>
            <td>\(account.lastSignIn.map { Piece.time($0, now: visit.now) } ?? (account.password == nil ? "link not used yet" : "never" as HTML))</td>
            <td>\(change)</td></tr>
            """
    }
}
