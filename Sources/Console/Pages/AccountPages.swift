import Catalog
import Client
import Model
import Server
import Vault

/// Who signs in.
enum AccountPages {
    static let all: [Page] = [
        .get("/accounts", "Who signs in.", .right(.manageAccounts)) { try show($0, link: nil) },
        .get("/accounts.csv", "Accounts as a table for other programs.", .right(.manageAccounts)) { visit in
            try visit.note("accounts.exported")
            return table(visit).file(try visit.core.catalog.accounts(), visit, name: "accounts")
        },
        .post("/accounts", .right(.manageAccounts), add),
        .post("/accounts/{account}/link", .right(.manageAccounts)) { visit in
            let account = try find(visit)
            return try show(visit, link: try visit.desk.newLink(for: account))
        },
        .post("/accounts/{account}/second-factor", .right(.manageAccounts)) { visit in
            try visit.desk.resetSecondFactor(of: try find(visit))
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
            try visit.desk.removeAccount(account)
            return .redirect("/accounts")
        },
    ]

    /// The account of an address. Owners are changed by owners only.
    private static func find(_ visit: Visit) throws -> Account {
        try visit.desk.account(visit.request.parameters["account"])
    }

    @Sendable private static func add(_ visit: Visit) throws -> ServerAnswer {
        guard let role = Account.Role.allCases.first(where: { $0.word == visit.form.text("role") }) else {
            throw HoldfastError(.usage, "Choose a role.")
        }
        return try show(
            visit,
            link: try visit.desk.createAccount(
                name: visit.form.text("name"), role: role, groups: try groups(visit)))
    }

    /// The groups that somebody has typed. Nothing means all of them; what has no name in it is a slip, and must not.
    static func groups(_ visit: Visit) throws -> [String] {
        let text = visit.form.text("groups")
        let groups = text.split(separator: ",").map { part in
            String(part.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
        }.filter { !$0.isEmpty }
        guard text.isEmpty || !groups.isEmpty else {
            throw HoldfastError(
                .usage, "Type names of groups with commas between them, or leave the field empty for all groups.")
        }
        for group in groups { try ServerCore.requireGroupName(group) }
        return groups
    }

    private static func show(_ visit: Visit, link: (Account, SecretToken)?) throws -> ServerAnswer {
        let shown: HTML? = link.map { account, secret in
            """
            <section class="good"><h2>A link for \(account.name)</h2><pre tabindex="0"><code>\(visit.origin)/welcome/\(secret.text)</code></pre>
            <p class="hint">It is shown once, sets the password once, and holds a day. Send it on a way that others cannot read.</p></section>
            """
        }
        let roles: [HTML] = Account.Role.allCases.filter { $0 != .owner || visit.may(.manageOwners) }.reversed().map {
            role in "<option value=\"\(role.word)\">\(role.title): \(role.meaning)</option>"
        }
        return Layout.page(
            "Accounts", visit, wide: true,
            """
            \(shown)\(table(visit).show(try visit.core.catalog.accounts(), visit))
            <h2>A further account</h2><form method="post" action="/accounts" class="card narrow">\(Piece.formToken(visit))
            <label>Name<input name="name" required maxlength="64" autocapitalize="none"></label>
            <label>Role<select name="role">\(roles)</select></label>
            <label>Groups of machines, for operators and help desks (empty: all)<input name="groups"></label>
            <button class="main">Make it, and show a link that sets its password</button></form>
            """)
    }

    private static func table(_ visit: Visit) -> Table<Account> {
        let now = visit.now
        var table = Table<Account>(
            path: "/accounts", noun: ("account", "accounts"),
            columns: [
                .init(
                    "name", "Name", by: \.name, plain: \.name,
                    cell: { account in
                        let state: HTML? = account.isDisabled ? "<small>disabled</small>" : nil
                        return "<a href=\"/accounts/\(account.id.hex)\">\(account.name)</a>\(state)"
                    }),
                .init(
                    "role", "Role", by: { $0.role.rawValue }, plain: { $0.role.title },
                    cell: { account in
                        let groups: HTML? =
                            account.groups.isEmpty ? nil : "<small>\(account.groups.joined(separator: ", "))</small>"
                        return "\(account.role.title)\(groups)"
                    }),
                .init(
                    "factor", "Second factor", by: { $0.secondFactor == nil ? 0 : 1 },
                    plain: { $0.secondFactor == nil ? "no" : "yes" }, cell: { factor($0, visit) }),
                .init(
                    "seen", "Last sign-in", startsLargest: true, by: { $0.lastSignIn?.nanoseconds ?? .min },
                    plain: { $0.lastSignIn.map { TimeText.rfc3339($0) } ?? "" },
                    cell: { account in
                        account.lastSignIn.map { Piece.time($0, now: now) }
                            ?? (account.password == nil ? "link not used yet" : "never")
                    }),
                .init(
                    "groups", "Change", plain: { $0.groups.joined(separator: " ") }, cell: { change($0, visit) }),
            ], usualOrder: "name")
        table.search = ("Name", { $0.name.contains($1) })
        table.filters = [
            Table.Filter(name: "role", title: "Role", choices: Account.Role.allCases.map { ($0.word, $0.title) }) {
                $0.role.word == $1
            }
        ]
        return table
    }

    private static func mayChange(_ account: Account, _ visit: Visit) -> Bool {
        (try? visit.desk.mayChange(account.role)) ?? false
    }

    private static func factor(_ account: Account, _ visit: Visit) -> HTML {
        guard account.secondFactor != nil else { return "no" }
        guard mayChange(account, visit), account.id != visit.visitor?.account.id else { return "yes" }
        return """
            yes <form method="post" action="/accounts/\(account.id.hex)/second-factor">\(Piece.formToken(visit))<button class="quiet">Turn off</button></form>
            """
    }

    private static func change(_ account: Account, _ visit: Visit) -> HTML {
        guard mayChange(account, visit) else { return .nothing }
        if account.id == visit.visitor?.account.id { return "<a href=\"/me\">Your account</a>" }
        let base = "/accounts/\(account.id.hex)"
        return """
            <form method="post" action="\(base)/link">\(Piece.formToken(visit))<button class="quiet">New link</button></form>
            <details><summary>Remove</summary><form method="post" action="\(base)/remove">\(Piece.formToken(visit))
            <label>Its name, to be sure<input name="name" autocomplete="off"></label><button>Remove \(account.name)</button></form></details>
            """
    }
}
