package import Model
package import Vault

/// What a signed request says of itself: a JSON Web Token (RFC 7519) signed with Ed25519 (RFC 8037) by the key of the machine
/// that sends it.
///
/// It holds for one request: method, target and body are in it. Whoever sees it can repeat that request, which does no
/// harm, for at most `lifetime`.
package struct RequestToken: Hashable, Sendable {
    /// Seconds from `issued` after which a server takes it no more.
    package static let lifetime: Int64 = 60
    /// How far the clocks of both sides may be apart, in seconds. The sender learns the server's time, so this covers only
    /// the way and rounding.
    package static let tolerance: Int64 = 30
    /// Longest token in bytes that is looked at.
    static let maximumLength = 4_096
    /// The only header there is. A fixed one leaves nothing to negotiate.
    static let header = #"{"alg":"EdDSA","typ":"JWT"}"#

    /// Who sends it.
    package var machine: MachineID
    /// The server that it is for.
    package var server: ServerID
    /// By the server's clock, in seconds since 1970.
    package var issued: Int64
    /// Different for every request; the answer is bound to it.
    package var nonce: RequestNonce
    package var method: String
    /// Path and query.
    package var target: String
    /// SHA-256 of the body.
    package var body: Bytes32

    package init(
        machine: MachineID, server: ServerID, issued: Int64, nonce: RequestNonce, method: String, target: String,
        body: Bytes32
    ) {
        self.machine = machine
        self.server = server
        self.issued = issued
        self.nonce = nonce
        self.method = method
        self.target = target
        self.body = body
    }

    /// The token as it stands after `Bearer `.
    package func signed(with key: SigningKey) throws -> String {
        let claims = JSONValue.object([
            "aud": .string(server.hex), "body": .string(Hex.encode(body.array)),
            "exp": .integer(issued + Self.lifetime),
            "iat": .integer(issued), "iss": .string(machine.hex), "jti": .string(nonce.hex), "method": .string(method),
            "target": .string(target),
        ])
        let text = Base64URL.encode(Array(Self.header.utf8)) + "." + Base64URL.encode(claims.encoded())
        return text + "." + Base64URL.encode(try key.sign(Array(text.utf8)))
    }

    /// A token that was read and whose signature is still to be checked: the key depends on who it says it is of.
    package struct Unverified: Sendable {
        package let token: RequestToken
        fileprivate let signed: [UInt8]
        fileprivate let signature: [UInt8]

        /// The token, if `key` signed it.
        package func verified(with key: VerifyingKey) -> RequestToken? {
            key.verifies(signature, of: signed) ? token : nil
        }
    }

    /// Reads a token; `nil` for anything that `signed` would not write.
    package static func parse(_ text: String) -> Unverified? {
        guard text.utf8.count <= maximumLength else { return nil }
        let parts = text.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 3, parts[0] == Base64URL.encode(Array(header.utf8)),
            let payload = Base64URL.decode(parts[1]), let signature = Base64URL.decode(parts[2]),
            let fields = try? JSONFields(parsing: payload, document: "token"), let token = try? RequestToken(fields)
        else { return nil }
        return Unverified(token: token, signed: Array((parts[0] + "." + parts[1]).utf8), signature: signature)
    }

    private init(_ fields: JSONFields) throws {
        machine = try fields.identifier("iss")
        server = try fields.identifier("aud")
        issued = try fields.integer("iat", in: 0...(1 << 40))
        nonce = try fields.identifier("jti")
        method = try fields.string("method")
        target = try fields.string("target")
        body = try fields.digest("body")
        guard try fields.integer("exp", in: 0...(1 << 41)) == issued + Self.lifetime else { throw fields.wrong("exp") }
    }

    /// Whether it is neither of long ago nor of a time to come, by the server's clock.
    package func isTimely(at now: Int64) -> Bool {
        now <= issued + Self.lifetime + Self.tolerance && now >= issued - Self.tolerance
    }
}
