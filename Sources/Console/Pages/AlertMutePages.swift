import Catalog
import Client
import Model
import Server
import Vault

/// Rules by which nobody is told of some alerts for a while.
enum AlertMutePages {
    static let all: [Page] = [
        .get("/alert-mutes", "Rules that mute alerts.", .right(.seeStates)) { try show($0) },
        .post("/alert-mutes", .right(.handleAlerts), add),
        .post("/alert-mutes/remove", .right(.handleAlerts)) { visit in
            try visit.desk.unmuteAlerts(visit.form.text("rule"))
            return try show(
                visit, told: "<p class=\"done\" role=\"status\">The rule is gone; what is open is told again.</p>")
        },
    ]

    @Sendable private static func show(_ visit: Visit, told: HTML? = nil) throws -> ServerAnswer {
        let machines = try visit.machines().filter { $0.state != .retired }
        let names = Dictionary(machines.map { ($0.id, $0.name) }) { first, _ in first }
        let mayChange = visit.may(.handleAlerts)
        let rows: [HTML] = try visit.desk.alertMutes().map { rule in
            let words = rule.words { names[$0] }
            let end: HTML? =
                mayChange
                ? """
                <form method="post" action="/alert-mutes/remove">\(Piece.formToken(visit))<button class="quiet" name="rule" value="\(rule.id)" \
                aria-label="End: \(words)">End it</button></form>
                """ : nil
            return """
                <tr><th scope="row">\(words.prefix(1).uppercased() + words.dropFirst())\(rule.reason.isEmpty ? .nothing : "<small>\(rule.reason)</small>" as HTML)</th>
                <td data-label="Until">\(TimeText.localMinute(rule.until, in: visit.zone))</td><td data-label="By">\(rule.by)</td><td>\(end)</td></tr>
                """
        }
        let table: HTML =
            rows.isEmpty
            ? Piece.empty("No alert is muted", "<p>Somebody is told of each.</p>")
            : """
            <table class="plain"><thead><tr><th scope="col">What</th><th scope="col">Until</th><th scope="col">By</th>\
            <th scope="col"><span class="unseen">Change</span></th></tr></thead><tbody>\(rows)</tbody></table>
            """
        return Layout.page(
            "Muted alerts", visit,
            """
            <p><a href="/alerts">Back to the alerts</a></p>\(told)
            <p>A muted alert is raised and listed as ever, but nobody is told of it by mail or webhook. What is still open when the rule ends is told then; what was told before is told to be over, too.</p>
            \(table)\(mayChange ? try form(visit, machines) : .nothing)
            """)
    }

    private static let spans: [(seconds: Int64, title: String)] = [
        (3_600, "an hour"), (4 * 3_600, "four hours"), (86_400, "a day"), (7 * 86_400, "a week"),
        (30 * 86_400, "30 days"),
    ]

    private static func form(_ visit: Visit, _ machines: [ManagedMachine]) throws -> HTML {
        let (kind, chosen) = (visit.query.text("kind"), visit.query.text("machine"))
        func option(_ value: String, _ title: String, _ isChosen: Bool) -> HTML {
            "<option value=\"\(value)\"\(isChosen ? " selected" as HTML : .nothing)>\(title)</option>"
        }
        let kinds: [HTML] = AlertKind.allCases.map { option($0.rawValue, $0.rawValue, $0.rawValue == kind) }
        let groups = Set(machines.map(\.group)).subtracting([""]).sorted()
        let about: [HTML] =
            (visit.seesAllMachines ? [option("", "all machines, and the server", chosen.isEmpty)] : [])
            + groups.map { option("group:" + $0, "the group \($0)", false) }
            + machines.map { option("machine:" + $0.id.hex, $0.name, $0.id.hex == chosen) }
        let times: [HTML] = spans.map { option("\($0.seconds)", $0.title, $0.seconds == 86_400) }
        return """
            <section><h2>Mute some</h2><form method="post" action="/alert-mutes" class="form">\(Piece.formToken(visit))
            <label>Kind of alert<select name="kind"><option value="">every kind</option>\(kinds)</select></label>
            <label>About<select name="about">\(about)</select></label>
            <label>For<select name="seconds">\(times)</select></label>
            <label>Why, for others<input name="reason" maxlength="200" placeholder="The disk is exchanged on Thursday" autocomplete="off"></label>
            <div class="actions"><button class="main">Mute</button></div></form></section>
            """
    }

    @Sendable private static func add(_ visit: Visit) throws -> ServerAnswer {
        let (kind, about) = (visit.form.text("kind"), visit.form.text("about"))
        var wish = AlertMuteWish(
            kind: kind.isEmpty ? nil : kind, machine: nil, group: nil,
            seconds: Int64(visit.form.number("seconds", in: 1...Int.max) ?? 0), reason: visit.form.text("reason"))
        if about.hasPrefix("group:") {
            wish.group = String(about.dropFirst(6))
        } else if about.hasPrefix("machine:") {
            guard let machine = MachineID(hex: String(about.dropFirst(8))) else { throw Desk.noMachine }
            wish.machine = machine
        } else if !about.isEmpty {
            throw HoldfastError(.usage, "Choose what the rule is about.")
        }
        do { try visit.desk.muteAlerts(wish) } catch let error as HoldfastError where error.code == .usage {
            return try show(
                visit, told: "<p class=\"error\" role=\"alert\">Nothing was muted: \(error.message)</p>")
        }
        return .redirect("/alert-mutes")
    }
}
