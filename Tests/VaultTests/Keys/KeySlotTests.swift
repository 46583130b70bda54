import Crypto
import Model
import TestSupport
import Testing

@testable import Vault

@Suite struct KeySlotTests {
    static let secrets: [UnlockSecret] = [
        .passphrase(KeysFixture.passphrase), .keySheet(KeysFixture.sheet), .serverKey(KeysFixture.serverKey),
    ]

    private func slot(_ secret: UnlockSecret, vault: VaultID = KeysFixture.vault) throws -> KeySlot {
        try KeySlot.make(
            secret, master: KeysFixture.master, vault: vault, number: 3, label: "a label", created: KeysFixture.now,
            scrypt: KeysFixture.scrypt)
    }

    @Test("A slot opens with its secret after it was written and read", arguments: 0..<3)
    func roundTrip(index: Int) throws {
        let secret = KeySlotTests.secrets[index]
        let made = try slot(secret)
        let read = try KeySlot.decode(made.encoded(), fileName: made.fileName)
        #expect(read == made)
        #expect(read.label == "a label")
        #expect(read.kind == secret.slotKind)
        #expect(try read.open(secret, vault: KeysFixture.vault)?.bytes == KeysFixture.master.bytes)
    }

    @Test("A slot opens with nothing else, and for no other vault")
    func wrongSecrets() throws {
        let others: [UnlockSecret] = [
            .passphrase(try Passphrase(Array("correct horse battery stapl".utf8))), .keySheet(.random()),
            .serverKey(.random()),
        ]
        for secret in KeySlotTests.secrets {
            let made = try slot(secret)
            for other in others + KeySlotTests.secrets where other.slotKind != secret.slotKind {
                #expect(try made.open(other, vault: KeysFixture.vault) == nil)
            }
            for other in others where other.slotKind == secret.slotKind {
                #expect(try made.open(other, vault: KeysFixture.vault) == nil)
            }
            #expect(try made.open(secret, vault: .random()) == nil)
        }
    }

    @Test("A passphrase is the same however its characters are composed, and without its file's line end")
    func passphrases() throws {
        let composed = try Passphrase(Array("Gr\u{F6}\u{DF}e \u{AC00}".utf8))
        let decomposed = try Passphrase(Array("Gro\u{308}\u{DF}e \u{1100}\u{1161}\r\n".utf8))
        #expect(composed.bytes == decomposed.bytes)
        #expect(composed.bytes == Array("Gr\u{F6}\u{DF}e \u{AC00}".utf8))
        #expect(try Passphrase(Array(" x ".utf8)).bytes == Array(" x ".utf8))
        for wrong: [UInt8] in [
            [], [0x0A], [0x0D, 0x0A], Array("a\nb".utf8), Array("a\n\n".utf8), [0x61, 0], [0xFF], [0x61, 0xC3],
            [UInt8](repeating: 0x61, count: 4097),
        ] {
            let error = try #require(throws: HoldfastError.self) { try Passphrase(wrong) }
            #expect(error.code == .usage)
        }
    }

    @Test("A server key file has exactly 32 bytes", arguments: [0, 31, 33, 64])
    func serverKeys(count: Int) {
        #expect(throws: HoldfastError.self) { try ServerKey([UInt8](repeating: 1, count: count)) }
    }

    @Test("Numbers and labels have bounds")
    func limits() {
        for (number, label) in [(0, ""), (100, ""), (1, String(repeating: "x", count: 256)), (1, "a\nb")] {
            #expect(throws: HoldfastError.self) {
                try KeySlot.make(
                    .serverKey(KeysFixture.serverKey), master: KeysFixture.master, vault: KeysFixture.vault,
                    number: number, label: label, created: KeysFixture.now)
            }
        }
    }

    @Test(
        "A file that asks for more work than any slot should is refused before any work is done",
        arguments: [
            (1 << 21, 8, 1), (1 << 20, 16, 1), (1 << 17, 8, 17), (1 << 17, 17, 1), (3, 8, 1), (1, 8, 1), (0, 8, 1),
            (1 << 20, 8, 3), (1024, 0, 1), (1024, 8, 0), (-1024, 8, 1),
        ])
    func bounds(n: Int, r: Int, p: Int) throws {
        #expect(!ScryptParameters(n: n, r: r, p: p).isBounded)
        guard case .object(var members) = try JSONValue(parsing: try slot(KeySlotTests.secrets[0]).encoded()) else {
            Issue.record("a slot is an object")
            return
        }
        members["kdf"] = .object([
            "n": .integer(Int64(n)), "name": .string("scrypt"), "p": .integer(Int64(p)), "r": .integer(Int64(r)),
            "salt": .string(String(repeating: "00", count: 16)),
        ])
        #expect(throws: HoldfastError.self) {
            try KeySlot.decode(JSONValue.object(members).encoded(), fileName: "01-passphrase.json")
        }
    }

    @Test("The parameters of new slots are those of the format and within the bounds of readers")
    func currentParameters() {
        #expect(ScryptParameters.current == ScryptParameters(n: 131_072, r: 8, p: 1))
        #expect(ScryptParameters.current.isBounded)
        #expect(ScryptParameters(n: 1 << 20, r: 8, p: 1).isBounded)
    }

    @Test("A slot that another implementation of scrypt made opens")
    func otherScrypt() throws {
        // From Python: hashlib.scrypt("Größe".encode(), salt=bytes(range(16)), n=1024, r=8, p=2, dklen=32)
        let key = Hex.decode("efb8c55dd7ee21c890ebba2f0a47bc716b480e305783639b68ce4ab3c51d129a")!
        let slot = KeySlot(
            number: 1, kind: .passphrase, label: "", created: KeysFixture.now,
            scrypt: ScryptParameters(n: 1024, r: 8, p: 2), salt: (0..<16).map { UInt8($0) },
            wrapped: try KeyCrypto.seal(
                KeysFixture.master.bytes, key: SymmetricKey(data: key),
                additional: Array("holdfast/1/slot".utf8) + KeysFixture.vault.array + Array("passphrase".utf8)))
        let passphrase = try Passphrase(Array("Gro\u{308}\u{DF}e\n".utf8))
        #expect(try slot.open(.passphrase(passphrase), vault: KeysFixture.vault)?.bytes == KeysFixture.master.bytes)
    }

    @Test("Damaged files are refused or do not open, whatever bytes they hold", arguments: 0..<3)
    func fuzz(index: Int) throws {
        let secret = KeySlotTests.secrets[index]
        let bytes = try slot(secret).encoded()
        var generator = FuzzGenerator(seed: 100 + UInt64(index))
        for _ in 0..<1_500 {
            let mutated = generator.mutation(of: bytes)
            guard let read = try? KeySlot.decode(mutated, fileName: "x"), read.scrypt?.n ?? 0 <= 1024 else { continue }
            // Label, number and time are not what the wrap protects; what opens is the same secret.
            if let master = try read.open(secret, vault: KeysFixture.vault) {
                #expect(master.bytes == KeysFixture.master.bytes)
            }
        }
    }
}
