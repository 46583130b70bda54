import ArgumentParser

/// The commands in the order in which the help shows them.
enum CommandList {
    static let groups: [CommandGroup] = []
}
