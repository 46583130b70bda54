import Crypto
import CryptoExtras
import Foundation
import Model
import Vault

/// Passwords as they are kept: `scrypt$N$r$p$SALT$HASH` (RFC 7914), so that the work can grow and old ones still count.
enum PasswordHash {
    /// 32 MiB and about a tenth of a second: several people can sign in at once, and nobody tries many.
    private static let rounds = 1 << 15
    private static let blockSize = 8
    private static let parallelism = 3
    private static let length = 32
    /// Longest password in bytes: who sends more wants the server to be busy.
    static let maximumLength = 1_024
    static let minimumLength = 10

    /// - Throws: `usage` for one that is too short or too long, saying so.
    static func make(_ password: String) throws -> String {
        let text = normalized(password)
        guard text.count >= minimumLength else {
            throw HoldfastError(.usage, "A password has at least \(minimumLength) characters; a few words do well.")
        }
        guard text.utf8.count <= maximumLength else {
            throw HoldfastError(.usage, "A password has at most \(maximumLength) bytes.")
        }
        guard Set(text).count > 3 else {
            throw HoldfastError(.usage, "This password is one or a few characters over and over; take another.")
        }
        let salt = random(16)
        let hash = try derive(text, salt, rounds, blockSize, parallelism)
        return "scrypt$\(rounds)$\(blockSize)$\(parallelism)$\(Hex.encode(salt))$\(Hex.encode(hash))"
    }

    /// Whether `password` is the one that `kept` was made from. Without one (`nil`) it takes as long, and is false.
    static func matches(_ password: String, _ kept: String?) throws -> Bool {
        let text = normalized(password)
        guard text.utf8.count <= maximumLength else { return false }
        let parts = (kept ?? nobody).split(separator: "$").map(String.init)
        guard parts.count == 6, parts[0] == "scrypt", let n = Int(parts[1]), let r = Int(parts[2]),
            let p = Int(parts[3]),
            n <= 1 << 20, r <= 32, p <= 16, let salt = Hex.decode(parts[4]), let hash = Hex.decode(parts[5])
        else { throw HoldfastError(.damaged, "a password is kept in a form that this version does not know") }
        let found = try derive(text, salt, n, r, p)
        return isEqual(found, hash) && kept != nil
    }

    private static let nobody =
        "scrypt$\(rounds)$\(blockSize)$\(parallelism)$\(Hex.encode([UInt8](repeating: 7, count: 16)))$"
        + Hex.encode([UInt8](repeating: 0, count: length))

    /// The same however it was typed (NIST SP 800-63B, 5.1.1.2).
    private static func normalized(_ password: String) -> String { password.precomposedStringWithCompatibilityMapping }

    private static func derive(_ text: String, _ salt: [UInt8], _ n: Int, _ r: Int, _ p: Int) throws -> [UInt8] {
        let key = try KDF.Scrypt.deriveKey(
            from: Array(text.utf8), salt: salt, outputByteCount: length, rounds: n, blockSize: r, parallelism: p)
        return key.withUnsafeBytes { Array($0) }
    }

    static func random(_ count: Int) -> [UInt8] {
        SymmetricKey(size: .init(bitCount: count * 8)).withUnsafeBytes { Array($0) }
    }

    /// Takes as long whatever differs.
    static func isEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        guard a.count == b.count else { return false }
        return zip(a, b).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }
}
