import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Capture

/// A machine with a directory of its own, a vault in memory, and the keys of both.
final class BackupFixture {
    let root: String
    let caches: String
    let vault: MemoryVault
    let keys: VaultKeys
    let secrets: WriterSecrets
    var head: MachineHead?

    private static let shared = Result { try makeKeys() }

    private static func makeKeys() throws -> (VaultKeys, WriterSecrets) {
        // No passphrase slot: its scrypt is tested elsewhere and costs half a second.
        let made = try VaultKeys.makeVault(
            kind: .serverReadable, secrets: [], created: Timestamp(seconds: 1_700_000_000))
        let enrolled = try made.keys.enrol(
            machine: .random(), name: "test", location: "memory", joined: Timestamp(seconds: 1_700_000_000))
        return (made.keys, enrolled.secrets)
    }

    /// - Parameter tree: what is protected, instead of a directory of its own.
    init(tree: String? = nil) throws {
        (keys, secrets) = try BackupFixture.shared.get()
        vault = MemoryVault(vault: keys.vault)
        let base = NSTemporaryDirectory() + "/holdfast-capture-" + UUID().uuidString
        root = tree ?? base + "/tree"
        caches = base + "/caches"
        for path in [root, caches] {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        }
    }

    deinit {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/rm")
        process.arguments = ["-rf", (caches as NSString).deletingLastPathComponent]
        try? process.run()
        process.waitUntilExit()
    }

    func write(_ name: String, _ bytes: [UInt8]) throws {
        let path = root + "/" + name
        try FileManager.default.createDirectory(
            atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        let file = try FileDescriptor.open(Array(path.utf8), [.writeOnly, .create, .truncate], mode: 0o644)
        try file.writeAll(bytes)
        try file.close()
    }

    /// Backs the directory up and remembers the new head.
    @discardableResult
    func backup(_ change: (inout BackupRequest) -> Void = { _ in }) throws -> (report: BackupReport, job: BackupJob) {
        var request = BackupRequest(
            source: CaptureSource(roots: [TreePath(root)!]), hostName: "test", program: "test")
        change(&request)
        let job = BackupJob(
            service: vault, secrets: secrets, heads: GivenHead(head), cacheDirectory: Array(caches.utf8),
            request: request)
        let report = try job.run()
        head = report.head
        return (report, job)
    }

    /// The tree of a point.
    func reader(_ point: PointID) throws -> TreeReader {
        let record = try keys.openRecord(unverified: try vault.point(point))
        return TreeReader(source: VaultNodes(vault), root: record.root, deltas: record.deltas)
    }

    /// Everything at and below the protected directory.
    func entries(_ point: PointID) throws -> [[UInt8]: Entry] {
        var found: [[UInt8]: Entry] = [:]
        try reader(point).scan(below: TreePath(root)!) { item in
            found[item.key] = try item.entry()
            return true
        }
        return found
    }

    /// The content of a file of a point, holes as zeros.
    func content(_ reader: TreeReader, _ path: String) throws -> [UInt8]? {
        guard let entry = try reader.lookup(TreePath(root + "/" + path)!) else { return nil }
        var bytes: [UInt8] = []
        let opener = BlobOpener()
        try reader.extents(of: entry) { extent, position in
            #expect(position == UInt64(bytes.count))
            guard let key = extent.key else {
                bytes += [UInt8](repeating: 0, count: Int(extent.length))
                return true
            }
            try vault.read([BlobCrypto.id(of: key)]) { _, framed in
                try opener.open(framed, key: key, expecting: .data) { plain in
                    bytes += plain[Int(extent.offset)..<(Int(extent.offset) + Int(extent.length))]
                }
            }
            return true
        }
        return bytes
    }
}

/// Opens nodes of a vault in memory.
final class VaultNodes: NodeSource {
    private let vault: MemoryVault
    private let opener = BlobOpener()
    init(_ vault: MemoryVault) { self.vault = vault }

    func node(_ key: ContentKey, type: BlobType) throws -> [UInt8] {
        var bytes: [UInt8] = []
        try vault.read([BlobCrypto.id(of: key)]) { _, framed in
            bytes = try opener.open(framed, key: key, expecting: type) { Array($0) }
        }
        return bytes
    }
}
