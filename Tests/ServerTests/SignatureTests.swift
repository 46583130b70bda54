import Catalog
import Client
import Model
import Platform
import Server
import TestSupport
import Testing
import Vault

@Suite("Signed requests", .serialized)
struct SignatureTests {
    private func points(_ server: ServerFixture) -> String { "/api/v1/vaults/\(server.core.vaultID.hex)/points" }

    @Test("a signature holds for one request only, and not for long")
    func bindings() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol()
            let client = try RawClient(server)
            let target = points(server)
            let now = SystemClock.wall / 1_000_000_000
            func status(_ change: (inout RawClient.Signature) -> Void) throws -> (Int, HoldfastError.Code?) {
                var signature = RawClient.Signature(machine)
                change(&signature)
                let exchange = try client.send("GET", target, as: .signed(signature))
                return (exchange.status, exchange.status < 300 ? nil : Problem.decode(exchange.body, status: 0).code)
            }
            #expect(try status { _ in } == (200, nil))
            #expect(try status { $0.target = "/api/v1/machines" } == (403, .denied), "another path")
            #expect(try status { $0.target = target + "?newest=1" } == (403, .denied), "another query")
            #expect(try status { $0.method = "DELETE" } == (403, .denied), "another method")
            #expect(try status { $0.body = .zero } == (403, .denied), "another body")
            #expect(try status { $0.nonce = .random() } == (403, .denied), "another nonce")
            #expect(try status { $0.server = .random() } == (403, .denied), "another server")
            #expect(try status { $0.key = .random() } == (403, .denied), "another key")
            #expect(try status { $0.issued = now - 600 } == (401, .clockUnknown), "long ago")
            #expect(try status { $0.issued = now + 600 } == (401, .clockUnknown), "to come")
            #expect(try status { $0.issued = 0 } == (401, .clockUnknown), "a dead clock")
        }
    }

    @Test("a machine with a wrong clock learns the server's time and goes on")
    func clock() async throws {
        let clock = TestClock()
        clock.advance(seconds: 50 * 365 * 86_400)
        let server = try await ServerFixture.start(clock: clock)
        try await ServerFixture.blocking {
            let machine = try server.enrol()
            #expect(
                try RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID).points(.init())
                    .isEmpty)
            // The server's time moves by a day while a connection goes on: it is learnt anew.
            let remote = RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID)
            for days in [1, -2] as [Int64] {
                clock.advance(seconds: days * 86_400)
                #expect(try remote.points(.init()).isEmpty)
            }
        }
    }

    @Test("a token that is cut, changed or of another kind is refused as any other")
    func mutatedTokens() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol()
            let client = try RawClient(server)
            let token = RequestToken(
                machine: machine.credentials.machine, server: machine.credentials.server,
                issued: SystemClock.wall / 1_000_000_000, nonce: .random(), method: "GET", target: points(server),
                body: .zero)
            let good = Array(try token.signed(with: machine.credentials.key).utf8)
            var random = FuzzGenerator(seed: 7)
            for round in 0..<150 {
                let bad = random.mutation(of: good).map { 0x21...0x7E ~= $0 ? $0 : UInt8(ascii: "A") }
                let exchange = try client.send("GET", points(server), as: .token(String(decoding: bad, as: UTF8.self)))
                #expect([401, 403, 429].contains(exchange.status), "round \(round) of seed 7: \(exchange.status)")
            }
            let none = #"{"alg":"none","typ":"JWT"}"#
            let parts = String(decoding: good, as: UTF8.self).split(separator: ".").map(String.init)
            let unsigned = Base64URL.encode(Array(none.utf8)) + "." + parts[1] + "."
            #expect(try client.send("GET", points(server), as: .token(unsigned)).status >= 400)
        }
    }

    @Test("a key is changed without enrolling again; the old one stops when the new one is used")
    func rotation() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol()
            let client = try RawClient(server)
            let target = "/api/v1/machines/\(machine.credentials.machine.hex)/key"
            func change(to key: SigningKey, signedBy old: SigningKey) throws -> Int {
                var signature = RawClient.Signature(machine)
                signature.key = old
                let body = JSONValue.object(["key": .string(key.verifyingKey.description)]).encoded()
                return try client.send("PUT", target, body, as: .signed(signature)).status
            }
            func isAccepted(_ key: SigningKey) throws -> Bool {
                var signature = RawClient.Signature(machine)
                signature.key = key
                return try client.send("GET", points(server), as: .signed(signature)).status == 200
            }
            let first = machine.credentials.key, lost = SigningKey.random(), second = SigningKey.random()
            #expect(try change(to: lost, signedBy: first) == 204)
            #expect(try isAccepted(first), "the answer may have been lost: the old key still opens")
            #expect(try change(to: second, signedBy: first) == 204, "so it can be changed once more")
            #expect(try isAccepted(first))
            #expect(try isAccepted(second))
            #expect(try !isAccepted(first), "the new one was used")
            #expect(try !isAccepted(lost))
            #expect(try change(to: first, signedBy: first) == 403)
        }
    }
}
