import Catalog
import Client
import Model
import Server
import Vault

/// How everything stands, to be printed, and the same by mail each week.
enum ReportPages {
    static let all: [Page] = [
        .get("/reports", "A report to print: protection and storage.", .right(.seeStates)) { try show($0) },
        .post("/reports", .right(.manageSettings), save),
        .post("/reports/send", .right(.manageSettings), send),
    ]

    @Sendable private static func show(
        _ visit: Visit, told: HTML? = nil, typed: WeeklyReport? = nil
    ) throws -> ServerAnswer {
        let days = visit.query.number("days", in: 1...366) ?? 7
        let report = try visit.desk.protectionReport(days: Int64(days))
        let choices: [HTML] = [1, 7, 30].map { number in
            number == days
                ? "<strong aria-current=\"true\">\(Units.count(number, "day"))</strong>"
                : "<a href=\"/reports?days=\(number)\">\(Units.count(number, "day"))</a>"
        }
        return Layout.page(
            "Report", visit, wide: true,
            """
            \(told)<nav class="choices" aria-label="Over how long">What happened in the last \(HTML.joined(choices, by: ", ")). Your browser prints this page.</nav>
            <p class="stamp">\(report.title), \(TimeText.localMinute(report.time, in: visit.zone))</p>
            \(Piece.verdict(report))
            \(protection(report))\(storage(report, visit))\(alerts(report, visit))\(work(report, visit))\(machines(report, visit))
            \(try weekly(visit, typed))
            """)
    }

    // MARK: Parts

    private static func protection(_ report: ProtectionReport) -> HTML {
        let rows: [HTML] = MachineState.allCases.compactMap { state in
            let count = report.counts.filter { MachineState($0.key) == state }.values.reduce(0, +)
            guard count > 0 else { return nil }
            return
                "<div><dt>\(Piece.state(state.colour, state.word))</dt><dd><a href=\"/machines?state=\(state.rawValue)\">\(Units.count(count))</a></dd></div>"
        }
        let worst = report.lag.worst.map { Piece.lag($0) } ?? report.lag.unknownText
        return """
            <section><h2>Protection</h2><dl class="facts">\(rows)<div><dt>Lag, median</dt><dd><a href="/machines?sort=lag">\(Piece.lag(report.lag.median))</a></dd></div>
            <div><dt>Lag, worst</dt><dd><a href="/machines?sort=-lag">\(worst)</a></dd></div></dl></section>
            """
    }

    private static func storage(_ report: ProtectionReport, _ visit: Visit) -> HTML {
        guard visit.seesAllMachines else { return .nothing }
        if let trouble = report.vaultTrouble {
            return "<section><h2>Storage</h2><p class=\"error\">\(trouble)</p></section>"
        }
        let change: HTML? = report.storedBefore.map { before in
            let isMore = report.stored >= before
            let size = Units.binarySize(isMore ? report.stored - before : before - report.stored)
            return "<div><dt>Change in that time</dt><dd><a href=\"/vault\">\(isMore ? "+" : "−")\(size)</a></dd></div>"
        }
        let room: HTML? = report.space.map {
            "<div><dt>Room left</dt><dd><a href=\"/vault\">\(Piece.size($0.available))</a><small>of \(Units.binarySize($0.total))</small></dd></div>"
        }
        return """
            <section><h2>Storage</h2><dl class="facts"><div><dt>Stored</dt><dd><a href="/vault">\(Piece.size(report.stored))</a></dd></div>\(change)
            <div><dt>Points</dt><dd><a href="/vault#by-machine">\(Units.count(report.points))</a></dd></div>\(room)
            <div><dt>Full in</dt><dd><a href="/vault">\(OverviewPage.fullIn(report.outlook))</a></dd></div></dl><p class="hint">The vault \(ReportText.words(report.outlook)).</p></section>
            """
    }

    private static func alerts(_ report: ProtectionReport, _ visit: Visit) -> HTML {
        let names = Dictionary(report.machines.map { ($0.id, $0.name) }) { first, _ in first }
        let rows: [HTML] = report.open.prefix(50).map { alert in
            "<li>\(AlertPages.severity(alert))<div>\(Piece.prose(alert.text))<small>\(alert.machine.flatMap { names[$0] } ?? "This server"), \(Piece.time(alert.raised, now: visit.now))</small></div></li>"
        }
        let list: HTML = rows.isEmpty ? .nothing : "<ul class=\"alerts\">\(rows)</ul>"
        return """
            <section><h2>Alerts</h2><p><a href="/alerts?state=every">\(Units.count(report.raised.count)) raised</a> in that time, \
            <a href="/alerts">\(Units.count(report.open.count)) open</a> now.</p>\(list)</section>
            """
    }

    private static func work(_ report: ProtectionReport, _ visit: Visit) -> HTML {
        guard !report.work.isEmpty else { return .nothing }
        let rows: [HTML] = report.work.map { work in
            """
            <tr><th scope="row"><a href="/jobs?kind=\(work.kind)">\(JobPages.title(work.kind))</a></th>
            <td class="number" data-label="Done"><a href="/jobs?kind=\(work.kind)&amp;state=done">\(work.done)</a></td>
            <td class="number" data-label="Failed"><a href="/jobs?kind=\(work.kind)&amp;state=failed">\(work.failed)</a></td></tr>
            """
        }
        return """
            <section><h2>The server's work</h2><table class="plain"><thead><tr><th scope="col">Work</th><th scope="col" class="number">Done</th>\
            <th scope="col" class="number">Failed</th></tr></thead><tbody>\(rows)</tbody></table></section>
            """
    }

