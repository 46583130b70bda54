import Catalog
import Client
import Model
import Policy
import Server
import TestSupport
import Testing
import Vault

@Suite("Garbage", .serialized)
struct FuzzTests {
    static let seeds: [UInt64] = [1, 20_261_121]

    @Test("whatever a machine or an administrator sends, the server answers and goes on", arguments: seeds)
    func bodies(seed: UInt64) async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            var random = FuzzGenerator(seed: seed)
            let machine = try server.enrol()
            let remote = RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID)
            let writer = try TestWriter(remote, TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
            let point = try writer.backup(["kept"]).point
            let samples = try Self.samples(writer, machine, server)
            let client = try RawClient(server)
            let administrator = RawClient.Sender.token(try server.person(.administrator))
            for operation in Operation.all where operation.request != .none {
                let name = "\(operation.method) \(operation.path)"
                if name.hasSuffix("/key") || name.hasSuffix("/enroll") { continue }
                var target = AccessTests.target(operation, server, machine, point)
                if operation.query.contains(where: { $0.name == "lease" }) {
                    target = target.prefix { $0 != "?" } + "?lease=\(writer.lease.id.hex)"
                }
                for round in 0..<25 {
                    let sample = try #require((samples[name] ?? [Array("{}".utf8)]).randomElement(using: &random))
                    let body = round % 5 == 4 ? random.bytes(round * 7) : random.mutation(of: sample)
                    // A pack is asked about by its own name: what is in it is then looked at.
                    let place =
                        name.contains("/packs/")
                        ? target.replacing(
                            String(repeating: "0", count: 64),
                            with: body.withUnsafeBytes { Hex.encode(BlobCrypto.sha256($0).array) }) : target
                    for sender in [.signed(RawClient.Signature(machine)), administrator] {
                        let before = server.log.all.count
                        let exchange = try client.send(operation.method, place, body, as: sender)
                        let text = String(decoding: exchange.body.prefix(300), as: UTF8.self)
                        if exchange.status == 500 {
                            #expect(server.log.all.count > before, "a failure without a word in the log: \(name)")
                            Issue.record("\(name) failed in round \(round) of seed \(seed): \(text)")
                        }
                        #expect(!text.contains(server.vault.path), "\(name) tells a path: \(text)")
                    }
                }
            }
            #expect(try remote.points(PointQuery()).map(\.id) == [point])
            #expect(try wholeness(of: remote.points(PointQuery())[0].references, in: remote).count == 2)
            writer.close()
        }
    }

    /// Valid bodies to be damaged.
    private static func samples(
        _ writer: TestWriter, _ machine: EnrolledMachine, _ server: ServerFixture
    ) throws -> [String: [[UInt8]]] {
        let base = "/api/v1/vaults/{vault}"
        let data = writer.make.data("sample")
        let head = MachineHead(incarnation: .random(), number: 3, hash: .none)
        let hold = HoldRecord.Content(
            hold: .random(), placed: Timestamp(seconds: 1), isPlaced: false, machines: [], paths: [],
            from: Timestamp(seconds: 0), until: Timestamp(seconds: 1), reference: "case")
        func json(_ fields: [String: JSONValue]) -> [UInt8] { JSONValue.object(fields).encoded() }
        func job(_ kind: String, _ parameters: JSONValue) -> [UInt8] {
            json(["kind": .string(kind), "vault": .string(server.core.vaultID.hex), "parameters": parameters])
        }
        return [
            "POST /api/v1/policies": [
                PolicyMessages.encode(putting: "name: x\nprotect: [/home]\n", file: "x.yaml")
            ],
            "PUT /api/v1/groups/{group}/policy": [PolicyMessages.encode(assigning: "x")],
            "PUT /api/v1/machines/{machine}/placement": [
                PolicyMessages.encode(PlacementChange(machineClass: "mobile", groups: ["default"], policy: ""))
            ],
            "POST /api/v1/machines/{machine}/status": [sampleReport().encoded(), Self.fullReport.encoded()],
            "POST /api/v1/machines/{machine}/commands": [json(["kind": .string("back-up-now")])],
            "POST \(base)/leases": [
                VaultMessages.encode(
                    LeaseRequest.writer(machine: machine.credentials.machine, head: head, base: .random())),
                VaultMessages.encode(LeaseRequest.reader([.random()])),
            ],
            "POST \(base)/missing": [VaultMessages.encode([BlobQuestion(id: data.id, key: data.key)])],
            "PUT \(base)/packs/{pack}": [
                try writer.make.pack([data]).bytes, try writer.make.pack([writer.make.node("n", [data.id])]).bytes,
            ],
            "PUT /api/v1/machines/{machine}/points/{point}": [try writer.point(root: data).encoded()],
            "POST \(base)/points/{point}/grant": [json(["wrap": .string(String(repeating: "1", count: 64))])],
            "POST \(base)/blobs/read": [VaultMessages.encode(ids: [data.id])],
            "POST \(base)/holds": [json(["content": AdministrationMessages.encode(hold)])],
            "PUT \(base)/keys/{file}": [Array(#"{"kind":"passphrase","number":9}"#.utf8)],
            "POST /api/v1/jobs": [
                job("verify", AdministrationMessages.encode(VerificationRequest())),
                job("delete-points", AdministrationMessages.encode(deleting: [.random()], includesNewest: false)),
                job("nonsense", .object([:])),
            ],
        ]
    }

    /// A report with everything that one can hold.
    private static var fullReport: MachineReport {
        var report = sampleReport()
        report.problem = "no room"
        report.spool = .init(bytes: 1, limit: .max / 2, isFull: true)
        report.changes = .init(rewritten: 5, deleted: .max / 2)
        report.roundTrip = 7
        report.notKept = [3: 9]
        return report
    }

    @Test("every decoder takes or refuses what it is given, and takes back what it wrote", arguments: seeds)
    func decoders(seed: UInt64) throws {
        var random = FuzzGenerator(seed: seed)
        let machine = SigningKey.random()
        let request = try EnrolmentRequest(
            token: .random(), machine: .random(), name: "m", key: machine, signing: machine.verifyingKey,
            server: .random())
        let description = ServerDescription(
            server: .random(), key: machine.verifyingKey, version: "1", certificate: "x", vault: .random(), time: 1)
        let error = HoldfastError(.denied, "no", context: ["a": "b"])
        let decoders: [(String, [UInt8], ([UInt8]) throws -> Void)] = [
            ("enrolment", request.encoded(), { _ = try EnrolmentRequest.decode($0) }),
            ("description", description.encoded(), { _ = try ServerDescription.decode($0) }),
            ("problem", Problem.encode(error), { _ = Problem.decode($0, status: 400) }),
            (
                "questions", VaultMessages.encode([BlobQuestion(id: BlobID(.zero), key: ContentKey(.zero))]),
                { _ = try VaultMessages.questions($0) }
            ),
            ("ids", VaultMessages.encode(ids: [BlobID(.zero)]), { _ = try VaultMessages.ids($0) }),
            (
                "records", VaultMessages.encode(records: [[1, 2], []]),
                { _ = try VaultMessages.records($0) { $0.count } }
            ),
            (
                "lease", VaultMessages.encode(LeaseRequest.reader([.random()])),
                { _ = try VaultMessages.leaseRequest($0) }
            ),
            ("grant", Array("{}".utf8), { _ = try EnrolmentGrant.decode($0) }),
            ("page", VaultMessages.encode(page: [], next: 3), { _ = try VaultMessages.page($0) }),
            (
                "frames", [UInt8](repeating: 1, count: 32) + [2, 0, 0, 0, 9, 9],
                { bytes in try bytes.withUnsafeBytes { try VaultMessages.forEachFrame($0) { _, _ in } } }
            ),
            (
                "holds", AdministrationMessages.encode([HoldRecord.Content]()),
                { _ = try AdministrationMessages.holds($0) }
            ),
            (
                "keys", AdministrationMessages.encode(KeyMaterial(config: [1], files: [("a", [2])])),
                { _ = try AdministrationMessages.keyMaterial($0) }
            ),
            ("report", Self.fullReport.encoded(), { _ = try MachineReport.decode($0).encoded() }),
            ("answer to a report", ReportAnswer(interval: 60).encoded(), { _ = try ReportAnswer.decode($0) }),
            (
                "retention",
                RetentionReport(machines: [
                    .init(
                        machine: .random(), name: "m", zone: "UTC", kept: 1, removed: 1,
                        decisions: [
                            .init(
                                point: .random(), time: Timestamp(seconds: 1), series: 3, isPartial: true,
                                isDamaged: false, reasons: ["daily"])
                        ], failure: "x")
                ]).encoded(),
                { _ = try RetentionReport.decode(try JSONFields(parsing: $0, document: "x", atMost: 1 << 20)) }
            ),
            (
                "what a machine may",
                Array(
                    "restore: {in-place: [/home], new-folder: /v, other-machines: true, paths: [/srv]}\nhooks: [/bin/true]\n"
                        .utf8),
                { _ = try MachineAllowance.parse($0) }
            ),
            (
                "a wish", JSONValue.object(RestoreSamples.wish.members).encoded(),
                { _ = try RestoreWish(JSONFields(parsing: $0, document: "x")).members }
            ),
            ("an order", RestoreSamples.order.encoded(), { _ = try RestoreOrder.decode($0).encoded() }),
            (
                "a restore's report", RestoreSamples.report.encoded(),
                { _ = try RestoreOrderReport.decode($0).encoded() }
            ),
            (
                "an answer about an order", RestoreOrderAnswer(RestoreSamples.order).encoded(),
                { _ = try RestoreOrderAnswer(decoding: $0) }
            ),
            ("token file", Array("hfa_x.y\n".utf8), { _ = try AccessCode(file: $0) }),
        ]
        for (name, sample, decode) in decoders {
            if !["grant", "token file"].contains(name) { try decode(sample) }
            for round in 0..<400 {
                let bytes = random.mutation(of: sample)
                do { try decode(bytes) } catch let error as HoldfastError {
                    #expect(
                        [.damaged, .usage, .unsupported].contains(error.code), "\(name), round \(round) of seed \(seed)"
                    )
                }
            }
        }
    }
}
