import Crypto
import Model
import TestSupport
import Testing

@testable import Vault

@Suite struct PointCodingTests {
    private let key = RecordKey(
        key: SymmetricKey(data: [UInt8](repeating: 0x66, count: 32)),
        wrap: [UInt8](repeating: 0x77, count: RecordKey.wrapLength))

    private func sealed(_ locator: PointLocator = KeysFixture.locator()) throws -> SealedPoint {
        try SealedPoint.seal(locator: locator, record: KeysFixture.record, key: key, signing: KeysFixture.machineKey)
    }

    private func randomLocator(_ generator: inout FuzzGenerator) -> PointLocator {
        PointLocator(
            vault: .random(), machine: .random(), incarnation: .random(), point: .random(),
            number: max(1, generator.next() >> UInt64.random(in: 1..<64, using: &generator)),
            time: Timestamp(nanoseconds: Int64(generator.next() % 9_000_000_000_000_000_000)),
            kind: PointKind.allCases.randomElement(using: &generator)!,
            flags: PointLocator.Flags(rawValue: UInt8.random(in: 0...3, using: &generator)),
            series: generator.next(), previous: LocatorHash(Bytes32(generator.bytes(32))!),
            references: (0..<Int.random(in: 0...33, using: &generator)).map { _ in BlobID(Bytes32(generator.bytes(32))!)
            })
    }

    @Test("Locators are read back, and each has one encoding only", arguments: [1, 2, 3] as [UInt64])
    func locators(seed: UInt64) throws {
        var generator = FuzzGenerator(seed: seed)
        for _ in 0..<300 {
            let locator = randomLocator(&generator)
            let bytes = locator.encoded()
            #expect(try bytes.decoded { try PointLocator.decode($0) } == locator, "seed \(seed)")
            #expect(bytes.count <= PointLocator.maximumLength)
            // Whatever else decodes is encoded back to the same bytes: a hash names one locator.
            let mutated = generator.mutation(of: bytes)
            if let other = try? mutated.decoded({ try PointLocator.decode($0) }) {
                #expect(other.encoded() == mutated, "seed \(seed)")
                if mutated != bytes { #expect(other.hash != locator.hash) }
            }
        }
    }

    @Test("A locator sorts its references and names each once")
    func references() {
        #expect(KeysFixture.locator().references == [BlobID(KeysFixture.digest(3)), BlobID(KeysFixture.digest(9))])
    }

    @Test("Points are read back, and the id changes with the arrival")
    func points() throws {
        var point = try sealed()
        let id = point.blobID
        point.arrival = KeysFixture.now
        #expect(point.blobID != id)
        let read = try point.encoded().decoded { try SealedPoint.decode($0) }
        #expect(read == point)
        #expect(read.arrival == KeysFixture.now)
        #expect(try read.open(with: key).isSame(as: KeysFixture.record))
        try read.verify(with: KeysFixture.machineKey.verifyingKey)
    }

    @Test("The arrival is the vault's to fill in: the machine's signature does not cover it")
    func arrival() throws {
        var point = try sealed()
        point.arrival = Timestamp(seconds: 99)
        try point.verify(with: KeysFixture.machineKey.verifyingKey)
    }

    @Test("Nobody else's key verifies, and no part can be exchanged")
    func forgery() throws {
        let point = try sealed()
        #expect(throws: HoldfastError.self) { try point.verify(with: SigningKey.random().verifyingKey) }
        let other = try sealed(KeysFixture.locator(number: 2, previous: KeysFixture.locator().hash))
        let crossed = SealedPoint(
            arrival: point.arrival, locator: other.locator, wrap: point.wrap, sealedRecord: point.sealedRecord,
            signature: point.signature)
        #expect(throws: HoldfastError.self) { try crossed.verify(with: KeysFixture.machineKey.verifyingKey) }
        #expect(throws: HoldfastError.self) { try crossed.open(with: key) }
        let otherKey = RecordKey(key: SymmetricKey(size: .bits256), wrap: point.wrap)
        let error = try #require(throws: HoldfastError.self) { try point.open(with: otherKey) }
        #expect(error.code == .damaged)
    }

    @Test(
        "A point of a machine that joined again is verified by its older record, and by no record that the vault did not sign"
    )
    func joinedAgain() throws {
        let point = try sealed()
        let vaultKey = KeysFixture.master.vaultSigningKey
        func record(_ key: SigningKey, _ machine: MachineID, by signing: SigningKey) throws -> MachineRecord {
            try MachineRecord(
                machine: machine, key: key.verifyingKey, joined: KeysFixture.now, name: "w", domain: "vault",
                signing: signing)
        }
        let old = try record(KeysFixture.machineKey, KeysFixture.machine, by: vaultKey)
        let new = try record(.random(), KeysFixture.machine, by: vaultKey)
        try PointSigners([new, old], of: vaultKey.verifyingKey).verify(point)
        let planted = try record(KeysFixture.machineKey, KeysFixture.machine, by: .random())
        let other = try record(KeysFixture.machineKey, .random(), by: vaultKey)
        for records in [[], [new], [planted], [other], [new, planted, other]] {
            #expect(throws: HoldfastError.self) {
                try PointSigners(records, of: vaultKey.verifyingKey).verify(point)
            }
        }
    }

