import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Capture

@Suite struct BackupJobTests {
    @Test("everything that was there is in the point, byte for byte")
    func roundTrip() throws {
        let fixture = try BackupFixture()
        var random = SeededGenerator(seed: 1)
        var files: [String: [UInt8]] = ["empty": [], "one": [7]]
        for index in 0..<300 {
            files["many/\(index % 7)/file\(index)"] = random.bytes(Int(random.next() % 9000) + 1)
        }
        files["large"] = random.bytes(3_000_000)
        files["edge64K"] = random.bytes(65_536)
        files["edge64K+1"] = random.bytes(65_537)
        for (name, bytes) in files { try fixture.write(name, bytes) }
        let (report, _) = try fixture.backup()
        #expect(report.warnings.isEmpty)
        #expect(report.statistics.files == UInt64(files.count))
        #expect(report.statistics.bytes == files.values.reduce(0) { $0 + UInt64($1.count) })
        #expect(fixture.vault.isWhole)
        let reader = try fixture.reader(report.point)
        for (name, bytes) in files { #expect(try fixture.content(reader, name) == bytes, "\(name)") }
        // What stands above the protected directory is there for its metadata, and marked.
        let parent = try #require(try reader.lookup(TreePath(fixture.root)!.parent!))
        #expect(parent.remarks.contains(.ancestor))
        #expect(try reader.lookup(TreePath(fixture.root)!)?.remarks == [])
    }

    @Test("an unchanged tree is not read again and gives the same root")
    func unchanged() throws {
        let fixture = try BackupFixture()
        var random = SeededGenerator(seed: 2)
        for index in 0..<500 { try fixture.write("d\(index % 5)/f\(index)", random.bytes(2000)) }
        try fixture.write("large", random.bytes(2_000_000))
        let first = try fixture.backup()
        let stored = fixture.vault.storedBytes
        let second = try fixture.backup()
        #expect(second.report.usedCache)
        #expect(second.report.statistics.bytesRead == 0)
        // Directories above are other tests' too: their times may have changed.
        #expect(fixture.vault.storedBytes < stored + 40_000)
        #expect(second.report.number == 2)
        #expect(try fixture.entries(first.report.point) == fixture.entries(second.report.point))
    }

    @Test("without its cache the writer reads everything and stores nothing new")
    func lostCache() throws {
        let fixture = try BackupFixture()
        var random = SeededGenerator(seed: 3)
        for index in 0..<200 { try fixture.write("f\(index)", random.bytes(5000)) }
        try fixture.write("large", random.bytes(1_500_000))
        let first = try fixture.backup()
        try FileManager.default.removeItem(atPath: fixture.caches)
        try FileManager.default.createDirectory(atPath: fixture.caches, withIntermediateDirectories: true)
        let second = try fixture.backup()
        #expect(!second.report.usedCache)
        #expect(second.report.statistics.newBytes == 0)
        #expect(try fixture.entries(first.report.point) == fixture.entries(second.report.point))
    }

    @Test("changes, additions and removals between two runs are what the second point holds")
    func changes() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let fixture = try BackupFixture()
        var model: [String: [UInt8]] = [:]
        for round in 0..<5 {
            for _ in 0..<60 {
                let name = "d\(random.next() % 4)/f\(random.next() % 80)"
                if random.next() % 4 == 0, model[name] != nil {
                    try FileManager.default.removeItem(atPath: fixture.root + "/" + name)
                    model[name] = nil
                } else {
                    let size = random.next() % 10 == 0 ? Int(random.next() % 900_000) : Int(random.next() % 4000)
                    let bytes = random.bytes(size)
                    try fixture.write(name, bytes)
                    model[name] = bytes
                }
            }
            let (report, _) = try fixture.backup()
            #expect(fixture.vault.isWhole)
            let reader = try fixture.reader(report.point)
            var found = 0
            try reader.scan(below: TreePath(fixture.root)!) { item in
                if try item.head().kind == .regular { found += 1 }
                return true
            }
            #expect(found == model.count, "round \(round)")
            for (name, bytes) in model {
                #expect(try fixture.content(reader, name) == bytes, "round \(round): \(name)")
            }
        }
    }

