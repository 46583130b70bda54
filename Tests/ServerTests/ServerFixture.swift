import Catalog
import Client
import Foundation
import Logging
import Model
import Platform
import Server
import Synchronization
import TestSupport
import Vault

/// A server on a free port of the loopback interface, with a vault of its own; gone with its last reference.
final class ServerFixture: Sendable {
    let vault: VaultFixture
    let local: LocalVault
    let core: ServerCore
    let address: ServerAddress
    private let task: Task<Void, any Error>
    private let directory: String

    static func start(leaseSeconds: Int = 600) async throws -> ServerFixture {
        let vault = try VaultFixture()
        let local = try vault.open { $0.access = .change }
        let directory = NSTemporaryDirectory() + "holdfast-server-\(UUID().uuidString)"
        let state = try ServerState(path: Array(directory.utf8))
        let (chain, key) = try SelfMadeCertificate.make(names: ["localhost", "127.0.0.1"])
        let core = ServerCore(
            identity: state.identity, vault: local, keys: vault.keys,
            catalog: try SQLiteServerCatalog(path: state.database), ownCertificate: chain, leaseSeconds: leaseSeconds)
        var logger = Logger(label: "server")
        logger.logLevel = .critical
        let (stream, continuation) = AsyncStream<Int>.makeStream()
        let server = HTTPServer(
            core, HTTPServer.Options(host: "127.0.0.1", port: 0, chain: chain, key: key), logger: logger
        ) { port in
            continuation.yield(port)
            continuation.finish()
        }
        let task = Task {
            defer { continuation.finish() }
            try await server.run()
        }
        var port: Int?
        for await number in stream { port = number }
        guard let port else {
            try await task.value
            throw HoldfastError(.internalError, "the server ended before it listened")
        }
        return ServerFixture(
            vault: vault, local: local, core: core, address: ServerAddress(host: "127.0.0.1", port: port), task: task,
            directory: directory)
    }

    private init(
        vault: VaultFixture, local: LocalVault, core: ServerCore, address: ServerAddress, task: Task<Void, any Error>,
        directory: String
    ) {
        self.vault = vault
        self.local = local
        self.core = core
        self.address = address
        self.task = task
        self.directory = directory
    }

    deinit {
        task.cancel()
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// A machine that has enrolled through the protocol.
    func enrol(_ name: String = "machine", code: EnrolmentCode? = nil) throws -> EnrolledMachine {
        let code = try code ?? core.makeEnrolmentCode(name: "test")
        return try Enrolling.enrol(address: address, code: code, machine: .random(), name: name)
    }

    /// Runs blocking work on a thread of its own: the server under test needs the cooperative pool.
    static func blocking<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
        try await withCheckedThrowingContinuation { continuation in
            do {
                let holder = Mutex<WorkerThread?>(nil)
                let thread = try WorkerThread(name: "test", stack: 8 << 20) {
                    continuation.resume(with: Result { try body() })
                    _ = holder
                }
                holder.withLock { $0 = thread }
            } catch {
                continuation.resume(throwing: error)
            }
        }
    }
}
