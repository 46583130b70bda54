import Catalog
import Client
import Model
import Platform
import Server
import TestSupport
import Testing
import Vault

/// Who may ask for what, as a table of all operations.
@Suite("Access", .serialized)
struct AccessTests {
    /// Somebody who asks.
    enum Who: String, CaseIterable {
        case nobody, wrongToken, garbage, expiredToken, removedToken, enrolmentToken, unknownMachine
        case viewer, reader, administrator, owner, other
    }

    private static let people: Set<Who> = [.viewer, .reader, .administrator]
    private static let readers: Set<Who> = [.reader, .administrator]
    private static let machines: Set<Who> = [.owner, .other]
    private static let base = "/api/v1/vaults/{vault}"

    /// Who is let through to each operation. Everybody else is refused with 401, 403, or 404 for what is another's.
    static let allowed: [String: Set<Who>] = [
        "GET /api/v1/identity": Set([.nobody]).union(people).union(machines),
        "GET /api/openapi.json": Set([.nobody]).union(people).union(machines),
        "GET /health": Set([.nobody]).union(people).union(machines),
        "GET /metrics": people,
        "GET /install": Set([.nobody]).union(people).union(machines),
        "GET /install/{package}": Set([.nobody]).union(people).union(machines),
        "POST /api/v1/enroll": Set([.nobody]).union(people).union(machines),
        "POST \(base)/leases": readers.union([.owner]),
        "PUT \(base)/leases/{lease}": people.union(machines),
        "DELETE \(base)/leases/{lease}": people.union(machines),
        "POST \(base)/missing": machines,
        "PUT \(base)/packs/{pack}": machines,
        "PUT /api/v1/machines/{machine}/points/{point}": [.owner],
        "GET \(base)/points": people.union(machines),
        "GET \(base)/points/{point}": readers.union([.owner]),
        "GET \(base)/points/{point}/redactions": readers.union([.owner]),
        "GET \(base)/machines/{machine}/records": people.union([.owner]),
        "POST \(base)/points/{point}/grant": readers.union([.owner]),
        "GET \(base)/records": people.union(machines),
        "POST \(base)/blobs/read": readers.union(machines),
        "GET /api/v1/machines": people,
        "POST /api/v1/machines/{machine}/approve": [.administrator],
        "POST /api/v1/machines/{machine}/refuse": [.administrator],
        "POST /api/v1/machines/{machine}/retire": [.administrator],
        "POST /api/v1/machines/{machine}/return": [.administrator],
        "POST /api/v1/machines/{machine}/status": [.owner],
        "GET /api/v1/alerts": people,
        "POST /api/v1/alerts/{number}/acknowledge": [.administrator],
        "POST /api/v1/alerts/{number}/resolve": [.administrator],
        "POST /api/v1/alerts/test": [.administrator],
        "PUT /api/v1/machines/{machine}/key": [.owner],
        "PUT /api/v1/machines/{machine}/record": [.owner],
        "GET \(base)": people.union(machines),
        "GET \(base)/statistics": people,
        "GET \(base)/holds": people,
        "POST \(base)/holds": [.administrator],
        "GET \(base)/keys": [.administrator],
        "PUT \(base)/keys/{file}": [.administrator],
        "DELETE \(base)/keys/{file}": [.administrator],
        "POST /api/v1/jobs": [.administrator],
        "GET /api/v1/jobs": people,
        "GET /api/v1/jobs/{job}": people,
        "DELETE /api/v1/jobs/{job}": [.administrator],
        "GET /api/v1/settings": [.administrator],
        "PUT /api/v1/settings": [.administrator],
        "POST /api/v1/policy-previews": [.administrator],
        "GET /api/v1/policies": people,
        "POST /api/v1/policies": [.administrator],
        "GET /api/v1/policies/{policy}": people,
        "DELETE /api/v1/policies/{policy}": [.administrator],
        "GET /api/v1/policies/{policy}/revisions": people,
        "GET /api/v1/policy-changes": people,
        "PUT /api/v1/groups/{group}/policy": [.administrator],
        "GET /api/v1/placements": people,
        "PUT /api/v1/machines/{machine}/placement": [.administrator],
        "GET /api/v1/machines/{machine}/policy": people.union([.owner]),
        "GET /api/v1/machines/{machine}/commands": [.owner],
        "POST /api/v1/machines/{machine}/commands": [.administrator],
        "GET /api/v1/machines/{machine}": people,
        "GET /api/v1/machines/{machine}/points": readers,
        "GET /api/v1/machines/{machine}/files": readers,
        "GET /api/v1/machines/{machine}/versions": readers,
        "GET /api/v1/machines/{machine}/names": readers,
        "GET /api/v1/machines/{machine}/content": readers,
        "GET /api/v1/machines/{machine}/preview": readers,
        "GET /api/v1/machines/{machine}/difference": readers,
        "POST /api/v1/machines/{machine}/archive": readers,
        "GET /api/v1/accounts": [.administrator],
        "POST /api/v1/accounts": [.administrator],
        "PUT /api/v1/accounts/{account}": [.administrator],
        "DELETE /api/v1/accounts/{account}": [.administrator],
        "POST /api/v1/accounts/{account}/link": [.administrator],
        "DELETE /api/v1/accounts/{account}/second-factor": [.administrator],
        "POST /api/v1/links/use": Set([.nobody]).union(people).union(machines),
        "GET /api/v1/me": people,
        // An access code is nobody's account: tokens of accounts are tried where the console is.
        "POST /api/v1/me/password": [],
        "POST /api/v1/me/second-factor": [],
        "GET /api/v1/me/sessions": [],
        "DELETE /api/v1/me/sessions": [],
        "GET /api/v1/me/tokens": [],
        "POST /api/v1/me/tokens": [],
        "DELETE /api/v1/me/tokens/{token}": [],
        "GET /api/v1/audit": [.administrator],
        "GET /api/v1/audit/verification": [.administrator],
        "GET /api/v1/audit/export": [.administrator],
        "GET /api/v1/enrolment-codes": [.administrator],
        "POST /api/v1/enrolment-codes": [.administrator],
        "DELETE /api/v1/enrolment-codes/{code}": [.administrator],
        "POST /api/v1/restores": [.administrator],
        "GET /api/v1/restores": [.administrator],
        "GET /api/v1/restores/{order}": [.administrator],
        "POST /api/v1/restores/{order}/undo": [.administrator],
        "GET /api/v1/reports/protection": people,
        "POST /api/v1/reports/protection/mail": [.administrator],
        "GET /api/v1/machines/{machine}/growth": readers,
        "GET /api/v1/alert-mutes": people,
        "POST /api/v1/alert-mutes": [.administrator],
        "DELETE /api/v1/alert-mutes/{mute}": [.administrator],
        "POST /api/v1/settings/webhooks": [.administrator],
        "DELETE /api/v1/settings/webhooks": [.administrator],
        "POST /api/v1/restores/{order}/confirm": [.administrator],
        "POST /api/v1/restores/{order}/stop": [.administrator],
        "POST /api/v1/machines/{machine}/restores/{order}": [.owner],
    ]

