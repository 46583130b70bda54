import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Agent
@testable import Capture

@Suite("The agent", .serialized, .enabled(if: canWatch))
struct AgentServiceTests {
    @Test("a file that is saved is in a point within three seconds, byte for byte")
    func save() throws {
        guard let fixture = try AgentFixture() else { return }
        try fixture.start(settle: 1)
        let text = "first version"
        let begun = ContinuousClock.now
        fixture.put("letter", text)
        try fixture.waits(seconds: 3) { $0.points >= 2 && $0.lag == 0 }
        #expect(ContinuousClock.now - begun < .seconds(3))
        #expect(try fixture.newest("letter") == Array(text.utf8))
        fixture.put("letter", "second version")
        try fixture.settle()
        #expect(try fixture.newest("letter") == Array("second version".utf8))
        // The first one stays reachable.
        let points = try fixture.points()
        let before = try fixture.open(points[points.count - 2].id)
        defer { before.close() }
        let found = try before.entry(of: fixture.path("letter"))
        let entry = try #require(found)
        #expect(try AgentFixture.content(entry, before) == Array(text.utf8))
        #expect(points.dropFirst().allSatisfy { $0.kind == .continuous })
        try fixture.checkSequence()
        try fixture.checkNewest()
    }

    @Test("the threads that capture and send weigh less than what people wait for")
    func priority() throws {
        guard let fixture = try AgentFixture() else { return }
        fixture.put("letter", "text")
        try fixture.start()
        var gave: Set<String> = []
        for task in try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task") {
            // Field 19 is the nice value; the name before it is in parentheses.
            guard let text = try? String(contentsOfFile: "/proc/self/task/\(task)/stat", encoding: .utf8),
                let open = text.firstIndex(of: "("), let close = text.lastIndex(of: ")")
            else { continue }
            let fields = text[close...].split(separator: " ")
            if fields.count > 17, Int(fields[17]) == 10 { gave.insert(String(text[text.index(after: open)..<close])) }
        }
        #expect(gave.isSuperset(of: ["agent", "sender"]), "\(gave)")
    }

    @Test("a renamed file is moved without being read, and so is all below a renamed directory")
    func rename() throws {
        guard let fixture = try AgentFixture() else { return }
        mkdir("\(fixture.root)/album", 0o755)
        var random = SeededGenerator(seed: 7)
        for index in 0..<20 { fixture.put("album/\(index)", random.bytes(30_000)) }
        fixture.put("large", random.bytes(3_000_000))
        usleep(50_000)
        try fixture.start()
        #expect(Glibc.rename("\(fixture.root)/large", "\(fixture.root)/larger") == 0)
        try fixture.settle()
        try fixture.checkNewest()
        #expect(Glibc.rename("\(fixture.root)/album", "\(fixture.root)/photos") == 0)
        try fixture.settle()
        try fixture.checkNewest()
        for point in try fixture.points().dropFirst() {
            let reader = try fixture.open(point.id)
            #expect(reader.record.statistics.bytesRead == 0, "\(reader.record.statistics)")
            reader.close()
        }
    }

    @Test("what is written through a new name of a file is in its old name too")
    func newName() throws {
        guard let fixture = try AgentFixture() else { return }
        fixture.put("old", "as it was")
        fixture.put("before", "from before the scan")
        fixture.put("again", "of a point")
        try fixture.start()
        fixture.put("again", "of another point")
        try fixture.settle()
        for name in ["old", "before", "again"] {
            #expect(link("\(fixture.root)/\(name)", "\(fixture.root)/\(name)-linked") == 0)
            fixture.put("\(name)-linked", "written through the other name")
        }
        try fixture.settle()
        try fixture.checkNewest()
        fixture.put("old", "and back")
        try fixture.settle()
        try fixture.checkNewest()
    }

    @Test("what is deleted is gone from the newest point, and in the ones before")
    func delete() throws {
        guard let fixture = try AgentFixture() else { return }
        mkdir("\(fixture.root)/folder", 0o755)
        mkdir("\(fixture.root)/folder/inner", 0o755)
        for index in 0..<50 { fixture.put("folder/inner/\(index)", "file \(index)") }
        fixture.put("single", "alone")
        try fixture.start()
        unlink("\(fixture.root)/single")
        try fixture.settle()
        #expect(try fixture.newest("single") == nil)
        try FileManager.default.removeItem(atPath: "\(fixture.root)/folder")
        try fixture.settle()
        try fixture.checkNewest()
        // A directory that a file takes the place of.
        mkdir("\(fixture.root)/x", 0o755)
        fixture.put("x/below", "below")
        try fixture.settle()
        try fixture.checkNewest()
        try FileManager.default.removeItem(atPath: "\(fixture.root)/x")
        fixture.put("x", "a file now")
        try fixture.settle()
        try fixture.checkNewest()
        let statistics = try #require(fixture.agent?.status.statistics)
        #expect(statistics.files == 1)
        let first = try fixture.open(fixture.points()[0].id)
        defer { first.close() }
        #expect(try first.entry(of: fixture.path("folder/inner/7")) != nil)
    }

    @Test("many points in a row fold into new trees and stay right")
    func folding() throws {
        guard let fixture = try AgentFixture() else { return }
        for folder in 0..<20 {
            mkdir("\(fixture.root)/\(folder)", 0o755)
            for index in 0..<60 { fixture.put("\(folder)/\(index)", "file \(folder) \(index)") }
        }
        try fixture.start(settle: 0)
        for round in 0..<80 {
            fixture.put("\(round % 20)/\(round % 60)", "changed in round \(round)")
            if round % 7 == 0 { unlink("\(fixture.root)/\(round % 20)/\((round + 1) % 60)") }
            try fixture.settle()
        }
        try fixture.checkNewest()
        try fixture.checkSequence()
        let deltas = try fixture.points().map { point in
            let reader = try fixture.open(point.id)
            defer { reader.close() }
            return reader.record.deltas.count
        }
        #expect(deltas.max() ?? 0 <= FormatLimits.deltas)
        #expect(deltas.filter { $0 == 0 }.count >= 3, "\(deltas)")
    }

    @Test("while the vault cannot be reached everything is remembered, and stored when it is back")
    func away() throws {
        guard let fixture = try AgentFixture() else { return }
        try fixture.start()
        fixture.service.isCut = true
        fixture.put("one", "written while away")
        try fixture.waits { $0.problem != nil }
        #expect(fixture.agent?.status.lag ?? 0 > 0)
        fixture.put("two", "later")
        fixture.put("one", "written again")
        usleep(300_000)
        fixture.service.isCut = false
        try fixture.waits { $0.lag == 0 && $0.problem == nil }
        try fixture.settle()
        try fixture.checkNewest()
        try fixture.checkSequence()
    }

    @Test(
        "an agent that has ended gives its spool to the next, whoever still asks it something",
        arguments: [true, false])
    func successor(isOrderly: Bool) throws {
        guard let fixture = try AgentFixture() else { return }
        try fixture.start()
        let ended = try #require(fixture.agent)
        if isOrderly { ended.stop(seconds: 20) } else { ended.abandon() }
        try fixture.start()
        #expect(ended.status.activity != .scanning && fixture.agent !== ended)
        fixture.put("after", [1, 2, 3])
        try fixture.settle()
        try fixture.checkNewest()
    }

    @Test("after an end without notice the next start finds what was missed, and the sequence goes on")
    func restart() throws {
        guard let fixture = try AgentFixture() else { return }
        try fixture.start()
        fixture.put("a", "a")
        try fixture.settle()
        fixture.put("b", "b")
        fixture.abandon()
        fixture.put("c", "c")
        unlink("\(fixture.root)/a")
        try fixture.start()
        try fixture.checkNewest()
        try fixture.checkSequence()
    }

    @Test(
        "a commit that is refused is made again from what is known, and in the end from the files",
        arguments: [
            [HoldfastError.Code.leaseLost], [.missingBlobs], [.missingBlobs, .missingBlobs, .missingBlobs],
            [.headMoved],
            [.noSpace, .leaseLost, .leaseLost, .damaged],
        ])
    func refusals(_ codes: [HoldfastError.Code]) throws {
        guard let fixture = try AgentFixture() else { return }
        var random = SeededGenerator(seed: 3)
        for index in 0..<20 { fixture.put("\(index)", random.bytes(5_000)) }
        try fixture.start()
        fixture.service.refusals = codes
        fixture.put("3", random.bytes(9_000))
        _ = Glibc.rename("\(fixture.root)/4", "\(fixture.root)/four")
        unlink("\(fixture.root)/5")
        try fixture.waits { $0.lag == 0 && $0.problem == nil && $0.points > 1 }
        try fixture.settle()
        #expect(fixture.service.refusals.isEmpty)
        try fixture.checkNewest()
        try fixture.checkSequence()
    }

    @Test("an event that is lost on purpose is found by the comparison, and by the next scan")
    func lostEvent() throws {
        guard let fixture = try AgentFixture() else { return }
        try fixture.start(settle: 0.05) { (configuration: inout AgentConfiguration) in
            configuration.watching = { watching in watching.drops = { $0.elementsEqual("unseen".utf8) } }
        }
        fixture.put("seen", "told")
        fixture.put("unseen", "not told")
        try fixture.settle()
        #expect(try fixture.differences() == ["not stored: \(fixture.root)/unseen"])
        fixture.agent?.scan()
        try fixture.waits { $0.scans > 1 && $0.lag == 0 }
        try fixture.checkNewest()
    }

    @Test("50,000 files that are created within seconds are all stored")
    func manyFiles() throws {
        guard let fixture = try AgentFixture(megabytes: 1_000) else { return }
        try fixture.start(settle: 0.5)
        let count = 50_000
        for folder in 0..<50 {
            mkdir("\(fixture.root)/\(folder)", 0o755)
            for index in 0..<(count / 50) { fixture.put("\(folder)/\(index)", "file \(folder)/\(index)") }
        }
        try fixture.waits(seconds: 120) { $0.lag == 0 && $0.waiting == 0 }
        try fixture.settle()
        try fixture.checkNewest()
        let status = try #require(fixture.agent?.status)
        #expect(status.statistics?.files == UInt64(count))
    }
}
