import Catalog
import Client
import Model
import Server
import Vault

/// How further machines come in.
enum EnrolmentPages {
    static let all: [Page] = [
        .get("/enrolment", "How further machines come in.", .right(.manageMachines)) { try show($0, line: nil) },
        .get("/enrolment.csv", "Lines that enrol machines, as a table.", .right(.manageMachines)) { visit in
            table(visit).file(try open(visit), visit, name: "enrolment")
        },
        .post("/enrolment", .right(.manageMachines), make),
        .post("/enrolment/remove", .right(.manageMachines)) { visit in
            let hex = visit.form.text("token")
            let tokens = try visit.core.catalog.tokens()
            guard let hash = tokens.first(where: { $0.role == .enrolment && Hex.encode($0.hash.array) == hex })?.hash
            else { throw HoldfastError(.notFound, "This line does not hold any more.") }
            try visit.note("enrolment.withdrawn")
            _ = try visit.core.catalog.remove(tokenHash: hash)
            return .redirect("/enrolment")
        },
    ]

    @Sendable private static func make(_ visit: Visit) throws -> ServerAnswer {
        guard let uses = visit.form.number("uses", in: 1...10_000),
            let hours = visit.form.number("hours", in: 1...8_760)
        else { throw HoldfastError(.usage, "Say for how many machines (1 to 10,000) and how many hours (1 to 8,760).") }
        let typed = visit.form.text("group")
        let group = typed.isEmpty ? "default" : typed
        try ServerCore.requireGroupName(group)
        let name = visit.visitor?.account.name ?? ""
        try visit.note("enrolment.opened", to: group, ["uses": .integer(Int64(uses)), "hours": .integer(Int64(hours))])
        let code = try visit.core.makeEnrolmentCode(name: name, group: group, uses: uses, seconds: Int64(hours) * 3_600)
        let address = try ServerAddress(visit.origin)
        let line =
            try ServerCore.installLine(code, address: address, catalog: visit.core.catalog)
            ?? "echo \(code.text) | holdfast enrol \(address.description)"
        return try show(visit, line: line)
    }

    private static func show(_ visit: Visit, line: String?) throws -> ServerAnswer {
        let shown: HTML? = line.map { line -> HTML in
            let isBare = line.hasPrefix("echo ")
            let before: HTML =
                isBare
                ? """
                <p>Holdfast must be installed on the machine before (<code>make deb</code> makes the packages; the program <code>holdfast</code> alone \
                is enough).</p>
                """ : .nothing
            let after: HTML =
                isBare
                ? """
                <p>Nothing is protected by that yet. With the package <code>holdfast-agent</code> the service begins by itself; without it start \
                <code>holdfast agent run</code> there, as root, now and after each start.</p>
                """
                : "<p>It installs Holdfast, enrols the machine and starts the service that protects it.</p>"
            return """
                <section class="good"><h2>Paste this into a terminal of the machine, as root</h2>\(before)<pre tabindex="0" data-copy><code>\(line)</code></pre>\(after)
                <p class="hint">It is shown once. It holds for the machines and the time that were asked for, and names this server's key, so \
                that no other server can take its place. It may stay in the history of the shell: ask for no more machines and hours than you need.</p></section>
                """
        }
        let tokens = try open(visit)
        let list: HTML? =
            tokens.isEmpty ? nil : "<h2>Lines that still let machines in</h2>\(table(visit).show(tokens, visit))"
        let sheet: HTML? =
            try visit.core.catalog.setting(ServerCore.sheetSetting) == nil
            ? """
            <p class="note">One machine can enrol. A second one can when the key sheet was typed back once, on the server: \
            <code>\(visit.core.sheetCommand)</code>. With the sheet unread, losing this server would lose everything.</p>
            """ : nil
        return Layout.page(
            "Enrolment", visit,
            """
            \(shown)\(sheet)<form method="post" action="/enrolment" class="card narrow">\(Piece.formToken(visit))
            <label>For how many machines<input name="uses" type="number" min="1" max="10000" value="\(typed(visit, "uses", "1"))" required></label>
            <label>Group, whose policies they follow<input name="group" value="\(typed(visit, "group", "default"))" required maxlength="64" list="groups"></label>
            <label>For how many hours<input name="hours" type="number" min="1" max="8760" value="\(typed(visit, "hours", "24"))" required></label>
            \(PolicyPages.groupChoices(visit))<button class="main">Make a line that enrols</button></form>\(list)\(SettingsParts.packages(visit, title: "Packages and versions"))
            """)
    }

    /// What stands in a field: what was typed for the line that is shown, else the usual.
    private static func typed(_ visit: Visit, _ name: String, _ usual: String) -> String {
        let text = visit.form.text(name)
        return text.isEmpty ? usual : text
    }

    /// Lines that still let machines in.
    private static func open(_ visit: Visit) throws -> [AccessToken] {
        let now = visit.now
        return try visit.core.catalog.tokens().filter { token in
            token.role == .enrolment && (token.uses ?? 1) > 0 && (token.expires.map { now < $0 } ?? true)
        }
    }

    private static func table(_ visit: Visit) -> Table<AccessToken> {
        let now = visit.now
        return Table<AccessToken>(
            path: "/enrolment", noun: ("line", "lines"),
            columns: [
                .init(
                    "group", "Group", by: \.group, plain: \.group, cell: { "\($0.group)<small>by \($0.name)</small>" }),
                .init(
                    "uses", "Machines left", isNumber: true, by: { $0.uses ?? .max },
                    plain: { $0.uses.map(String.init) ?? "any" }),
                .init(
                    "made", "Made", startsLargest: true, by: \.created.nanoseconds,
                    plain: { TimeText.rfc3339($0.created) },
                    cell: { Piece.time($0.created, now: now) }),
                .init(
                    "ends", "Ends", by: { $0.expires?.nanoseconds ?? .max },
                    plain: { $0.expires.map { TimeText.rfc3339($0) } ?? "never" },
                    cell: { token in token.expires.map { Piece.time($0, now: now) } ?? "never" }),
                .init(
                    "name", "Change", plain: \.name,
                    cell: { token in
                        """
                        <form method="post" action="/enrolment/remove">\(Piece.formToken(visit))<input type="hidden" name="token" \
                        value="\(Hex.encode(token.hash.array))"><button class="quiet">Withdraw</button></form>
                        """
                    }),
            ], usualOrder: "-made")
    }
}
