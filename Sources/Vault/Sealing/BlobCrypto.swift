import Crypto
package import Model

/// The names and keys that follow from a blob's content key.
package enum BlobCrypto {
    private static let idLabel = Array("holdfast/1/id".utf8)
    private static let recordLabel = Array("holdfast/1/record".utf8)
    private static let sealLabel = Array("holdfast/1/seal".utf8)

    /// The public name of the blob with the content key `key`.
    package static func id(of key: ContentKey) -> BlobID {
        withUnsafeTemporaryAllocation(byteCount: idLabel.count + 32, alignment: 8) { buffer in
            buffer.copyBytes(from: idLabel)
            key.bytes.store(to: UnsafeMutableRawBufferPointer(rebasing: buffer[idLabel.count...]))
            return BlobID(sha256(UnsafeRawBufferPointer(buffer)))
        }
    }

    /// The name of a record (types 16 to 19) with the body `body`.
    package static func recordID(type: BlobType, body: UnsafeRawBufferPointer) -> BlobID {
        var hash = SHA256()
        hash.update(data: recordLabel)
        withUnsafeBytes(of: type.rawValue) { hash.update(bufferPointer: $0) }
        hash.update(bufferPointer: body)
        return BlobID(Bytes32(digest: hash.finalize()))
    }

    /// The key under which the blob with the content key `key` is sealed.
    package static func sealingKey(of key: ContentKey) -> Bytes32 {
        var mac = HMAC<SHA256>(key: SymmetricKey(key.bytes))
        mac.update(data: sealLabel)
        return Bytes32(digest: mac.finalize())
    }

    /// SHA-256 of `bytes`.
    package static func sha256(_ bytes: UnsafeRawBufferPointer) -> Bytes32 {
        var hash = SHA256()
        hash.update(bufferPointer: bytes)
        return Bytes32(digest: hash.finalize())
    }

    /// The name of the pack with the bytes `bytes`.
    package static func packName(of bytes: UnsafeRawBufferPointer) -> PackName { PackName(sha256(bytes)) }
}

/// Derives content keys with one convergence secret. A value without state: share it between threads.
package struct BlobKeyDeriver: Sendable {
    /// The number of the convergence secret, from 1; stands in the blob's header.
    package let number: UInt16
    /// HMAC after its key block: the key is hashed once, not once per blob.
    private let keyed: HMAC<SHA256>

    /// - Parameters:
    ///   - convergence: the convergence secret, 32 bytes.
    ///   - number: its number in the domain.
    package init(convergence: [UInt8], number: UInt16) {
        keyed = HMAC<SHA256>(key: SymmetricKey(data: convergence))
        self.number = number
    }

    /// The content key of `plain` as a blob of type `type`.
    package func contentKey(_ type: BlobType, _ plain: UnsafeRawBufferPointer) -> ContentKey {
        var mac = keyed
        withUnsafeBytes(of: type.rawValue) { mac.update(data: $0) }
        mac.update(data: plain)
        return ContentKey(Bytes32(digest: mac.finalize()))
    }
}

extension SymmetricKey {
    init(_ bytes: Bytes32) {
        self = withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { buffer in
            bytes.store(to: buffer)
            return SymmetricKey(data: UnsafeRawBufferPointer(buffer))
        }
    }
}

extension Bytes32 {
    init(digest: some ContiguousDigest) {
        self = digest.withUnsafeBytes { Bytes32($0) }
    }
}

/// What SHA-256 digests and codes share here: 32 bytes in one place.
protocol ContiguousDigest {
    func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R
}
extension SHA256Digest: ContiguousDigest {}
extension HashedAuthenticationCode<SHA256>: ContiguousDigest {}
