import Catalog
import Client
import Model
import Server
import Vault

/// One account: its role, what is its own, and whether it may sign in.
enum AccountPage {
    static let all: [Page] = [
        .get("/accounts/{account}", "An account: role, groups, places.", .right(.manageAccounts)) { try show($0) },
        .post("/accounts/{account}/role", .right(.manageAccounts)) { visit in
            let account = try visit.desk.account(visit.request.parameters["account"])
            guard let role = Account.Role(word: visit.form.text("role")) else {
                throw HoldfastError(.usage, "Choose a role.")
            }
            try visit.desk.setRole(of: account, role, groups: try AccountPages.groups(visit))
            return .redirect("/accounts/\(account.id.hex)")
        },
        .post("/accounts/{account}/places", .right(.manageAccounts), addPlace),
        .post("/accounts/{account}/places/remove", .right(.manageAccounts)) { visit in
            let account = try visit.desk.account(visit.request.parameters["account"])
            let wanted = visit.form.text("place")
            try visit.desk.setPlaces(of: account, account.places.filter { mark($0) != wanted })
            return .redirect("/accounts/\(account.id.hex)")
        },
        .post("/accounts/{account}/disabled", .right(.manageAccounts)) { visit in
            let account = try visit.desk.account(visit.request.parameters["account"])
            try visit.desk.setDisabled(account, visit.form.text("disabled") == "yes")
            return .redirect("/accounts/\(account.id.hex)")
        },
    ]

    @Sendable private static func addPlace(_ visit: Visit) throws -> ServerAnswer {
        let account = try visit.desk.account(visit.request.parameters["account"])
        let typed = visit.form.text("machine")
        let machines = try visit.machines().filter { $0.id.hex == typed || $0.name == typed }
        guard let machine = machines.first, machines.count == 1 else {
            return try show(
                visit,
                problem: machines.isEmpty
                    ? "There is no machine \(typed)."
                    : "Several machines are called \(typed): give the id of one, from its page's address.")
        }
        guard let path = TreePath(visit.form.text("path")) else {
            return try show(visit, problem: "That is not a path.")
        }
        let user = visit.form.text("user")
        // Who has only digits in their name is named by their number.
        let uid = UInt32(user)
        do {
            try visit.desk.setPlaces(
                of: account,
                account.places + [
                    Account.Place(machine: machine.id, path: path, uid: uid, user: uid == nil ? user : nil)
                ])
        } catch let error as HoldfastError where error.code == .usage {
            return try show(visit, problem: error.message)
        }
        return .redirect("/accounts/\(account.id.hex)")
    }

    /// A place in a form.
    private static func mark(_ place: Account.Place) -> String {
        "\(place.machine.hex):\(place.uid.map(String.init) ?? ""):\(place.user ?? ""):\(Hex.encode(place.path.bytes))"
    }

    private static func show(_ visit: Visit, problem: String? = nil) throws -> ServerAnswer {
        let account = try visit.desk.account(visit.request.parameters["account"])
        let trouble: HTML? = problem.map { "<p class=\"error\" role=\"alert\">\($0)</p>" }
        let base = "/accounts/\(account.id.hex)"
        let isDisabled: HTML? =
            account.isDisabled ? "<div><dt>State</dt><dd>\(Piece.state("bad", "Disabled"))</dd></div>" : nil
        let roles: [HTML] = try Account.Role.allCases.reversed().compactMap { role in
            guard try visit.desk.mayChange(role) else { return nil }
            let selected: HTML = role == account.role ? " selected" : .nothing
            return "<option value=\"\(role.word)\"\(selected)>\(role.title): \(role.meaning)</option>"
        }
        let change: HTML = """
            <h2>Role</h2><form method="post" action="\(base)/role" class="card narrow">\(Piece.formToken(visit))
            <label>Role<select name="role">\(roles)</select></label>
            <label>Groups of machines, for operators and help desks (empty: all)\
            <input name="groups" value="\(account.groups.joined(separator: ", "))"></label><button>Change it</button></form>
            """
        let word: HTML = account.isDisabled ? "Let it sign in again" : "Disable it"
        let disable: HTML? =
            account.id == visit.visitor?.account.id
            ? nil
            : """
            <h2>Signing in</h2><form method="post" action="\(base)/disabled">\(Piece.formToken(visit))
            <input type="hidden" name="disabled" value="\(account.isDisabled ? "no" : "yes")"><p class="hint">A disabled account keeps its \
            name, role and places; its sessions and tokens end.</p><button>\(word)</button></form>
            """
        return Layout.page(
            account.name, visit,
            """
            \(trouble)<dl class="facts card"><div><dt>Role</dt><dd>\(account.role.title)</dd></div>\(isDisabled)
            <div><dt>Second factor</dt><dd>\(account.secondFactor == nil ? "no" : "yes")</dd></div>
            <div><dt>Last sign-in</dt><dd>\(account.lastSignIn.map { Piece.time($0, now: visit.now) } ?? "never")</dd></div></dl>
            \(account.role == .person ? try places(account, visit, base) : .nothing)\(change)\(disable)
            """)
    }

    private static func places(_ account: Account, _ visit: Visit, _ base: String) throws -> HTML {
        let machines = Dictionary(try visit.machines().map { ($0.id, $0.name) }) { first, _ in first }
        let rows: [HTML] = account.places.map { place in
            """
            <tr><th scope="row">\(machines[place.machine] ?? place.machine.hex)</th><td>\(place.path.displayText)</td>
            <td>\(place.user ?? "number \(place.uid ?? 0)")</td><td><form method="post" action="\(base)/places/remove">\
            \(Piece.formToken(visit))<input type="hidden" name="place" value="\(mark(place))"><button class="quiet">Remove</button></form></td></tr>
            """
        }
        let list: HTML =
            rows.isEmpty
            ? "<p class=\"hint\">Nothing yet: this person sees no files.</p>"
            : """
            <table><thead><tr><th>Machine</th><th>Path</th><th>As user</th><th></th></tr></thead><tbody>\(rows)</tbody></table>
            """
        let choices: [HTML] = machines.values.sorted().prefix(2_000).map { "<option value=\"\($0)\"></option>" }
        return """
            <h2>What is theirs</h2>\(list)<form method="post" action="\(base)/places" class="card narrow">\(Piece.formToken(visit))
            <p class="hint">They see what this user of the machine could read at the time that they look at, here and below; nothing else.</p>
            <label>Machine<input name="machine" list="machines" required autocomplete="off"></label>
            <datalist id="machines">\(choices)</datalist>
            <label>Path<input name="path" value="/home/\(account.name)" required></label>
            <label>User on that machine (name or number)<input name="user" value="\(account.name)" required></label>
            <button class="main">Make it theirs</button></form>
            """
    }
}
