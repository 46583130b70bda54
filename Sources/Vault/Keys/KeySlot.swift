import Crypto
import CryptoExtras
import FoundationEssentials
package import Model

/// What a person or a server gives to open a vault.
package enum UnlockSecret: SecretValue {
    case passphrase(Passphrase)
    case keySheet(KeySheet)
    case serverKey(ServerKey)

    /// The kind of slot that it can open.
    package var slotKind: KeySlot.Kind {
        switch self {
        case .passphrase: .passphrase
        case .keySheet: .keySheet
        case .serverKey: .server
        }
    }
}

/// The parameters of scrypt (RFC 7914), as they stand in a slot.
struct ScryptParameters: Hashable, Sendable {
    /// What new slots get: 128 MiB and about 0.4 s.
    static let current = ScryptParameters(n: 1 << 17, r: 8, p: 1)

    let n: Int
    let r: Int
    let p: Int

    /// Whether a reader computes with these: a hostile file must not cost more than 1 GiB and some seconds.
    var isBounded: Bool {
        (2...(1 << 20)).contains(n) && n & (n - 1) == 0 && (1...16).contains(r) && (1...16).contains(p)
            && 128 * n * r <= 1 << 30 && n * r * p <= 1 << 24
    }
}

/// The master secret wrapped under one passphrase, key sheet or server key: `keys/NN-kind.json`.
package struct KeySlot: Hashable, Sendable {
    /// What opens a slot.
    package enum Kind: String, Sendable, CaseIterable {
        case passphrase
        case keySheet = "key-sheet"
        case server

        /// In a sentence: "a passphrase".
        package var title: String {
            switch self {
            case .passphrase: "passphrase"
            case .keySheet: "key sheet"
            case .server: "server key"
            }
        }
    }

    /// The highest number of a slot.
    package static let maximumNumber = 99
    /// Longest label in bytes.
    package static let maximumLabelLength = 255
    static let saltLength = 16

    /// 1 to 99, unique in the vault.
    package let number: Int
    package let kind: Kind
    /// What a person calls it; may be empty.
    package let label: String
    /// When it was made, in whole seconds.
    package let created: Timestamp
    /// Set for a passphrase.
    let scrypt: ScryptParameters?
    /// Random, 16 bytes, for a passphrase; empty otherwise.
    let salt: [UInt8]
    /// Nonce, AES-256-GCM of the master secret, tag.
    let wrapped: [UInt8]

    /// The object's name below `keys/`.
    package var fileName: String { "\(number < 10 ? "0" : "")\(number)-\(kind.rawValue).json" }

    // MARK: Making and opening

    /// Wraps `master` so that `secret` opens it. `number` is 1 to 99 and not taken.
    package static func make(
        _ secret: UnlockSecret,
        master: MasterSecret,
        vault: VaultID,
        number: Int,
        label: String,
        created: Timestamp
    ) throws -> KeySlot {
        try make(secret, master: master, vault: vault, number: number, label: label, created: created, scrypt: .current)
    }

    /// The same with other parameters, a salt and a nonce given, for tests.
    static func make(
        _ secret: UnlockSecret,
        master: MasterSecret,
        vault: VaultID,
        number: Int,
        label: String,
        created: Timestamp,
        scrypt: ScryptParameters,
        salt: [UInt8] = KeyCrypto.random(saltLength),
        nonce: [UInt8]? = nil
    ) throws -> KeySlot {
        guard (1...maximumNumber).contains(number) else {
            throw HoldfastError(.usage, "Key slots have numbers from 1 to \(maximumNumber).")
        }
        guard label.utf8.count <= maximumLabelLength, !label.unicodeScalars.contains(where: { $0.value < 0x20 }) else {
            throw HoldfastError(.usage, "A label is one line of at most \(maximumLabelLength) bytes.")
        }
        let kind = secret.slotKind
        let isPassphrase = kind == .passphrase
        let key = try slotKey(
            secret,
            vault: vault,
            scrypt: isPassphrase ? scrypt : nil,
            salt: isPassphrase ? salt : []
        )
        return KeySlot(
            number: number,
            kind: kind,
            label: label,
            created: Timestamp(seconds: created.seconds),
            scrypt: isPassphrase ? scrypt : nil,
            salt: isPassphrase ? salt : [],
            wrapped: try KeyCrypto.seal(
                master.bytes,
                key: key,
                additional: additional(vault: vault, kind: kind),
                nonce: nonce
            )
        )
    }

    /// Opens the slot; `nil` when `secret` is of another kind or is not the right one.
    ///
    /// Takes about 0.4 s for a passphrase. Throws when the slot asks for more work than any slot should.
    package func open(_ secret: UnlockSecret, vault: VaultID) throws -> MasterSecret? {
        guard secret.slotKind == kind else { return nil }
        let key = try KeySlot.slotKey(secret, vault: vault, scrypt: scrypt, salt: salt)
        guard
            let bytes = KeyCrypto.open(wrapped, key: key, additional: KeySlot.additional(vault: vault, kind: kind))
        else { return nil }
        return MasterSecret(bytes)
    }

    private static func additional(vault: VaultID, kind: Kind) -> [UInt8] {
        Array(label: "holdfast/1/slot") + vault.array + Array(kind.rawValue.utf8)
    }

    private static func slotKey(
        _ secret: UnlockSecret,
        vault: VaultID,
        scrypt: ScryptParameters?,
        salt: [UInt8]
    ) throws -> SymmetricKey {
        switch secret {
        case .passphrase(let passphrase):
            guard let scrypt, scrypt.isBounded, salt.count == saltLength else {
                throw HoldfastError(.unsupported, "The key slot asks for more work than this version of Holdfast does.")
            }
            do {
                return try KDF.Scrypt.deriveKey(
                    from: passphrase.bytes,
                    salt: salt,
                    outputByteCount: 32,
                    rounds: scrypt.n,
                    blockSize: scrypt.r,
                    parallelism: scrypt.p
                )
            } catch {
                throw HoldfastError(
                    .io,
                    "The passphrase could not be turned into a key: that needs \(128 * scrypt.n * scrypt.r >> 20) MiB of "
                        + "memory.",
                    cause: error
                )
            }
        case .keySheet(let sheet):
            let material = SymmetricKey(data: sheet.secret + vault.array)
            return SymmetricKey(data: KeyCrypto.hkdf(material, info: Array(label: "holdfast/1/key-sheet"), count: 32))
        case .serverKey(let key):
            return SymmetricKey(data: key.bytes)
        }
    }

    // MARK: Coding

    /// The bytes of the file.
    package func encoded() -> [UInt8] {
        var members: [String: JSONValue] = [
            "created": .string(RFC3339.encode(created)),
            "kind": .string(kind.rawValue),
            "label": .string(label),
            "slot": .integer(Int64(number)),
            "wrapped": .string(Hex.encode(wrapped)),
        ]
        if let scrypt {
            members["kdf"] = .object([
                "n": .integer(Int64(scrypt.n)),
                "name": .string("scrypt"),
                "p": .integer(Int64(scrypt.p)),
                "r": .integer(Int64(scrypt.r)),
                "salt": .string(Hex.encode(salt)),
            ])
        }
        return JSONValue.object(members).encoded()
    }

    /// Reads a slot's file. Parameters beyond the bounds are refused here, before any work is done.
    package static func decode(_ bytes: [UInt8], fileName: String) throws -> KeySlot {
        let fields = try JSONFields(parsing: bytes, document: "key slot \(fileName)")
        guard let kind = Kind(rawValue: try fields.string("kind")) else {
            throw HoldfastError(
                .unsupported,
                "\(fields.document) is of a kind that this version of Holdfast does not know; install a newer one."
            )
        }
        var scrypt: ScryptParameters?
        var salt: [UInt8] = []
        if kind == .passphrase {
            let kdf = try fields.object("kdf")
            guard try kdf.string("name") == "scrypt" else { throw fields.wrong("kdf") }
            let parameters = ScryptParameters(
                n: Int(try kdf.integer("n", in: 2...(1 << 20))),
                r: Int(try kdf.integer("r", in: 1...16)),
                p: Int(try kdf.integer("p", in: 1...16))
            )
            guard parameters.isBounded else { throw fields.wrong("kdf") }
            scrypt = parameters
            salt = try kdf.bytes("salt", count: saltLength)
        }
        let label = try fields.string("label")
        guard label.utf8.count <= maximumLabelLength else { throw fields.wrong("label") }
        return KeySlot(
            number: Int(try fields.integer("slot", in: 1...Int64(maximumNumber))),
            kind: kind,
            label: label,
            created: try fields.time("created"),
            scrypt: scrypt,
            salt: salt,
            wrapped: try fields.bytes("wrapped", count: MasterSecret.length + KeyCrypto.sealOverhead)
        )
    }
}
