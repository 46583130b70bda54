import Client
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdCore
import HummingbirdHTTP2
package import Logging
import Model
import NIOCore
import NIOPosix
import NIOSSL
import Platform
import ServiceLifecycle
import Synchronization
package import UnixSignals
import Vault

/// The server's sockets: TLS, HTTP/1.1 and HTTP/2, and the way from a request to an operation and back.
///
/// Nothing is taken in on trust: who asks is known from the headers before a byte of the body is kept, bodies and answers count
/// against a budget, and every wait has an end.
package final class HTTPServer: Sendable {
    package struct Options: Sendable {
        package var host: String
        /// 0 for one that is free.
        package var port: Int
        /// Certificate chain and key, PEM.
        package var chain: String
        package var key: String
        /// Threads for the work of requests. Most of them wait for the disk, together with others.
        package var threads: Int
        /// Requests that may wait for one of the threads; more are answered with 429.
        package var queue = 512
        /// Bytes of bodies, in and out, that are in memory at once. A quarter is for answers only.
        package var bodyBudget = 512 << 20
        /// Seconds after which a connection on which nothing happens is closed.
        package var idleSeconds = 75
        /// Milliseconds that a new connection has until it says something inside TLS.
        package var firstBytes: Int64 = 15_000
        /// Connections of one address, and of all. Behind a proxy all machines may have one address.
        package var connectionsPerAddress = 4_096
        package var connections = 16_384
        /// Seconds for which a connection is kept on which a body is coming that nobody reads: its sender hears the answer.
        package var lingering: Int64 = 30
        /// Slowest body in bytes a second, beside half a minute that everybody has.
        package var slowest = 16 << 10
        /// Sign-ins and enrolments of one address that may fail before it has to wait.
        package var freeFailures = 20
        /// What is served beside the API.
        package var pages: [Operation] = []
        /// What a browser is shown where there is nothing, by the status; outside of the API.
        package var missingPage: (@Sendable (Int) -> ServerAnswer)?
        /// Asked every minute: a new certificate is used for the connections that come then.
        package var renewedCertificate: @Sendable () throws -> (chain: String, key: String)? = { nil }

        package init(host: String, port: Int, chain: String, key: String, threads: Int = 64) {
            self.host = host
            self.port = port
            self.chain = chain
            self.key = key
            self.threads = threads
        }
    }

    private let core: ServerCore
    private let options: Options
    private let logger: Logger
    private let pool: NIOThreadPool
    private let admission: Admission
    private let failures: FailureLimiter
    /// Bounds how often one address can write to the log.
    private let complaints = FailureLimiter(burst: 50, perMinute: 30)
    private let lastOverload = Mutex<Int64>(0)
    private let bound: @Sendable (Int) -> Void

    /// - Parameter bound: called with the port once connections are accepted.
    package init(_ core: ServerCore, _ options: Options, logger: Logger, bound: @escaping @Sendable (Int) -> Void) {
        self.core = core
        self.options = options
        self.logger = logger
        self.bound = bound
        failures = FailureLimiter(burst: options.freeFailures)
        pool = NIOThreadPool(numberOfThreads: options.threads)
        admission = Admission(requests: options.threads + options.queue, bytes: options.bodyBudget)
    }

    /// Serves until the task is cancelled or the service group shuts down.
    package func run(signals: [UnixSignal] = []) async throws {
        pool.start()
        defer { pool.shutdownGracefully { _ in } }
        defer { core.stop() }
        let router = Router(context: ServerContext.self)
        for operation in Operation.all + options.pages { add(operation, to: router) }
        let connections = ConnectionCounter(maximum: options.connectionsPerAddress)
        let admission = admission
        core.metrics.observe(
            connections: { connections.total }, requests: { admission.current.requests },
            bytes: { admission.current.bytes })
        let (options, bound) = (options, bound)
        let box = CertificateBox()
        var application = Application(
            responder: SignedFallback(inner: router.buildResponder(), server: self),
            server: HTTPServerBuilder { responder in
                let make: @Sendable (String, String) throws -> HTTP2UpgradeChannel = { chain, key in
                    try HTTPServer.channel(chain: chain, key: key, options, responder)
                }
                let current = CurrentChannel(try make(options.chain, options.key))
                box.renew = { chain, key in current.set(try make(chain, key)) }
                return GuardedChannel(current: current, counter: connections, patience: options.firstBytes)
            },
            configuration: .init(
                address: .hostname(options.host, port: options.port), serverName: "holdfast", backlog: 1_024,
                availableConnectionsDelegate: .maximum(options.connections, logger: logger)),
            onServerRunning: { channel in bound(channel.localAddress?.port ?? 0) }, logger: logger)
        application.logger = logger
        let upkeep = Task { await keepUp(box) }
        defer { upkeep.cancel() }
        try await application.runService(gracefulShutdownSignals: signals)
    }

    /// What makes the channels of a new certificate; set when the server is built, before anything runs.
    private final class CertificateBox: @unchecked Sendable {
        // Sound: written once while the server is built, read after it has begun to run.
        var renew: @Sendable (String, String) throws -> Void = { _, _ in }
    }

    private static func channel(
        chain: String, key: String, _ options: Options,
        _ responder: @escaping HTTPChannelHandler.Responder
    ) throws -> HTTP2UpgradeChannel {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMBytes(Array(chain.utf8)).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(bytes: Array(key.utf8), format: .pem)))
        configuration.minimumTLSVersion = .tlsv12
        return try HTTP2UpgradeChannel(
            tlsChannelConfiguration: .init(tlsConfiguration: configuration),
            configuration: .init(
                idleTimeout: .seconds(options.idleSeconds), gracefulCloseTimeout: .seconds(30),
                streamConfiguration: .init(
                    idleTimeout: .seconds(Int64(options.idleSeconds)),
                    httpDecoderConfiguration: .init(
                        maxHeaderFieldSize: 16 << 10, maxHeaderListSize: 32 << 10, maxHeaderFieldCount: 100))),
            responder: responder)
    }

    /// Beside the requests: ends leases, keeps the certificate fresh.
    private func keepUp(_ box: CertificateBox) async {
        var round = 0
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(2))
            if Task.isCancelled { return }
            round += 1
            let looksAtCertificate = round % 30 == 0
            _ = try? await pool.runIfActive { [core, options, logger] in
                core.upkeep()
                for notice in core.takeNotices() { logger.notice("\(notice)") }
                guard looksAtCertificate else { return }
                do {
                    guard let (chain, key) = try options.renewedCertificate() else { return }
                    try box.renew(chain, key)
                    core.certificateChanged(chain)
                    logger.notice("the certificate was renewed")
                } catch {
                    logger.error("the new certificate cannot be used", metadata: ["error": "\(error)"])
                }
            }
        }
    }

    // MARK: Requests

    private func add(_ operation: Operation, to router: Router<ServerContext>) {
        let names = OpenAPI.names(in: operation.path)
        // The same syntax for places in a path on both sides.
        let path = RouterPath(operation.path)
        guard let method = HTTPRequest.Method(rawValue: operation.method) else { return }
        router.on(path, method: method) { [self] request, context in
            var parameters: [String: String] = [:]
            for name in names { parameters[name] = context.parameters.get(name) }
            return try await serve(request, operation, parameters, context)
        }
    }

    /// A request with what was found out about it on the way.
    struct Incoming: Sendable {
        let operation: Operation
        let nonce: RequestNonce?
        let address: String
        let authorization: String?
        let target: String
        let path: String
        let parameters: [String: String]
        let query: [String: String]
        /// As the headers say; `nil` when they do not.
        let length: Int?
        /// The headers announce a body.
        let hasBody: Bool
        let begun = ContinuousClock.now
    }

    private static let fetchSiteField = HTTPField.Name("Sec-Fetch-Site")
    private static let refreshField = HTTPField.Name("Holdfast-Refresh")
    private static let nonceField = HTTPField.Name(AnswerSignature.nonceHeader)

    private static func hasBody(_ request: Request) -> Bool {
        if let length = request.headers[.contentLength] { return length != "0" }
        return request.headers[.transferEncoding] != nil
    }

    static func nonce(of request: Request) -> RequestNonce? {
        nonceField.flatMap { request.headers[$0] }.flatMap { RequestNonce(hex: $0) }
    }

    private func serve(
        _ request: Request, _ operation: Operation, _ parameters: [String: String], _ context: ServerContext
    ) async throws -> Response {
        var query: [String: String] = [:]
        for (name, value) in request.uri.queryParameters { query[String(name)] = String(value) }
        let incoming = Incoming(
            operation: operation, nonce: Self.nonce(of: request),
            address: ClientAddress.key(context.channel.remoteAddress),
            authorization: request.headers[.authorization], target: request.uri.string, path: request.uri.path,
            parameters: parameters, query: query,
            length: request.headers[.contentLength].flatMap { Int($0) }, hasBody: Self.hasBody(request))
        var answer: ServerAnswer
        var progress = Progress()
        do {
            answer = try await self.answer(request, incoming, context, &progress)
        } catch let error as HoldfastError {
            answer = refusal(error, incoming)
            if !progress.hasBegun { try await passOver(request, incoming, context, &progress) }
        }
        core.metrics.count(
            operation, status: answer.status, seconds: (ContinuousClock.now - incoming.begun) / .seconds(1))
        logger.debug(
            "request",
            metadata: [
                // Not as it was sent: links have their secret in it.
                "method": "\(operation.method)", "path": "\(operation.path)", "status": "\(answer.status)",
                "address": "\(incoming.address)", "bytes": "\(answer.body.count)",
                "milliseconds": "\(Int((ContinuousClock.now - incoming.begun) / .milliseconds(1)))",
            ])
        // What is still coming is read and forgotten, but not for ever. A connection on which nothing is coming stays: its next
        // request may be under way.
        if incoming.hasBody, !progress.isThrough { closeLater(context.channel, seconds: options.lingering) }
        return try response(answer, nonce: incoming.nonce, channel: context.channel, held: progress.held)
    }

    private func answer(
        _ request: Request, _ incoming: Incoming, _ context: ServerContext, _ progress: inout Progress
    ) async throws -> ServerAnswer {
        let operation = incoming.operation
        let limit = operation.request == .none ? 0 : operation.maximumBody
        if let length = incoming.length, length > limit { throw Self.tooLong(limit) }
        let sender = try await signIn(incoming)
        try operation.access.require(sender.principal)
        let body = try await collect(request, incoming, limit, sender.principal, context, &progress)
        // Not before it has come: who asks slowly keeps nobody else waiting.
        var isCharged = operation.isGuessable
        if isCharged, let seconds = failures.enter(incoming.address) { throw Self.tooMany(seconds) }
        defer { if isCharged { failures.giveBack(incoming.address) } }
        var asked = ServerRequest(
            method: operation.method, path: incoming.path, parameters: incoming.parameters, query: incoming.query,
            body: body, principal: sender.principal)
        asked.target = incoming.target
        asked.address = incoming.address
        asked.host = request.head.authority ?? ""
        asked.browser = request.headers[.userAgent] ?? ""
        asked.fetchSite = Self.fetchSiteField.flatMap { request.headers[$0] }
        asked.isRefresh = Self.refreshField.map { request.headers[$0] != nil } ?? false
        asked.cookies = request.headers[values: .cookie].joined(separator: "; ")
        let longest = max(JobOperations.longestWait, MachineOrders.longestWait)
        let end = incoming.begun + .seconds(min(Int(incoming.query["wait"] ?? "") ?? 0, longest))
        var rings = core.bell.rings
        var pause = 100
        var result = try await run(operation, asked, claimed: sender.body)
        while case .success(.notYet(let isRung)) = result {
            if isRung {
                await core.bell.wait(after: rings, for: end - ContinuousClock.now)
            } else {
                // What takes long is looked at ever more seldom: a second more or less does not matter to it.
                try await Task.sleep(for: .milliseconds(pause))
                pause = min(pause * 2, 1_000)
            }
            rings = core.bell.rings
            asked.isLastLook = ContinuousClock.now >= end || core.bell.isClosed
            result = try await run(operation, asked, claimed: nil)
        }
        switch result {
        case .success(.notYet):
            throw HoldfastError(.internalError, "an operation has nothing to tell at its last look")
        case .success(.answer(let answer)):
            if answer.isFailedGuess {
                failed(incoming, "refused", isGuess: !isCharged)
                isCharged = false
            }
            if answer.body.count > 64 << 10 {
                guard let room = admission.room(for: .answer, of: sender.principal),
                    room.grow(by: answer.body.count)
                else {
                    overloaded("bodies")
                    throw Self.tooMany(5)
                }
                progress.held.append(room)
            }
            return answer
        case .failure(let error):
            if operation.isGuessable, error.code == .denied {
                failed(incoming, "refused", isGuess: !isCharged)
                isCharged = false
            }
            throw error
        }
    }

    /// What came of running an operation.
    private enum Outcome: Sendable {
        case answer(ServerAnswer)
        /// It has nothing to tell yet.
        case notYet(isRung: Bool)
    }

    private func run(
        _ operation: Operation, _ request: ServerRequest, claimed: Bytes32?
    ) async throws -> Result<Outcome, HoldfastError> {
        try await work { [core] in
            if let claimed, claimed != request.body.withUnsafeBytes({ BlobCrypto.sha256($0) }) {
                throw ServerCore.notAccepted
            }
            do { return .answer(try operation.run(core, request)) } catch let error as NotYet {
                return .notYet(isRung: error.isRung)
            }
        }
    }

    /// Who asks, by the headers alone.
    private func signIn(_ incoming: Incoming) async throws -> ServerCore.Sender {
        guard let authorization = incoming.authorization else { return ServerCore.Sender(principal: .anonymous) }
        let (method, target, address) = (incoming.operation.method, incoming.target, incoming.address)
        let result = try await work { [core] in
            try core.signIn(authorization: authorization, method: method, target: target, address: address)
        }
        switch result {
        case .success(let sender):
            if let nonce = sender.nonce, nonce != incoming.nonce {
                failed(incoming, "another nonce", isGuess: false)
                throw ServerCore.notAccepted
            }
            return sender
        case .failure(let error):
            guard error.code == .denied else { throw error }
            // Who tries tokens waits; one that holds is let in whatever others of its address do.
            let isGuess = authorization.utf8.count { $0 == UInt8(ascii: ".") } != 2
            if isGuess, let seconds = failures.wait(incoming.address) { throw Self.tooMany(seconds) }
            failed(incoming, "not accepted", isGuess: isGuess)
            throw error
        }
    }

    private func failed(_ incoming: Incoming, _ reason: String, isGuess: Bool) {
        if isGuess { failures.fail(incoming.address) }
        core.metrics.countRefusedSignIn()
        if complaints.wait(incoming.address) != nil { return }
        complaints.fail(incoming.address)
        logger.notice(
            "a sign-in failed",
            metadata: [
                "address": "\(incoming.address)", "method": "\(incoming.operation.method)",
                "path": "\(incoming.operation.path)", "reason": "\(reason)",
            ])
    }

    /// Slowest body of an enrolled machine, in bytes a second: below the least limit that a policy may set.
    private static let slowestOfMachines = 900

    /// The body, within its time and the server's memory. Room is taken for what has come, and not for what is announced: who
    /// sends slowly keeps nobody else from sending.
    private func collect(
        _ request: Request, _ incoming: Incoming, _ limit: Int, _ principal: Principal, _ context: ServerContext,
        _ progress: inout Progress
    ) async throws -> [UInt8] {
        if incoming.length == 0 || (incoming.length == nil && request.method == .get) { return [] }
        let expected = incoming.length ?? limit
        guard let room = admission.room(for: .body, of: principal) else {
            overloaded("bodies")
            throw Self.tooMany(5)
        }
        progress.held.append(room)
        // A machine may have been told to go slowly.
        var isMachine = false
        if case .machine = principal { isMachine = true }
        let slowest = isMachine ? min(options.slowest, Self.slowestOfMachines) : options.slowest
        let deadline = closeLater(context.channel, seconds: 30 + Int64(expected / max(slowest, 1)))
        defer { deadline.cancel() }
        progress.hasBegun = true
        var body: [UInt8] = []
        for try await piece in request.body {
            let count = body.count + piece.readableBytes
            guard count <= limit else { throw Self.tooLong(limit) }
            guard room.take(piece.readableBytes, after: body.count) else {
                overloaded("bodies")
                throw Self.tooMany(5)
            }
            if body.capacity < count { body.reserveCapacity(max(count, min(expected, 2 * body.capacity))) }
            piece.withUnsafeReadableBytes { body.append(contentsOf: $0) }
        }
        progress.isThrough = true
        return body
    }

    /// What has been taken for a request.
    private struct Progress {
        var held: [Admission.Room] = []
        /// The reading of the body was begun.
        var hasBegun = false
        /// Nothing of the body is still to come.
        var isThrough = false
    }

    /// Bytes of a body that are read although nobody wants them.
    private static let passedOver = 256 << 10

    /// Lets a small body pass by before it is refused: who sends it hears the answer, and not that the connection is gone.
    private func passOver(
        _ request: Request, _ incoming: Incoming, _ context: ServerContext, _ progress: inout Progress
    ) async throws {
        guard let length = incoming.length, 1...Self.passedOver ~= length else { return }
        let deadline = closeLater(context.channel, seconds: 10)
        defer { deadline.cancel() }
        for try await _ in request.body {}
        progress.isThrough = true
    }

    /// Runs blocking work on the server's threads. What fails without being the asker's fault is told to the log, in full, and
    /// to the asker only that it failed.
    private func work<R: Sendable>(
        _ body: @escaping @Sendable () throws -> R
    ) async throws -> Result<R, HoldfastError> {
        guard let place = admission.enter() else {
            overloaded("requests")
            throw Self.tooMany(2)
        }
        return try await pool.runIfActive {
            defer { withExtendedLifetime(place) {} }
            do { return .success(try body()) } catch let error as HoldfastError { return .failure(error) } catch {
                return .failure(HoldfastError(.internalError, "\(error)", cause: error))
            }
        }
    }

    /// Says once a second that somebody was sent away.
    private func overloaded(_ what: String) {
        core.metrics.countOverload()
        let now = SystemClock.monotonic
        let isDue = lastOverload.withLock { last in
            defer { if now - last > 1_000_000_000 { last = now } }
            return now - last > 1_000_000_000
        }
        guard isDue else { return }
        let (requests, bytes) = admission.current
        logger.warning(
            "too much to do: requests are told to come back",
            metadata: ["reason": "\(what)", "requests": "\(requests)", "body_bytes": "\(bytes)"])
    }

    static func tooMany(_ seconds: Int) -> HoldfastError {
        HoldfastError(
            .overloaded, "the server has too much to do; try again later", context: ["retry_after": "\(seconds)"],
            isTemporary: true)
    }

    static func tooLong(_ limit: Int) -> HoldfastError {
        HoldfastError(.tooLarge, "the body is longer than \(limit) bytes")
    }

    /// Closes a connection unless it is told otherwise in time: whatever its other end does or does not do.
    @discardableResult
    private func closeLater(_ channel: any Channel, seconds: Int64) -> Scheduled<Void> {
        channel.eventLoop.scheduleTask(in: .seconds(seconds)) { channel.close(promise: nil) }
    }

    // MARK: Answers

    /// An answer to what did not work: a document for programs, a page where a page was asked for.
    private func refusal(_ error: HoldfastError, _ incoming: Incoming) -> ServerAnswer {
        let told = problem(error, incoming)
        guard incoming.operation.isPage, let page = options.missingPage else { return told }
        var answer = page(told.status)
        answer.headers += told.headers
        return answer
    }

    private func problem(_ error: HoldfastError, _ incoming: Incoming?) -> ServerAnswer {
        // What the system refuses the server is no refusal of who asks.
        let isOwnFault = error.code == .denied && error.cause is Errno
        let status = isOwnFault ? 500 : Problem.status(of: error)
        var shown = error
        if status == 500 {
            let incident = String(RequestNonce.random().hex.prefix(8))
            logger.error(
                "a request failed",
                metadata: [
                    "incident": "\(incident)", "method": "\(incoming?.operation.method ?? "")",
                    "path": "\(incoming?.operation.path ?? "")", "code": "\(error.code)", "error": "\(error.message)",
                    "cause": "\(error.cause.map { "\($0)" } ?? "")",
                ])
            shown = HoldfastError(
                isOwnFault ? .io : error.code,
                "The server failed at this. Its log says more under incident \(incident).",
                isTemporary: error.isTemporary)
        } else if status >= 429, error.code != .overloaded {
            logger.warning(
                "a request was put off",
                metadata: [
                    "path": "\(incoming?.operation.path ?? "")", "code": "\(error.code)", "error": "\(error.message)",
                ])
        }
        var answer = ServerAnswer(status: status, contentType: Problem.contentType)
        if let seconds = shown.context.removeValue(forKey: "retry_after") {
            answer.headers.append(("Retry-After", seconds))
        } else if shown.code == .busy {
            answer.headers.append(("Retry-After", "2"))
        }
        // Paths of the server's machine are nobody's affair.
        if let path = core.vaultPath.map({ String(decoding: $0, as: UTF8.self) }) {
            shown.message = shown.message.replacing(path, with: "(the vault)")
        }
        shown.context = shown.context.filter { Self.tellable.contains($0.key) }
        answer.body = Problem.encode(shown)
        return answer
    }

    private static let tellable: Set<String> = ["point", "machine", "pack", "field", "hint", "slot", "hold", "job"]

    /// A signed answer for what has no route.
    fileprivate func noRoute(_ request: Request, _ context: ServerContext, status: Int) throws -> Response {
        if Self.hasBody(request) { closeLater(context.channel, seconds: options.lingering) }
        let status = status == 405 ? 405 : 404
        var answer = problem(HoldfastError(.notFound, "there is nothing here"), nil)
        let isBrowser = request.headers[.accept]?.contains("text/html") ?? false
        if isBrowser, !request.uri.path.hasPrefix("/api/"), let page = options.missingPage { answer = page(status) }
        answer.status = status
        return try response(answer, nonce: Self.nonce(of: request), channel: context.channel, held: [])
    }

    private func response(
        _ answer: ServerAnswer, nonce: RequestNonce?, channel: any Channel, held: [Admission.Room]
    ) throws -> Response {
        var headers = HTTPFields()
        if !answer.body.isEmpty || answer.file != nil { headers[.contentType] = answer.contentType }
        for (name, value) in answer.headers {
            if let name = HTTPField.Name(name) { headers.append(HTTPField(name: name, value: value)) }
        }
        if headers[.cacheControl] == nil { headers[.cacheControl] = "no-store" }
        // What is made while it is sent has no hash yet.
        if let nonce, answer.stream == nil, let signature = HTTPField.Name(AnswerSignature.signatureHeader),
            let time = HTTPField.Name(AnswerSignature.timeHeader)
        {
            let now = core.clock().seconds
            headers[time] = String(now)
            headers[signature] = try AnswerSignature.sign(
                nonce: nonce, status: answer.status, time: now,
                body: answer.file?.body.hash ?? answer.body.withUnsafeBytes { BlobCrypto.sha256($0) },
                with: core.identity.key)
        }
        if let (file, place) = answer.file {
            return Response(
                status: .init(code: answer.status), headers: headers, body: body(of: file, place, channel: channel))
        }
        if let stream = answer.stream {
            headers[.contentType] = answer.contentType
            return Response(
                status: .init(code: answer.status), headers: headers,
                body: StreamedBody.make(stream, channel: channel, slowest: options.slowest))
        }
        if let events = answer.events {
            headers[.contentType] = "text/event-stream"
            return Response(
                status: .init(code: answer.status), headers: headers,
                body: EventBody.make(events, pool: pool, channel: channel) { [core] in core.bell.isClosed })
        }
        guard !answer.body.isEmpty else {
            return Response(status: .init(code: answer.status), headers: headers, body: .init())
        }
        let count = answer.body.count
        let buffer = ByteBuffer(bytes: answer.body)
        let slowest = max(options.slowest, 1)
        let body = ResponseBody(contentLength: count) { writer in
            // Who asks and does not listen is hung up on.
            let deadline = channel.eventLoop.scheduleTask(in: .seconds(30 + Int64(count / slowest))) {
                channel.close(promise: nil)
            }
            defer { deadline.cancel() }
            defer { withExtendedLifetime(held) {} }
            try await writer.write(buffer)
            try await writer.finish(nil)
        }
        return Response(status: .init(code: answer.status), headers: headers, body: body)
    }

    /// Slowest reader of a file in bytes a second, beside half a minute that everybody has.
    private static let slowestOfFiles = 64 << 10

    /// Sends a file piece by piece: one piece of it is in memory at once.
    private func body(of file: FileBody, _ place: Admission.Place, channel: any Channel) -> ResponseBody {
        let pool = pool
        return ResponseBody(contentLength: file.length) { writer in
            let deadline = channel.eventLoop.scheduleTask(in: .seconds(30 + Int64(file.length / Self.slowestOfFiles))) {
                channel.close(promise: nil)
            }
            defer { deadline.cancel() }
            defer { withExtendedLifetime(place) {} }
            var offset = 0
            while offset < file.length {
                let from = offset
                let piece = try await pool.runIfActive { try file.piece(at: from) }
                try await writer.write(ByteBuffer(bytes: piece))
                offset += piece.count
            }
            try await writer.finish(nil)
        }
    }

    /// Answers of the router itself are signed as well: else they would look like those of somebody on the way.
    private struct SignedFallback<Inner: HTTPResponder<ServerContext>>: HTTPResponder {
        let inner: Inner
        let server: HTTPServer

        func respond(to request: Request, context: ServerContext) async throws -> Response {
            let response = try await inner.respond(to: request, context: context)
            // What comes from an operation says that it is not to be stored.
            if response.headers[.cacheControl] != nil { return response }
            return try server.noRoute(request, context, status: response.status.code)
        }
    }
}

/// What is known of a request beside itself: the connection on which it came.
struct ServerContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
    }
}
