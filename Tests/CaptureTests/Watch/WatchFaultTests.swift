import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing

@testable import Capture

private func isLoss(_ fact: DirtyFact, _ loss: DirtyFact.Loss) -> Bool {
    if case .fileSystem(_, loss) = fact { return true }
    return false
}

@Suite("Watching when things go wrong", .serialized, .enabled(if: canWatch, "watching needs CAP_SYS_ADMIN and mounts"))
struct WatchFaultTests {
    @Test(
        "more than the queue holds is told as an overflow, and afterwards events go on",
        .enabled(if: (FanotifyQueue.limit ?? 16_384) < 50_000, "the system's queue holds more than the test makes"))
    func overflow() throws {
        guard let fixture = WatchFixture(.ext4) else { return }
        // Nobody reads while the files are made.
        try fixture.start { $0.batchInterval = 600_000_000_000 }
        put("\(fixture.root)/first")
        for index in 0..<50_000 {
            close(open("\(fixture.root)/\(index)", O_WRONLY | O_CREAT | O_CLOEXEC, 0o644))
        }
        let facts = fixture.facts()
        #expect(facts.contains { isLoss($0, .overflow) })
        #expect(facts.contains { $0.covers(fixture.inRoot("49999")) })
        #expect(fixture.watcher?.status.first?.overflows == 1)
        put("\(fixture.root)/after")
        #expect(fixture.facts().contains(.file(fixture.inRoot("after"), .closed)))
    }

    @Test("of 50,000 files made in a few seconds each is told, by name or as a loss")
    func burst() throws {
        guard let fixture = WatchFixture(.xfs) else { return }
        try fixture.start { $0.batchInterval = 150_000_000 }
        let begin = SystemClock.monotonic
        for index in 0..<50_000 {
            close(open("\(fixture.root)/\(index)", O_WRONLY | O_CREAT | O_CLOEXEC, 0o644))
        }
        let seconds = Double(SystemClock.monotonic - begin) / 1e9
        let facts = fixture.facts()
        let isLost = facts.contains { isLoss($0, .overflow) }
        print("50,000 files in \(seconds) s, \(facts.count) facts, overflow: \(isLost)")
        let known = Set(facts.map(\.path))
        let missing = (0..<50_000).filter { !known.contains(fixture.inRoot("\($0)")) }
        #expect(isLost || missing.isEmpty, "\(missing.count) are missing")
    }

    @Test("a source that falls silent is found by the heartbeat, told once, replaced, and trusted again when it speaks")
    func dead() throws {
        guard let fixture = WatchFixture(.ext4) else { return }
        try fixture.start { $0.heartbeatInterval = 300_000_000 }
        #expect(fixture.recorder.waitsForStatus { $0.first?.mode == .events })
        fixture.watcher?.silence()
        put("\(fixture.root)/unseen")
        #expect(fixture.recorder.waits { isLoss($0, .dead) })
        #expect(fixture.recorder.waitsForStatus { $0.first?.displayText.contains("stopped coming") == true })
        #expect(fixture.recorder.waitsForStatus { $0.first?.mode == .events })
        #expect(fixture.recorder.waits { isLoss($0, .started) })
        put("\(fixture.root)/seen")
        let facts = fixture.facts()
        #expect(facts.filter { isLoss($0, .dead) }.count == 1)
        #expect(facts.contains { $0.covers(fixture.inRoot("seen")) })
    }

