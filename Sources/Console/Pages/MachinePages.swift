import Browsing
import Catalog
import Client
import Model
import Policy
import Server
import Vault

/// The machines, and each of them.
enum MachinePages {
    static let all: [Page] = [
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
        .post("/machines/{machine}/return", .right(.manageMachines)) { visit in
            let machine = try visit.machine(visit.request.parameters["machine"])
            try visit.note("machine.returned", to: machine.name)
            try visit.core.reinstate(machine.id)
            return .redirect("/machines/\(machine.id.hex)?done=returned")
        },
        .get("/machines/{machine}/points", "All points of a machine.", .right(.seeStates)) { visit in
            let machine = try visit.machine(visit.request.parameters["machine"])
            let points = try visit.site.shelf.points(of: machine.id)
            let table = MachinePoints.table(machine, visit)
            return Layout.page(
                "Points of \(machine.name)", visit, wide: true,
                "<p><a href=\"/machines/\(machine.id.hex)\">Back to \(machine.name)</a></p>\(table.show(points, visit))"
            )
        },
        .get("/machines/{machine}/points.csv", "The points of a machine as a table.", .right(.seeStates)) { visit in
            let machine = try visit.machine(visit.request.parameters["machine"])
            return MachinePoints.table(machine, visit).file(
                try visit.site.shelf.points(of: machine.id), visit, name: "points")
        },
    ]

    // MARK: One machine

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        let machine = try visit.machine(visit.request.parameters["machine"])
        let overview = visit.core.overview(of: machine)
        let report = overview.report
        let policy = try? visit.core.effectivePolicy(of: machine.id)
        let points = try visit.site.shelf.points(of: machine.id)
        return Layout.page(
            machine.name, visit, feed: FeedPage.states,
            """
            \(done(visit))\(waiting(machine, visit))
            <div id="standing" data-live>\(standing(overview, visit))</div>
            <div class="actions">\(actions(machine, visit))</div>
            <div id="month" data-live>\(MachineMonth.show(machine, points, visit))</div>
            \(MachineFacts.protection(machine, policy, report, visit))
            <div id="activity" data-live>\(MachineFacts.activity(overview, visit))</div>
            <div id="points" data-live>\(MachinePoints.newest(machine, points, visit))</div>
            \(try MachineFacts.events(machine, visit))\(try MachineFacts.placement(machine, policy, visit))\(retire(machine, visit))
            """)
    }

    private static func done(_ visit: Visit) -> HTML? {
        let text: String? =
            visit.query.text("asked") == "1"
            ? "The machine was asked to back up now; it does so as soon as it hears of it."
            : visit.query.text("done") == "placed"
                ? "Done. The machine hears of it within seconds, or when it comes."
                : visit.query.text("done") == "returned"
                    ? "The machine is in service again, with the keys that it had." : nil
        return text.map { "<p class=\"done\" role=\"status\">\($0)</p>" }
    }

    private static func standing(_ overview: MachineOverview, _ visit: Visit) -> HTML {
        let state = MachineState(overview.condition)
        let report = overview.report
        let problem: HTML? = report?.problem.map { "<p class=\"error\" role=\"alert\">\($0)</p>" }
        let at = "/machines/\(overview.machine.id.hex)"
        let seesNames = visit.may(.seeNames)
        func lead(_ to: String, _ text: HTML) -> HTML {
            seesNames ? "<a href=\"\(at)/\(to)\">\(text)</a>" : text
        }
        let lag = Piece.lag(overview.lag)
        let newest: HTML =
            report?.newest.map { "<a href=\"\(at)/points\">\(Piece.time($0.time, now: visit.now))</a>" } ?? "none yet"
        let files: HTML = report.map { lead("files", "\(Units.count($0.files))") } ?? "unknown"
        let size: HTML = report.map { lead("growth", Piece.size($0.bytes)) } ?? "unknown"
        return """
            \(problem)<dl class="facts card"><div><dt>State</dt><dd>\(Piece.state(state.colour, state.word))</dd></div>
            <div><dt>Lag</dt><dd><a href="#activity">\(lag)</a></dd></div>
            <div><dt>Newest point</dt><dd>\(newest)</dd></div>
            <div><dt>Files</dt><dd>\(files)</dd></div>
            <div><dt>Size</dt><dd>\(size)</dd></div>
            <div><dt>Group</dt><dd><a href="/machines?q=\(Address.encode(overview.machine.group))">\(overview.machine.group)</a></dd></div>
            <div><dt>Heard of</dt><dd>\(Piece.time(overview.lastSeen, now: visit.now))</dd></div></dl>
            """
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

    private static func retire(_ machine: ManagedMachine, _ visit: Visit) -> HTML {
        guard visit.may(.manageMachines) else { return .nothing }
        if machine.state == .retired {
            return """
                <section><h2>Out of service</h2><p>Its keys open nothing, and its points stay as the rules say.</p>
                <form method="post" action="/machines/\(machine.id.hex)/return">\(Piece.formToken(visit))<button>Bring it back into service</button></form></section>
                """
        }
        return """
            <details class="card"><summary>Take it out of service</summary><form method="post" action="/machines/\(machine.id.hex)/retire">
            \(Piece.formToken(visit))<p>Its keys open nothing any more; its points stay as the rules say. It can be brought back \
            here at any time.</p><label>Its name, to be sure<input name="name" autocomplete="off"></label>
            <button>Retire \(machine.name)</button></form></details>
            """
    }
}
