import Catalog
import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Agent
@testable import Capture

@Suite("What is kept while the vault is away or full", .serialized, .enabled(if: canWatch))
struct SpoolRoomTests {
    private func roots(_ fixture: AgentFixture, _ names: [String]) throws -> CaptureSource {
        CaptureSource(roots: try names.map { try #require(TreePath("\(fixture.root)/\($0)")) })
    }

    @Test("when what is protected changes while the vault is away, versions go on being kept, of the old and the new")
    func otherRoots() throws {
        guard let fixture = try AgentFixture() else { return }
        mkdir("\(fixture.root)/one", 0o755)
        fixture.put("one/letter", "v1")
        let one = try roots(fixture, ["one"])
        try fixture.start(settle: 0.5) { $0.source = one }
        fixture.put("one/letter", "v2")
        try fixture.settle()
        fixture.service.isCut = true
        fixture.put("one/letter", "v3")
        try fixture.spoolNow()
        fixture.abandon()
        // A disk is plugged in, or a policy was edited.
        mkdir("\(fixture.root)/stick", 0o755)
        fixture.put("stick/picture", "p1")
        let both = try roots(fixture, ["one", "stick"])
        try fixture.start(settle: 0.5, { $0.source = both }, waiting: { $0.scans > 0 && $0.waiting == 0 })
        fixture.put("one/letter", "v4")
        try fixture.spoolNow()
        fixture.put("stick/picture", "p2")
        try fixture.spoolNow()
        fixture.abandon()
        // And goes again.
        try fixture.start(settle: 0.5, { $0.source = one }, waiting: { $0.scans > 0 && $0.waiting == 0 })
        fixture.put("one/letter", "v5")
        try fixture.spoolNow()
        fixture.abandon()
        try fixture.start(settle: 0.5, { $0.source = both }, waiting: { $0.scans > 0 && $0.waiting == 0 })
        fixture.service.isCut = false
        fixture.put("one/letter", "v6")
        try fixture.settle()
        #expect(try fixture.history("one/letter") == ["v1", "v2", "v3", "v4", "v5", "v6"])
        #expect(try fixture.history("stick/picture") == ["p1", "p2"])
        try fixture.checkSequence()
    }

    @Test("an agent whose state is that of an earlier day loses nothing, and nothing comes twice")
    func reverted() throws {
        guard let fixture = try AgentFixture() else { return }
        let copy = fixture.directory + "-copy"
        defer { try? FileManager.default.removeItem(atPath: copy) }
        fixture.put("letter", "v1")
        try fixture.start(settle: 0.5)
        fixture.put("letter", "v2")
        try fixture.settle()
        fixture.abandon()
        try FileManager.default.copyItem(atPath: fixture.directory, toPath: copy)
        try fixture.start(settle: 0.5)
        fixture.put("letter", "v3")
        fixture.put("other", "new")
        try fixture.settle()
        fixture.abandon()
        // Put back as a whole, as a snapshot of the machine would be.
        try FileManager.default.removeItem(atPath: fixture.directory)
        try FileManager.default.copyItem(atPath: copy, toPath: fixture.directory)
        fixture.put("letter", "v4")
        try fixture.start(settle: 0.5)
        try fixture.settle()
        fixture.put("letter", "v5")
        try fixture.settle()
        let texts = try fixture.points().sorted { $0.arrival < $1.arrival }.map { point -> String in
            let reader = try fixture.open(point.id)
            defer { reader.close() }
            let entry = try #require(try reader.entry(of: fixture.path("letter")))
            return String(decoding: try AgentFixture.content(entry, reader), as: UTF8.self)
        }
        var distinct: [String] = []
        for text in texts where distinct.last != text { distinct.append(text) }
        #expect(distinct == ["v1", "v2", "v3", "v4", "v5"], "\(texts)")
        let newest = try #require(try fixture.points().max { $0.arrival < $1.arrival })
        let reader = try fixture.open(newest.id)
        defer { reader.close() }
        #expect(try AgentFixture.differences(reader, root: fixture.root).isEmpty)
        #expect(Set(try fixture.points().map(\.incarnation)).count == 2)
    }

    @Test("when the vault has no room left, the history on the machine stays")
    func vaultFull() throws {
        guard let fixture = try AgentFixture() else { return }
        mkdir("\(fixture.root)/one", 0o755)
        mkdir("\(fixture.root)/two", 0o755)
        let one = try roots(fixture, ["one"])
        try fixture.start(settle: 0.5) { $0.source = one }
        for version in 1...5 {
            fixture.put("one/letter", "version \(version)")
            try fixture.spoolNow()
        }
        try fixture.settle()
        fixture.abandon()
        // Without what earlier runs have written down, everything has to go to the vault, which refuses it.
        for name in try FileManager.default.contentsOfDirectory(atPath: fixture.directory + "/cache") {
            try? FileManager.default.removeItem(atPath: fixture.directory + "/cache/\(name)")
        }
        fixture.service.refusals = Array(repeating: .noSpace, count: 1_000)
        let both = try roots(fixture, ["one", "two"])
        try fixture.start(settle: 0.5, { $0.source = both }, waiting: { $0.problem != nil })
        // Some attempts more.
        let before = fixture.service.refusals.count
        for _ in 0..<2_000 where fixture.service.refusals.count > before - 4 { usleep(5_000) }
        let index = try #require(fixture.agent).spool.index
        #expect(try index.versions(of: fixture.path("one/letter")).count == 5)
    }

    @Test("a file that fits into no spool goes past it, and takes nobody's history along")
    func tooLarge() throws {
        guard let fixture = try AgentFixture() else { return }
        var random = SeededGenerator(seed: 12)
        try fixture.start(settle: 0.5) { $0.spoolLimits.size = 8 << 20 }
        for version in 1...10 {
            fixture.put("letter", "version \(version)")
            try fixture.spoolNow()
        }
        try fixture.settle()
        let index = try #require(fixture.agent).spool.index
        let moments = try index.summary()
        fixture.put("image", random.bytes(20 << 20))
        try fixture.waits { $0.scans > 1 && $0.lag == 0 && !$0.spooled }
        let then = try index.summary()
        #expect(then.moments >= moments.moments, "\(moments) \(then)")
        #expect(try fixture.newest("image")?.count == 20 << 20)
        #expect(fixture.agent?.status.isSpoolFull == false)
        // It waits some time before it goes that way again, and others do not wait for it.
        fixture.put("image", random.bytes(20 << 20))
        fixture.put("letter", "at once")
        try fixture.waits { _ in (try? fixture.history("letter").last) == "at once" }
        try fixture.settle()
        try fixture.checkNewest()
    }

    @Test(
        "what fits into no spool takes nobody's versions along while the vault is away, and what is saved beside it is kept",
        arguments: [false, true])
    func tooLargeAway(isDirectory: Bool) throws {
        guard let fixture = try AgentFixture() else { return }
        var random = SeededGenerator(seed: 15)
        try fixture.start(settle: 0.2) { configuration in
            configuration.spoolLimits.size = 8 << 20
            configuration.spoolLimits.historyPercent = 100
        }
        let agent = try #require(fixture.agent)
        var count = 0
        func save() {
            fixture.put("letter", random.bytes(100_000))
            count += 1
        }
        func versions() -> Int { (try? agent.spool.index.versions(of: fixture.path("letter")).count) ?? -1 }
        for _ in 0..<4 {
            save()
            try fixture.settle()
        }
        fixture.service.isCut = true
        for _ in 0..<4 {
            save()
            try fixture.spoolNow()
        }
        #expect(versions() == 8)
        mkdir("\(fixture.root)/../outside", 0o755)
        if isDirectory {
            mkdir("\(fixture.root)/../outside/below", 0o755)
            for index in 0..<10 { fixture.put("../outside/below/\(index)", random.bytes(1_500_000)) }
        } else {
            fixture.put("../outside/below", random.bytes(15_000_000))
        }
        #expect(rename("\(fixture.root)/../outside/below", "\(fixture.root)/arrived") == 0)
        try fixture.waits { $0.isSpoolFull }
        for _ in 0..<4 {
            save()
            try fixture.waits(seconds: 10) { _ in versions() == count }
        }
        #expect(agent.status.isSpoolFull && agent.status.problem != nil && agent.status.lag > 0)
        #expect(throws: (any Error).self, "it says that not everything is kept") { try fixture.spoolNow() }
        #expect(versions() == 12)
        if !isDirectory {
            // Nothing is left of what did not fit, long before the spool is tidied.
            #expect(agent.spool.used < 4 << 20)
        } else {
            let kept = try (0..<10).count { try !agent.spool.index.versions(of: fixture.path("arrived/\($0)")).isEmpty }
            #expect((1...4).contains(kept), "what fits of it, and not to the brim: \(kept)")
        }
        fixture.service.isCut = false
        try fixture.waits(seconds: 60) { $0.lag == 0 && !$0.spooled && $0.waiting == 0 && !$0.isSpoolFull }
        try fixture.checkNewest()
        #expect(try fixture.history("letter").count == 12)
        #expect(versions() == 12)
        try fixture.checkSequence()
    }

    @Test("a directory that fits into no spool goes past it, and takes nobody's history along")
    func tooLargeDirectory() throws {
        guard let fixture = try AgentFixture() else { return }
        var random = SeededGenerator(seed: 16)
        try fixture.start(settle: 0.2) { configuration in
            configuration.spoolLimits.size = 8 << 20
            configuration.spoolLimits.historyPercent = 100
        }
        for _ in 0..<6 {
            fixture.put("letter", random.bytes(100_000))
            try fixture.settle()
        }
        mkdir("\(fixture.root)/../outside", 0o755)
        mkdir("\(fixture.root)/../outside/below", 0o755)
        for index in 0..<10 { fixture.put("../outside/below/\(index)", random.bytes(1_500_000)) }
        #expect(rename("\(fixture.root)/../outside", "\(fixture.root)/arrived") == 0)
        try fixture.waits(seconds: 60) { $0.scans > 1 && $0.lag == 0 && !$0.spooled }
        #expect(try #require(fixture.agent).spool.index.versions(of: fixture.path("letter")).count == 6)
        #expect(fixture.agent?.status.isSpoolFull == false)
        try fixture.checkNewest()
    }

    @Test("what is too large is measured by the room that the disk has, not by that of the setting")
    func smallDisk() throws {
        guard let fixture = try AgentFixture() else { return }
        let place = fixture.directory + "/spool"
        mkdir(place, 0o700)
        guard Tool.run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=700", "tmpfs", place]).status == 0 else { return }
        defer {
            fixture.abandon()
            Tool.run(["umount", "-l", place])
        }
        var random = SeededGenerator(seed: 17)
        try fixture.start(settle: 0.2) { $0.spoolLimits.historyPercent = 100 }
        let agent = try #require(fixture.agent)
        for _ in 0..<6 {
            fixture.put("letter", random.bytes(1_000_000))
            try fixture.settle()
        }
        fixture.put("image", random.bytes(80 << 20))
        try fixture.waits(seconds: 60) { $0.scans > 1 && $0.lag == 0 && !$0.spooled }
        #expect(try agent.spool.index.versions(of: fixture.path("letter")).count == 6)
        try fixture.checkNewest()
    }

    @Test(
        "history makes room for what fits, no more of it than that takes, and a directory that fits is kept as a whole")
    func historyGoes() throws {
        guard let fixture = try AgentFixture() else { return }
        var random = SeededGenerator(seed: 18)
        try fixture.start(settle: 0.2) { configuration in
            configuration.spoolLimits.size = 8 << 20
            configuration.spoolLimits.historyPercent = 100
        }
        let agent = try #require(fixture.agent)
        for _ in 0..<14 {
            fixture.put("letter", random.bytes(500_000))
            try fixture.settle()
        }
        func versions() throws -> Int { try agent.spool.index.versions(of: fixture.path("letter")).count }
        #expect(try versions() == 14)
        fixture.service.isCut = true
        fixture.put("image", random.bytes(2_500_000))
        try fixture.spoolNow()
        let after = try versions()
        #expect((8...11).contains(after), "\(after)")
        mkdir("\(fixture.root)/../outside", 0o755)
        for index in 0..<4 { fixture.put("../outside/\(index)", random.bytes(500_000)) }
        #expect(rename("\(fixture.root)/../outside", "\(fixture.root)/arrived") == 0)
        try fixture.spoolNow()
        let last = try versions()
        #expect((4...8).contains(last), "\(last)")
        #expect(try !agent.spool.index.versions(of: fixture.path("arrived/3")).isEmpty)
        fixture.service.isCut = false
        try fixture.settle()
        try fixture.checkNewest()
    }

    @Test("a small file that found no room in the spool is not held back, whatever is looked at meanwhile")
    func crowdedOut() throws {
        guard let fixture = try AgentFixture() else { return }
        var random = SeededGenerator(seed: 14)
        try fixture.start(settle: 0.5) { $0.spoolLimits.size = 3 << 20 }
        let agent = try #require(fixture.agent)
        fixture.service.isCut = true
        for index in 0..<12 { fixture.put("file-\(index)", random.bytes(600_000)) }
        #expect(throws: (any Error).self) { try fixture.spoolNow() }
        let scans = agent.status.scans
        agent.state.update { $0.wantScan("due") }
        try fixture.waits { $0.scans > scans }
        for index in 0..<12 { #expect(agent.state.withLock { !$0.settling.isHeld(fixture.path("file-\(index)")) }) }
        fixture.service.isCut = false
        try fixture.waits { $0.lag == 0 && !$0.spooled && $0.waiting == 0 }
        try fixture.checkNewest()
    }

    @Test("a large database that is written all the time is held back, by its log as well")
    func held() throws {
        guard let fixture = try AgentFixture(megabytes: 700) else { return }
        var random = SeededGenerator(seed: 13)
        fixture.put("large", random.bytes(200 << 20))
        try fixture.start(settle: 0.05)
        let agent = try #require(fixture.agent)
        func writes() {
            for name in ["large", "large-wal", "small"] {
                let file = Glibc.open("\(fixture.root)/\(name)", O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
                _ = random.bytes(16).withUnsafeBytes { pwrite(file, $0.baseAddress, $0.count, 4_096) }
                close(file)
            }
        }
        writes()
        try fixture.waits { _ in agent.state.withLock { $0.settling.isHeld(fixture.path("large")) } }
        #expect(agent.state.withLock { $0.settling.isHeld(fixture.path("large-wal")) })
        #expect(agent.state.withLock { !$0.settling.isHeld(fixture.path("small")) })
        writes()
        let before = try fixture.points().count
        fixture.put("small", "another")
        try fixture.waits { _ in (try? fixture.newest("small")) == Array("another".utf8) }
        #expect(try fixture.points().count > before)
        try fixture.settle()
        try fixture.checkNewest()
    }
}
