import Agent
import ArgumentParser
import Capture
import Client
import Glibc
import Model
import Platform
import Vault

/// `holdfast up`
struct Up: Command {
    static let configuration = CommandConfiguration(
        commandName: "up",
        abstract: "Protect this machine now: server, agent and vault in one, with nothing to set up.",
        usage: "holdfast up [<path> ...] [<options>]",
        discussion: """
            Makes what is missing (a vault, a server with a certificate of its own, this machine's enrolment) in one directory of \
            yours, serves it, and protects the paths while it runs: what is saved is safe a second or two later. Then it proves \
            it with a file of its own: saved, changed, deleted, brought back. A second run goes on with the same vault.

            On a terminal it goes on until Control-C. Without one it ends after the proof; status 0 says that it held.

            As root on Linux 5.9 or later the kernel tells what changes. Without root everything is looked at every 30 seconds.

            Examples:
              holdfast up
              sudo holdfast up /home /etc --data /srv/holdfast
            """
    )

    @Argument(
        help: ArgumentHelp(
            "What to protect. (default: /etc and your documents)", valueName: "path"))
    var paths: [PathArgument] = []
    @Option(
        help: ArgumentHelp(
            "Where everything lies. (default: XDG_DATA_HOME/holdfast, else ~/.local/share/holdfast)", valueName: "dir"))
    var data: PathArgument?
    @Option(
        help: ArgumentHelp(
            "The port to listen on. (default: that of the last time, else 7443 or a free one)", valueName: "port"))
    var port: Int?
    @OptionGroup var selection: SelectionOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if let port, !(0...65_535).contains(port) { throw ValidationError("--port takes a number from 0 to 65535.") }
        if global.state != nil { throw ValidationError("--data says where everything lies, the state as well.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let directory = try dataDirectory()
        let lock = try HomeLock(directory)
        defer { lock.release() }
        let home = try HomeServer(directory, port: port, console)
        defer { home.stop() }
        try showVault(home, console)
        let state = try home.enrol()
        let session = try home.session()
        guard let secrets = try state.writerSecrets(of: home.vault) else {
            throw HoldfastError(
                .keyNeeded, "What this machine writes with is gone from \(TreePath.display(state.path)).")
        }
        let agent = try agent(home, session, state, secrets, console)
        try agent.start()
        let history = LocalHistory(spool: agent.spool, secret: secrets.domainSecret)
        let questions = try AgentSocket.Server(directory: state.path) { question, person in
            if let reply = try history.answer(question, person) { return reply }
            return .fields(try AgentRun.answer(question, agent))
        }
        let reporter = StatusReporting.start({ agent.status }, session, try HomeServer.global(home.machineState))
        defer {
            questions.stop()
            reporter?.stop()
            _ = AgentRun.stop(agent)
        }
        let screen = UpScreen(home: home, agent: agent, console: console)
        try screen.showProtection()
        guard try screen.waitForFirstBackup() else { return .done }
        let proof = try UpProof(home: home, agent: agent, console: console).run()
        try screen.showCommands(proof)
        try console.flush()
        guard Terminal.isTerminal(STDOUT_FILENO), !console.isJSON else { return proof.holds ? .done : .failed }
        try screen.showLive()
        return .done
    }

    private func dataDirectory() throws -> [UInt8] {
        if let data { return try data.fromWorkingDirectory() }
        if let base = System.environment("XDG_DATA_HOME") { return base + Array("/holdfast".utf8) }
        guard let home = System.environment("HOME") else {
            throw HoldfastError(.usage, "HOME is not set: say with --data where the vault is to lie.")
        }
        return home + Array("/.local/share/holdfast".utf8)
    }

    /// What to protect when nothing was named: what is there of it.
    private func defaultPaths() -> [PathArgument] {
        let home = System.environment("HOME").map { $0 + Array("/Documents".utf8) }
        let documents = [home, Array("/usr/share/doc".utf8)].compactMap { $0 }.first { isDirectory($0) }
        return ([Array("/etc".utf8)] + [documents].compactMap { $0 }).map { PathArgument(bytes: $0) }
    }

    private func isDirectory(_ path: [UInt8]) -> Bool {
        (try? withCName(path) { (name) throws(Errno) in try FileSystem.statusFollowing(name) })?.kind == .directory
    }

    private func showVault(_ home: HomeServer, _ console: Console) throws {
        var fields: [String: JSON] = [
            "vault": .id(home.vault), "server": .string(home.address.description),
            "key": .string(home.identity.description), "new": .bool(home.newSheet != nil),
        ]
        fields.setBytes("location", home.vaultPath)
        if let sheet = home.newSheet { fields["key_sheet"] = .strings(sheet.words) }
        try console.emit("up", fields)
        if let sheet = home.newSheet {
            try console.line(console.styled("Key sheet of the vault \(home.vault.hex.prefix(8))", .bold))
            try console.line("")
            for line in KeySheetPrinter.lines(sheet) { try console.line(line) }
            try console.line("")
            try console.line(
                "These words bring everything back when this machine is lost. They are shown this once: write")
            try console.line("them down and keep them elsewhere.")
            try console.line("")
        }
        try console.line("Vault    \(home.vault.hex.prefix(8)) in \(TreePath.display(home.vaultPath))")
        try console.line("Server   \(home.address.description), identity key \(home.identity.description)")
    }

    private func agent(
        _ home: HomeServer, _ session: VaultSession, _ state: StateDirectory, _ secrets: WriterSecrets,
        _ console: Console
    ) throws -> AgentService {
        let wanted = (paths.isEmpty ? defaultPaths() : paths) + [PathArgument(bytes: home.proofDirectory)]
        let own = [home.vaultPath, home.machineState, home.serverState]
        let source = try selection.source(wanted, own: own, console: console)
        var configuration = AgentConfiguration(
            source: source,
            ignored: own.compactMap { path in (try? ResolvedPath(PathArgument(bytes: path)))?.path },
            settle: 1, sealing: SealingPipeline.Options(workers: max(1, Machine.processorCount)),
            cacheDirectory: try state.cacheDirectory(of: home.vault),
            spoolDirectory: try state.spoolDirectory(of: home.vault), hostName: Machine.hostName,
            program: "holdfast \(Holdfast.version)")
        configuration.blindScanInterval = 30_000_000_000
        return try AgentService(
            service: RidingVault(session.vault), secrets: secrets, heads: StateHeads(state, vault: home.vault),
            configuration: configuration)
    }
}

/// One `holdfast up` for each directory.
private final class HomeLock {
    private var lock: FileLock?

    init(_ directory: [UInt8]) throws {
        do {
            try System.makeDirectories(directory)
            let file = try FileDescriptor.open(directory + Array("/lock".utf8), [.readWrite, .create], mode: 0o600)
            lock = try FileLock.acquire(file)
        } catch {
            throw HoldfastError(
                .io, "The lock in \(TreePath.display(directory)) cannot be taken: \(error)", cause: error)
        }
        if lock == nil {
            throw HoldfastError(
                .busy, "`holdfast up` runs already with \(TreePath.display(directory)).",
                context: ["hint": "Its own screen shows what it does; --data names another directory."],
                isTemporary: true)
        }
    }

    func release() { if let held = lock.take() { held.release() } }
}
