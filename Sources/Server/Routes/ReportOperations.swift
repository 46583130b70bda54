import Browsing
import Catalog
import Client
import Model
import Vault

/// How everything stands, and what fills the vault.
enum ReportOperations {
    private static let base = "/api/v1/reports/protection"

    static let all: [Operation] = [
        Operation(
            "GET", base,
            "How machines, alerts, work and storage stand, and what happened lately. Storage and work are for who sees all machines.",
            tag: "reports", access: .person(.seeStates),
            query: [("days", "What happened in so many last days; 7 when nothing is said, 366 at most.")],
            response: .json("ProtectionReport")
        ) { core, request in
            let desk = try core.desk(request)
            let days = try request.number("days", in: 1...366) ?? 7
            let report = try desk.protectionReport(days: Int64(days))
            let names = try core.machineNames()
            return .json(
                report.json(includesStorage: desk.person.seesAllMachines) { names[$0] }.encoded())
        },
        Operation(
            "POST", base + "/mail", "Sends the report of the last seven days by mail now.", tag: "reports",
            access: .person(.manageSettings), request: .json("ReportMail"), status: 204,
            failures: [(400, "An address cannot be one."), (503, "The mail did not go out.")]
        ) { core, request in
            let fields = try JSONFields(parsing: request.body, document: "the wish")
            try core.desk(request).sendReport(
                to: try fields.strings("to", atMost: AlertSettings.maximumTargets), zone: SystemZones.current)
            return .nothing
        },
        Operation(
            "GET", "/api/v1/machines/{machine}/growth", "The paths of a machine that add most to the vault.",
            tag: "reports", access: .person(.seeNames),
            query: [("days", "Over so many last days; 7 when nothing is said, 366 at most.")],
            response: .json("MachineGrowth"), failures: [(404, "There is no such machine.")]
        ) { core, request in
            let desk = try core.desk(request)
            let days = try request.number("days", in: 1...366) ?? 7
            let machine = try desk.machine(request.parameters["machine"])
            return .json(describe(try desk.growth(of: machine, days: Int64(days))).encoded())
        },
    ]

    private static func describe(_ growth: MachineGrowth) -> JSONValue {
        let places = growth.places.map { place in
            var fields: [String: JSONValue] = [
                "bytes": .integer(Int64(clamping: place.bytes)), "files": .integer(Int64(place.files)),
                "rest": .bool(place.isRest),
            ]
            fields.setPath("path", place.path)
            return JSONValue.object(fields)
        }
        var fields: [String: JSONValue] = [
            "places": .array(places), "total": .integer(Int64(clamping: growth.total)),
            "points": .integer(Int64(growth.points.count)), "partial": .bool(growth.isPartial),
        ]
        if let first = growth.points.first, let last = growth.points.last {
            fields["from"] = .integer(first.effective.nanoseconds)
            fields["to"] = .integer(last.effective.nanoseconds)
        }
        return .object(fields)
    }
}

extension ProtectionReport {
    /// For programs.
    fileprivate func json(includesStorage: Bool, name: (MachineID) -> String?) -> JSONValue {
        func time(_ time: Timestamp?) -> JSONValue { time.map { .integer($0.nanoseconds) } ?? .null }
        func number(_ number: Int64?) -> JSONValue { number.map { .integer($0) } ?? .null }
        func size(_ bytes: UInt64) -> JSONValue { .integer(Int64(clamping: bytes)) }
        func list(_ alerts: [AlertRecord]) -> JSONValue {
            .array(alerts.prefix(1_000).map { AlertSummary($0, name: $0.machine.flatMap(name)).json })
        }
        let rows = machines.map { machine -> JSONValue in
            var fields: [String: JSONValue] = [
                "machine": .string(machine.id.hex), "name": .string(machine.name), "group": .string(machine.group),
                "condition": .string(machine.condition.rawValue), "newest": time(machine.newest),
                "lag": number(machine.lag), "bytes": size(machine.bytes), "stored": size(machine.stored),
                "problem": machine.problem.map { .string($0) } ?? .null,
            ]
            fields = fields.filter { $0.value != .null }
            return .object(fields)
        }
        var fields: [String: JSONValue] = [
            "title": .string(title), "time": time(self.time), "since": time(since), "verdict": .string(verdict),
            "machines": .array(rows), "lag_median": number(lag.median), "lag_worst": number(lag.worst),
            "lag_unknown": .integer(Int64(lag.unknown)),
            "raised": list(raised), "open": list(open),
        ]
        fields = fields.filter { $0.value != .null }
        guard includesStorage else { return .object(fields) }
        var storage: [String: JSONValue] = ["points": .integer(Int64(points)), "stored": size(stored)]
        if let storedBefore { storage["stored_before"] = size(storedBefore) }
        if let space {
            storage["available"] = size(space.available)
            storage["total"] = size(space.total)
        }
        if case .growing(let bytes, let days) = outlook {
            storage["growth"] = size(bytes)
            if let days { storage["days_until_full"] = .integer(Int64(days)) }
        }
        if let vaultTrouble { storage["problem"] = .string(vaultTrouble) }
        fields["storage"] = .object(storage)
        fields["work"] = .array(
            work.map { work in
                .object([
                    "kind": .string(work.kind), "done": .integer(Int64(work.done)),
                    "failed": .integer(Int64(work.failed)), "running": .integer(Int64(work.running)),
                ])
            })
        return .object(fields)
    }
}
