import Catalog
import Client
import Model
import Server
import Vault

/// How further machines come in.
enum EnrolmentPages {
    static let all: [Page] = [
        .get("/enrolment", "How further machines come in.", .right(.manageMachines)) { try show($0, line: nil) },
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
        let shown: HTML? = line.map { line in
            """
            <section class="good"><h2>Paste this on the machine, as root</h2><pre tabindex="0"><code>\(line)</code></pre>
            <p class="hint">It is shown once. It holds for the machines and the time that were asked for, and names this server's key, so \
            that no other server can take its place.</p></section>
            """
        }
        let now = visit.now
        let open = try visit.core.catalog.tokens().filter { token in
            token.role == .enrolment && (token.uses ?? 1) > 0 && (token.expires.map { now < $0 } ?? true)
        }
        let rows: [HTML] = open.map { token in
            """
            <tr><th scope="row">\(token.group)<small>by \(token.name)</small></th><td class="number">\(token.uses.map(String.init) ?? "any")</td>
            <td>\(token.expires.map { Piece.time($0, now: now) })</td><td><form method="post" action="/enrolment/remove">\
            \(Piece.formToken(visit))<input type="hidden" name="token" value="\(Hex.encode(token.hash.array))"><button class="quiet">Withdraw</button>\
            </form></td></tr>
            """
        }
        let list: HTML? =
            rows.isEmpty
            ? nil
            : """
            <h2>Lines that hold</h2><table><thead><tr><th>Group</th><th class="number">Machines left</th><th>Ends</th><th></th></tr></thead>
            <tbody>\(rows)</tbody></table>
            """
        let sheet: HTML? =
            try visit.core.catalog.setting(ServerCore.sheetSetting) == nil
            ? """
            <p class="note">One machine can enrol. A second one can when the key sheet was typed back once, on the server: \
            <code>holdfast server check-sheet</code>. With the sheet unread, losing this server would lose everything.</p>
            """ : nil
        return Layout.page(
            "Enrolment", visit,
            """
            \(shown)\(sheet)<form method="post" action="/enrolment" class="card narrow">\(Piece.formToken(visit))
            <label>Machines<input name="uses" type="number" min="1" max="10000" value="1" required></label>
            <label>Group<input name="group" value="default" required maxlength="64"></label>
            <label>Holds for so many hours<input name="hours" type="number" min="1" max="8760" value="24" required></label>
            <button class="main">Make a line that enrols</button></form>\(list)
            """)
    }
}
