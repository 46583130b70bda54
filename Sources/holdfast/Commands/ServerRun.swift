import ArgumentParser
import Client
import Console
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
    @Option(help: ArgumentHelp("The address to listen on; the default is every one of IPv4.", valueName: "host"))
    var listen = "0.0.0.0"
    @Option(help: ArgumentHelp("The port to listen on; 0 takes one that is free.", valueName: "port"))
    var port = ServerAddress.defaultPort
    @Option(
        help: ArgumentHelp(
            "A certificate chain (PEM) of a certificate authority that the machines believe; read again when it changes. "
                + "(default: one that the server makes for itself)", valueName: "file"))
    var certificate: PathArgument?
    @Option(help: ArgumentHelp("The private key (PEM) of --certificate.", valueName: "file"))
    var certificateKey: PathArgument?
    @Flag(help: "Machines reach this server through a proxy that shows them a certificate of its own.")
    var behindProxy = false
    @Option(help: "How the log on standard error is written: text or json.")
    var logFormat = ServerLogFormat.text
    @Option(help: ArgumentHelp("What is logged: error, warning, notice, info or debug.", valueName: "level"))
    var logLevel = LogLevelArgument.notice
    @Flag(help: "Show /metrics to everybody, not only to viewers.")
    var metricsOpen = false
    @Flag(help: "Delete no points and free no space unless somebody asks: retention is not applied every hour.")
    var noRetention = false
    @Option(
        help: ArgumentHelp(
            "Seconds between two rounds of retention; the first begins after as long, but at most 5 minutes.",
            valueName: "seconds"))
    var retentionInterval: Int64 = 3_600
    @Option(
        help: ArgumentHelp(
            "Debian packages of this version that machines may install, see `server token`. (default: HOLDFAST_PACKAGES, else "
                + "\(PackageOffer.usualDirectory))", valueName: "dir"))
    var packages: PathArgument?
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if (certificate == nil) != (certificateKey == nil) {
            throw ValidationError("--certificate and --certificate-key go together.")
        }
        if !(1...604_800).contains(retentionInterval) {
            throw ValidationError("--retention-interval takes a number from 1 to 604800.")
        }
        if !(0...65_535).contains(port) { throw ValidationError("--port takes a number from 0 to 65535.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let place = try ServerPlace(console, global, makes: true)
        let given = try givenCertificate()
        let core = try place.core(
            location, given: given, isBehindProxy: behindProxy, metricsAreOpen: metricsOpen, offer: try offer())
        var housekeeping = Housekeeping()
        housekeeping.isOff = noRetention
        housekeeping.retention = retentionInterval
        housekeeping.pause = min(housekeeping.pause, retentionInterval)
        // A day by default.
        housekeeping.settling = min(housekeeping.settling, 24 * housekeeping.retention)
        core.keepHouse(housekeeping)
        try core.begin()
        let (chain, key) = try given ?? place.certificate()
        core.certificateChanged(chain)
        var options = HTTPServer.Options(host: listen, port: port, chain: chain, key: key)
        options.pages = Site(core).operations
        options.missingPage = { Site.missing($0) }
        let setUp = try core.accounts.setUp()
        let shown = Mutex(chain)
        options.renewedCertificate = { [self] in
            guard certificate != nil else { return try place.renewedCertificate() }
            guard let fresh = try givenCertificate(), fresh.chain != shown.withLock({ $0 }) else { return nil }
            shown.withLock { $0 = fresh.chain }
            return fresh
        }
        let logger = ServerLog.logger(format: logFormat, level: logLevel.level)
        let announced = Mutex<(any Error)?>(nil)
        try ServerRuntime.run(core, options, logger: logger) { port in
            do {
                try console.emit(
                    "listening",
                    [
                        "server": .id(core.identity.id), "vault": .id(core.vaultID), "host": .string(listen),
                        "port": .count(UInt64(port)), "key": .string(core.identity.key.verifyingKey.description),
                    ])
                try console.line("Serving the vault \(core.vaultID.hex.prefix(8)) on port \(port).")
                try console.line("Identity key \(core.identity.key.verifyingKey.description)")
                if setUp != nil, !Terminal.isTerminal(1) {
                    // Logs are kept, and read by many: no secret goes there.
                    try console.line(
                        "The owner has no password yet: `holdfast account link owner` prints the link that sets it.")
                } else if let setUp {
                    let link = try AccountGroup.link(setUp, "https://\(Machine.hostName):\(port)")
                    try console.line("Set the owner's password, within a day: \(link)")
                }
                try console.flush()
            } catch {
                announced.withLock { $0 = error }
            }
        }
        if let error = announced.withLock({ $0 }) { throw error }
        return .done
    }

    /// What lies in the usual place may be of another version, or nothing; what was named must be there.
    private func offer() throws -> PackageOffer {
        guard let directory = try packages?.fromWorkingDirectory() ?? System.environment("HOLDFAST_PACKAGES") else {
            return try PackageOffer(directory: Array(PackageOffer.usualDirectory.utf8))
        }
        let offer = try PackageOffer(directory: directory)
        guard offer.script.hasPackages else {
            throw HoldfastError(
                .notFound,
                "There are no packages of version \(ProgramVersion.current) in \(TreePath.display(directory)).",
                context: ["hint": "`make deb` makes them: holdfast_*.deb and holdfast-agent_*.deb."])
        }
        return offer
    }

    private func givenCertificate() throws -> (chain: String, key: String)? {
        guard let certificate, let certificateKey else { return nil }
        func read(_ path: PathArgument) throws -> String {
            String(decoding: try PassphraseOptions.read(path.bytes, what: "certificate"), as: UTF8.self)
        }
        return (try read(certificate), try read(certificateKey))
    }
}

extension ServerLogFormat: ArgumentParser.ExpressibleByArgument {}

/// How much is logged.
enum LogLevelArgument: String, ArgumentParser.ExpressibleByArgument, CaseIterable {
    case error, warning, notice, info, debug

    var level: Logger.Level {
        switch self {
        case .error: .error
        case .warning: .warning
        case .notice: .notice
        case .info: .info
        case .debug: .debug
        }
    }
}
