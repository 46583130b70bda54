import Crypto
import Model

/// A value that must not appear in output: printing, interpolating, reflecting or dumping it shows its type only.
package protocol SecretValue: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {}

extension SecretValue {
    package var description: String { "\(Self.self)(secret)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// The 32 random bytes from which everything secret about a vault comes. Kept wrapped in key slots, never written bare.
package struct MasterSecret: SecretValue {
    /// Bytes of the secret.
    package static let length = 32

    private let key: SymmetricKey

    /// A new secret from the system's random source.
    package static func random() -> MasterSecret { MasterSecret(key: SymmetricKey(size: .bits256)) }

    private init(key: SymmetricKey) { self.key = key }

    /// Takes exactly 32 bytes; `nil` for any other count.
    init?(_ bytes: [UInt8]) {
        guard bytes.count == MasterSecret.length else { return nil }
        key = SymmetricKey(data: bytes)
    }

    /// The bytes, to be wrapped.
    var bytes: [UInt8] { key.withUnsafeBytes { Array($0) } }

    /// HKDF-SHA256 with an empty salt: `count` bytes (at most 8,160) that belong to `info`.
    package func derive(info: [UInt8], count: Int) -> [UInt8] {
        KeyCrypto.hkdf(key, info: info, count: count)
    }

    /// The key of the MAC over `config.json`.
    var configKey: [UInt8] { derive(info: Array(label: "holdfast/1/config"), count: 32) }

    /// The key that wraps the private halves of the vault's key pairs.
    var pairKey: [UInt8] { derive(info: Array(label: "holdfast/1/pair"), count: 32) }

    /// The vault's own signing key, which signs machines, holds and redactions.
    package var vaultSigningKey: SigningKey {
        // Thirty-two bytes of any value are an Ed25519 seed: this cannot fail.
        SigningKey(seed: derive(info: Array(label: "holdfast/1/vault-signing"), count: SigningKey.seedLength))!
    }
}
