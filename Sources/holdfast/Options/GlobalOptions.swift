import ArgumentParser
import Model
import Vault

/// What every command understands.
struct GlobalOptions: ParsableArguments {
    @Flag(help: "Print one JSON object a line instead of text.")
    var json = false

    @Flag(name: .shortAndLong, help: "Print results, warnings and errors only.")
    var quiet = false

    @Option(
        help: ArgumentHelp(
            "Where this machine keeps what it knows of its vaults. (default: HOLDFAST_STATE, else /var/lib/holdfast for "
                + "root, else ~/.local/state/holdfast)", valueName: "dir"))
    var state: PathArgument?

    /// What a further command has to say to mean the same state, with a space in front; nothing where the usual one is meant.
    var stateWords: String { state.map { " --state \(UpScreen.quoted($0.bytes))" } ?? "" }

    /// The directory of the machine's state, whether or not it exists.
    func stateDirectory() throws -> [UInt8] { try StateDirectory.locate(explicit: state?.bytes) }
}

/// Which vault, for commands that need one.
struct VaultOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The vault: a directory, or the https address of a server. (default: HOLDFAST_VAULT)", valueName: "location"
        ))
    var vault: PathArgument?

    @Flag(help: "Take the vault over from another host that owns it. Make sure that host does not use it any more.")
    var takeOver = false

    @Option(
        help: ArgumentHelp(
            "Sign in to a server with the access code in this file, not as this machine. (default: HOLDFAST_TOKEN_FILE)",
            valueName: "file"))
    var tokenFile: PathArgument?

    /// The file with the access code; `nil` when none was named.
    var token: [UInt8]? { tokenFile?.bytes ?? System.environment("HOLDFAST_TOKEN_FILE") }

    /// Whether a vault was named, here or in the environment.
    var isNamed: Bool { vault != nil || System.environment("HOLDFAST_VAULT") != nil }

    /// The vault's directory. Throws `usage` when none was named.
    func location() throws -> [UInt8] {
        if let vault { return vault.bytes }
        if let location = System.environment("HOLDFAST_VAULT") { return location }
        throw HoldfastError(
            .usage, "Which vault? Name it with --vault LOCATION, or set HOLDFAST_VAULT once and for all.")
    }
}

/// Whose points, for commands that read.
struct MachineOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Points of this machine, by its name or the beginning of its id. (default: this machine)",
            valueName: "machine"))
    var machine: String?
}

/// What a reader believes, for commands that open points.
struct TrustOptions: ParsableArguments {
    @Flag(
        help: ArgumentHelp(
            "Open a point although nobody can tell who made it: the record of its machine is damaged."))
    var acceptUnsigned = false
}

/// What a POINT can be, for the help of every command that takes one.
enum PointHelp {
    static let text = """
        POINT is `latest`, the beginning of an id as `holdfast points` shows it, or @TIME: @"2026-11-20 10:15", \
        @"10 minutes ago", @yesterday, @monday. A time means the newest point that is not later; the day or minute named is \
        counted to its end. Where paths are given, `latest` and times mean points of what holds them; checkpoints are chosen \
        by their id only. Paths that begin with no slash begin at the working directory.
        """
}