    @Test("References that are not sorted or stand twice are refused")
    func unsortedReferences() throws {
        let bytes = KeysFixture.locator().encoded()
        let (head, first, second) = (bytes.dropLast(64), bytes.dropLast(32).suffix(32), bytes.suffix(32))
        #expect(throws: Never.self) { try Array(head + first + second).decoded { try PointLocator.decode($0) } }
        for wrong in [head + second + first, head + first + first, head + second + second] {
            #expect(throws: HoldfastError.self) { try Array(wrong).decoded { try PointLocator.decode($0) } }
        }
    }

    @Test("Every flipped bit of a point is refused by decoder, signature or seal, but for the receipt's and the wrap's")
    func flippedBits() throws {
        let point = try sealed()
        let bytes = point.encoded()
        // The wrap is protected by HPKE, which has its own test.
        let wrapStart = 10 + 4 + point.locator.encoded().count + 4
        let wrapEnd = wrapStart + RecordKey.wrapLength
        for index in bytes.indices where index >= 10 && !(wrapStart..<wrapEnd).contains(index) {
            var changed = bytes
            changed[index] ^= 1 << UInt8(index % 8)
            #expect(throws: HoldfastError.self, "byte \(index)") {
                let read = try changed.decoded { try SealedPoint.decode($0) }
                try read.verify(with: KeysFixture.machineKey.verifyingKey)
            }
        }
    }

    @Test("A wrapped key opens with the vault's pair only, for its vault only, and no bit can be changed")
    func wraps() throws {
        let pair = try KeysFixture.pair()
        let opened = try pair.openPrivate(master: KeysFixture.master, vault: KeysFixture.vault)
        let key = try RecordKey.fresh(for: pair.publicKey, vault: KeysFixture.vault)
        #expect(key.wrap.count == 1170)
        func open(_ wrap: [UInt8], _ vault: VaultID = KeysFixture.vault) throws -> RecordKey {
            try RecordKey.open(wrap, privateKeys: [1: opened], vault: vault)
        }
        #expect(try open(key.wrap).key == key.key)
        #expect(throws: HoldfastError.self) { try open(key.wrap, .random()) }
        var generator = FuzzGenerator(seed: 8)
        for _ in 0..<40 {
            var wrap = key.wrap
            wrap[Int.random(in: 0..<wrap.count, using: &generator)] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            #expect(throws: HoldfastError.self) { try open(wrap) }
        }
        for wrong in [[], Array(key.wrap.dropLast()), key.wrap + [0]] {
            #expect(throws: HoldfastError.self) { try open(wrong) }
        }
        let other = try VaultPrivateKey(number: 1, seed: KeyCrypto.random(32))
        #expect(throws: HoldfastError.self) {
            try RecordKey.open(key.wrap, privateKeys: [1: other], vault: KeysFixture.vault)
        }
    }

    @Test("Two fresh keys differ, and so do two wraps of one key")
    func freshness() throws {
        let pair = try KeysFixture.pair()
        let a = try RecordKey.fresh(for: pair.publicKey, vault: KeysFixture.vault)
        let b = try RecordKey.fresh(for: pair.publicKey, vault: KeysFixture.vault)
        #expect(a.key != b.key)
        #expect(a.wrap != b.wrap)
        #expect(try sealed().sealedRecord != sealed().sealedRecord)
    }

    @Test("Mutated points are read or refused, and what is read is encoded back to the same bytes")
    func fuzzPoints() throws {
        var generator = FuzzGenerator(seed: 30)
        let bytes = try sealed().encoded()
        for _ in 0..<2_000 {
            let mutated = generator.mutation(of: bytes)
            if let read = try? mutated.decoded({ try SealedPoint.decode($0) }) { #expect(read.encoded() == mutated) }
        }
    }

    @Test("A length of four gigabytes is refused before anything is allocated")
    func hugeLengths() throws {
        let bytes = try sealed().encoded()
        let locatorLength = try sealed().locator.encoded().count
        for offset in [10, 14 + locatorLength, 18 + locatorLength + RecordKey.wrapLength] {
            for huge: [UInt8] in [[0xFF, 0xFF, 0xFF, 0xFF], [0xFF, 0xFF, 0xFF, 0x7F], [0, 0, 0, 0]] {
                var changed = bytes
                changed.replaceSubrange(offset..<(offset + 4), with: huge)
                #expect(throws: HoldfastError.self) { try changed.decoded { try SealedPoint.decode($0) } }
            }
        }
    }

    @Test("A newer version is told as such and not as damage")
    func newerVersions() throws {
        var point = try sealed().encoded()
        point[0] = 2
        let error = try #require(throws: HoldfastError.self) { try point.decoded { try SealedPoint.decode($0) } }
        #expect(error.code == .unsupported)
        var locator = KeysFixture.locator().encoded()
        locator[0] = 9
        let other = try #require(throws: HoldfastError.self) { try locator.decoded { try PointLocator.decode($0) } }
        #expect(other.code == .unsupported)
    }
}

