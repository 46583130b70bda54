import Capture
import Foundation
import Model
import TestSupport
import Testing
import Vault

/// Where a machine's own memory of its chain and the vault's meet.
@Suite("A machine's history in the vault")
struct HistoryTests {
    /// Dies before it can keep what the vault has acknowledged.
    private struct Dying: HeadMemory {
        struct Died: Error {}
        let memory: StateHeads
        func remembered() throws -> [MachineHead] { try memory.remembered() }
        func exclusively<R>(_ body: () throws -> R) throws -> R { try memory.exclusively(body) }
        func expect(_ head: MachineHead) throws { try memory.expect(head) }
        func acknowledge(_ head: MachineHead) throws { throw Died() }
        func confirm(_ head: MachineHead) throws { try memory.confirm(head) }
    }

    /// Notes what is expected, and then the vault is out of reach.
    private struct Failing: HeadMemory {
        struct Gone: Error {}
        let memory: StateHeads
        func remembered() throws -> [MachineHead] { try memory.remembered() }
        func exclusively<R>(_ body: () throws -> R) throws -> R { try memory.exclusively(body) }
        func expect(_ head: MachineHead) throws {
            try memory.expect(head)
            throw Gone()
        }
        func acknowledge(_ head: MachineHead) throws { try memory.acknowledge(head) }
        func confirm(_ head: MachineHead) throws { try memory.confirm(head) }
    }

    private func heads(_ fixture: BackupFixture) throws -> StateHeads {
        StateHeads(try StateDirectory(path: Array((fixture.caches + "/state").utf8)), vault: fixture.keys.vault)
    }

    private func backup(_ fixture: BackupFixture, _ heads: any HeadMemory) throws -> BackupReport {
        let request = BackupRequest(
            source: CaptureSource(roots: [TreePath(fixture.root)!]), hostName: "test", program: "test")
        return try BackupJob(
            service: fixture.vault, secrets: fixture.secrets, heads: heads, cacheDirectory: Array(fixture.caches.utf8),
            request: request
        ).run()
    }

    @Test("goes on after it died between the commit and keeping the answer, with its cache")
    func diedAfterCommit() throws {
        let fixture = try BackupFixture()
        try fixture.write("a", SeededGenerator.some(1000))
        let heads = try heads(fixture)
        let first = try backup(fixture, heads)
        #expect(first.isNewIncarnation && first.historyBreak == nil)
        try fixture.write("b", SeededGenerator.some(2000))
        #expect(throws: Dying.Died.self) { try backup(fixture, Dying(memory: heads)) }
        #expect(try fixture.vault.points(PointQuery()).count == 2)
        let third = try backup(fixture, heads)
        #expect(third.number == 3)
        #expect(third.usedCache && !third.isNewIncarnation && third.historyBreak == nil)
        #expect(Set(try fixture.vault.points(PointQuery()).map(\.incarnation)).count == 1)
    }

    @Test("goes on after one commit was not heard of and the next one never came to the vault")
    func diedTwice() throws {
        let fixture = try BackupFixture()
        try fixture.write("a", SeededGenerator.some(1000))
        let heads = try heads(fixture)
        _ = try backup(fixture, heads)
        try fixture.write("b", SeededGenerator.some(2000))
        #expect(throws: Dying.Died.self) { try backup(fixture, Dying(memory: heads)) }
        // The vault has the second point, and is gone when the third is to be committed.
        try fixture.write("c", SeededGenerator.some(3000))
        #expect(throws: Failing.Gone.self) { try backup(fixture, Failing(memory: heads)) }
        #expect(try fixture.vault.points(PointQuery()).count == 2)
        let third = try backup(fixture, heads)
        #expect(third.number == 3 && third.historyBreak == nil && !third.isNewIncarnation)
    }

    @Test("goes on after its very first commit was not heard of and the next one never came to the vault")
    func diedAtFirst() throws {
        let fixture = try BackupFixture()
        try fixture.write("a", SeededGenerator.some(1000))
        let heads = try heads(fixture)
        #expect(throws: Dying.Died.self) { try backup(fixture, Dying(memory: heads)) }
        try fixture.write("b", SeededGenerator.some(2000))
        #expect(throws: Failing.Gone.self) { try backup(fixture, Failing(memory: heads)) }
        let second = try backup(fixture, heads)
        #expect(second.number == 2 && second.historyBreak == nil && !second.isNewIncarnation)
    }

