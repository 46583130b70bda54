package import Model
package import Vault

/// What retention did, or would do, with the points of every machine of a server.
package struct RetentionReport: Sendable {
    package struct Decision: Hashable, Sendable {
        package var point: PointID
        package var time: Timestamp
        package var series: UInt64
        package var isPartial: Bool
        package var isDamaged: Bool
        /// Why it stays; empty when it goes.
        package var reasons: [String]

        package init(
            point: PointID, time: Timestamp, series: UInt64, isPartial: Bool, isDamaged: Bool, reasons: [String]
        ) {
            self.point = point
            self.time = time
            self.series = series
            self.isPartial = isPartial
            self.isDamaged = isDamaged
            self.reasons = reasons
        }
    }

    package struct Machine: Sendable {
        package var machine: MachineID
        package var name: String
        /// The zone whose days were counted.
        package var zone: String
        package var kept: Int
        package var removed: Int
        /// The newest first; a report names no more than `RetentionReport.maximumDecisions` in all.
        package var decisions: [Decision]
        /// Why nothing was decided.
        package var failure: String?

        package init(
            machine: MachineID, name: String, zone: String, kept: Int, removed: Int, decisions: [Decision],
            failure: String? = nil
        ) {
            self.machine = machine
            self.name = name
            self.zone = zone
            self.kept = kept
            self.removed = removed
            self.decisions = decisions
            self.failure = failure
        }
    }

    package static let maximumDecisions = 20_000

    package var machines: [Machine]
    package var kept: Int { machines.reduce(0) { $0 + $1.kept } }
    package var removed: Int { machines.reduce(0) { $0 + $1.removed } }

    package init(machines: [Machine]) { self.machines = machines }

    package func encoded() -> [UInt8] {
        let list = machines.map { machine -> JSONValue in
            var fields: [String: JSONValue] = [
                "machine": .string(machine.machine.hex), "name": .string(machine.name), "zone": .string(machine.zone),
                "kept": .integer(Int64(machine.kept)), "removed": .integer(Int64(machine.removed)),
                "decisions": .array(
                    machine.decisions.map { decision in
                        .object([
                            "point": .string(decision.point.hex), "time": .integer(decision.time.nanoseconds),
                            "series": .integer(Int64(bitPattern: decision.series)),
                            "partial": .bool(decision.isPartial), "damaged": .bool(decision.isDamaged),
                            "reasons": .array(decision.reasons.map { .string($0) }),
                        ])
                    }),
            ]
            if let failure = machine.failure { fields["failure"] = .string(failure) }
            return .object(fields)
        }
        return JSONValue.object(["machines": .array(list)]).encoded()
    }

    package static func decode(_ fields: JSONFields) throws -> RetentionReport {
        let largest = Int64.max
        func flag(_ fields: JSONFields, _ name: String) throws -> Bool {
            guard case .bool(let value) = fields.members[name] else { throw fields.wrong(name) }
            return value
        }
        let machines = try fields.array("machines", atMost: 1_000_000).map { value in
            let item = try JSONFields(value, document: fields.document)
            return Machine(
                machine: try item.identifier("machine"), name: try item.string("name"), zone: try item.string("zone"),
                kept: Int(try item.integer("kept", in: 0...largest)),
                removed: Int(try item.integer("removed", in: 0...largest)),
                decisions: try item.array("decisions", atMost: maximumDecisions).map { value in
                    let inner = try JSONFields(value, document: fields.document)
                    return Decision(
                        point: try inner.identifier("point"),
                        time: Timestamp(nanoseconds: try inner.integer("time", in: Int64.min...largest)),
                        series: UInt64(bitPattern: try inner.integer("series", in: Int64.min...largest)),
                        isPartial: try flag(inner, "partial"), isDamaged: try flag(inner, "damaged"),
                        reasons: try inner.strings("reasons", atMost: 100))
                }, failure: item.has("failure") ? try item.string("failure") : nil)
        }
        return RetentionReport(machines: machines)
    }
}

extension RemoteAdministration {
    /// Lets the server apply every machine's effective retention, or say what that would do.
    package func applyRetention(isPlan: Bool) throws -> RetentionReport {
        try RetentionReport.decode(try run(isPlan ? "plan-retention" : "retention"))
    }
}
