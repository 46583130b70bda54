import Browsing
import Catalog
import Client
import Model
package import Server
import Vault

/// The console as operations of the server: pages, forms and assets.
package struct Site: Sendable {
    let core: ServerCore
    let accounts: AccountBook
    var shelf: PointShelf { core.shelf }
    let baskets = Baskets()

    package init(_ core: ServerCore) {
        self.core = core
        accounts = core.accounts
    }

    /// What is to be served beside the API.
    package var operations: [Operation] {
        var operations = Assets.all.map { asset in
            Operation("GET", asset.path, "An asset of the console.", tag: Operation.pageTag, access: .open) { _, _ in
                ServerAnswer(asset)
            }
        }
        operations.append(
            Operation("GET", "/favicon.ico", "The console's icon.", tag: Operation.pageTag, access: .open) { _, _ in
                var answer = ServerAnswer(Assets.icon)
                // Its address does not change with it.
                answer.headers[0] = ("Cache-Control", "public, max-age=86400")
                return answer
            })
        let site = self
        for page in Page.all {
            operations.append(
                Operation(
                    page.method, page.path, page.title, tag: Operation.pageTag, access: .open,
                    request: page.method == "POST" ? .text("a form") : .none,
                    maximumBody: page.isGuessable ? 16 << 10 : 1 << 20,
                    isGuessable: page.isGuessable
                ) { _, request in site.answer(page, request) })
        }
        return operations
    }

    /// What a browser is shown instead of a page, by the status.
    package static func missing(_ status: Int) -> ServerAnswer {
        let (title, text): (String, HTML) =
            switch status {
            case 404: ("Not found", "There is no page at this address.")
            case 405: ("Not found", "There is no page at this address, or it cannot be opened like this.")
            case 413: ("Too much", "That is more than this page takes; nothing was done.")
            case 429:
                ("Too often", "Too many attempts came from your address. Wait a minute, then go back and try again.")
            case 500...599:
                ("Not now", "The server cannot do this at the moment; nothing was done. Go back and try again soon.")
            default: ("It did not work", "Nothing was done. Go back and try again.")
            }
        return guarded(
            Layout.plain(
                title,
                """
                <p>\(text)</p><p><a class="button" href="/">To the overview</a></p>
                """, status: status))
    }

    // MARK: From a request to a page

    private func answer(_ page: Page, _ request: ServerRequest) -> ServerAnswer {
        var visitor: AccountBook.Visitor?
        do {
            guard Self.isOfThisSite(request) || page.method == "GET" else {
                throw HoldfastError(.denied, "This form was sent from another site; nothing was done.")
            }
            visitor = try request.cookie(Self.cookieName).flatMap {
                try accounts.visitor($0, isThere: !request.isRefresh)
            }
            let visit = Visit(site: self, request: request, visitor: visitor)
            switch page.access {
            case .anybody: break
            case .right(let right):
                guard let visitor else { return try signInFirst(visit) }
                // Who has files of their own and nothing else begins there.
                if page.path == "/", visitor.account.role == .person {
                    return Self.guarded(.redirect(MyFilesPage.path))
                }
                guard visitor.may(right) else {
                    throw HoldfastError(.denied, "Your account (\(visitor.account.role.title)) may not see or do this.")
                }
                try checkForm(page, visit)
            case .anyRight(let rights):
                guard let visitor else { return try signInFirst(visit) }
                guard rights.contains(where: visitor.may) else {
                    throw HoldfastError(.denied, "Your account (\(visitor.account.role.title)) may not see or do this.")
                }
                try checkForm(page, visit)
            case .signedIn:
                guard visitor != nil else { return try signInFirst(visit) }
                try checkForm(page, visit)
            }
            return Self.guarded(try page.body(visit))
        } catch {
            let told =
                error as? HoldfastError
                ?? HoldfastError(.internalError, "The server failed at this: \(error)")
            return Self.guarded(
                ErrorPage.answer(told, Visit(site: self, request: request, visitor: visitor)))
        }
    }

    private func checkForm(_ page: Page, _ visit: Visit) throws {
        guard page.method == "POST" else { return }
        guard let visitor = visit.visitor, visit.form.text("form") == visitor.formToken else {
            throw HoldfastError(
                .denied,
                "This form is not of your session; nothing was done. Go back, load the page again and try again.")
        }
    }

    private func signInFirst(_ visit: Visit) throws -> ServerAnswer {
        let isFirst = visit.request.method == "GET" && visit.request.path != "/"
        return Self.guarded(.redirect("/sign-in" + (isFirst ? Address.query([("to", visit.request.target)]) : "")))
    }

    /// Browsers say where a request comes from; what no browser sent has no cookie either.
    private static func isOfThisSite(_ request: ServerRequest) -> Bool {
        switch request.fetchSite {
        case nil, "same-origin", "none": true
        default: false
        }
    }

    /// The prefix makes browsers refuse the cookie unless it is secure, of this host alone and for all of its paths.
    static let cookieName = "__Host-holdfast"

    /// Nothing is loaded from elsewhere, nothing inline is run, and no other site can show the page inside its own.
    private static func guarded(_ answer: ServerAnswer) -> ServerAnswer {
        var answer = answer
        answer.headers += [
            (
                "Content-Security-Policy",
                "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
                    + "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
            ),
            ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "same-origin"),
            ("Cross-Origin-Opener-Policy", "same-origin"), ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Strict-Transport-Security", "max-age=31536000"),
        ]
        return answer
    }
}

