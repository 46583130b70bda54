import Catalog
import Client
import Model
import Server
import Vault

/// The account of who is signed in: password, second factor, sessions.
enum OwnPages {
    static let all: [Page] = [
        .get("/me", "Your account.", .signedIn) { try show($0) },
        .post("/me/password", .signedIn) { visit in
            guard let visitor = visit.visitor else { throw HoldfastError(.keyNeeded, "Sign in first.") }
            let new = visit.form.text("new")
            guard new == visit.form.text("again") else {
                return try show(visit, problem: "The two new ones are not the same.")
            }
            do {
                try visit.site.accounts.changePassword(
                    visitor, from: visit.form.text("old"), to: new, address: visit.request.address)
            } catch let error as HoldfastError where error.code == .denied || error.code == .usage {
                return try show(visit, problem: error.message)
            }
            return try show(
                visit,
                done:
                    "The password is changed. All your other sessions have ended; tokens for programs go on until you end them below."
            )
        },
        .post("/me/second-factor", .signedIn, secondFactor),
        .post("/me/tokens", .signedIn, makeToken),
        .post("/me/tokens/{token}/end", .signedIn) { visit in
            try visit.desk.endOwnToken(visit.request.parameters["token"] ?? "")
            return try show(visit, done: "The token has ended.")
        },
        .post("/me/sessions", .signedIn) { visit in
            guard let visitor = visit.visitor else { throw HoldfastError(.keyNeeded, "Sign in first.") }
            try visit.desk.endOwnSessions(except: visitor.session)
            return try show(visit, done: "All your other sessions have ended.")
        },
    ]

    @Sendable private static func makeToken(_ visit: Visit) throws -> ServerAnswer {
        guard let days = visit.form.number("days", in: 1...Int(AccountBook.longestToken / 86_400)) else {
            throw HoldfastError(.usage, "A token holds for 1 to \(AccountBook.longestToken / 86_400) days.")
        }
        let rights = visit.form.all("right").compactMap { AccountRight(rawValue: String(decoding: $0, as: UTF8.self)) }
        do {
            // Who finds an open browser must not take something away that outlives it.
            try visit.site.accounts.confirm(
                try visit.desk.ownAccount(), visit.form.text("password"), address: visit.request.address)
            let made = try visit.desk.makeOwnToken(
                name: visit.form.text("name"), rights: Set(rights), seconds: Int64(days) * 86_400)
            return Layout.page("Your account", visit, OwnTokens.shown(made.token, made.code, visit))
        } catch let error as HoldfastError where [.usage, .exists, .denied].contains(error.code) {
            return try show(visit, problem: error.message)
        }
    }

    @Sendable private static func secondFactor(_ visit: Visit) throws -> ServerAnswer {
        guard let visitor = visit.visitor, let secret = Hex.decode(visit.form.text("secret")),
            secret.count == OneTimePassword.secretLength
        else { throw HoldfastError(.usage, "Load the page again.") }
        do {
            try visit.site.accounts.confirm(
                visitor.account, visit.form.text("password"), address: visit.request.address)
            let codes = try visit.site.accounts.enableSecondFactor(
                visitor, secret: secret, code: visit.form.text("code"), address: visit.request.address)
            return Layout.page(
                "Your account", visit,
                """
                <section class="good"><h2>The second factor is on</h2><p>Keep these codes where you find them without your phone. Each stands \
                in for it once; they are not shown again.</p><pre tabindex="0"><code>\(codes.joined(separator: "\n"))</code></pre>
                <p><a class="button" href="/me">I have them</a></p></section>
                """)
        } catch let error as HoldfastError where error.code == .denied {
            return try show(visit, problem: error.message, secret: secret)
        }
    }

    private static func show(
        _ visit: Visit, problem: String? = nil, done: String? = nil, secret: [UInt8]? = nil
    ) throws -> ServerAnswer {
        guard let visitor = visit.visitor else { throw HoldfastError(.keyNeeded, "Sign in first.") }
        let account = visitor.account
        let sessions = try visit.core.catalog.sessions(of: account.id)
        let rows: [HTML] = sessions.map { session in
            """
            <tr><th scope="row">\(session.address)<small>\(session.browser)</small></th>
            <td>\(Piece.time(session.begun, now: visit.now))</td><td>\(Piece.time(session.used, now: visit.now))</td>
            <td>\(session.hash == visitor.session ? "this one" : "")</td></tr>
            """
        }
        let trouble: HTML? = problem.map { "<p class=\"error\" role=\"alert\">\($0)</p>" }
        let success: HTML? = done.map { "<p class=\"done\" role=\"status\">\($0)</p>" }
        return Layout.page(
            "Your account", visit,
            """
            \(trouble)\(success)<dl class="facts card"><div><dt>Name</dt><dd>\(account.name)</dd></div>
            <div><dt>Role</dt><dd>\(account.role.title)</dd></div></dl><p class="hint">\(account.role.meaning)</p>
            <h2>Password</h2><form method="post" action="/me/password" class="card narrow">\(Piece.formToken(visit))
            <input type="hidden" name="username" value="\(account.name)" autocomplete="username">
            <label>The one you have<input name="old" type="password" autocomplete="current-password" required></label>
            <label>A new one<input name="new" type="password" autocomplete="new-password" minlength="10" required></label>
            <label>Once more<input name="again" type="password" autocomplete="new-password" minlength="10" required></label>
            <button>Change it</button></form>
            \(factor(visit, account, secret ?? OneTimePassword.newSecret()))\(try OwnTokens.show(visit, account))
            <h2>Sessions</h2><table><thead><tr><th>From</th><th>Begun</th><th>Last used</th><th></th></tr></thead><tbody>\(rows)</tbody></table>
            <form method="post" action="/me/sessions">\(Piece.formToken(visit))<p><button>End all others</button></p></form>
            """)
    }

    private static func factor(_ visit: Visit, _ account: Account, _ secret: [UInt8]) -> HTML {
        if account.secondFactor != nil {
            return """
                <h2>Second factor</h2><p>On: signing in asks for a code of your app. \(account.backupCodes.count) backup codes are left. \
                An administrator can turn it off when the app is lost.</p>
                """
        }
        let key = OneTimePassword.base32(secret)
        let spaced = stride(from: 0, to: key.count, by: 4).map { key.dropFirst($0).prefix(4) }.joined(separator: " ")
        let address = OneTimePassword.address(secret, account: account.name, server: visit.core.title)
        return """
            <h2>Second factor</h2><form method="post" action="/me/second-factor" class="card narrow">\(Piece.formToken(visit))
            <p>Type this key into an app for one-time codes (as a time-based key), or <a href="\(address)">open it there</a>:</p>
            <pre tabindex="0"><code>\(spaced)</code></pre><input type="hidden" name="secret" value="\(Hex.encode(secret))">
            <label>The code that the app shows now<input name="code" inputmode="numeric" autocomplete="one-time-code" required></label>
            <label>Your password<input name="password" type="password" autocomplete="current-password" required></label>
            <button>Turn it on</button></form>
            """
    }
}
