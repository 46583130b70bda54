import CCrypto
package import Model

/// AES-256-GCM in place, over one context that is reused for every blob.
///
/// OpenSSL's interface works on the caller's memory; swift-crypto's returns new `Data` for each call, which costs as
/// much again as the encryption (`docs/decisions/0020-sealing-primitives.md`).
package final class SealingCipher {
    static let nonceLength = 12
    static let tagLength = 16

    private let cipher: OpaquePointer
    private let encryption: OpaquePointer
    private let decryption: OpaquePointer

    package init() {
        guard let cipher = EVP_CIPHER_fetch(nil, "AES-256-GCM", nil),
            let encryption = EVP_CIPHER_CTX_new(), let decryption = EVP_CIPHER_CTX_new()
        else {
            // Only without memory, or with an OpenSSL that was configured to have no AES.
            preconditionFailure("OpenSSL has no AES-256-GCM")
        }
        self.cipher = cipher
        self.encryption = encryption
        self.decryption = decryption
    }

    deinit {
        EVP_CIPHER_CTX_free(encryption)
        EVP_CIPHER_CTX_free(decryption)
        EVP_CIPHER_free(cipher)
    }

    /// Encrypts `text` in place and writes the tag to the 16 bytes at `tag`.
    package func seal(
        key: Bytes32,
        nonce: UnsafeRawPointer,
        additional: UnsafeRawBufferPointer,
        text: UnsafeMutableRawBufferPointer,
        tag: UnsafeMutableRawPointer
    ) throws {
        let bytes = text.baseAddress?.assumingMemoryBound(to: UInt8.self)
        var written: Int32 = 0
        let good =
            initialise(encryption, key: key, nonce: nonce, encrypting: true)
            && EVP_EncryptUpdate(
                encryption, nil, &written, additional.baseAddress?.assumingMemoryBound(to: UInt8.self),
                Int32(additional.count)) == 1
            && EVP_EncryptUpdate(encryption, bytes, &written, bytes, Int32(text.count)) == 1
            && Int(written) == text.count
            && EVP_EncryptFinal_ex(encryption, tag.assumingMemoryBound(to: UInt8.self), &written) == 1
            && EVP_CIPHER_CTX_ctrl(encryption, EVP_CTRL_AEAD_GET_TAG, 16, tag) == 1
        guard good else { throw HoldfastError(.internalError, "encryption failed") }
    }

    /// Decrypts `sealed` to `text`, which has the same length and may be the same memory. Answers `false` when the tag
    /// does not fit; `text` must not be looked at then.
    package func open(
        key: Bytes32,
        nonce: UnsafeRawPointer,
        additional: UnsafeRawBufferPointer,
        sealed: UnsafeRawBufferPointer,
        tag: UnsafeRawPointer,
        into text: UnsafeMutableRawPointer
    ) -> Bool {
        var written: Int32 = 0
        var rest = (UInt64(0), UInt64(0))
        return initialise(decryption, key: key, nonce: nonce, encrypting: false)
            && EVP_DecryptUpdate(
                decryption, nil, &written, additional.baseAddress?.assumingMemoryBound(to: UInt8.self),
                Int32(additional.count)) == 1
            && EVP_DecryptUpdate(
                decryption, text.assumingMemoryBound(to: UInt8.self), &written,
                sealed.baseAddress?.assumingMemoryBound(to: UInt8.self), Int32(sealed.count)) == 1
            && Int(written) == sealed.count
            && EVP_CIPHER_CTX_ctrl(decryption, EVP_CTRL_AEAD_SET_TAG, 16, UnsafeMutableRawPointer(mutating: tag)) == 1
            && withUnsafeMutableBytes(of: &rest) {
                EVP_DecryptFinal_ex(decryption, $0.baseAddress?.assumingMemoryBound(to: UInt8.self), &written) == 1
            }
    }

    private func initialise(_ context: OpaquePointer, key: Bytes32, nonce: UnsafeRawPointer, encrypting: Bool) -> Bool {
        var words = (key.w0.bigEndian, key.w1.bigEndian, key.w2.bigEndian, key.w3.bigEndian)
        return withUnsafeMutableBytes(of: &words) { bytes in
            let key = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
            let nonce = nonce.assumingMemoryBound(to: UInt8.self)
            return encrypting
                ? EVP_EncryptInit_ex2(context, cipher, key, nonce, nil) == 1
                : EVP_DecryptInit_ex2(context, cipher, key, nonce, nil) == 1
        }
    }
}
