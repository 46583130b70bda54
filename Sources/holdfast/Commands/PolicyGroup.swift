import ArgumentParser

/// `holdfast policy`
struct PolicyGroup: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "policy",
        abstract: "What of a machine is kept safe, how often, and for how long.",
        discussion: """
            A policy is a YAML file. A server keeps policies and gives them to groups and machines; their agents hear of a change \
            at once:

              holdfast policy check laptops.yaml                  every mistake, with line and column
              holdfast policy put laptops.yaml                    keeps it on the server
              holdfast policy assign laptops --group default      the machines of that group have it
              holdfast policy effective ann                       what holds for a machine, and where each value comes from

            These work on the server's machine, and from elsewhere with --vault ADDRESS and --token-file FILE. A machine without \
            a server reads /etc/holdfast/policy.yaml.
            """,
        subcommands: [
            PolicyCheck.self, PolicyPut.self, PolicyList.self, PolicyShow.self, PolicyRemove.self, PolicyAssign.self,
            PolicyMachine.self, PolicyEffective.self, PolicyChanges.self,
        ]
    )
}
