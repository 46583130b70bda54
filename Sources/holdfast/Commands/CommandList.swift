import ArgumentParser

/// The commands in the order in which the help shows them.
enum CommandList {
    static let groups: [CommandGroup] = [
        CommandGroup(name: "Protecting:", subcommands: [Backup.self]),
        CommandGroup(name: "Finding:", subcommands: [Points.self]),
        CommandGroup(name: "The vault:", subcommands: [VaultGroup.self]),
    ]
}
