import Agent
import Client
import Model
import Vault

/// What an agent on this machine tells its server, where its vault is behind one.
enum StatusReporting {
    /// A reporter that has begun, or nothing for a vault in reach.
    ///
    /// - Parameter others: further connections of this machine that go on with a new key when it is changed.
    static func start(
        _ status: @escaping @Sendable () -> AgentStatus, _ session: VaultSession, _ global: GlobalOptions,
        others: [ServerConnection] = []
    ) -> StatusReporter? {
        // Whatever goes wrong here is no reason not to protect.
        guard let connection = session.connection,
            let known = try? ServerMembership.load(connection.address, global),
            let state = try? StateDirectory.existing(path: try global.stateDirectory())
        else { return nil }
        // The reporter itself comes again, and waits longer when the server has too much to do.
        let own = ServerConnection(
            known.credentials, patience: ServerConnection.Patience(attempts: 1, longestPause: 0))
        let change = keyChange(known.credentials, state, [own, connection] + others)
        var sources = StatusReporter.Sources.server(
            own, machine: known.credentials.machine, status: status, changeKey: { try change.run() })
        sources.isGoingDown = { SystemState.isGoingDown }
        let reporter = StatusReporter(
            sources, program: "holdfast \(Holdfast.version)")
        reporter.start()
        return reporter
    }

    /// Answers what an agent is asked about its server; `nil` for other questions.
    static func answer(_ question: JSONFields, _ reporter: StatusReporter?) throws -> [String: JSONValue]? {
        guard try question.string("command") == "change-key" else { return nil }
        guard let reporter else {
            throw HoldfastError(.notFound, "This agent has no server: there is no key to change.")
        }
        return ["old_refused": .bool(try reporter.changeKey())]
    }

    /// What changes the key of this machine, for the agent and for who asks it.
    private static func keyChange(
        _ known: ServerCredentials, _ state: StateDirectory, _ connections: [ServerConnection]
    ) -> KeyChange {
        @Sendable func kept() throws -> ServerCredentials {
            guard let kept = try ServerMembership.credentials(known.address, state), kept.machine == known.machine
            else {
                throw HoldfastError(
                    .keyNeeded,
                    "What this machine keeps of \(known.address.description) is gone, or of another machine.")
            }
            return kept
        }
        return KeyChange(machine: known.machine, connections: connections) {
            try kept().key
        } save: { key in
            var membership = try kept()
            membership.key = key
            try ServerMembership.save(membership, state)
        }
    }
}