    @Test("goes on when it died before the commit")
    func diedBeforeCommit() throws {
        let fixture = try BackupFixture()
        try fixture.write("a", SeededGenerator.some(1000))
        let heads = try heads(fixture)
        let first = try backup(fixture, heads)
        try heads.expect(
            MachineHead(incarnation: first.head.incarnation, number: 2, hash: LocatorHash(first.head.hash.bytes)))
        let second = try backup(fixture, heads)
        #expect(second.number == 2 && second.usedCache && second.historyBreak == nil)
    }

    @Test("that was put back to an earlier state begins anew and says so, with a label")
    func reverted() throws {
        let fixture = try BackupFixture()
        try fixture.write("a", SeededGenerator.some(1000))
        let heads = try heads(fixture)
        let first = try backup(fixture, heads)
        let second = try backup(fixture, heads)
        try heads.expect(first.head)
        try heads.acknowledge(first.head)
        let third = try backup(fixture, heads)
        #expect(third.historyBreak == .machineReverted(remembered: first.head, vault: second.head))
        #expect(third.number == 1 && third.isNewIncarnation && !third.usedCache)
        let record = try fixture.keys.openRecord(unverified: try fixture.vault.point(third.point))
        #expect(record.labels == [HistoryBreak.label])
        #expect(try fixture.vault.points(PointQuery()).count == 3)
        let fourth = try backup(fixture, heads)
        #expect(fourth.number == 2 && fourth.historyBreak == nil && fourth.usedCache)
    }

    @Test("says when the vault has lost the newest point, and when the machine remembers nothing")
    func lost() throws {
        let fixture = try BackupFixture()
        try fixture.write("a", SeededGenerator.some(1000))
        let heads = try heads(fixture)
        let first = try backup(fixture, heads)
        let never = MachineHead(incarnation: first.head.incarnation, number: 9, hash: first.head.hash)
        try heads.expect(never)
        try heads.acknowledge(never)
        #expect(try backup(fixture, heads).historyBreak == .pointsMissing(remembered: never, vault: first.head))
        let newest = try heads.remembered()[0]
        #expect(try backup(fixture, GivenHead(nil)).historyBreak == .stateLost(vault: newest))
    }

    @Test("its packs name it, so that its blobs are its own again after the catalog is made anew")
    func packsNameTheirMachine() throws {
        let fixture = try BackupFixture()
        try fixture.write("a", SeededGenerator.some(1000))
        try fixture.backup()
        let machine = fixture.secrets.machine
        #expect(fixture.vault.writers == [WriterID(high: machine.high, low: machine.low)])
    }

    @Test("small files that stand alone or in half-empty bundles are bundled again in later runs")
    func rebundling() throws {
        let fixture = try BackupFixture()
        for index in 0..<400 { try fixture.write("d/f\(index)", SeededGenerator.some(4_000, seed: UInt64(index))) }
        try fixture.backup()
        // Each run changes one file, so that it is stored alone; in the end many stand alone.
        for index in 0..<60 {
            try fixture.write("d/f\(index * 6)", SeededGenerator.some(4_000, seed: UInt64(10_000 + index)))
            try fixture.backup()
        }
        func blobs(_ point: PointID) throws -> Int {
            var keys: Set<ContentKey> = []
            for entry in try fixture.entries(point).values {
                if case .extents(let extents) = entry.content {
                    for extent in extents { extent.key.map { _ = keys.insert($0) } }
                }
            }
            return keys.count
        }
        let last = try fixture.backup()
        #expect(try blobs(last.report.point) < 45)
        let again = try fixture.backup()
        #expect(again.report.statistics.bytesRead == 0)
        // What was bundled again is still what the files hold.
        let reader = try fixture.reader(last.report.point)
        for index in 0..<60 {
            let expected = SeededGenerator.some(4_000, seed: UInt64(10_000 + index))
            #expect(try fixture.content(reader, "d/f\(index * 6)") == expected)
        }
    }
}
