import Model
import Testing

@testable import Vault

@Suite struct KeysSmokeTests {
    @Test("A new vault unlocks with its passphrase and its key sheet, and opens what a writer sealed")
    func roundTrip() throws {
        let passphrase = try Passphrase(Array("correct horse\n".utf8))
        let now = Timestamp(seconds: 1_800_000_000)
        let new = try VaultKeys.makeVault(
            kind: .serverReadable, secrets: [(.passphrase(passphrase), "mine")], created: now)
        let sheet = try KeySheet(text: new.keySheet.words.joined(separator: " "))
        let (writer, machine) = try new.keys.enrol(
            machine: .random(), name: "web1", location: "/mnt/vault", joined: now)
        try machine.verify(with: new.keys.config.signing)
        let writer2 = try WriterSecrets.decode(writer.encoded(), document: "x")
        try writer2.check(new.keys.config)
        let key = try RecordKey.fresh(for: writer2.publicKey, vault: writer2.vault)
        let locator = PointLocator(
            vault: writer.vault, machine: writer.machine, incarnation: .random(), point: .random(), number: 1,
            time: now, kind: .manual, flags: [], previous: .none, references: [BlobID(.zero)])
        var record = PointRecord(root: ContentKey(Bytes32(w0: 1, w1: 2, w2: 3, w3: 4)))
        record.labels = ["before the upgrade"]
        let point = try SealedPoint.seal(locator: locator, record: record, key: key, signing: writer2.signing)
        let bytes = point.encoded()
        let decoded = try bytes.withUnsafeBytes { try SealedPoint.decode($0) }
        #expect(decoded == point)
        try decoded.verify(with: machine.key)
        for secret in [UnlockSecret.passphrase(passphrase), .keySheet(sheet)] {
            let keys = try VaultKeys.unlock(config: new.config, files: new.files, secret: secret)
            let opened = try keys.openRecord(decoded)
            #expect(opened.root == record.root)
            #expect(opened.labels == record.labels)
        }
    }
}
