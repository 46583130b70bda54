import Model
import Vault

/// What an agent that follows a policy says of policy and schedule, for people and programs.
struct AgentPolicyView {
    private var source: String?
    private var missing: [String] = []
    private var scheduled: [String] = []
    private var schedule: String?
    private var limits: [String] = []
    private var problem: String?
    /// Why nothing is protected; `nil` when something is, and while protection is paused.
    private var nothing: String?
    /// Nanoseconds; below zero without end.
    private var paused: Int64?
    private var isRunning = false
    private var next: Timestamp?
    private var last: Timestamp?
    private var scheduleProblem: String?

    init(_ status: JSONFields) throws {
        guard status.has("policy") else { return }
        let policy = try status.object("policy")
        func text(_ fields: JSONFields, _ name: String) throws -> String? {
            fields.has(name) ? try fields.string(name) : nil
        }
        func texts(_ name: String) throws -> [String] {
            policy.has(name) ? try policy.strings(name, atMost: 100_000) : []
        }
        func time(_ fields: JSONFields, _ name: String) throws -> Timestamp? {
            guard fields.has(name) else { return nil }
            return Timestamp(nanoseconds: try fields.integer(name, in: Int64.min...Int64.max))
        }
        source = try text(policy, "source")
        missing = try texts("missing")
        scheduled = try texts("scheduled")
        schedule = try text(policy, "schedule")
        limits = try texts("limits")
        problem = try text(policy, "problem")
        nothing = try text(policy, "nothing")
        paused = policy.has("paused") ? try policy.integer("paused", in: -1...Int64.max) : nil
        guard status.has("schedule") else { return }
        let row = try status.object("schedule")
        if case .bool(let value) = row.members["running"] { isRunning = value }
        next = try time(row, "next")
        last = try time(row, "last")
        scheduleProblem = try text(row, "problem")
    }

    /// The policy is what is so.
    var isWell: Bool { problem == nil && nothing == nil && scheduleProblem == nil && paused == nil }
    /// Nothing is protected at all just now, so that nothing can wait to be stored.
    var isIdle: Bool { nothing != nil || paused != nil }

    /// For JSON; none for an agent that was told its paths.
    var fields: [String: JSON] {
        guard let source else { return [:] }
        var policy: [String: JSON] = [
            "source": .string(source), "missing": .strings(missing), "limits": .strings(limits),
            "problem": (problem ?? nothing).map { .string($0) } ?? .null, "paused": .bool(paused != nil),
        ]
        if let schedule {
            policy["schedule"] = .object([
                "text": .string(schedule), "paths": .strings(scheduled), "running": .bool(isRunning),
                "next": next.map { .time($0) } ?? .null, "last": last.map { .time($0) } ?? .null,
                "problem": scheduleProblem.map { .string($0) } ?? .null,
            ])
        }
        return ["policy": .object(policy)]
    }

    func show(_ console: Console) throws {
        guard let source else { return }
        if let paused {
            try console.line(
                paused < 0
                    ? "Paused until `holdfast agent resume`."
                    : "Paused for another \(Units.span(nanoseconds: UInt64(paused))).")
        }
        try console.line("Policy: \(source.isEmpty ? "none yet" : source)")
        if let schedule {
            var line = "Scheduled (\(schedule)): \(scheduled.joined(separator: ", "))"
            if isRunning {
                line += "; runs now"
            } else if let next {
                line += "; next \(TimeText.local(next, in: console.zone))"
            }
            if let last { line += "; last done \(TimeText.local(last, in: console.zone))" }
            try console.line(line)
        }
        if !limits.isEmpty { try console.line("Limits of the link: \(limits.joined(separator: ", "))") }
        if !missing.isEmpty { try console.line("Not on this machine: \(missing.joined(separator: ", "))") }
        if let nothing { console.warn(nothing) }
        if let problem { console.warn("The policy does not hold as it is written: \(problem)") }
        if let scheduleProblem { console.warn("The last scheduled backup failed: \(scheduleProblem)") }
    }
}
