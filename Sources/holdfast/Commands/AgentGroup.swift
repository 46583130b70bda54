import ArgumentParser

/// `holdfast agent`
struct AgentGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "agent",
        abstract: "Protect this machine continuously.",
        discussion: """
            The agent sees what changes as it happens, and stores it a second or two later, as a point of its own. Every version \
            stays reachable by its time:

              holdfast agent run --protect /home --vault LOCATION     protects, until stopped
              holdfast agent status                                   how protection stands
              holdfast backup --now                                   store all that has happened, at once
              holdfast versions notes.txt                             the versions of a file
            """,
        subcommands: [
            AgentRun.self, AgentStatusCommand.self, AgentPause.self, AgentResume.self, AgentRefuse.self,
            AgentChangeKey.self,
        ]
    )
}
