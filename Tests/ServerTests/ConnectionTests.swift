import Catalog
@testable import Client
import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Server

@Suite("Connections", .serialized)
struct ConnectionTests {
    private static let once = ServerConnection.Patience(attempts: 1, longestPause: 0)

    @Test("nobody who has not signed in makes the server take in a body")
    func bodiesBeforeSignIn() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let vault = server.core.vaultID.hex
            let pack = String(repeating: "0", count: 64)
            // The heads alone: the server answers without having seen the megabytes that they announce.
            for (head, status) in [
                ("PUT /api/v1/vaults/\(vault)/packs/\(pack)?lease=\(vault) HTTP/1.1\r\nContent-Length: 16000000", 401),
                ("POST /api/v1/enroll HTTP/1.1\r\nContent-Length: 20000000", 413),
                ("GET /api/v1/identity HTTP/1.1\r\nContent-Length: 1000000", 413),
                (
                    "PUT /api/v1/vaults/\(vault)/packs/\(pack)?lease=\(vault) HTTP/1.1\r\nContent-Length: 16000000\r\n"
                        + "Authorization: Bearer hft_nonsense", 403
                ),
            ] {
                let connection = try RawConnection(server.address, encrypts: true)
                try connection.write(head + "\r\nHost: x\r\n\r\n")
                let (text, _) = connection.read(seconds: 20) { $0.contains("\r\n\r\n") }
                #expect(text.hasPrefix("HTTP/1.1 \(status) "), "\(head): \(text.prefix(200))")
            }
        }
    }

    @Test("who is refused with megabytes in hand hears why", arguments: [100, 60_000, 200_000, 4_000_000, 15_000_000])
    func refusedBodies(size: Int) async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let vault = server.core.vaultID.hex
            let body = [UInt8](repeating: 7, count: size)
            let name = body.withUnsafeBytes { Hex.encode(BlobCrypto.sha256($0).array) }
            let exchange = try RawClient(server).send(
                "PUT", "/api/v1/vaults/\(vault)/packs/\(name)?lease=\(vault)", body,
                as: .token(SecretToken.random().text))
            #expect(exchange.status == 403)
        }
    }

    @Test("who connects and says nothing, or speaks too slowly, is hung up on")
    func slowClients() async throws {
        let server = try await ServerFixture.start { options in
            options.firstBytes = 400
            options.idleSeconds = 1
        }
        try await ServerFixture.blocking {
            let silent = try RawConnection(server.address, encrypts: false)
            let shaken = try RawConnection(server.address, encrypts: true)
            let slow = try RawConnection(server.address, encrypts: true)
            try slow.write("GET /health HTTP/1.1\r\nHost: x\r\n")
            #expect(silent.isClosed(within: 20), "no TLS")
            #expect(shaken.isClosed(within: 20), "TLS and then nothing")
            // A letter now and then does not keep the connection: only whole heads count.
            var isClosed = false
            for _ in 0..<60 where !isClosed {
                isClosed = slow.isClosed(within: 0)
                if !isClosed { try? slow.write("X") }
                SystemClock.pause(milliseconds: 200)
            }
            #expect(isClosed, "half a head")
        }
    }

    @Test("one address has so many connections and no more")
    func connectionLimit() async throws {
        let server = try await ServerFixture.start { $0.connectionsPerAddress = 3 }
        try await ServerFixture.blocking {
            let open = try (0..<3).map { _ in try RawConnection(server.address, encrypts: true) }
            for connection in open {
                try connection.write("GET /api/v1/identity HTTP/1.1\r\nHost: x\r\n\r\n")
                #expect(connection.read(seconds: 20) { $0.contains("\r\n\r\n") }.text.hasPrefix("HTTP/1.1 200"))
            }
            #expect(try RawConnection(server.address, encrypts: false).isClosed(within: 20))
            withExtendedLifetime(open) {}
        }
    }

    @Test("with too much to do the server says so at once, and when to come back")
    func overload() async throws {
        // No place in the queue at all: everything that needs a thread is too much.
        let server = try await ServerFixture.start {
            $0.threads = 1
            $0.queue = -1
        }
        try await ServerFixture.blocking {
            let exchange = try RawClient(server).send("GET", "/api/v1/identity", as: .nobody)
            #expect(exchange.status == 429)
            #expect(exchange.header("Retry-After").flatMap { Int($0) }.map { $0 > 0 } == true)
            let error = Problem.decode(exchange.body, status: 429)
            #expect(error.code == .overloaded && error.isTemporary)
            let line = try #require(server.log.all.first { $0.contains("too much to do") })
            #expect(
                line.hasPrefix("{") && line.contains(#""level":"warning""#) && line.contains(#""reason":"requests""#))
        }
    }

    @Test(
        "a machine whose clock is years ahead or behind of the certificate enrols and goes on",
        arguments: [-10.0, 10.0])
    func wrongClock(years: Double) async throws {
        // The same as a machine's clock that is wrong the other way round.
        let server = try await ServerFixture.start(certificateDate: Date(timeIntervalSinceNow: years * 365 * 86_400))
        try await ServerFixture.blocking {
            let machine = try server.enrol()
            #expect(
                try RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID).points(.init())
                    .isEmpty)
        }
    }

    @Test("what shows another certificate than the pinned one is sent nothing")
    func pinned() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let (other, _) = try SelfMadeCertificate.make(names: ["localhost", "127.0.0.1"])
            let before = server.core.metricsText()
            do {
                _ = try SocketTransport(server.address, trust: .pinned(other)).send(
                    "GET", "/api/v1/identity", headers: [("Authorization", "Bearer secret")], body: [], seconds: 10)
                Issue.record("it was believed")
            } catch let error as HoldfastError {
                #expect(error.code == .untrusted)
            }
            func identities(_ text: String) -> [Substring] {
                text.split(separator: "\n").filter { $0.contains("identity") && $0.contains("requests_total") }
            }
            #expect(identities(server.core.metricsText()) == identities(before))
            #expect(throws: HoldfastError.self) { try SocketTransport(server.address, trust: .pinned("nonsense")) }
            let own = try #require(server.core.shownCertificate.withLock { $0 })
            for trust in [CertificateTrust.pinned(own), .unchecked] {
                let transport = try SocketTransport(server.address, trust: trust)
                let answer = try transport.send("GET", "/api/v1/identity", headers: [], body: [], seconds: 10)
                #expect(answer.status == 200)
                #expect(transport.pacer.connections == 1, "its uploads would not yield to others")
            }
        }
    }

    @Test("another certificate changes nothing for machines that have enrolled")
    func certificateReplaced() async throws {
        let first = try await ServerFixture.start()
        let machine = try await ServerFixture.blocking { try first.enrol() }
        let remote = RemoteVault(ServerConnection(machine.credentials), vault: first.core.vaultID)
        _ = try await ServerFixture.blocking { try remote.points(.init()) }
        await first.stop()
        let second = try await ServerFixture.start(port: first.address.port, after: first)
        #expect(try await ServerFixture.blocking { try remote.points(.init()) }.isEmpty, "the same connection")
        let fresh = RemoteVault(ServerConnection(machine.credentials), vault: first.core.vaultID)
        #expect(try await ServerFixture.blocking { try fresh.points(.init()) }.isEmpty)
        await second.stop()
    }

    @Test("a server that ends under a writer costs it its lease, and what was acknowledged stays")
    func restart() async throws {
        let first = try await ServerFixture.start()
        let machine = try await ServerFixture.blocking { try first.enrol() }
        let remote = RemoteVault(ServerConnection(machine.credentials), vault: first.core.vaultID)
        let identity = TestMachine(id: machine.credentials.machine, secrets: machine.secrets)
        let (writer, receipt) = try await ServerFixture.blocking {
            let writer = try TestWriter(remote, identity)
            return (Kept(writer), try writer.backup(["before"]))
        }
        await first.stop()
        let second = try await ServerFixture.start(port: first.address.port, after: first)
        try await ServerFixture.blocking {
            let error = #expect(throws: HoldfastError.self) { try writer.value.backup(["after"]) }
            #expect(error?.code == .leaseLost && error?.isTemporary == true, "so the writer opens another")
            let again = try TestWriter(remote, identity, head: receipt.storedUpTo)
            #expect(!again.lease.isNewIncarnation)
            let next = try again.backup(["after"], salt: "2")
            #expect(next.storedUpTo.number == 2)
            #expect(try remote.points(.init()).map(\.id) == [receipt.point, next.point])
        }
        await second.stop()
    }

    private final class Kept: @unchecked Sendable {
        // Sound: used by one thread after the other.
        let value: TestWriter
        init(_ value: TestWriter) { self.value = value }
    }

    @Test("a lease that nobody uses ends; one that is used or renewed does not")
    func leaseExpiry() async throws {
        let server = try await ServerFixture.start(leaseSeconds: 2)
        try await ServerFixture.blocking {
            let machine = try server.enrol()
            let remote = RemoteVault(ServerConnection(machine.credentials), vault: server.core.vaultID)
            let lease = try remote.openLease(.writer(machine: machine.credentials.machine))
            // Opened past the client, which would renew it.
            let body = VaultMessages.encode(LeaseRequest.writer(machine: machine.credentials.machine))
            let path = "/api/v1/vaults/\(server.core.vaultID.hex)"
            let exchange = try RawClient(server).send("POST", path + "/leases", body, as: .signed(.init(machine)))
            let left = try VaultMessages.lease(exchange.body).lease
            SystemClock.pause(milliseconds: 3_500)
            #expect(try remote.missing([BlobQuestion(id: BlobID(.zero))], lease: lease.id) == [true])
            let error = #expect(throws: HoldfastError.self) {
                try remote.missing([BlobQuestion(id: BlobID(.zero))], lease: left.id)
            }
            #expect(error?.code == .leaseLost)
            remote.closeLease(lease.id)
        }
    }

    @Test("a server with another key is told nothing, at enrolment and later")
    func impostor() async throws {
        let real = try await ServerFixture.start()
        let (machine, code) = try await ServerFixture.blocking {
            (try real.enrol(), try real.core.makeEnrolmentCode(name: "x"))
        }
        await real.stop()
        let impostor = try await ServerFixture.start(port: real.address.port)
        try await ServerFixture.blocking {
            let connection = ServerConnection(machine.credentials, patience: Self.once)
            let error = #expect(throws: HoldfastError.self) {
                try RemoteVault(connection, vault: real.core.vaultID).points(.init())
            }
            #expect(error?.code == .untrusted)
            let enrolment = #expect(throws: HoldfastError.self) {
                try Enrolling.enrol(address: real.address, code: code, machine: .random(), name: "x")
            }
            #expect(enrolment?.code == .untrusted)
            let metrics = try RawClient(impostor).send("GET", "/metrics", as: .token(try impostor.person(.viewer)))
            let text = String(decoding: metrics.body, as: UTF8.self)
            #expect(text.contains(#"operation="GET /api/v1/identity""#))
            #expect(!text.contains("/points\"") && !text.contains("enroll"), "only who it is was asked")
        }
        await impostor.stop()
    }

    @Test("a proxy of the environment is used for all of it")
    func proxy() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let proxy = try TunnelProxy()
            let machine = try server.enrol()
            let environment = ["HTTPS_PROXY": "http://127.0.0.1:\(proxy.port)"]
            let connection = ServerConnection(
                address: server.address, server: machine.credentials.server, key: machine.credentials.serverKey,
                identity: .machine(machine.credentials.machine, machine.credentials.key),
                transport: { try SocketTransport($0, trust: $1, environment: environment) })
            let remote = RemoteVault(connection, vault: server.core.vaultID)
            let writer = try TestWriter(remote, TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
            try writer.backup(["through a proxy"])
            writer.close()
            let asked = "CONNECT \(server.address.host):\(server.address.port) HTTP/1.1"
            #expect(!proxy.requests.isEmpty && proxy.requests.allSatisfy { $0 == asked }, "\(proxy.requests)")
        }
    }
}
