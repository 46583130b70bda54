import Client
import Model
import TestSupport
import Testing
import Vault

@testable import Server

@Suite("Packs that ride along with their point", .serialized)
struct RidingVaultTests {
    /// How many requests of an operation the server has answered.
    private func count(_ server: ServerFixture, _ operation: String) -> Int {
        server.core.metricsText().split(separator: "\n").reduce(0) { sum, line in
            line.hasPrefix("holdfast_requests_total{operation=\"\(operation)\"")
                ? sum + (Int(line.split(separator: " ").last ?? "") ?? 0) : sum
        }
    }

    @Test("a small change costs one request; a large pack takes what waits before it along")
    func riding() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol()
            let riding = RidingVault(RemoteVault(ServerConnection(machine.credentials), vault: machine.secrets.vault))
            let writer = try TestWriter(riding, TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
            let packs = "PUT /api/v1/vaults/{vault}/packs/{pack}"
            let points = "PUT /api/v1/machines/{machine}/points/{point}"
            let data = writer.make.data("small"), root = writer.make.node("1", [data.id])
            try writer.store([data])
            try writer.store([root])
            try writer.commit(writer.point(root: root))
            #expect(count(server, packs) == 0 && count(server, points) == 1)
            #expect(try wholeness(of: [root.id], in: riding) == [root.id, data.id])

            var generator = SystemRandomNumberGenerator()
            let noise = (0..<300_000).map { _ in UInt8.random(in: 0...255, using: &generator) }
            let first = writer.make.data("first"), large = writer.make.data(noise)
            let second = writer.make.node("2", [first.id, large.id])
            try writer.store([first])
            try writer.store([large])
            #expect(count(server, packs) == 2, "in their order")
            try writer.store([second])
            // A point that is refused for its place comes again with what belongs to it.
            let wrong = PointPosition(
                incarnation: writer.position.incarnation, number: 7, previous: writer.position.previous)
            #expect(throws: HoldfastError.self) { try writer.commit(writer.point(root: second, position: wrong)) }
            try writer.commit(writer.point(root: second))
            #expect(count(server, packs) == 2)
            #expect(try wholeness(of: [second.id], in: riding).count == 3)

            // What waits for a lease that ended is nobody's.
            let third = writer.make.data("third")
            try writer.store([third])
            writer.close()
            let next = try TestWriter(
                riding, TestMachine(id: machine.credentials.machine, secrets: machine.secrets),
                head: MachineHead(
                    incarnation: writer.position.incarnation, number: writer.position.number - 1,
                    hash: writer.position.previous))
            #expect(!next.lease.isNewIncarnation)
            #expect(throws: HoldfastError.self) {
                try next.commit(next.point(root: next.make.node("3", [third.id])))
            }
        }
    }

    @Test("who reads takes nothing from another writer, whose lease may even be lost")
    func reading() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol()
            let riding = RidingVault(RemoteVault(ServerConnection(machine.credentials), vault: machine.secrets.vault))
            let id = TestMachine(id: machine.credentials.machine, secrets: machine.secrets)
            let writer = try TestWriter(riding, id)
            let known = writer.make.data("known")
            try writer.store([known])
            // Of a lease that the server does not know any more.
            let maker = TestBlobMaker(machine.secrets)
            let stray = LeaseID.random()
            try riding.store(try maker.pack([maker.data("stray")]), lease: stray)
            let root = writer.make.node("root", [known.id])
            try writer.store([root])
            #expect(try wholeness(of: [root.id], in: riding) == [root.id, known.id], "what waits can be read")
            // The writer commits what was sent for the reader as if nothing had been.
            try writer.commit(writer.point(root: root))
            #expect(try wholeness(of: [root.id], in: riding).count == 2)
            // What waits for others was not sent.
            let waiting = writer.make.data("waiting")
            try writer.store([waiting])
            let packs = count(server, "PUT /api/v1/vaults/{vault}/packs/{pack}")
            #expect(try wholeness(of: [root.id], in: riding).count == 2)
            #expect(count(server, "PUT /api/v1/vaults/{vault}/packs/{pack}") == packs)
        }
    }

    @Test("a body with packs that is cut, too long or another's is refused and stores nothing")
    func hostile() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol(), other = try server.enrol()
            let remote = RemoteVault(
                ServerConnection(machine.credentials, patience: .init(attempts: 1, longestPause: 0)),
                vault: machine.secrets.vault)
            let id = machine.credentials.machine
            let writer = try TestWriter(remote, TestMachine(id: id, secrets: machine.secrets))
            let connection = ServerConnection(machine.credentials, patience: .init(attempts: 1, longestPause: 0))
            let data = writer.make.data("x"), root = writer.make.node("root", [data.id])
            let packs = [try writer.make.pack([data]), try writer.make.pack([root])]
            let point = try writer.point(root: root)
            func send(_ body: [UInt8]) throws {
                try connection.request(
                    "PUT",
                    "/api/v1/machines/\(id.hex)/points/\(point.locator.point.hex)?lease=\(writer.lease.id.hex)&packs=1",
                    body: body, contentType: "application/octet-stream")
            }
            let whole = VaultMessages.encode(point, with: packs)
            for length in [0, 3, 4, 5, 100, whole.count - 1] {
                #expect(throws: HoldfastError.self, "\(length)") { try send(Array(whole.prefix(length))) }
            }
            #expect(throws: HoldfastError.self) { try send(whole + [0]) }
            #expect(throws: HoldfastError.self) { try send(VaultMessages.encode(records: [])) }
            #expect(throws: HoldfastError.self) { try send([255, 255, 255, 255] + whole.dropFirst(4)) }
            #expect(throws: HoldfastError.self) {
                try send(VaultMessages.encode(records: [point.encoded()] + Array(repeating: packs[0].bytes, count: 17)))
            }
            // In another machine's name.
            let maker = TestBlobMaker(machine.secrets)
            let foreign = other.credentials.machine
            let forged = try maker.pack([data], writer: WriterID(high: foreign.high, low: foreign.low))
            #expect(throws: HoldfastError.self) { try send(VaultMessages.encode(point, with: [forged, packs[1]])) }
            #expect(try remote.points(.init()).isEmpty)
            try send(whole)
            #expect(try remote.points(.init()).count == 1)
        }
    }
}