@Suite struct PointRecordTests {
    private func decode(_ bytes: [UInt8]) throws -> PointRecord { try bytes.decoded { try PointRecord.decode($0) } }

    @Test("Every field of a record is read back")
    func roundTrip() throws {
        let record = KeysFixture.record
        let read = try decode(try record.encoded())
        #expect(read.root == record.root)
        #expect(read.deltas == record.deltas)
        #expect(read.labels == record.labels)
        #expect(read.consistency == record.consistency)
        #expect(read.statistics == record.statistics)
        #expect(read.warnings == record.warnings)
        #expect(read.furtherWarnings == record.furtherWarnings)
        #expect(read.protectedPaths == record.protectedPaths)
        #expect(read.host == record.host)
        #expect(read.program == record.program)
        #expect(read.warningCount == 9)
    }

    @Test("Warnings beyond the bounds are counted, and the record stays within its length")
    func manyWarnings() throws {
        var record = KeysFixture.record
        record.furtherWarnings = 5
        record.warnings = (0..<25_000).map {
            PointWarning(reason: .denied, path: Array("some/path/\($0)".utf8), text: "permission denied")
        }
        let read = try decode(try record.encoded())
        #expect(read.warnings.count == 10_000)
        #expect(read.warningCount == 25_005)
        record.warnings = (0..<5_000).map { _ in
            PointWarning(
                reason: .io, path: [UInt8](repeating: 0x61, count: 4_000), text: String(repeating: "é", count: 9_000))
        }
        let bytes = try record.encoded()
        #expect(bytes.count < 2 << 20)
        let second = try decode(bytes)
        #expect(second.warningCount == 5_005)
        #expect(second.warnings[0].text.utf8.count == 4096)
    }

