import AsyncHTTPClient
import Foundation
import Glibc
package import Model
import NIOCore
import NIOHTTP1
import NIOSSL
import Synchronization
import Vault

/// One exchange with a server, as bytes.
package struct HTTPExchange: Sendable {
    package var status: Int
    package var headers: [(name: String, value: String)]
    package var body: [UInt8]

    package func header(_ name: String) -> String? {
        headers.first { $0.name.lowercased() == name.lowercased() }?.value
    }
}

/// Carries requests to a server. Calls block; they are made on dedicated threads, never on the cooperative pool.
package protocol HTTPTransport: AnyObject, Sendable {
    /// - Throws: `io`, temporary, when there was no answer.
    func send(
        _ method: String, _ target: String, headers: [(String, String)], body: [UInt8], seconds: Int
    ) throws -> HTTPExchange

    /// As the other, with a body that is sent no faster than `limiter` allows.
    func send(
        _ method: String, _ target: String, headers: [(String, String)], body: [UInt8], seconds: Int,
        limiter: UploadLimiter
    ) throws -> HTTPExchange
}

extension HTTPTransport {
    package func send(
        _ method: String, _ target: String, headers: [(String, String)], body: [UInt8], seconds: Int,
        limiter: UploadLimiter
    ) throws -> HTTPExchange { try send(method, target, headers: headers, body: body, seconds: seconds) }
}

/// Which certificates a connection accepts.
package enum CertificateTrust: Hashable, Sendable {
    /// One that the system's certificate authorities vouch for, with the name of the host.
    case system
    /// Exactly this one (PEM), whatever its name and its dates: the server's identity key has vouched for it.
    case pinned(String)
    /// Any: for the one request that asks for the identity, whose answer is signed.
    case unchecked
}

