import Catalog
import Client
import Model
import Server
import Vault

/// Long work of the server.
enum JobPages {
    static let all: [Page] = [
        .get("/jobs", "Long work of the server.", .right(.seeStates), list),
        .get("/jobs/{job}", "A job: how far it is, and what it said.", .right(.seeStates), show),
        .post("/jobs", .right(.manageSettings)) { visit in
            guard let work = works.first(where: { $0.name == visit.form.text("kind") }) else {
                throw HoldfastError(.usage, "There is no such work.")
            }
            try visit.note("job.begun", to: work.name)
            let id = try visit.core.beginJob(work.kind, work.parameters, by: visit.name)
            return .redirect("/jobs/\(id.hex)")
        },
        .post("/jobs/{job}/stop", .right(.manageSettings)) { visit in
            let job = try find(visit)
            try visit.note("job.stopped", to: job.kind)
            visit.core.cancelJob(job.id)
            return .redirect("/jobs/\(job.id.hex)")
        },
    ]

    /// What can be begun here.
    private struct Work {
        var name: String
        var kind: String
        var title: String
        var parameters: [String: JSONValue] = [:]
    }

    private static func check(_ level: String, _ title: String) -> Work {
        Work(
            name: "verify-\(level)", kind: "verify", title: title,
            parameters: ["level": .string(level), "sample": .integer(1_000_000_000)])
    }

    private static let works = [
        check("packs", "Check that the vault is whole"), check("data", "Open everything that the vault holds"),
        Work(name: "plan-retention", kind: "plan-retention", title: "Show what the rules would remove"),
        Work(name: "plan-reclaim", kind: "plan-reclaim", title: "Show what room could be given back"),
        Work(name: "reclaim", kind: "reclaim", title: "Give room back"),
    ]

    private static func find(_ visit: Visit) throws -> JobRecord {
        guard visit.seesAllMachines, let id = visit.request.parameters["job"].flatMap({ JobID(hex: $0) }),
            let job = try visit.core.job(id)
        else { throw HoldfastError(.notFound, "There is no such job.") }
        return job
    }

    @Sendable private static func list(_ visit: Visit) throws -> ServerAnswer {
        let jobs = visit.seesAllMachines ? try visit.core.catalog.jobs(newest: 100) : []
        let rows: [HTML] = jobs.map { job in
            """
            <tr><th scope="row"><a href="/jobs/\(job.id.hex)">\(title(job.kind))</a><small>\(job.owner)</small></th>
            <td>\(state(job))</td><td>\(Piece.time(job.started, now: visit.now))</td>
            <td class="number">\(job.ended.map { Piece.span(max($0.since(job.started), 0) / 1_000_000_000) } ?? "")</td></tr>
            """
        }
        let buttons: HTML? =
            visit.may(.manageSettings)
            ? """
            <form method="post" action="/jobs" class="filter">\(Piece.formToken(visit))<label>Work<select name="kind">\
            \(works.map { "<option value=\"\($0.name)\">\($0.title)</option>" as HTML })</select></label>
            <button>Begin</button></form>
            """ : nil
        let table: HTML =
            rows.isEmpty
            ? Piece.empty(
                "No work yet", "<p>Retention, checks and cleaning up show here while they run and afterwards.</p>")
            : """
            <table><thead><tr><th>What</th><th>How it went</th><th>Begun</th><th class="number">Took</th></tr></thead>
            <tbody>\(rows)</tbody></table>
            """
        return Layout.page("Jobs", visit, "\(buttons)\(table)")
    }

    static func title(_ kind: String) -> String {
        switch kind {
        case "retention": "Remove what the rules do not keep"
        case "rebuild": "Make the catalog anew"
        case "delete-points": "Delete points"
        case "verify": "Check the vault"
        default: works.first { $0.kind == kind }?.title ?? kind
        }
    }

    private static func state(_ job: JobRecord) -> HTML {
        switch job.state {
        case .running: Piece.state("ask", "Running")
        case .done: Piece.state("good", "Done")
        case .failed: Piece.state("bad", "Failed")
        case .cancelled: Piece.state("grey", "Stopped")
        case .interrupted: Piece.state("warn", "Interrupted")
        }
    }

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        let job = try find(visit)
        let lines = try visit.core.catalog.log(of: job.id, after: 0, limit: 2_000)
        let failure = job.failure.flatMap { try? JSONValue(parsing: $0) }
        let problem: HTML? = failure.flatMap { Self.text($0, "detail") ?? Self.text($0, "title") }.map {
            "<p class=\"error\" role=\"alert\">\($0)</p>"
        }
        let bar: HTML? =
            job.state == .running
            ? "<progress max=\"\(max(job.total, 1))\" value=\"\(min(job.done, job.total))\" aria-label=\"How far it is\"></progress>"
            : nil
        let stop: HTML? =
            job.state == .running && visit.may(.manageSettings)
            ? """
            <form method="post" action="/jobs/\(job.id.hex)/stop">\(Piece.formToken(visit))<button>Stop</button></form>
            """ : nil
        let log: HTML =
            lines.isEmpty
            ? "<p class=\"hint\">It has said nothing.</p>"
            : "<pre>\(lines.map { "\(TimeText.local($0.time, in: visit.zone))  \($0.text)" }.joined(separator: "\n"))</pre>"
        return Layout.page(
            title(job.kind), visit,
            """
            <div data-live="\(job.state == .running ? "5" : "")"><dl class="facts card"><div><dt>How it stands</dt><dd>\(state(job))</dd></div>
            <div><dt>Begun by</dt><dd>\(job.owner)</dd></div>
            <div><dt>Begun</dt><dd>\(Piece.time(job.started, now: visit.now))</dd></div></dl>\(bar)\(problem)\(stop)
            <section><h2>What it said</h2>\(log)</section></div>
            """)
    }

    private static func text(_ value: JSONValue, _ name: String) -> String? {
        guard case .object(let fields) = value, case .string(let text)? = fields[name] else { return nil }
        return text
    }
}
