import Agent
import ArgumentParser
import Model
import Vault

/// `holdfast agent change-key`
struct AgentChangeKey: Command {
    static let configuration = CommandConfiguration(
        commandName: "change-key",
        abstract: "Give this machine another key for its requests to the server.",
        discussion: """
            For when somebody may have seen the old one: a copy of the disk, a lost backup of /var/lib/holdfast. The agent that runs \
            makes the key, tells the server and uses it from then on; the old one is refused as soon as the new one was used. \
            What the machine has stored is not touched.

            Examples:
              holdfast agent change-key
            """
    )

    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let answer = try AgentSocket.ask(["command": .string("change-key")], state: try global.stateDirectory())
        // An agent that was started from an older program does not say.
        let isRefused = answer.has("old_refused") ? try answer.boolean("old_refused") : false
        try console.emit("key_changed", ["old_refused": .bool(isRefused)])
        if isRefused {
            try console.line("This machine has another key for its requests now. The old one does not hold any more.")
            return .done
        }
        console.warn(
            "This machine has another key for its requests now, but the server did not answer the first one signed with it: the "
                + "old key holds until the agent reaches the server again, which it tries all the time. Run "
                + "`holdfast agent change-key` once more to be sure.")
        return .warnings
    }
}
