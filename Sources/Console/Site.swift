import Catalog
import Client
import Model
package import Server
import Vault

/// The console as operations of the server: pages, forms and assets.
package struct Site: Sendable {
    let core: ServerCore
    let accounts: AccountBook
    let shelf: PointShelf

    package init(_ core: ServerCore) {
        self.core = core
        shelf = PointShelf(core)
        accounts = core.accounts
    }

    /// What is to be served beside the API.
    package var operations: [Operation] {
        var operations = Assets.all.map { asset in
            Operation("GET", asset.path, "An asset of the console.", tag: "console", access: .open) { _, _ in
                ServerAnswer(asset)
            }
        }
        let site = self
        for page in Page.all {
            operations.append(
                Operation(
                    page.method, page.path, page.title, tag: "console", access: .open,
                    request: page.method == "POST" ? .text("a form") : .none, maximumBody: 1 << 20
                ) { _, request in site.answer(page, request) })
        }
        return operations
    }

    // MARK: From a request to a page

    private func answer(_ page: Page, _ request: ServerRequest) -> ServerAnswer {
        var visitor: AccountBook.Visitor?
        do {
            guard Self.isOfThisSite(request) || page.method == "GET" else {
                throw HoldfastError(.denied, "This form was sent from another site; nothing was done.")
            }
            visitor = try request.cookie(Self.cookieName).flatMap { try accounts.visitor($0) }
            let visit = Visit(site: self, request: request, visitor: visitor)
            switch page.access {
            case .anybody: break
            case .right(let right):
                guard let visitor else { return try signInFirst(visit) }
                guard visitor.may(right) else {
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
    }

    var method: String
    var path: String
    var title: String
    var access: Access
    var body: @Sendable (Visit) throws -> ServerAnswer

    static func get(
        _ path: String, _ title: String, _ access: Access, _ body: @escaping @Sendable (Visit) throws -> ServerAnswer
    ) -> Page { Page(method: "GET", path: path, title: title, access: access, body: body) }

    static func post(
        _ path: String, _ access: Access, _ body: @escaping @Sendable (Visit) throws -> ServerAnswer
    ) -> Page { Page(method: "POST", path: path, title: "A form of the console.", access: access, body: body) }

    static let all: [Page] =
        SignInPages.all + OverviewPage.all + MachinePages.all + FilesPage.all + FilePage.all
        + SearchPage.all + DownloadPages.all
        + AlertPages.all + JobPages.all + EnrolmentPages.all + AccountPages.all + OwnPages.all + AuditPage.all
        + VaultPage.all
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

    /// The name of who asks.
    var name: String { visitor?.account.name ?? "" }

    /// Whether nothing is hidden from who asks because of its group.
    var seesAllMachines: Bool {
        guard let account = visitor?.account else { return false }
        switch account.role {
        case .owner, .administrator, .auditor: return true
        case .operator, .helpDesk: return account.groups.isEmpty
        case .person: return false
        }
    }

    /// Writes down what is about to be done.
    func note(_ action: String, to object: String = "", _ detail: [String: JSONValue] = [:]) throws {
        try site.accounts.audit.note(action, by: name, from: request.address, to: object, detail)
    }

    /// By what name the browser reaches this server; machines may reach it by the same.
    var origin: String { "https://" + (request.host.isEmpty ? "localhost" : request.host) }

    /// The machines that who asks may see, by name.
    func machines() throws -> [ManagedMachine] {
        guard let visitor else { return [] }
        return try core.catalog.machines().filter { visitor.covers(group: $0.group) }
    }

    /// A machine that who asks may see. Throws `notFound`, in the same words for one of another's.
    func machine(_ hex: String?) throws -> ManagedMachine {
        guard let id = hex.flatMap({ MachineID(hex: $0) }), let machine = try core.catalog.machine(id),
            visitor?.covers(group: machine.group) == true
        else { throw HoldfastError(.notFound, "There is no such machine.") }
        return machine
    }
}

extension ServerAnswer {
    static func page(_ html: HTML, status: Int = 200) -> ServerAnswer {
        ServerAnswer(status: status, contentType: "text/html; charset=utf-8", body: Array(html.source.utf8))
    }

    /// To another page of this server, by GET.
    static func redirect(_ path: String) -> ServerAnswer {
        // Never to another host, whatever was asked for.
        let isOwn = path.hasPrefix("/") && !path.hasPrefix("//") && !path.contains("\\") && !path.contains("\n")
        return ServerAnswer(status: 303, headers: [("Location", isOwn ? path : "/")])
    }

    init(_ asset: Assets.Asset) {
        self.init(contentType: asset.type, body: asset.bytes)
        headers = [("Cache-Control", "public, max-age=31536000, immutable"), ("X-Content-Type-Options", "nosniff")]
    }
}
