import Catalog
import Client
import Model
import Server
import Vault

/// What somebody should know of.
enum AlertPages {
    static let all: [Page] = [
        .get("/alerts", "What somebody should know of.", .right(.seeStates), show),
        .post("/alerts/{number}/acknowledge", .right(.handleAlerts)) { visit in
            guard let number = Int64(visit.request.parameters["number"] ?? ""), number > 0,
                let alert = try visit.core.alertHistory(resolved: 500).first(where: { $0.number == number }),
                try isVisible(alert, visit, names(visit))
            else { throw HoldfastError(.notFound, "There is no such alert.") }
            try visit.note("alert.acknowledged", to: "\(number)")
            try visit.core.acknowledge(alert: number, by: visit.visitor?.account.name ?? "")
            return .redirect("/alerts")
        },
    ]

    private static func names(_ visit: Visit) throws -> [MachineID: String] {
        Dictionary(try visit.machines().map { ($0.id, $0.name) }) { first, _ in first }
    }

    /// Alerts of the server are for those who see all machines.
    private static func isVisible(_ alert: AlertRecord, _ visit: Visit, _ names: [MachineID: String]) -> Bool {
        guard let machine = alert.machine else { return visit.seesAllMachines }
        return names[machine] != nil
    }

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        let names = try names(visit)
        let alerts = try visit.core.alertHistory(resolved: 200).filter { isVisible($0, visit, names) }
        let held = alerts.filter { $0.state != .resolved }
        let past = alerts.filter { $0.state == .resolved }
        let open =
            held.isEmpty
            ? Piece.empty("Nothing is open", "<p>What needs somebody stands here, and goes out by mail or webhook.</p>")
            : list(held, names, visit)
        let history: HTML? =
            past.isEmpty
            ? nil : "<details><summary>Resolved: \(past.count)</summary>\(list(past, names, visit))</details>"
        return Layout.page("Alerts", visit, "\(open)\(history)")
    }

    static func list(_ alerts: [AlertRecord], _ names: [MachineID: String], _ visit: Visit) -> HTML {
        let rows: [HTML] = alerts.map { alert in
            let isOpen = alert.state == .open && visit.may(.handleAlerts)
            let button: HTML? =
                isOpen
                ? """
                <form method="post" action="/alerts/\(alert.number)/acknowledge">\(Piece.formToken(visit))
                <button class="quiet">I have seen it</button></form>
                """ : nil
            let by: HTML? =
                alert.by.map { ", seen by \($0)" }
            let machine: HTML =
                alert.machine.map { id in
                    "<a href=\"/machines/\(id.hex)\">\(names[id] ?? id.hex)</a>"
                } ?? "This server"
            let end: HTML? =
                alert.state == .resolved ? ", resolved \(Piece.time(alert.changed, now: visit.now))" : nil
            return """
                <li>\(severity(alert))<div>\(alert.text)<small>\(machine), \(Piece.time(alert.raised, now: visit.now))\(by)\(end)</small>\
                </div>\(button)</li>
                """
        }
        return "<ul class=\"alerts card\">\(rows)</ul>"
    }

    static func severity(_ alert: AlertRecord) -> HTML {
        if alert.state == .resolved { return Piece.state("grey", "Resolved") }
        return alert.severity == .critical ? Piece.state("bad", "Critical") : Piece.state("warn", "Warning")
    }
}
