import Crypto
import Model

@testable import Vault

/// Fixed keys, the same in every run, and a vault made from the system's random source.
enum KeysFixture {
    static let vault = VaultID(hex: "101112131415161718191a1b1c1d1e1f")!
    static let machine = MachineID(hex: "202122232425262728292a2b2c2d2e2f")!
    static let incarnation = IncarnationID(hex: "303132333435363738393a3b3c3d3e3f")!
    static let master = MasterSecret((0..<32).map { UInt8($0) })!
    static let sheet = KeySheet(secret: (0..<20).map { UInt8(0xA0 + $0) })!
    static let serverKey = try! ServerKey((0..<32).map { UInt8(0x40 + $0) })
    static let passphrase = try! Passphrase(Array("correct horse battery staple".utf8))
    static let machineKey = SigningKey(seed: [UInt8](repeating: 7, count: 32))!
    static let now = Timestamp(seconds: 1_795_169_700)
    /// Cheap: tests open many slots.
    static let scrypt = ScryptParameters(n: 1024, r: 8, p: 1)

    static func nonce(_ first: UInt8) -> [UInt8] { (0..<12).map { first + UInt8($0) } }

    static func digest(_ byte: UInt8) -> Bytes32 { Bytes32([UInt8](repeating: byte, count: 32))! }

    static func pair(number: UInt16 = 1) throws -> VaultKeyPair {
        try VaultKeyPair.make(
            number: number, master: master, vault: vault, created: now,
            seed: (0..<32).map { UInt8(0x80 + $0) }, nonce: nonce(0x10))
    }

    static func locator(number: UInt64 = 1, previous: LocatorHash = .none, time: Timestamp = now) -> PointLocator {
        PointLocator(
            vault: vault, machine: machine, incarnation: incarnation,
            point: PointID(high: 0x4041_4243_4445_4647, low: number), number: number, time: time, kind: .scheduled,
            flags: [.pinned], series: 0x0102_0304_0506_0708, previous: previous,
            references: [BlobID(digest(9)), BlobID(digest(3)), BlobID(digest(9))])
    }

    static var record: PointRecord {
        var record = PointRecord(root: ContentKey(digest(0x51)))
        record.deltas = [ContentKey(digest(0x52)), ContentKey(digest(0x53))]
        record.labels = ["before the upgrade", "größer"]
        record.consistency = .file
        record.statistics.entries = 123_456
        record.statistics.files = 100_000
        record.statistics.directories = 20_000
        record.statistics.bytes = 5_000_000_000
        record.statistics.bytesRead = 1_000_000
        record.statistics.newBytes = 300
        record.statistics.storedBytes = 200
        record.statistics.milliseconds = 1500
        record.warnings = [
            PointWarning(reason: .denied, path: Array("etc/shadow".utf8), text: "permission denied (EACCES)"),
            PointWarning(reason: .vanished, path: [0x74, 0xFF], text: ""),
        ]
        record.furtherWarnings = 7
        record.protectedPaths = [Array("/etc".utf8), Array("/srv".utf8)]
        record.host = "web1"
        record.program = "holdfast 0.1.0"
        return record
    }

    /// A vault with a passphrase, a key sheet and a server key.
    static func newVault(kind: VaultConfig.Kind = .serverReadable) throws -> VaultKeys.NewVault {
        try VaultKeys.makeVault(
            kind: kind,
            secrets: [(.passphrase(passphrase), "mine"), (.serverKey(serverKey), "server")],
            created: now,
            scrypt: scrypt
        )
    }
}

extension PointRecord {
    /// Records are secrets and not `Equatable`; their encodings are compared.
    func isSame(as other: PointRecord) throws -> Bool { try encoded() == other.encoded() }
}

extension [UInt8] {
    /// Decodes through a buffer that ends where a page that must not be touched could begin: exactly as long as the bytes.
    func decoded<Value>(_ decode: (UnsafeRawBufferPointer) throws -> Value) rethrows -> Value {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
        defer { buffer.deallocate() }
        buffer.copyBytes(from: self)
        return try decode(UnsafeRawBufferPointer(buffer))
    }
}
