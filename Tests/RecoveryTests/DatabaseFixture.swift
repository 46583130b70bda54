import Capture
import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Recovery

/// Databases in the protected directory, and restores that are remembered.
extension RestoreFixture {
    /// A database at rest with 30 transactions.
    func databaseAtRest(_ name: String = "data.db", mode: String = "WAL") throws -> String {
        let path = source + "/" + name
        let writer = try DatabaseWriter(path, mode: mode)
        writer.begin(30)
        #expect(writer.wait(for: 30))
        writer.kill()
        #expect(DatabaseWriter.transactions(at: path) == 30)
        #expect(!RestoreFixture.exists(path + "-wal"))
        return path
    }

    /// Ten more transactions, which lie in the log alone: the file stays as it was.
    static func commitMore(_ path: String, after count: Int = 30) throws -> DatabaseWriter {
        let before = try FileSystem.status(Array(path.utf8))
        let writer = try DatabaseWriter(path, mode: "WAL", pragmas: ["wal_autocheckpoint=0"])
        writer.begin(10)
        #expect(writer.wait(for: count + 10))
        #expect(try FileSystem.status(Array(path.utf8)).isUnchanged(since: before))
        return writer
    }

    /// How many transactions a program would see that opened it, without opening it.
    static func seen(_ path: String) throws -> Int? {
        let copy = NSTemporaryDirectory() + "/holdfast-seen-" + UUID().uuidString
        try shell(
            "mkdir '\(copy)'; cp '\(path)' '\(copy)/d'; for e in -wal -journal; do if [ -e '\(path)'$e ]; "
                + "then cp '\(path)'$e '\(copy)/d'$e; fi; done")
        defer { _ = try? shell("rm -r '\(copy)'") }
        return DatabaseWriter.transactions(at: copy + "/d")
    }

    /// A program ends in a transaction of which parts are in the file already: the journal beside it is to be taken back.
    static func breakOff(_ path: String) throws {
        try shell(
            """
            python3 - '\(path)' <<'END'
            import os, sqlite3, sys
            c = sqlite3.connect(sys.argv[1], isolation_level=None)
            c.execute("PRAGMA cache_size=2"); c.execute("PRAGMA cache_spill=1"); c.execute("BEGIN")
            for table in "ab": c.execute("UPDATE %s SET pad=zeroblob(length(pad) + 3000)" % table)
            os._exit(0)
            END
            """)
        #expect(try read(path + "-journal").starts(with: [0xD9, 0xD5, 0x05, 0xF9]))
    }

    /// Ten more transactions by the next program, which takes back what was broken off first.
    static func goOn(_ path: String, after count: Int = 30) throws {
        let writer = try DatabaseWriter(path, mode: "DELETE")
        writer.begin(10)
        #expect(writer.wait(for: count + 10))
        writer.kill()
        #expect(DatabaseWriter.transactions(at: path) == count + 10)
    }

    func job(_ reader: PointReader, _ change: (inout RestoreRequest) -> Void = { _ in }) throws -> RestoreJob {
        let state = place("state")
        try RestoreFixture.shell("mkdir -p '\(state)'")
        var request = RestoreRequest(paths: [path], destination: .inPlace)
        request.sync = false
        change(&request)
        return RestoreJob(reader: reader, request: request, undo: UndoStore(directory: Array(state.utf8)))
    }

    /// Carries a job out with a point of what it replaces.
    func run(_ job: RestoreJob) throws -> RestoreReport {
        try job.run { paths in try backUp(paths.map(\.displayText)).point }
    }

    /// Takes the last job back.
    func undo() throws -> RestoreReport {
        try UndoJob(store: UndoStore(directory: Array(place("state").utf8))).run {
            try open($0)
        } protect: { paths in
            try backUp(paths.map(\.displayText)).point
        }
    }
}

/// A program that does something, and then waits for its end.
final class WaitingProgram {
    private let process = Process()
    private let input = Pipe()

    /// - Parameters:
    ///   - text: in Python; what it needs of modules it imports.
    init(_ text: String, _ arguments: String...) throws {
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments =
            ["python3", "-c", "import sys\n" + text + "\nprint('ready', flush=True)\nsys.stdin.readline()"] + arguments
        process.standardInput = input
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        #expect(!output.fileHandleForReading.availableData.isEmpty)
    }

    deinit { end() }

    func end() {
        try? input.fileHandleForWriting.close()
        process.waitUntilExit()
    }
}
