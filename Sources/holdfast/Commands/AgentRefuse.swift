import Agent
import ArgumentParser
import Model
import Vault

/// `holdfast agent refuse`
struct AgentRefuse: Command {
    static let configuration = CommandConfiguration(
        commandName: "refuse",
        abstract: "Stop or refuse restores that the server has ordered here.",
        discussion: """
            What runs is stopped where it is: what was restored until then stays (in place, `holdfast restore --undo` takes it \
            back), and whoever ordered it is told. `holdfast agent status` lists what is ordered. What may be ordered at all \
            stands in /etc/holdfast/allow.yaml.

            Examples:
              holdfast agent refuse
              holdfast agent refuse 3fa9
            """
    )

    @Argument(help: ArgumentHelp("The order, as `holdfast agent status` shows it. (default: all)", valueName: "order"))
    var order: String?
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        var question: [String: JSONValue] = ["command": .string("refuse-restore")]
        if let order { question["order"] = .string(order) }
        let answer = try AgentSocket.ask(question, state: try global.stateDirectory())
        let count = try answer.integer("refused", in: 0...Int64.max)
        try console.emit("agent_refused", ["orders": .count(count)])
        try console.line("\(Units.count(count, "restore")) refused.")
        return .done
    }
}
