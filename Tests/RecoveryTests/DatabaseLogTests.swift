import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Recovery

@Suite("Logs that are given back with their databases", .enabled(if: DatabaseWriter.isAvailable))
struct DatabaseLogTests {
    // MARK: Journals of transactions that were never ended

    /// A point of a database with such a journal; the database has gone on since, with 40 transactions.
    private func brokenOff(_ fixture: RestoreFixture) throws -> (path: String, reader: PointReader) {
        let path = try fixture.databaseAtRest(mode: "DELETE")
        try RestoreFixture.breakOff(path)
        let reader = try fixture.backup()
        #expect(try reader.entry(of: TreePath(path + "-journal")!) != nil)
        try RestoreFixture.goOn(path)
        return (path, reader)
    }

    @Test(
        "a journal of the point does not come beside a database that stays",
        arguments: [RestoreRequest.Conflict.never, .newer, .rename])
    func kept(_ rule: RestoreRequest.Conflict) throws {
        let fixture = try RestoreFixture()
        let (path, reader) = try brokenOff(fixture)
        let report = try fixture.run(try fixture.job(reader) { $0.conflict = rule })
        #expect(!RestoreFixture.exists(path + "-journal"))
        #expect(DatabaseWriter.transactions(at: path) == 40)
        guard rule == .rename else {
            #expect(report.issues.map(\.text) == [DatabaseLogs.ofAnother])
            return
        }
        // The copy beside it has its own.
        #expect(report.issues == [] && report.renamed == 2)
        let copy = path + Restorer.renameSuffix(of: reader.point)
        #expect(RestoreFixture.exists(copy + "-journal"))
        #expect(try RestoreFixture.seen(copy) == 30)
        let again = try fixture.restoreInPlace(reader) { $0.conflict = rule }
        #expect(again.issues == [] && again.renamed == 0 && again.filesWritten == 0)
        // A run that ended before the journal had its name is gone on with.
        #expect(unlink(copy + "-journal") == 0)
        #expect(try fixture.restoreInPlace(reader) { $0.conflict = rule }.issues == [])
        #expect(try RestoreFixture.seen(copy) == 30)
    }

    @Test("a journal of the point does not come beside a database that is in use")
    func inUse() throws {
        let fixture = try RestoreFixture()
        let (path, reader) = try brokenOff(fixture)
        let program = try WaitingProgram(
            """
            import sqlite3
            c = sqlite3.connect(sys.argv[1], isolation_level=None)
            c.execute("BEGIN"); c.execute("SELECT count(*) FROM a").fetchone(); kept = c.execute("SELECT * FROM a")
            """, path)
        let report = try fixture.run(try fixture.job(reader))
        #expect(report.issues.map(\.kind) == [.conflict, .conflict], "\(report.issues)")
        #expect(!RestoreFixture.exists(path + "-journal"))
        program.end()
        #expect(DatabaseWriter.transactions(at: path) == 40)
    }

    @Test("the journal of a database that cannot be restored is left out")
    func lost() throws {
        let fixture = try RestoreFixture()
        let (path, reader) = try brokenOff(fixture)
        var blobs: Set<BlobID> = []
        let entry = try #require(try reader.entry(of: TreePath(path)!))
        try reader.tree.extents(of: entry) { extent, _ in
            if let key = extent.key { blobs.insert(BlobCrypto.id(of: key)) }
            return true
        }
        #expect(!blobs.isEmpty)
        let broken = try fixture.open(reader.point, through: BrokenVault(fixture.vault, missing: blobs))
        let report = try fixture.run(try fixture.job(broken))
        #expect(Set(report.issues.map(\.kind)) == [.damaged, .failed], "\(report.issues)")
        #expect(report.issues.contains { $0.text == DatabaseLogs.ofNone })
        #expect(try FileManager.default.contentsOfDirectory(atPath: fixture.source) == ["data.db"])
        #expect(DatabaseWriter.transactions(at: path) == 40)
    }

    @Test("a database and its journal replace another one with another journal, and an undo takes that back")
    func whole() throws {
        let fixture = try RestoreFixture()
        let (path, reader) = try brokenOff(fixture)
        try RestoreFixture.breakOff(path)
        let standing = try RestoreFixture.read(path + "-journal")
        #expect(try fixture.run(try fixture.job(reader)).issues == [])
        #expect(try RestoreFixture.read(path + "-journal") != standing)
        #expect(try RestoreFixture.seen(path) == 30)
        #expect(try fixture.undo().issues == [])
        #expect(try RestoreFixture.read(path + "-journal") == standing)
        #expect(try RestoreFixture.seen(path) == 40)
        // What a restore made beside a database that it replaced goes with that.
        #expect(DatabaseWriter.transactions(at: path) == 40)
        #expect(try fixture.run(try fixture.job(reader)).issues == [])
        #expect(try fixture.undo().issues == [])
        #expect(try FileManager.default.contentsOfDirectory(atPath: fixture.source) == ["data.db"])
        #expect(DatabaseWriter.transactions(at: path) == 40)
    }

