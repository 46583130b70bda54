import Agent
import ArgumentParser
import Capture
import Catalog
import Client
import Model
import Platform
import Synchronization
import Vault

/// `holdfast agent run`
struct AgentRun: Command {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Protect paths continuously, until stopped.",
        usage: """
            holdfast agent run --protect <path> ... [--vault <location>] [<options>]
            holdfast agent run [--policy <file>] [--vault <location>] [<options>]
            """,
        discussion: """
            Without --protect the policy of the machine decides: the server's, and follows it when it changes; on a machine \
            without a server that in /etc/holdfast/policy.yaml. `holdfast policy effective` prints it.

            As root on Linux 5.9 or later the kernel tells what changes; without that everything is looked at every 15 minutes. \
            `holdfast agent status` says which it is, and why.

            When the vault cannot be reached, what changes is remembered and stored when it is back. SIGTERM ends the agent; what \
            has changed is stored before, if that takes a few seconds only, and otherwise found at the next start.

            Where nothing names a vault it is the server that this machine has enrolled with, if that is one only.

            A server whose policy is followed may also order restores here, as far as /etc/holdfast/allow.yaml lets it.

            Under systemd use Type=notify; WatchdogSec= is answered.

            Examples:
              holdfast agent run --protect /home /etc --vault /mnt/disk/vault
              holdfast agent run --protect / --exclude /var/cache --vault https://backup.example.org
              holdfast agent run --protect /srv/work --settle 0 --vault /mnt/disk/vault
              holdfast agent run --vault https://backup.example.org
            """
    )

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp("What to protect; several paths may follow.", valueName: "path"))
    var protect: [PathArgument] = []
    @Option(
        help: ArgumentHelp(
            "Protect what this policy says. (default: the server's policy, else /etc/holdfast/policy.yaml)",
            valueName: "file"))
    var policy: PathArgument?
    @Option(
        help: ArgumentHelp(
            "What the server may do on this machine; no restore that it orders changes anything in the directory of this file. "
                + "(default: /etc/holdfast/allow.yaml)", valueName: "file"))
    var allow: PathArgument?
    @OptionGroup var selection: SelectionOptions
    @Option(
        help: ArgumentHelp(
            "So long a file is quiet before it is stored; 0 stores at once. After a write by a program that keeps the file "
                + "open five times as long, but at most a minute.", valueName: "seconds"))
    var settle = 1.0
    @Option(help: "How hard to compress: fast, better (a third of the speed) or none.")
    var compression = Compression.fast
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if !protect.isEmpty, allow != nil {
            throw ValidationError("--allow goes with a policy of a server: with --protect it orders nothing here.")
        }
        if !protect.isEmpty, policy != nil { throw ValidationError("Either --protect or --policy.") }
        if protect.isEmpty, selection.isGiven {
            throw ValidationError("What is left out stands in the policy; these options go with --protect.")
        }
        if !(0...3600).contains(settle) { throw ValidationError("--settle takes seconds from 0 to 3600.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let statePath = try global.stateDirectory()
        var location = location
        if location.vault == nil, System.environment("HOLDFAST_VAULT") == nil,
            let server = try ServerMembership.only(global)
        {
            location.vault = PathArgument(bytes: Array(server.description.utf8))
        }
        // The agent itself tries again; a request that hangs would only hide that.
        let session = try VaultSession(
            console, location, global, for: .fill,
            patience: ServerConnection.Patience(attempts: 2, longestPause: 1_000))
        let (state, secrets) = try Enrolment.secrets(session, global)
        let lock = try AgentRun.lock(state)
        if protect.isEmpty {
            defer { lock.release() }
            return try PolicyAgent(
                session: session, state: state, secrets: secrets, location: location, global: global,
                compression: compression, consent: try consent()
            ).run(policy, console)
        }
        try PolicyAgent.requireOwnChoice(state, location, global)
        let source = try selection.source(protect, own: session.ownDirectories + [statePath], console: console)
        var sealing = SealingPipeline.Options(compression: compression)
        sealing.workers = max(1, Machine.processorCount)
        let ignored = (session.ownDirectories + [statePath]).compactMap { path in
            (try? ResolvedPath(PathArgument(bytes: path)))?.path
        }
        let vault = session.vault.vault
        let configuration = AgentConfiguration(
            source: source, ignored: ignored, settle: settle, sealing: sealing,
            cacheDirectory: try state.cacheDirectory(of: vault),
            spoolDirectory: try state.spoolDirectory(of: vault), hostName: Machine.hostName,
            program: "holdfast \(Holdfast.version)")
        let agent = try AgentService(
            service: session.isRemote ? RidingVault(session.vault) : session.vault, secrets: secrets,
            heads: StateHeads(state, vault: vault),
            configuration: configuration)
        try agent.start()
        let history = LocalHistory(spool: agent.spool, secret: secrets.domainSecret)
        let reporter = StatusReporting.start({ agent.status }, session, global)
        let server = try AgentSocket.Server(directory: state.path) { question, person in
            if let reply = try history.answer(question, person) { return reply }
            if let fields = try StatusReporting.answer(question, reporter) { return .fields(fields) }
            return .fields(try AgentRun.answer(question, agent))
        }
        let people = try AgentRun.servePeople { history }
        let notifier = ServiceNotifier()
        notifier.ready()
        try announce(agent, source, console)
        try serve(agent, notifier)
        notifier.stopping()
        server.stop()
        people?.stop()
        reporter?.stop()
        let isStored = AgentRun.stop(agent)
        lock.release()
        if !isStored {
            console.note("Not everything that has changed is stored yet; the next start finds it.")
        }
        return .done
    }

    private func consent() throws -> RestoreConsent {
        guard let allow else { return RestoreConsent() }
        return RestoreConsent(file: try allow.fromWorkingDirectory())
    }

    /// Everybody on the machine may ask for their own files. Only where a system's agent runs.
    static func servePeople(_ history: @escaping @Sendable () -> LocalHistory?) throws -> AgentSocket.Server? {
        guard let directory = LocalAgent.publicDirectory(makes: true) else { return nil }
        return try AgentSocket.Server(directory: directory, isOpen: true) { question, person in
            guard let history = history() else {
                throw HoldfastError(.notFound, "Nothing is protected on this machine just now.")
            }
            guard let reply = try history.answer(question, person) else {
                throw HoldfastError(.denied, "Only who runs the agent may ask this.")
            }
            return reply
        }
    }

    /// What others ask of a running agent.
    static func answer(_ question: JSONFields, _ agent: AgentService) throws -> [String: JSONValue] {
        switch try question.string("command") {
        case "status": return agent.status.fields
        case "backup":
            let seconds = question.has("seconds") ? try question.integer("seconds", in: 1...86_400) : 60
            _ = try agent.captureNow(seconds: Int(seconds))
            return agent.status.fields
        default: throw HoldfastError(.usage, "the agent does not know this question")
        }
    }

    private func announce(_ agent: AgentService, _ source: CaptureSource, _ console: Console) throws {
        let status = agent.status
        try console.emit(
            "agent",
            [
                "paths": .strings(source.roots.map(\.displayText)), "settle": .number(settle),
                "watching": .strings(status.fileSystems.map(\.displayText)),
            ])
        try console.line("Protecting \(source.roots.map(\.displayText).joined(separator: ", ")).")
        for system in status.fileSystems { try console.line(system.displayText) }
        try console.flush()
    }

    /// Waits for a signal, and tells the service manager now and then that all is well.
    private func serve(_ agent: AgentService, _ notifier: ServiceNotifier) throws {
        let pause = Int32(clamping: min(notifier.watchdogInterval ?? .max, 10_000_000_000) / 1_000_000)
        while try !Signals.wait(milliseconds: max(pause, 100)) {
            notifier.alive()
            let status = agent.status
            let lag = status.lag == 0 ? "everything is stored" : "\(Units.span(nanoseconds: UInt64(status.lag))) behind"
            notifier.status(status.problem.map { "\(lag); \($0)" } ?? lag)
        }
    }

    /// Ends the agent, and waits for that a few seconds: a server that does not answer keeps nobody from shutting down.
    static func stop(_ agent: AgentService) -> Bool {
        let outcome = Monitor<Bool?>(nil)
        guard
            (try? WorkerThread(
                name: "stop",
                {
                    let isStored = agent.stop(seconds: 5)
                    outcome.update { $0 = isStored }
                })) != nil
        else { return false }
        _ = outcome.waitUntil({ $0 != nil }, nanoseconds: 8_000_000_000)
        return outcome.withLock { $0 ?? false }
    }

    /// One agent for each state directory: two would write the same things twice.
    private static func lock(_ state: StateDirectory) throws -> HeldLock {
        do {
            let file = try FileDescriptor.open(
                state.path + Array("/agent.lock".utf8), [.readWrite, .create], mode: 0o600)
            if let lock = try FileLock.acquire(file) { return HeldLock(lock) }
        } catch {
            throw HoldfastError(
                .io, "the lock in \(TreePath.display(state.path)) cannot be taken: \(error)", cause: error)
        }
        throw HoldfastError(
            .busy, "An agent runs already on this machine with the state directory \(TreePath.display(state.path)).",
            context: ["hint": "`holdfast agent status` shows what it does."], isTemporary: true)
    }

    private final class HeldLock {
        private var lock: FileLock?
        init(_ lock: consuming FileLock) { self.lock = consume lock }
        func release() { if let held = lock.take() { held.release() } }
    }
}
