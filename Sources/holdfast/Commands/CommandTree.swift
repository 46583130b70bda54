import ArgumentParser

/// A command as a place in the tree of commands, for whoever walks it.
protocol ParsableCommandType {
    var word: String { get }
    var children: [any ParsableCommandType] { get }
}

/// The tree of all commands.
enum CommandTree {
    static var root: any ParsableCommandType { Node(type: Holdfast.self) }

    private struct Node: ParsableCommandType {
        let type: any ParsableCommand.Type
        var word: String { type.configuration.commandName ?? "\(type)".lowercased() }
        var children: [any ParsableCommandType] {
            type.configuration.subcommands.filter { $0.configuration.shouldDisplay }.map { Node(type: $0) }
        }
    }
}
