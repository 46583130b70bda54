import Agent
import Capture
import Client
import Model
import Platform
import Policy
import Synchronization
import Vault

/// An agent that does what a policy says, and follows it when it changes.
struct PolicyAgent {
    let session: VaultSession
    let state: StateDirectory
    let secrets: WriterSecrets
    let location: VaultOptions
    let global: GlobalOptions
    let compression: Compression
    /// What the server may do here.
    let consent: RestoreConsent

    /// Runs until it is stopped by a signal.
    func run(_ file: PathArgument?, _ console: Console) throws -> ExitStatus {
        if file != nil { try PolicyAgent.requireOwnChoice(state, location, global) }
        do { _ = try consent.allowance() } catch {
            console.warn((error as? HoldfastError)?.message ?? "\(error)")
        }
        let supervisor = ProtectionSupervisor(
            state, vault: session.vault.vault, machine: secrets.machine, means: try means())
        // What is wrong with a file is said before anything begins.
        let source = try source(file, supervisor)
        try supervisor.start()
        try source.start()
        supervisor.settle(nanoseconds: 20_000_000_000)
        let secret = secrets.domainSecret
        let restores = source.restores
        // The agent is another one after the policy has changed.
        let history: @Sendable () -> LocalHistory? = {
            (supervisor.agent as? AgentService).map { LocalHistory(spool: $0.spool, secret: secret) }
        }
        let reporter = StatusReporting.start(
            { supervisor.reported }, session, global, others: source.connections)
        let server = try AgentSocket.Server(directory: state.path) { question, person in
            if let reply = try history()?.answer(question, person) { return reply }
            if let fields = try StatusReporting.answer(question, reporter) { return .fields(fields) }
            if let fields = try PolicyAgent.answer(question, restores) { return .fields(fields) }
            let fields = try PolicyAgent.answer(question, supervisor)
            return .fields(fields.merging(restores?.fields ?? [:]) { first, _ in first })
        }
        let people = try AgentRun.servePeople(history)
        let notifier = ServiceNotifier()
        notifier.ready()
        try announce(supervisor, console)
        let pause = Int32(clamping: min(notifier.watchdogInterval ?? .max, 10_000_000_000) / 1_000_000)
        while try !Signals.wait(milliseconds: max(pause, 100)) {
            notifier.alive()
            source.look()
            let status = supervisor.reported
            let lag = status.lag == 0 ? "everything is stored" : "\(Units.span(nanoseconds: UInt64(status.lag))) behind"
            notifier.status(status.problem.map { "\(lag); \($0)" } ?? lag)
        }
        notifier.stopping()
        source.stop()
        server.stop()
        people?.stop()
        reporter?.stop()
        if !PolicyAgent.stop(supervisor) {
            console.note("Not everything that has changed is stored yet; the next start finds it.")
        }
        return .done
    }

    // MARK: Where the policy comes from

    /// Brings policies to a supervisor.
    private struct Source {
        var start: () throws -> Void
        /// Called every few seconds.
        var look: () -> Void = {}
        var stop: () -> Void = {}
        /// Ways to the server, which go on with a new key when it is changed; none for a file.
        var connections: [ServerConnection] = []
        /// What the server orders to be restored here.
        var restores: OrderedRestores?
    }

    private func source(_ file: PathArgument?, _ supervisor: ProtectionSupervisor) throws -> Source {
        if file == nil, let address = PolicyPlace.server(location) {
            return try follower(try ServerAddress(address), supervisor)
        }
        let path = file?.bytes ?? Array(PolicyPlace.defaultFile.utf8)
        guard file != nil || (try? FileSystem.status(path)) != nil else {
            throw HoldfastError(
                .usage, "What is to be protected? There is no policy in \(PolicyPlace.defaultFile).",
                context: ["hint": "Name paths with --protect, or a policy with --policy."])
        }
        let first = try PolicyAgent.load(path)
        let shown = TreePath.display(path)
        let seen = Mutex(try? FileSystem.status(path))
        return Source(start: { supervisor.apply(first, from: shown) }) {
            guard let status = try? FileSystem.status(path) else { return }
            let isNew = seen.withLock { seen in
                defer { seen = status }
                return seen.map { $0.inode != status.inode || $0.modified != status.modified || $0.size != status.size }
                    ?? true
            }
            if !isNew { return }
            do { supervisor.apply(try PolicyAgent.load(path), from: shown) } catch {
                // The one before goes on.
                supervisor.refuse((error as? HoldfastError)?.message ?? "\(error)")
            }
        }
    }

    private static func load(_ path: [UInt8]) throws -> EffectivePolicy {
        let policy = try PolicyFile(zones: SystemZones.source).parse(
            try PolicyPlace.read(path), file: TreePath.display(path))
        return PolicySet(machine: policy).effective
    }

