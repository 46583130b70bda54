import Crypto
import Foundation
import Model
import Synchronization
import TestSupport
import Testing

@testable import Vault

@Suite struct VaultKeysTests {
    @Test("A new vault opens with each of its secrets, and what a writer sealed opens with each of them")
    func unlocking() throws {
        let new = try KeysFixture.newVault()
        let (secrets, machine) = try new.keys.enrol(
            machine: KeysFixture.machine, name: "web1", location: "/mnt/vault", joined: KeysFixture.now)
        try machine.verify(with: new.keys.config.signing)
        let writer = try WriterSecrets.decode(secrets.encoded(), document: "x")
        try writer.check(try VaultConfig.decode(new.config))
        let key = try RecordKey.fresh(for: writer.publicKey, vault: writer.vault)
        let locator = PointLocator(
            vault: writer.vault, machine: writer.machine, incarnation: .random(), point: .random(), number: 1,
            time: KeysFixture.now, kind: .manual, flags: [], previous: .none,
            references: [BlobID(KeysFixture.digest(1))])
        let point = try SealedPoint.seal(
            locator: locator, record: KeysFixture.record, key: key, signing: writer.signing)
        let stored = try point.encoded().decoded { try SealedPoint.decode($0) }
        try stored.verify(with: machine.key)
        let sheet = try KeySheet(text: new.keySheet.words.joined(separator: " "))
        for secret in [
            UnlockSecret.passphrase(KeysFixture.passphrase), .keySheet(sheet), .serverKey(KeysFixture.serverKey),
        ] {
            let keys = try VaultKeys.unlock(config: new.config, files: new.files, secret: secret)
            #expect(keys.slot.kind == secret.slotKind)
            #expect(keys.unreadable.isEmpty)
            #expect(try keys.openRecord(stored, machines: [machine]).isSame(as: KeysFixture.record))
            #expect(throws: HoldfastError.self) { try keys.openRecord(stored, machines: []) }
            // The second time the key comes from those remembered.
            #expect(try keys.openRecord(unverified: stored).isSame(as: KeysFixture.record))
            #expect(keys.domainSecret(domain: "vault", number: 1).secret == writer.domainSecret.secret)
            #expect(keys.vaultSigning.verifyingKey == writer.vaultSigning)
        }
    }

    @Test("What a writer keeps does not contain the vault's keys")
    func writersOpenNothing() throws {
        let new = try KeysFixture.newVault()
        let (writer, _) = try new.keys.enrol(machine: .random(), name: "w", location: "", joined: KeysFixture.now)
        let file = String(decoding: writer.encoded(), as: UTF8.self)
        #expect(!file.contains(Hex.encode(new.keys.master.bytes)))
        #expect(!file.contains(Hex.encode(new.keys.master.pairKey)))
        #expect(!file.contains(Hex.encode(new.keys.vaultSigning.seed)))
    }

    @Test("The domain is the vault where the server reads, the machine where only its owner does")
    func domains() throws {
        let shared = try KeysFixture.newVault(kind: .serverReadable).keys
        #expect(shared.defaultDomain(of: KeysFixture.machine) == "vault")
        let owned = try KeysFixture.newVault(kind: .ownerOnly).keys
        #expect(owned.defaultDomain(of: KeysFixture.machine) == "machine/202122232425262728292a2b2c2d2e2f")
        let one = owned.domainSecret(domain: "machine/x", number: 1)
        for other in [
            owned.domainSecret(domain: "machine/x", number: 2), owned.domainSecret(domain: "machine/y", number: 1),
            shared.domainSecret(domain: "machine/x", number: 1),
        ] {
            #expect(other.secret != one.secret)
            #expect(other.gearTable != one.gearTable)
            #expect(other.treeSeed != one.treeSeed)
        }
        #expect(one.gearTable.count == 256)
        #expect(Set([one.bundleSeed, one.treeSeed, one.extentsSeed]).count == 3)
    }

