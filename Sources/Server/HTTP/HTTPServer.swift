import Client
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdHTTP2
package import Logging
import Model
import NIOCore
import NIOPosix
import NIOSSL
import ServiceLifecycle
import Synchronization
package import UnixSignals
import Vault

/// The server's sockets: TLS, HTTP/1.1 and HTTP/2, and the way from a request to an operation and back.
package final class HTTPServer: Sendable {
    package struct Options: Sendable {
        package var host: String
        /// 0 for one that is free.
        package var port: Int
        /// Certificate chain and key, PEM.
        package var chain: String
        package var key: String
        /// Threads for the work of requests.
        package var threads: Int

        package init(host: String, port: Int, chain: String, key: String, threads: Int = 16) {
            self.host = host
            self.port = port
            self.chain = chain
            self.key = key
            self.threads = threads
        }
    }

    /// Seconds after which a connection on which nothing happens is closed.
    private static let idleSeconds: Int64 = 75
    private static let connections = 8_192

    private let core: ServerCore
    private let options: Options
    private let logger: Logger
    private let pool: NIOThreadPool
    private let bound: @Sendable (Int) -> Void

    /// - Parameter bound: called with the port once connections are accepted.
    package init(_ core: ServerCore, _ options: Options, logger: Logger, bound: @escaping @Sendable (Int) -> Void) {
        self.core = core
        self.options = options
        self.logger = logger
        self.bound = bound
        pool = NIOThreadPool(numberOfThreads: options.threads)
    }

    /// Serves until the task is cancelled or the service group shuts down.
    package func run(signals: [UnixSignal] = []) async throws {
        pool.start()
        defer { pool.shutdownGracefully { _ in } }
        let router = Router()
        for operation in Operation.all { add(operation, to: router) }
        var application = Application(
            router: router,
            server: try .http2Upgrade(
                tlsChannelConfiguration: .init(tlsConfiguration: try tls()),
                configuration: .init(
                    idleTimeout: .seconds(Self.idleSeconds),
                    streamConfiguration: .init(idleTimeout: .seconds(Self.idleSeconds)))),
            configuration: .init(address: .hostname(options.host, port: options.port), serverName: "holdfast"),
            onServerRunning: { [bound] channel in bound(channel.localAddress?.port ?? 0) }, logger: logger)
        application.logger = logger
        try await application.runService(gracefulShutdownSignals: signals)
        core.stop()
    }

    private func tls() throws -> TLSConfiguration {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMBytes(Array(options.chain.utf8)).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(bytes: Array(options.key.utf8), format: .pem)))
        configuration.minimumTLSVersion = .tlsv12
        return configuration
    }

    // MARK: Requests

    private func add(_ operation: Operation, to router: Router<BasicRequestContext>) {
        let names = OpenAPI.names(in: operation.path)
        // The same syntax for places in a path on both sides.
        let path = RouterPath(operation.path)
        guard let method = HTTPRequest.Method(rawValue: operation.method) else { return }
        router.on(path, method: method) { [self] request, context in
            var parameters: [String: String] = [:]
            for name in names { parameters[name] = context.parameters.get(name) }
            return try await answer(request, operation, parameters)
        }
    }

    private func answer(
        _ request: Request, _ operation: Operation, _ parameters: [String: String]
    ) async throws -> Response {
        let field = HTTPField.Name(AnswerSignature.nonceHeader)
        let nonce = field.flatMap { request.headers[$0] }.flatMap { RequestNonce(hex: $0) }
        let body: [UInt8]
        do {
            body = Array(try await request.body.collect(upTo: operation.maximumBody).readableBytesView)
        } catch is NIOTooManyBytesError {
            let error = HoldfastError(.usage, "the body is longer than \(operation.maximumBody) bytes")
            return try response(Self.problem(error, status: 413), nonce: nonce)
        }
        let method = operation.method
        let target = request.uri.string
        var query: [String: String] = [:]
        for (name, value) in request.uri.queryParameters { query[String(name)] = String(value) }
        let authorization = request.headers[.authorization]
        let path = request.uri.path
        let answer = try await pool.runIfActive { [core, logger, query] in
            do {
                let hash = body.withUnsafeBytes { BlobCrypto.sha256($0) }
                let (principal, signed) = try core.principal(
                    authorization: authorization, method: method, target: target, body: hash)
                if let signed, signed != nonce {
                    throw HoldfastError(.denied, "the server does not accept this signature or token")
                }
                if case .signedIn = operation.access, principal == .anonymous {
                    throw HoldfastError(.keyNeeded, "sign in first")
                }
                return try operation.run(
                    core,
                    ServerRequest(
                        method: method, path: path, parameters: parameters, query: query, body: body,
                        principal: principal))
            } catch let error as HoldfastError {
                let status = Problem.status(of: error)
                if status >= 500 {
                    logger.error("\(method) \(path) failed", metadata: ["error": "\(error.message)"])
                }
                return Self.problem(error, status: status)
            } catch {
                logger.error("\(method) \(path) failed", metadata: ["error": "\(error)"])
                return Self.problem(
                    HoldfastError(.internalError, "The server failed at this; its log says more."), status: 500)
            }
        }
        return try response(answer, nonce: nonce)
    }

    private static func problem(_ error: HoldfastError, status: Int) -> ServerAnswer {
        ServerAnswer(status: status, contentType: Problem.contentType, body: Problem.encode(error))
    }

    private func response(_ answer: ServerAnswer, nonce: RequestNonce?) throws -> Response {
        var headers = HTTPFields()
        if !answer.body.isEmpty { headers[.contentType] = answer.contentType }
        for (name, value) in answer.headers {
            if let name = HTTPField.Name(name) { headers[name] = value }
        }
        headers[.cacheControl] = "no-store"
        if let nonce, let signature = HTTPField.Name(AnswerSignature.signatureHeader),
            let time = HTTPField.Name(AnswerSignature.timeHeader)
        {
            let now = core.clock().seconds
            headers[time] = String(now)
            headers[signature] = try AnswerSignature.sign(
                nonce: nonce, status: answer.status, time: now,
                body: answer.body.withUnsafeBytes { BlobCrypto.sha256($0) }, with: core.identity.key)
        }
        return Response(
            status: .init(code: answer.status), headers: headers,
            body: answer.body.isEmpty ? .init() : .init(byteBuffer: ByteBuffer(bytes: answer.body)))
    }
}