    @Test("a small change in a large file stores little and reads at memory speed")
    func smallChange() throws {
        let fixture = try BackupFixture()
        var random = SeededGenerator(seed: 5)
        var bytes = random.bytes(40_000_000)
        try fixture.write("large", bytes)
        try fixture.backup()
        for index in 20_000_000..<20_004_096 { bytes[index] = UInt8(truncatingIfNeeded: random.next()) }
        try fixture.write("large", bytes)
        let second = try fixture.backup()
        #expect(second.report.statistics.newBytes <= 2 << 20)
        #expect(second.job.counters.hashedBytes.load(ordering: .relaxed) <= 3 << 20)
        let reader = try fixture.reader(second.report.point)
        #expect(try fixture.content(reader, "large") == bytes)
        // An insertion shifts everything behind it: the chunks behind are found again by content.
        bytes.insert(contentsOf: random.bytes(100), at: 10_000_000)
        try fixture.write("large", bytes)
        let third = try fixture.backup()
        #expect(third.report.statistics.newBytes <= 2 << 20)
        #expect(try fixture.content(try fixture.reader(third.report.point), "large") == bytes)
    }

    @Test("holes stay holes")
    func sparse() throws {
        let fixture = try BackupFixture()
        let path = fixture.root + "/sparse"
        let file = try FileDescriptor.open(Array(path.utf8), [.writeOnly, .create], mode: 0o644)
        try file.writeAll([UInt8](repeating: 1, count: 4096).withUnsafeBytes { UnsafeRawBufferPointer($0) }, at: 0)
        try file.truncate(to: 1 << 30)
        let tail = [UInt8](repeating: 2, count: 100_000)
        try tail.withUnsafeBytes { try file.writeAll($0, at: 500 << 20) }
        try file.close()
        let (report, job) = try fixture.backup()
        #expect(job.progress.bytesRead.load(ordering: .relaxed) < 1 << 20)
        let reader = try fixture.reader(report.point)
        let entry = try #require(try reader.lookup(TreePath(path)!))
        #expect(entry.size == 1 << 30)
        var holes: UInt64 = 0
        var total: UInt64 = 0
        try reader.extents(of: entry) { extent, _ in
            if extent.key == nil { holes += extent.length }
            total += extent.length
            return true
        }
        #expect(total == 1 << 30)
        #expect(holes > (1 << 30) - (1 << 20))
    }

    @Test("every name of a hard-linked file has the content, and the group")
    func hardLinks() throws {
        let fixture = try BackupFixture()
        var random = SeededGenerator(seed: 6)
        let small = random.bytes(1000)
        let large = random.bytes(300_000)
        try fixture.write("a/small", small)
        try fixture.write("a/large", large)
        for name in ["small", "large"] {
            try FileManager.default.linkItem(atPath: fixture.root + "/a/" + name, toPath: fixture.root + "/z-" + name)
        }
        let (report, _) = try fixture.backup()
        let reader = try fixture.reader(report.point)
        for (name, bytes) in [("small", small), ("large", large)] {
            let first = try #require(try reader.lookup(TreePath(fixture.root + "/a/" + name)!))
            let second = try #require(try reader.lookup(TreePath(fixture.root + "/z-" + name)!))
            #expect(first.linkGroup != nil && first.linkGroup == second.linkGroup)
            #expect(try fixture.content(reader, "a/" + name) == bytes)
            #expect(try fixture.content(reader, "z-" + name) == bytes)
        }
    }

    @Test("a condemned pack is packed anew and the backup goes on")
    func condemned() throws {
        let fixture = try BackupFixture()
        try fixture.write("file", SeededGenerator.some(100_000))
        fixture.vault.inject { $0.condemned = 1 }
        let (report, _) = try fixture.backup()
        #expect(fixture.vault.isWhole)
        #expect(try fixture.content(try fixture.reader(report.point), "file") == SeededGenerator.some(100_000))
    }