    @Test("every operation is in the table, and the table names no other")
    func tableIsComplete() {
        #expect(Set(Operation.all.map { "\($0.method) \($0.path)" }) == Set(Self.allowed.keys))
    }

    @Test("everybody is let through to what the table says and to nothing else")
    func matrix() async throws {
        let server = try await ServerFixture.start { $0.freeFailures = 100_000 }
        try await ServerFixture.blocking {
            let owner = try server.enrol("owner"), other = try server.enrol("other")
            let remote = RemoteVault(ServerConnection(owner.credentials), vault: server.core.vaultID)
            let writer = try TestWriter(remote, TestMachine(id: owner.credentials.machine, secrets: owner.secrets))
            let point = try writer.backup(["something"]).point
            let order = try server.core.restores.add(
                RestoreWish(
                    source: owner.credentials.machine, target: owner.credentials.machine, point: point, paths: [.root],
                    destination: .newFolder), by: "test")
            let senders = try Self.senders(server, owner: owner, other: other)
            let client = try RawClient(server)
            for operation in Operation.all {
                let name = "\(operation.method) \(operation.path)"
                let allowed = try #require(Self.allowed[name])
                let target = Self.target(operation, server, owner, point).replacing("{order}", with: order.id.hex)
                let body = Self.body(operation, point, remote)
                for who in Who.allCases {
                    // A change of the key would end the owner's signatures.
                    if name.hasSuffix("/key"), who == .owner { continue }
                    let sender = try #require(senders[who])
                    let exchange = try client.send(operation.method, target, body, as: sender)
                    let isOthers = who == .other && exchange.status == 404
                    let isRefused = [401, 403].contains(exchange.status) || isOthers
                    let problem = String(decoding: exchange.body.prefix(200), as: UTF8.self)
                    // An enrolment without a token of its own is refused for that, whoever sends it.
                    if name == "POST /api/v1/enroll" {
                        #expect(exchange.status >= 400 && exchange.status < 500, "\(name) as \(who)")
                        continue
                    }
                    #expect(
                        isRefused != allowed.contains(who), "\(name) as \(who): \(exchange.status) \(problem)")
                    if who == .nobody, !allowed.contains(.nobody) { #expect(exchange.status == 401, "\(name)") }
                    #expect(exchange.status != 500, "\(name) as \(who): \(problem)")
                }
            }
            #expect(try remote.points(PointQuery()).count == 1, "nothing was changed by those who were refused")
        }
    }

