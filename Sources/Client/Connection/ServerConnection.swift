import Crypto
package import Model
import Platform
import Synchronization
package import Vault

/// Who sends a request.
package enum RequestIdentity: Sendable {
    /// Anybody: for what is open to all.
    case nobody
    /// A machine, by its key.
    case machine(MachineID, SigningKey)
    /// A person or program with a token that the server has given out.
    case bearer(String)
}

/// What a server says of itself. It is signed with the identity key that it names.
package struct ServerDescription: Hashable, Sendable {
    package var server: ServerID
    package var key: VerifyingKey
    package var version: String
    /// The certificate (PEM) that the server itself shows; `nil` when a certificate authority's is used.
    package var certificate: String?
    package var vault: VaultID
    /// The server's clock, seconds since 1970.
    package var time: Int64

    package init(
        server: ServerID, key: VerifyingKey, version: String, certificate: String?, vault: VaultID, time: Int64
    ) {
        self.server = server
        self.key = key
        self.version = version
        self.certificate = certificate
        self.vault = vault
        self.time = time
    }

    package func encoded() -> [UInt8] {
        var fields: [String: JSONValue] = [
            "server": .string(server.hex), "key": .string(key.description), "version": .string(version),
            "vault": .string(vault.hex), "time": .integer(time),
        ]
        if let certificate { fields["certificate"] = .string(certificate) }
        return JSONValue.object(fields).encoded()
    }

    package static func decode(_ body: [UInt8]) throws -> ServerDescription {
        let fields = try JSONFields(parsing: body, document: "what the server says of itself")
        return ServerDescription(
            server: try fields.identifier("server"), key: VerifyingKey(bytes: try fields.digest("key")),
            version: try fields.string("version"),
            certificate: fields.has("certificate") ? try fields.string("certificate") : nil,
            vault: try fields.identifier("vault"), time: try fields.integer("time", in: 0...(1 << 40)))
    }
}

