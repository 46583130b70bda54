import Crypto
package import Model
package import Vault

/// How a server signs what it answers: with its identity key, over the nonce of the request, the status and the body. So an
/// answer is known to be the server's whatever carried it, and an older one does not pass for it.
package enum AnswerSignature {
    /// Names of the headers on the wire.
    package static let nonceHeader = "Holdfast-Nonce"
    package static let signatureHeader = "Holdfast-Signature"
    /// The server's clock when it answered, seconds since 1970; signed as well.
    package static let timeHeader = "Holdfast-Time"

    private static func message(nonce: RequestNonce, status: Int, time: Int64, body: Bytes32) -> [UInt8] {
        var writer = ByteWriter(capacity: 96)
        writer.raw("holdfast/1/answer".utf8)
        writer.u8(0)
        writer.raw(nonce.array)
        writer.u16(UInt16(clamping: status))
        writer.i64(time)
        writer.digest(body)
        return writer.bytes
    }

    package static func sign(
        nonce: RequestNonce, status: Int, time: Int64, body: Bytes32, with key: SigningKey
    ) throws -> String {
        Base64URL.encode(try key.sign(message(nonce: nonce, status: status, time: time, body: body)))
    }

    package static func verify(
        _ signature: String, nonce: RequestNonce, status: Int, time: Int64, body: Bytes32, with key: VerifyingKey
    ) -> Bool {
        guard let bytes = Base64URL.decode(signature) else { return false }
        return key.verifies(bytes, of: message(nonce: nonce, status: status, time: time, body: body))
    }
}
