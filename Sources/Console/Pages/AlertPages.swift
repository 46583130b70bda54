import Catalog
import Client
import Model
import Server
import Vault

/// What somebody should know of.
enum AlertPages {
    static let all: [Page] = [
        .get("/alerts", "What somebody should know of.", .right(.seeStates)) { visit in
            let names = try names(visit)
            let table = table(visit, names)
            let count = visit.query.number("count", in: 0...Selection.most)
            let what =
                visit.query.text("done") == "resolve" ? "resolved; what still holds is raised anew" : "acknowledged"
            let done: HTML? = count.map {
                "<p class=\"done\" role=\"status\">\(Units.count($0, "alert")) \(what).</p>"
            }
            return Layout.page(
                "Alerts", visit, wide: true, feed: FeedPage.states,
                "\(done)\(try muted(visit))\(table.show(try rows(visit, names), visit))")
        },
        .get("/alerts.csv", "Alerts as a table for other programs.", .right(.seeStates)) { visit in
            let names = try names(visit)
            return table(visit, names).file(try rows(visit, names), visit, name: "alerts")
        },
        .post("/alerts/selected", .right(.handleAlerts)) { visit in
            let selection = try Selection(visit, back: "/alerts")
            guard let word = AlertWord(rawValue: selection.action) else {
                throw HoldfastError(.usage, "There is no such action; nothing was done.")
            }
            for id in selection.ids { try visit.desk.say(word, of: Int64(id) ?? 0) }
            let back = selection.back.replacing(/[?&](pick=[^&]*|all=1)/, with: "")
            let mark = back.contains("?") ? "&" : "?"
            return .redirect(back + mark + "done=\(selection.action)&count=\(selection.ids.count)")
        },
        .post("/alerts/{number}/acknowledge", .right(.handleAlerts)) { visit in
            try visit.desk.say(.acknowledge, of: Int64(visit.request.parameters["number"] ?? "") ?? 0)
            return .redirect("/alerts")
        },
    ]

    /// That some alerts are muted, on the page of alerts.
    private static func muted(_ visit: Visit) throws -> HTML {
        let count = try visit.desk.alertMutes().count
        if count == 0 {
            return visit.may(.handleAlerts)
                ? "<p class=\"choices\"><a href=\"/alert-mutes\">Mute alerts by a rule</a></p>" : .nothing
        }
        return """
            <p class="note">\(Units.count(count, "rule")) \(count == 1 ? "mutes" : "mute") alerts now: nobody is told of some. \
            <a href="/alert-mutes">Which</a></p>
            """
    }

    private static func names(_ visit: Visit) throws -> [MachineID: String] {
        Dictionary(try visit.machines().map { ($0.id, $0.name) }) { first, _ in first }
    }

    /// Alerts of the server are for those who see all machines.
    private static func isVisible(_ alert: AlertRecord, _ visit: Visit, _ names: [MachineID: String]) -> Bool {
        guard let machine = alert.machine else { return visit.seesAllMachines }
        return names[machine] != nil
    }

    /// How many wait for somebody to look at them.
    static func openCount(_ visit: Visit) throws -> Int {
        guard visit.may(.seeStates) else { return 0 }
        let desk = try visit.desk
        let open = try visit.core.openAlerts().filter { $0.state == .open && !desk.isMuted($0) }
        if visit.seesAllMachines || open.isEmpty { return open.count }
        let names = try names(visit)
        return open.count { isVisible($0, visit, names) }
    }

    private static func rows(_ visit: Visit, _ names: [MachineID: String]) throws -> [AlertRecord] {
        // What is past is looked for only when somebody wants it.
        let wanted = visit.query.text("state")
        let past = wanted == "resolved" || wanted == "every" ? 2_000 : 0
        return try visit.core.alertHistory(resolved: past).filter { isVisible($0, visit, names) }
    }

