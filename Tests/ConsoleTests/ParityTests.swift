import Catalog
import Model
import TestSupport
import Testing
import Vault

@testable import Console
@testable import Server

/// Nothing can be seen or done in the console that the API cannot.
@Suite("The console and the API")
struct ParityTests {
    /// For each page what of the API shows or does the same.
    private static let operations: [String: [String]] = [
        "GET /": ["GET /api/v1/machines", "GET /api/v1/alerts", "GET /api/v1/jobs"],
        "GET /machines": ["GET /api/v1/machines"],
        "GET /machines/{machine}": [
            "GET /api/v1/machines/{machine}", "GET /api/v1/machines/{machine}/points",
            "GET /api/v1/machines/{machine}/policy",
        ],
        "POST /machines/{machine}/back-up": ["POST /api/v1/machines/{machine}/commands"],
        "POST /machines/{machine}/approve": [
            "POST /api/v1/machines/{machine}/approve", "POST /api/v1/machines/{machine}/refuse",
        ],
        "POST /machines/{machine}/retire": ["POST /api/v1/machines/{machine}/retire"],
        "GET /my-files": ["GET /api/v1/me"],
        "GET /machines/{machine}/files": [
            "GET /api/v1/machines/{machine}/files", "GET /api/v1/machines/{machine}/points",
        ],
        "GET /machines/{machine}/file": [
            "GET /api/v1/machines/{machine}/files", "GET /api/v1/machines/{machine}/versions",
            "GET /api/v1/machines/{machine}/preview",
        ],
        "GET /machines/{machine}/preview": ["GET /api/v1/machines/{machine}/preview"],
        "GET /machines/{machine}/difference": ["GET /api/v1/machines/{machine}/difference"],
        "GET /machines/{machine}/search": ["GET /api/v1/machines/{machine}/names"],
        "GET /machines/{machine}/download": ["GET /api/v1/machines/{machine}/content"],
        "POST /machines/{machine}/archive": ["POST /api/v1/machines/{machine}/archive"],
        "GET /alerts": ["GET /api/v1/alerts"],
        "POST /alerts/{number}/acknowledge": ["POST /api/v1/alerts/{number}/acknowledge"],
        "GET /jobs": ["GET /api/v1/jobs"],
        "GET /jobs/{job}": ["GET /api/v1/jobs/{job}"],
        "POST /jobs": ["POST /api/v1/jobs"],
        "POST /jobs/{job}/stop": ["DELETE /api/v1/jobs/{job}"],
        "GET /enrolment": ["GET /api/v1/enrolment-codes"],
        "POST /enrolment": ["POST /api/v1/enrolment-codes"],
        "POST /enrolment/remove": ["DELETE /api/v1/enrolment-codes/{code}"],
        "GET /accounts": ["GET /api/v1/accounts"],
        "POST /accounts": ["POST /api/v1/accounts"],
        "GET /accounts/{account}": ["GET /api/v1/accounts"],
        "POST /accounts/{account}/link": ["POST /api/v1/accounts/{account}/link"],
        "POST /accounts/{account}/second-factor": ["DELETE /api/v1/accounts/{account}/second-factor"],
        "POST /accounts/{account}/remove": ["DELETE /api/v1/accounts/{account}"],
        "POST /accounts/{account}/role": ["PUT /api/v1/accounts/{account}"],
        "POST /accounts/{account}/places": ["PUT /api/v1/accounts/{account}"],
        "POST /accounts/{account}/places/remove": ["PUT /api/v1/accounts/{account}"],
        "POST /accounts/{account}/disabled": ["PUT /api/v1/accounts/{account}"],
        "GET /me": ["GET /api/v1/me", "GET /api/v1/me/sessions", "GET /api/v1/me/tokens"],
        "POST /me/password": ["POST /api/v1/me/password"],
        "POST /me/second-factor": ["POST /api/v1/me/second-factor"],
        "POST /me/sessions": ["DELETE /api/v1/me/sessions"],
        "POST /me/tokens": ["POST /api/v1/me/tokens"],
        "POST /me/tokens/{token}/end": ["DELETE /api/v1/me/tokens/{token}"],
        "GET /audit": ["GET /api/v1/audit", "GET /api/v1/audit/verification"],
        "GET /audit.csv": ["GET /api/v1/audit/export"],
        "GET /vault": ["GET /api/v1/vaults/{vault}/statistics"],
        "POST /welcome/{secret}": ["POST /api/v1/links/use"],
        "GET /machines.csv": ["GET /api/v1/machines"],
        "POST /machines/selected": [
            "POST /api/v1/machines/{machine}/commands", "POST /api/v1/machines/{machine}/approve",
            "POST /api/v1/machines/{machine}/retire",
        ],
        "POST /machines/{machine}/return": ["POST /api/v1/machines/{machine}/return"],
        "POST /machines/{machine}/placement": ["PUT /api/v1/machines/{machine}/placement"],
        "GET /machines/{machine}/points": ["GET /api/v1/machines/{machine}/points"],
        "GET /machines/{machine}/points.csv": ["GET /api/v1/machines/{machine}/points"],
        "GET /alerts.csv": ["GET /api/v1/alerts"],
        "POST /alerts/selected": [
            "POST /api/v1/alerts/{number}/acknowledge", "POST /api/v1/alerts/{number}/resolve",
        ],
        "GET /jobs.csv": ["GET /api/v1/jobs"],
        "GET /vault.csv": ["GET /api/v1/vaults/{vault}/statistics"],
        "GET /enrolment.csv": ["GET /api/v1/enrolment-codes"],
        "GET /accounts.csv": ["GET /api/v1/accounts"],
        "GET /basket": ["GET /api/v1/machines/{machine}/files"],
        "POST /machines/{machine}/basket": ["POST /api/v1/machines/{machine}/archive"],
        "POST /basket/remove": ["POST /api/v1/machines/{machine}/archive"],
        "GET /policies": ["GET /api/v1/policies", "GET /api/v1/placements"],
        "GET /policies-editor": ["GET /api/v1/policies/{policy}"],
        "POST /policies-editor": ["POST /api/v1/policies", "POST /api/v1/policy-previews"],
        "GET /policies/{policy}": ["GET /api/v1/policies/{policy}", "GET /api/v1/policies/{policy}/revisions"],
        "GET /policies/{policy}/revisions/{revision}": ["GET /api/v1/policies/{policy}"],
        "POST /policies/{policy}/take-back": ["POST /api/v1/policies"],
        "POST /policies/{policy}/assign": [
            "PUT /api/v1/groups/{group}/policy", "PUT /api/v1/machines/{machine}/placement",
        ],
        "POST /policies/{policy}/release": [
            "PUT /api/v1/groups/{group}/policy", "PUT /api/v1/machines/{machine}/placement",
        ],
        "POST /policies/{policy}/remove": ["DELETE /api/v1/policies/{policy}"],
        "GET /settings": ["GET /api/v1/settings", "GET /health"],
        "POST /settings/mail": ["PUT /api/v1/settings"],
        "POST /settings/mail/test": ["POST /api/v1/alerts/test"],
        "POST /settings/alerts": ["PUT /api/v1/settings"],
        "POST /settings/address": ["PUT /api/v1/settings"],
        "POST /settings/webhooks": ["POST /api/v1/settings/webhooks"],
        "POST /settings/webhooks/remove": ["DELETE /api/v1/settings/webhooks"],
        "GET /reports": ["GET /api/v1/reports/protection"],
        "POST /reports": ["PUT /api/v1/settings"],
        "POST /reports/send": ["POST /api/v1/reports/protection/mail"],
        "GET /machines/{machine}/growth": ["GET /api/v1/machines/{machine}/growth"],
        "GET /alert-mutes": ["GET /api/v1/alert-mutes"],
        "POST /alert-mutes": ["POST /api/v1/alert-mutes"],
        "POST /alert-mutes/remove": ["DELETE /api/v1/alert-mutes/{mute}"],
        "GET /machines/{machine}/restore": ["POST /api/v1/restores"],
        "POST /machines/{machine}/restore": ["POST /api/v1/restores"],
        "POST /machines/{machine}/restore/order": ["POST /api/v1/restores"],
        "GET /restores/{order}": ["GET /api/v1/restores/{order}"],
        "GET /restores/{order}/now": ["GET /api/v1/restores/{order}"],
        "POST /restores/{order}/confirm": ["POST /api/v1/restores/{order}/confirm"],
        "POST /restores/{order}/undo": ["POST /api/v1/restores/{order}/undo"],
        "POST /restores/{order}/stop": ["POST /api/v1/restores/{order}/stop"],
    ]