/// A server that is known by its identity key. Signs requests, checks answers, learns the server's time and its certificate,
/// and tries again what failed on the way: every request can be repeated without harm.
package final class ServerConnection: Sendable {
    /// How often and how long is tried before an error is passed on.
    package struct Patience: Sendable {
        package var attempts: Int
        /// Longest wait between two attempts, in milliseconds.
        package var longestPause: Int

        package init(attempts: Int, longestPause: Int) {
            self.attempts = attempts
            self.longestPause = longestPause
        }

        /// For what a person waits for.
        package static let person = Patience(attempts: 4, longestPause: 4_000)
        /// For work that goes on for hours.
        package static let job = Patience(attempts: 8, longestPause: 30_000)
    }

    private struct State {
        var transport: (any HTTPTransport)?
        /// Seconds that the server's clock is ahead of this machine's.
        var clockOffset: Int64 = 0
        /// The key of a machine that has changed it meanwhile.
        var newKey: SigningKey?
    }

    package let address: ServerAddress
    package let server: ServerID
    package let key: VerifyingKey
    /// Holds uploads to the limits of a policy; without limits until somebody sets some.
    package let uploads = UploadLimiter()
    private let identity: RequestIdentity
    private let patience: Patience
    private let state = Mutex(State())
    private let makeTransport: @Sendable (ServerAddress, CertificateTrust) throws -> any HTTPTransport
    private let pause: @Sendable (Int) -> Void

    /// - Parameter pause: waits so many milliseconds.
    package init(
        address: ServerAddress, server: ServerID, key: VerifyingKey, identity: RequestIdentity,
        patience: Patience = .person,
        transport: @escaping @Sendable (ServerAddress, CertificateTrust) throws -> any HTTPTransport = {
            try SocketTransport($0, trust: $1)
        },
        pause: @escaping @Sendable (Int) -> Void = { SystemClock.pause(milliseconds: $0) }
    ) {
        self.address = address
        self.server = server
        self.key = key
        self.identity = identity
        self.patience = patience
        makeTransport = transport
        self.pause = pause
    }

    package convenience init(_ credentials: ServerCredentials, patience: Patience = .person) {
        self.init(
            address: credentials.address, server: credentials.server, key: credentials.serverKey,
            identity: .machine(credentials.machine, credentials.key), patience: patience)
    }

    // MARK: Identity

    /// Asks a server who it is. Whoever answers has shown that it holds the key that it names, which says nothing about whose
    /// key that is: compare it with a pin, or show it to a person.
    package static func discover(
        _ address: ServerAddress,
        transport: (ServerAddress, CertificateTrust) throws -> any HTTPTransport = {
            try SocketTransport($0, trust: $1)
        }
    ) throws -> ServerDescription {
        let nonce = RequestNonce.random()
        let exchange = try transport(address, .unchecked).send(
            "GET", "/api/v1/identity", headers: [(AnswerSignature.nonceHeader, nonce.hex)], body: [], seconds: 20)
        guard exchange.status == 200, let description = try? ServerDescription.decode(exchange.body),
            check(exchange, nonce: nonce, key: description.key)
        else {
            throw HoldfastError(
                .untrusted, "What answers at \(address.description) is not a Holdfast server.",
                context: ["server": address.description])
        }
        return description
    }

    private static func check(_ exchange: HTTPExchange, nonce: RequestNonce, key: VerifyingKey) -> Bool {
        guard let signature = exchange.header(AnswerSignature.signatureHeader),
            let time = exchange.header(AnswerSignature.timeHeader).flatMap({ Int64($0) })
        else { return false }
        let body = exchange.body.withUnsafeBytes { BlobCrypto.sha256($0) }
        return AnswerSignature.verify(
            signature, nonce: nonce, status: exchange.status, time: time, body: body, with: key)
    }

    /// The transport, with the certificate that the identity key vouches for.
    private func transport(renewing: Bool) throws -> any HTTPTransport {
        if !renewing, let known = state.withLock({ $0.transport }) { return known }
        let description = try ServerConnection.discover(address, transport: makeTransport)
        guard description.key == key, description.server == server else {
            throw HoldfastError(
                .untrusted,
                "\(address.description) is another server than the one that this machine knows: its identity key is "
                    + "\(description.key.description.prefix(16))..., expected \(key.description.prefix(16))....",
                context: ["server": address.description])
        }
        let trust = description.certificate.map { CertificateTrust.pinned($0) } ?? .system
        let made = try makeTransport(address, trust)
        state.withLock {
            $0.transport = made
            $0.clockOffset = description.time - SystemClock.wall / 1_000_000_000
        }
        return made
    }

    /// Signs a machine's requests with another key from now on.
    package func sign(with key: SigningKey) { state.withLock { $0.newKey = key } }

    // MARK: Requests

    /// Sends a request and answers with the body of a success.
    ///
    /// - Parameters:
    ///   - bodyHash: SHA-256 of `body`, where it is known already.
    ///   - seconds: how long one attempt may take.
    ///   - isUpload: goes no faster than `uploads` allows.
    /// - Throws: what the server answered as `HoldfastError` with its code; `unreachable`; `untrusted`.
    @discardableResult
    package func request(
        _ method: String, _ target: String, body: [UInt8] = [], bodyHash: Bytes32? = nil,
        contentType: String = "application/json", seconds: Int = 120, isUpload: Bool = false
    ) throws -> [UInt8] {
        let hash = bodyHash ?? body.withUnsafeBytes { BlobCrypto.sha256($0) }
        var renews = false
        var attempt = 0
        while true {
            attempt += 1
            var wait: Int?
            do {
                return try once(
                    method, target, body: body, hash: hash, contentType: contentType, seconds: seconds,
                    isUpload: isUpload, renews: renews, wait: &wait)
            } catch let error as HoldfastError {
                renews = error.code == .untrusted || error.code == .clockUnknown
                // One more try at once with the certificate and the time of now.
                if renews, attempt == 1 { continue }
                guard error.isTemporary, ServerConnection.repeats.contains(error.code), attempt < patience.attempts
                else {
                    throw error
                }
                pause(min(wait ?? ServerConnection.backOff(attempt), patience.longestPause))
            }
        }
    }

    private static let repeats: Set<HoldfastError.Code> = [
        .unreachable, .busy, .io, .untrusted, .clockUnknown, .overloaded,
    ]

    /// Doubling from a quarter of a second, half of it by chance: a thousand machines do not come back together.
    static func backOff(_ attempt: Int) -> Int {
        let longest = 250 << min(attempt - 1, 12)
        return longest / 2 + Int.random(in: 0...longest / 2)
    }

    private func once(
        _ method: String, _ target: String, body: [UInt8], hash: Bytes32, contentType: String, seconds: Int,
        isUpload: Bool, renews: Bool, wait: inout Int?
    ) throws -> [UInt8] {
        let transport = try transport(renewing: renews)
        let nonce = RequestNonce.random()
        var headers = [(AnswerSignature.nonceHeader, nonce.hex)]
        if !body.isEmpty { headers.append(("Content-Type", contentType)) }
        switch identity {
        case .nobody: break
        case .bearer(let token): headers.append(("Authorization", "Bearer \(token)"))
        case .machine(let machine, let first):
            let (offset, newKey) = state.withLock { ($0.clockOffset, $0.newKey) }
            let key = newKey ?? first
            let now = SystemClock.wall / 1_000_000_000 + offset
            let token = RequestToken(
                machine: machine, server: server, issued: now, nonce: nonce, method: method, target: target, body: hash)
            headers.append(("Authorization", "Bearer \(try token.signed(with: key))"))
        }
        let exchange =
            isUpload
            ? try transport.send(
                method, target, headers: headers, body: body, seconds: seconds, limiter: uploads)
            : try transport.send(method, target, headers: headers, body: body, seconds: seconds)
        guard ServerConnection.check(exchange, nonce: nonce, key: key) else {
            throw HoldfastError(
                .untrusted,
                "The answer of \(address.description) (status \(exchange.status)) is not signed by the server that this "
                    + "machine knows: something on the way answers in its place.",
                context: ["server": address.description], isTemporary: true)
        }
        if (200..<300).contains(exchange.status) { return exchange.body }
        if let seconds = exchange.header("Retry-After").flatMap({ Int($0) }) {
            wait = max(0, min(seconds, 3_600)) * 1_000 + Int.random(in: 0...500)
        }
        throw Problem.decode(exchange.body, status: exchange.status)
    }
}

extension HoldfastError.Code {
    /// The time in a request is not the server's.
    package static let clockUnknown = HoldfastError.Code("clock-unknown")
}
