import Crypto
import FoundationEssentials
import Model

/// The few cryptographic operations that keys and records are made of, over byte arrays.
///
/// Nothing here runs once per blob: blobs have a path of their own that copies nothing.
enum KeyCrypto {
    /// Bytes of an AES-GCM nonce.
    static let nonceLength = 12
    /// Bytes of an AES-GCM tag.
    static let tagLength = 16
    /// What sealing adds to a plaintext.
    static let sealOverhead = nonceLength + tagLength

    /// `count` bytes from the system's random source.
    static func random(_ count: Int) -> [UInt8] {
        var generator = SystemRandomNumberGenerator()
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 7)
        while bytes.count < count {
            withUnsafeBytes(of: generator.next() as UInt64) { bytes.append(contentsOf: $0) }
        }
        bytes.removeLast(bytes.count - count)
        return bytes
    }

    /// HKDF-SHA256 (RFC 5869) with an empty salt; `count` is at most 8,160.
    static func hkdf(_ key: SymmetricKey, info: [UInt8], count: Int) -> [UInt8] {
        HKDF<SHA256>.deriveKey(inputKeyMaterial: key, info: info, outputByteCount: count).withUnsafeBytes { Array($0) }
    }

    /// HMAC-SHA256.
    static func hmac(_ key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: message, using: SymmetricKey(data: key)))
    }

    /// SHA-256.
    static func sha256(_ parts: [UInt8]...) -> Bytes32 {
        var hash = SHA256()
        for part in parts { hash.update(data: part) }
        return hash.finalize().withUnsafeBytes { Bytes32($0) }
    }

    /// Compares without telling by its duration where the difference is.
    static func equal(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        guard a.count == b.count else { return false }
        var difference: UInt8 = 0
        for index in a.indices { difference |= a[index] ^ b[index] }
        return difference == 0
    }

    /// Nonce, AES-256-GCM ciphertext and tag. `nonce` is given by tests only; nobody else may repeat one.
    static func seal(
        _ plain: [UInt8],
        key: SymmetricKey,
        additional: [UInt8],
        nonce: [UInt8]? = nil
    ) throws -> [UInt8] {
        let nonceValue = try nonce.map { try AES.GCM.Nonce(data: $0) } ?? AES.GCM.Nonce()
        let box = try AES.GCM.seal(plain, using: key, nonce: nonceValue, authenticating: additional)
        return Array(nonceValue) + Array(box.ciphertext) + Array(box.tag)
    }

    /// Opens what `seal` made; `nil` when the key, the additional data or the bytes are not the right ones.
    static func open(_ sealed: [UInt8], key: SymmetricKey, additional: [UInt8]) -> [UInt8]? {
        guard sealed.count >= sealOverhead,
            let nonce = try? AES.GCM.Nonce(data: sealed[..<nonceLength]),
            let box = try? AES.GCM.SealedBox(
                nonce: nonce,
                ciphertext: sealed[nonceLength..<(sealed.count - tagLength)],
                tag: sealed[(sealed.count - tagLength)...]
            ),
            let plain = try? AES.GCM.open(box, using: key, authenticating: additional)
        else { return nil }
        return Array(plain)
    }
}

extension [UInt8] {
    /// The UTF-8 bytes of `text`, as labels of the format are written.
    init(label text: StaticString) {
        self = text.withUTF8Buffer { Array($0) }
    }
}

/// SHA-256 of bytes, as `sha256sum` prints it.
package enum SHA256Sum {
    package static func of(_ bytes: [UInt8]) -> String { Hex.encode(KeyCrypto.sha256(bytes).array) }
}