    private func follower(_ address: ServerAddress, _ supervisor: ProtectionSupervisor) throws -> Source {
        let credentials = try ServerMembership.load(address, global).credentials
        // It goes on asking by itself, and knows when a question was cut off.
        let connection = ServerConnection(credentials, patience: .init(attempts: 1, longestPause: 0))
        let name = address.description
        // Orders are tried again as a whole.
        let data = ServerConnection(credentials)
        let reports = ServerConnection(credentials, patience: .init(attempts: 1, longestPause: 0))
        let restores = orderedRestores(credentials, data: data, reports: reports, supervisor)
        let follower = PolicyFollower(
            ServerOrders(connection, machine: credentials.machine), kept: PolicyAgent.kept(credentials, state),
            zone: { Machine.timeZoneName },
            apply: { document in
                do {
                    supervisor.apply(try document.policySet(SystemZones.lenient).effective, from: name)
                } catch {
                    supervisor.refuse((error as? HoldfastError)?.message ?? "\(error)")
                    throw error
                }
            },
            command: { if $0.kind == MachineOrders.backUpNow { supervisor.backUpNow() } },
            restores: { restores.update($0) })
        return Source(
            start: {
                try restores.start()
                try follower.start()
            },
            stop: {
                follower.stop()
                restores.stop()
            }, connections: [connection, data, reports], restores: restores)
    }

    /// Restores that the server orders, on connections of their own: what protection sends does not wait for them.
    private func orderedRestores(
        _ credentials: ServerCredentials, data: ServerConnection, reports: ServerConnection,
        _ supervisor: ProtectionSupervisor
    ) -> OrderedRestores {
        let orders = MachineRestores(reports, machine: credentials.machine)
        let (state, secrets, consent) = (state, secrets, consent)
        let own = session.ownDirectories + [state.path, consent.directory]
        return OrderedRestores(
            OrderedRestores.Means(
                machine: credentials.machine, consent: consent,
                protected: { supervisor.protectedPaths },
                report: { try orders.report($0, of: $1) },
                make: { order, destination in
                    // The directory of the consent file is spared by what it is: it has to be there for that.
                    try PolicyAgent.makeDirectory(consent.directory)
                    let means = RestoreMeans(
                        service: RemoteVault(data, vault: secrets.vault),
                        opener: PointGrants(data, secrets: secrets), secrets: secrets, state: state,
                        own: own, hostName: Machine.hostName,
                        program: "holdfast \(Holdfast.version)")
                    return order.wish.kind == .undo
                        ? EngineUndo(order, means) {
                            try consent.checkInPlace($0, protected: supervisor.protectedPaths)
                        } : EngineRestore(order, to: destination, means)
                }), state: state)
    }

    private static func makeDirectory(_ path: [UInt8]) throws {
        do throws(Errno) {
            let root = try DirectoryPath.open([UInt8(ascii: "/")])
            guard path.first == UInt8(ascii: "/"), (try? FileSystem.status(path)) == nil else { return }
            _ = try DirectoryPath.makeDirectories(Array(path.dropFirst()), beneath: root.raw, mode: 0o755)
        } catch {
            throw HoldfastError(.io, "\(TreePath.display(path)) cannot be made: \(error).", cause: error)
        }
    }

    private static func kept(_ credentials: ServerCredentials, _ state: StateDirectory) -> KeptPolicy {
        KeptPolicy(
            state, server: credentials.server, key: credentials.serverKey, machine: credentials.machine)
    }

    /// Throws `forbidden` when the server's policy does not let this machine's user say what is protected.
    static func requireOwnChoice(
        _ state: StateDirectory, _ location: VaultOptions, _ global: GlobalOptions
    ) throws {
        guard let address = PolicyPlace.server(location) else { return }
        let credentials = try ServerMembership.load(try ServerAddress(address), global).credentials
        let connection = ServerConnection(credentials, patience: .init(attempts: 1, longestPause: 0))
        let told = try? ServerOrders(connection, machine: credentials.machine).policy(zone: Machine.timeZoneName)
        // Without the server, what it has told last.
        let document = (try told.map { try kept(credentials, state).open($0) }) ?? kept(credentials, state).load()
        guard let effective = try document?.policySet(SystemZones.lenient).effective,
            let locked = effective.lockdown.first(where: { $0.value == .changePolicy })
        else { return }
        throw HoldfastError(
            .forbidden,
            "The policy of this machine does not allow that its user says what is protected (\(locked.origin)).",
            context: ["hint": "Run `holdfast agent run` without --protect and --policy."])
    }

    // MARK: What it means here

