import Agent
import ArgumentParser
import Model
import Vault

/// `holdfast agent pause`
struct AgentPause: Command {
    static let configuration = CommandConfiguration(
        commandName: "pause",
        abstract: "Stop protecting for a while.",
        discussion: """
            What changes meanwhile is found when protection goes on. Works with an agent that follows a policy, unless that \
            forbids it (`lockdown: [pause]`).

            Examples:
              holdfast agent pause --hours 2
            """
    )

    @Option(help: ArgumentHelp("How long. (default: until `holdfast agent resume`)", valueName: "hours"))
    var hours: Double?
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if let hours, !(hours > 0 && hours <= 8_760) { throw ValidationError("--hours takes up to 8760 hours.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        var question: [String: JSONValue] = ["command": .string("pause")]
        if let hours { question["seconds"] = .integer(Int64((hours * 3_600).rounded(.up))) }
        _ = try AgentSocket.ask(question, state: try global.stateDirectory())
        try console.emit("agent_paused", ["hours": hours.map { .number($0) } ?? .null])
        try console.line(
            "Nothing is protected until `holdfast agent resume`\(hours == nil ? "" : " or that time is over").")
        return .done
    }
}

/// `holdfast agent resume`
struct AgentResume: Command {
    static let configuration = CommandConfiguration(
        commandName: "resume",
        abstract: "Go on protecting after a pause."
    )

    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        _ = try AgentSocket.ask(["command": .string("resume")], state: try global.stateDirectory())
        try console.emit("agent_resumed", [:])
        try console.line("Protection goes on.")
        return .done
    }
}
