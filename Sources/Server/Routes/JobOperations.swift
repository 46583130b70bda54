import Browsing
import Catalog
import Client
import Foundation
import Model
import Vault

/// Long work as jobs.
enum JobOperations {
    /// Longest wait for news of a job in seconds.
    static let longestWait = 30

    static let all: [Operation] = [
        Operation(
            "POST", "/api/v1/jobs",
            "Begins long work: verify, plan-reclaim, reclaim, plan-retention, retention, rebuild or delete-points. One job of a "
                + "kind at a time.",
            tag: "jobs", access: .person(.manageSettings), request: .json("JobRequest"), response: .json("JobBegun"),
            status: 202,
            failures: [(503, "A job of this kind runs already.")], maximumBody: 4 << 20
        ) { core, request in
            try core.require(request, machine: nil)
            let fields = try JSONFields(parsing: request.body, document: "the job", atMost: 4 << 20)
            guard try fields.identifier("vault", as: VaultID.self) == core.vaultID else {
                throw HoldfastError(.notFound, "this server has no such vault")
            }
            let id = try core.begin(
                kind: try fields.string("kind"), try fields.object("parameters"), owner: request.owner)
            return ServerAnswer(status: 202, body: JSONValue.object(["job": .string(id.hex)]).encoded())
        },
        Operation(
            "GET", "/api/v1/jobs", "The newest jobs, newest first.", tag: "jobs", response: .json("JobList")
        ) { core, request in
            try core.require(request, machine: nil, or: .seeStates)
            let jobs = try core.catalog.jobs(newest: 100).map { JSONValue.object(JobOperations.summary($0)) }
            return .json(JSONValue.object(["jobs": .array(jobs)]).encoded())
        },
        Operation(
            "GET", "/api/v1/jobs/{job}",
            "What a job has said since line `after`, one JSON object a line, and last how it stands.", tag: "jobs",
            query: [
                ("after", "The last line that is known already."),
                ("wait", "Seconds to wait for the job's end or for news, at most 30."),
            ], response: .lines("JobEvent")
        ) { core, request in
            try core.require(request, machine: nil, or: .seeStates)
            let id: JobID = try request.id("job")
            let after = try request.number("after", in: 0...Int.max) ?? 0
            let wait = try request.number("wait", in: 0...longestWait) ?? 0
            guard let job = try core.jobs.job(id) else { throw HoldfastError(.notFound, "there is no such job") }
            let lines = try core.catalog.log(of: id, after: Int64(after), limit: 1_000)
            if wait > 0, job.state == .running, lines.isEmpty, !request.isLastLook { throw NotYet() }
            return ServerAnswer(contentType: "application/x-ndjson", body: try events(job, lines))
        },
        Operation("DELETE", "/api/v1/jobs/{job}", "Asks a job to end.", tag: "jobs", status: 204) { core, request in
            try core.require(request, machine: nil)
            let id: JobID = try request.id("job")
            guard try core.jobs.job(id) != nil else { throw HoldfastError(.notFound, "there is no such job") }
            core.jobs.cancel(id)
            return .nothing
        },
    ]

    private static func title(_ state: JobRecord.State) -> String {
        switch state {
        case .running: "running"
        case .done: "done"
        case .failed: "failed"
        case .cancelled: "cancelled"
        case .interrupted: "interrupted"
        }
    }

    private static func summary(_ job: JobRecord) -> [String: JSONValue] {
        var fields: [String: JSONValue] = [
            "job": .string(job.id.hex), "kind": .string(job.kind), "state": .string(title(job.state)),
            "owner": .string(job.owner), "started": .integer(job.started.nanoseconds),
            "done": .integer(Int64(clamping: job.done)), "total": .integer(Int64(clamping: job.total)),
        ]
        if let ended = job.ended { fields["ended"] = .integer(ended.nanoseconds) }
        return fields
    }

    private static func events(_ job: JobRecord, _ lines: [JobLine]) throws -> [UInt8] {
        var text: [UInt8] = []
        for line in lines {
            text += JSONValue.object([
                "type": .string("line"), "number": .integer(line.number), "time": .integer(line.time.nanoseconds),
                "text": .string(line.text),
            ]).encoded()
            text.append(UInt8(ascii: "\n"))
        }
        var state = summary(job)
        state["type"] = .string("state")
        if let result = job.result {
            state["result"] = try JSONValue(parsing: result, atMost: AdministrationMessages.maximumReport)
        }
        if let failure = job.failure { state["failure"] = try JSONValue(parsing: failure) }
        text += JSONValue.object(state).encoded()
        text.append(UInt8(ascii: "\n"))
        return text
    }
}

extension ServerRequest {
    /// Who asks, for people.
    var owner: String {
        switch principal {
        case .anonymous: ""
        case .machine(let id): id.hex
        case .person(let person): person.name
        }
    }
}

extension ServerCore {
    /// Begins a job of `kind`. Throws `usage` for a kind that there is not, and for parameters that make no sense.
    func begin(kind: String, _ parameters: JSONFields, owner: String) throws -> JobID {
        let vault = try self.vault
        let work: @Sendable (JobRunner.Context) throws -> [UInt8]
        switch kind {
        case "verify":
            var request = try AdministrationMessages.verification(parameters)
            request.keys = keys
            if request.level == .data, keys == nil {
                throw HoldfastError(
                    .keyNeeded,
                    "This vault is owner-only: its contents are checked where its passphrase is, with --vault DIR.")
            }
            let asked = request
            work = { context in
                var request = asked
                request.progress = { try context.add($0, of: $1) }
                return AdministrationMessages.encode(try vault.verify(request))
            }
        case "plan-reclaim", "reclaim":
            var asked = CollectionOptions()
            asked.ignoresDamage = try AdministrationMessages.flag(parameters, "ignore_damage")
            let ignoresDamage = asked.ignoresDamage
            work = { context in
                var options = CollectionOptions()
                options.ignoresDamage = ignoresDamage
                options.checkpoint = { try context.check() }
                return kind == "reclaim"
                    ? AdministrationMessages.encode(try vault.reclaim(options: options))
                    : AdministrationMessages.encode(try vault.planCollection(options: options))
            }
        case "delete-points":
            let (points, includesNewest) = try AdministrationMessages.deletion(parameters)
            work = { context in
                try vault.deletePoints(points, options: .init(includesNewest: includesNewest))
                context.log("deleted \(points.count) points")
                return JSONValue.object(["deleted": .integer(Int64(points.count))]).encoded()
            }
        case "retention", "plan-retention":
            work = { [self] in
                try applyRetention($0, isPlan: kind == "plan-retention", waits: owner == Self.housekeeper)
            }
        case "rebuild": return try beginRebuild(owner: owner)
        default: throw HoldfastError(.usage, "there are no jobs of this kind")
        }
        return try jobs.start(
            kind: kind, owner: owner, parameters: JSONValue.object(parameters.members).encoded(), work)
    }

    private func beginRebuild(owner: String) throws -> JobID {
        guard let vaultPath else {
            throw HoldfastError(.unsupported, "this server cannot make its vault's catalog anew while it runs")
        }
        return try jobs.start(kind: "rebuild", owner: owner, parameters: JSONValue.object([:]).encoded()) { [self] _ in
            // Writers begin again; readers too. Both are told so by the loss of their leases.
            leases.endAll()
            return AdministrationMessages.encode(try holder.rebuild(path: vaultPath) { shelf.closeAll() })
        }
    }
}
