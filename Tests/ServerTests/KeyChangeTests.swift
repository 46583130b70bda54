import Client
import Foundation
import Model
import Platform
import Synchronization
import Testing
import Vault

@Suite("The key of a machine, when it is changed")
struct KeyChangeTests {
    /// What goes wrong on the way to the server.
    private final class Way: HTTPTransport {
        enum Fault { case request, answer }

        private let inner: SocketTransport
        private let faults: @Sendable (_ method: String) -> Fault?

        init(_ inner: SocketTransport, _ faults: @escaping @Sendable (_ method: String) -> Fault?) {
            self.inner = inner
            self.faults = faults
        }

        func send(
            _ method: String, _ target: String, headers: [(String, String)], body: [UInt8], seconds: Int
        ) throws -> HTTPExchange {
            let lost = HoldfastError(.unreachable, "the line is cut", isTemporary: true)
            let fault = target.hasPrefix("/api/v1/machines/") ? faults(method) : nil
            if fault == .request { throw lost }
            let answer = try inner.send(method, target, headers: headers, body: body, seconds: seconds)
            if fault == .answer { throw lost }
            return answer
        }
    }

    /// A machine with the key that it keeps, and the ways in which keeping one goes wrong.
    private final class Machine: Sendable {
        enum Disk { case good, full, fullAfterwards }

        struct State {
            var kept: SigningKey
            var way: [String: Way.Fault] = [:]
            var disk = Disk.good
            /// Before it breaks.
            var saves = 0
        }

        let server: ServerFixture
        let machine: EnrolledMachine
        let state: Mutex<State>

        init(_ server: ServerFixture) throws {
            self.server = server
            machine = try server.enrol()
            state = Mutex(State(kept: machine.credentials.key))
        }

        var kept: SigningKey { state.withLock { $0.kept } }

        /// As it is after a start: what is kept is all that is known.
        func connection() -> ServerConnection {
            var credentials = machine.credentials
            credentials.key = kept
            let faults: @Sendable (String) -> Way.Fault? = { [self] method in state.withLock { $0.way[method] } }
            return ServerConnection(
                address: credentials.address, server: credentials.server, key: credentials.serverKey,
                identity: .machine(credentials.machine, credentials.key),
                patience: .init(attempts: 1, longestPause: 0),
                transport: { Way(try SocketTransport($0, trust: $1), faults) })
        }

        func change(_ connections: [ServerConnection]? = nil) -> KeyChange {
            KeyChange(machine: machine.credentials.machine, connections: connections ?? [connection()]) { [self] in
                kept
            } save: { [self] key in
                try state.withLock { state in
                    state.saves -= 1
                    if state.disk == .good || state.saves >= 0 { return state.kept = key }
                    if state.disk == .fullAfterwards { state.kept = key }
                    throw HoldfastError(.noSpace, "the disk is full")
                }
            }
        }

        func isAccepted(_ key: SigningKey) throws -> Bool {
            var signature = RawClient.Signature(machine)
            signature.key = key
            let target = "/api/v1/machines/\(machine.credentials.machine.hex)/policy"
            return try RawClient(server).send("GET", target, as: .signed(signature)).status == 200
        }
    }

    @Test("the one before is refused when it is changed, and all connections go on")
    func good() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try Machine(server)
            let first = machine.kept
            let connections = [machine.connection(), machine.connection()]
            #expect(try machine.change(connections).run())
            #expect(try !machine.isAccepted(first) && machine.isAccepted(machine.kept))
            for connection in connections {
                try connection.request("GET", "/api/v1/machines/\(machine.machine.credentials.machine.hex)/policy")
            }
        }
    }

    @Test("by several at once")
    func atOnce() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try Machine(server)
            for _ in 0..<3 {
                let change = machine.change()
                let failures = Mutex<[String]>([])
                let threads = try (0..<6).map { _ in
                    try WorkerThread(name: "change") {
                        do {
                            let isRefused = try change.run()
                            if !isRefused { failures.withLock { $0.append("not heard of") } }
                        } catch { failures.withLock { $0.append("\(error)") } }
                    }
                }
                for thread in threads { thread.join() }
                #expect(failures.withLock { $0 } == [])
                #expect(try machine.isAccepted(machine.kept))
            }
        }
    }

    enum Step: CaseIterable { case request, answer, save, afterSave, lastRequest, lastAnswer }

    @Test(
        "wherever it is interrupted the server takes the key that is kept, and another change goes well",
        arguments: Step.allCases)
    func interrupted(_ step: Step) async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try Machine(server)
            // The same agent goes on, and another one that was started after it.
            for restarts in [false, true] {
                let first = machine.kept
                var change = machine.change()
                machine.state.withLock { state in
                    switch step {
                    case .request: state.way = ["PUT": .request]
                    case .answer: state.way = ["PUT": .answer]
                    case .save: (state.disk, state.saves) = (.full, 1)
                    case .afterSave: (state.disk, state.saves) = (.fullAfterwards, 1)
                    case .lastRequest: state.way = ["GET": .request]
                    case .lastAnswer: state.way = ["GET": .answer]
                    }
                }
                if step == .lastRequest || step == .lastAnswer {
                    #expect(try !change.run(), "it says that the old one may still hold")
                } else {
                    #expect(throws: HoldfastError.self) { try change.run() }
                }
                if step != .lastAnswer { #expect(try machine.isAccepted(first), "nothing has used the new one") }
                machine.state.withLock { state in
                    state.way = [:]
                    // The next change is cut off after the server has heard of it, and before it is kept.
                    (state.disk, state.saves) = (.full, 1)
                }
                if restarts { change = machine.change() }
                #expect(throws: HoldfastError.self) { try change.run() }
                #expect(try machine.isAccepted(machine.kept))
                machine.state.withLock { $0.disk = .good }
                if restarts { change = machine.change() }
                #expect(try change.run())
                #expect(try machine.isAccepted(machine.kept) && !machine.isAccepted(first))
            }
        }
    }
}
