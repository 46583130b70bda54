import Catalog
import Model
import TestSupport
import Testing
import Vault

/// Records of machines and points that are damaged or say something else than the first one did.
@Suite("Records on bad days")
struct DamagedRecordTests {
    private func location(of machine: MachineID, _ vault: LocalVault) throws -> RecordLocation {
        try #require(try vault.catalog.records(of: .machine).first { $0.subject == machine.array })
    }

    @Test("the damaged record of one machine touches no other machine, and is reported")
    func oneMachine() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let dead = try fixture.join(vault, name: "dead")
        let living = try fixture.join(vault, name: "living")
        var points: [MachineID: PointID] = [:]
        for machine in [dead, living] {
            let writer = try TestWriter(vault, machine)
            points[machine.id] = try writer.backup(["of \(machine.id.hex)"], salt: machine.id.hex).point
            writer.close()
        }
        let record = try location(of: dead.id, vault)
        try fixture.flip(record.packName, at: Int(record.offset) + 100)

        func open(_ machine: TestMachine, acceptsUnsigned: Bool = false) throws -> PointReader {
            try PointReader(
                service: vault, keys: fixture.keys, point: try #require(points[machine.id]),
                acceptsUnsigned: acceptsUnsigned)
        }
        #expect(try open(living).isSigned)
        let error = #expect(throws: HoldfastError.self) { try open(dead) }
        #expect(error?.context["hint"]?.contains("--accept-unsigned") == true)
        #expect(try open(dead, acceptsUnsigned: true).isSigned == false)
        let report = try vault.verify(VerificationRequest(level: .structure))
        #expect(report.findings.contains { $0.contains(dead.id.hex) && $0.contains("join") })
        #expect(!report.isSound)
        // It joins again with the key that it has: what it made is its own again.
        try vault.register(
            fixture.keys.enrol(
                machine: dead.id, name: "dead", location: "", signing: dead.secrets.signing,
                joined: vault.joiningTime(of: dead.id, now: Timestamp(seconds: 1_800_000_000))
            ).record)
        #expect(try open(dead).isSigned)
    }

    @Test("a redacted point reads what was put in place of its record")
    func redaction() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let machine = try fixture.join(vault)
        let writer = try TestWriter(vault, machine)
        let before = writer.make.node("before", [])
        let after = writer.make.node("after", [])
        try writer.store([before])
        try writer.store([after])
        let receipt = try writer.commit(writer.point(root: before))
        let locator = try vault.point(receipt.point).locator
        func redact(to root: TestBlob, at seconds: Int64, signing: SigningKey) throws -> RedactionRecord {
            try RedactionRecord.seal(
                locator: locator, time: Timestamp(seconds: seconds), path: Array("secret".utf8),
                references: [root.id], record: PointRecord(root: root.key),
                key: RecordKey.fresh(for: machine.secrets.publicKey, vault: machine.secrets.vault), signing: signing)
        }
        let signed = try redact(to: after, at: 1_790_000_000, signing: fixture.keys.vaultSigning)
        // Nobody but the vault redacts, and the newest counts.
        let forged = try redact(to: before, at: 1_795_000_000, signing: machine.secrets.signing)
        let older = try redact(to: before, at: 1_780_000_000, signing: fixture.keys.vaultSigning)
        let sealed = try vault.point(receipt.point)
        let machines = try vault.machineRecords(of: machine.id)
        let record = try fixture.keys.openRecord(sealed, machines: machines, redactions: [older, signed, forged])
        #expect(record.root == after.key)
        #expect(try fixture.keys.openRecord(sealed, machines: machines).root == before.key)
        // From the store, as a reader finds it.
        var framed: [UInt8] = []
        let blob = try signed.encoded().withUnsafeBytes {
            try BlobSealer.frame(record: .redaction, body: $0, references: signed.references, into: &framed)
        }
        var builder = PackBuilder(vault: vault.vault, writer: .random(), packClass: .points)
        try framed.withUnsafeBytes { _ = try builder.append($0, blob) }
        let pack = try builder.finish()
        try vault.store.put(StoreKey.pack(pack.name), pack.bytes)
        try vault.compare()
        #expect(try vault.redactions(of: receipt.point) == [signed])
        let reader = try PointReader(service: vault, keys: fixture.keys, point: receipt.point)
        #expect(reader.record.root == after.key)
    }
}