/// HTTPS over sockets. Honours `HTTPS_PROXY` and `NO_PROXY`.
package final class SocketTransport: HTTPTransport {
    private let address: ServerAddress
    private let client: HTTPClient
    let pacer = LinkPacer()

    /// - Parameter environment: where a proxy is named.
    package init(
        _ address: ServerAddress, trust: CertificateTrust, environment: [String: String] = ProxySetting.environment
    ) throws {
        self.address = address
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv12
        let pin: NIOSSLCertificate?
        switch trust {
        case .system: pin = nil
        case .pinned(let pem):
            pin = try? NIOSSLCertificate.fromPEMBytes(Array(pem.utf8)).first
            guard pin != nil else { throw HoldfastError(.damaged, "The server's certificate cannot be read.") }
            // What is usually checked includes the dates, by this machine's clock: with a dead one no server would be
            // believed. Instead the certificate is compared, below.
            tls.certificateVerification = .none
        case .unchecked:
            pin = nil
            tls.certificateVerification = .none
        }
        var configuration = HTTPClient.Configuration(
            tlsConfiguration: tls, redirectConfiguration: .disallow,
            timeout: .init(connect: .seconds(10), read: .seconds(90), write: .seconds(90)),
            proxy: ProxySetting.forHost(address.host, environment: environment),
            decompression: .disabled)
        // The windows of HTTP/2 hold an upload to 64 KiB for each way there and back.
        configuration.httpVersion = .http1Only
        let pacer = pacer
        // Called when the handshake is done, which shows that the other side has its certificate's key; nothing of a request is
        // sent before it has succeeded.
        configuration.http1_1ConnectionDebugInitializer = { channel in
            guard let pin else { return pacer.add(channel) }
            return SocketTransport.require(pin, of: channel).flatMap { pacer.add(channel) }
        }
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 8
        configuration.connectionPool.retryConnectionEstablishment = false
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    /// What answers shows another certificate than the one that the identity key has vouched for.
    private struct OtherCertificate: Error {}

    private static func require(_ pin: NIOSSLCertificate, of channel: any Channel) -> EventLoopFuture<Void> {
        channel.nioSSL_peerCertificate().flatMapThrowing { shown in
            guard shown == pin else { throw OtherCertificate() }
        }.flatMapError { error in
            channel.close(promise: nil)
            return channel.eventLoop.makeFailedFuture(error)
        }
    }

    deinit { client.shutdown { _ in } }

    package func send(
        _ method: String, _ target: String, headers: [(String, String)], body: [UInt8], seconds: Int
    ) throws -> HTTPExchange {
        let body: HTTPClient.Body? = body.isEmpty ? nil : .byteBuffer(ByteBuffer(bytes: body))
        return try send(method, target, headers, body, seconds)
    }

    package func send(
        _ method: String, _ target: String, headers: [(String, String)], body: [UInt8], seconds: Int,
        limiter: UploadLimiter
    ) throws -> HTTPExchange {
        guard !body.isEmpty else { return try send(method, target, headers: headers, body: body, seconds: seconds) }
        // Piece by piece also without a limit: the answer is waited for when the last one has gone, however slow the link is.
        let paced = PacedBody(body, limiter)
        let patience = seconds + limiter.patience(for: body.count) + body.count / SocketTransport.slowest
        return try pacer.during { try send(method, target, headers, paced.body, patience) }
    }

    /// Bytes a second that a link carries at least.
    private static let slowest = 1_000

    private func send(
        _ method: String, _ target: String, _ headers: [(String, String)], _ body: HTTPClient.Body?, _ seconds: Int
    ) throws -> HTTPExchange {
        let url = "https://\(address.host):\(address.port)\(address.prefix)\(target)"
        do {
            let request = try HTTPClient.Request(
                url: url, method: HTTPMethod(rawValue: method), headers: HTTPHeaders(headers), body: body)
            let collector = ResponseAccumulator(request: request, maxBodySize: VaultMessages.maximumAnswer)
            let answer = try client.execute(
                request: request, delegate: collector, deadline: .now() + .seconds(Int64(seconds))
            ).wait()
            return HTTPExchange(
                status: Int(answer.status.code), headers: answer.headers.map { ($0.name, $0.value) },
                body: answer.body.map { Array($0.readableBytesView) } ?? [])
        } catch {
            throw failure(error)
        }
    }

    /// Says in words why there was no answer.
    private func failure(_ error: any Error) -> HoldfastError {
        let text = "\(error)"
        let name = address.description
        let message: String
        if let tls = error as? NIOSSLError, case .handshakeFailed(let reason) = tls {
            message =
                "\(name) does not show the certificate that was expected (\(reason)). Either its certificate was changed, or "
                + "something on the way opens encrypted connections."
            return HoldfastError(.untrusted, message, context: ["server": name], cause: error, isTemporary: true)
        }
        if error is OtherCertificate || text.contains("handshakeFailed") || text.contains("CERTIFICATE_VERIFY_FAILED") {
            message =
                "\(name) does not show the certificate that was expected. Either its certificate was changed, or something on "
                + "the way opens encrypted connections."
            return HoldfastError(.untrusted, message, context: ["server": name], cause: error, isTemporary: true)
        }
        if let client = error as? HTTPClientError {
            if [.connectTimeout, .readTimeout, .writeTimeout, .deadlineExceeded].contains(client) {
                message = "\(name) does not answer."
            } else {
                message = "The connection to \(name) failed: \(client.shortDescription)."
            }
        } else {
            message = "\(name) cannot be reached: \(SocketTransport.words(text))"
        }
        return HoldfastError(.unreachable, message, context: ["server": name], cause: error, isTemporary: true)
    }

    /// What went wrong on the way, in words where they are known.
    static func words(_ text: String) -> String {
        if text.contains("Connection refused") { return "nothing listens there (connection refused)." }
        if text.contains("ENETUNREACH") || text.contains("Network is unreachable") { return "there is no network." }
        if text.contains("NIOConnectionError") { return "its name cannot be found, or nothing answers there." }
        return text
    }
}

/// A body that goes out piece by piece, each when the limiter lets it.
private final class PacedBody: Sendable {
    private let bytes: ByteBuffer
    private let limiter: UploadLimiter

    init(_ bytes: [UInt8], _ limiter: UploadLimiter) {
        self.bytes = ByteBuffer(bytes: bytes)
        self.limiter = limiter
    }

    var body: HTTPClient.Body {
        .stream(contentLength: Int64(bytes.readableBytes)) { [self] writer in
            // An empty piece: its future knows the loop on which the others wait for their time.
            let begun = writer.write(.byteBuffer(ByteBuffer()))
            let promise = begun.eventLoop.makePromise(of: Void.self)
            begun.whenComplete { result in
                switch result {
                case .success: self.send(from: 0, writer, promise)
                case .failure(let error): promise.fail(error)
                }
            }
            return promise.futureResult
        }
    }

    private func send(from offset: Int, _ writer: HTTPClient.Body.StreamWriter, _ promise: EventLoopPromise<Void>) {
        let length = min(limiter.piece, bytes.readableBytes - offset)
        guard length > 0, let piece = bytes.getSlice(at: offset, length: length) else { return promise.succeed(()) }
        let write: @Sendable () -> Void = {
            writer.write(.byteBuffer(piece)).whenComplete { result in
                switch result {
                case .success: self.send(from: offset + length, writer, promise)
                case .failure(let error): promise.fail(error)
                }
            }
        }
        let wait = limiter.reserve(length)
        if wait <= 0 { return write() }
        promise.futureResult.eventLoop.scheduleTask(in: .nanoseconds(wait), write)
    }
}

extension HoldfastError.Code {
    /// There is no way to the server now.
    package static let unreachable = HoldfastError.Code("unreachable")
    /// What answers is not, or cannot show that it is, the server that this machine knows.
    package static let untrusted = HoldfastError.Code("untrusted")
}

/// The proxy that the environment names.
package enum ProxySetting {
    package static var environment: [String: String] {
        var found: [String: String] = [:]
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"] {
            if let value = getenv(name) { found[name] = String(cString: value) }
        }
        return found
    }

    /// Where a proxy is and how one signs in there.
    package struct Place: Hashable, Sendable {
        package var host: String
        package var port: Int
        /// Name and password.
        package var user: String?
        package var password: String?

        package init(host: String, port: Int, user: String? = nil, password: String? = nil) {
            self.host = host
            self.port = port
            self.user = user
            self.password = password
        }
    }

    /// The proxy for `host`; `nil` when it is reached directly.
    package static func place(for host: String, environment: [String: String]) -> Place? {
        func value(_ names: String...) -> String? {
            names.lazy.compactMap { environment[$0] }.first { !$0.isEmpty }
        }
        guard var text = value("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy") else { return nil }
        let name = host.lowercased()
        for entry in (value("NO_PROXY", "no_proxy") ?? "").lowercased().split(whereSeparator: { $0 == "," || $0 == " " }
        ) {
            let domain = entry.hasPrefix(".") ? String(entry.dropFirst()) : String(entry)
            if entry == "*" || name == domain || name.hasSuffix("." + domain) { return nil }
        }
        for scheme in ["http://", "https://"] where text.lowercased().hasPrefix(scheme) {
            text.removeFirst(scheme.count)
        }
        var place = Place(host: "", port: 3_128)
        if let at = text.lastIndex(of: "@") {
            let parts = text[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            place.user = parts.first.map { decoded($0) }
            place.password = parts.count > 1 ? decoded(parts[1]) : ""
            text = String(text[text.index(after: at)...])
        }
        if let slash = text.firstIndex(of: "/") { text = String(text[..<slash]) }
        if let colon = text.lastIndex(of: ":"), text.last != "]" {
            guard let port = Int(text[text.index(after: colon)...]), (1...65_535).contains(port) else { return nil }
            place.port = port
            text = String(text[..<colon])
        }
        if text.hasPrefix("["), text.hasSuffix("]") { text = String(text.dropFirst().dropLast()) }
        if text.isEmpty { return nil }
        place.host = text
        return place
    }

    private static func decoded(_ text: Substring) -> String { String(text).removingPercentEncoding ?? String(text) }

    static func forHost(_ host: String, environment: [String: String]) -> HTTPClient.Configuration.Proxy? {
        guard let place = place(for: host, environment: environment) else { return nil }
        guard let user = place.user else { return .server(host: place.host, port: place.port) }
        return .server(
            host: place.host, port: place.port,
            authorization: .basic(username: user, password: place.password ?? ""))
    }
}
