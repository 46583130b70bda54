import Catalog
import Client
import Model
import Vault

/// Who the server is, how it is, and what it can be asked.
enum IdentityOperations {
    static let all: [Operation] = [
        Operation(
            "GET", "/api/v1/identity",
            "Who this server is: its identity key, its certificate, its vault and its clock.",
            tag: "server", access: .open, response: .json("Identity")
        ) { core, _ in .json(core.description.encoded()) },
        Operation(
            "GET", "/api/openapi.json", "This description.", tag: "server", access: .open, response: .json("OpenAPI")
        ) { _, _ in .json(OpenAPI.document(Operation.all)) },
        Operation(
            "GET", "/health",
            "Whether the server can do its work: 200 when it can. Who has signed in is told the reasons.",
            tag: "server", access: .open, response: .json("Health"),
            failures: [(503, "The vault or the database cannot be used, or the disk is full.")]
        ) { core, request in
            let health = core.health()
            var withReasons = false
            if case .person = request.principal { withReasons = true }
            var answer = ServerAnswer.json(health.encoded(withReasons: withReasons))
            if health.status == .failing { answer.status = 503 }
            return answer
        },
        Operation(
            "GET", "/metrics",
            "What the server counts, in Prometheus's text format. For viewers, unless it was opened.",
            tag: "server", access: .open, response: .text("metrics"), failures: [(401, "Sign in first.")]
        ) { core, request in
            if !core.metricsAreOpen {
                if request.principal == .anonymous { throw HoldfastError(.keyNeeded, "sign in first") }
                try core.require(request, machine: nil, or: .seeStates)
            }
            return ServerAnswer(
                contentType: "text/plain; version=0.0.4; charset=utf-8", body: Array(core.metricsText().utf8))
        },
    ]
}

extension ServerCore {
    /// What is counted, with the numbers of now.
    func metricsText() -> String {
        var gauges = [
            ServerMetrics.Gauge("leases", "Leases that machines and people hold.", Double(leases.count)),
            ServerMetrics.Gauge("jobs_running", "Jobs that run.", Double(jobs.count)),
        ]
        gauges += housekeepingGauges()
        let health = health()
        gauges.append(
            ServerMetrics.Gauge(
                "health", "0 ok, 1 degraded, 2 failing.",
                values: health.checks.map {
                    ([("check", $0.name)], $0.status == .ok ? 0 : $0.status == .degraded ? 1 : 2)
                }))
        if let machines = try? catalog.machines() {
            let states: [(String, ManagedMachine.State)] = [
                ("active", .active), ("waiting", .waiting), ("retired", .retired),
            ]
            gauges.append(
                ServerMetrics.Gauge(
                    "machines", "Machines by state.",
                    values: states.map { name, state in
                        ([("state", name)], Double(machines.count { $0.state == state }))
                    }))
            gauges.append(
                ServerMetrics.Gauge(
                    "machine_last_seen_seconds", "When a machine was heard of last, seconds since 1970.",
                    values: machines.map { machine in
                        let seen = max(machine.lastSeen, life.seen(machine.id) ?? machine.lastSeen)
                        return ([("machine", machine.id.hex), ("name", machine.name)], Double(seen.seconds))
                    }))
            gauges += lifeGauges(machines)
        }
        if let vault = holder.current {
            if let statistics = try? vault.catalog.statistics() {
                gauges += [
                    ServerMetrics.Gauge("points", "Recovery points in the vault.", Double(statistics.points)),
                    ServerMetrics.Gauge(
                        "vault_bytes", "Bytes of packs.",
                        values: [
                            ([("class", "data")], Double(statistics.data.bytes)),
                            ([("class", "meta")], Double(statistics.meta.bytes)),
                            ([("class", "records")], Double(statistics.records.bytes)),
                        ]),
                    ServerMetrics.Gauge("damaged_blobs", "Blobs known to be damaged.", Double(statistics.damaged)),
                ]
            }
            if let space = try? vault.store.space() {
                gauges += [
                    ServerMetrics.Gauge("disk_bytes", "Of the vault's file system.", Double(space.total)),
                    ServerMetrics.Gauge("disk_available_bytes", "Free for the vault.", Double(space.available)),
                ]
            }
        }
        return metrics.text(gauges)
    }
}