    @Test("a full vault ends the backup with that error and nothing visible", .timeLimit(.minutes(30)))
    func full() throws {
        let fixture = try BackupFixture()
        for index in 0..<80 { try fixture.write("f\(index)", SeededGenerator.some(1_000_000, seed: UInt64(index))) }
        fixture.vault.inject { $0.packsUntilFull = 1 }
        #expect {
            try fixture.backup()
        } throws: { error in (error as? HoldfastError)?.code == .noSpace }
        #expect(try fixture.vault.points(PointQuery()).isEmpty)
        fixture.vault.inject { $0.packsUntilFull = .max }
        let (report, _) = try fixture.backup()
        #expect(report.statistics.files == 80)
        #expect(fixture.vault.isWhole)
    }

    @Test("two backups of the same paths at once: the second is refused and the first goes on")
    func twoAtOnce() throws {
        let fixture = try BackupFixture()
        try fixture.write("file", SeededGenerator.some(1000))
        let request = BackupRequest(
            source: CaptureSource(roots: [TreePath(fixture.root)!]), hostName: "test", program: "test")
        let name = String(
            decoding: WriterCache.name(vault: fixture.keys.vault, source: request.source.cacheSource), as: UTF8.self)
        let file = try FileDescriptor.open(
            Array("\(fixture.caches)/\(name).lock".utf8), [.readWrite, .create], mode: 0o600)
        guard let held = try FileLock.acquire(file) else { throw HoldfastError(.busy, "the lock is free") }
        #expect { try fixture.backup() } throws: { error in (error as? HoldfastError)?.code == .busy }
        held.release()
        try fixture.backup()
    }

    @Test("a stop ends the backup promptly")
    func stop() throws {
        let fixture = try BackupFixture()
        for index in 0..<50 { try fixture.write("f\(index)", SeededGenerator.some(300_000, seed: UInt64(index))) }
        var request = BackupRequest(
            source: CaptureSource(roots: [TreePath(fixture.root)!]), hostName: "test", program: "test")
        request.readers = 1
        let job = BackupJob(
            service: fixture.vault, secrets: fixture.secrets, heads: GivenHead(nil),
            cacheDirectory: Array(fixture.caches.utf8),
            request: request)
        job.progress.stopRequested.store(true, ordering: .relaxed)
        #expect { try job.run() } throws: { error in (error as? HoldfastError)?.code == .cancelled }
    }

    @Test("files whose blobs are damaged are read again although they did not change")
    func healing() throws {
        let fixture = try BackupFixture()
        try fixture.write("small", SeededGenerator.some(1000))
        try fixture.write("large", SeededGenerator.some(200_000, seed: 9))
        let first = try fixture.backup()
        let reader = try fixture.reader(first.report.point)
        var damaged: [BlobID] = []
        for name in ["small", "large"] {
            let entry = try #require(try reader.lookup(TreePath(fixture.root + "/" + name)!))
            try reader.extents(of: entry) { extent, _ in
                if let key = extent.key { damaged.append(BlobCrypto.id(of: key)) }
                return true
            }
        }
        let list = damaged
        fixture.vault.inject { $0.damaged = list }
        let second = try fixture.backup()
        #expect(second.report.usedCache)
        #expect(second.report.statistics.newBytes == 201_000)
    }

    @Test("a partial point becomes visible during a long first backup, and the next run builds on it")
    func partial() throws {
        let fixture = try BackupFixture()
        for index in 0..<40 {
            try fixture.write("d\(index % 3)/f\(index)", SeededGenerator.some(400_000, seed: UInt64(index)))
        }
        let (report, _) = try fixture.backup { $0.partialBytes = 3_000_000 }
        let points = try fixture.vault.points(PointQuery())
        #expect(points.count > 1)
        #expect(points.dropLast().allSatisfy { $0.isPartial } && points.last?.isPartial == false)
        #expect(points.map(\.number) == Array(1...UInt64(points.count)))
        #expect(report.number == UInt64(points.count))
        #expect(fixture.vault.isWhole)
    }
}

extension SeededGenerator {
    static func some(_ count: Int, seed: UInt64 = 42) -> [UInt8] {
        var generator = SeededGenerator(seed: seed)
        return generator.bytes(count)
    }
}
