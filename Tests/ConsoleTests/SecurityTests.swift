import Catalog
import Client
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Console
@testable import Server

/// What somebody tries who wants more than is theirs.
@Suite("The console under attack")
struct SecurityTests {
    // MARK: Signing in

    @Test("after ten wrong passwords from one address the account waits there, and is let in from another")
    func bruteForce() throws {
        let fixture = try ConsoleFixture()
        try fixture.account("ann", .operator)
        // Credit comes back while passwords are hashed on a busy machine.
        var waits = false
        for _ in 0..<60 where !waits {
            do { _ = try fixture.signIn("ann", password: "wrong password") } catch let error as HoldfastError {
                waits = error.code == .overloaded
            }
        }
        #expect(waits)
        let error = #expect(throws: HoldfastError.self) { try fixture.signIn("ann") }
        #expect(error?.code == .overloaded, "the right one waits where it was guessed at")
        let fields = [("name", "ann"), ("password", ConsoleFixture.password)]
        #expect(try fixture.post("/sign-in", nil, fields).status == 303, "who guesses elsewhere keeps nobody out")
        let names = try fixture.core.catalog.auditLines(before: .max, limit: 100).filter {
            $0.action == "session.refused"
        }
        #expect(names.count >= 10 && names.allSatisfy { !$0.succeeded })
    }

