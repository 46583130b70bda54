package import Model
import Synchronization
package import Vault

/// The administration of a vault behind a server: long work is a job there, and goes on when this program ends.
package final class RemoteAdministration: VaultAdministration {
    private let connection: ServerConnection
    private let vault: VaultID
    private struct About {
        var config: VaultConfig
        var hasKeys: Bool
        var mayRead: Bool
    }

    private let known = Mutex<About?>(nil)
    private var base: String { "/api/v1/vaults/\(vault.hex)" }

    package init(_ connection: ServerConnection, vault: VaultID) {
        self.connection = connection
        self.vault = vault
    }

    private func about() throws -> About {
        if let known = known.withLock({ $0 }) { return known }
        let fields = try JSONFields(parsing: try connection.request("GET", base), document: "the server's vault")
        let config = try VaultConfig.decode(Array(try fields.string("config").utf8))
        guard config.vault == vault else { throw fields.wrong("config") }
        let found = About(
            config: config, hasKeys: try VaultMessages.flag(fields, "has_keys"),
            mayRead: try VaultMessages.flag(fields, "may_read"))
        known.withLock { $0 = found }
        return found
    }

    package var config: VaultConfig { get throws { try about().config } }
    package var hasKeys: Bool { get throws { try about().hasKeys } }
    /// Whether whoever is signed in may read what points hold, and not only lists.
    package var mayRead: Bool { get throws { try about().mayRead } }

    package func overview() throws -> VaultOverview {
        try AdministrationMessages.overview(try connection.request("GET", base + "/statistics"))
    }

    // MARK: Long work

    package func verify(_ request: VerificationRequest) throws -> VerificationReport {
        var told: (done: UInt64, total: UInt64) = (0, 0)
        let job = RemoteJob(connection, vault: vault, kind: "verify")
        let result = try job.run(AdministrationMessages.encode(request)) { done, total in
            try request.progress(done >= told.done ? done - told.done : 0, total)
            told = (done, total)
        }
        return try AdministrationMessages.verificationReport(result)
    }

    package func planCollection(options: CollectionOptions) throws -> CollectionPlan {
        try AdministrationMessages.plan(try collect("plan-reclaim", options))
    }

    package func reclaim(options: CollectionOptions) throws -> CollectionReport {
        try AdministrationMessages.collectionReport(try collect("reclaim", options))
    }

    private func collect(_ kind: String, _ options: CollectionOptions) throws -> JSONFields {
        try RemoteJob(connection, vault: vault, kind: kind).run(
            .object(["ignore_damage": .bool(options.ignoresDamage)])
        ) { _, _ in try options.checkpoint() }
    }

    /// Runs a job without parameters.
    func run(_ kind: String) throws -> JSONFields {
        try RemoteJob(connection, vault: vault, kind: kind).run(.object([:])) { _, _ in }
    }

    package func rebuild() throws -> RebuildReport {
        let job = RemoteJob(connection, vault: vault, kind: "rebuild")
        return try AdministrationMessages.rebuildReport(try job.run(.object([:])) { _, _ in })
    }

    package func objection(
        to id: PointID, among points: [PointSummary], includesNewest: Bool
    ) -> HoldfastError? {
        LocalVault.objection(to: id, among: points, includesNewest: includesNewest)
    }

    package func deletePoints(_ ids: [PointID], includesNewest: Bool) throws {
        if ids.isEmpty { return }
        _ = try RemoteJob(connection, vault: vault, kind: "delete-points").run(
            AdministrationMessages.encode(deleting: ids, includesNewest: includesNewest)
        ) { _, _ in }
    }

    // MARK: Holds

    package func holds() throws -> [HoldRecord.Content] {
        try AdministrationMessages.holds(try connection.request("GET", base + "/holds"))
    }

    package func place(_ hold: HoldRecord.Content, signing: () throws -> SigningKey) throws {
        var fields: [String: JSONValue] = ["content": AdministrationMessages.encode(hold)]
        if try !hasKeys {
            fields["record"] = .string(Hex.encode(try HoldRecord(hold, signing: try signing()).encoded()))
        }
        try connection.request("POST", base + "/holds", body: JSONValue.object(fields).encoded())
    }

    // MARK: Keys

    package func keyMaterial() throws -> KeyMaterial {
        try AdministrationMessages.keyMaterial(try connection.request("GET", base + "/keys"))
    }

    package func add(_ slot: KeySlot) throws -> Bool {
        do {
            try connection.request("PUT", base + "/keys/\(slot.fileName)", body: slot.encoded())
            return true
        } catch let error as HoldfastError where error.code == .exists {
            return false
        }
    }

    package func remove(_ slot: KeySlot) throws {
        try connection.request("DELETE", base + "/keys/\(slot.fileName)")
    }
}

/// A job on a server, watched from here until it ends.
struct RemoteJob {
    private let connection: ServerConnection
    private let vault: VaultID
    private let kind: String

    init(_ connection: ServerConnection, vault: VaultID, kind: String) {
        self.connection = connection
        self.vault = vault
        self.kind = kind
    }

    /// Seconds that one question waits on the server for something to happen.
    private static let wait = 2

    /// Begins the job and answers with its result. `progress` hears how far it is, in bytes; throwing there cancels it.
    func run(_ parameters: JSONValue, progress: (UInt64, UInt64) throws -> Void) throws -> JSONFields {
        let begun = try connection.request(
            "POST", "/api/v1/jobs",
            body: JSONValue.object([
                "kind": .string(kind), "vault": .string(vault.hex), "parameters": parameters,
            ]).encoded())
        let fields = try JSONFields(parsing: begun, document: "the server's job")
        let id: RequestNonce = try fields.identifier("job")
        let target = "/api/v1/jobs/\(id.hex)"
        var after: Int64 = 0
        while true {
            let body = try connection.request("GET", target + "?after=\(after)&wait=\(Self.wait)")
            var state: JSONFields?
            for line in body.split(separator: UInt8(ascii: "\n")) {
                let event = try JSONFields(
                    parsing: Array(line), document: "the server's job",
                    atMost: AdministrationMessages.maximumReport)
                switch try event.string("type") {
                case "line": after = max(after, try event.integer("number", in: 1...Int64.max))
                case "state": state = event
                default: continue
                }
            }
            guard let state else { throw HoldfastError(.damaged, "the server's answer says nothing of the job") }
            switch try state.string("state") {
            case "running":
                do {
                    try progress(
                        UInt64(try state.integer("done", in: 0...Int64.max)),
                        UInt64(try state.integer("total", in: 0...Int64.max)))
                } catch {
                    _ = try? connection.request("DELETE", target)
                    throw error
                }
            case "done": return try state.object("result")
            default: throw RemoteJob.failure(state)
            }
        }
    }

    private static func failure(_ state: JSONFields) -> HoldfastError {
        if case .object(let problem) = state.members["failure"] {
            return Problem.decode(JSONValue.object(problem).encoded(), status: 500)
        }
        return HoldfastError(
            .io, "The server was ended while it did this. Run the command again: what was done is not lost.",
            isTemporary: true)
    }
}
