import Catalog
import Model
import Synchronization
import TestSupport
import Testing
import Vault

@Suite("Lists of points")
struct ListingTests {
    private final class Clock: Sendable {
        private let time: Mutex<Int64>
        init(_ seconds: Int64) { time = Mutex(seconds) }
        var now: Timestamp { Timestamp(seconds: time.withLock { $0 }) }
        func change(_ seconds: Int64) { time.withLock { $0 += seconds } }
    }

    /// Points by id and the newest are found without reading all: they must be what the whole list says.
    private func check(_ vault: LocalVault, _ machines: [MachineID], _ generator: inout SeededGenerator) throws {
        for machine in machines.map({ $0 as MachineID? }) + [nil] {
            let all = try vault.points(PointQuery(machine: machine))
            #expect(try vault.order(of: machine) == all.map(\.id))
            for count in [0, 1, 2, 7, all.count + 1] {
                #expect(try vault.points(PointQuery(machine: machine, newest: count)) == Array(all.suffix(count)))
            }
            for point in all { #expect(try vault.points(PointQuery(machine: machine, ids: [point.id])) == [point]) }
            let some = all.filter { _ in UInt8.random(in: 0...2, using: &generator) == 0 }
            if some.isEmpty { continue }
            #expect(try vault.points(PointQuery(ids: some.map(\.id).shuffled(using: &generator))) == some)
        }
        #expect(try vault.points(PointQuery(machine: machines[0], ids: [.random()])).isEmpty)
    }

    /// Commits points of two machines, deletes some, and compares now and then. Answers the machines.
    private func work(_ fixture: VaultFixture, _ clock: Clock, _ generator: inout SeededGenerator) throws -> [MachineID]
    {
        let vault = try fixture.open { $0.clock = { clock.now } }
        let writers = try (0..<2).map { _ in try TestWriter(vault, fixture.join(vault)) }
        let machines = writers.map(\.machine)
        let roots = try writers.map { writer in
            let root = writer.make.node("root of \(writer.machine.id.hex)", [])
            try writer.store([root])
            return root
        }
        for step in 0..<60 {
            // The vault's clock goes forth, and now and then back; machines' clocks are right, dead, ahead or old.
            clock.change([1, 60, 3_600, 86_400, 0, -7_200, -200_000][Int.random(in: 0...6, using: &generator)])
            let ahead: Int64 = [-3, -3, -3, -40, -86_000, -90_000, -400_000, 500, 1_000_000][
                Int.random(in: 0...8, using: &generator)]
            let index = Int.random(in: 0...1, using: &generator)
            try writers[index].commit(
                writers[index].point(
                    root: roots[index], time: clock.now.advanced(by: ahead * 1_000_000_000),
                    series: UInt64.random(in: 0...2, using: &generator)))
            if step % 20 == 19 {
                let gone = try vault.points(.init()).map(\.id).filter { _ in
                    UInt8.random(in: 0...4, using: &generator) == 0
                }
                try vault.deletePoints(gone, options: .init(includesNewest: true))
                try check(vault, machines.map(\.id), &generator)
            }
        }
        clock.change(3 * 86_400)
        try check(vault, machines.map(\.id), &generator)
        clock.change(-30 * 86_400)
        try check(vault, machines.map(\.id), &generator)
        for writer in writers { writer.close() }
        return machines.map(\.id)
    }

    @Test("what is found by id, and the newest, have the same times and order as in the whole list", arguments: 0..<12)
    func sameTimes(seed: UInt64) throws {
        let base: Int64 = 1_790_000_000
        var generator = SeededGenerator(seed: seed)
        let fixture = try VaultFixture()
        let clock = Clock(base)
        let machines = try work(fixture, clock, &generator)
        // Found in the store anew, in an order of its own; one of them outside its machine's history.
        _ = try fixture.rebuild()
        let again = try fixture.open { $0.clock = { clock.now } }
        try check(again, machines, &generator)
        try fixture.changeCatalog(
            "UPDATE point SET state = 2 WHERE id IN (SELECT id FROM point ORDER BY sequence LIMIT 2 OFFSET 5)"
        )
        try check(again, machines, &generator)
    }

    @Test("a catalog from before points had bounds is given them, and lists the same")
    func migration() throws {
        let fixture = try VaultFixture()
        let clock = Clock(1_790_000_000)
        var vault: LocalVault? = try fixture.open { $0.clock = { clock.now } }
        let opened = try #require(vault)
        let machine = try fixture.join(opened)
        let writer = try TestWriter(opened, machine)
        let root = writer.make.node("root", [])
        try writer.store([root])
        for number in 0..<20 {
            clock.change(60)
            try writer.commit(
                writer.point(
                    root: root, time: clock.now.advanced(by: number % 3 == 0 ? -4_000_000_000 : -90_000_000_000),
                    series: UInt64(number % 2)))
        }
        let before = try opened.points(.init())
        writer.close()
        vault = nil
        try fixture.changeCatalog(
            """
            DROP INDEX point_outside; DROP INDEX point_series; ALTER TABLE point DROP COLUMN bound;
            DELETE FROM migration WHERE number = 3
            """
        )
        let again = try fixture.open { $0.clock = { clock.now } }
        #expect(try again.points(.init()) == before)
        var generator = SeededGenerator(seed: 1)
        try check(again, [machine.id], &generator)
        let next = try TestWriter(again, machine, head: nil)
        try next.commit(next.point(root: root, time: clock.now))
        try check(again, [machine.id], &generator)
    }

    /// A machine with one point.
    private func onePoint(_ fixture: VaultFixture) throws -> (vault: LocalVault, machine: TestMachine, point: PointID) {
        let vault = try fixture.open()
        let machine = try fixture.join(vault)
        let writer = try TestWriter(vault, machine)
        let root = writer.make.node("root", [])
        try writer.store([root])
        return (vault, machine, try writer.commit(writer.point(root: root)).point)
    }

    @Test("points before which nothing ends, as of a machine whose clock is dead, cost a page no more than a list")
    func endless() throws {
        let fixture = try VaultFixture()
        let (vault, machine, _) = try onePoint(fixture)
        try fixture.changeCatalog(
            """
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
            INSERT INTO point SELECT randomblob(16), record, machine, incarnation, number, i,
                arrival - 1000000000 * i, sequence - i, kind, partial, pinned, hash, previous, state, series,
                arrival - 1000000000 * i FROM point, n
            """
        )
        let all = try vault.points(PointQuery(machine: machine.id))
        #expect(all.count == 20_001)
        let page = Array(all.suffix(500))
        let list = try ThreadTime.measure { _ = try vault.points(PointQuery(machine: machine.id)) }
        var found: [PointSummary] = []
        let took = try ThreadTime.measure { found = try vault.points(PointQuery(ids: page.map(\.id))) }
        #expect(found == page)
        #expect(took < max(list * 2, .milliseconds(500)), "\(took), the whole list \(list)")
    }

    @Test("the newest points and points by id of a machine with very many are found without reading them all")
    func cost() throws {
        let fixture = try VaultFixture()
        let (vault, machine, last) = try onePoint(fixture)
        // Older ones, as if a point had been made every second; of what is not read nothing is believed.
        try fixture.changeCatalog(
            """
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
            INSERT INTO point SELECT randomblob(16), record, machine, incarnation, number, time - 1000000000 * i,
                time - 1000000000 * i + 5000000000, sequence - i, 99, partial, pinned, hash, previous, state, series,
                time - 1000000000 * i FROM point, n
            """
        )
        #expect(try vault.points(PointQuery(machine: machine.id, newest: 1)).map(\.id) == [last])
        #expect(try vault.points(PointQuery(ids: [last])).map(\.id) == [last])
        #expect(try vault.point(last).locator.point == last)
        vault.closeLease(try vault.openLease(.reader([last])).id)
        // A row that is read and is none would have thrown.
        #expect(throws: HoldfastError.self) { try vault.points(PointQuery(machine: machine.id)) }
        #expect(throws: HoldfastError.self) { try vault.points(PointQuery(machine: machine.id, newest: 2)) }
    }
}
