import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Recovery

@Suite struct BadDayTests {
    /// The blobs that hold a file.
    private func blobs(of name: String, _ reader: PointReader, _ fixture: RestoreFixture) throws -> [BlobID] {
        let entry = try #require(try reader.entry(of: fixture.path.appending(name.utf8)))
        var ids: [BlobID] = []
        try reader.tree.extents(of: entry) { extent, _ in
            if let key = extent.key { ids.append(BlobCrypto.id(of: key)) }
            return true
        }
        return ids
    }

    @Test("a lost or damaged blob costs only its files, which are listed", arguments: [true, false])
    func lostBlob(_ isMissing: Bool) throws {
        let fixture = try RestoreFixture()
        var random = SeededGenerator(seed: 41)
        for index in 0..<200 { try fixture.write("small/f\(index)", random.bytes(3000)) }
        try fixture.write("large", random.bytes(3_000_000))
        try fixture.make("ln large second")
        try fixture.write("whole", random.bytes(2_000_000))
        let whole = try fixture.backup()
        let lost = Set(try blobs(of: "large", whole, fixture).suffix(1) + blobs(of: "small/f77", whole, fixture))
        let broken = BrokenVault(fixture.vault, missing: isMissing ? lost : [], damaged: isMissing ? [] : lost)
        let reader = try fixture.open(whole.point, through: broken)
        let target = fixture.place("out")
        let report = try fixture.restore(reader, to: target)
        let directory = target + fixture.source
        #expect(report.exitStatus == 1)
        let damaged = Set(report.issues.filter { $0.kind == .damaged }.map { TreePath.display($0.path) })
        #expect(damaged.contains { $0.hasSuffix("/large") })
        #expect(damaged.contains { $0.hasSuffix("/small/f77") })
        #expect(!RestoreFixture.exists(directory + "/large") && !RestoreFixture.exists(directory + "/second"))
        #expect(!RestoreFixture.exists(directory + "/small/f77"))
        #expect(try RestoreFixture.read(directory + "/whole") == RestoreFixture.read(fixture.source + "/whole"))
        // Everything that is not listed is there and right.
        let listed = Set(report.issues.map { TreePath.display($0.path) })
        for index in 0..<200 where !listed.contains(fixture.source.dropFirst() + "/small/f\(index)") {
            #expect(
                try RestoreFixture.read(directory + "/small/f\(index)")
                    == RestoreFixture.read(fixture.source + "/small/f\(index)"))
        }
        // With the vault healed the same restore brings the rest.
        #expect(try fixture.restore(whole, to: target).issues == [])
        #expect(try fixture.differences(directory) == "")
    }

    @Test("an interrupted restore goes on where it ended")
    func interrupted() throws {
        let fixture = try RestoreFixture()
        var random = SeededGenerator(seed: 42)
        for index in 0..<1500 { try fixture.write("d\(index % 20)/f\(index)", random.bytes(5000)) }
        for index in 0..<4 { try fixture.write("large\(index)", random.bytes(4_000_000)) }
        let reader = try fixture.backup()
        let target = fixture.place("out")
        let request = RestoreRequest(paths: [fixture.path], destination: .directory(Array(target.utf8)))
        var rounds = 0
        // Each round is stopped a little later than the one before, until one comes to its end.
        for limit in stride(from: UInt64(50), to: 1600, by: 300) {
            let progress = RestoreProgress()
            let restorer = Restorer(reader: reader, request: request, progress: progress)
            let stopper = try WorkerThread(name: "stopper") {
                while progress.filesWritten.load(ordering: .relaxed) < limit,
                    progress.entries.load(ordering: .relaxed) < 1600
                { usleep(100) }
                progress.stopRequested.store(true, ordering: .relaxed)
            }
            do { _ = try restorer.run() } catch let error as HoldfastError { #expect(error.code == .cancelled) }
            progress.entries.store(1600, ordering: .relaxed)
            stopper.join()
            rounds += 1
        }
        #expect(rounds > 1)
        #expect(try fixture.restore(reader, to: target).issues == [])
        #expect(try fixture.differences(target + fixture.source) == "")
        #expect(try RestoreFixture.shell("find '\(target)' -name '.holdfast*'") == "")
    }

    @Test("what a killed restore left behind is replaced: partly written files and unfinished names")
    func leftovers() throws {
        let fixture = try RestoreFixture()
        try fixture.make("printf complete > a; printf complete > b")
        let reader = try fixture.backup()
        let target = fixture.place("out")
        let directory = target + fixture.source
        // As after a kill: the mark stands, one file is half written.
        try RestoreFixture.shell("mkdir -p '\(directory)'; printf comp > '\(directory)/a'; chmod 1600 '\(directory)/a'")
        try RestoreFixture.write(target + "/.holdfast-restore-unfinished", Array((reader.point.hex + "\n").utf8))
        #expect(try fixture.restore(reader, to: target).issues == [])
        #expect(try RestoreFixture.read(directory + "/a") == Array("complete".utf8))
        #expect(try RestoreFixture.shell("ls -A '\(target)'").split(separator: "\n").count == 1)
    }

    @Test("a dry run changes nothing and says what would happen")
    func dryRun() throws {
        let fixture = try RestoreFixture()
        try fixture.make(
            "mkdir d; printf 1 > d/new; printf 2 > changed; printf 3 > same; ln -s x link; mkdir gone; printf 4 > gone/f"
        )
        let reader = try fixture.backup()
        try fixture.make("rm -r gone; printf other > changed; printf e > extra; rm link; chmod 700 same")
        let before = try RestoreFixture.shell("find '\(fixture.source)' -printf '%p %m %s %T@ %C@\\n' | sort")
        var request = RestoreRequest(paths: [fixture.path], destination: .inPlace)
        request.deleteExtra = true
        let plan = try RestorePlanner(reader: reader, request: request).run()
        #expect(try RestoreFixture.shell("find '\(fixture.source)' -printf '%p %m %s %T@ %C@\\n' | sort") == before)
        func names(_ tally: RestorePlan.Tally) -> [String] {
            tally.samples.map { String(TreePath.display($0).dropFirst(fixture.source.count)) }.sorted()
        }
        #expect(names(plan.creates) == ["gone/f", "link"])
        #expect(names(plan.directories) == ["gone"])
        #expect(names(plan.overwrites) == ["changed"])
        #expect(names(plan.removes) == ["extra"])
        #expect(names(plan.metadata).contains("same"))
        #expect(plan.issues == [])
        let protected = Set(plan.protect.map { $0.displayText.dropFirst(fixture.source.count + 1) })
        #expect(protected == ["changed", "extra", "same"])
        // Into a new directory everything is made, and the directory is not.
        request = RestoreRequest(paths: [fixture.path], destination: .directory(Array(fixture.place("new").utf8)))
        let fresh = try RestorePlanner(reader: reader, request: request).run()
        #expect(fresh.creates.count == 5 && fresh.overwrites.count == 0)
        #expect(!RestoreFixture.exists(fixture.place("new")))
        // Room is counted where the directory would be made.
        #expect(fresh.freeBytes != nil)
    }

    @Test("owners go by name, by number, by a table, or stay whoever restores", .enabled(if: geteuid() == 0))
    func owners() throws {
        let fixture = try RestoreFixture()
        try fixture.make("printf x > f; chown 0:0 f; printf y > g; chown 54321:54322 g")
        let reader = try fixture.backup()
        func owner(_ name: String, _ policy: OwnerPolicy) throws -> String {
            let target = fixture.place("out-" + UUID().uuidString)
            let report = try fixture.restore(reader, to: target) { $0.owners = policy }
            #expect(report.issues == [])
            return try RestoreFixture.shell("stat -c %u:%g '\(target + fixture.source)/\(name)'")
        }
        #expect(try owner("g", .numbers) == "54321:54322\n")
        #expect(try owner("g", .names) == "54321:54322\n")
        #expect(try owner("g", .me) == "0:0\n")
        let table = try OwnerMap(parsing: Array("# who is who\nuser 54321 7\ngroup 54322 8\nuser root 9\n".utf8))
        #expect(try owner("g", .map(table)) == "7:8\n")
        #expect(try owner("f", .map(table)) == "9:0\n")
        #expect(throws: HoldfastError.self) { try OwnerMap(parsing: Array("user a\n".utf8)) }
        #expect(throws: HoldfastError.self) { try OwnerMap(parsing: Array("user a 4294967295\n".utf8)) }
        #expect(throws: HoldfastError.self) { try OwnerMap(parsing: Array("user a no-such-user-here\n".utf8)) }
    }

    @Test("a full disk ends the restore with a clear error and whole files only", .enabled(if: geteuid() == 0))
    func fullDisk() throws {
        let fixture = try RestoreFixture()
        var random = SeededGenerator(seed: 43)
        for index in 0..<300 { try fixture.write("f\(index)", random.bytes(60_000)) }
        try fixture.write("large", random.bytes(5_000_000))
        let reader = try fixture.backup()
        let target = fixture.place("small-disk")
        try RestoreFixture.shell("mkdir '\(target)'; mount -t tmpfs -o size=8m none '\(target)'")
        defer { _ = try? RestoreFixture.shell("umount -l '\(target)'") }
        let error = #expect(throws: HoldfastError.self) { try fixture.restore(reader, to: target) }
        #expect(error?.code == .noSpace)
        #expect(error?.message.contains(target) == true)
        #expect(error?.context["hint"]?.contains("Make room there") == true)
        // Complete files have their time; what is not complete has none of them.
        for index in 0..<300 {
            let path = target + fixture.source + "/f\(index)"
            guard let status = try? FileSystem.status(Array(path.utf8)) else { continue }
            let original = try FileSystem.status(Array((fixture.source + "/f\(index)").utf8))
            if status.modified == original.modified {
                #expect(try RestoreFixture.read(path) == RestoreFixture.read(fixture.source + "/f\(index)"))
            }
        }
        try RestoreFixture.shell("mount -o remount,size=64m '\(target)'")
        #expect(try fixture.restore(reader, to: target).issues == [])
        #expect(try fixture.differences(target + fixture.source) == "")
    }

    @Test("without the rights of root owners stay one's own, said once", .enabled(if: geteuid() == 0))
    func notRoot() throws {
        // As root the log is what can be tested; the command's tests run it as somebody else.
        let log = RestoreLog()
        for _ in 0..<1000 { log.skipOwner() }
        log.cannotKeep("attribute trusted.x", .notPermitted, Array("a".utf8))
        log.cannotKeep("attribute trusted.x", .notPermitted, Array("b".utf8))
        let (issues, counts) = log.collected()
        #expect(issues.count == 2)
        #expect(counts[.metadata] == 1002)
        #expect(issues.reduce(0) { $0 + $1.count } == 1002)
    }
}