    private func means() throws -> ProtectionSupervisor.Means {
        let (session, state, secrets) = (session, state, secrets)
        // An agent's small packs travel with their point.
        let vault: any VaultService = session.isRemote ? RidingVault(session.vault) : session.vault
        let cache = try state.cacheDirectory(of: vault.vault)
        let spool = try state.spoolDirectory(of: vault.vault)
        let own = session.ownDirectories + [state.path]
        let ignored = own.compactMap { (try? ResolvedPath(PathArgument(bytes: $0)))?.path }
        let program = "holdfast \(Holdfast.version)"
        var sealing = SealingPipeline.Options(compression: compression)
        sealing.workers = max(1, Machine.processorCount)
        let options = sealing
        var means = ProtectionSupervisor.Means(
            makeAgent: { plan, part in
                var configuration = AgentConfiguration(
                    source: part.source(own: SelectionOptions.nodes(of: own)), ignored: ignored, settle: 1,
                    sealing: options, cacheDirectory: cache, spoolDirectory: spool, hostName: Machine.hostName,
                    program: program)
                configuration.spoolLimits.size = plan.spoolSize
                configuration.checkpoints = plan.checkpoints
                configuration.spoolLimits.history = plan.historyDuration.inNanoseconds
                configuration.spoolLimits.historyPercent = UInt64(plan.historyShare.millionths) / 10_000
                configuration.durations = plan.durations
                configuration.interval = plan.durations.afterClose
                return try AgentService(
                    service: vault, secrets: secrets, heads: StateHeads(state, vault: vault.vault),
                    configuration: configuration)
            },
            makeRun: { part, labels in
                ScheduledBackup {
                    var request = BackupRequest(
                        source: part.source(own: SelectionOptions.nodes(of: own)), kind: .scheduled, sealing: options,
                        readers: 2, hostName: Machine.hostName, program: program)
                    request.labels = labels
                    return BackupJob(
                        service: vault, secrets: secrets, heads: StateHeads(state, vault: vault.vault),
                        cacheDirectory: cache, request: request)
                }
            },
            resolve: { path in
                guard let found = try? ResolvedPath(PathArgument(bytes: path)) else { return nil }
                // What a policy names is what it leads to.
                return [UInt8(ascii: "/")] + (found.target ?? found.path).bytes
            },
            local: { LocalZone.current }, zones: SystemZones.source)
        let uploads = session.connection?.uploads
        means.applied = { uploads?.set($0.limits, zone: $0.zone) }
        return means
    }

    // MARK: While it runs

    private static func answer(
        _ question: JSONFields, _ supervisor: ProtectionSupervisor
    ) throws -> [String: JSONValue] {
        let seconds = question.has("seconds") ? try question.integer("seconds", in: 1...(366 * 86_400)) : nil
        switch try question.string("command") {
        case "status": break
        case "backup": try supervisor.captureNow(seconds: Int(seconds ?? 60))
        case "pause": try supervisor.pause(nanoseconds: seconds.map { $0 * 1_000_000_000 })
        case "resume": supervisor.resume()
        default: throw HoldfastError(.usage, "the agent does not know this question")
        }
        return supervisor.fields
    }

    /// Answers what is asked about restores that the server has ordered; `nil` for other questions.
    private static func answer(
        _ question: JSONFields, _ restores: OrderedRestores?
    ) throws -> [String: JSONValue]? {
        guard try question.string("command") == "refuse-restore" else { return nil }
        guard let restores else {
            throw HoldfastError(.notFound, "This agent has no server that could order restores.")
        }
        let count = try restores.refuse(question.has("order") ? try question.string("order") : nil)
        return ["refused": .integer(Int64(count))]
    }

    private func announce(_ supervisor: ProtectionSupervisor, _ console: Console) throws {
        let status = supervisor.status
        try console.emit(
            "agent",
            [
                "paths": .strings(status.roots.map(\.displayText)),
                "watching": .strings(status.fileSystems.map(\.displayText)),
            ])
        let paths = status.roots.map(\.displayText).joined(separator: ", ")
        try console.line(paths.isEmpty ? "Nothing is protected continuously yet." : "Protecting \(paths).")
        for system in status.fileSystems { try console.line(system.displayText) }
        try console.flush()
    }

    /// Ends it, and waits for that a few seconds: a server that does not answer keeps nobody from shutting down.
    private static func stop(_ supervisor: ProtectionSupervisor) -> Bool {
        let outcome = Monitor<Bool?>(nil)
        guard
            (try? WorkerThread(
                name: "stop",
                {
                    let isStored = supervisor.stop(seconds: 5)
                    outcome.update { $0 = isStored }
                })) != nil
        else { return false }
        _ = outcome.waitUntil({ $0 != nil }, nanoseconds: 10_000_000_000)
        return outcome.withLock { $0 ?? false }
    }
}