    private static func senders(
        _ server: ServerFixture, owner: EnrolledMachine, other: EnrolledMachine
    ) throws -> [Who: RawClient.Sender] {
        var unknown = RawClient.Signature(owner)
        unknown.machine = .random()
        let removed = try server.core.makeAccessToken(name: "gone", role: .administrator, seconds: nil)
        _ = try server.core.catalog.remove(tokenHash: removed.hash)
        return [
            .nobody: .nobody, .wrongToken: .token(SecretToken.random().text), .garbage: .token("hft_nonsense"),
            .expiredToken: .token(try server.person(.administrator, seconds: -1)), .removedToken: .token(removed.text),
            .enrolmentToken: .token(try server.core.makeEnrolmentCode(name: "x").token.text),
            .unknownMachine: .signed(unknown), .viewer: .token(try server.person(.viewer)),
            .reader: .token(try server.person(.reader)), .administrator: .token(try server.person(.administrator)),
            .owner: .signed(RawClient.Signature(owner)), .other: .signed(RawClient.Signature(other)),
        ]
    }

    static func target(
        _ operation: Operation, _ server: ServerFixture, _ machine: EnrolledMachine, _ point: PointID
    ) -> String {
        var target = operation.path
        for (name, value) in [
            ("vault", server.core.vaultID.hex), ("machine", machine.credentials.machine.hex), ("point", point.hex),
            ("lease", LeaseID.random().hex), ("job", JobID.random().hex), ("file", "09-passphrase.json"),
            ("number", "1"), ("package", ServerFixture.program), ("policy", "none"), ("group", "default"),
            ("pack", String(repeating: "0", count: 64)),
            ("account", AccountID.random().hex), ("token", "none"), ("code", "none"),
        ] {
            target = target.replacing("{\(name)}", with: value)
        }
        return operation.query.contains { $0.name == "lease" } ? target + "?lease=\(LeaseID.random().hex)" : target
    }

    /// A body that makes sense as far as it goes, so that the answer depends on who asks.
    static func body(_ operation: Operation, _ point: PointID, _ vault: RemoteVault) -> [UInt8] {
        switch "\(operation.method) \(operation.path)" {
        case "POST \(base)/leases": return VaultMessages.encode(LeaseRequest.reader([point]))
        case "POST \(base)/missing": return VaultMessages.encode([BlobQuestion]())
        case "POST \(base)/blobs/read": return VaultMessages.encode(ids: [])
        case "POST \(base)/points/{point}/grant":
            return JSONValue.object(["wrap": .string(String(repeating: "0", count: 64))]).encoded()
        default: return operation.request == .none ? [] : Array("{}".utf8)
        }
    }
}
