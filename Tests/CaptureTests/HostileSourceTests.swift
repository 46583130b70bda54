import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Capture

/// Sources that would make a backup of nothing look like one of something, or one file's entry another's.
@Suite struct HostileSourceTests {
    // MARK: Paths that are not reached

    @Test("a path below a symbolic link is not taken for a backup of it")
    func belowLink() throws {
        let fixture = try BackupFixture()
        try fixture.write("real/sub/file", [1])
        try fixture.write("other/file", [2])
        try FileManager.default.createSymbolicLink(atPath: fixture.root + "/link", withDestinationPath: "real")
        let below = try #require(TreePath(fixture.root + "/link/sub"))
        let other = try #require(TreePath(fixture.root + "/other"))
        let error = #expect(throws: HoldfastError.self) {
            try fixture.backup { $0.source = CaptureSource(roots: [below]) }
        }
        #expect(error?.code == .notFound)
        #expect(try fixture.vault.points(PointQuery()).isEmpty)
        // Beside a path that is there it is a warning.
        let (report, _) = try fixture.backup { $0.source = CaptureSource(roots: [below, other]) }
        #expect(report.warnings.map(\.path) == [below.bytes])
    }

    @Test("a protected directory that has become empty is warned of, one that always was is not")
    func emptied() throws {
        let fixture = try BackupFixture()
        try fixture.write("data/file", [1])
        try FileManager.default.createDirectory(
            atPath: fixture.root + "/always", withIntermediateDirectories: true)
        let roots = ["data", "always"].compactMap { TreePath(fixture.root + "/" + $0) }
        func backup() throws -> BackupReport {
            try fixture.backup { $0.source = CaptureSource(roots: roots) }.report
        }
        #expect(try backup().warnings.isEmpty)
        #expect(try backup().warnings.isEmpty)
        try FileManager.default.removeItem(atPath: fixture.root + "/data/file")
        let report = try backup()
        #expect(report.warnings.map(\.reason) == [.mount])
        #expect(report.warnings.first?.path == roots[0].bytes)
    }

    @Test("a file system that is not mounted any more is warned of, for a protected path and below one")
    func unmounted() throws {
        let fixture = try BackupFixture()
        try fixture.write("root/file", [1])
        try fixture.write("root/nested/hidden", [2])
        guard let disk = LoopFileSystem.make(.ext4, megabytes: 32) else { return }
        let nested = fixture.root + "/" + "root/nested"
        let root = try #require(TreePath(fixture.root + "/root"))
        let itself = try #require(TreePath(nested))
        #expect(Tool.run(["mount", "--bind", disk.path, nested]).status == 0)
        var isMounted = true
        defer { if isMounted { Tool.run(["umount", nested]) } }
        try fixture.write("root/nested/file", [3])
        func backup(_ path: TreePath) throws -> BackupReport {
            try fixture.backup { $0.source = CaptureSource(roots: [path]) }.report
        }
        for path in [root, itself, root, itself] { #expect(try backup(path).warnings.isEmpty) }
        #expect(Tool.run(["umount", nested]).status == 0)
        isMounted = false
        for path in [root, itself] {
            let report = try backup(path)
            #expect(report.warnings.map(\.reason) == [.mount], "\(path.displayText)")
            #expect(report.warnings.first?.path == itself.bytes)
        }
        // What is so now is usual from then on.
        #expect(try backup(root).warnings.isEmpty)
        #expect(Tool.run(["mount", "--bind", disk.path, nested]).status == 0)
        isMounted = true
        #expect(try backup(itself).warnings.map(\.reason) == [.mount])
    }

    @Test("a directory of this program is left out: with a remark below a path, with a warning as one")
    func ownDirectory() throws {
        let fixture = try BackupFixture()
        try fixture.write("vault/packs/x", [1])
        try fixture.write("file", [1])
        let status = try FileSystem.status(Array((fixture.root + "/vault").utf8))
        let own: Set = [CaptureSource.FileNode(device: status.device, inode: status.inode)]
        let vault = try #require(TreePath(fixture.root + "/vault"))
        let (report, job) = try fixture.backup { $0.source.ownDirectories = own }
        #expect(report.warnings.isEmpty)
        #expect(job.progress.remarks.withLock { $0.ownDirectories } == [vault])
        let direct = try fixture.backup { $0.source = CaptureSource(roots: [vault], ownDirectories: own) }.report
        #expect(direct.warnings.map(\.path) == [vault.bytes])
        #expect(throws: HoldfastError.self) {
            try fixture.backup {
                $0.source = CaptureSource(roots: [vault.appending(Array("packs".utf8))], ownDirectories: own)
            }
        }
    }

    // MARK: Between listing and opening

    /// Walks a fixture's tree, lets `change` happen, and then reads; gives what goes into the tree, by name.
    private func capture(
        _ fixture: BackupFixture, _ change: () throws -> Void
    ) throws -> (entries: [String: Entry], warnings: [PointWarning]) {
        let progress = CaptureProgress()
        let writer = try PointWriter(
            service: fixture.vault, secrets: fixture.secrets, heads: GivenHead(nil),
            cacheDirectory: Array(fixture.caches.utf8), cacheName: Array("test".utf8),
            options: SealingPipeline.Options(), counters: WritingCounters())
        defer { writer.close() }
        func reader() -> FileReader {
            FileReader(
                pipeline: writer.pipeline, slabs: SlabPool(slabSize: 4 << 20, limit: 8), secret: writer.secret,
                progress: progress)
        }
        var batches: [CaptureBatch] = []
        let walker = TreeWalker(
            source: CaptureSource(roots: [TreePath(fixture.root)!]), cache: nil, damaged: [],
            slabs: SlabPool(slabSize: 2 << 20, limit: 8), progress: progress
        ) { batches.append($0) }
        try walker.run()
        try change()
        var entries: [String: Entry] = [:]
        let sequencer = CaptureSequencer(pipeline: writer.pipeline, progress: progress, reader: reader()) { cached in
            guard let path = TreePath(key: cached.key), !cached.entry.remarks.contains(.ancestor) else { return }
            entries[String(decoding: path.name, as: UTF8.self)] = cached.entry
        }
        let first = reader()
        for batch in batches {
            try first.complete(batch)
            try sequencer.take(batch)
        }
        try sequencer.finish()
        return (entries, sequencer.warnings.warnings)
    }

    /// Saves as editors do: a new file takes the name.
    private func replace(_ fixture: BackupFixture, _ name: String, _ bytes: [UInt8], mode: UInt16) throws {
        try fixture.write(name + ".new", bytes)
        let path = fixture.root + "/" + name
        try withCName(Array((path + ".new").utf8)) { (pointer) throws(Errno) in
            try FileSystem.setMode(at: FileSystem.currentDirectory, pointer, mode)
        }
        #expect(rename(path + ".new", path) == 0)
    }

    private func length(_ entry: Entry?) -> UInt64? {
        switch entry?.content {
        case .extents(let extents): extents.reduce(0) { $0 + $1.length }
        case .some(.none): 0
        default: nil
        }
    }

    @Test("a file that was replaced after it was listed is the new one in everything")
    func replaced() throws {
        let fixture = try BackupFixture()
        for (name, size) in [("small", 100), ("larger", 100), ("large", 200_000), ("grown", 0), ("emptied", 5_000)] {
            try fixture.write(name, [UInt8](repeating: 1, count: size))
        }
        try fixture.write("linked-a", [UInt8](repeating: 1, count: 300))
        #expect(link(fixture.root + "/linked-a", fixture.root + "/linked-b") == 0)
        #expect(link(fixture.root + "/linked-a", fixture.root + "/linked-c") == 0)
        let sizes = ["small": 60, "larger": 60_000, "large": 300_000, "grown": 700, "emptied": 0, "linked-a": 450]
        let (entries, warnings) = try capture(fixture) {
            for (name, size) in sizes {
                try replace(fixture, name, [UInt8](repeating: 2, count: size), mode: 0o4711)
                if geteuid() == 0 { #expect(chown(fixture.root + "/" + name, 1234, 4321) == 0) }
                #expect(chmod(fixture.root + "/" + name, 0o4711) == 0)
            }
        }
        #expect(warnings.isEmpty)
        for (name, size) in sizes {
            let entry = try #require(entries[name])
            #expect(entry.size == UInt64(size), "\(name)")
            #expect(length(entry) == UInt64(size), "\(name)")
            #expect(entry.mode == 0o4711, "\(name)")
            #expect(entry.linkGroup == nil, "\(name)")
            if geteuid() == 0 { #expect(entry.uid == 1234 && entry.gid == 4321, "\(name)") }
            #expect(entry.remarks == [], "\(name)")
        }
        // The other names of the file that lost its first one still have its content.
        for name in ["linked-b", "linked-c"] {
            #expect(entries[name]?.size == 300 && length(entries[name]) == 300, "\(name)")
            #expect(entries[name]?.remarks == [], "\(name)")
            #expect(entries[name]?.content == entries["linked-b"]?.content)
        }
        #expect(entries["linked-b"]?.linkGroup != nil)
        #expect(entries["linked-b"]?.content != entries["linked-a"]?.content)
    }

    @Test("the further names of a file whose first name vanished keep its content")
    func firstNameVanished() throws {
        let fixture = try BackupFixture()
        try fixture.write("a", [UInt8](repeating: 7, count: 4_000))
        for name in ["b", "c"] { #expect(link(fixture.root + "/a", fixture.root + "/" + name) == 0) }
        let (entries, warnings) = try capture(fixture) {
            try FileManager.default.removeItem(atPath: fixture.root + "/a")
        }
        #expect(warnings.map(\.reason) == [.vanished])
        #expect(entries["a"] == nil)
        for name in ["b", "c"] {
            #expect(length(entries[name]) == 4_000, "\(name)")
            #expect(entries[name]?.remarks == [], "\(name)")
        }
    }

    // MARK: Attributes

    @Test("more attributes than a file's entry can hold are left out with a warning, and end nothing")
    func attributes() throws {
        let fixture = try BackupFixture()
        try fixture.write("file", [1])
        let writer = try PointWriter(
            service: fixture.vault, secrets: fixture.secrets, heads: GivenHead(nil),
            cacheDirectory: Array(fixture.caches.utf8), cacheName: Array("test".utf8),
            options: SealingPipeline.Options(), counters: WritingCounters())
        defer { writer.close() }
        let progress = CaptureProgress()
        var kept: Entry?
        let sequencer = CaptureSequencer(
            pipeline: writer.pipeline, progress: progress,
            reader: FileReader(
                pipeline: writer.pipeline, slabs: SlabPool(slabSize: 4 << 20, limit: 4), secret: writer.secret,
                progress: progress)
        ) { kept = $0.entry }
        let status = try FileSystem.status(Array((fixture.root + "/file").utf8))
        var item = CaptureItem(
            key: TreePath("x/file")!.key, name: 0..<1, directory: nil, status: status, work: .metadata)
        var entry = Entry(kind: .regular, mode: 0o644)
        entry.attributes = (0..<20).map {
            ExtendedAttribute(name: Array("user.\(10 + $0)".utf8), value: [UInt8](repeating: UInt8($0), count: 65_000))
        }
        entry.attributes.insert(
            ExtendedAttribute(name: Array("system.posix_acl_access".utf8), value: [1, 2, 3]), at: 0)
        item.entry = entry
        let batch = CaptureBatch()
        batch.names = [0]
        batch.items = [item]
        try sequencer.take(batch)
        try sequencer.finish()
        #expect(sequencer.warnings.warnings.map(\.reason) == [.metadata, .metadata, .metadata, .metadata])
        #expect(sequencer.warnings.warnings.allSatisfy { $0.path == Array("x/file".utf8) && $0.text.contains("user.") })
        let blob = try #require(kept?.attributesBlob)
        _ = blob
        #expect(kept?.attributes == [])
    }
}
