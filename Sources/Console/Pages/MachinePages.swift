import Catalog
import Client
import Model
import Policy
import Server
import Vault

/// The machines, and each of them.
enum MachinePages {
    static let all: [Page] = [
        .get("/machines", "The machines.", .right(.seeStates), list),
        .get(
            "/machines/{machine}", "A machine: how it stands, what is protected, and its points.", .right(.seeStates),
            show),
        .post("/machines/{machine}/back-up", .right(.operate)) { visit in
            let machine = try visit.machine(visit.request.parameters["machine"])
            try visit.note("backup.asked", to: machine.name)
            try visit.core.backUpNow(machine.id, by: visit.name)
            return .redirect("/machines/\(machine.id.hex)?asked=1")
        },
        .post("/machines/{machine}/approve", .right(.manageMachines)) { visit in
            let machine = try visit.machine(visit.request.parameters["machine"])
            let isApproved = visit.form.text("answer") == "yes"
            try visit.note(isApproved ? "machine.approved" : "machine.refused", to: machine.name)
            if isApproved { try visit.core.approve(machine.id) } else { try visit.core.refuse(machine.id) }
            return .redirect("/machines/\(machine.id.hex)")
        },
        .post("/machines/{machine}/retire", .right(.manageMachines)) { visit in
            let machine = try visit.machine(visit.request.parameters["machine"])
            guard visit.form.text("name") == machine.name else {
                throw HoldfastError(
                    .usage,
                    "Nothing was done: to retire the machine, type its name (\(machine.name)) in the field beside it.")
            }
            try visit.note("machine.retired", to: machine.name)
            try visit.core.retire(machine.id)
            return .redirect("/machines/\(machine.id.hex)")
        },
    ]

    private static let pageLength = 100

    @Sendable private static func list(_ visit: Visit) throws -> ServerAnswer {
        let wanted = visit.query.text("state")
        let search = visit.query.text("q").lowercased()
        var machines = try visit.machines().map { visit.core.overview(of: $0) }
        let total = machines.count
        machines = machines.filter { machine in
            if !wanted.isEmpty, MachineState(machine.condition).rawValue != wanted { return false }
            if !search.isEmpty, !machine.machine.name.lowercased().contains(search),
                !machine.machine.group.lowercased().contains(search)
            {
                return false
            }
            return wanted == MachineState.retired.rawValue || machine.machine.state != .retired
        }
        let pages = max((machines.count + pageLength - 1) / pageLength, 1)
        let page = min(visit.query.number("page", in: 1...100_000) ?? 1, pages)
        let rows: [HTML] = machines.dropFirst((page - 1) * pageLength).prefix(pageLength).map { row($0, visit) }
        let states: [HTML] = MachineState.allCases.map { state in
            let selected: HTML = state.rawValue == wanted ? " selected" : .nothing
            return "<option value=\"\(state.rawValue)\"\(selected)>\(state.word)</option>"
        }
        let filter: HTML = """
            <form class="filter" role="search"><label>Name or group
            <input type="search" name="q" value="\(visit.query.text("q"))"></label>
            <label>State<select name="state"><option value="">Any</option>\(states)</select></label>
            <button>Filter</button></form>
            """
        let table: HTML = """
            <table><caption>\(machines.count) of \(total) machine\(total == 1 ? "" : "s")</caption>
            <thead><tr><th>Machine</th><th>State</th><th class="number">Lag</th><th>Last point</th>
            <th class="number">Files</th><th class="number">Size</th><th>Agent</th></tr></thead><tbody>\(rows)</tbody></table>
            """
        return Layout.page("Machines", visit, wide: true, "\(filter)\(table)\(pager(visit, page, pages))")
    }

    private static func row(_ machine: MachineOverview, _ visit: Visit) -> HTML {
        let state = MachineState(machine.condition)
        let report = machine.report
        let former: HTML? = machine.machine.formerNames.first.map { "<small>formerly \($0)</small>" }
        let copy: HTML? = machine.cloneHost.map { "<small>a copy called \($0) came with its identity</small>" }
        return """
            <tr><th scope="row"><a href="/machines/\(machine.machine.id.hex)">\(machine.machine.name)</a><small>\(machine.machine.group)</small>\(former)\(copy)</th>
            <td>\(Piece.state(state.colour, state.word))\(report?.problem.map { "<small>\($0)</small>" as HTML })</td>
            <td class="number">\(report.map { Piece.span($0.lag / 1_000_000_000) } ?? "")</td>
            <td>\(report?.newest.map { Piece.time($0.time, now: visit.now) })</td>
            <td class="number">\(report.map { String($0.files) } ?? "")</td>
            <td class="number">\(report.map { Piece.size($0.bytes) })</td>
            <td>\(report?.program ?? "")<small>\(Piece.time(machine.lastSeen, now: visit.now))</small></td></tr>
            """
    }

