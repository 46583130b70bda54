import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Capture

@Suite("SQLite databases", .enabled(if: DatabaseWriter.isAvailable))
struct DatabaseTests {
    private func database(_ fixture: BackupFixture, _ point: PointID) throws -> [UInt8] {
        let content = try fixture.content(try fixture.reader(point), "data.db")
        return try #require(content)
    }

    @Test(
        "a database under load is captured as of one moment, again and again",
        arguments: [
            ("WAL", ["wal_autocheckpoint=20"]), ("WAL", ["wal_autocheckpoint=1000", "page_size=1024"]),
            ("DELETE", []), ("PERSIST", []), ("TRUNCATE", ["cache_size=5"]),
            ("WAL", ["locking_mode=EXCLUSIVE", "wal_autocheckpoint=200"]),
        ])
    func underLoad(_ mode: String, _ pragmas: [String]) throws {
        let fixture = try BackupFixture()
        let writer = try DatabaseWriter(fixture.root + "/data.db", mode: mode, pause: 0.002, pragmas: pragmas)
        writer.begin(-1)
        #expect(writer.wait(for: 20))
        var last = 0
        for round in 0..<8 {
            let before = writer.committed
            let (report, job) = try fixture.backup()
            let bytes = try database(fixture, report.point)
            let found = try DatabaseWriter.transactions(in: bytes)
            let transactions = try #require(found, "round \(round)")
            #expect(report.warnings.isEmpty, "\(report.warnings)")
            #expect(transactions >= before, "\(transactions) of \(before)")
            #expect(transactions >= last)
            last = transactions
            // What else is there would damage what was captured.
            let names = try fixture.entries(report.point).keys.compactMap { TreePath(key: $0)?.displayText }
            #expect(names.filter { $0.contains("data.db") }.count == 1, "\(names)")
            if mode == "WAL" {
                #expect(job.progress.remarks.withLock { $0.openDatabaseCount } == 1)
                #expect(
                    try fixture.keys.openRecord(unverified: fixture.vault.point(report.point)).labels == ["database"])
            }
        }
        #expect(writer.committed > last / 2)
        writer.kill()
        // What a killed program leaves is captured as it is, and a journal that is needed with it.
        let report = try fixture.backup().report
        let reader = try fixture.reader(report.point)
        let copy = fixture.caches + "/restored.db"
        try Data(try database(fixture, report.point)).write(to: URL(fileURLWithPath: copy))
        if let journal = try fixture.content(reader, "data.db-journal") {
            try Data(journal).write(to: URL(fileURLWithPath: copy + "-journal"))
        }
        let transactions = try #require(DatabaseWriter.transactions(at: copy))
        #expect(transactions >= writer.committed)
    }

    @Test("a transaction that is under way is not in what is captured, also when it has written to the file already")
    func openTransaction() throws {
        let fixture = try BackupFixture()
        let path = fixture.root + "/data.db"
        let writer = try DatabaseWriter(path, mode: "DELETE")
        writer.begin(30)
        #expect(writer.wait(for: 30))
        // Leaves a journal that is needed, as a crash in the middle of a commit does.
        let crash = """
            import os, sqlite3, sys
            c = sqlite3.connect(sys.argv[1], isolation_level=None)
            c.execute("PRAGMA cache_size=5"); c.execute("PRAGMA synchronous=OFF")
            c.execute("BEGIN IMMEDIATE"); c.execute("UPDATE a SET pad=randomblob(3000)"); c.execute("UPDATE c SET n=99")
            os._exit(0)
            """
        #expect(Tool.run(["python3", "-c", crash, path]).status == 0)
        #expect(FileManager.default.fileExists(atPath: path + "-journal"))
        let report = try fixture.backup().report
        let reader = try fixture.reader(report.point)
        let copy = fixture.caches + "/restored.db"
        try Data(try database(fixture, report.point)).write(to: URL(fileURLWithPath: copy))
        let content = try fixture.content(reader, "data.db-journal")
        try Data(try #require(content)).write(to: URL(fileURLWithPath: copy + "-journal"))
        #expect(DatabaseWriter.transactions(at: copy) == 30)
        // Without it the database is not what was committed: the test would see it.
        let alone = try DatabaseWriter.transactions(in: try database(fixture, report.point))
        #expect(alone == nil)
    }

    @Test("a database whose log alone changed is read again, one at rest is not")
    func logAlone() throws {
        let fixture = try BackupFixture()
        let path = fixture.root + "/data.db"
        let writer = try DatabaseWriter(path, mode: "WAL", pragmas: ["wal_autocheckpoint=0"])
        writer.begin(3)
        #expect(writer.wait(for: 3))
        let before = try FileSystem.status(Array(path.utf8))
        for count in 4..<8 {
            writer.begin(1)
            #expect(writer.wait(for: count))
            let report = try fixture.backup().report
            #expect(try DatabaseWriter.transactions(in: try database(fixture, report.point)) == count)
        }
        #expect(try FileSystem.status(Array(path.utf8)).isUnchanged(since: before))
        writer.kill()
        #expect(DatabaseWriter.transactions(at: path) == 7)
        #expect(!FileManager.default.fileExists(atPath: path + "-wal"))
        _ = try fixture.backup()
        usleep(30_000)
        _ = try fixture.backup()
        let job = try fixture.backup().job
        #expect(job.progress.filesRead.load(ordering: .relaxed) == 0)
        #expect(job.progress.remarks.withLock { $0.openDatabaseCount } == 0)
    }

    @Test("files named as if they belonged to a database are files like any other when there is none")
    func onlyNames() throws {
        let fixture = try BackupFixture()
        let names = ["a.db", "a.db-wal", "a.db-shm", "b", "b-journal", "c-wal", "-wal", "d-journal"]
        for name in names { try fixture.write(name, Array(repeating: 7, count: 3000)) }
        // The beginning of a database, and nothing of it behind.
        try fixture.write("e", Array("SQLite format 3\0".utf8) + [UInt8](repeating: 0xFF, count: 5000))
        try fixture.write("e-wal", SeededGenerator.some(9000))
        let (report, job) = try fixture.backup()
        let found = try fixture.entries(report.point)
        for name in names + ["e"] {
            #expect(found[TreePath(fixture.root + "/" + name)!.key]?.size ?? 0 >= 3000, "\(name)")
        }
        #expect(report.warnings.isEmpty)
        #expect(job.progress.remarks.withLock { $0.openDatabaseCount } == 1)
    }

    @Test("a log or journal that is a symbolic link or a pipe is not followed")
    func hostile() throws {
        let fixture = try BackupFixture()
        let path = fixture.root + "/data.db"
        let writer = try DatabaseWriter(path, mode: "DELETE")
        writer.begin(5)
        #expect(writer.wait(for: 5))
        writer.kill()
        try FileManager.default.createSymbolicLink(atPath: path + "-wal", withDestinationPath: "/etc/passwd")
        #expect(mkfifo(path + "-journal", 0o600) == 0)
        let report = try fixture.backup().report
        #expect(try DatabaseWriter.transactions(in: try database(fixture, report.point)) == 5)
        #expect(report.warnings.isEmpty)
    }

    @Test("a database that is never at rest is kept as it was read last, with a warning, and programs go on")
    func restless() throws {
        let fixture = try BackupFixture()
        let path = fixture.root + "/data.db"
        let writer = try DatabaseWriter(path, mode: "DELETE")
        writer.begin(5)
        #expect(writer.wait(for: 5))
        writer.kill()
        // Nobody may read while this is held, as during a long transaction that does not fit into memory.
        let holder = """
            import sqlite3, sys
            c = sqlite3.connect(sys.argv[1], isolation_level=None)
            c.execute("PRAGMA cache_size=2"); c.execute("BEGIN EXCLUSIVE"); c.execute("UPDATE a SET pad=randomblob(9000)")
            print(1, flush=True); sys.stdin.read()
            """
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", "-c", holder, path]
        let (input, output) = (Pipe(), Pipe())
        (process.standardInput, process.standardOutput) = (input, output)
        try process.run()
        _ = output.fileHandleForReading.availableData
        let report = try fixture.backup().report
        #expect(report.warnings.map(\.reason) == [.changed])
        let entry = try fixture.entries(report.point)[TreePath(path)!.key]
        #expect(entry?.remarks == .fuzzy)
        try input.fileHandleForWriting.close()
        process.waitUntilExit()
        // The next time it is read again, although its file may look the same.
        let next = try fixture.backup().report
        #expect(next.warnings.isEmpty)
        #expect(try DatabaseWriter.transactions(in: try database(fixture, next.point)) == 5)
    }

    @Test("what a log says of the length of its database is not read as zeros", arguments: [UInt32(1 << 20), .max])
    func hostileLength(_ pages: UInt32) throws {
        let fixture = try BackupFixture()
        let path = fixture.root + "/data.db"
        let script = """
            import sqlite3, struct, sys
            path, pages = sys.argv[1], int(sys.argv[2])
            c = sqlite3.connect(path); c.execute("CREATE TABLE t(x)"); c.commit(); c.close()
            page = open(path, "rb").read(4096)
            def add(data, state):
                a, b = state
                for at in range(0, len(data), 8):
                    x, y = struct.unpack(">II", data[at:at + 8])
                    a = (a + x + b) & 0xffffffff; b = (b + y + a) & 0xffffffff
                return a, b
            head = struct.pack(">IIIIII", 0x377f0683, 3007000, 4096, 0, 1, 2)
            state = add(head, (0, 0)); head += struct.pack(">II", *state)
            frame = b""
            for number, end in ((1, 0), (9, pages)):
                start = struct.pack(">II", number, end); state = add(start + page, state)
                frame += start + struct.pack(">IIII", 1, 2, *state) + page
            open(path + "-wal", "wb").write(head + frame)
            """
        #expect(Tool.run(["python3", "-c", script, path, "\(pages)"]).status == 0)
        let (report, job) = try fixture.backup()
        let entry = try #require(try fixture.entries(report.point)[TreePath(path)!.key])
        #expect(entry.size == UInt64(pages) * 4096)
        #expect(job.progress.bytesRead.load(ordering: .relaxed) < 1 << 20)
        // The file has two pages, and the ninth is in the log.
        var found: [(length: UInt64, isHole: Bool)] = []
        try fixture.reader(report.point).extents(of: entry) { extent, _ in
            found.append((extent.length, extent.key == nil))
            return true
        }
        #expect(found.map(\.isHole) == [false, true, false, true])
        #expect(found.map(\.length) == [8192, 24_576, 4096, UInt64(pages) * 4096 - 36_864])
    }

    // MARK: What is held

    /// A database as `take` gets it.
    private func open(_ path: String) throws -> (file: DirectoryHandle, directory: DirectoryHandle, name: [UInt8]) {
        let parent = (path as NSString).deletingLastPathComponent
        return (
            DirectoryHandle(try FileDescriptor.open(Array(path.utf8), .readOnly)),
            DirectoryHandle(try FileDescriptor.open(Array(parent.utf8), [.readOnly, .directory])),
            Array((path as NSString).lastPathComponent.utf8)
        )
    }

    private func whole(_ snapshot: SQLiteSnapshot) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Int(snapshot.size))
        let count = bytes.count
        let read = try bytes.withUnsafeMutableBytes { try snapshot.readFully(into: $0, at: 0) }
        #expect(read == count)
        return bytes
    }

    @Test("while a database is held programs commit and checkpoint, and what is read is the moment when that began")
    func heldLog() throws {
        let fixture = try BackupFixture()
        let path = fixture.root + "/data.db"
        let writer = try DatabaseWriter(path, mode: "WAL", pragmas: ["wal_autocheckpoint=10"])
        writer.begin(35)
        #expect(writer.wait(for: 35))
        let opened = try open(path)
        let taken = try SQLiteSnapshot.take(opened.file, at: opened.directory.raw, opened.name, holds: true)
        let snapshot = try #require(taken)
        let before = try Data(contentsOf: URL(fileURLWithPath: path))
        writer.begin(200)
        #expect(writer.wait(for: 235))
        for mode in ["passive", "full", "restart", "truncate"] {
            let script =
                "import sqlite3,sys; c=sqlite3.connect(sys.argv[1],timeout=0.2); "
                + "c.execute('pragma wal_checkpoint(\(mode))').fetchall()"
            _ = Tool.run(["python3", "-c", script, path])
        }
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == before)
        #expect(try DatabaseWriter.transactions(in: try whole(snapshot)) == 35)
        #expect(try snapshot.isOneMoment { _, _ in false })
        snapshot.release()
        writer.begin(50)
        #expect(writer.wait(for: 285))
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) != before)
    }

    @Test("who finds the index of a log invalid sets it right while the database is held")
    func heldAtRecovery() throws {
        let fixture = try BackupFixture()
        let path = fixture.root + "/data.db"
        let writer = try DatabaseWriter(path, mode: "WAL", pragmas: ["wal_autocheckpoint=0"])
        writer.begin(10)
        #expect(writer.wait(for: 10))
        let opened = try open(path)
        let taken = try SQLiteSnapshot.take(opened.file, at: opened.directory.raw, opened.name, holds: true)
        let snapshot = try #require(taken)
        let script = """
            import sqlite3, sys
            with open(sys.argv[1] + "-shm", "r+b") as f: f.write(bytes(136))
            c = sqlite3.connect(sys.argv[1], timeout=0)
            print(c.execute("SELECT n FROM c").fetchone()[0])
            c.execute("CREATE TABLE more(x)"); c.commit()
            """
        // It waits for no lock: what is locked is an error.
        let next = Tool.run(["python3", "-c", script, path])
        #expect(next.status == 0 && next.text.hasPrefix("10"), "\(next.text)")
        #expect(try DatabaseWriter.transactions(in: try whole(snapshot)) == 10)
        #expect(try snapshot.isOneMoment { _, _ in false })
    }

    @Test("a database that is held when its last program dies is opened by the next one at once")
    func heldAtCrash() throws {
        let fixture = try BackupFixture()
        let path = fixture.root + "/data.db"
        for _ in 0..<3 {
            let writer = try DatabaseWriter(path, mode: "WAL", pragmas: ["wal_autocheckpoint=0"])
            writer.begin(10)
            #expect(writer.wait(for: 10))
            let opened = try open(path)
            let taken = try SQLiteSnapshot.take(opened.file, at: opened.directory.raw, opened.name, holds: true)
            let snapshot = try #require(taken)
            writer.kill()
            // It has to set the log right first.
            let next = Tool.run([
                "python3", "-c",
                "import sqlite3,sys; print(sqlite3.connect(sys.argv[1], timeout=0).execute('SELECT n FROM c').fetchone()[0])",
                path,
            ])
            #expect(next.status == 0 && Int(next.text.trimmingCharacters(in: .whitespacesAndNewlines)) ?? 0 >= 10)
            snapshot.release()
        }
    }

    @Test("what is held for too long is given up although nothing is read meanwhile, and is not held again")
    func heldTooLong() throws {
        let fixture = try BackupFixture()
        let path = fixture.root + "/data.db"
        let writer = try DatabaseWriter(path, mode: "DELETE")
        writer.begin(5)
        #expect(writer.wait(for: 5))
        let opened = try open(path)
        let taken = try SQLiteSnapshot.take(opened.file, at: opened.directory.raw, opened.name, holds: true)
        let snapshot = try #require(taken)
        writer.begin(1)
        usleep(200_000)
        #expect(writer.committed == 5)
        #expect(writer.wait(for: 6))
        var bytes = [UInt8](repeating: 0, count: 512)
        let error = #expect(throws: Errno.self) {
            _ = try bytes.withUnsafeMutableBytes { try snapshot.readFully(into: $0, at: 0) }
        }
        #expect(error == .timedOut)
        #expect(#expect(throws: Errno.self) { try snapshot.isOneMoment { _, _ in true } } == .timedOut)
        var attempts = DatabaseAttempts()
        var count = 0
        while let attempt = attempts.next() {
            count += 1
            let goesOn = attempts.failed(attempt.holds ? .timedOut : .again)
            #expect(goesOn)
        }
        #expect(count == 4)
    }

    @Test("transactions of a program whose locks are not seen are never captured in part without a warning")
    func unseenLocks() throws {
        let fixture = try BackupFixture()
        let path = fixture.root + "/data.db"
        let maker = try DatabaseWriter(path, mode: "DELETE")
        maker.begin(30)
        #expect(maker.wait(for: 30))
        maker.kill()
        #expect(DatabaseWriter.transactions(at: path) == 30)
        // It writes into the file while a transaction is under way, and for all that can be seen nobody does.
        let program = """
            import random, sqlite3, sys, time
            c = sqlite3.connect("file:%s?nolock=1" % sys.argv[1], uri=True, isolation_level=None)
            c.execute("PRAGMA cache_size=1"); c.execute("PRAGMA synchronous=OFF"); print(1, flush=True)
            end = time.time() + float(sys.argv[2])
            while time.time() < end:
                pad = random.randbytes(1500)
                c.execute("BEGIN")
                for row in range(1, 31):
                    for table in "ab": c.execute("UPDATE %s SET pad=? WHERE id=?" % table, (pad, row)); time.sleep(0.01)
                c.execute("COMMIT"); time.sleep(0.2)
            """
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", "-c", program, path, "12"]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        _ = output.fileHandleForReading.availableData
        defer {
            process.terminate()
            process.waitUntilExit()
        }
        var round = 0
        while process.isRunning, round < 5 {
            round += 1
            usleep(UInt32(70_000 * round))
            let report = try fixture.backup().report
            if !report.warnings.isEmpty { continue }
            let reader = try fixture.reader(report.point)
            let copy = fixture.caches + "/restored-\(round).db"
            try Data(try database(fixture, report.point)).write(to: URL(fileURLWithPath: copy))
            if let journal = try fixture.content(reader, "data.db-journal") {
                try Data(journal).write(to: URL(fileURLWithPath: copy + "-journal"))
            }
            #expect(DatabaseWriter.transactions(at: copy) == 30, "round \(round)")
        }
        #expect(round > 0)
    }

    @Test("a journal that was just written to is not taken for one that was left behind, and later it is")
    func youngJournal() throws {
        let fixture = try BackupFixture()
        let path = fixture.root + "/data.db"
        let maker = try DatabaseWriter(path, mode: "DELETE")
        maker.begin(5)
        #expect(maker.wait(for: 5))
        maker.kill()
        try Data([0xD9, 0xD5, 0x05, 0xF9, 0x20, 0xA1, 0x63, 0xD7] + [UInt8](repeating: 0, count: 1000)).write(
            to: URL(fileURLWithPath: path + "-journal"))
        let opened = try open(path)
        for holds in [false, true] {
            let taken = try SQLiteSnapshot.take(opened.file, at: opened.directory.raw, opened.name, holds: holds)
            #expect(taken == nil)
        }
        SQLiteSnapshot.settleJournal(opened.name, at: opened.directory.raw, opened.file) { false }
        let taken = try SQLiteSnapshot.take(opened.file, at: opened.directory.raw, opened.name, holds: false)
        #expect(taken != nil)
        let name = opened.name + Array("-journal".utf8)
        #expect(SQLiteSnapshot.isLeftBehind(name, at: opened.directory.raw, isStopped: { false }) == true)
        #expect(unlink(path + "-journal") == 0)
        // What was read with it is not of one moment any more.
        #expect(try taken?.isOneMoment { _, _ in true } == false)
        #expect(SQLiteSnapshot.isLeftBehind(name, at: opened.directory.raw, isStopped: { false }) == false)
    }

    @Test("journals that somebody touches all the time hold up a backup for a limited time in all")
    func restlessJournals() throws {
        let fixture = try BackupFixture()
        let maker = try DatabaseWriter(fixture.root + "/0.db", mode: "DELETE")
        maker.begin(5)
        #expect(maker.wait(for: 5))
        maker.kill()
        let names = (1...6).map { "\($0).db" }
        for name in names {
            try FileManager.default.copyItem(atPath: fixture.root + "/0.db", toPath: fixture.root + "/" + name)
            try fixture.write(name + "-journal", [1])
        }
        let toucher = Toucher(paths: names.map { fixture.root + "/" + $0 + "-journal" })
        defer { toucher.end() }
        let progress = CaptureProgress(journalWait: 1_000_000_000)
        var request = BackupRequest(
            source: CaptureSource(roots: [TreePath(fixture.root)!]), hostName: "test", program: "test")
        request.readers = 1
        let job = BackupJob(
            service: fixture.vault, secrets: fixture.secrets, heads: GivenHead(nil),
            cacheDirectory: Array(fixture.caches.utf8), request: request, progress: progress)
        let start = SystemClock.monotonic
        let report = try job.run()
        // Each by itself would take more than six seconds, twice.
        #expect(SystemClock.monotonic - start < 40_000_000_000)
        #expect(report.warnings.filter { $0.reason == .changed }.count == 6, "\(report.warnings)")
        #expect(progress.patience.isSpent)
    }

    // MARK: Names and logs

    @Test("a database whose name has no room for that of a log is captured like any other")
    func longName() throws {
        let fixture = try BackupFixture()
        let writer = try DatabaseWriter(fixture.root + "/short", mode: "DELETE")
        writer.begin(5)
        #expect(writer.wait(for: 5))
        writer.kill()
        let name = String(repeating: "n", count: 253)
        #expect(rename(fixture.root + "/short", fixture.root + "/" + name) == 0)
        let report = try fixture.backup().report
        #expect(report.warnings.isEmpty)
        let content = try fixture.content(try fixture.reader(report.point), name)
        #expect(try DatabaseWriter.transactions(in: try #require(content)) == 5)
    }

    @Test("a log of an unknown version is kept as it is, with a warning")
    func unknownLog() throws {
        let fixture = try BackupFixture()
        let path = fixture.root + "/data.db"
        let writer = try DatabaseWriter(path, mode: "WAL", pragmas: ["wal_autocheckpoint=0"])
        writer.begin(5)
        #expect(writer.wait(for: 5))
        writer.kill()
        var log = try Array(Data(contentsOf: URL(fileURLWithPath: path + "-wal")))
        log.replaceSubrange(4..<8, with: [0, 0x2E, 0x18, 0xC8])
        try Data(log).write(to: URL(fileURLWithPath: path + "-wal"))
        for _ in 0..<2 {
            let report = try fixture.backup().report
            #expect(report.warnings.map(\.reason) == [.changed])
            let reader = try fixture.reader(report.point)
            #expect(try fixture.content(reader, "data.db-wal") == log)
            #expect(try database(fixture, report.point) == Array(Data(contentsOf: URL(fileURLWithPath: path))))
        }
    }

    @Test("the log of a database that took another one's name is not taken for that one's")
    func replacedByRename() throws {
        let fixture = try BackupFixture()
        let (path, other) = (fixture.root + "/data.db", fixture.root + "/other.db")
        let writers = try [path, other].map { try DatabaseWriter($0, mode: "WAL", pragmas: ["wal_autocheckpoint=0"]) }
        for (index, writer) in writers.enumerated() {
            writer.begin(5 + index)
            #expect(writer.wait(for: 5 + index))
        }
        for writer in writers { writer.kill() }
        let opened = try open(path)
        for ending in ["", "-wal", "-shm"] { #expect(rename(other + ending, path + ending) == 0) }
        let taken = try SQLiteSnapshot.take(opened.file, at: opened.directory.raw, opened.name, holds: false)
        let snapshot = try #require(taken)
        #expect(#expect(throws: Errno.self) { try snapshot.isOneMoment { _, _ in true } } == .stale)
        let again = try open(path)
        let right = try SQLiteSnapshot.take(again.file, at: again.directory.raw, again.name, holds: false)
        #expect(try DatabaseWriter.transactions(in: try whole(try #require(right))) == 6)
    }
}

/// Changes files again and again.
private final class Toucher: Sendable {
    private let isOver = Atomic<Bool>(false)

    init(paths: [String]) {
        Thread.detachNewThread { [self] in
            while !isOver.load(ordering: .relaxed) {
                for path in paths { _ = chmod(path, 0o600) }
                usleep(100_000)
            }
        }
    }

    func end() { isOver.store(true, ordering: .relaxed) }
}
