import Catalog
import Client
import Model
import Vault

/// Alerts, for people.
enum AlertOperations {
    static let all: [Operation] = [
        Operation(
            "GET", "/api/v1/alerts", "What somebody should know of: what is open, newest first, then what is resolved.",
            tag: "alerts", query: [("resolved", "How many of those that are resolved, at most 2,000.")],
            response: .json("AlertList")
        ) { core, request in
            let desk = try core.desk(request)
            let limit = try request.number("resolved", in: 0...2_000) ?? 0
            let names = try core.machineNames()
            let alerts = try desk.alerts(resolved: limit).prefix(RemoteAlerts.maximumList).map { alert in
                AlertSummary(alert, name: alert.machine.flatMap { names[$0] }).json
            }
            return .json(JSONValue.object(["alerts": .array(Array(alerts))]).encoded())
        },
        saying(.acknowledge, "Says that somebody has seen an alert."),
        saying(
            .resolve, "Says that an alert is over. What still holds is raised anew by the server's next look."),
        Operation(
            "GET", "/api/v1/alert-mutes", "Rules by which nobody is told of some alerts for a while.", tag: "alerts",
            access: .person(.seeStates), response: .json("AlertMuteList")
        ) { core, request in
            let mutes = try core.desk(request).alertMutes().map(\.json)
            return .json(JSONValue.object(["mutes": .array(mutes)]).encoded())
        },
        Operation(
            "POST", "/api/v1/alert-mutes",
            "Mutes alerts by a rule: they are raised and listed, and nobody is told. What is open at its end is told then.",
            tag: "alerts", access: .person(.handleAlerts), request: .json("NewAlertMute"),
            response: .json("AlertMute"), status: 201,
            failures: [(413, "There are too many rules.")], maximumBody: 16 << 10
        ) { core, request in
            let wish = try AlertMuteWish(JSONFields(parsing: request.body, document: "the rule"))
            return ServerAnswer(status: 201, body: try core.desk(request).muteAlerts(wish).json.encoded())
        },
        Operation(
            "DELETE", "/api/v1/alert-mutes/{mute}", "Ends a rule before its time.", tag: "alerts",
            access: .person(.handleAlerts), status: 204, failures: [(404, "There is no such rule.")]
        ) { core, request in
            try core.desk(request).unmuteAlerts(request.parameters["mute"] ?? "")
            return .nothing
        },
        Operation(
            "POST", "/api/v1/alerts/test", "Sends a message on every way on which alerts go out.", tag: "alerts",
            response: .json("AlertTrials")
        ) { core, request in
            try core.require(request, machine: nil)
            core.refreshAlertSettings()
            let trials = core.dispatcher.test().map { trial in
                var fields: [String: JSONValue] = ["target": .string(trial.target)]
                if let failure = trial.failure { fields["failure"] = .string(failure) }
                return JSONValue.object(fields)
            }
            return .json(JSONValue.object(["targets": .array(trials)]).encoded())
        },
    ]

    /// What somebody says of an alert.
    private static func saying(_ word: AlertWord, _ summary: String) -> Operation {
        Operation(
            "POST", "/api/v1/alerts/{number}/\(word.rawValue)", summary, tag: "alerts", response: .json("Alert")
        ) { core, request in
            let desk = try core.desk(request)
            try desk.require(.handleAlerts)
            guard let number = Int64(request.parameters["number"] ?? ""), number > 0 else {
                throw HoldfastError(.usage, "an alert is named by its number")
            }
            let alert = try desk.say(word, of: number)
            let name = try alert.machine.flatMap { try core.catalog.machine($0)?.name }
            return .json(AlertSummary(alert, name: name).json.encoded())
        }
    }
}

extension ServerCore {
    func machineNames() throws -> [MachineID: String] {
        Dictionary(try catalog.machines().map { ($0.id, $0.name) }) { first, _ in first }
    }

    /// Takes up what was set beside the running server.
    func refreshAlertSettings() {
        if let settings = try? AlertSettings.load(catalog) { alertSettings.withLock { $0 = settings } }
    }

    /// What is counted of machines and alerts.
    func lifeGauges(_ machines: [ManagedMachine]) -> [ServerMetrics.Gauge] {
        let now = clock()
        let live = life.all
        var conditions: [MachineCondition: Int] = [:]
        var lags: [(labels: [(String, String)], value: Double)] = []
        for machine in machines {
            let known = live[machine.id]
            let condition = MachineCondition(
                machine, known?.report, received: known?.received, at: now, objectives(of: machine),
                hasPoints: hasPoints(machine.id))
            conditions[condition, default: 0] += 1
            if let known, condition != .retired {
                lags.append(
                    ([("machine", machine.id.hex), ("name", machine.name)], Double(known.report.lag) / 1e9))
            }
        }
        let counts = alerts.counts
        let (delivered, failed, abandoned) = dispatcher.counts
        return [
            ServerMetrics.Gauge(
                "machine_conditions", "Machines by how they are.",
                values: MachineCondition.allCases.map {
                    ([("condition", $0.rawValue)], Double(conditions[$0] ?? 0))
                }),
            ServerMetrics.Gauge(
                "machine_lag_seconds", "Age of a machine's oldest change that is not stored, as it said last.",
                values: lags),
            ServerMetrics.Gauge(
                "alerts", "Alerts that are not resolved.",
                values: counts.flatMap { kind, open, acknowledged in
                    [
                        ([("kind", kind.rawValue), ("state", "open")], Double(open)),
                        ([("kind", kind.rawValue), ("state", "acknowledged")], Double(acknowledged)),
                    ]
                }),
            ServerMetrics.Gauge(
                "alert_messages", "Messages about alerts since the start of the server.",
                values: [
                    ([("outcome", "delivered")], Double(delivered)), ([("outcome", "failed")], Double(failed)),
                    ([("outcome", "abandoned")], Double(abandoned)),
                ]),
        ]
    }
}