    @Test("an address that is wrong too often waits at every door where a secret can be guessed")
    func doors() throws {
        let fixture = try ConsoleFixture()
        let doors = fixture.site.operations.filter(\.isGuessable).map { "\($0.method) \($0.path)" }
        #expect(Set(doors) == ["POST /sign-in", "GET /welcome/{secret}", "POST /welcome/{secret}"])
        #expect(try fixture.get("/welcome/hft_nothing").isFailedGuess)
        // What is told there is a page, too.
        let page = Site.missing(429)
        #expect(
            page.status == 429 && page.text.contains("Wait a minute") && page.header("Content-Security-Policy") != nil)
    }

    @Test(
        "after signing in nobody is led to another site",
        arguments: [
            "//evil.example", "/\t/evil.example", "/\\evil.example", "//\u{FE0F}evil.example", "/\n/evil.example",
            "https://evil.example",
            "evil.example", "/\u{200B}/evil", "",
        ])
    func redirects(to: String) throws {
        let fixture = try ConsoleFixture()
        try fixture.account("ann", .operator)
        let cookie = try fixture.signIn("ann")
        let answer = try fixture.get("/sign-in?to=\(Address.encode(to))", cookie)
        #expect(answer.status == 303 && answer.header("Location") == "/", "\(answer.header("Location") ?? "")")
        #expect(try fixture.get("/sign-in?to=/machines%3Fq%3Da", cookie).header("Location") == "/machines?q=a")
    }

    @Test("an open browser alone makes nothing that outlives it: no second factor, no token without the password")
    func openBrowser() throws {
        let fixture = try ConsoleFixture()
        let ann = try fixture.account("ann", .operator)
        let cookie = try fixture.signIn("ann")
        let secret = OneTimePassword.newSecret()
        let code = OneTimePassword.code(secret, step: OneTimePassword.step(at: fixture.clock.now))
        let factor = [("secret", Hex.encode(secret)), ("code", code)]
        let token = [("name", "mine"), ("right", "see-states"), ("days", "30")]
        for password in ["", "wrong password"] {
            let more = [("password", password)]
            #expect(!(try fixture.post("/me/second-factor", cookie, factor + more).text.contains("factor is on")))
            #expect(!(try fixture.post("/me/tokens", cookie, token + more).text.contains("hfa_")))
        }
        let known = try #require(try fixture.core.catalog.account(ann.id))
        #expect(known.secondFactor == nil && known.tokens.isEmpty)
        let more = [("password", ConsoleFixture.password)]
        #expect(try fixture.post("/me/tokens", cookie, token + more).text.contains("hfa_"))
        #expect(try fixture.post("/me/second-factor", cookie, factor + more).text.contains("factor is on"))
    }

    @Test("a name that nobody has is refused in the same words, and is not written down")
    func unknownNames() throws {
        let fixture = try ConsoleFixture()
        try fixture.account("ann", .operator)
        let wrong = try fixture.post("/sign-in", nil, [("name", "ann"), ("password", "wrong password")])
        let unknown = try fixture.post("/sign-in", nil, [("name", "hunter2!"), ("password", "wrong password")])
        #expect(wrong.status == 403 && unknown.status == 403 && unknown.isFailedGuess)
        #expect(
            wrong.text.replacing("value=\"ann\"", with: "") == unknown.text.replacing("value=\"hunter2!\"", with: ""))
        let lines = try fixture.core.catalog.auditLines(before: .max, limit: 10)
        #expect(lines.contains { $0.who == "(unknown)" } && !lines.contains { $0.who.contains("hunter2") })
    }

    @Test("an open browser gives nobody the account: no link for its password, no second factor taken away")
    func ownAccount() throws {
        let fixture = try ConsoleFixture()
        let boss = try fixture.account("boss", .owner)
        let other = try fixture.account("other", .owner)
        let cookie = try fixture.signIn("boss")
        let token = try fixture.token(boss)
        for form in ["link", "second-factor"] {
            #expect(try fixture.post("/accounts/\(boss.id.hex)/\(form)", cookie).status == 409, "\(form)")
        }
        #expect(try fixture.core.catalog.account(boss.id)?.link == nil)
        #expect(try fixture.post("/accounts/\(other.id.hex)/link", cookie).status < 400)
        // Nor does a token that is for less do anything to the other ways in.
        let small = try fixture.token(boss, [.seeStates], name: "small")
        #expect(try fixture.api("DELETE", "/api/v1/me/sessions", small).status == 403)
        #expect(try fixture.api("DELETE", "/api/v1/me/sessions", token).status < 300)
    }

    @Test("the password that is asked for again cannot be guessed either, in a browser or with a token")
    func guessingOnesOwnPassword() throws {
        let fixture = try ConsoleFixture()
        let ann = try fixture.account("ann", .operator)
        let cookie = try fixture.signIn("ann")
        let token = try fixture.token(ann)
        let wrong = JSONValue.object(["old": .string("guess guess"), "new": .string("another long one")])
        var waits = false
        for _ in 0..<60 where !waits {
            let status = try fixture.api("POST", "/api/v1/me/password", token, wrong).status
            #expect(status == 403 || status == 429)
            waits = status == 429
        }
        #expect(waits)
        let form = [("old", ConsoleFixture.password), ("new", "another long one"), ("again", "another long one")]
        #expect(try fixture.post("/me/password", cookie, form).status == 429)
    }

    @Test("signing in gives a new secret, whatever the browser had before")
    func sessionFixation() throws {
        let fixture = try ConsoleFixture()
        try fixture.account("ann", .operator)
        try fixture.account("eve", .operator)
        let fields = [("name", "ann"), ("password", ConsoleFixture.password)]
        for planted in [SecretToken.random().text, try fixture.signIn("eve"), "anything"] {
            let answer = try fixture.post("/sign-in", planted, fields, form: "")
            let cookie = try #require(answer.header("Set-Cookie"))
            #expect(!cookie.contains(planted) && cookie.hasPrefix("__Host-holdfast=hft_"))
            #expect(cookie.hasSuffix("Path=/; Max-Age=43200; Secure; HttpOnly; SameSite=Lax"))
            let visitor = try fixture.core.accounts.visitor(planted)
            #expect(visitor?.account.name != "ann", "what was planted is not signed in")
        }
    }

    @Test("a link sets the password once, for a day; then, and one that was never made, it is a page that says so")
    func links() throws {
        let fixture = try ConsoleFixture()
        let (account, first) = try fixture.core.accounts.create(name: "ann", role: .operator, by: "test", from: "")
        let choice = [("password", ConsoleFixture.password), ("again", ConsoleFixture.password)]
        #expect(try fixture.get("/welcome/\(first.text)").status == 200)
        fixture.clock.advance(seconds: 86_401)
        #expect(try fixture.get("/welcome/\(first.text)").status == 404)
        #expect(try fixture.post("/welcome/\(first.text)", nil, choice).status == 403)
        let (_, second) = try fixture.core.accounts.newLink(account.id, by: "test", from: "")
        #expect(try fixture.post("/welcome/\(second.text)", nil, choice).status == 303)
        #expect(try fixture.post("/welcome/\(second.text)", nil, choice).status == 403, "used")
        let (_, third) = try fixture.core.accounts.newLink(account.id, by: "test", from: "")
        let use = JSONValue.object(["secret": .string(third.text), "password": .string("one more password")])
        #expect(try fixture.api("POST", "/api/v1/links/use", nil, use).status == 204)
        #expect(try fixture.api("POST", "/api/v1/links/use", nil, use).status == 403)
        let never = try fixture.get("/welcome/\(SecretToken.random().text)")
        #expect(never.status == 404 && never.isFailedGuess)
        #expect(try fixture.get("/welcome/%3Cscript%3E").text.contains("<script>") == false)
    }

    // MARK: Other sites

    @Test("a form of another site, of another session, or without its token does nothing")
    func forgedForms() throws {
        let fixture = try ConsoleFixture()
        try fixture.account("boss", .owner)
        try fixture.account("eve", .operator)
        let (boss, eve) = (try fixture.signIn("boss"), try fixture.signIn("eve"))
        let fields = [("name", "mallory"), ("role", "owner")]
        for (token, site) in [
            ("", "same-origin"), (try fixture.formToken(eve), "same-origin"),
            (try fixture.formToken(boss), "cross-site"),
            (try fixture.formToken(boss), "same-site"),
        ] {
            let answer = try fixture.post("/accounts", boss, fields, form: token, from: site)
            #expect(answer.status == 403, "\(site)")
        }
        #expect(try fixture.core.catalog.account(named: "mallory") == nil)
        #expect(try fixture.post("/accounts", boss, fields).status == 200)
        // The API takes no cookies: what a browser sends by itself opens nothing there.
        #expect(try fixture.api("GET", "/api/v1/accounts", nil).status == 401)
    }

    @Test(
        "pages can be shown in no other site's frame, load nothing from elsewhere, and run no script of their own text")
    func headers() throws {
        let fixture = try ConsoleFixture()
        for answer in [try fixture.get("/sign-in"), Site.missing(404), try fixture.get("/machines")] {
            let policy = try #require(answer.header("Content-Security-Policy"))
            #expect(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"))
            #expect(!policy.contains("unsafe") && answer.header("X-Content-Type-Options") == "nosniff")
            #expect(answer.header("Referrer-Policy") == "same-origin")
        }
    }

    // MARK: Names that are more than names

    private static let odd = [
        "<script>alert(1)<", "a\"b'c.txt", "line\nbreak.txt", "semi;colon=1.txt", "größe €.txt", "100%.txt",
        "back\\slash", ".hidden", "cod\u{202E}txt.exe",
    ]

    @Test("script in names of files, machines, groups and accounts is text on every page")
    func scriptInNames() throws {
        let fixture = try ConsoleFixture()
        let evil = "<img src=x onerror=alert(1)>"
        let files = Self.odd.map { TestName.file("/d/\($0)", "text of it") }
        let (machine, points) = try fixture.machine(evil, group: evil, [files, [.directory("/d")]])
        try fixture.account("boss", .owner)
        let cookie = try fixture.signIn("boss")
        let at = "/machines/\(machine.id.hex)"
        let pages = [
            "/", "/machines", at, "\(at)/files?path=/d&point=\(points[0].hex)", "\(at)/files?path=/d&deleted=1",
            "\(at)/search?q=script", "\(at)/search?q=%3Cscript%3E", "/machines?q=\(Address.encode(evil))", "/audit",
            "/vault",
            "\(at)/file?point=\(points[0].hex)&path=/d/" + Address.encode(Self.odd[0]), "/accounts", "/enrolment",
        ]
        for page in pages {
            let answer = try fixture.get(page, cookie)
            #expect(answer.status == 200, "\(page): \(answer.status)")
            #expect(!answer.text.contains("<script>alert") && !answer.text.contains("<img src=x"), "\(page)")
            #expect(!answer.text.contains("\u{202E}"), "\(page)")
        }
    }

    @Test("any name can be downloaded, and ends no header", arguments: odd)
    func namesInHeaders(name: String) throws {
        let fixture = try ConsoleFixture()
        let (machine, _) = try fixture.machine("one", [[.file("/d/\(name)", "contents")]])
        let boss = try fixture.account("boss", .owner)
        let path = "/d/" + Address.encode(name)
        let answers = [
            try fixture.get("/machines/\(machine.id.hex)/download?path=\(path)", fixture.signIn("boss")),
            try fixture.api("GET", "/api/v1/machines/\(machine.id.hex)/content?path=\(path)", fixture.token(boss)),
        ]
        for answer in answers {
            #expect(try answer.whole() == Array("contents".utf8))
            let header = try #require(answer.header("Content-Disposition"))
            #expect(header.utf8.allSatisfy { (0x20..<0x7F).contains($0) }, "\(header)")
            let plain = try #require(header.firstMatch(of: /filename="([^"]*)"/)?.output.1)
            #expect(!plain.contains("\\") && !plain.contains("/") && !plain.hasPrefix("."), "\(header)")
            let real = try #require(header.firstMatch(of: /filename\*=UTF-8''(\S+)$/)?.output.1)
            #expect(Address.decode(real).map { String(decoding: $0, as: UTF8.self) } == name)
            #expect(!real.contains { "\"';, ".contains($0) })
            #expect(answer.contentType == "application/octet-stream")
        }
    }

    @Test("paths that lead upwards or nowhere are refused or empty")
    func traversal() throws {
        let fixture = try ConsoleFixture()
        let (machine, _) = try fixture.machine("one", [[.file("/d/f", "x")]])
        let boss = try fixture.account("boss", .owner)
        let (cookie, token) = (try fixture.signIn("boss"), try fixture.token(boss))
        for path in ["/d/../../etc/passwd", "../..", "/d/%00", "/d/f/below", String(repeating: "a", count: 300)] {
            for page in ["files", "file", "download", "preview"] {
                let status = try fixture.get("/machines/\(machine.id.hex)/\(page)?path=\(path)", cookie).status
                #expect([200, 400, 404].contains(status), "\(page) \(path): \(status)")
            }
            for name in ["files", "content", "preview", "versions"] {
                let status = try fixture.api("GET", "/api/v1/machines/\(machine.id.hex)/\(name)?path=\(path)", token)
                    .status
                #expect([200, 400, 404].contains(status), "\(name) \(path): \(status)")
            }
        }
    }

    // MARK: What is another's

    @Test("an operator of one group is told the same of another group's machine as of one that there is not")
    func guessingMachines() throws {
        let fixture = try ConsoleFixture()
        let (_, _) = try fixture.machine("mine", group: "mine", [[.file("/f", "x")]])
        let (other, points) = try fixture.machine("other", group: "theirs", [[.file("/f", "secret")]])
        let account = try fixture.account("op", .operator, groups: ["mine"])
        let (cookie, token) = (try fixture.signIn("op"), try fixture.token(account))
        let nobody = MachineID.random()
        func targets(_ id: MachineID, _ pattern: String) -> String {
            pattern.replacing("{machine}", with: id.hex).replacing("{point}", with: points[0].hex) + "?path=/f&q=ff"
        }
        for page in Page.all where page.path.contains("{machine}") {
            func ask(_ id: MachineID) throws -> ServerAnswer {
                let target = targets(id, page.path)
                return page.method == "GET"
                    ? try fixture.get(target, cookie)
                    : try fixture.post(
                        target, cookie, [("point", points[0].hex), ("name", "other"), ("answer", "yes")])
            }
            let (theirs, missing) = (try ask(other.id), try ask(nobody))
            #expect([403, 404].contains(theirs.status) && theirs.status == missing.status, "\(page.path)")
            #expect(theirs.text == missing.text && !theirs.text.contains("secret"), "\(page.path)")
        }
        for operation in Operation.all where operation.path.contains("{machine}") {
            let body: JSONValue? =
                operation.request == .none
                ? nil : .object(["kind": .string("back-up-now"), "point": .string(points[0].hex)])
            func ask(_ id: MachineID) throws -> ServerAnswer {
                let path = operation.path.replacing("{vault}", with: fixture.core.vaultID.hex)
                return try fixture.api(operation.method, targets(id, path), token, body)
            }
            let (theirs, missing) = (try ask(other.id), try ask(nobody))
            #expect(
                [403, 404].contains(theirs.status) && theirs.status == missing.status,
                "\(operation.path): \(theirs.status)")
            #expect(theirs.body == missing.body, "\(operation.path)")
        }
        // Nor by the vault's own operations.
        let vault = "/api/v1/vaults/\(fixture.core.vaultID.hex)"
        for target in [
            "\(vault)/points/\(points[0].hex)", "\(vault)/points/\(points[0].hex)/redactions",
            "\(vault)/points?machine=\(other.id.hex)", "\(vault)/points", "\(vault)/points?ids=\(points[0].hex)",
            "\(vault)/statistics", "/api/v1/jobs", "/api/v1/policies", "/api/v1/placements",
        ] {
            #expect([403, 404].contains(try fixture.api("GET", target, token).status), "\(target)")
        }
        let machines = try fixture.json("GET", "/api/v1/machines", token)["machines"] as? [[String: Any]]
        #expect(machines?.compactMap { $0["name"] as? String } == ["mine"])
        let records = try fixture.api("GET", "\(vault)/records", token).body
        let all = try fixture.api("GET", "\(vault)/records", fixture.token(fixture.account("boss", .owner))).body
        #expect(!records.isEmpty && records.count < all.count)
    }

    @Test("a person sees their own files and account, and no other page or operation")
    func selfService() throws {
        let fixture = try ConsoleFixture()
        let tree: [TestName] = [
            .directory("/home/ann", mode: 0o700, uid: 1_000), .file("/home/ann/f", "mine", mode: 0o600, uid: 1_000),
            .file("/home/ann/of-root", "hidden", mode: 0o600), .file("/etc/motd", "open"),
        ]
        let (machine, _) = try fixture.machine("laptop", [tree])
        let (other, _) = try fixture.machine("other", [tree])
        let place = Account.Place(machine: machine.id, path: try #require(TreePath("/home/ann")), uid: 1_000)
        let account = try fixture.account("ann", .person, places: [place])
        let (cookie, token) = (try fixture.signIn("ann"), try fixture.token(account))
        #expect(try fixture.get("/", cookie).header("Location") == "/my-files")
        let at = "/machines/\(machine.id.hex)"
        let home = try fixture.get("\(at)/files", cookie)
        #expect(home.status == 200 && home.text.contains(">f<") && !home.text.contains("of-root"))
        #expect(try fixture.get("/my-files", cookie).text.contains("laptop"))
        #expect(try fixture.get("\(at)/download?path=/home/ann/f", cookie).whole() == Array("mine".utf8))
        for path in ["/home/ann/of-root", "/etc/motd", "/etc", "/home/ann/nothing"] {
            let hidden = try fixture.get("\(at)/download?path=\(path)", cookie)
            #expect(hidden.status == 404 && hidden.text.contains("There is no such file in this point."), "\(path)")
            let api = try fixture.api("GET", "/api/v1\(at)/files?path=\(path)", token)
            #expect(api.status == 404, "\(path)")
        }
        #expect(try fixture.get("/machines/\(other.id.hex)/files", cookie).status == 404)
        let allowed: Set<String> = [
            "/my-files", "/machines/{machine}/files", "/machines/{machine}/file", "/machines/{machine}/preview",
            "/machines/{machine}/difference", "/machines/{machine}/search", "/machines/{machine}/download",
            "/machines/{machine}/archive", "/me", "/me/password", "/me/second-factor", "/me/sessions", "/me/tokens",
            "/me/tokens/{token}/end", "/sign-in", "/sign-out", "/welcome/{secret}", "/basket", "/basket/remove",
            "/machines/{machine}/basket", "/machines/{machine}/restore", "/machines/{machine}/restore/order",
        ]
        for page in Page.all
        where !allowed.contains(page.path) && page.path != "/" && !page.path.hasPrefix("/restores/") {
            let target = page.path.replacing("{machine}", with: machine.id.hex).replacing(
                "{account}", with: account.id.hex
            )
            .replacing("{number}", with: "1").replacing("{job}", with: JobID.random().hex)
            let answer = page.method == "GET" ? try fixture.get(target, cookie) : try fixture.post(target, cookie)
            #expect(answer.status == 403, "\(page.method) \(page.path): \(answer.status)")
        }
        for operation in Operation.all where operation.access != .open {
            let isOwn = operation.path.hasPrefix("/api/v1/me") || ["files", "restores"].contains(operation.tag)
            if isOwn { continue }
            let target = operation.path.replacing("{vault}", with: fixture.core.vaultID.hex)
                .replacing("{machine}", with: machine.id.hex).replacing("{point}", with: PointID.random().hex)
            let body: JSONValue? = operation.request == .none ? nil : .object([:])
            // Keeping alive and ending a lease, which they have none of, tells nothing.
            if operation.path.hasSuffix("/leases/{lease}") { continue }
            let status = try fixture.api(operation.method, target, token, body).status
            #expect(status == 403 || status == 404, "\(operation.method) \(operation.path): \(status)")
        }
        let lines = try fixture.core.catalog.auditLines(before: .max, limit: 100)
        #expect(lines.contains { $0.action == "file.downloaded" && $0.who == "ann" })
    }

    // MARK: Tokens

    @Test("a token opens what it was made for, and nothing when its time, its account or it itself is gone")
    func tokens() throws {
        let fixture = try ConsoleFixture()
        try fixture.account("other", .owner)
        let boss = try fixture.account("boss", .owner)
        let cookie = try fixture.signIn("boss")
        let page = try fixture.post(
            "/me/tokens", cookie,
            [
                ("name", "reports"), ("right", "see-states"), ("days", "30"), ("password", ConsoleFixture.password),
            ])
        let code = try #require(page.text.firstMatch(of: /hfa_[A-Za-z0-9_.-]+/)?.output.description)
        #expect(try fixture.api("GET", "/api/v1/machines", code).status == 200)
        #expect(try fixture.api("GET", "/api/v1/accounts", code).status == 403, "it has one right")
        let shown = try fixture.get("/me", cookie).text
        #expect(shown.contains("reports") && shown.contains("192.0.2.7") && !shown.contains(code))
        // With it nothing is made that may more or lives longer.
        func make(_ right: String, days: Int64) throws -> ServerAnswer {
            try fixture.api(
                "POST", "/api/v1/me/tokens", code,
                .object([
                    "name": .string("\(right)\(days)"), "rights": .array([.string(right)]),
                    "seconds": .integer(days * 86_400),
                ]))
        }
        #expect(try make("manage-accounts", days: 1).status == 403)
        #expect(try make("see-states", days: 300).status == 201)
        #expect(
            try fixture.core.catalog.account(boss.id)?.tokens.map(\.expires).max()
                == fixture.clock.now.advanced(by: 30 * 86_400_000_000_000))
        #expect(try make("see-states", days: 400).status == 400, "bounded")
        fixture.clock.advance(seconds: 30 * 86_400)
        #expect(try fixture.api("GET", "/api/v1/machines", code).status == 403, "its time is over")

        for ending in ["removed", "disabled", "ended", "password by a link"] {
            let account = try fixture.account("a-\(ending.prefix(3))", .operator)
            let token = try fixture.token(account)
            #expect(try fixture.api("GET", "/api/v1/machines", token).status == 200)
            switch ending {
            case "removed": try fixture.core.accounts.remove(account.id, by: "test", from: "")
            case "disabled": try fixture.core.accounts.setDisabled(account.id, true, by: "test", from: "")
            case "ended":
                try fixture.core.accounts.endToken(of: account.id, where: { _ in true }, who: "test", from: "")
            default:
                let (_, link) = try fixture.core.accounts.newLink(account.id, by: "test", from: "")
                _ = try fixture.core.accounts.setPassword(link: link.text, "a new long password", address: "")
            }
            #expect(try fixture.api("GET", "/api/v1/machines", token).status == 403, "\(ending)")
            if ending == "disabled" {
                try fixture.core.accounts.setDisabled(account.id, false, by: "test", from: "")
                #expect(try fixture.api("GET", "/api/v1/machines", token).status == 403, "it does not come back")
            }
        }
        let weaker = try fixture.account("weaker", .administrator)
        let token = try fixture.token(weaker)
        try fixture.core.accounts.setRole(weaker.id, .auditor, groups: [], by: "test", from: "")
        #expect(try fixture.api("GET", "/api/v1/accounts", token).status == 403, "it has what its account has now")
        #expect(try fixture.api("GET", "/api/v1/audit", token).status == 200)
    }

    @Test("what is done with a token is in the audit log with the token's name, and its secret nowhere")
    func auditing() throws {
        let fixture = try ConsoleFixture()
        let boss = try fixture.account("boss", .owner)
        let token = try fixture.token(boss, name: "robot")
        _ = try fixture.json(
            "POST", "/api/v1/accounts", token, .object(["name": .string("ann"), "role": .string("auditor")]))
        let lines = try fixture.core.catalog.auditLines(before: .max, limit: 10)
        #expect(
            lines.contains {
                $0.action == "account.created" && $0.who == "boss (token robot)" && $0.address == "192.0.2.9"
            })
        #expect(lines.contains { $0.action == "token.made" && $0.object == "boss" })
        for line in lines {
            #expect(!String(decoding: line.detail, as: UTF8.self).contains(String(token.dropFirst(4).prefix(20))))
        }
        #expect(try fixture.core.accounts.audit.verify().firstBroken == nil)
    }

    @Test("nobody makes somebody who may more, or takes over one who does, in the console or with a token")
    func escalation() throws {
        let fixture = try ConsoleFixture()
        let owner = try fixture.account("owner", .owner)
        let admin = try fixture.account("admin", .administrator)
        let auditor = try fixture.account("auditor", .auditor)
        let cookie = try fixture.signIn("admin")
        #expect(try fixture.post("/accounts", cookie, [("name", "x"), ("role", "owner")]).status == 403)
        for form in ["link", "second-factor", "role", "disabled"] {
            let answer = try fixture.post(
                "/accounts/\(owner.id.hex)/\(form)", cookie, [("role", "auditor"), ("disabled", "yes")])
            #expect(answer.status == 403, "\(form)")
        }
        #expect(try fixture.post("/accounts/\(owner.id.hex)/remove", cookie, [("name", "owner")]).status == 403)
        let token = try fixture.token(admin, [.manageAccounts, .seeStates])
        // Whoever gives places reads what the person reads.
        let machine = try fixture.machine("one").machine
        let ann = try fixture.account("ann", .person)
        let places = JSONValue.object([
            "places": .array([
                .object(["machine": .string(machine.id.hex), "path": .string("/"), "uid": .integer(1_000)])
            ])
        ])
        #expect(try fixture.api("PUT", "/api/v1/accounts/\(ann.id.hex)", token, places).status == 403)
        #expect(try fixture.api("POST", "/api/v1/accounts/\(ann.id.hex)/link", token).status == 403)
        let reader = try fixture.token(admin, [.manageAccounts, .seeContents], name: "reader")
        #expect(try fixture.api("PUT", "/api/v1/accounts/\(ann.id.hex)", reader, places).status < 300)
        let role = JSONValue.object(["role": .string("administrator")])
        #expect(try fixture.api("PUT", "/api/v1/accounts/\(auditor.id.hex)", token, role).status == 403)
        #expect(try fixture.api("POST", "/api/v1/accounts/\(admin.id.hex)/link", token).status == 403)
        #expect(
            try fixture.post("/accounts/\(admin.id.hex)/disabled", cookie, [("disabled", "yes")]).status == 409,
            "oneself")
        #expect(throws: HoldfastError.self, "the last owner stays") {
            try fixture.core.accounts.setDisabled(owner.id, true, by: "test", from: "")
        }
    }

    @Test("an owner who can sign in is left, also when two take each other's role away at once")
    func lastOwner() throws {
        let fixture = try ConsoleFixture()
        let accounts = fixture.core.accounts
        let ann = try fixture.account("ann", .owner).id
        // Whoever never set a password may never have seen the link.
        let unused = try accounts.create(
            name: "bob", role: .owner, groups: [], places: [], by: "test", from: ""
        ).0.id
        for attempt in [
            { try accounts.remove(ann, by: "test", from: "") },
            { try accounts.setDisabled(ann, true, by: "test", from: "") },
            { try accounts.setRole(ann, .operator, groups: [], by: "test", from: "") },
        ] {
            let error = #expect(throws: HoldfastError.self) { try attempt() }
            #expect(error?.code == .forbidden)
        }
        try accounts.remove(unused, by: "test", from: "")
        let carl = try fixture.account("carl", .owner).id
        for round in 0..<30 {
            try runThreads(2, name: "owners") { number in
                try? accounts.setRole(number == 0 ? ann : carl, .operator, groups: [], by: "test", from: "")
            }
            let owners = try accounts.catalog.accounts().filter { $0.role == .owner }
            #expect(owners.count == 1, "round \(round)")
            for id in [ann, carl] { try accounts.setRole(id, .owner, groups: [], by: "test", from: "") }
        }
    }

    @Test("nobody has the server call itself without encryption from the console")
    func loopback() throws {
        let fixture = try ConsoleFixture()
        try fixture.account("owner", .owner)
        let cookie = try fixture.signIn("owner")
        let beat = "http://127.0.0.1:2375/"
        let saved = try fixture.post(
            "/settings/alerts", cookie, [("silent", "24"), ("lag", "30"), ("heartbeat", beat)])
        #expect(saved.text.contains("Nothing was saved"))
        let added = try fixture.post("/settings/webhooks", cookie, [("url", beat)])
        #expect(added.text.contains("Nothing was added"))
        let kept = try AlertSettings.load(fixture.core.catalog)
        #expect(kept.heartbeat == nil && kept.webhooks.isEmpty)
    }

    @Test("lines that are taken off the end of the log are missed by who has kept one, and an empty log by everybody")
    func shortened() throws {
        let fixture = try ConsoleFixture()
        try fixture.account("ann", .auditor)
        let log = fixture.core.accounts.audit
        try log.note("first", by: "test", from: "")
        let verdict = try log.verify()
        let mark = try #require(AuditLog.Mark("\(verdict.lines):\(Hex.encode(verdict.hash.array))"))
        try log.note("second", by: "test", from: "")
        #expect(try log.verify(mark).isWhole && log.verify().isWhole)
        #expect(try !log.verify(AuditLog.Mark("1:\(Hex.encode(verdict.hash.array))")).isWhole)
        for text in ["", "1", "1:", ":ab", "0:\(Hex.encode(verdict.hash.array))", "1:00"] {
            #expect(AuditLog.Mark(text) == nil, "\(text)")
        }
        try fixture.forgetAudit(after: mark.number - 1)
        #expect(try log.verify().isWhole && log.verify(mark).lacksKept)
        try fixture.forgetAudit(after: 0)
        #expect(try log.verify().firstBroken == 1)
    }

    @Test("what is put into a basket at once is bounded before it is looked at")
    func baskets() throws {
        let baskets = Baskets()
        let session = Bytes32.zero
        let items = (0...Baskets.mostItems).map {
            Baskets.Item(machine: .random(), point: .random(), path: TreePath("/\($0)") ?? .root)
        }
        #expect(throws: HoldfastError.self) { try baskets.add(items, to: session) }
        #expect(baskets.items(of: session).isEmpty)
        try baskets.add(Array(items.dropFirst()), to: session)
        #expect(baskets.items(of: session).count == Baskets.mostItems)
        #expect(throws: HoldfastError.self) { try baskets.add([items[0]], to: session) }
    }

    @Test("an account, with its places and tokens, comes back with the server's state")
    func recovery() throws {
        let fixture = try ConsoleFixture()
        let machine = MachineID.random()
        let account = try fixture.account(
            "ann", .person,
            places: [Account.Place(machine: machine, path: try #require(TreePath("/home/ann")), uid: nil, user: "ann")])
        _ = try fixture.token(account)
        let known = try #require(try fixture.core.catalog.account(account.id))
        #expect(try Account(try JSONValue(parsing: known.json.encoded())) == known)
        #expect(try fixture.core.export(revision: 1).accounts == [known])
    }
}
