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
        .get("/jobs.csv", "Jobs as a table for other programs.", .right(.seeStates)) { visit in
            table(visit).file(try rows(visit), visit, name: "jobs")
        },
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
        let buttons: HTML? =
            visit.may(.manageSettings)
            ? """
            <form method="post" action="/jobs" class="filter begin">\(Piece.formToken(visit))<label>Begin work<select name="kind">\
            \(works.map { "<option value=\"\($0.name)\">\($0.title)</option>" as HTML })</select></label>
            <button>Begin</button></form>
            """ : nil
        let restores = try RestoreOrderView.list(visit)
        let heading: HTML? = restores.source.isEmpty ? nil : "<h2>Of the server</h2>"
        return Layout.page(
            "Jobs", visit, feed: FeedPage.states,
            "\(restores)\(heading)\(table(visit).show(try rows(visit), visit))\(buttons)")
    }

    private static func rows(_ visit: Visit) throws -> [JobRecord] {
        visit.seesAllMachines ? try visit.core.catalog.jobs(newest: 1_000) : []
    }

    private static func length(_ job: JobRecord) -> Int64 {
        job.ended.map { max($0.since(job.started), 0) / 1_000_000_000 } ?? -1
    }

    private static func table(_ visit: Visit) -> Table<JobRecord> {
        let now = visit.now
        var table = Table<JobRecord>(
            path: "/jobs", noun: ("job", "jobs"),
            columns: [
                .init(
                    "kind", "What", by: { title($0.kind) }, plain: { title($0.kind) },
                    cell: { "<a href=\"/jobs/\($0.id.hex)\">\(title($0.kind))</a>" }),
                .init(
                    "state", "How it went", by: { "\($0.state)" }, plain: { "\($0.state)" },
                    cell: { job in
                        job.state == .running && job.total > 0
                            ? "\(state(job)) <progress max=\"\(job.total)\" value=\"\(min(job.done, job.total))\" aria-label=\"How far it is\"></progress>"
                            : state(job)
                    }),
                .init("owner", "By", by: \.owner, plain: \.owner),
                .init(
                    "started", "Begun", startsLargest: true, by: \.started.nanoseconds,
                    plain: { TimeText.rfc3339($0.started) }, cell: { Piece.time($0.started, now: now) }),
                .init(
                    "length", "Took", isNumber: true, startsLargest: true, by: length,
                    plain: { job in job.ended == nil ? "" : "\(length(job))" },
                    cell: { job in job.ended == nil ? .nothing : "\(Piece.span(length(job)))" }),
            ], usualOrder: "-started")
        table.filters = [
            Table.Filter(
                name: "kind", title: "Work",
                choices: kinds.map { ($0, title($0)) }
            ) { $0.kind == $1 },
            Table.Filter(
                name: "state", title: "How it went",
                choices: [
                    ("running", "Running"), ("done", "Done"), ("failed", "Failed or interrupted"),
                    ("cancelled", "Stopped"),
                ]
            ) { "\($0.state)" == $1 || ($1 == "failed" && $0.state == .interrupted) },
        ]
        table.empty = Piece.empty(
            "No work yet",
            "<p>Retention, checks and cleaning up show here while they run and afterwards. The server begins what is due by itself.</p>"
        )
        return table
    }

    /// Kinds of work that can be looked for.
    private static let kinds = [
        "retention", "reclaim", "verify", "plan-retention", "plan-reclaim", "rebuild", "delete-points",
    ]

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
        let seconds = max((job.ended ?? visit.now).since(job.started) / 1_000_000_000, 0)
        let speed = job.done > 0 && seconds > 0 ? Units.binarySize(job.done / UInt64(seconds)) + "/s" : nil
        let bar: HTML? =
            job.state == .running
            ? """
            <progress max="\(max(job.total, 1))" value="\(min(job.done, job.total))" aria-label="How far it is"></progress>\
            <p class="hint">\(job.total > 0 ? "\(Units.binarySize(job.done)) of \(Units.binarySize(job.total))" : "How much there is to do is not known yet.")</p>
            """
            : nil
        let stop: HTML? =
            job.state == .running && visit.may(.manageSettings)
            ? """
            <form method="post" action="/jobs/\(job.id.hex)/stop">\(Piece.formToken(visit))<button>Stop</button></form>
            """ : nil
        let found = JobFindings.show(job)
        let isSilent = lines.isEmpty && (found != nil || job.state == .running)
        let log: HTML =
            lines.isEmpty
            ? "<p class=\"hint\">It has said nothing.</p>"
            : "<pre tabindex=\"0\">\(lines.map { "\(TimeText.local($0.time, in: visit.zone))  \($0.text)" }.joined(separator: "\n"))</pre>"
        let said: HTML? = isSilent ? nil : "<section><h2>What it said</h2>\(log)</section>"
        return Layout.page(
            title(job.kind), visit, feed: job.state == .running ? FeedPage.jobs : nil,
            """
            <div id="job" data-live><dl class="facts card"><div><dt>How it stands</dt><dd>\(state(job))</dd></div>
            <div><dt>Begun by</dt><dd>\(job.owner)</dd></div><div><dt>Begun</dt><dd>\(Piece.time(job.started, now: visit.now))</dd></div>
            <div><dt>\(job.state == .running ? "Runs for" : "Took")</dt><dd>\(Piece.span(seconds))</dd></div>
            \(speed.map { "<div><dt>Speed</dt><dd>\($0)</dd></div>" as HTML })</dl>\(bar)\(problem)\(stop)
            \(found)\(said)</div><p><a href="/jobs">All jobs</a></p>
            """)
    }

    private static func text(_ value: JSONValue, _ name: String) -> String? {
        guard case .object(let fields) = value, case .string(let text)? = fields[name] else { return nil }
        return text
    }
}