    static func table(_ visit: Visit, _ names: [MachineID: String]) -> Table<AlertRecord> {
        let now = visit.now
        func machine(_ alert: AlertRecord) -> String { alert.machine.map { names[$0] ?? $0.hex } ?? "This server" }
        let mayMute = visit.may(.handleAlerts)
        let desk = try? visit.desk
        var table = Table<AlertRecord>(
            path: "/alerts", noun: ("alert", "alerts"),
            columns: [
                .init(
                    "text", "Alert", plain: \.text,
                    cell: { alert in "\(severity(alert)) <span class=\"said\">\(Piece.prose(alert.text))</span>" }),
                .init(
                    "machine", "Machine", by: { machine($0).lowercased() }, plain: machine,
                    cell: { alert in
                        alert.machine.map { "<a href=\"/machines/\($0.hex)\">\(machine(alert))</a>" } ?? "This server"
                    }),
                .init(
                    "kind", "Kind", by: \.kind, plain: \.kind,
                    cell: { alert in
                        guard mayMute, alert.state != .resolved else { return "\(alert.kind)" }
                        let about = alert.machine.map { "&machine=\($0.hex)" } ?? ""
                        return """
                            \(alert.kind)<small><a href="/alert-mutes?kind=\(alert.kind)\(about)" aria-label="Mute \(alert.kind) of \(machine(alert))">Mute…</a></small>
                            """
                    }),
                .init(
                    "raised", "Raised", startsLargest: true, by: \.raised.nanoseconds,
                    plain: { TimeText.rfc3339($0.raised) },
                    cell: { "\(Piece.time($0.raised, now: now))\(before($0, machine($0), visit))" }),
                .init(
                    "state", "State", by: { "\($0.state)" }, plain: { "\($0.state)" },
                    cell: { alert in
                        switch alert.state {
                        case .open: desk?.isMuted(alert) == true ? "open, muted" : "open"
                        case .acknowledged:
                            "seen by \(alert.by ?? "somebody")<small>\(Piece.time(alert.changed, now: now))</small>"
                        case .resolved: "resolved<small>\(Piece.time(alert.changed, now: now))</small>"
                        }
                    }),
            ], usualOrder: "-raised")
        table.search = ("Words", { $0.text.lowercased().contains($1) || machine($0).lowercased().contains($1) })
        table.filters = [
            Table.Filter(
                name: "state", title: "State",
                choices: [
                    ("open", "Open"), ("acknowledged", "Seen"), ("resolved", "Resolved"),
                    ("every", "All, resolved too"),
                ]
            ) { $1 == "every" || "\($0.state)" == $1 },
            Table.Filter(
                name: "severity", title: "How bad", choices: [("critical", "Critical"), ("warning", "Warning")]
            ) { "\($0.severity)" == $1 },
            Table.Filter(
                name: "kind", title: "Kind", choices: AlertKind.allCases.map { ($0.rawValue, $0.rawValue) }
            ) { $0.kind == $1 },
        ]
        if visit.may(.handleAlerts) {
            table.id = { "\($0.number)" }
            table.actionPath = "/alerts/selected"
            table.actions = [
                .init(name: "acknowledge", title: "Acknowledge: I have seen it", isMain: true),
                .init(name: "resolve", title: "Resolve: it is over"),
            ]
        }
        if visit.query.text("state").isEmpty {
            table.empty = Piece.empty(
                "Nothing is open",
                """
                <p>What needs somebody stands here, and goes out by mail or webhook. <a href="/alerts?state=resolved">What was resolved</a>\
                \(visit.may(.manageSettings) ? ", <a href=\"/settings#mail\">whom to tell</a>" : .nothing)</p>
                """)
        }
        return table
    }

    /// The files of an alert's machine as they were just before it; before a mass change began, when it is one.
    private static func before(_ alert: AlertRecord, _ name: String, _ visit: Visit) -> HTML? {
        guard visit.may(.seeNames), let machine = alert.machine else { return nil }
        let isMassChange = alert.kind == AlertKind.massChange.rawValue
        let time = isMassChange && !alert.subject.isEmpty ? alert.subject : TimeText.rfc3339(alert.raised)
        return """
            <small><a href="/machines/\(machine.hex)/files?at=\(Address.encode("@" + time))&just=before" \
            aria-label="Files of \(name), the second before \(alert.kind)">Files, the second before</a></small>
            """
    }

    static func severity(_ alert: AlertRecord) -> HTML {
        if alert.state == .resolved { return Piece.state("grey", "Resolved") }
        return alert.severity == .critical ? Piece.state("bad", "Critical") : Piece.state("warn", "Warning")
    }
}
