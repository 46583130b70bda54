import Crypto
import FoundationEssentials
package import Model

/// The key that seals records of points, with its wrap for the vault. Fresh per lease or hour.
package struct RecordKey: SecretValue {
    /// Bytes of the encapsulated X-Wing secret.
    static let encapsulatedLength = 1120
    /// Bytes of the sealed record key: 32 and a tag.
    static let sealedKeyLength = 48
    /// Bytes of a wrap: number of the key pair, encapsulated key, sealed record key.
    package static let wrapLength = 2 + encapsulatedLength + sealedKeyLength

    private static let suite = HPKE.Ciphersuite.XWingMLKEM768X25519_SHA256_AES_GCM_256

    /// The key in the form in which it stands in a point.
    package let wrap: [UInt8]
    let key: SymmetricKey

    init(key: SymmetricKey, wrap: [UInt8]) {
        self.key = key
        self.wrap = wrap
    }

    /// A key that was granted by who can open `wrap`; `nil` unless it has 32 bytes. One that is not the right one opens
    /// nothing.
    package init?(granted bytes: [UInt8], wrap: [UInt8]) {
        guard bytes.count == 32 else { return nil }
        self.init(key: SymmetricKey(data: bytes), wrap: wrap)
    }

    /// The 32 bytes, to be granted to who may read the points of this key.
    package var grantedBytes: [UInt8] { key.withUnsafeBytes { Array($0) } }

    /// A new key, wrapped with HPKE so that only the vault's private key opens it.
    package static func fresh(for publicKey: VaultPublicKey, vault: VaultID) throws -> RecordKey {
        try wrapping(SymmetricKey(size: .bits256), for: publicKey, vault: vault)
    }

    /// Wraps a key that is given; for tests.
    static func wrapping(_ key: SymmetricKey, for publicKey: VaultPublicKey, vault: VaultID) throws -> RecordKey {
        do {
            var sender = try HPKE.Sender(
                recipientKey: try XWingMLKEM768X25519.PublicKey(rawRepresentation: publicKey.bytes),
                ciphersuite: suite,
                info: Data(info(vault: vault))
            )
            let sealed = try sender.seal(key.withUnsafeBytes { Array($0) })
            var wrap = ByteWriter(capacity: wrapLength)
            wrap.u16(publicKey.number)
            wrap.raw(sender.encapsulatedKey)
            wrap.raw(sealed)
            return RecordKey(key: key, wrap: wrap.bytes)
        } catch {
            throw HoldfastError(
                .damaged,
                "The vault's public key \(publicKey.number) cannot be used. Let this machine join the vault again.",
                cause: error
            )
        }
    }

    /// Opens a wrap with the private key it names.
    ///
    /// Throws `keyNeeded` when the vault's key pair of that number is not among `privateKeys`, `damaged` when it does not open.
    package static func open(
        _ wrap: [UInt8],
        privateKeys: [UInt16: VaultPrivateKey],
        vault: VaultID
    ) throws -> RecordKey {
        guard wrap.count == wrapLength else { throw ByteReader.malformed("length of a wrapped record key") }
        let number = UInt16(wrap[0]) | UInt16(wrap[1]) << 8
        guard let privateKey = privateKeys[number] else {
            throw HoldfastError(
                .keyNeeded,
                "The record was written for key pair \(number), which is missing or damaged in this vault "
                    + "(keys/pair-\(number).json).",
                context: ["pair": String(number)]
            )
        }
        do {
            var recipient = try HPKE.Recipient(
                privateKey: privateKey.key,
                ciphersuite: suite,
                info: Data(info(vault: vault)),
                encapsulatedKey: Data(wrap[2..<(2 + encapsulatedLength)])
            )
            let key = try recipient.open(wrap[(2 + encapsulatedLength)...])
            guard key.count == 32 else { throw ByteReader.malformed("length of a record key") }
            return RecordKey(key: SymmetricKey(data: key), wrap: wrap)
        } catch {
            throw HoldfastError(
                .damaged,
                "The wrapped record key does not open: it is damaged, or was made for another vault.",
                cause: error
            )
        }
    }

    private static func info(vault: VaultID) -> [UInt8] { Array(label: "holdfast/1/wrap") + vault.array }

    /// Seals a record; `nonce` is given by tests only.
    func seal(_ record: [UInt8], additional: [UInt8], nonce: [UInt8]? = nil) throws -> [UInt8] {
        try KeyCrypto.seal(record, key: key, additional: additional, nonce: nonce)
    }

    /// Opens a sealed record; throws `damaged` when it is not what was sealed.
    func open(_ sealed: [UInt8], additional: [UInt8]) throws -> [UInt8] {
        guard let record = KeyCrypto.open(sealed, key: key, additional: additional) else {
            throw HoldfastError(.damaged, "The record of the point does not open: it was changed after it was written.")
        }
        return record
    }
}
