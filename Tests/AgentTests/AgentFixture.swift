import Capture
import Catalog
import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Agent

/// Whether this process may watch file systems and mount some.
let canWatch = geteuid() == 0 && (try? FanotifyGroup()) != nil

/// A service that goes through another one and can be cut off, as a server that is away is.
final class CuttableVault: VaultService {
    private let inner: any VaultService
    private let state = Mutex<(isCut: Bool, refusals: [HoldfastError.Code], cutsAfterCommit: Bool)>((false, [], false))
    private let meanwhile = Mutex<(@Sendable () -> Void)?>(nil)
    let commits = Atomic<Int>(0)

    init(_ inner: any VaultService) { self.inner = inner }

    var isCut: Bool {
        get { state.withLock { $0.isCut } }
        set { state.withLock { $0.isCut = newValue } }
    }

    /// The connection breaks when something was committed.
    var cutsAfterCommit: Bool {
        get { state.withLock { $0.cutsAfterCommit } }
        set { state.withLock { $0.cutsAfterCommit = newValue } }
    }

    /// What the next commits are refused with.
    var refusals: [HoldfastError.Code] {
        get { state.withLock { $0.refusals } }
        set { state.withLock { $0.refusals = newValue } }
    }

    /// Done once, while the next commit is under way.
    func duringCommit(_ body: @escaping @Sendable () -> Void) { meanwhile.withLock { $0 = body } }

    private func check() throws {
        if isCut { throw HoldfastError(.io, "the server does not answer", isTemporary: true) }
    }

    var vault: VaultID { inner.vault }
    func openLease(_ request: LeaseRequest) throws -> Lease {
        try check()
        return try inner.openLease(request)
    }
    func closeLease(_ id: LeaseID) { inner.closeLease(id) }
    func missing(_ blobs: [BlobQuestion], lease: LeaseID) throws -> [Bool] {
        try check()
        return try inner.missing(blobs, lease: lease)
    }
    func store(_ pack: SealedPack, lease: LeaseID) throws {
        try check()
        try inner.store(pack, lease: lease)
    }
    func commit(_ point: SealedPoint, lease: LeaseID) throws -> CommitReceipt {
        try check()
        if let code = state.withLock({ $0.refusals.isEmpty ? nil : $0.refusals.removeFirst() }) {
            throw HoldfastError(code, "refused for the test")
        }
        let body = meanwhile.withLock { body in
            defer { body = nil }
            return body
        }
        body?()
        let receipt = try inner.commit(point, lease: lease)
        commits.add(1, ordering: .relaxed)
        // What was done and is not heard of.
        if cutsAfterCommit { isCut = true }
        try check()
        return receipt
    }
    func points(_ query: PointQuery) throws -> [PointSummary] {
        // Questions of the test itself have no id in them.
        if !query.ids.isEmpty { try check() }
        return try inner.points(query)
    }
    func point(_ id: PointID) throws -> SealedPoint { try inner.point(id) }
    func machineRecords(of machine: MachineID) throws -> [MachineRecord] { try inner.machineRecords(of: machine) }
    func machineRecords() throws -> [MachineID: MachineRecord] { try inner.machineRecords() }
    func redactions(of point: PointID) throws -> [RedactionRecord] { try inner.redactions(of: point) }
    func read(_ ids: [BlobID], _ body: (BlobID, UnsafeRawBufferPointer) throws -> Void) throws {
        try check()
        try inner.read(ids, body)
    }
}

/// A machine with a file system of its own, a vault, and an agent that protects the one in the other.
final class AgentFixture {
    let disk: LoopFileSystem?
    /// What is protected.
    let root: String
    let vault: VaultFixture
    let service: CuttableVault
    let machine: TestMachine
    let directory: String
    private let state: StateDirectory
    private(set) var agent: AgentService?

    /// `nil`, with the reason printed, where file systems cannot be made.
    init?(_ kind: LoopFileSystem.Kind = .ext4, megabytes: Int = 320) throws {
        guard let disk = LoopFileSystem.make(kind, megabytes: megabytes) else { return nil }
        self.disk = disk
        // Names of points have no double slashes.
        root = "/" + disk.path.split(separator: "/").joined(separator: "/") + "/kept"
        mkdir(root, 0o755)
        directory = NSTemporaryDirectory() + "holdfast-agent-\(UUID().uuidString)"
        vault = try VaultFixture()
        let local = try vault.open { $0.access = .change }
        service = CuttableVault(local)
        let machine = try vault.join(local)
        self.machine = machine
        state = try StateDirectory(path: Array(directory.utf8))
    }