    @Test("a database that is asked for comes with its journal, and a journal alone not beside another database")
    func alone() throws {
        let fixture = try RestoreFixture()
        let (path, reader) = try brokenOff(fixture)
        let report = try fixture.restoreInPlace(reader) { $0.paths = [TreePath(path + "-journal")!] }
        #expect(report.issues.map(\.text) == [DatabaseLogs.ofAnother])
        #expect(!RestoreFixture.exists(path + "-journal"))
        #expect(try fixture.restoreInPlace(reader) { $0.paths = [TreePath(path)!] }.issues == [])
        #expect(try RestoreFixture.seen(path) == 30)
        let elsewhere = fixture.place("elsewhere")
        #expect(try fixture.restore(reader, to: elsewhere) { $0.paths = [TreePath(path)!] }.issues == [])
        #expect(try RestoreFixture.seen(elsewhere + path) == 30)
    }

    @Test("a file that is only called like a journal is restored for itself")
    func otherNames() throws {
        let fixture = try RestoreFixture()
        try fixture.make("echo report > report; echo journal > report-journal; echo wal > other-wal")
        let reader = try fixture.backup()
        try fixture.make("echo mine > report; rm report-journal other-wal; echo mine > other")
        let report = try fixture.restoreInPlace(reader) { $0.conflict = .never }
        #expect(report.issues == [])
        #expect(try fixture.make("cat report report-journal other other-wal") == "mine\njournal\nmine\nwal\n")
    }

    // MARK: Undo

    @Test("an undo does not put an old log over that of a database that it could not remove")
    func undoneBeside() throws {
        let fixture = try RestoreFixture()
        let path = try fixture.databaseAtRest()
        let reader = try fixture.backup()
        try RestoreFixture.commitMore(path).kill()
        try RestoreFixture.shell("rm '\(path)' '\(path)-shm'")
        #expect(try fixture.run(try fixture.job(reader)).issues == [])
        let writer = try RestoreFixture.commitMore(path)
        let log = try FileSystem.status(Array((path + "-wal").utf8))
        let report = try fixture.undo()
        #expect(report.issues.map(\.kind) == [.conflict, .conflict], "\(report.issues)")
        #expect(try FileSystem.status(Array((path + "-wal").utf8)).isSameFile(as: log))
        writer.begin(5)
        #expect(writer.wait(for: 45))
        writer.kill()
        #expect(DatabaseWriter.transactions(at: path) == 45)
    }

    @Test("a log that is longer than a point can take in stays, with its database")
    func tooLong() throws {
        let fixture = try RestoreFixture()
        let path = try fixture.databaseAtRest()
        let reader = try fixture.backup()
        try RestoreFixture.commitMore(path).kill()
        let header = Array(try RestoreFixture.read(path + "-wal").prefix(32))
        let page = header[8..<12].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let log = try FileDescriptor.open(Array((path + "-wal").utf8), .readWrite)
        let frame: [UInt8] = [0, 0, 0, 1, 0, 0, 0, 1] + header[16..<24] + [UInt8](repeating: 0, count: 8)
        try frame.withUnsafeBytes { try log.writeAll($0, at: 32 + (1 << 20) * (page + 24)) }
        for delete in [false, true] {
            let job = try fixture.job(reader) { $0.deleteExtra = delete }
            #expect(try job.plan().issues.map(\.text) == [DatabaseLogs.tooLong])
            #expect(try fixture.run(job).issues.map(\.text) == [DatabaseLogs.tooLong])
            #expect(RestoreFixture.exists(path + "-wal"))
        }
        // What lies there of a log that was begun anew is not in it.
        try [UInt8](repeating: 7, count: 8).withUnsafeBytes { try log.writeAll($0, at: 40 + (1 << 20) * (page + 24)) }
        #expect(try fixture.run(try fixture.job(reader)).issues == [])
        #expect(!RestoreFixture.exists(path + "-wal"))
    }

