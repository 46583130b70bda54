import ArgumentParser
import Model

/// What every command understands.
struct GlobalOptions: ParsableArguments {
    @Flag(help: "Print one JSON object a line instead of text.")
    var json = false

    @Flag(name: .shortAndLong, help: "Print results, warnings and errors only.")
    var quiet = false

    @Option(
        help: ArgumentHelp(
            "Where this machine keeps what it knows of its vaults. (default: /var/lib/holdfast for root, else "
                + "~/.local/state/holdfast)", valueName: "dir"))
    var state: PathArgument?
}

/// Which vault, for commands that need one.
struct VaultOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("The vault: a directory. (default: the environment's HOLDFAST_VAULT)", valueName: "location")
    )
    var vault: PathArgument?

    /// The vault's directory. Throws `usage` when none was named.
    func location() throws -> [UInt8] {
        if let vault { return vault.bytes }
        if let location = System.environment("HOLDFAST_VAULT") { return location }
        throw HoldfastError(
            .usage, "Which vault? Name it with --vault LOCATION, or set HOLDFAST_VAULT once and for all.")
    }
}