    /// Machines on one page; beyond that those that need somebody are what matters.
    private static let most = 200

    private static func machines(_ report: ProtectionReport, _ visit: Visit) -> HTML {
        if report.machines.isEmpty { return .nothing }
        let shown = report.machines.prefix(most)
        let rows: [HTML] = shown.map { machine in
            let state = MachineState(machine.condition)
            return """
                <tr><th scope="row"><a href="/machines/\(machine.id.hex)">\(machine.name)</a></th><td data-label="State">\(Piece.state(state.colour, state.word))</td>
                <td data-label="Newest point"><a href="/machines/\(machine.id.hex)/points">\(machine.newest.map { TimeText.localMinute($0, in: visit.zone) } ?? "none")</a></td>
                <td class="number" data-label="Size">\(Piece.size(machine.bytes))</td><td class="number" data-label="Stored">\(Piece.size(machine.stored))</td></tr>
                """
        }
        let more: HTML? =
            report.machines.count > most
            ? "<p class=\"hint\">\(Units.count(report.machines.count - most)) more: <a href=\"/machines.csv\" download>all of them as CSV</a>.</p>"
            : nil
        return """
            <section><h2>Machines</h2><table class="plain tight"><thead><tr><th scope="col">Machine</th><th scope="col">State</th><th scope="col">Newest point</th>\
            <th scope="col" class="number">Size</th><th scope="col" class="number">Stored</th></tr></thead><tbody>\(rows)</tbody></table>\(more)</section>
            """
    }

    // MARK: By mail

    private static let weekdays = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]

    private static func weekly(_ visit: Visit, _ typed: WeeklyReport?) throws -> HTML? {
        guard visit.may(.manageSettings) else { return nil }
        let settings = try typed ?? WeeklyReport.load(visit.core.catalog)
        let days: [HTML] = weekdays.enumerated().map { index, name in
            "<option value=\"\(index + 1)\"\(settings.weekday == index + 1 ? " selected" : .nothing)>\(name)</option>"
        }
        let failure: HTML? = visit.core.weeklyReportFailure.map {
            "<p class=\"error\">The last one could not be sent: \($0)</p>"
        }
        return """
            <section class="no-print" id="weekly"><h2>By mail, once a week</h2>\(failure)<p class="hint">The same as a mail, to those who do not look here. \
            How mail goes out is said <a href="/settings#mail">under Settings</a>.</p>
            <form method="post" action="/reports" class="narrow">\(Piece.formToken(visit))
            <label>To (addresses with commas between them; empty: to nobody)<input name="to" value="\(settings.mailTo.joined(separator: ", "))" inputmode="email" autocapitalize="none"></label>
            <label>On<select name="weekday">\(days)</select></label>
            <label>After (hour of the day)<input name="hour" type="number" min="0" max="23" value="\(settings.hour)" required></label>
            <div class="actions"><button class="main">Save</button><button formaction="/reports/send">Send it to them now</button></div></form></section>
            """
    }

    private static func read(_ visit: Visit) -> WeeklyReport {
        var report = WeeklyReport()
        report.mailTo = SettingsPages.addresses(visit.form.text("to"))
        report.weekday = visit.form.number("weekday", in: 1...7) ?? 1
        report.hour = visit.form.number("hour", in: 0...23) ?? 7
        return report
    }

    @Sendable private static func save(_ visit: Visit) throws -> ServerAnswer {
        let report = read(visit)
        do {
            try report.check()
            let before = try WeeklyReport.load(visit.core.catalog)
            try visit.note(
                "settings.changed", to: "weekly report",
                [
                    "to": .string(report.mailTo.joined(separator: ", ")),
                    "before": .string(before.mailTo.joined(separator: ", ")),
                    "weekday": .integer(Int64(report.weekday)), "hour": .integer(Int64(report.hour)),
                ])
            try report.save(visit.core.catalog)
        } catch let error as HoldfastError where error.code == .usage {
            return try show(
                visit, told: "<p class=\"error\" role=\"alert\">Nothing was saved: \(error.message)</p>", typed: report)
        }
        let text: HTML =
            report.isOn
            ? "Saved. The report goes out each \(weekdays[report.weekday - 1]) after \(report.hour):00, to \(report.mailTo.joined(separator: ", "))."
            : "Saved. Nobody gets the report."
        return try show(visit, told: "<p class=\"done\" role=\"status\">\(text)</p>")
    }

    @Sendable private static func send(_ visit: Visit) throws -> ServerAnswer {
        let report = read(visit)
        do {
            try visit.desk.sendReport(to: report.mailTo, zone: visit.zone)
        } catch let error as HoldfastError {
            return try show(
                visit,
                told:
                    "<p class=\"error\" role=\"alert\">It was not sent: \(error.message) \(error.context["hint"] ?? "")</p>",
                typed: report)
        }
        return try show(
            visit,
            told:
                "<p class=\"done\" role=\"status\">Sent to \(report.mailTo.joined(separator: ", ")). Settings were not changed by that.</p>",
            typed: report)
    }
}
