import Foundation
import Model
import Platform
import Policy
import TestSupport
import Testing
import Vault

@testable import Agent

@Suite("Checkpoints by policy", .serialized)
struct CheckpointTests {
    private let directory = NSTemporaryDirectory() + "holdfast-triggers-\(UUID().uuidString)"

    init() throws { try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true) }

    private func write(_ name: String, _ text: String, age: TimeInterval) throws {
        let path = directory + "/" + name
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        try FileManager.default.setAttributes([.modificationDate: Date(timeIntervalSinceNow: -age)], ofItemAtPath: path)
    }

    @Test("a start and a change of packages are noticed once each, the latter when it is over")
    func triggers() throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try write("status", "Package: one", age: 500)
        var boot: [UInt8] = [1]
        func triggers() -> CheckpointTriggers {
            CheckpointTriggers(
                [.boot, .packageChange], directory: Array(directory.utf8), files: [directory + "/status", "/nowhere"]
            ) { boot }
        }
        func due() -> [CheckpointEvent] { triggers().due(now: SystemClock.wall) }
        #expect(due() == [.boot])
        triggers().done(.boot, now: SystemClock.wall)
        #expect(due() == [])
        boot = [2]
        #expect(due() == [.boot])
        triggers().done(.boot, now: SystemClock.wall)
        try write("status", "Package: one, two", age: 5)
        #expect(due() == [], "packages are being installed")
        try write("status", "Package: one, two", age: 90)
        #expect(due() == [.packageChange])
        #expect(due() == [.packageChange], "not done yet")
        triggers().done(.packageChange, now: SystemClock.wall)
        #expect(due() == [])
    }

    @Test("a moment that changes something is no checkpoint, whatever it was joined with")
    func joined() {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        var changes = EntryMemory.Changes()
        #expect(SpoolSender.kind(of: changes, ["boot"]) == .checkpoint)
        #expect(SpoolSender.kind(of: changes, ["scan"]) == .continuous)
        changes.gone = [Array("letter".utf8)]
        #expect(SpoolSender.kind(of: changes, ["boot", Spool.thinnedLabel]) == .continuous)
    }

    @Test("a checkpoint is a point of the whole state, beside the others", .enabled(if: canWatch))
    func point() throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        guard let fixture = try AgentFixture() else { return }
        fixture.put("letter", "text")
        try fixture.start(settle: 0.5) { $0.checkpoints = [.boot] }
        try fixture.waits { $0.points > 1 && $0.lag == 0 }
        let points = try fixture.points()
        #expect(points.map(\.kind) == [.continuous, .checkpoint])
        let reader = try fixture.open(points[1].id)
        defer { reader.close() }
        #expect(reader.record.labels == ["boot"])
        let entry = try #require(try reader.entry(of: fixture.path("letter")))
        #expect(try AgentFixture.content(entry, reader) == Array("text".utf8))
        // What comes after goes on from it, and the next run of the agent makes no other one.
        fixture.put("letter", "changed")
        try fixture.settle()
        fixture.abandon()
        try fixture.start(settle: 0.5) { $0.checkpoints = [.boot] }
        fixture.put("other", "text")
        try fixture.settle()
        #expect(try fixture.points().count { $0.kind == .checkpoint } == 1)
        try fixture.checkSequence()
        try fixture.checkNewest()
    }
}