    @Test("a log of an unknown version is in the point of before, and comes back")
    func unknown() throws {
        let fixture = try RestoreFixture()
        let path = try fixture.databaseAtRest()
        let reader = try fixture.backup()
        try RestoreFixture.commitMore(path).kill()
        try RestoreFixture.shell(
            "printf '\\x00\\x2e\\x18\\xc8' | dd of='\(path)-wal' bs=1 seek=4 conv=notrunc 2>/dev/null; rm '\(path)-shm'"
        )
        let log = try RestoreFixture.read(path + "-wal")
        #expect(try fixture.run(try fixture.job(reader)).issues == [])
        #expect(!RestoreFixture.exists(path + "-wal"))
        #expect(DatabaseWriter.transactions(at: path) == 30)
        // Such a database is never quite certain.
        #expect(try fixture.undo().issues.allSatisfy { $0.kind == .incomplete })
        #expect(try RestoreFixture.read(path + "-wal") == log)
    }

    // MARK: Databases that are not known by their first bytes

    /// As programs leave them that encrypt: the database begins as it likes, its log does not.
    private func encrypted(_ path: String) throws {
        let random = { (count: Int) in (0..<count).map { _ in UInt8.random(in: 1...255) } }
        try RestoreFixture.write(path, random(8_192))
        try RestoreFixture.write(path + "-wal", [0x37, 0x7F, 0x06, 0x82, 0, 0x2D, 0xE2, 0x18] + random(4_144))
        try RestoreFixture.write(path + "-shm", [UInt8](repeating: 0, count: 32_768))
    }

    @Test("an encrypted database in use is left alone; at rest it is restored with its log and without the log's index")
    func encrypted() throws {
        let fixture = try RestoreFixture()
        let path = fixture.source + "/secret.db"
        try encrypted(path)
        let reader = try fixture.backup()
        let old = [try RestoreFixture.read(path), try RestoreFixture.read(path + "-wal")]
        try encrypted(path)
        let new = [try RestoreFixture.read(path), try RestoreFixture.read(path + "-wal")]
        let program = try WaitingProgram(
            """
            import fcntl, os
            f = os.open(sys.argv[1] + "-shm", os.O_RDWR); fcntl.lockf(f, fcntl.LOCK_SH, 1, 128, 0)
            """, path)
        let report = try fixture.run(try fixture.job(reader))
        #expect(report.issues.map(\.kind) == [.conflict, .conflict], "\(report.issues)")
        #expect([try RestoreFixture.read(path), try RestoreFixture.read(path + "-wal")] == new)
        program.end()
        #expect(try fixture.run(try fixture.job(reader)).issues == [])
        #expect([try RestoreFixture.read(path), try RestoreFixture.read(path + "-wal")] == old)
        #expect(!RestoreFixture.exists(path + "-shm"))
        // With another log alone it is another one: both go, and the point's come.
        try RestoreFixture.write(path + "-wal", new[1])
        let plan = try fixture.job(reader).plan()
        #expect(plan.overwrites.count == 2)
        #expect(try fixture.run(try fixture.job(reader)).issues == [])
        #expect([try RestoreFixture.read(path), try RestoreFixture.read(path + "-wal")] == old)
        let elsewhere = fixture.place("elsewhere")
        #expect(try fixture.restore(reader, to: elsewhere).issues == [])
        #expect(try RestoreFixture.read(elsewhere + path + "-wal") == old[1])
        #expect(!RestoreFixture.exists(elsewhere + path + "-shm"))
    }

    // MARK: What stands in the way

    @Test("a log stays when the name of its database cannot be had")
    func blocked() throws {
        let fixture = try RestoreFixture()
        let path = try fixture.databaseAtRest()
        let reader = try fixture.backup()
        try RestoreFixture.commitMore(path).kill()
        // What was put in the place of the database cannot be removed, as a part of it is in use.
        try fixture.make("cp data.db inner; rm data.db data.db-shm; mkdir data.db; mv inner data.db/inner.db")
        let program = try WaitingProgram(
            """
            import sqlite3
            c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute("SELECT count(*) FROM a").fetchone()
            """, path + "/inner.db")
        let report = try fixture.restoreInPlace(reader) {
            $0.paths = [TreePath(path)!]
            $0.takesBack = true
        }
        #expect(report.issues.contains { $0.kind == .failed }, "\(report.issues)")
        #expect(RestoreFixture.exists(path + "-wal"))
        program.end()
    }

    @Test("a database that is only being captured is waited for")
    func captured() throws {
        let fixture = try RestoreFixture()
        let path = try fixture.databaseAtRest()
        let reader = try fixture.backup()
        try RestoreFixture.goOn(path)
        let file = try FileDescriptor.open(Array(path.utf8), .readOnly)
        #expect(try file.lockForReading(SQLiteFiles.Place.shared))
        // As long as a capture holds it, or nearly so.
        let descriptor = file.release()
        Thread.detachNewThread {
            usleep(1_500_000)
            close(descriptor)
        }
        #expect(try fixture.restoreInPlace(reader).issues == [])
        #expect(DatabaseWriter.transactions(at: path) == 30)
    }
}
