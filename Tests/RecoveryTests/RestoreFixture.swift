import Capture
import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Recovery

/// A machine with a directory to protect, a vault in memory, and places to restore to.
final class RestoreFixture {
    /// Everything of the fixture is below it.
    let base: String
    /// What is protected.
    let source: String
    let vault: MemoryVault
    let keys: VaultKeys
    let secrets: WriterSecrets
    var head: MachineHead?
    private let cleanUp: [() -> Void]

    private static let shared = Result { try makeKeys() }

    private static func makeKeys() throws -> (VaultKeys, WriterSecrets, MachineRecord) {
        let made = try VaultKeys.makeVault(
            kind: .serverReadable, secrets: [], created: Timestamp(seconds: 1_700_000_000))
        let enrolled = try made.keys.enrol(
            machine: .random(), name: "test", location: "memory", joined: Timestamp(seconds: 1_700_000_000))
        return (made.keys, enrolled.secrets, enrolled.record)
    }

    /// - Parameter place: where to work; the system's temporary directory when `nil`.
    init(in place: String? = nil, cleanUp: [() -> Void] = []) throws {
        let machine: MachineRecord
        (keys, secrets, machine) = try RestoreFixture.shared.get()
        vault = MemoryVault(vault: keys.vault)
        vault.register(machine)
        let parent = place ?? URL(fileURLWithPath: NSTemporaryDirectory()).resolvingSymlinksInPath().path
        base = parent + "/holdfast-recovery-" + UUID().uuidString.prefix(8).lowercased()
        source = base + "/source"
        self.cleanUp = cleanUp
        for path in [source, base + "/caches"] {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        }
    }

    deinit {
        _ = try? RestoreFixture.shell(
            "chattr -R -i -a '\(base)' 2>/dev/null; chmod -R u+rwx '\(base)'; rm -rf '\(base)'")
        for action in cleanUp { action() }
    }

    /// The path of the protected directory in points.
    var path: TreePath { TreePath(source)! }

    /// Runs a shell script in the protected directory.
    @discardableResult
    func make(_ script: String) throws -> String { try RestoreFixture.shell("cd '\(source)' && " + script) }

    /// Runs a shell script; a failure is an error with what it printed.
    @discardableResult
    static func shell(_ script: String) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        process.arguments = ["-euc", script]
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        let text = String(decoding: output, as: UTF8.self)
        guard process.terminationStatus == 0 else {
            throw HoldfastError(.io, "the script failed (\(process.terminationStatus)): \(script)\n\(text)")
        }
        return text
    }

    static var isRoot: Bool { geteuid() == 0 }

    func write(_ name: String, _ bytes: [UInt8]) throws { try RestoreFixture.write(source + "/" + name, bytes) }

    static func write(_ path: String, _ bytes: [UInt8]) throws {
        try FileManager.default.createDirectory(
            atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        let file = try FileDescriptor.open(Array(path.utf8), [.writeOnly, .create, .truncate], mode: 0o644)
        try file.writeAll(bytes)
        try file.close()
    }

    static func read(_ path: String) throws -> [UInt8] {
        try FileDescriptor.open(Array(path.utf8), .readOnly).readAll(limit: 1 << 30)
    }

    static func exists(_ path: String) -> Bool { (try? FileSystem.status(Array(path.utf8))) != nil }

    /// Protects the directory (or other paths), and opens the point.
    func backup(_ paths: [String]? = nil, _ change: (inout BackupRequest) -> Void = { _ in }) throws -> PointReader {
        try open(try backUp(paths, change).point)
    }

    func backUp(_ paths: [String]? = nil, _ change: (inout BackupRequest) -> Void = { _ in }) throws -> BackupReport {
        var request = BackupRequest(
            source: CaptureSource(roots: (paths ?? [source]).map { TreePath($0)! }), hostName: "test", program: "test")
        change(&request)
        let job = BackupJob(
            service: vault, secrets: secrets, heads: GivenHead(head), cacheDirectory: Array((base + "/caches").utf8),
            request: request)
        let report = try job.run()
        head = report.head
        return report
    }

    func open(_ point: PointID, through service: (any VaultService)? = nil) throws -> PointReader {
        try PointReader(service: service ?? vault, keys: keys, point: point)
    }

    /// A new path in the fixture.
    func place(_ name: String) -> String { base + "/" + name }

    /// Restores and gives the report.
    @discardableResult
    func restore(
        _ reader: PointReader, to directory: String, _ change: (inout RestoreRequest) -> Void = { _ in }
    ) throws -> RestoreReport {
        var request = RestoreRequest(paths: [path], destination: .directory(Array(directory.utf8)))
        // The disk belongs to all tests at once.
        request.sync = false
        change(&request)
        return try Restorer(reader: reader, request: request).run()
    }

    /// Restores to where it was.
    @discardableResult
    func restoreInPlace(
        _ reader: PointReader, _ change: (inout RestoreRequest) -> Void = { _ in }
    ) throws -> RestoreReport {
        var request = RestoreRequest(paths: [path], destination: .inPlace)
        request.sync = false
        change(&request)
        return try Restorer(reader: reader, request: request).run()
    }

    /// What an independent tool finds different between the protected directory and its restored copy; empty when
    /// nothing is.
    func differences(_ restored: String, from original: String? = nil) throws -> String {
        try RestoreFixture.shell(
            "rsync -aHAX --numeric-ids -n --checksum --delete --itemize-changes '\(original ?? source)/' '\(restored)/'"
        )
    }
}

/// A vault of which some blobs are gone or have flipped bits.
final class BrokenVault: VaultService {
    private let inner: MemoryVault
    private let missing: Set<BlobID>
    private let damaged: Set<BlobID>

    init(_ inner: MemoryVault, missing: Set<BlobID> = [], damaged: Set<BlobID> = []) {
        self.inner = inner
        self.missing = missing
        self.damaged = damaged
    }

    var vault: VaultID { inner.vault }
    func openLease(_ request: LeaseRequest) throws -> Lease { try inner.openLease(request) }
    func closeLease(_ id: LeaseID) { inner.closeLease(id) }
    func missing(_ blobs: [BlobQuestion], lease: LeaseID) throws -> [Bool] {
        try inner.missing(blobs, lease: lease)
    }
    func store(_ pack: SealedPack, lease: LeaseID) throws { try inner.store(pack, lease: lease) }
    func commit(_ point: SealedPoint, lease: LeaseID) throws -> CommitReceipt {
        try inner.commit(point, lease: lease)
    }
    func points(_ query: PointQuery) throws -> [PointSummary] { try inner.points(query) }
    func point(_ id: PointID) throws -> SealedPoint { try inner.point(id) }
    func machineRecords() throws -> [MachineID: MachineRecord] { try inner.machineRecords() }
    func machineRecords(of machine: MachineID) throws -> [MachineRecord] { try inner.machineRecords(of: machine) }

    func read(_ ids: [BlobID], _ body: (BlobID, UnsafeRawBufferPointer) throws -> Void) throws {
        var lost = ids.filter { missing.contains($0) }
        // As the local vault does: a copy that does not open is lost, the others are still handed over.
        try inner.read(ids.filter { !missing.contains($0) }) { id, framed in
            var bytes = Array(framed)
            if damaged.contains(id) { bytes[bytes.count - 20] ^= 1 }
            do { try bytes.withUnsafeBytes { try body(id, $0) } } catch let error as HoldfastError
                where error.code == .damaged
            {
                lost.append(id)
            }
        }
        if !lost.isEmpty {
            var error = HoldfastError(.damaged, "blobs are damaged or lost")
            error.blobs = lost
            throw error
        }
    }
}
