import Crypto
import Foundation
import Model
import TestSupport
import Testing

@testable import Vault

/// Every encoding of keys and records with fixed keys, compared with files that are checked in: a change of the format
/// cannot go unnoticed.
@Suite struct KeysGoldenTests {
    /// Golden files lie beside this (no file is there): in `Tests/VaultTests/Golden`.
    private static let place = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("VaultTests.swift").path

    /// The fixed record key.
    private let recordKey = SymmetricKey(data: [UInt8](repeating: 0x66, count: 32))

    @Test("Derived keys are those of the format")
    func derivations() throws {
        let master = KeysFixture.master
        let shared = DomainSecret(master: master, domain: "vault", number: 1)
        let own = DomainSecret(master: master, domain: DomainSecret.domain(of: KeysFixture.machine), number: 258)
        var lines = ["master \(Hex.encode(master.bytes))", "vault \(KeysFixture.vault)"]
        lines.append("config-key \(Hex.encode(master.configKey))")
        lines.append("pair-key \(Hex.encode(master.pairKey))")
        lines.append("vault-signing-seed \(Hex.encode(master.vaultSigningKey.seed))")
        lines.append("vault-signing-public \(master.vaultSigningKey.verifyingKey)")
        for secret in [shared, own] {
            lines.append("domain \(secret.domain) number \(secret.number)")
            lines.append("  secret \(Hex.encode(secret.secret))")
            lines.append("  gear first \(secret.gearTable[0]) last \(secret.gearTable[255])")
            let table = secret.gearTable.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
            lines.append("  gear sha256 \(Hex.encode(KeyCrypto.sha256(table).array))")
            lines.append("  bundle \(secret.bundleSeed) tree \(secret.treeSeed) extents \(secret.extentsSeed)")
        }
        lines.append("sheet-secret \(Hex.encode(KeysFixture.sheet.secret))")
        lines.append("sheet-words \(KeysFixture.sheet.words.joined(separator: " "))")
        try assertSnapshot(lines.joined(separator: "\n") + "\n", named: "keys-derived.txt", file: KeysGoldenTests.place)
    }

    @Test("Files of a vault's keys are those of the format")
    func files() throws {
        let master = KeysFixture.master
        var lines: [String] = []
        func add(_ name: String, _ bytes: [UInt8]) { lines += [name, "  " + String(decoding: bytes, as: UTF8.self)] }
        add(
            "config.json",
            VaultConfig(vault: KeysFixture.vault, kind: .serverReadable, created: KeysFixture.now, master: master)
                .encoded())
        add(
            "config.json with requirements",
            VaultConfig(
                vault: KeysFixture.vault, kind: .ownerOnly, created: KeysFixture.now, master: master,
                requires: [.write: ["b", "a"]]
            ).encoded())
        let secrets: [UnlockSecret] = [
            .passphrase(KeysFixture.passphrase), .keySheet(KeysFixture.sheet), .serverKey(KeysFixture.serverKey),
        ]
        for (index, secret) in secrets.enumerated() {
            let slot = try KeySlot.make(
                secret, master: master, vault: KeysFixture.vault, number: index + 1, label: "label \(index) ä",
                created: KeysFixture.now, scrypt: KeysFixture.scrypt, salt: (0..<16).map { UInt8(0xC0 + $0) },
                nonce: KeysFixture.nonce(UInt8(index)))
            add(slot.fileName, slot.encoded())
        }
        let pair = try KeysFixture.pair()
        add(pair.fileName, pair.encoded())
        try assertSnapshot(lines.joined(separator: "\n") + "\n", named: "keys-files.txt", file: KeysGoldenTests.place)
    }

    @Test("A wrapped record key made by this version is opened for ever")
    func wrap() throws {
        let wrap = try fixedWrap()
        let privateKey = try KeysFixture.pair().openPrivate(master: KeysFixture.master, vault: KeysFixture.vault)
        let opened = try RecordKey.open(wrap, privateKeys: [1: privateKey], vault: KeysFixture.vault)
        #expect(opened.key == recordKey)
    }