    @Test("A wrong passphrase is told as such, and a missing slot as such")
    func wrongKeys() throws {
        let new = try KeysFixture.newVault()
        let wrong = UnlockSecret.passphrase(try Passphrase(Array("hunter2".utf8)))
        let error = try #require(throws: HoldfastError.self) {
            try VaultKeys.unlock(config: new.config, files: new.files, secret: wrong)
        }
        #expect(error.code == .wrongKey)
        #expect(error.message == "Wrong passphrase: it opens none of the vault's key slots.")
        let others = new.files.filter { !$0.name.contains("passphrase") }
        let missing = try #require(throws: HoldfastError.self) {
            try VaultKeys.unlock(config: new.config, files: others, secret: wrong)
        }
        #expect(missing.code == .wrongKey)
        #expect(missing.message.contains("no key slot for a passphrase"))
        #expect(missing.message.contains("key sheet, server key"))
    }

    @Test("A damaged slot is named and does not lock the others")
    func damagedSlot() throws {
        let new = try KeysFixture.newVault()
        let files = new.files.map { file in
            file.name == "01-passphrase.json" ? (file.name, Array(file.bytes.dropLast(3))) : file
        }
        let keys = try VaultKeys.unlock(config: new.config, files: files, secret: .keySheet(new.keySheet))
        #expect(keys.unreadable.map(\.name) == ["01-passphrase.json"])
        let error = try #require(throws: HoldfastError.self) {
            try VaultKeys.unlock(config: new.config, files: files, secret: .passphrase(KeysFixture.passphrase))
        }
        #expect(error.message.contains("keys/01-passphrase.json"))
        // Its number is not given away while the file is there.
        #expect(try keys.addSlot(.serverKey(.random()), label: "", created: KeysFixture.now).number == 4)
    }

    @Test("A slot that was renamed to another's name is not taken for it")
    func renamed() throws {
        let new = try KeysFixture.newVault()
        var files = new.files
        files[0].name = "09-passphrase.json"
        let keys = try VaultKeys.unlock(config: new.config, files: files, secret: .keySheet(new.keySheet))
        #expect(keys.unreadable.map(\.name) == ["09-passphrase.json"])
    }

    @Test("A changed configuration or a slot of another vault does not unlock")
    func changedConfig() throws {
        let new = try KeysFixture.newVault()
        let other = try KeysFixture.newVault()
        let error = try #require(throws: HoldfastError.self) {
            try VaultKeys.unlock(config: other.config, files: new.files, secret: .passphrase(KeysFixture.passphrase))
        }
        #expect(error.code == .wrongKey)
        let forged = String(decoding: new.config, as: UTF8.self).replacing("server-readable", with: "owner-only")
        let found = try #require(throws: HoldfastError.self) {
            try VaultKeys.unlock(
                config: Array(forged.utf8), files: new.files, secret: .passphrase(KeysFixture.passphrase))
        }
        #expect(found.code == .damaged)
    }

    @Test("A damaged key pair is named when a point needs it, and other pairs still open theirs")
    func pairs() throws {
        let new = try KeysFixture.newVault()
        let second = try new.keys.nextKeyPair(created: KeysFixture.now)
        #expect(second.number == 2)
        let firstKey = try RecordKey.fresh(for: try new.keys.publicKey, vault: new.keys.vault)
        let secondKey = try RecordKey.fresh(for: second.publicKey, vault: new.keys.vault)
        let added: [(name: String, bytes: [UInt8])] = new.files + [(second.fileName, second.encoded())]
        let files = added.map { $0.name == "pair-1.json" ? (name: $0.name, bytes: [0x7B]) : $0 }
        let keys = try VaultKeys.unlock(config: new.config, files: files, secret: .keySheet(new.keySheet))
        #expect(try keys.publicKey == second.publicKey)
        #expect(try keys.open(wrap: secondKey.wrap).wrap == secondKey.wrap)
        let error = try #require(throws: HoldfastError.self) { try keys.open(wrap: firstKey.wrap) }
        #expect(error.code == .keyNeeded)
        #expect(error.message.contains("pair-1.json"))
        // A number that a damaged file may have had is not given again.
        let damagedLast = files.map { $0.name == "pair-2.json" ? (name: $0.name, bytes: [0x7B]) : $0 }
        let without = try VaultKeys.unlock(config: new.config, files: damagedLast, secret: .keySheet(new.keySheet))
        #expect(throws: HoldfastError.self) { try without.publicKey }
        #expect(try without.nextKeyPair(created: KeysFixture.now).number == 3)
    }

    @Test("A key pair whose public half was replaced by an attacker's is not used")
    func swappedPublicKey() throws {
        let new = try KeysFixture.newVault()
        let attacker = try VaultKeyPair.make(
            number: 1, master: .random(), vault: new.keys.vault, created: KeysFixture.now)
        let files = try new.files.map { file in
            guard file.name == "pair-1.json", case .object(var members) = try JSONValue(parsing: file.bytes) else {
                return file
            }
            members["public"] = .string(Hex.encode(attacker.publicKey.bytes))
            return (file.name, JSONValue.object(members).encoded())
        }
        let keys = try VaultKeys.unlock(config: new.config, files: files, secret: .keySheet(new.keySheet))
        #expect(keys.unreadable.map(\.name) == ["pair-1.json"])
        #expect(throws: HoldfastError.self) { try keys.publicKey }
    }

    @Test("A slot can be added and removed, but never the one that was just used, nor the last for a person")
    func administration() throws {
        let new = try KeysFixture.newVault()
        var files = new.files
        func unlock(_ secret: UnlockSecret) throws -> VaultKeys {
            try VaultKeys.unlock(config: new.config, files: files, secret: secret)
        }
        let keys = try unlock(.passphrase(KeysFixture.passphrase))
        #expect(keys.slots.map(\.fileName) == ["01-passphrase.json", "02-server.json", "03-key-sheet.json"])
        let own = try #require(throws: HoldfastError.self) { try keys.slotToRemove(number: 1) }
        #expect(own.code == .forbidden)
        let none = try #require(throws: HoldfastError.self) { try keys.slotToRemove(number: 7) }
        #expect(none.code == .notFound)
        let sheet = KeySheet.random()
        let added = try keys.addSlot(.keySheet(sheet), label: "second sheet", created: KeysFixture.now)
        #expect(added.fileName == "04-key-sheet.json")
        files.append((added.fileName, added.encoded()))
        let removed = try unlock(.keySheet(sheet)).slotToRemove(number: 3)
        files.removeAll { $0.name == removed.fileName }
        #expect(throws: HoldfastError.self) { try unlock(.keySheet(new.keySheet)) }
        #expect(
            try unlock(.keySheet(sheet)).addSlot(.keySheet(.random()), label: "", created: KeysFixture.now).number == 3)
        // With the server's key everything a person has could be removed; the last stays.
        files.removeAll { $0.name == added.fileName }
        let server = try unlock(.serverKey(KeysFixture.serverKey))
        let last = try #require(throws: HoldfastError.self) { try server.slotToRemove(number: 1) }
        #expect(last.code == .forbidden)
        #expect(last.message.contains("last that a person can open"))
    }

    @Test("A sheet is checked without changing anything")
    func checkSheet() throws {
        let new = try KeysFixture.newVault()
        let slots = try VaultKeys.slotsOpened(by: .keySheet(new.keySheet), config: new.config, files: new.files)
        #expect(slots.map(\.number) == [3])
        #expect(try VaultKeys.slotsOpened(by: .keySheet(.random()), config: new.config, files: new.files).isEmpty)
    }

    @Test("More files than any vault has are refused, and files of others are left out")
    func strangeFiles() throws {
        let new = try KeysFixture.newVault()
        let many = (0..<1025).map { (name: "\($0).json", bytes: [UInt8]()) }
        #expect(throws: HoldfastError.self) { try KeyFiles(files: many) }
        let files = new.files + [("README", [1, 2, 3]), (".new-1234", [])]
        #expect(
            try VaultKeys.unlock(config: new.config, files: files, secret: .keySheet(new.keySheet)).unreadable.isEmpty)
        let huge = [(name: "05-server.json", bytes: [UInt8](repeating: 0x20, count: KeyFiles.maximumLength + 1))]
        #expect(try KeyFiles(files: huge).unreadable.count == 1)
    }

    @Test("A writer refuses a vault that is not the one it joined")
    func pinned() throws {
        let new = try KeysFixture.newVault()
        let (writer, _) = try new.keys.enrol(machine: .random(), name: "w", location: "", joined: KeysFixture.now)
        let other = try KeysFixture.newVault()
        #expect(throws: HoldfastError.self) { try writer.check(try VaultConfig.decode(other.config)) }
        // Same id, other keys: somebody who owns the store put up a vault of their own.
        let impostor = VaultConfig(
            vault: writer.vault, kind: .serverReadable, created: KeysFixture.now, master: .random())
        let error = try #require(throws: HoldfastError.self) { try writer.check(impostor) }
        #expect(error.code == .damaged)
    }

    @Test("Secrets do not show in descriptions, dumps or errors")
    func secrecy() throws {
        let new = try KeysFixture.newVault()
        let (writer, _) = try new.keys.enrol(machine: .random(), name: "w", location: "", joined: KeysFixture.now)
        let key = try RecordKey.fresh(for: writer.publicKey, vault: writer.vault)
        let pair = try KeysFixture.pair().openPrivate(master: KeysFixture.master, vault: KeysFixture.vault)
        let values: [Any] = [
            new, new.keys, new.keys.master, new.keySheet, writer, writer.signing, writer.domainSecret, key, pair,
            KeysFixture.passphrase, KeysFixture.serverKey, UnlockSecret.passphrase(KeysFixture.passphrase),
            KeysFixture.record,
        ]
        var text = ""
        for value in values {
            text += "\(value)\n\(String(reflecting: value))\n"
            dump(value, to: &text)
        }
        let secrets: [[UInt8]] = [
            new.keys.master.bytes, new.keySheet.secret, writer.signing.seed, writer.domainSecret.secret,
            KeysFixture.passphrase.bytes, KeysFixture.serverKey.bytes, Array(pair.key.seedRepresentation),
            key.key.withUnsafeBytes { Array($0) }, KeysFixture.record.root.bytes.array,
        ]
        // Searching a string of this length is slow in a debug build.
        let bytes = Data(text.utf8)
        func shows(_ needle: String) -> Bool { bytes.range(of: Data(needle.utf8)) != nil }
        #expect(shows("MasterSecret(secret)"))
        for secret in secrets {
            #expect(!shows(Hex.encode(secret)))
            #expect(!shows(secret.prefix(6).map(String.init).joined(separator: ", ")))
        }
        #expect(!shows("correct horse"))
        #expect(!shows(new.keySheet.words[0] + " " + new.keySheet.words[1]))
    }
}
