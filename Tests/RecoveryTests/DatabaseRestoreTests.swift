import Capture
import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Recovery

@Suite("Databases that are given back", .enabled(if: DatabaseWriter.isAvailable))
struct DatabaseRestoreTests {
    @Test(
        "a log that a killed program has left is not played into the database that is restored over it",
        arguments: ["WAL", "DELETE"], [true, false])
    func staleLog(_ mode: String, _ isCheckpointed: Bool) throws {
        let fixture = try RestoreFixture()
        let path = fixture.source + "/data.db"
        // Small caches, so that journals are written while a transaction is under way.
        let writer = try DatabaseWriter(
            path, mode: mode, pragmas: ["wal_autocheckpoint=\(isCheckpointed ? 20 : 100_000)", "cache_size=2"])
        writer.begin(30)
        #expect(writer.wait(for: 30))
        let reader = try fixture.backup()
        writer.begin(-1)
        #expect(writer.wait(for: 90))
        writer.kill()
        if mode == "WAL" { #expect(RestoreFixture.exists(path + "-wal")) }
        let report = try fixture.restoreInPlace(reader)
        #expect(report.issues == [])
        #expect(!RestoreFixture.exists(path + "-wal"))
        #expect(DatabaseWriter.transactions(at: path) == 30)
    }

    @Test("what is only called like a log stays, and so does a log when existing files are to stay")
    func otherNames() throws {
        let fixture = try RestoreFixture()
        let path = fixture.source + "/data.db"
        try RestoreFixture.write(path, [UInt8](repeating: 1, count: 4_096))
        let reader = try fixture.backup()
        try RestoreFixture.write(path, [UInt8](repeating: 2, count: 8_192))
        try RestoreFixture.write(path + "-wal", Array("somebody's notes about walls".utf8))
        _ = try fixture.restoreInPlace(reader)
        #expect(try RestoreFixture.read(path).count == 4_096)
        #expect(RestoreFixture.exists(path + "-wal"))
        try RestoreFixture.write(path + "-wal", [0x37, 0x7F, 0x06, 0x82, 0, 0, 0, 0])
        _ = try fixture.restoreInPlace(reader) { $0.conflict = .never }
        #expect(RestoreFixture.exists(path + "-wal"))
    }

    // MARK: What is committed in a log alone

    @Test(
        "a database whose log alone has newer transactions is replaced, which the plan says and an undo takes back",
        arguments: [false, true], [false, true])
    func logAlone(_ changesMode: Bool, _ delete: Bool) throws {
        let fixture = try RestoreFixture()
        let path = try fixture.databaseAtRest()
        let reader = try fixture.backup()
        if changesMode { #expect(chmod(path, 0o600) == 0) }
        try RestoreFixture.commitMore(path).kill()
        let job = try fixture.job(reader) { $0.deleteExtra = delete }
        let plan = try job.plan()
        #expect(plan.overwrites.count == 1 && plan.removes.count == 2 && plan.metadata.count <= 1)
        #expect(plan.protect.map(\.displayText) == [path])
        #expect(try RestoreFixture.seen(path) == 40)
        #expect(try fixture.run(job).issues == [])
        #expect(!RestoreFixture.exists(path + "-wal") && !RestoreFixture.exists(path + "-shm"))
        #expect(try RestoreFixture.seen(path) == 30)
        #expect(try fixture.undo().issues == [])
        #expect(try RestoreFixture.seen(path) == 40)
        #expect(try fixture.undo().issues == [])
        #expect(try RestoreFixture.seen(path) == 30)
    }

    @Test("what programs commit after a restore is in the point that its undo makes, and in what that says of changes")
    func commitsAfterwards() throws {
        let fixture = try RestoreFixture()
        let path = try fixture.databaseAtRest()
        let reader = try fixture.backup()
        try RestoreFixture.shell("rm '\(path)'")
        #expect(try fixture.run(try fixture.job(reader)).issues == [])
        #expect(try RestoreFixture.seen(path) == 30)
        try RestoreFixture.commitMore(path).kill()
        let taking = try UndoJob(store: UndoStore(directory: Array(fixture.place("state").utf8)))
        #expect(taking.changedSince().count > 0)
        let report = try taking.run {
            try fixture.open($0)
        } protect: { paths in
            try fixture.backUp(paths.map(\.displayText)).point
        }
        #expect(report.issues == [])
        #expect(try FileManager.default.contentsOfDirectory(atPath: fixture.source) == [])
        #expect(try fixture.undo().issues == [])
        #expect(try RestoreFixture.seen(path) == 40)
    }

    @Test(
        "a database that a program has open keeps its log, and what is committed afterwards", arguments: [false, true])
    func inUse(_ delete: Bool) throws {
        let fixture = try RestoreFixture()
        let path = try fixture.databaseAtRest()
        try fixture.make("echo note > note")
        let reader = try fixture.backup()
        try fixture.make("rm note")
        let writer = try RestoreFixture.commitMore(path)
        let job = try fixture.job(reader) { $0.deleteExtra = delete }
        #expect(try job.plan().issues.map(\.kind) == [.conflict])
        let report = try fixture.run(job)
        #expect(report.issues.map(\.kind) == [.conflict] && report.exitStatus == 3, "\(report.issues)")
        #expect(report.issues.first?.text.contains("Stop the program") == true)
        #expect(RestoreFixture.exists(fixture.source + "/note"))
        #expect(try RestoreFixture.seen(path) == 40)
        writer.begin(5)
        #expect(writer.wait(for: 45))
        #expect(try RestoreFixture.seen(path) == 45)
        // Also when it is another database than that of the point, or none of it.
        writer.kill()
        #expect(DatabaseWriter.transactions(at: path) == 45)
        let other = try DatabaseWriter(path, mode: "WAL", pragmas: ["wal_autocheckpoint=0"])
        other.begin(5)
        #expect(other.wait(for: 50))
        #expect(try fixture.run(try fixture.job(reader)).issues.map(\.kind) == [.conflict])
        #expect(try RestoreFixture.seen(path) == 50)
        try fixture.make("mkdir empty; echo > empty/x")
        let empty = try fixture.backup([fixture.source + "/empty"])
        let all = try fixture.job(empty) {
            $0.deleteExtra = true
            $0.paths = [fixture.path.appending("empty".utf8)]
        }
        try fixture.make("ln data.db empty/linked.db")
        _ = try fixture.run(all)
        #expect(try RestoreFixture.seen(path) == 50)
        other.begin(5)
        #expect(other.wait(for: 55))
        #expect(try RestoreFixture.seen(path) == 55)
    }

    @Test("what the plan left alone because it was in use stays when that has ended: it is in no point")
    func endedSincePlan() throws {
        let fixture = try RestoreFixture()
        let path = try fixture.databaseAtRest()
        try fixture.make("echo note > note")
        let reader = try fixture.backup()
        try fixture.make("echo another > note")
        let writer = try RestoreFixture.commitMore(path)
        let job = try fixture.job(reader)
        #expect(try job.plan().issues.map(\.kind) == [.conflict])
        writer.kill()
        #expect(try fixture.run(job).issues.map(\.kind) == [.conflict])
        #expect(try RestoreFixture.seen(path) == 40)
    }

    @Test("a log that was written to after the plan stays with its database")
    func changedSincePlan() throws {
        let fixture = try RestoreFixture()
        let path = try fixture.databaseAtRest()
        let reader = try fixture.backup()
        try RestoreFixture.commitMore(path).kill()
        let job = try fixture.job(reader)
        #expect(try job.plan().overwrites.count == 1)
        let report = try job.run { paths in
            let point = try fixture.backUp(paths.map(\.displayText)).point
            let writer = try DatabaseWriter(path, mode: "WAL", pragmas: ["wal_autocheckpoint=0"])
            writer.begin(5)
            #expect(writer.wait(for: 45))
            writer.kill()
            return point
        }
        #expect(report.issues.map(\.kind) == [.conflict])
        #expect(try RestoreFixture.seen(path) == 45)
    }

    @Test("a database that stays by the rule for conflicts keeps its log, whatever is removed beside it")
    func kept() throws {
        let fixture = try RestoreFixture()
        let path = try fixture.databaseAtRest()
        let reader = try fixture.backup()
        try RestoreFixture.commitMore(path).kill()
        for rule in [RestoreRequest.Conflict.newer, .never] {
            let job = try fixture.job(reader) {
                $0.deleteExtra = true
                $0.conflict = rule
            }
            #expect(try job.plan().isEmpty)
            _ = try fixture.run(job)
            #expect(try RestoreFixture.seen(path) == 40)
        }
        // The point's goes beside it.
        let report = try fixture.run(try fixture.job(reader) { $0.conflict = .rename })
        #expect(report.renamed == 1)
        #expect(try RestoreFixture.seen(path) == 40)
        #expect(try RestoreFixture.seen(path + Restorer.renameSuffix(of: reader.point)) == 30)
    }

    @Test("a database that cannot be restored keeps what is there with its log")
    func lost() throws {
        let fixture = try RestoreFixture()
        let path = try fixture.databaseAtRest()
        let point = try fixture.backUp().point
        // The file is another one now, of which not all parts can be taken over.
        try RestoreFixture.commitMore(path).kill()
        #expect(DatabaseWriter.transactions(at: path) == 40)
        try RestoreFixture.commitMore(path, after: 40).kill()
        var blobs: Set<BlobID> = []
        let whole = try fixture.open(point)
        let entry = try #require(try whole.entry(of: TreePath(path)!))
        try whole.tree.extents(of: entry) { extent, _ in
            if let key = extent.key { blobs.insert(BlobCrypto.id(of: key)) }
            return true
        }
        #expect(!blobs.isEmpty)
        let reader = try fixture.open(point, through: BrokenVault(fixture.vault, missing: blobs))
        let report = try fixture.run(try fixture.job(reader))
        #expect(report.issues.map(\.kind) == [.damaged])
        #expect(try RestoreFixture.seen(path) == 50)
    }

    @Test("a database that is not in the point is removed with its log, and comes back with what was in it")
    func removed() throws {
        let fixture = try RestoreFixture()
        try fixture.make("echo note > note")
        let reader = try fixture.backup()
        let path = try fixture.databaseAtRest()
        let writer = try RestoreFixture.commitMore(path)
        func remove() throws -> RestoreReport {
            try fixture.run(try fixture.job(reader) { $0.deleteExtra = true })
        }
        #expect(try remove().issues.map(\.kind) == [.conflict])
        #expect(try RestoreFixture.seen(path) == 40)
        writer.kill()
        #expect(try remove().issues == [])
        #expect(try FileManager.default.contentsOfDirectory(atPath: fixture.source) == ["note"])
        #expect(try fixture.undo().issues == [])
        #expect(try RestoreFixture.seen(path) == 40)
    }

    @Test("a log whose database is gone goes when that is restored, and comes back when that is taken back")
    func strayLog() throws {
        let fixture = try RestoreFixture()
        let path = try fixture.databaseAtRest()
        let reader = try fixture.backup()
        try RestoreFixture.commitMore(path).kill()
        let log = try RestoreFixture.read(path + "-wal")
        try RestoreFixture.shell("rm '\(path)' '\(path)-shm'")
        #expect(try fixture.run(try fixture.job(reader)).issues == [])
        #expect(try RestoreFixture.seen(path) == 30)
        #expect(try fixture.undo().issues == [])
        #expect(!RestoreFixture.exists(path))
        #expect(try RestoreFixture.read(path + "-wal") == log)
    }
}