    @Test("Long texts are cut between characters")
    func longTexts() throws {
        var record = KeysFixture.record
        record.host = "x" + String(repeating: "é", count: 1_000)
        record.labels = [String(repeating: "👍", count: 500)]
        let read = try decode(try record.encoded())
        #expect(read.host == "x" + String(repeating: "é", count: 511))
        #expect(read.labels == [String(repeating: "👍", count: 256)])
    }

    @Test("What cannot be written is refused when it is written")
    func limits() {
        var record = KeysFixture.record
        record.deltas = [ContentKey](repeating: ContentKey(.zero), count: 33)
        #expect(throws: HoldfastError.self) { try record.encoded() }
        record.deltas = []
        record.labels = [String](repeating: "x", count: 65)
        #expect(throws: HoldfastError.self) { try record.encoded() }
        record.labels = []
        record.protectedPaths = [[UInt8]](repeating: [UInt8](repeating: 0x61, count: 60_000), count: 100)
        #expect(throws: HoldfastError.self) { try record.encoded() }
    }

    @Test("Rules by which names were left out are kept, within bounds, and cost nothing where there are none")
    func exclusions() throws {
        var record = KeysFixture.record
        let plain = try record.encoded()
        record.exclusions = [Array("--exclude *.iso".utf8), [0xFF, 0x2A]]
        #expect(try record.encoded() == plain + [11, 15] + Array("--exclude *.iso".utf8) + [11, 2, 0xFF, 0x2A])
        #expect(try decode(record.encoded()).exclusions == record.exclusions)
        record.exclusions = (0..<300).map { _ in [UInt8](repeating: 0x61, count: 2000) }
        let read = try decode(record.encoded()).exclusions
        #expect(read.count == 256)
        #expect(read[0].count == 1024)
        #expect(read[255] == Array("45 more".utf8))
        #expect(throws: HoldfastError.self) {
            try decode(plain + (0..<257).flatMap { _ in [11, 1, 0x61] as [UInt8] })
        }
    }

    @Test("Unknown fields of a newer version are skipped")
    func unknownTags() throws {
        let bytes = try KeysFixture.record.encoded() + [12, 2, 0xFF, 0xFF] + [0x80, 0x01, 0]
        #expect(try decode(bytes).isSame(as: KeysFixture.record))
    }

    @Test(
        "Malformed records are refused",
        arguments: [
            [], [2, 1, 0], [0, 0], [1, 31] + [UInt8](repeating: 0, count: 31),
            [1, 33] + [UInt8](repeating: 0, count: 33),
            [1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1], [1],
        ] as [[UInt8]])
    func malformed(bytes: [UInt8]) {
        #expect(throws: HoldfastError.self) { try decode(bytes) }
    }

    @Test("Fields out of order, twice, or with a wrong value are refused")
    func wrongFields() {
        let root: [UInt8] = [1, 32] + [UInt8](repeating: 5, count: 32)
        for tail: [UInt8] in [
            root, [9, 1, 0x61, 3, 1, 0x61], [4, 1, 0], [4, 1, 4], [4, 2, 1, 1], [5, 1, 0], [3, 1, 0xFF],
            [7, 2, 0x80, 0],
            [9, 1, 0x61, 9, 1, 0x61], [6, 2, 1, 5], [6, 3, 1, 0, 5],
        ] {
            #expect(throws: HoldfastError.self, "\(tail)") { try decode(root + tail) }
        }
        #expect(throws: Never.self) { try decode(root) }
        let deltas = (0..<33).flatMap { _ in [2, 32] + [UInt8](repeating: 1, count: 32) }
        #expect(throws: HoldfastError.self) { try decode(root + deltas) }
    }

    @Test("Mutated records are read or refused, never more")
    func fuzz() throws {
        var generator = FuzzGenerator(seed: 31)
        let bytes = try KeysFixture.record.encoded()
        for _ in 0..<5_000 {
            let mutated = generator.mutation(of: bytes)
            if let read = try? decode(mutated) { _ = try? read.encoded() }
        }
    }
}

