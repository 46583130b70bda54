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
    let core: ServerCore
    let address: ServerAddress
    let log: LogLines
    private let task: Task<Void, any Error>
    let directory: String
    private let ownsDirectory: Bool

    /// What the server has logged, line by line.
    final class LogLines: Sendable {
        private let lines = Mutex<[String]>([])
        var all: [String] { lines.withLock { $0 } }
        func add(_ line: String) { lines.withLock { $0.append(line) } }
    }

    static func start(
        leaseSeconds: Int = 600, port: Int = 0, after earlier: ServerFixture? = nil,
        clock: TestClock? = nil, certificateDate: Date = Date(),
        configure: (inout HTTPServer.Options) -> Void = { _ in }
    ) async throws -> ServerFixture {
        let vault = try earlier?.vault ?? VaultFixture()
        let local = try vault.open { $0.access = .change }
        let directory = earlier?.directory ?? NSTemporaryDirectory() + "holdfast-server-\(UUID().uuidString)"
        let state = try ServerState(path: Array(directory.utf8))
        let (chain, key) = try SelfMadeCertificate.make(names: ["localhost", "127.0.0.1"], now: certificateDate)
        let core = ServerCore(
            identity: state.identity, vault: local, keys: vault.keys,
            catalog: try SQLiteServerCatalog(path: state.database), ownCertificate: chain, leaseSeconds: leaseSeconds,
            vaultPath: Array(vault.path.utf8), offer: try packages(in: directory + "/packages"),
            clock: { clock?.now ?? Timestamp(nanoseconds: SystemClock.wall) })
        try core.begin()
        let log = LogLines()
        let logger = ServerLog.logger(format: .json, level: .notice) { log.add($0) }
        let (stream, continuation) = AsyncStream<Int>.makeStream()
        var options = HTTPServer.Options(host: "127.0.0.1", port: port, chain: chain, key: key)
        configure(&options)
        let server = HTTPServer(core, options, logger: logger) { port in
            continuation.yield(port)
            continuation.finish()
        }
        let task = Task {
            defer { continuation.finish() }
            try await server.run()
        }
        var bound: Int?
        for await number in stream { bound = number }
        guard let bound else {
            try await task.value
            throw HoldfastError(.internalError, "the server ended before it listened")
        }
        return ServerFixture(
            vault: vault, core: core, address: ServerAddress(host: "127.0.0.1", port: bound), task: task,
            directory: directory, ownsDirectory: earlier == nil, log: log)
    }

    /// Names of what every server here offers.
    static let program = "holdfast_\(ProgramVersion.current)-1_amd64.deb"
    static let agent = "holdfast-agent_\(ProgramVersion.current)-1_all.deb"

    /// Files that are called as packages are; no machine could do anything with them.
    private static func packages(in directory: String) throws -> PackageOffer {
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        for (name, length) in [(program, 300_001), (agent, 777)]
        where !FileManager.default.fileExists(
            atPath: "\(directory)/\(name)")
        {
            let bytes = (0..<length).map { _ in UInt8.random(in: 0...255) }
            try Data(bytes).write(to: URL(fileURLWithPath: "\(directory)/\(name)"))
        }
        for name in ["holdfast_0.0.1-1_amd64.deb", "holdfast_\(ProgramVersion.current)-1_amd64.deb.part", "notes"] {
            try Data("other".utf8).write(to: URL(fileURLWithPath: "\(directory)/\(name)"))
        }
        return try PackageOffer(directory: Array(directory.utf8))
    }

    private init(
        vault: VaultFixture, core: ServerCore, address: ServerAddress, task: Task<Void, any Error>,
        directory: String, ownsDirectory: Bool, log: LogLines
    ) {
        self.vault = vault
        self.core = core
        self.address = address
        self.task = task
        self.directory = directory
        self.ownsDirectory = ownsDirectory
        self.log = log
    }

    deinit {
        task.cancel()
        if ownsDirectory { try? FileManager.default.removeItem(atPath: directory) }
    }

    /// Ends the server and waits until it has.
    func stop() async {
        task.cancel()
        _ = try? await task.value
    }

    /// A machine that has enrolled through the protocol.
    func enrol(
        _ name: String = "machine", id: MachineID = .random(), code: EnrolmentCode? = nil, key: SigningKey = .random()
    ) throws -> EnrolledMachine {
        // Whoever tests what the key sheet is for removes the note again.
        try core.catalog.set(ServerCore.sheetSetting, [1])
        let code = try code ?? core.makeEnrolmentCode(name: "test")
        return try Enrolling.enrol(address: address, code: code, machine: id, name: name, key: key)
    }

    /// Somebody with an access token.
    func person(_ role: AccessToken.Role, seconds: Int64? = nil) throws -> String {
        try core.makeAccessToken(name: "\(role)", role: role, seconds: seconds).text
    }

    /// A connection of somebody who may all.
    func administrator() throws -> ServerConnection {
        ServerConnection(
            address: address, server: core.identity.id, key: core.identity.key.verifyingKey,
            identity: .bearer(try person(.administrator)))
    }

    func administration() throws -> RemoteAdministration {
        RemoteAdministration(try administrator(), vault: core.vaultID)
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

/// Sends what no client of ours would.
struct RawClient {
    let server: ServerFixture
    let transport: SocketTransport

    init(_ server: ServerFixture) throws {
        self.server = server
        transport = try SocketTransport(server.address, trust: .unchecked)
    }

    /// How a request is signed; every field can be made wrong.
    struct Signature {
        var machine: MachineID
        var key: SigningKey
        var server: ServerID
        var method: String?
        var target: String?
        var body: Bytes32?
        var issued: Int64?
        var nonce: RequestNonce?

        init(_ machine: EnrolledMachine) {
            self.machine = machine.credentials.machine
            key = machine.credentials.key
            server = machine.credentials.server
        }
    }

    enum Sender {
        case nobody
        case token(String)
        case signed(Signature)
    }

    func send(_ method: String, _ target: String, _ body: [UInt8] = [], as sender: Sender) throws -> HTTPExchange {
        let nonce = RequestNonce.random()
        var headers = [(AnswerSignature.nonceHeader, nonce.hex)]
        switch sender {
        case .nobody: break
        case .token(let text): headers.append(("Authorization", "Bearer \(text)"))
        case .signed(let signature):
            let token = RequestToken(
                machine: signature.machine, server: signature.server,
                issued: signature.issued ?? SystemClock.wall / 1_000_000_000, nonce: signature.nonce ?? nonce,
                method: signature.method ?? method, target: signature.target ?? target,
                body: signature.body ?? body.withUnsafeBytes { BlobCrypto.sha256($0) })
            headers.append(("Authorization", "Bearer \(try token.signed(with: signature.key))"))
        }
        let exchange = try transport.send(method, target, headers: headers, body: body, seconds: 60)
        // What is made while it is sent has no hash when its head goes out; everything else is signed for this request.
        let path = target.prefix { $0 != "?" }
        if exchange.status == 200, ["/content", "/archive", "/audit/export"].contains(where: path.hasSuffix) {
            return exchange
        }
        let hash = exchange.body.withUnsafeBytes { BlobCrypto.sha256($0) }
        guard let signature = exchange.header(AnswerSignature.signatureHeader),
            let time = exchange.header(AnswerSignature.timeHeader).flatMap({ Int64($0) }),
            AnswerSignature.verify(
                signature, nonce: nonce, status: exchange.status, time: time, body: hash,
                with: server.core.identity.key.verifyingKey)
        else {
            throw HoldfastError(
                .untrusted, "\(method) \(target): the answer (\(exchange.status)) is not signed by the server")
        }
        return exchange
    }
}
