import Catalog
import Client
import Model
import Server

/// Signing in and out, and setting a password by a link.
enum SignInPages {
    static let all: [Page] = [
        .get("/sign-in", "Signs somebody in.", .anybody) { visit in
            if visit.visitor != nil { return .redirect(visit.query.text("to").isEmpty ? "/" : visit.query.text("to")) }
            return form(visit, to: visit.query.text("to"))
        },
        .post("/sign-in", .anybody, signIn).guessable,
        .post("/sign-out", .signedIn) { visit in
            if let visitor = visit.visitor { try visit.site.accounts.signOut(visitor, address: visit.request.address) }
            var answer = ServerAnswer.redirect("/sign-in")
            answer.headers.append(("Set-Cookie", cookie("", seconds: 0)))
            return answer
        },
        .get("/welcome/{secret}", "Sets the password of an account.", .anybody) { visit in
            try welcome(visit, problem: nil)
        }.guessable,
        .post("/welcome/{secret}", .anybody, setPassword).guessable,
    ]

    // MARK: Signing in

    private static func form(
        _ visit: Visit, to: String, name: String = "", problem: String? = nil, status: Int = 200
    ) -> ServerAnswer {
        let trouble: HTML? = problem.map { "<p class=\"error\" role=\"alert\">\($0)</p>" }
        let fields: HTML = """
            <label>Name<input name="name" value="\(name)" autocomplete="username" autocapitalize="none" required></label>
            <label>Password<input name="password" type="password" autocomplete="current-password" required></label>
            <label>Code, if your account asks for one
            <input name="code" autocomplete="one-time-code" inputmode="text"></label>
            """
        return Layout.plain(
            "Sign in",
            """
            \(trouble)<form method="post" action="/sign-in" class="card">
            <input type="hidden" name="to" value="\(to)">\(fields)
            <button class="main">Sign in</button></form>
            <p class="hint">No account yet, or the password lost? Ask your administrator for a link.</p>
            """, status: status)
    }

    @Sendable private static func signIn(_ visit: Visit) throws -> ServerAnswer {
        let (name, password) = (visit.form.text("name"), visit.form.text("password"))
        let to = visit.form.text("to")
        let code = visit.form.bytes("code").map { String(decoding: $0, as: UTF8.self) }
        do {
            let outcome = try visit.site.accounts.signIn(
                name: name, password: password, code: code, address: visit.request.address,
                browser: visit.request.browser)
            switch outcome {
            case .codeNeeded:
                return form(
                    visit, to: to, name: name,
                    problem: "This account asks for a second factor: type the code that your app shows, too.",
                    status: 403)
            case .done(let secret, _):
                var answer = ServerAnswer.redirect(to.isEmpty ? "/" : to)
                answer.headers.append(("Set-Cookie", cookie(secret.text)))
                return answer
            }
        } catch let error as HoldfastError where error.code == .denied || error.code == .overloaded {
            var answer = form(
                visit, to: to, name: name, problem: error.message,
                status: error.code == .denied ? 403 : 429)
            answer.isFailedGuess = error.code == .denied
            return answer
        }
    }

    private static func cookie(_ text: String, seconds: Int64 = AccountBook.longestTime / 1_000_000_000) -> String {
        "\(Site.cookieName)=\(text); Path=/; Max-Age=\(seconds); Secure; HttpOnly; SameSite=Lax"
    }

    // MARK: Links

    private static func welcome(_ visit: Visit, problem: String?) throws -> ServerAnswer {
        let secret = visit.request.parameters["secret"] ?? ""
        guard let account = try visit.site.accounts.account(link: secret) else {
            var answer = Layout.plain(
                "This link does not hold",
                """
                <p>It has been used, or its time is over.</p>
                <p class="hint">An administrator makes a new one: <code>holdfast account link NAME</code> on the server.</p>
                """, status: 404)
            answer.isFailedGuess = true
            return answer
        }
        let trouble: HTML? = problem.map { "<p class=\"error\" role=\"alert\">\($0)</p>" }
        return Layout.plain(
            "Welcome, \(account.name)",
            """
            <p>Choose the password for your account (\(account.role.title)).</p>\(trouble)
            <form method="post" action="/welcome/\(Address.encode(secret))" class="card">
            <input type="hidden" name="name" value="\(account.name)" autocomplete="username">
            <label>Password<input name="password" type="password" autocomplete="new-password" minlength="10" required autofocus></label>
            <label>Once more<input name="again" type="password" autocomplete="new-password" minlength="10" required></label>
            <button class="main">Set password and sign in</button></form>
            <p class="hint">Ten characters or more. A few words that mean nothing together are good, and easy to keep.</p>
            """, status: problem == nil ? 200 : 400)
    }

    @Sendable private static func setPassword(_ visit: Visit) throws -> ServerAnswer {
        let secret = visit.request.parameters["secret"] ?? ""
        let password = visit.form.text("password")
        guard password == visit.form.text("again") else {
            return try welcome(visit, problem: "The two are not the same.")
        }
        let address = visit.request.address
        let account: String
        do {
            account = try visit.site.accounts.setPassword(link: secret, password, address: address).name
        } catch let error as HoldfastError where error.code == .usage {
            return try welcome(visit, problem: error.message)
        }
        guard
            case .done(let session, _) = try visit.site.accounts.signIn(
                name: account, password: password, code: nil, address: address, browser: visit.request.browser)
        else { return .redirect("/sign-in") }
        var answer = ServerAnswer.redirect("/")
        answer.headers.append(("Set-Cookie", cookie(session.text)))
        return answer
    }
}