@Suite struct OtherRecordTests {
    private let vaultKey = KeysFixture.master.vaultSigningKey

    private var hold: HoldRecord.Content {
        HoldRecord.Content(
            hold: HoldID(high: 1, low: 2), placed: KeysFixture.now, isPlaced: true,
            machines: [KeysFixture.machine, MachineID(high: 5, low: 6)],
            paths: [Array("srv/mail".utf8), [0xFF]], from: Timestamp(seconds: 5), until: Timestamp(seconds: 10),
            reference: "case 2026/17")
    }

    private func machine(name: String = "web1", domain: String = "vault") throws -> MachineRecord {
        try MachineRecord(
            machine: KeysFixture.machine, key: KeysFixture.machineKey.verifyingKey, joined: KeysFixture.now, name: name,
            domain: domain, signing: vaultKey)
    }

    private func redaction() throws -> RedactionRecord {
        try RedactionRecord.seal(
            locator: KeysFixture.locator(), time: KeysFixture.now, path: Array("home/x".utf8),
            references: [BlobID(KeysFixture.digest(2)), BlobID(KeysFixture.digest(1))], record: KeysFixture.record,
            key: RecordKey(
                key: SymmetricKey(data: [UInt8](repeating: 0x66, count: 32)),
                wrap: [UInt8](repeating: 0x77, count: RecordKey.wrapLength)),
            signing: vaultKey)
    }

    @Test("Machines, holds and redactions are read back and verified by the vault's key only")
    func roundTrips() throws {
        let machine = try machine()
        let readMachine = try machine.encoded().decoded { try MachineRecord.decode($0) }
        #expect(readMachine == machine)
        try readMachine.verify(with: vaultKey.verifyingKey)
        let hold = try HoldRecord(hold, signing: vaultKey)
        let readHold = try hold.encoded().decoded { try HoldRecord.decode($0) }
        #expect(readHold == hold)
        try readHold.verify(with: vaultKey.verifyingKey)
        let redaction = try redaction()
        let readRedaction = try redaction.encoded().decoded { try RedactionRecord.decode($0) }
        #expect(readRedaction == redaction)
        try readRedaction.verify(with: vaultKey.verifyingKey)
        #expect(Set([machine.blobID, hold.blobID, redaction.blobID]).count == 3)
        let other = SigningKey.random().verifyingKey
        #expect(throws: HoldfastError.self) { try machine.verify(with: other) }
        #expect(throws: HoldfastError.self) { try hold.verify(with: other) }
        #expect(throws: HoldfastError.self) { try redaction.verify(with: other) }
    }

    @Test("A redaction opens for its point only")
    func redactionOfItsPoint() throws {
        let redaction = try redaction()
        let key = RecordKey(key: SymmetricKey(data: [UInt8](repeating: 0x66, count: 32)), wrap: redaction.wrap)
        #expect(try redaction.open(with: key, locator: KeysFixture.locator()).isSame(as: KeysFixture.record))
        let changed = KeysFixture.locator(time: Timestamp(seconds: 1))
        #expect(throws: HoldfastError.self) { try redaction.open(with: key, locator: changed) }
        #expect(redaction.references == [BlobID(KeysFixture.digest(1)), BlobID(KeysFixture.digest(2))])
    }

    @Test("A hold covers its machines and its period while it is placed")
    func holdCovers() {
        var hold = hold
        let machine = KeysFixture.machine
        #expect(hold.covers(machine: machine, time: Timestamp(seconds: 5)))
        #expect(hold.covers(machine: machine, time: Timestamp(seconds: 10)))
        #expect(!hold.covers(machine: machine, time: Timestamp(seconds: 4)))
        #expect(!hold.covers(machine: machine, time: Timestamp(seconds: 11)))
        #expect(!hold.covers(machine: MachineID(high: 9, low: 9), time: Timestamp(seconds: 7)))
        hold.machines = []
        #expect(hold.covers(machine: MachineID(high: 9, low: 9), time: Timestamp(seconds: 7)))
        hold.isPlaced = false
        #expect(!hold.covers(machine: machine, time: Timestamp(seconds: 7)))
    }

