import Catalog
import Client
import Model
import Server

/// Whether everything is protected, in five seconds.
enum OverviewPage {
    static let all: [Page] = [.get("/", "How everything stands.", .right(.seeStates), show)]

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        let machines = try visit.machines().map { visit.core.overview(of: $0) }
        if machines.isEmpty {
            return Layout.page(
                "Overview", visit,
                Piece.empty(
                    "No machine is protected yet",
                    """
                    <p>Print the line that enrols one, on this server:</p>
                    <pre><code>holdfast server token</code></pre>
                    """))
        }
        var counts: [MachineState: Int] = [:]
        for machine in machines { counts[MachineState(machine.condition), default: 0] += 1 }
        let tiles: [HTML] = MachineState.allCases.filter { counts[$0, default: 0] > 0 }.map { state in
            """
            <li><a href="/machines?state=\(state.rawValue)"><strong>\(counts[state, default: 0])</strong>
            \(Piece.state(state.colour, state.word))</a></li>
            """
        }
        let lags = machines.compactMap { $0.machine.state == .active ? $0.report?.lag : nil }.sorted()
        let lag: HTML =
            lags.isEmpty
            ? .nothing
            : """
            <section><h2>Protection lag</h2><dl class="facts">
            <div><dt>Median</dt><dd>\(Piece.span(lags[lags.count / 2] / 1_000_000_000))</dd></div>
            <div><dt>Worst</dt><dd>\(Piece.span((lags.last ?? 0) / 1_000_000_000))</dd></div></dl></section>
            """
        return Layout.page(
            "Overview", visit,
            """
            \(verdict(counts))<ul class="tiles" aria-label="Machines by state">\(tiles)</ul>
            \(lag)\(try alerts(visit, machines))
            """)
    }

    private static func verdict(_ counts: [MachineState: Int]) -> HTML {
        let bad = counts.filter { $0.key.needsSomebody }.values.reduce(0, +)
        let all = counts.filter { $0.key != .retired }.values.reduce(0, +)
        if bad == 0 {
            return
                "<p class=\"verdict good\">\(all == 1 ? "The machine is" : "All \(all) machines are") looked after.</p>"
        }
        return """
            <p class="verdict bad">\(bad) of \(all) machine\(all == 1 ? "" : "s") need\(bad == 1 ? "s" : "") somebody.</p>
            """
    }

    private static func alerts(_ visit: Visit, _ machines: [MachineOverview]) throws -> HTML {
        let names = Dictionary(machines.map { ($0.machine.id, $0.machine.name) }) { first, _ in first }
        let open = try visit.core.openAlerts().filter { alert in
            alert.machine.map { names[$0] != nil } ?? true
        }
        if open.isEmpty { return "<section><h2>Alerts</h2><p class=\"hint\">Nothing is open.</p></section>" }
        let rows: [HTML] = open.prefix(20).map { alert in
            """
            <li>\(Piece.state(alert.severity == .critical ? "bad" : "warn", alert.severity == .critical ? "Critical" : "Warning"))
            <div>\(alert.text)<small>\(alert.machine.flatMap { names[$0] } ?? "This server"), \
            \(Piece.time(alert.raised, now: visit.now))</small></div></li>
            """
        }
        return "<section><h2>Alerts</h2><ul class=\"alerts\">\(rows)</ul></section>"
    }
}

/// The states that people see, and how serious they are.
enum MachineState: String, CaseIterable, Hashable {
    case atRisk = "at-risk"
    case offline
    case waiting
    case never
    case catchingUp = "catching-up"
    case issues
    case asleep
    case protected
    case retired

    init(_ condition: MachineCondition) {
        switch condition {
        case .protected: self = .protected
        case .behind: self = .catchingUp
        case .warnings: self = .issues
        case .problem: self = .atRisk
        case .asleep: self = .asleep
        case .silent: self = .offline
        case .unreported: self = .never
        case .waiting: self = .waiting
        case .retired: self = .retired
        }
    }

    var word: String {
        switch self {
        case .protected: "Protected"
        case .catchingUp: "Catching up"
        case .issues: "Completed with issues"
        case .atRisk: "At risk"
        case .offline: "Offline"
        case .asleep: "Asleep"
        case .never: "Never reported"
        case .waiting: "Waiting for approval"
        case .retired: "Retired"
        }
    }

    var colour: String {
        switch self {
        case .protected: "good"
        case .catchingUp, .issues: "warn"
        case .atRisk: "bad"
        case .waiting: "ask"
        case .offline, .asleep, .never, .retired: "grey"
        }
    }

    var needsSomebody: Bool { self == .atRisk || self == .waiting || self == .offline || self == .never }
}
