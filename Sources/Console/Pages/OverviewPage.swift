import Catalog
import Client
import Model
import Server
import Vault

/// Whether everything is protected, in five seconds.
enum OverviewPage {
    static let all: [Page] = [
        .get("/", "How everything stands.", .right(.seeStates), show),
        .post("/first-hour", .right(.manageSettings)) { visit in
            try visit.note("settings.changed", to: "first hour", ["dismissed": .bool(true)])
            try FirstHour.dismiss(visit.core.catalog)
            return .redirect("/")
        },
    ]

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        let machines = try visit.machines()
        let report = visit.core.protectionReport(of: machines, days: 1)
        let checklist = try FirstHour.show(visit, machines)
        // The parts are the same whether there is a machine or not, so that a page that is open shows the first one come.
        let hasMachines = !report.machines.isEmpty
        let standing = hasMachines ? standing(report) : nothingYet(visit)
        let figures: HTML = hasMachines ? "\(lag(report.lag))\(storage(report, visit))" : .nothing
        return Layout.page(
            "Overview", visit, feed: FeedPage.states,
            """
            <div id="standing" data-live>\(standing)</div><div id="beginning" data-live>\(checklist)</div>
            <div class="halves" id="figures" data-live>\(figures)</div>
            <div id="alerts" data-live>\(hasMachines ? alerts(report, visit) : .nothing)</div>
            <div id="work" data-live>\(hasMachines ? try work(report, visit) : .nothing)</div>
            """)
    }

    private static func nothingYet(_ visit: Visit) -> HTML {
        Piece.empty(
            "No machine is protected yet",
            visit.may(.manageMachines)
                ? """
                <p>A machine comes in by one line that is pasted on it.</p><p><a class="button main" href="/enrolment">Make the line</a></p>
                """ : "<p>An administrator makes the line that brings one in, under Enrolment.</p>")
    }

    private static func standing(_ report: ProtectionReport) -> HTML {
        var counts: [MachineState: Int] = [:]
        for (condition, count) in report.counts { counts[MachineState(condition), default: 0] += count }
        let tiles: [HTML] = MachineState.allCases.filter { counts[$0, default: 0] > 0 }.map { state in
            """
            <li><a href="/machines?state=\(state.rawValue)"><strong>\(Units.count(counts[state, default: 0]))</strong>
            \(Piece.state(state.colour, state.word))</a></li>
            """
        }
        return "\(Piece.verdict(report))<ul class=\"tiles\" aria-label=\"Machines by state\">\(tiles)</ul>"
    }

    private static func lag(_ lag: LagSummary) -> HTML {
        let worst = lag.worst.map { Piece.lag($0) } ?? lag.unknownText
        return """
            <section><h2>Protection lag</h2><p class="hint">How long the oldest change waits that is not stored yet.</p><dl class="facts">
            <div><dt>Median</dt><dd><a href="/machines?sort=lag">\(Piece.lag(lag.median))</a></dd></div>
            <div><dt>Worst</dt><dd><a href="/machines?sort=-lag">\(worst)</a></dd></div></dl></section>
            """
    }

    private static func storage(_ report: ProtectionReport, _ visit: Visit) -> HTML {
        guard visit.seesAllMachines else { return .nothing }
        if let trouble = report.vaultTrouble {
            return "<section><h2>Storage</h2><p class=\"error\">\(trouble)</p></section>"
        }
        let room: HTML? = report.space.map { space in
            """
            <div><dt>Room left</dt><dd><a href="/vault">\(Piece.size(space.available))</a><small>of \(Units.binarySize(space.total))</small></dd></div>
            """
        }
        return """
            <section><h2>Storage</h2><p class="hint">The vault \(ReportText.words(report.outlook)).</p><dl class="facts"><div><dt>Stored</dt>\
            <dd><a href="/vault">\(Piece.size(report.stored))</a></dd></div>\(room)
            <div><dt>Full in</dt><dd><a href="/vault">\(fullIn(report.outlook))</a></dd></div></dl></section>
            """
    }

    static func fullIn(_ outlook: UsageHistory.Outlook) -> HTML {
        switch outlook {
        case .tooEarly: "not known yet"
        case .steady: "never, as it goes"
        case .growing(_, nil): "not known"
        case .growing(_, let days?):
            days >= 3_650
                ? "over ten years"
                : days < 30 ? Piece.state("bad", Units.count(days, "day")) : "\(Units.count(days, "day"))"
        }
    }

    private static func alerts(_ report: ProtectionReport, _ visit: Visit) -> HTML {
        let names = Dictionary(report.machines.map { ($0.id, $0.name) }) { first, _ in first }
        let open = report.open.filter {
            $0.machine == nil ? visit.seesAllMachines : names[$0.machine ?? .random()] != nil
        }
        if open.isEmpty { return "<section><h2>Alerts</h2><p class=\"hint\">Nothing is open.</p></section>" }
        let worst = open.filter { $0.severity == .critical } + open.filter { $0.severity != .critical }
        let rows: [HTML] = worst.prefix(8).map { alert in
            let place: HTML =
                alert.machine.map { "<a href=\"/machines/\($0.hex)\">\(names[$0] ?? "a machine")</a>" } ?? "This server"
            let seen: HTML? = alert.by.map { ", seen by \($0)" }
            return """
                <li>\(AlertPages.severity(alert))<div>\(Piece.prose(alert.text))<small>\(place), \(Piece.time(alert.raised, now: visit.now))\(seen)</small></div></li>
                """
        }
        let more: HTML = open.count > 8 ? "All \(open.count) alerts" : "To the alerts"
        return """
            <section><h2>Open alerts</h2><ul class="alerts">\(rows)</ul><p><a href="/alerts">\(more)</a></p></section>
            """
    }

    /// What runs, and what came of the work of the last day.
    private static func work(_ report: ProtectionReport, _ visit: Visit) throws -> HTML {
        guard visit.seesAllMachines else { return .nothing }
        let running = try visit.core.catalog.jobs(newest: 100).filter { $0.state == .running }
        let bars: [HTML] = try running.map { job in
            let live = try visit.core.job(job.id) ?? job
            return """
                <tr><th scope="row"><a href="/jobs/\(job.id.hex)">\(JobPages.title(job.kind))</a><small>by \(job.owner), \(Piece.time(job.started, now: visit.now))</small></th>
                <td><progress max="\(max(live.total, 1))" value="\(min(live.done, live.total))" aria-label="How far it is"></progress></td></tr>
                """
        }
        let runs: HTML =
            running.isEmpty
            ? .nothing : "<section><h2>Running now</h2><table class=\"plain\"><tbody>\(bars)</tbody></table></section>"
        let rows: [HTML] = report.work.map { work in
            func count(_ number: Int, _ state: String, _ mark: HTML) -> HTML {
                number == 0 ? "0" : "<a href=\"/jobs?kind=\(work.kind)&state=\(state)\">\(mark)</a>"
            }
            return """
                <tr><th scope="row"><a href="/jobs?kind=\(work.kind)">\(JobPages.title(work.kind))</a></th>
                <td class="number" data-label="Done">\(count(work.done, "done", "\(work.done)"))</td>
                <td class="number" data-label="Failed">\(count(work.failed, "failed", Piece.state("bad", "\(work.failed)")))</td>
                <td class="number" data-label="Running">\(count(work.running, "running", "\(work.running)"))</td></tr>
                """
        }
        let table: HTML =
            rows.isEmpty
            ? "<p class=\"hint\">The server had no work of its own. Retention, checks and cleaning up show here.</p>"
            : """
            <table class="plain"><thead><tr><th scope="col">Work</th><th scope="col" class="number">Done</th>\
            <th scope="col" class="number">Failed</th><th scope="col" class="number">Running</th></tr></thead><tbody>\(rows)</tbody></table>
            """
        return "\(runs)<section><h2>The server's work of the last 24 hours</h2>\(table)</section>"
    }
}
