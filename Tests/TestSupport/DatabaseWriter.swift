import Foundation
import Synchronization

/// A program that writes transactions into an SQLite database, and says how many are committed.
///
/// The n-th transaction adds row n to two tables, changes a row of both, and counts; so a database is as of one moment if all of
/// these agree. A process of its own, because locks of SQLite hold between processes.
package final class DatabaseWriter {
    private let process = Process()
    private let commands = Pipe()
    private let count = Counter()
    package let path: String

    private final class Counter: Sendable {
        let value = Atomic<Int>(0)
        let partial = Mutex<[UInt8]>([])

        func take(_ data: Data) {
            partial.withLock { partial in
                partial += data
                while let end = partial.firstIndex(of: UInt8(ascii: "\n")) {
                    if let number = Int(String(decoding: partial[..<end], as: UTF8.self)) {
                        value.store(number, ordering: .releasing)
                    }
                    partial.removeSubrange(...end)
                }
            }
        }
    }

    /// Whether there is a program to write and check databases with.
    package static let isAvailable = Tool.run(["python3", "-c", "import sqlite3"]).status == 0

    private static let program = """
        import random, sqlite3, sys, time
        path, mode, pause, extra = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:]
        c = sqlite3.connect(path, isolation_level=None, timeout=60)
        c.execute("PRAGMA journal_mode=" + mode).fetchall()
        for text in ["synchronous=OFF"] + extra: c.execute("PRAGMA " + text).fetchall()
        c.execute("CREATE TABLE IF NOT EXISTS a(id INTEGER PRIMARY KEY, pad BLOB)")
        c.execute("CREATE TABLE IF NOT EXISTS b(id INTEGER PRIMARY KEY, pad BLOB)")
        c.execute("CREATE TABLE IF NOT EXISTS c(n)")
        n = (c.execute("SELECT max(n) FROM c").fetchone()[0] or 0)
        if n == 0: c.execute("INSERT INTO c VALUES(0)")
        def commit():
            global n
            n += 1
            c.execute("BEGIN IMMEDIATE")
            pad = random.randbytes(random.randrange(2000))
            for table in "ab": c.execute("INSERT INTO %s VALUES(?,?)" % table, (n, pad))
            pad, row = random.randbytes(random.randrange(2000)), random.randrange(1, n + 1)
            for table in "ab": c.execute("UPDATE %s SET pad=? WHERE id=?" % table, (pad, row))
            c.execute("UPDATE c SET n=?", (n,))
            c.execute("COMMIT")
            print(n, flush=True)
        for line in sys.stdin:
            wanted = int(line)
            while wanted != 0:
                commit()
                wanted -= 1
                if pause > 0: time.sleep(pause)
        """

    private static let checker = """
        import sqlite3, sys
        c = sqlite3.connect(sys.argv[1])
        print(c.execute("PRAGMA integrity_check").fetchone()[0])
        print(c.execute("SELECT count(*) FROM a JOIN b USING (id) WHERE a.pad = b.pad").fetchone()[0])
        for text in ["count(*) FROM a", "count(*) FROM b", "coalesce(max(id),0) FROM a", "max(n) FROM c"]:
            print(c.execute("SELECT " + text).fetchone()[0])
        """

    /// - Parameters:
    ///   - mode: of the journal, as `PRAGMA journal_mode` takes it.
    ///   - pause: between transactions, in seconds.
    ///   - pragmas: further settings.
    package init(_ path: String, mode: String, pause: Double = 0, pragmas: [String] = []) throws {
        self.path = path
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", "-c", DatabaseWriter.program, path, mode, "\(pause)"] + pragmas
        process.standardInput = commands
        let answers = Pipe()
        process.standardOutput = answers
        let count = count
        answers.fileHandleForReading.readabilityHandler = { count.take($0.availableData) }
        try process.run()
    }

    deinit { kill() }

    /// How many transactions are known to be committed.
    package var committed: Int { count.value.load(ordering: .acquiring) }

    /// Begins so many transactions; a negative number: does not end.
    package func begin(_ transactions: Int) {
        try? commands.fileHandleForWriting.write(contentsOf: Data("\(transactions)\n".utf8))
    }

    /// Waits until so many are committed, for at most 30 seconds.
    package func wait(for number: Int) -> Bool {
        for _ in 0..<15_000 {
            if committed >= number { return true }
            usleep(2_000)
        }
        return false
    }

    /// Ends it where it is.
    package func kill() {
        if process.isRunning { Foundation.kill(process.processIdentifier, SIGKILL) }
        process.waitUntilExit()
    }

    /// How many transactions a database holds; `nil`, with what is wrong printed, when it is not as of one moment.
    package static func transactions(in bytes: [UInt8]) throws -> Int? {
        let path = NSTemporaryDirectory() + "/holdfast-database-\(UUID().uuidString)"
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        defer { for ending in ["", "-wal", "-shm", "-journal"] { unlink(path + ending) } }
        return transactions(at: path)
    }

    /// As `transactions(in:)`, of a file with what is beside it.
    package static func transactions(at path: String) -> Int? {
        let outcome = Tool.run(["python3", "-c", checker, path])
        let lines = outcome.text.split(separator: "\n").map(String.init)
        let numbers = lines.dropFirst().compactMap { Int($0) }
        if outcome.status == 0, lines.first == "ok", numbers.count == 5, Set(numbers).count == 1 { return numbers[0] }
        print("the database is not as of one moment: \(outcome.text)")
        return nil
    }
}