    @Test("Records are those of the format")
    func records() throws {
        let key = RecordKey(key: recordKey, wrap: try fixedWrap())
        let signing = KeysFixture.master.vaultSigningKey
        var lines: [String] = []
        func add(_ name: String, _ bytes: [UInt8]) {
            lines.append("\(name) \(bytes.count)")
            for start in stride(from: 0, to: bytes.count, by: 48) {
                lines.append("  " + Hex.encode(bytes[start..<min(bytes.count, start + 48)]))
            }
        }
        let locator = KeysFixture.locator()
        add("locator", locator.encoded())
        add("locator hash", locator.hash.bytes.array)
        add("record", try KeysFixture.record.encoded())
        add("record with its root only", try PointRecord(root: ContentKey(KeysFixture.digest(1))).encoded())
        var point = try SealedPoint.seal(
            locator: locator, record: KeysFixture.record, key: key, signing: KeysFixture.machineKey,
            nonce: KeysFixture.nonce(0x20))
        point.arrival = Timestamp(nanoseconds: 1_795_169_700_123_456_789)
        add("machine public key", KeysFixture.machineKey.verifyingKey.bytes.array)
        add("point", point.encoded())
        add("point id", point.blobID.bytes.array)
        let machine = try MachineRecord(
            machine: KeysFixture.machine, key: KeysFixture.machineKey.verifyingKey, joined: KeysFixture.now,
            name: "web1 ä",
            domain: "vault", signing: signing)
        add("machine", machine.encoded())
        add("machine id", machine.blobID.bytes.array)
        let hold = try HoldRecord(
            HoldRecord.Content(
                hold: HoldID(high: 1, low: 2), placed: KeysFixture.now, isPlaced: true, machines: [KeysFixture.machine],
                paths: [Array("srv/mail".utf8), [0xFF]], from: Timestamp(nanoseconds: -1),
                until: Timestamp(nanoseconds: .max), reference: "case 2026/17"),
            signing: signing)
        add("hold", hold.encoded())
        add("hold id", hold.blobID.bytes.array)
        let redaction = try RedactionRecord.seal(
            locator: locator, time: KeysFixture.now, path: Array("home/x".utf8),
            references: [BlobID(KeysFixture.digest(2)), BlobID(KeysFixture.digest(1))], record: KeysFixture.record,
            key: key,
            signing: signing, nonce: KeysFixture.nonce(0x30))
        add("redaction", redaction.encoded())
        add("redaction id", redaction.blobID.bytes.array)
        try assertSnapshot(
            lines.joined(separator: "\n") + "\n", named: "points-records.txt", file: KeysGoldenTests.place)
    }

    @Test("Files of the state directory are those that later versions must read")
    func stateFiles() throws {
        let secrets = WriterSecrets(
            vault: KeysFixture.vault, location: "/mnt/ü", machine: KeysFixture.machine, signing: KeysFixture.machineKey,
            publicKey: try KeysFixture.pair().publicKey, vaultSigning: KeysFixture.master.vaultSigningKey.verifyingKey,
            domainSecrets: [1, 2].map { DomainSecret(master: KeysFixture.master, domain: "vault", number: $0) },
            chunker: VaultConfig.currentChunker, tree: VaultConfig.currentTree)
        let head = MachineHead(after: KeysFixture.locator())
        let machine = MachineIdentity(id: KeysFixture.machine, name: "web1")
        let text = [secrets.encoded(), head.encoded(), machine.encoded()].map {
            String(decoding: $0, as: UTF8.self) + "\n"
        }
        try assertSnapshot(text.joined(), named: "keys-state.txt", file: KeysGoldenTests.place)
    }

    /// The wrap in the golden file. A wrap is random: a new one is made only when there is no file, and the test fails.
    private func fixedWrap() throws -> [UInt8] {
        let golden = URL(fileURLWithPath: KeysGoldenTests.place).deletingLastPathComponent()
            .appendingPathComponent("Golden/keys-wrap.hex")
        let text = try? String(contentsOf: golden, encoding: .utf8)
        if let text, let bytes = Hex.decode(text.filter { !$0.isWhitespace }), !bytes.isEmpty { return bytes }
        let fresh = try RecordKey.wrapping(recordKey, for: try KeysFixture.pair().publicKey, vault: KeysFixture.vault)
        let lines = stride(from: 0, to: fresh.wrap.count, by: 48).map {
            Hex.encode(fresh.wrap[$0..<min(fresh.wrap.count, $0 + 48)])
        }
        try assertSnapshot(lines.joined(separator: "\n") + "\n", named: "keys-wrap.hex", file: KeysGoldenTests.place)
        return fresh.wrap
    }
}
