import ArgumentParser
import Client
import Logging
import Model
import Platform
import Server
import Synchronization
import Vault

/// `holdfast server run`
struct ServerRun: Command {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Serve a vault until stopped.",
        usage: "holdfast server run --vault <dir> [<options>]",
        discussion: """
            Listens with HTTPS, HTTP/1.1 and HTTP/2. Without a certificate it makes one for itself; machines know the server by \
            its identity key, so a new certificate or another address changes nothing for them.

            SIGTERM and SIGINT end it after the requests that are under way. What was acknowledged is stored.
            """
    )

    @OptionGroup var location: VaultOptions
    @Option(help: ArgumentHelp("The address to listen on. (default: all)", valueName: "host"))
    var listen = "0.0.0.0"
    @Option(help: ArgumentHelp("The port to listen on; 0 takes one that is free.", valueName: "port"))
    var port = ServerAddress.defaultPort
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if !(0...65_535).contains(port) { throw ValidationError("--port takes a number from 0 to 65535.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let place = try ServerPlace(console, global)
        let core = try place.core(location)
        let (chain, key) = try place.certificate()
        let options = HTTPServer.Options(host: listen, port: port, chain: chain, key: key)
        let announced = Mutex<(any Error)?>(nil)
        try ServerRuntime.run(core, options) { port in
            do {
                try console.emit(
                    "listening",
                    [
                        "server": .id(core.identity.id), "vault": .id(core.vault.vault), "host": .string(listen),
                        "port": .count(UInt64(port)), "key": .string(core.identity.key.verifyingKey.description),
                    ])
                try console.line("Serving the vault \(core.vault.vault.hex.prefix(8)) on port \(port).")
                try console.line("Identity key \(core.identity.key.verifyingKey.description)")
                try console.flush()
            } catch {
                announced.withLock { $0 = error }
            }
        }
        if let error = announced.withLock({ $0 }) { throw error }
        return .done
    }
}
