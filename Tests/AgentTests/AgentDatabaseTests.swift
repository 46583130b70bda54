import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Agent

@Suite("The agent and databases", .serialized, .enabled(if: canWatch && DatabaseWriter.isAvailable))
struct AgentDatabaseTests {
    @Test("a transaction that only goes into the log of a database is in a point soon, and every version opens")
    func log() throws {
        guard let fixture = try AgentFixture() else { return }
        let writer = try DatabaseWriter(fixture.root + "/data.db", mode: "WAL", pragmas: ["wal_autocheckpoint=0"])
        writer.begin(3)
        #expect(writer.wait(for: 3))
        try fixture.start()
        let before = try FileSystem.status(Array((fixture.root + "/data.db").utf8))
        for count in 4..<8 {
            writer.begin(1)
            #expect(writer.wait(for: count))
            try fixture.settle()
            let bytes = try fixture.newest("data.db")
            #expect(try DatabaseWriter.transactions(in: try #require(bytes)) == count)
            #expect(try fixture.newest("data.db-wal") == nil)
        }
        #expect(try FileSystem.status(Array((fixture.root + "/data.db").utf8)).isUnchanged(since: before))
        // Without being asked for, too.
        writer.begin(1)
        let end = ContinuousClock.now + .seconds(30)
        var found: Int?
        while found != 8, ContinuousClock.now < end {
            usleep(200_000)
            found = try fixture.newest("data.db").flatMap { try DatabaseWriter.transactions(in: $0) }
        }
        #expect(found == 8)
        writer.kill()
        #expect(DatabaseWriter.transactions(at: fixture.root + "/data.db") == 8)
        try fixture.settle()
        try fixture.checkNewest()
        try fixture.checkSequence()
    }

    @Test("under load every version is as of one moment, and later ones hold more", arguments: ["WAL", "DELETE"])
    func load(_ mode: String) throws {
        guard let fixture = try AgentFixture() else { return }
        let writer = try DatabaseWriter(
            fixture.root + "/data.db", mode: mode, pause: 0.005, pragmas: ["wal_autocheckpoint=30"])
        writer.begin(1)
        #expect(writer.wait(for: 1))
        try fixture.start()
        writer.begin(-1)
        for _ in 0..<8 {
            usleep(150_000)
            try fixture.settle()
        }
        writer.kill()
        var last = 0
        var versions = 0
        for point in try fixture.points() {
            let reader = try fixture.open(point.id)
            defer { reader.close() }
            // What a killed program leaves needs its journal; what comes before does not.
            guard let entry = try reader.entry(of: fixture.path("data.db")),
                try reader.entry(of: fixture.path("data.db-journal")) == nil
            else { continue }
            #expect(entry.remarks.isEmpty)
            let found = try DatabaseWriter.transactions(in: try AgentFixture.content(entry, reader))
            let count = try #require(found)
            #expect(count >= last)
            last = count
            versions += 1
        }
        #expect(versions >= 5 && last > 10, "\(versions) versions, \(last) transactions")
    }
}