    /// Browsers sign in and out; programs have tokens.
    private static let browsersOnly: Set<String> = [
        "GET /sign-in", "POST /sign-in", "POST /sign-out", "GET /welcome/{secret}", "GET /feed", "POST /first-hour",
    ]

    @Test("every page and every form has its operations, and the list names no others")
    func complete() {
        let pages = Set(Page.all.map { "\($0.method) \($0.path)" })
        let known = Set(Self.operations.keys).union(Self.browsersOnly)
        #expect(pages.subtracting(known).isEmpty, "pages without an operation: say here which one does the same")
        #expect(known.subtracting(pages).isEmpty, "pages that there are not")
        let served = Set(Operation.all.map { "\($0.method) \($0.path)" })
        for (page, names) in Self.operations {
            #expect(!names.isEmpty, "\(page)")
            for name in names { #expect(served.contains(name), "\(page): there is no \(name)") }
        }
    }

    /// For a page with a right: the operation, asked with a token of the same account, is refused to the same people.
    @Test("what a role may not see in the console it may not see through the API", arguments: Account.Role.allCases)
    func sameRights(role: Account.Role) throws {
        let fixture = try ConsoleFixture()
        let (machine, _) = try fixture.machine("one", [[.file("/home/ann/f", "text", uid: 1_000)]])
        let place = Account.Place(machine: machine.id, path: try #require(TreePath("/home/ann")), uid: 1_000)
        let account = try fixture.account("somebody", role, places: role == .person ? [place] : [])
        let cookie = try fixture.signIn("somebody")
        let token = try fixture.token(account)
        let at = "/machines/\(machine.id.hex)"
        let pairs: [(page: String, operation: String)] = [
            ("/machines", "/api/v1/machines"), (at, "/api/v1\(at)"),
            ("\(at)/files?path=/home/ann", "/api/v1\(at)/files?path=/home/ann"),
            ("\(at)/file?path=/home/ann/f", "/api/v1\(at)/versions?path=/home/ann/f"),
            ("\(at)/search?q=fi", "/api/v1\(at)/names?q=fi"),
            ("\(at)/download?path=/home/ann/f", "/api/v1\(at)/content?path=/home/ann/f"),
            ("/alerts", "/api/v1/alerts"), ("/accounts", "/api/v1/accounts"),
            ("/accounts/\(account.id.hex)", "/api/v1/accounts"), ("/audit", "/api/v1/audit"),
            ("/audit.csv", "/api/v1/audit/export"), ("/enrolment", "/api/v1/enrolment-codes"), ("/me", "/api/v1/me"),
        ]
        for (page, operation) in pairs {
            let shown = try fixture.get(page, cookie)
            let answered = try fixture.api("GET", operation, token)
            #expect(
                (shown.status == 403) == (answered.status == 403),
                "\(role) \(page): \(shown.status), \(answered.status)")
            #expect(answered.status < 500 && shown.status < 500, "\(role) \(page): \(shown.text)")
        }
        let posted = try fixture.post("\(at)/archive", cookie, [("point", ""), ("path", "/home/ann")])
        let asked = try fixture.api("POST", "/api/v1\(at)/archive", token, .object(["folder": .string("/home/ann")]))
        #expect((posted.status == 403) == (asked.status == 403), "\(role)")
    }
}