    @Test(
        "the heartbeat keeps arriving on each kind of file system and is never told",
        arguments: WatchFixture.Kind.allCases)
    func heartbeat(_ kind: WatchFixture.Kind) throws {
        guard let fixture = WatchFixture(kind) else { return }
        let roots = [fixture.path(fixture.top)]
        try fixture.start {
            $0.heartbeatInterval = 100_000_000
            $0.scope = WatchScope(roots: roots)
        }
        let first = SystemClock.monotonic
        while (fixture.watcher?.status.first?.lastHeartbeat ?? 0) < first + 500_000_000 {
            #expect(fixture.watcher?.status.first?.mode == .events)
            if SystemClock.monotonic - first > 10_000_000_000 { break }
            fixture.watcher?.flush()
            usleep(20_000)
        }
        #expect((fixture.watcher?.status.first?.lastHeartbeat ?? 0) > first + 400_000_000)
        #expect(fixture.facts() == [])
    }

    @Test("what is mounted below a root is watched from then on, and what is unmounted is told; nothing keeps it busy")
    func mounting() throws {
        guard let fixture = WatchFixture(.ext4), let second = LoopFileSystem.make(.xfs) else { return }
        let place = "\(fixture.root)/disk"
        mkdir(place, 0o755)
        try fixture.start()
        let source = Tool.run(["findmnt", "-n", "-o", "SOURCE", second.path]).text.trimmingCharacters(in: .newlines)
        #expect(Tool.run(["mount", source, place]).status == 0)
        let disk = fixture.path(place)
        #expect(fixture.recorder.waits { $0 == .fileSystem(disk, lost: .mounted) })
        _ = fixture.facts()
        put("\(place)/a")
        #expect(fixture.facts().contains(.file(fixture.inRoot("disk/a"), .closed)))
        #expect(fixture.watcher?.status.count == 2)
        #expect(Tool.run(["umount", place]).status == 0, "the watch keeps the file system busy")
        #expect(fixture.recorder.waits { $0 == .fileSystem(disk, lost: .unmounted) })
        #expect(fixture.recorder.waitsForStatus { $0.count == 1 })
        // The same file system once more: the first marks are gone with it.
        #expect(Tool.run(["mount", source, place]).status == 0)
        #expect(fixture.recorder.waits { $0 == .fileSystem(disk, lost: .mounted) })
        put("\(place)/b")
        #expect(fixture.facts().contains(.file(fixture.inRoot("disk/b"), .closed)))
        #expect(Tool.run(["umount", place]).status == 0)
    }

    @Test("a file system that is not to be crossed into is not watched")
    func oneFileSystem() throws {
        guard let fixture = WatchFixture(.ext4), let second = LoopFileSystem.make(.xfs) else { return }
        mkdir("\(fixture.root)/disk", 0o755)
        #expect(Tool.run(["mount", "--bind", second.path, "\(fixture.root)/disk"]).status == 0)
        fixture.alsoUnmount("\(fixture.root)/disk")
        try fixture.start { $0.crossFileSystems = false }
        #expect(fixture.watcher?.status.count == 1)
        put("\(fixture.root)/disk/a")
        #expect(fixture.facts() == [])
    }

    @Test("stopping ends the wait of who flushes, and nothing is told afterwards")
    func stopping() throws {
        guard let fixture = WatchFixture(.ext4) else { return }
        try fixture.start()
        fixture.watcher?.stop()
        fixture.watcher?.flush()
        put("\(fixture.root)/a")
        #expect(fixture.facts() == [])
    }
}

@Suite("Watching without the privilege")
struct UnprivilegedWatchTests {
    @Test(
        "everything is scanned, and the status says which privilege is missing",
        .enabled(if: !canWatch, "this process has the privilege"))
    func scans() throws {
        let recorder = Recorder()
        let root = try #require(TreePath(NSTemporaryDirectory()))
        let watcher = try ChangeWatcher(
            .init(scope: WatchScope(roots: [root]), crossFileSystems: false), consumer: recorder)
        try watcher.start()
        defer { watcher.stop() }
        watcher.flush()
        #expect(recorder.take().contains { isLoss($0, .started) })
        let texts = watcher.status.map(\.displayText)
        #expect(!texts.isEmpty && texts.allSatisfy { $0.contains("scanning, because") }, "\(texts)")
        print(texts)
    }
}
