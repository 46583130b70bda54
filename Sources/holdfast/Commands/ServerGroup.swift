import ArgumentParser

/// `holdfast server`
struct ServerGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "server",
        abstract: "Serve a vault to many machines.",
        discussion: """
            A server keeps one vault for all machines that have enrolled with it. On the machine that is to be the server:

              holdfast server init --vault /srv/vault     once: gives the server a key to the vault
              holdfast server run --vault /srv/vault      serves it
              holdfast server token                       prints the line that installs and enrols a machine
              holdfast server check-sheet --vault /srv/vault   once, before the second machine
            """,
        subcommands: [
            ServerInit.self, ServerRun.self, ServerTokenCommand.self, ServerMachines.self, ServerBackupNow.self,
            ServerAccess.self, ServerCheckSheet.self, ServerAlerts.self, ServerRecover.self,
        ]
    )
}
