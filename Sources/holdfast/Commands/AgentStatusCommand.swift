import Agent
import ArgumentParser
import Model
import Vault

/// `holdfast agent status`
struct AgentStatusCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "How the protection of this machine stands.",
        discussion: """
            Asks the agent that runs: how changes are found on each file system and why, what is protected, since when the oldest \
            change waits that is not stored yet, the newest point, and what could not be kept.

            Exit status: 0 everything is stored or about to be, 1 no agent runs, 3 the vault cannot be reached or something \
            could not be kept.

            Examples:
              holdfast agent status
              holdfast agent status --json
            """
    )

    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let status = try AgentSocket.ask(["command": .string("status")], state: try global.stateDirectory())
        return try AgentView.show(status, console)
    }
}

/// What an agent says of itself, for people and programs.
enum AgentView {
    static func show(_ status: JSONFields, _ console: Console) throws -> ExitStatus {
        let largest = Int64.max
        func number(_ name: String) throws -> Int64 {
            status.has(name) ? try status.integer(name, in: 0...largest) : 0
        }
        let systems = try status.array("file_systems", atMost: 10_000).map {
            try JSONFields($0, document: "a file system of the agent's answer")
        }
        let notKept = try status.array("not_kept", atMost: 10_000).map {
            try JSONFields($0, document: "a path of the agent's answer")
        }
        let paths = try status.strings("paths", atMost: 100_000)
        let problem = status.has("problem") ? try status.string("problem") : nil
        let count = try number("not_kept_count")
        let policy = try AgentPolicyView(status)
        let restores = try AgentRestoresView(status)
        let isWell = problem == nil && count == 0 && policy.isWell
        var fields: [String: JSON] = [
            "activity": .string(try status.string("activity")), "paths": .strings(paths),
            "lag_milliseconds": .count(try number("lag") / 1_000_000), "waiting": .count(try number("waiting")),
            "files": .count(try number("files")), "bytes": .count(try number("bytes")),
            "points": .count(try number("points")), "scans": .count(try number("scans")),
            "scan_reasons": .strings(try status.strings("scan_reasons", atMost: 1_000)), "not_kept": .count(count),
            "problem": problem.map { .string($0) } ?? .null,
            "spooled": .bool(status.has("spooled") ? try status.boolean("spooled") : false),
            "spool_bytes": .count(try number("spool_bytes")),
            "spool_full": .bool(status.has("spool_full") ? try status.boolean("spool_full") : false),
            "file_systems": .array(
                try systems.map { system in
                    .object([
                        "mount_point": .string(try system.string("mount_point")),
                        "kind": .string(try system.string("kind")), "mode": .string(try system.string("mode")),
                        "reason": system.has("reason") ? .string(try system.string("reason")) : .null,
                        "overflows": .count(try system.integer("overflows", in: 0...largest)),
                    ])
                }),
        ]
        if status.has("last_point") {
            fields["last_point"] = .string(try status.string("last_point"))
            fields["last_number"] = .count(try number("last_number"))
            fields["last_time"] = .time(Timestamp(nanoseconds: try number("last_time")))
        }
        fields.merge(policy.fields) { $1 }
        fields.merge(try restores.fields()) { $1 }
        try console.emit("agent_status", fields)
        for warning in notKept {
            try console.emit(
                "point_warning",
                ["path": .string(try warning.string("path")), "text": .string(try warning.string("text"))])
        }
        if console.isJSON { return isWell ? .done : .warnings }

        try console.line("Protected: \(paths.isEmpty ? "nothing" : paths.joined(separator: ", "))")
        for system in systems {
            let place = "\(try system.string("mount_point")) (\(try system.string("kind")))"
            if try system.string("mode") == "events" {
                let overflows = try system.integer("overflows", in: 0...largest)
                let note = overflows == 0 ? "" : ", \(Units.count(overflows, "overflow")) since the start"
                try console.line("  \(place): changes are seen as they happen\(note)")
            } else {
                try console.line("  \(place): looked at every 15 minutes, because \(try system.string("reason"))")
            }
        }
        try console.line(
            "\(Units.count(try number("files"), "file")), \(Units.size(UInt64(try number("bytes")))) in the newest point"
        )
        if status.has("last_point") {
            let time = Timestamp(nanoseconds: try number("last_time"))
            try console.line(
                "Newest point: \(try status.string("last_point").prefix(8)), \(TimeText.local(time, in: console.zone))")
        }
        let lag = try number("lag")
        let waiting = try number("waiting")
        switch try status.string("activity") {
        case _ where policy.isIdle && lag == 0: break
        case "scanning": try console.line("Looking at everything since \(Units.span(nanoseconds: UInt64(lag))).")
        default:
            let isSpooled = try status.boolean("spooled")
            let span = Units.span(nanoseconds: UInt64(lag))
            try console.line(
                lag == 0
                    ? "Everything is stored."
                    : waiting == 0 && isSpooled
                        ? "Kept on this machine, to be sent: versions of the last \(span)."
                        : "Not stored yet: \(Units.count(waiting, "path")), the oldest for \(span).")
        }
        try console.line("Spool and history on this machine: \(Units.size(UInt64(try number("spool_bytes"))))")
        let isFull = try status.boolean("spool_full")
        if isFull {
            console.warn(
                "The spool is full: of what does not fit only the last state is kept, when there is room.")
        }
        try policy.show(console)
        try restores.show(console)
        if let problem { console.warn(isFull ? problem : "The vault cannot be reached: \(problem)") }
        if count > 0 {
            try console.line("Not kept as it is: \(Units.count(count, "path"))")
            for warning in notKept.prefix(20) {
                try console.line("  \(try warning.string("path")): \(try warning.string("text"))")
            }
        }
        return isWell ? .done : .warnings
    }
}
