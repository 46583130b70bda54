import Catalog
import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Agent

@Suite("While the first backup runs", .serialized, .enabled(if: canWatch))
struct FirstBackupTests {
    /// Saves two versions of a file while the first point is being committed, and waits until each is in the spool.
    private static func twoVersions(_ root: String, _ spool: String) {
        func put(_ name: String, _ text: String) {
            try? Data(text.utf8).write(to: URL(fileURLWithPath: "\(root)/\(name)"))
        }
        guard let index = try? SpoolIndex(path: spool + "/index.sqlite") else { return }
        func wait(_ count: Int) {
            for _ in 0..<2_000 where (try? index.summary().waiting) ?? 0 < count { usleep(5_000) }
        }
        put("letter", "one")
        put("passing", "soon gone")
        wait(1)
        usleep(200_000)
        let before = (try? index.summary().waiting) ?? 0
        put("letter", "two")
        unlink("\(root)/passing")
        unlink("\(root)/old")
        wait(before + 1)
    }

    private func texts(_ fixture: AgentFixture, _ name: String) throws -> [String?] {
        try fixture.points().map { point in
            let reader = try fixture.open(point.id)
            defer { reader.close() }
            let entry = try reader.entry(of: fixture.path(name))
            return try entry.map { String(decoding: try AgentFixture.content($0, reader), as: UTF8.self) }
        }
    }

    @Test("every version that is saved meanwhile is kept, in its order, and what is on the disk is what is kept last")
    func versions() throws {
        guard let fixture = try AgentFixture() else { return }
        fixture.put("letter", "before")
        fixture.put("old", "goes")
        let (root, spool) = (fixture.root, fixture.directory + "/spool")
        fixture.service.duringCommit { Self.twoVersions(root, spool) }
        try fixture.start { _ in
        } waiting: {
            $0.scans > 0 && $0.lag == 0 && !$0.spooled
        }
        try fixture.settle()
        let letters = try texts(fixture, "letter")
        #expect(letters.first == "before" && letters.contains("one") && letters.last == "two", "\(letters)")
        #expect(try texts(fixture, "passing").contains("soon gone"))
        try fixture.checkNewest()
        try fixture.checkSequence()
        // And so it is after a restart.
        fixture.abandon()
        try fixture.start()
        try fixture.settle()
        try fixture.checkNewest()
    }

    @Test("when the first backup fails after them they are sent after the next one, also by another agent")
    func failure() throws {
        guard let fixture = try AgentFixture() else { return }
        fixture.put("letter", "before")
        fixture.put("old", "goes")
        let (root, spool) = (fixture.root, fixture.directory + "/spool")
        let service = fixture.service
        fixture.service.duringCommit {
            Self.twoVersions(root, spool)
            service.isCut = true
        }
        service.cutsAfterCommit = true
        try fixture.start { _ in
        } waiting: {
            $0.problem != nil
        }
        fixture.abandon()
        // While nobody watches.
        fixture.put("passing", "here again")
        service.cutsAfterCommit = false
        service.isCut = false
        try fixture.start { _ in
        } waiting: {
            $0.scans > 0 && $0.lag == 0 && !$0.spooled
        }
        try fixture.settle()
        let letters = try texts(fixture, "letter")
        #expect(letters.contains("one") && letters.last == "two", "\(letters)")
        try fixture.checkNewest()
    }
}