    // MARK: One machine

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        let machine = try visit.machine(visit.request.parameters["machine"])
        let overview = visit.core.overview(of: machine)
        let state = MachineState(overview.condition)
        let report = overview.report
        let asked: HTML? =
            visit.query.text("asked") == "1"
            ? "<p class=\"done\" role=\"status\">The machine was asked to back up now; it does so as soon as it hears of it.</p>"
            : nil
        let problem: HTML? = report?.problem.map { "<p class=\"error\" role=\"alert\">\($0)</p>" }
        return Layout.page(
            machine.name, visit,
            """
            \(asked)\(problem)\(waiting(machine, visit))
            <dl class="facts card"><div><dt>State</dt><dd>\(Piece.state(state.colour, state.word))</dd></div>
            <div><dt>Not stored yet since</dt><dd>\(report.map { $0.lag == 0 ? "everything is stored" : Piece.span($0.lag / 1_000_000_000) } ?? "unknown")</dd></div>
            <div><dt>Newest point</dt><dd>\(report?.newest.map { Piece.time($0.time, now: visit.now) } ?? "none yet")</dd></div>
            <div><dt>Files</dt><dd>\(report.map { String($0.files) } ?? "")</dd></div>
            <div><dt>Size</dt><dd>\(report.map { Piece.size($0.bytes) })</dd></div>
            <div><dt>Heard of</dt><dd>\(Piece.time(overview.lastSeen, now: visit.now))</dd></div></dl>
            <div class="actions">\(actions(machine, visit))</div>\(try points(machine, visit))\(watching(report))
            \(policy(machine, visit))\(retire(machine, visit))
            """)
    }

    private static func waiting(_ machine: ManagedMachine, _ visit: Visit) -> HTML {
        guard let key = machine.waitingKey, visit.may(.manageMachines) else { return .nothing }
        return """
            <section class="ask"><h2>Another machine waits under this id</h2><p>It may be this machine after a new installation, a copy of \
            it, or somebody who found its id. Say yes only if you know that it is this machine: it goes on with this history, and what had \
            the id before is refused.</p><p>It comes with the key <code>\(key.fingerprint)</code>, which <code>holdfast enrol</code> has \
            shown on it.</p><form method="post" action="/machines/\(machine.id.hex)/approve" class="actions">\
            \(Piece.formToken(visit))<button class="main" name="answer" value="yes">It is this machine</button>
            <button name="answer" value="no">Send it away</button></form></section>
            """
    }

    private static func actions(_ machine: ManagedMachine, _ visit: Visit) -> HTML {
        let files: HTML? =
            visit.may(.seeNames)
            ? "<a class=\"button main\" href=\"/machines/\(machine.id.hex)/files\">Files, at any time</a>" : nil
        let backup: HTML? =
            visit.may(.operate) && machine.state == .active
            ? """
            <form method="post" action="/machines/\(machine.id.hex)/back-up">\(Piece.formToken(visit))<button>Back up now</button></form>
            """ : nil
        return "\(files)\(backup)"
    }

    /// The newest points.
    private static func points(_ machine: ManagedMachine, _ visit: Visit) throws -> HTML {
        let points = try visit.site.shelf.points(of: machine.id)
        if points.isEmpty { return .nothing }
        let rows: [HTML] = points.suffix(10).reversed().map { point in
            let time = TimeText.local(point.effective, in: visit.zone)
            let name: HTML =
                visit.may(.seeNames)
                ? "<a href=\"/machines/\(machine.id.hex)/files?point=\(point.id.hex)\">\(time)</a>" : "\(time)"
            return """
                <tr><th scope="row">\(name)</th><td>\(Piece.time(point.effective, now: visit.now))</td>
                <td>\(point.kind == .continuous ? "continuous" : "scheduled or by hand")</td>
                <td>\(point.condition == .damaged ? Piece.state("bad", "damaged") : .nothing)</td></tr>
                """
        }
        return """
            <section><h2>Points</h2><table class="plain"><caption>The newest of \(points.count)</caption><tbody>\(rows)</tbody></table></section>
            """
    }

    private static func watching(_ report: MachineReport?) -> HTML {
        guard let report, !report.watches.isEmpty else { return .nothing }
        let rows: [HTML] = report.watches.map { watch in
            let way: HTML =
                watch.scanReason.map { "looked at again and again, because \($0)" } ?? "changes are seen as they happen"
            return "<tr><th scope=\"row\">\(watch.mountPoint)<small>\(watch.kind)</small></th><td>\(way)</td></tr>"
        }
        let notKept: HTML? =
            report.notKeptCount > 0
            ? "<p class=\"note\">\(report.notKeptCount) path\(report.notKeptCount == 1 ? "" : "s") could not be kept; <code>holdfast agent status</code> on the machine names them.</p>"
            : nil
        return "<section><h2>File systems</h2>\(notKept)<table class=\"plain\"><tbody>\(rows)</tbody></table></section>"
    }

    private static func policy(_ machine: ManagedMachine, _ visit: Visit) -> HTML {
        // A policy that this version cannot read is told by the machine itself, as its problem.
        guard let policy = try? visit.core.effectivePolicy(of: machine.id) else { return .nothing }
        return """
            <details class="card"><summary>What its policies say, and where each value comes from</summary>
            <pre tabindex="0">\(policy.yaml())</pre></details>
            """
    }

    private static func retire(_ machine: ManagedMachine, _ visit: Visit) -> HTML {
        guard machine.state != .retired, visit.may(.manageMachines) else { return .nothing }
        return """
            <details class="card"><summary>Take it out of service</summary><form method="post" action="/machines/\(machine.id.hex)/retire">
            \(Piece.formToken(visit))<p>Its keys open nothing any more; its points stay as the rules say. It can be brought back with \
            <code>holdfast server machine restore</code>.</p><label>Its name, to be sure<input name="name" autocomplete="off"></label>
            <button>Retire \(machine.name)</button></form></details>
            """
    }

    private static func pager(_ visit: Visit, _ page: Int, _ pages: Int) -> HTML {
        guard pages > 1 else { return .nothing }
        func link(_ number: Int, _ word: String) -> HTML {
            guard (1...pages).contains(number), number != page else { return "<span>\(word)</span>" }
            let query = Address.query([
                ("q", visit.query.text("q")), ("state", visit.query.text("state")), ("page", "\(number)"),
            ])
            return "<a href=\"/machines\(query)\">\(word)</a>"
        }
        return """
            <nav class="pager" aria-label="Pages of the list">\(link(page - 1, "Back"))
            <span>Page \(page) of \(pages)</span>\(link(page + 1, "Next"))</nav>
            """
    }
}