    deinit {
        agent?.abandon()
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// Starts an agent and waits for the first scan.
    @discardableResult
    func start(
        settle: Double = 0.05, _ change: (inout AgentConfiguration) -> Void = { _ in },
        waiting: (AgentStatus) -> Bool = { $0.scans > 0 && $0.lag == 0 }
    ) throws -> AgentService {
        var configuration = AgentConfiguration(
            source: CaptureSource(roots: [try #require(TreePath(root))]), ignored: [], settle: settle,
            sealing: SealingPipeline.Options(), cacheDirectory: try state.cacheDirectory(of: vault.config.vault),
            spoolDirectory: Array((directory + "/spool").utf8), hostName: "test", program: "test")
        configuration.longestPause = 200_000_000
        change(&configuration)
        let agent = try AgentService(
            service: service, secrets: machine.secrets, heads: StateHeads(state, vault: vault.config.vault),
            configuration: configuration)
        try agent.start()
        self.agent = agent
        try waits(waiting)
        return agent
    }

    /// Ends the agent as a kill would: nothing is stored any more.
    func abandon() {
        agent?.abandon()
        agent = nil
    }

    /// Waits until the status says so.
    func waits(
        seconds: Double = 30, sourceLocation: SourceLocation = #_sourceLocation, _ wanted: (AgentStatus) -> Bool
    ) throws {
        let agent = try #require(agent)
        let end = ContinuousClock.now + .seconds(seconds)
        while !wanted(agent.status) {
            if ContinuousClock.now > end {
                Issue.record("\(agent.status)", sourceLocation: sourceLocation)
                throw HoldfastError(.busy, "waited for too long")
            }
            usleep(2_000)
        }
    }

    /// Waits until all that has happened is stored.
    func settle() throws { _ = try agent?.captureNow(seconds: 60) }

    func points() throws -> [PointSummary] {
        try service.points(PointQuery(machine: machine.id)).sorted { $0.number < $1.number }
    }

    func newestPoint() throws -> PointID {
        let newest = try points().last
        return try #require(newest).id
    }

    func path(_ name: String) -> TreePath { TreePath("\(root)/\(name)") ?? .root }

    func open(_ point: PointID) throws -> PointReader {
        try PointReader(service: service, keys: vault.keys, point: point)
    }

    /// A file as the newest point has it.
    func newest(_ name: String) throws -> [UInt8]? {
        let reader = try open(try newestPoint())
        defer { reader.close() }
        guard let entry = try reader.entry(of: path(name)) else { return nil }
        return try Self.content(entry, reader)
    }

    static func content(_ entry: Entry, _ reader: PointReader) throws -> [UInt8] {
        var bytes: [UInt8] = []
        try reader.read(entry) {
            bytes += Array($0)
            return true
        }
        return bytes
    }

    func put(_ name: String, _ bytes: [UInt8]) {
        let file = Glibc.open("\(root)/\(name)", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        _ = bytes.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
        close(file)
    }

    func put(_ name: String, _ text: String) { put(name, Array(text.utf8)) }

    /// Contents of a file in the points, oldest first.
    func history(_ name: String) throws -> [String] {
        var found: [String] = []
        for point in try points() {
            let reader = try open(point.id)
            defer { reader.close() }
            guard let entry = try reader.entry(of: path(name)) else { continue }
            let text = String(decoding: try Self.content(entry, reader), as: UTF8.self)
            if found.last != text { found.append(text) }
        }
        return found
    }

    /// Waits until all that has happened is in the spool.
    func spoolNow() throws { try #require(agent).spoolNow(seconds: 30) }

    /// The newest point and the disk agree.
    func checkNewest(sourceLocation: SourceLocation = #_sourceLocation) throws {
        let found = try differences()
        #expect(found.isEmpty, "\(found.count): \(found.prefix(5))", sourceLocation: sourceLocation)
    }

    /// What the newest point and the disk do not agree on.
    func differences() throws -> [String] {
        let reader = try open(try newestPoint())
        defer { reader.close() }
        return try Self.differences(reader, root: root)
    }

    static func differences(_ reader: PointReader, root: String) throws -> [String] {
        struct Seen: Equatable {
            var kind: UInt8
            var mode: UInt16
            var uid: UInt32
            var size: UInt64
            var mtime: FileTime
            var hash: Int
        }
        var stored: [String: Seen] = [:]
        let prefix = try #require(TreePath(root))
        try reader.tree.scan(below: prefix) { item in
            let entry = try item.entry()
            var seen = Seen(
                kind: entry.kind.rawValue, mode: entry.mode, uid: entry.uid, size: entry.size, mtime: entry.mtime,
                hash: 0)
            switch entry.kind {
            case .regular: seen.hash = try content(entry, reader).hashValue
            case .symbolicLink: (seen.hash, seen.size) = (entry.target.hashValue, 0)
            default: seen.size = 0
            }
            stored[try item.path().displayText] = seen
            return true
        }
        var found: [String: Seen] = [:]
        func visit(_ path: String) throws {
            let status = try withCName(Array(path.utf8)) { (name) throws(Errno) in
                try FileSystem.status(at: FileSystem.currentDirectory, name)
            }
            var seen = Seen(
                kind: status.kind.rawValue, mode: status.mode, uid: status.uid, size: status.size,
                mtime: FileTime(seconds: status.modified.seconds, nanoseconds: status.modified.nanoseconds), hash: 0)
            switch status.kind {
            case .regular: seen.hash = Array(FileManager.default.contents(atPath: path) ?? Data()).hashValue
            case .symbolicLink:
                let target = try FileManager.default.destinationOfSymbolicLink(atPath: path)
                (seen.hash, seen.size) = (Array(target.utf8).hashValue, 0)
            default: seen.size = 0
            }
            found[path] = seen
            if status.kind == .directory {
                for name in try FileManager.default.contentsOfDirectory(atPath: path) { try visit("\(path)/\(name)") }
            }
        }
        try visit(root)
        var differences: [String] = []
        for (path, seen) in found {
            guard let known = stored[path] else {
                differences.append("not stored: \(path)")
                continue
            }
            if known != seen { differences.append("\(path): \(known) stored, \(seen) there") }
        }
        for path in stored.keys where found[path] == nil { differences.append("not there: \(path)") }
        return differences.sorted()
    }

    /// The numbers of the points of the newest incarnation, which must be dense.
    func checkSequence(sourceLocation: SourceLocation = #_sourceLocation) throws {
        let points = try points()
        let incarnations = Set(points.map(\.incarnation))
        #expect(incarnations.count == 1, sourceLocation: sourceLocation)
        #expect(points.map(\.number) == Array(1...UInt64(points.count)), sourceLocation: sourceLocation)
    }
}
