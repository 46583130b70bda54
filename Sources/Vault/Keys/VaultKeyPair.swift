import Crypto
import FoundationEssentials
package import Model

/// The public half of one of the vault's key pairs: what writers wrap record keys for.
package struct VaultPublicKey: Hashable, Sendable {
    /// Bytes of an X-Wing public key.
    package static let length = 1216

    /// From 1; stands in every wrap.
    package let number: UInt16
    /// The 1,216 bytes: ML-KEM-768 encapsulation key, then X25519 public key.
    package let bytes: [UInt8]

    /// Takes a key; `nil` unless it has 1,216 bytes and `number` is at least 1.
    package init?(number: UInt16, bytes: [UInt8]) {
        guard number >= 1, bytes.count == VaultPublicKey.length else { return nil }
        self.number = number
        self.bytes = bytes
    }
}

/// The private half of one of the vault's key pairs, opened: it opens what writers wrapped.
package struct VaultPrivateKey: SecretValue {
    /// Bytes of the seed.
    static let seedLength = 32

    package let number: UInt16
    let key: XWingMLKEM768X25519.PrivateKey

    init(number: UInt16, seed: [UInt8]) throws {
        self.number = number
        key = try XWingMLKEM768X25519.PrivateKey(seedRepresentation: seed, publicKey: nil)
    }

    var publicKey: VaultPublicKey {
        // X-Wing's public keys have always this length.
        VaultPublicKey(number: number, bytes: Array(key.publicKey.rawRepresentation))!
    }
}

/// One of the vault's numbered key pairs with its private half wrapped: `keys/pair-N.json`.
package struct VaultKeyPair: Hashable, Sendable {
    /// The only algorithm of this version.
    package static let algorithm = "hpke-xwing-hkdf-sha256-aes256gcm"

    package let publicKey: VaultPublicKey
    /// When it was made, in whole seconds.
    package let created: Timestamp
    /// Nonce, AES-256-GCM of the private seed, tag.
    let wrapped: [UInt8]

    /// From 1.
    package var number: UInt16 { publicKey.number }
    /// The object's name below `keys/`.
    package var fileName: String { "pair-\(number).json" }

    /// Makes a new pair from the system's random source.
    package static func make(
        number: UInt16,
        master: MasterSecret,
        vault: VaultID,
        created: Timestamp
    ) throws -> VaultKeyPair {
        try make(
            number: number,
            master: master,
            vault: vault,
            created: created,
            seed: KeyCrypto.random(VaultPrivateKey.seedLength),
            nonce: nil
        )
    }

    /// The same with the randomness given, for tests.
    static func make(
        number: UInt16,
        master: MasterSecret,
        vault: VaultID,
        created: Timestamp,
        seed: [UInt8],
        nonce: [UInt8]?
    ) throws -> VaultKeyPair {
        guard number >= 1 else { throw HoldfastError(.usage, "Key pairs have numbers from 1.") }
        let privateKey = try VaultPrivateKey(number: number, seed: seed)
        return VaultKeyPair(
            publicKey: privateKey.publicKey,
            created: Timestamp(seconds: created.seconds),
            wrapped: try KeyCrypto.seal(
                seed,
                key: SymmetricKey(data: master.pairKey),
                additional: additional(vault: vault, number: number),
                nonce: nonce
            )
        )
    }

    /// Opens the private half. Throws `damaged` when it does not open or does not belong to the public half.
    package func openPrivate(master: MasterSecret, vault: VaultID) throws -> VaultPrivateKey {
        guard
            let seed = KeyCrypto.open(
                wrapped,
                key: SymmetricKey(data: master.pairKey),
                additional: VaultKeyPair.additional(vault: vault, number: number)
            ), let privateKey = try? VaultPrivateKey(number: number, seed: seed), privateKey.publicKey == publicKey
        else {
            throw HoldfastError(
                .damaged,
                "The key pair \(fileName) does not open: it is damaged or belongs to another vault. Put a copy of the "
                    + "original back.",
                context: ["pair": String(number)]
            )
        }
        return privateKey
    }

    private static func additional(vault: VaultID, number: UInt16) -> [UInt8] {
        var bytes = ByteWriter()
        bytes.raw(Array(label: "holdfast/1/pair"))
        bytes.raw(vault.array)
        bytes.u16(number)
        return bytes.bytes
    }

    // MARK: Coding

    /// The bytes of the file.
    package func encoded() -> [UInt8] {
        JSONValue.object([
            "algorithm": .string(VaultKeyPair.algorithm),
            "created": .string(RFC3339.encode(created)),
            "number": .integer(Int64(number)),
            "public": .string(Hex.encode(publicKey.bytes)),
            "wrapped": .string(Hex.encode(wrapped)),
        ]).encoded()
    }

    /// Reads a pair's file.
    package static func decode(_ bytes: [UInt8], fileName: String) throws -> VaultKeyPair {
        let fields = try JSONFields(parsing: bytes, document: "key pair \(fileName)")
        guard try fields.string("algorithm") == algorithm else {
            throw HoldfastError(
                .unsupported,
                "\(fields.document) uses an algorithm that this version of Holdfast does not know; install a newer one."
            )
        }
        let number = UInt16(try fields.integer("number", in: 1...Int64(UInt16.max)))
        guard let publicKey = VaultPublicKey(number: number, bytes: try fields.bytes("public")) else {
            throw fields.wrong("public")
        }
        return VaultKeyPair(
            publicKey: publicKey,
            created: try fields.time("created"),
            wrapped: try fields.bytes("wrapped", count: VaultPrivateKey.seedLength + KeyCrypto.sealOverhead)
        )
    }
}
