import ArgumentParser
import Catalog
import Client
import Model
import Server
import Vault

/// `holdfast server recover`
struct ServerRecover: Command {
    static let configuration = CommandConfiguration(
        commandName: "recover",
        abstract: "Bring a lost server back from its vault.",
        usage: "holdfast server recover --from <dir> [<options>]",
        discussion: """
            Needs the vault and its key sheet or passphrase, and nothing else of the lost host. The server comes back with its \
            identity, its machines, tokens and settings; machines go on without enrolling again as soon as the address that they \
            know leads to this host.

            Make sure that the old server does not run any more: two with one identity would both be believed.

            Example:
              holdfast server recover --from /srv/vault --key-sheet -
              holdfast server run --vault /srv/vault
            """
    )

    @Option(help: ArgumentHelp("The vault's directory.", valueName: "dir"))
    var from: PathArgument
    @Flag(help: "Take the vault over from the lost host, on a network file system.")
    var takeOver = false
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, path: from.bytes, takesOver: takeOver, global: global, for: .read)
        _ = try session.localVault()
        let keys = try session.keys(passphrase)
        guard let (export, point) = try ServerProtection.find(session, keys: keys) else {
            throw HoldfastError(
                .notFound, "The vault holds no state of a server.",
                context: [
                    "hint":
                        "Was it served by `holdfast server run`? Else make a new server: `holdfast server init`, and enrol "
                        + "its machines again; their histories go on."
                ])
        }
        try export.restore(to: try global.stateDirectory())
        try console.emit(
            "server_recovered",
            [
                "server": .id(export.identity.id), "key": .string(export.identity.key.verifyingKey.description),
                "vault": .id(export.vault), "machines": .count(export.machines.count),
                "tokens": .count(export.tokens.count), "point": .id(point.id), "time": .time(point.effective),
            ])
        try console.line(
            "The server is back as of \(TimeText.local(point.effective, in: console.zone)), with "
                + "\(Units.count(export.machines.count, "machine")) and \(Units.count(export.tokens.count, "token")).")
        try console.line("Identity key \(export.identity.key.verifyingKey.description)")
        try console.line("  holdfast server run --vault \(session.name)")
        return .done
    }
}
