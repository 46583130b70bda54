package import Model
package import Vault

/// A token as it is handed out: random, and recognisable for what it is. Servers keep its hash only.
package struct SecretToken: SecretValue {
    static let prefix = "hft_"
    static let length = 32

    /// The token as it is typed or stored.
    package let text: String

    package static func random() -> SecretToken {
        let a = RequestNonce.random(), b = RequestNonce.random()
        return SecretToken(text: prefix + Base64URL.encode(a.array + b.array))
    }

    private init(text: String) { self.text = text }

    /// Takes what somebody typed; `nil` when it cannot be a token.
    package init?(_ text: String) {
        guard SecretToken.bytes(text) != nil else { return nil }
        self.text = text
    }

    private static func bytes(_ text: String) -> [UInt8]? {
        guard text.hasPrefix(prefix), let bytes = Base64URL.decode(String(text.dropFirst(prefix.count))),
            bytes.count == length
        else { return nil }
        return bytes
    }

    /// What a server keeps of it.
    package var hash: Bytes32 { SecretToken.hash(text) ?? .zero }

    /// The hash of a token, or of the one in an access code; `nil` for anything else.
    package static func hash(_ text: String) -> Bytes32? {
        if text.hasPrefix(AccessCode.prefix), let dot = text.firstIndex(of: ".") {
            return hash(prefix + text[..<dot].dropFirst(AccessCode.prefix.count))
        }
        return bytes(text).map { bytes in bytes.withUnsafeBytes { BlobCrypto.sha256($0) } }
    }
}

/// A token and the identity key of the server that gave it out, as one word: `<prefix><token>.<key>`.
private enum PinnedToken {
    static func text(_ prefix: String, _ token: SecretToken, _ key: VerifyingKey) -> String {
        prefix + String(token.text.dropFirst(SecretToken.prefix.count)) + "." + Base64URL.encode(key.bytes.array)
    }

    /// `nil` for anything that `text` would not write.
    static func parse(_ prefix: String, _ text: String) -> (token: SecretToken, key: VerifyingKey)? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, parts[0].hasPrefix(prefix),
            let token = SecretToken(SecretToken.prefix + parts[0].dropFirst(prefix.count)),
            let key = Base64URL.decode(parts[1]).flatMap({ Bytes32($0) })
        else { return nil }
        return (token, VerifyingKey(bytes: key))
    }
}

/// What a person carries from the server to a machine that is to enrol: the token and the server's identity key.
package struct EnrolmentCode: SecretValue {
    static let prefix = "hfe_"

    package let token: SecretToken
    package let serverKey: VerifyingKey

    package init(token: SecretToken, serverKey: VerifyingKey) {
        self.token = token
        self.serverKey = serverKey
    }

    /// One word, to be copied whole.
    package var text: String { PinnedToken.text(EnrolmentCode.prefix, token, serverKey) }

    package init(_ text: String) throws {
        guard let (token, key) = PinnedToken.parse(EnrolmentCode.prefix, text) else {
            throw HoldfastError(
                .usage, "This is not an enrolment code of a Holdfast server.",
                context: ["hint": "`holdfast server token` on the server prints one: a word that begins with hfe_."])
        }
        self.token = token
        serverKey = key
    }
}

/// What a person keeps to sign in with: a token, and the identity key of the server that it is for. Nothing is sent to a
/// machine that does not hold that key.
package struct AccessCode: SecretValue {
    static let prefix = "hfa_"

    package let token: SecretToken
    package let serverKey: VerifyingKey

    package init(token: SecretToken, serverKey: VerifyingKey) {
        self.token = token
        self.serverKey = serverKey
    }

    /// One word, to be copied whole.
    package var text: String { PinnedToken.text(AccessCode.prefix, token, serverKey) }

    /// Takes the first line of a file.
    package init(file: [UInt8]) throws {
        let line = file.split(separator: UInt8(ascii: "\n"), maxSplits: 1).first.map(Array.init) ?? []
        let text = String(decoding: line, as: UTF8.self).filter { !$0.isWhitespace }
        guard let (token, key) = PinnedToken.parse(AccessCode.prefix, text) else {
            throw HoldfastError(
                .usage, "The token file does not hold an access code of a Holdfast server.",
                context: [
                    "hint":
                        "`holdfast server access --role reader --name NAME` on the server prints one: a word that begins "
                        + "with hfa_. Put it into a file that only you can read."
                ])
        }
        self.token = token
        serverKey = key
    }
}
