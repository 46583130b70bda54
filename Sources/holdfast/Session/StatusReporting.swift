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
        var sources = StatusReporter.Sources.server(
            own, machine: known.credentials.machine, status: status,
            changeKey: { try changeKey(known.credentials.address, state, [own, connection] + others) })
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
        try reporter.changeKey()
        return [:]
    }

    /// Gives this machine another key for its requests. Until the new one is used the server takes both, so that nothing is
    /// lost wherever this is interrupted.
    private static func changeKey(
        _ address: ServerAddress, _ state: StateDirectory, _ connections: [ServerConnection]
    ) throws {
        guard var membership = try ServerMembership.credentials(address, state), let first = connections.first else {
            return
        }
        let key = SigningKey.random()
        try first.request(
            "PUT", "/api/v1/machines/\(membership.machine.hex)/key",
            body: JSONValue.object(["key": .string(key.verifyingKey.description)]).encoded())
        membership.key = key
        try ServerMembership.save(membership, state)
        for connection in connections { connection.sign(with: key) }
        // Once the new one was used, the server forgets the old one.
        _ = try? first.request("GET", "/api/v1/machines/\(membership.machine.hex)/policy")
    }
}