    @Test("Every flipped bit of a machine or a hold is refused by decoder or signature")
    func flippedBits() throws {
        let machine = try machine().encoded()
        for index in machine.indices {
            var changed = machine
            changed[index] ^= 1 << UInt8(index % 8)
            #expect(throws: HoldfastError.self, "byte \(index)") {
                try changed.decoded { try MachineRecord.decode($0) }.verify(with: vaultKey.verifyingKey)
            }
        }
        let hold = try HoldRecord(hold, signing: vaultKey).encoded()
        for index in hold.indices {
            var changed = hold
            changed[index] ^= 1 << UInt8(index % 8)
            #expect(throws: HoldfastError.self, "byte \(index)") {
                try changed.decoded { try HoldRecord.decode($0) }.verify(with: vaultKey.verifyingKey)
            }
        }
    }

    @Test("Names, domains, paths and references have bounds")
    func limits() throws {
        #expect(throws: HoldfastError.self) { try machine(name: String(repeating: "x", count: 1025)) }
        for domain in ["", "a b", "ä", String(repeating: "x", count: 256)] {
            #expect(throws: HoldfastError.self) { try machine(domain: domain) }
        }
        var hold = hold
        hold.reference = String(repeating: "x", count: 4097)
        #expect(throws: HoldfastError.self) { try HoldRecord(hold, signing: vaultKey) }
        hold.reference = ""
        hold.paths = [[UInt8]](repeating: [UInt8](repeating: 0x61, count: 60_000), count: 100)
        #expect(throws: HoldfastError.self) { try HoldRecord(hold, signing: vaultKey) }
    }

    @Test("Counts that the bytes cannot hold are refused before anything is allocated")
    func hugeCounts() throws {
        // version, id, placed, state, then a count of machines near 2^63.
        let head: [UInt8] = [1] + [UInt8](repeating: 0, count: 24) + [1]
        let huge: [UInt8] = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]
        for bytes in [head + huge, head + [0] + huge, head + [0xFF, 0xFF, 0x03], head + [0, 0xFF, 0x7F]] {
            #expect(throws: HoldfastError.self) { try bytes.decoded { try HoldRecord.decode($0) } }
        }
    }

    @Test("Mutated records are read or refused, and what is read is encoded back to the same bytes")
    func fuzz() throws {
        var generator = FuzzGenerator(seed: 32)
        let machine = try machine().encoded()
        let hold = try HoldRecord(hold, signing: vaultKey).encoded()
        let redaction = try redaction().encoded()
        for _ in 0..<1_500 {
            let a = generator.mutation(of: machine)
            if let read = try? a.decoded({ try MachineRecord.decode($0) }) { #expect(read.encoded() == a) }
            let b = generator.mutation(of: hold)
            if let read = try? b.decoded({ try HoldRecord.decode($0) }) { #expect(read.encoded() == b) }
            let c = generator.mutation(of: redaction)
            if let read = try? c.decoded({ try RedactionRecord.decode($0) }) { #expect(read.encoded() == c) }
        }
    }

    @Test("Ed25519 agrees with RFC 8032")
    func ed25519() throws {
        // The second test of section 7.1.
        let seed = Hex.decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")!
        let key = SigningKey(seed: seed)!
        #expect(key.verifyingKey.description == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
        let signature = try key.sign([0x72])
        #expect(
            Hex.encode(signature)
                == "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                + "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00")
        #expect(key.verifyingKey.verifies(signature, of: [0x72]))
        #expect(!key.verifyingKey.verifies(signature, of: [0x73]))
        #expect(!key.verifyingKey.verifies(Array(signature.dropLast()), of: [0x72]))
        #expect(!VerifyingKey(bytes: KeysFixture.digest(0xFF)).verifies(signature, of: [0x72]))
    }
}