/// A page or a form's target.
struct Page: Sendable {
    enum Access: Sendable {
        case anybody
        case signedIn
        case right(AccountRight)
        /// One of them.
        case anyRight([AccountRight])
    }

    var method: String
    var path: String
    var title: String
    var access: Access
    /// Takes a secret that somebody could try to guess.
    var isGuessable = false
    var body: @Sendable (Visit) throws -> ServerAnswer

    /// The same page, with addresses bounded that are wrong too often.
    var guessable: Page {
        var page = self
        page.isGuessable = true
        return page
    }

    static func get(
        _ path: String, _ title: String, _ access: Access, _ body: @escaping @Sendable (Visit) throws -> ServerAnswer
    ) -> Page { Page(method: "GET", path: path, title: title, access: access, body: body) }

    static func post(
        _ path: String, _ access: Access, _ body: @escaping @Sendable (Visit) throws -> ServerAnswer
    ) -> Page { Page(method: "POST", path: path, title: "A form of the console.", access: access, body: body) }

    static let all: [Page] =
        SignInPages.all + OverviewPage.all + MyFilesPage.all + MachineList.all + MachinePages.all
        + MachineGrowthPage.all
        + FilesPage.all + FilePage.all + SearchPage.all + DownloadPages.all + RestoreOrderPages.all
        + AlertPages.all + AlertMutePages.all + JobPages.all + EnrolmentPages.all + AccountPages.all + AccountPage.all
        + OwnPages.all
        + AuditPage.all + VaultPage.all + BasketPage.all + PolicyPages.all + SettingsPages.all + ReportPages.all
        + [FeedPage.page]
}

/// A request to a page, with who asks.
struct Visit: Sendable {
    let site: Site
    let request: ServerRequest
    let visitor: AccountBook.Visitor?
    let query: FormFields
    let form: FormFields

    init(site: Site, request: ServerRequest, visitor: AccountBook.Visitor?) {
        self.site = site
        self.request = request
        self.visitor = visitor
        let parts = request.target.split(separator: "?", maxSplits: 1)
        query = FormFields(parts.count > 1 ? String(parts[1]) : "")
        form = FormFields(String(decoding: request.body, as: UTF8.self))
    }

    var core: ServerCore { site.core }
    var now: Timestamp { core.time }
    /// The zone in which times are shown.
    var zone: TimeZoneRules { SystemZones.current }

    func may(_ right: AccountRight) -> Bool { visitor?.may(right) ?? false }

    /// Whether who asks may see contents of files: of any, or of their own.
    var mayRead: Bool { visitor?.person.mayRead ?? false }

    /// The name of who asks.
    var name: String { visitor?.account.name ?? "" }

    /// Whether nothing is hidden from who asks because of its group.
    var seesAllMachines: Bool { visitor?.person.seesAllMachines ?? false }

    /// What who asks may see and do, in the same way as through the API. Throws `keyNeeded` when nobody is signed in.
    var desk: Desk {
        get throws {
            guard let visitor else { throw HoldfastError(.keyNeeded, "Sign in first.") }
            return Desk(core, visitor.person, address: request.address, session: visitor.session)
        }
    }

    /// Writes down what is about to be done.
    func note(_ action: String, to object: String = "", _ detail: [String: JSONValue] = [:]) throws {
        try desk.note(action, to: object, detail)
    }

    /// By what name the browser reaches this server; machines may reach it by the same.
    var origin: String { "https://" + (request.host.isEmpty ? "localhost" : request.host) }

    /// The machines that who asks may see, by name.
    func machines() throws -> [ManagedMachine] { try desk.machines() }

    /// A machine that who asks may see. Throws `notFound`, in the same words for one of another's.
    func machine(_ hex: String?) throws -> ManagedMachine {
        try desk.machine(hex)
    }
}

extension ServerAnswer {
    static func page(_ html: HTML, status: Int = 200) -> ServerAnswer {
        ServerAnswer(status: status, contentType: "text/html; charset=utf-8", body: Array(html.source.utf8))
    }

    /// To another page of this server, by GET.
    static func redirect(_ path: String) -> ServerAnswer {
        // Never to another host, whatever was asked for. Browsers pass over tabs and ends of lines, and take a backslash for a
        // slash; what is no plain character is percent-encoded in our own addresses.
        let bytes = Array(path.utf8)
        let isPlain = bytes.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\\") }
        let slash = UInt8(ascii: "/")
        let isOwn = isPlain && bytes.first == slash && (bytes.count < 2 || bytes[1] != slash)
        return ServerAnswer(status: 303, headers: [("Location", isOwn ? path : "/")])
    }

    init(_ asset: Assets.Asset) {
        self.init(contentType: asset.type, body: asset.bytes)
        headers = [("Cache-Control", "public, max-age=31536000, immutable"), ("X-Content-Type-Options", "nosniff")]
    }
}
