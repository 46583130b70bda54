import Catalog
import Client
import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Server

@Suite("Load", .serialized)
struct LoadTests {
    /// The head of a request of a machine, signed, whose body is still to come.
    private static func head(
        _ machine: EnrolledMachine, _ method: String, _ target: String, length: Int
    ) throws -> String {
        let nonce = RequestNonce.random()
        let token = RequestToken(
            machine: machine.credentials.machine, server: machine.credentials.server,
            issued: SystemClock.wall / 1_000_000_000, nonce: nonce, method: method, target: target,
            body: Bytes32.zero)
        return "\(method) \(target) HTTP/1.1\r\nHost: x\r\nContent-Length: \(length)\r\n"
            + "\(AnswerSignature.nonceHeader): \(nonce.hex)\r\n"
            + "Authorization: Bearer \(try token.signed(with: machine.credentials.key))\r\n\r\n"
    }

    private static func packTarget(_ server: ServerFixture) -> String {
        "/api/v1/vaults/\(server.core.vaultID.hex)/packs/\(String(repeating: "0", count: 64))?lease=\(LeaseID.random().hex)"
    }

    @Test("who announces much and sends little keeps nobody from backing up and restoring")
    func slowSenders() async throws {
        let server = try await ServerFixture.start { $0.bodyBudget = 8 << 20 }
        try await ServerFixture.blocking {
            let slow = try server.enrol("slow"), machine = try server.enrol("machine")
            let connections = try (0..<8).map { _ in
                let connection = try RawConnection(server.address, encrypts: true)
                let head = try Self.head(slow, "PUT", Self.packTarget(server), length: FormatLimits.packLength)
                try connection.write(head + "HOLD")
                return connection
            }
            let remote = RemoteVault(
                ServerConnection(machine.credentials, patience: .init(attempts: 1, longestPause: 0)),
                vault: server.core.vaultID)
            let writer = try TestWriter(remote, TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
            var generator = SeededGenerator(seed: 1)
            let large = (0..<4).map { _ in writer.make.data(generator.bytes(200_000)) }
            try writer.store(large)
            var read = 0
            try remote.read(large.map(\.id)) { _, framed in read += framed.count }
            #expect(read > 800_000)
            withExtendedLifetime(connections) {}
        }
    }

    @Test("bodies leave a quarter of the memory to answers, and nobody has more than an eighth for what it sends")
    func shares() throws {
        let admission = Admission(requests: 1, bytes: 800)
        let machines = (0..<8).map { _ in Principal.machine(.random()) }
        var rooms: [Admission.Room] = []
        for machine in machines {
            let room = try #require(admission.room(for: .body, of: machine))
            let isIn = room.grow(by: 100)
            #expect(isIn == (rooms.count < 6), "three quarters")
            #expect(admission.room(for: .body, of: machine)?.grow(by: 1) == false || !isIn, "an eighth")
            if isIn { rooms.append(room) }
        }
        let answer = try #require(admission.room(for: .answer, of: machines[0]))
        #expect(answer.grow(by: 200))
        #expect(admission.current.bytes == 800)
        #expect(admission.room(for: .answer, of: machines[1])?.grow(by: 1) == false, "all is taken")
        rooms.removeAll()
        #expect(admission.current.bytes == 200)
        let again = try #require(admission.room(for: .answer, of: machines[0]))
        #expect(!again.grow(by: 1), "a quarter for one")
        #expect(admission.room(for: .answer, of: machines[1])?.grow(by: 200) == true)
        // One body alone is let in, however long it is.
        let small = Admission(requests: 1, bytes: 10)
        let alone = try #require(small.room(for: .body, of: machines[0]))
        #expect(alone.grow(by: 8) && alone.grow(by: 80))
        #expect(small.room(for: .body, of: machines[1])?.grow(by: 1) == false)
    }

    @Test("of who has many bodies open every byte is counted, and there is an end to their number")
    func openBodies() throws {
        let admission = Admission(requests: 1, bytes: 64 << 20)
        let machine = Principal.machine(.random())
        var rooms: [Admission.Room] = []
        while let room = admission.room(for: .body, of: machine) {
            _ = room.take(1_000, after: 0)
            rooms.append(room)
        }
        #expect(rooms.count == Admission.most.signedIn)
        #expect(admission.current.bytes == (rooms.count - Admission.few) * 1_000)
        #expect(admission.room(for: .body, of: .machine(.random())) != nil, "others send on")
        let few = rooms[0]
        #expect(few.take(63 << 10, after: 1_000) && admission.current.bytes == (rooms.count - Admission.few) * 1_000)
        #expect(few.take(2_000, after: 1_000 + 63 << 10))
        rooms.removeAll()
        #expect(admission.room(for: .body, of: machine)?.free == Admission.uncounted)
    }

    @Test("what somebody may not send is refused by the headers, whatever is announced")
    func rightsBeforeBodies() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol()
            let viewer = try server.person(.viewer)
            // Less is read and forgotten, so that its sender hears the answer.
            for operation in Operation.all
            where operation.request != .none && operation.access != .open && operation.maximumBody > 256 << 10 {
                let target = AccessTests.target(operation, server, machine, .random())
                let connection = try RawConnection(server.address, encrypts: true)
                try connection.write(
                    "\(operation.method) \(target) HTTP/1.1\r\nHost: x\r\nContent-Length: \(operation.maximumBody)\r\n"
                        + "Authorization: Bearer \(viewer)\r\n\r\n")
                let (text, _) = connection.read(seconds: 20) { $0.contains("\r\n\r\n") }
                #expect(text.hasPrefix("HTTP/1.1 403 "), "\(operation.path): \(text.prefix(100))")
            }
        }
    }

    @Test("a refusal closes the connection only when something is coming that nobody reads")
    func refusedAndKept() async throws {
        let server = try await ServerFixture.start { $0.lingering = 1 }
        try await ServerFixture.blocking {
            let get = "GET /api/v1/machines HTTP/1.1\r\nHost: x\r\n\r\n"
            @Sendable func count(_ text: String) -> Int { text.components(separatedBy: "HTTP/1.1 401").count - 1 }
            let kept = try RawConnection(server.address, encrypts: true)
            for round in 1...3 {
                try kept.write(get)
                let (text, isClosed) = kept.read(seconds: 20) { count($0) == round }
                #expect(count(text) == round && !isClosed, "round \(round)")
                SystemClock.pause(milliseconds: 1_200)
            }
            let left = try RawConnection(server.address, encrypts: true)
            try left.write("PUT \(Self.packTarget(server)) HTTP/1.1\r\nHost: x\r\nContent-Length: 16000000\r\n\r\n")
            #expect(left.isClosed(within: 20))
        }
    }

}
