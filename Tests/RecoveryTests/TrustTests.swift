import Capture
import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Recovery

/// When size and time of what is there are believed, and what is done about what they hide.
@Suite struct TrustTests {
    private static let changes = "printf ABCD > f; head -c 300000 /dev/zero > large; touch -r stamp f large"

    private func protected() throws -> (RestoreFixture, PointReader) {
        let fixture = try RestoreFixture()
        var random = SeededGenerator(seed: 51)
        try fixture.write("large", random.bytes(300_000))
        try fixture.make(
            "printf abcd > f; printf same > g; printf x > stamp; touch -d '2020-01-01 UTC' f g large stamp")
        return (fixture, try fixture.backup())
    }

    @Test("contents that changed behind size and time are found and restored on request", arguments: [true, false])
    func checked(_ verifies: Bool) throws {
        let (fixture, reader) = try protected()
        let target = fixture.place("out")
        try fixture.restore(reader, to: target)
        let copy = target + fixture.source
        try RestoreFixture.shell("cd '\(copy)'; \(TrustTests.changes)")
        // Believed without a request.
        #expect(try fixture.restore(reader, to: target) { $0.conflict = .always }.filesUnchanged == 4)
        #expect(try RestoreFixture.read(copy + "/f") == Array("ABCD".utf8))
        var request = RestoreRequest(paths: [fixture.path], destination: .directory(Array(target.utf8)))
        request.conflict = .always
        request.verify = verifies
        request.checksContents = true
        let report = try Restorer(reader: reader, request: request).run()
        #expect(report.issues.map(\.kind) == [.content, .content])
        #expect(report.exitStatus == 3)
        #expect(report.verified == (verifies ? 4 : 0))
        #expect(try fixture.differences(copy) == "")
        #expect(try Restorer(reader: reader, request: request).run().issues == [])
    }

