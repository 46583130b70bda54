import ArgumentParser

/// The commands in the order in which the help shows them.
enum CommandList {
    static let groups: [CommandGroup] = [
        CommandGroup(
            name: "Protecting and restoring",
            subcommands: [Up.self, Backup.self, AgentGroup.self, Estimate.self, Restore.self]),
        CommandGroup(
            name: "Finding",
            subcommands: [Points.self, Versions.self, Ls.self, Cat.self, Find.self, Diff.self, Mount.self]),
        CommandGroup(name: "Keeping", subcommands: [Retention.self, VaultGroup.self]),
        CommandGroup(
            name: "Many machines",
            subcommands: [
                ServerGroup.self, Enrol.self, PolicyGroup.self, OrdersGroup.self, AlertsGroup.self, AccountGroup.self,
                AuditGroup.self,
            ]),
    ]
}
