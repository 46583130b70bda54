import Crypto
import FoundationEssentials
package import Model

/// The private half of an Ed25519 key: a machine's, which signs its points, or the vault's.
package struct SigningKey: SecretValue {
    /// Bytes of the seed.
    package static let seedLength = 32
    /// Bytes of a signature.
    package static let signatureLength = 64

    private let key: Curve25519.Signing.PrivateKey

    /// A new key from the system's random source.
    package static func random() -> SigningKey { SigningKey(key: Curve25519.Signing.PrivateKey()) }

    private init(key: Curve25519.Signing.PrivateKey) { self.key = key }

    /// Takes a seed of 32 bytes; `nil` for any other count.
    package init?(seed: [UInt8]) {
        guard seed.count == SigningKey.seedLength,
            let key = try? Curve25519.Signing.PrivateKey(rawRepresentation: seed)
        else { return nil }
        self.key = key
    }

    /// The 32 bytes from which the key comes, to be kept in the state directory.
    package var seed: [UInt8] { Array(key.rawRepresentation) }

    /// The public half.
    package var verifyingKey: VerifyingKey {
        // The raw form of a public key has always 32 bytes.
        VerifyingKey(bytes: Bytes32(Array(key.publicKey.rawRepresentation))!)
    }

    /// Signs `message`; 64 bytes.
    package func sign(_ message: [UInt8]) throws -> [UInt8] {
        do {
            return Array(try key.signature(for: message))
        } catch {
            throw HoldfastError(.internalError, "The signature could not be made.", cause: error)
        }
    }
}

/// The public half of an Ed25519 key.
package struct VerifyingKey: Hashable, Sendable, CustomStringConvertible {
    /// The 32 bytes of the key as RFC 8032 writes them.
    package let bytes: Bytes32

    /// Takes the 32 bytes; whether they are a point of the curve shows when a signature is checked.
    package init(bytes: Bytes32) { self.bytes = bytes }

    /// Whether `signature` is this key's over `message`.
    package func verifies(_ signature: [UInt8], of message: [UInt8]) -> Bool {
        guard signature.count == SigningKey.signatureLength,
            let key = try? Curve25519.Signing.PublicKey(rawRepresentation: bytes.array)
        else { return false }
        return key.isValidSignature(signature, for: message)
    }

    /// 64 hexadecimal digits.
    package var description: String { Hex.encode(bytes.array) }

    /// The first 64 bits, in groups for people who compare two by eye.
    package var fingerprint: String {
        let digits = Array(Hex.encode(Array(bytes.array.prefix(8))))
        return stride(from: 0, to: digits.count, by: 4).map { String(digits[$0..<$0 + 4]) }.joined(separator: " ")
    }
}