    @Test("the conflict rule holds for what differs behind size and time as well")
    func rules() throws {
        let (fixture, reader) = try protected()
        let target = fixture.place("out")
        try fixture.restore(reader, to: target)
        let copy = target + fixture.source
        try RestoreFixture.shell("cd '\(copy)'; \(TrustTests.changes)")
        let kept = try fixture.restore(reader, to: target) {
            $0.checksContents = true
            $0.conflict = .never
        }
        #expect(kept.issues.map(\.kind) == [.conflict, .conflict])
        #expect(try RestoreFixture.read(copy + "/f") == Array("ABCD".utf8))
        let beside = try fixture.restore(reader, to: target) { $0.checksContents = true }
        #expect(beside.renamed == 2)
        #expect(
            try RestoreFixture.read(copy + "/f" + Restorer.renameSuffix(of: reader.point)) == Array("abcd".utf8))
    }

    @Test("in place what differs is kept in a point first, and undo brings it back")
    func inPlace() throws {
        let (fixture, reader) = try protected()
        let state = fixture.place("state")
        try RestoreFixture.shell("mkdir '\(state)'")
        let store = UndoStore(directory: Array(state.utf8))
        try fixture.make(TrustTests.changes)
        var request = RestoreRequest(paths: [fixture.path], destination: .inPlace)
        request.checksContents = true
        let job = RestoreJob(reader: reader, request: request, undo: store)
        #expect(try job.plan().overwrites.count == 2)
        _ = try job.run { try fixture.backUp($0.map(\.displayText)).point }
        #expect(try RestoreFixture.read(fixture.source + "/f") == Array("abcd".utf8))
        _ = try UndoJob(store: store).run {
            try fixture.open($0)
        } protect: {
            try fixture.backUp($0.map(\.displayText)).point
        }
        #expect(try RestoreFixture.read(fixture.source + "/f") == Array("ABCD".utf8))
        #expect(try RestoreFixture.read(fixture.source + "/large").allSatisfy { $0 == 0 })
    }

    @Test("after a power cut nothing that the interrupted restore left is believed", arguments: [true, false])
    func powerCut(_ sameStart: Bool) throws {
        let (fixture, reader) = try protected()
        let target = fixture.place("out")
        try fixture.restore(reader, to: target)
        let copy = target + fixture.source
        // Size and time were on the disk, content was not.
        try RestoreFixture.shell("cd '\(copy)'; truncate -s 0 f; truncate -s 4 f; touch -d '2020-01-01 UTC' f")
        let boot = sameStart ? RestorePlace.currentBoot : "another"
        try RestoreFixture.write(
            target + "/.holdfast-restore-unfinished", Array("\(reader.point.hex)\n\(boot)\nfresh\n".utf8))
        let report = try fixture.restore(reader, to: target)
        #expect(report.filesWritten == (sameStart ? 0 : 1))
        #expect(try RestoreFixture.read(copy + "/f") == Array((sameStart ? "\0\0\0\0" : "abcd").utf8))
        #expect(!RestoreFixture.exists(target + "/.holdfast-restore-unfinished"))
    }

    @Test("nor in place", arguments: [true, false])
    func powerCutInPlace(_ sameStart: Bool) throws {
        let (fixture, reader) = try protected()
        let state = fixture.place("state")
        try RestoreFixture.shell("mkdir '\(state)'")
        let store = UndoStore(directory: Array(state.utf8))
        try fixture.make("truncate -s 0 f; truncate -s 4 f; touch -d '2020-01-01 UTC' f")
        let recorder = try store.record()
        try recorder.finish()
        var record = UndoRecord(
            vault: fixture.vault.vault, restored: reader.point, before: nil, root: [0x2F], time: Timestamp(seconds: 1),
            list: recorder.name)
        if !sameStart { record.boot = "another" }
        try store.save(record)
        let job = RestoreJob(
            reader: reader, request: RestoreRequest(paths: [fixture.path], destination: .inPlace), undo: store)
        #expect(try job.plan().overwrites.count == (sameStart ? 0 : 1))
    }

    @Test("the end waits for every file system that was written to", .enabled(if: geteuid() == 0))
    func sync() throws {
        let fixture = try RestoreFixture()
        try fixture.make("mkdir -p disk a; printf 1 > disk/x; printf 2 > a/y")
        let reader = try fixture.backup()
        let target = fixture.place("out")
        try RestoreFixture.shell(
            "mkdir -p '\(target + fixture.source)/disk'; mount -t tmpfs none '\(target + fixture.source)/disk'")
        defer { _ = try? RestoreFixture.shell("umount -l '\(target + fixture.source)/disk'") }
        #expect(try fixture.restore(reader, to: target) { $0.sync = true }.syncedFileSystems == 2)
        #expect(try fixture.restore(reader, to: target) { $0.sync = false }.syncedFileSystems == 0)
        try fixture.make("mount -t tmpfs none disk")
        defer { _ = try? fixture.make("umount -l disk") }
        let inPlace = try fixture.restoreInPlace(reader) {
            $0.sync = true
            $0.paths = [fixture.path.appending("disk".utf8)]
        }
        #expect(inPlace.syncedFileSystems == 1)
        #expect(try RestoreFixture.read(fixture.source + "/disk/x") == Array("1".utf8))
    }

    @Test("a FIFO or somebody else's file under the name of the mark is not believed, and nothing hangs")
    func foreignMark() throws {
        let (fixture, reader) = try protected()
        let target = fixture.place("out")
        let mark = target + "/.holdfast-restore-unfinished"
        try RestoreFixture.shell("mkdir '\(target)'; mkfifo '\(mark)'")
        #expect(try fixture.restore(reader, to: target).issues == [])
        #expect(try fixture.differences(target + fixture.source) == "")
        guard RestoreFixture.isRoot else { return }
        try RestoreFixture.shell(
            """
            rm '\(mark)'; printf '%s\\n' \(reader.point.hex) > '\(mark)'; chown nobody '\(mark)'
            printf mine > '\(target + fixture.source)/g'
            """)
        #expect(try fixture.restore(reader, to: target).renamed == 1)
        #expect(try RestoreFixture.read(target + fixture.source + "/g") == Array("mine".utf8))
    }

    @Test("a rule that was given holds also where an interrupted restore is gone on with; nothing of the point is lost")
    func ruleInUnfinished() throws {
        let (fixture, reader) = try protected()
        for rule in [RestoreRequest.Conflict.never, .newer, .rename] {
            let target = fixture.place("out-\(rule)")
            let copy = target + fixture.source
            try RestoreFixture.shell("mkdir -p '\(copy)'; printf 'my own work' > '\(copy)/f'")
            try RestoreFixture.write(
                target + "/.holdfast-restore-unfinished",
                Array("\(reader.point.hex)\n\(RestorePlace.currentBoot)\nfresh\n".utf8))
            let report = try fixture.restore(reader, to: target) { $0.conflict = rule }
            #expect(try RestoreFixture.read(copy + "/f") == Array("my own work".utf8), "\(rule)")
            #expect(report.renamed == 1, "\(rule)")
            #expect(
                try RestoreFixture.read(copy + "/f" + Restorer.renameSuffix(of: reader.point)) == Array("abcd".utf8))
        }
    }

    @Test("two files that have become one are two again, once and for all", .enabled(if: geteuid() == 0))
    func hardLinked() throws {
        let fixture = try RestoreFixture()
        try fixture.make(
            """
            printf same > a; printf same > b; chmod 644 a; chmod 600 b; printf z > c; printf z > d
            touch -d '2020-01-01 UTC' a b c d
            """)
        let reader = try fixture.backup()
        try fixture.make("ln -f a b; ln -f c d")
        _ = try fixture.restoreInPlace(reader)
        #expect(try fixture.make("stat -c '%a %h' a b c d | tr '\\n' ' '") == "644 1 600 1 644 1 644 1 ")
        let again = try fixture.restoreInPlace(reader)
        #expect(again.filesUnchanged == 4 && again.metadataOnly == 0 && again.filesWritten == 0)
        // Names that belong together stay so, whatever other names the file has outside.
        try fixture.make("rm d; ln c d; ln c '\(fixture.base)/outside'")
        let linked = try fixture.backup()
        #expect(try fixture.restoreInPlace(linked).filesWritten == 0)
        #expect(try fixture.make("[ c -ef d ] && stat -c %h c") == "3\n")
    }
}
