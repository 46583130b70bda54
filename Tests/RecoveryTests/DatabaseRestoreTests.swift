import Foundation
import Model
import TestSupport
import Testing

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
}
