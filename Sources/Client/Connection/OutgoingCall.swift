import AsyncHTTPClient
import Crypto
import Model
import NIOCore
import NIOHTTP1
import NIOSSL

/// Where a server may send messages of its own accord: `https` anywhere, and `http` to this machine.
package struct OutgoingAddress: Hashable, Sendable {
    package let text: String
    package let host: String
    /// Nobody on the way reads it, and whoever answers shows who they are.
    package let isSecure: Bool

    /// Throws `usage` for anything else.
    package init(_ text: String) throws {
        func wrong(_ what: String) -> HoldfastError {
            HoldfastError(.usage, "\"\(TreePath.display(text.utf8))\" cannot be called: \(what).")
        }
        guard text.utf8.count <= 2_000, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw wrong("it has letters that no address has")
        }
        let lowered = text.lowercased()
        let isSecure = lowered.hasPrefix("https://")
        guard isSecure || lowered.hasPrefix("http://") else { throw wrong("it must begin with https://") }
        var rest = text.dropFirst(isSecure ? 8 : 7)
        rest = rest.prefix { !"/?#".contains($0) }
        guard !rest.contains("@") else { throw wrong("names and passwords do not belong into an address") }
        var name = String(rest)
        if name.hasPrefix("["), let end = name.firstIndex(of: "]") {
            name = String(name[name.index(after: name.startIndex)..<end])
        } else if let colon = name.lastIndex(of: ":") {
            guard let port = Int(name[name.index(after: colon)...]), (1...65_535).contains(port) else {
                throw wrong("the port is a number from 1 to 65535")
            }
            name = String(name[..<colon])
        }
        guard !name.isEmpty else { throw wrong("it names no host") }
        guard isSecure || ["localhost", "127.0.0.1", "::1"].contains(name.lowercased()) else {
            throw wrong("without encryption only this machine itself is called; use https://")
        }
        self.text = text
        self.isSecure = isSecure
        host = name
    }
}

/// Calls that a server makes of its own accord. No redirection is followed, and of the answer only its status counts.
package final class OutgoingCaller: Sendable {
    private let client: HTTPClient
    private static let maximumAnswer = 64 << 10

    package init(environment: [String: String] = ProxySetting.environment) {
        self.environment = environment
        var configuration = HTTPClient.Configuration(
            redirectConfiguration: .disallow, timeout: .init(connect: .seconds(10), read: .seconds(20)),
            decompression: .disabled)
        configuration.connectionPool.retryConnectionEstablishment = false
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        proxied = Proxied(environment)
    }

    private let environment: [String: String]
    private let proxied: Proxied

    /// One client for each proxy that leads to a host; most have none.
    private final class Proxied: Sendable {
        let client: HTTPClient?
        init(_ environment: [String: String]) {
            guard let proxy = ProxySetting.forHost("", environment: environment) else {
                client = nil
                return
            }
            var configuration = HTTPClient.Configuration(
                redirectConfiguration: .disallow, timeout: .init(connect: .seconds(10), read: .seconds(20)),
                proxy: proxy, decompression: .disabled)
            configuration.connectionPool.retryConnectionEstablishment = false
            client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        }
        deinit { client?.shutdown { _ in } }
    }

    deinit { client.shutdown { _ in } }

    /// Sends `body` and waits for an answer of success. Blocks.
    /// - Throws: `io` with what went wrong.
    package func call(
        _ method: String, _ address: OutgoingAddress, headers: [(String, String)] = [], body: [UInt8] = [],
        seconds: Int = 20
    ) throws {
        let isHere = ["localhost", "127.0.0.1", "::1"].contains(address.host.lowercased())
        let way =
            !isHere && ProxySetting.place(for: address.host, environment: environment) != nil
            ? proxied.client ?? client : client
        let status: Int
        do {
            let request = try HTTPClient.Request(
                url: address.text, method: HTTPMethod(rawValue: method),
                headers: HTTPHeaders([("User-Agent", "holdfast")] + headers),
                body: body.isEmpty ? nil : .byteBuffer(ByteBuffer(bytes: body)))
            let collector = ResponseAccumulator(request: request, maxBodySize: Self.maximumAnswer)
            status = Int(
                try way.execute(
                    request: request, delegate: collector, deadline: .now() + .seconds(Int64(seconds))
                ).wait().status.code)
        } catch {
            throw HoldfastError(
                .io, "\(address.host) could not be called: \(SocketTransport.words("\(error)"))", cause: error,
                isTemporary: true)
        }
        guard (200..<300).contains(status) else {
            throw HoldfastError(.io, "\(address.host) answered with status \(status).", isTemporary: true)
        }
    }
}

/// What lets a receiver know that a message is from this server, and not an old one sent again.
package enum WebhookSignature {
    package static let header = "Holdfast-Webhook-Signature"

    /// `t=SECONDS,v1=HEX`, the HMAC-SHA256 with the shared secret over `SECONDS.BODY`.
    package static func make(secret: [UInt8], time: Int64, body: [UInt8]) -> String {
        var code = HMAC<SHA256>(key: SymmetricKey(data: secret))
        code.update(data: Array("\(time).".utf8))
        code.update(data: body)
        return "t=\(time),v1=\(Hex.encode(Array(code.finalize())))"
    }
}
