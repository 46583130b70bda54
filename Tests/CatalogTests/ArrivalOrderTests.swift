import Model
import TestSupport
import Testing
import Vault

@Suite("Points that arrive in another order than they were made")
struct ArrivalOrderTests {
    private static let start: Int64 = 1_700_002_000

    @Test("versions that waited on a machine keep their times when its scheduled backup was sent before them")
    func waited() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let machine = try fixture.join(vault)
        let writer = try TestWriter(vault, machine)
        func commit(_ seconds: Int64, series: UInt64) throws -> PointID {
            let root = writer.make.node("\(seconds) \(series)", [])
            try writer.store([root])
            return try writer.commit(
                writer.point(root: root, time: Timestamp(seconds: Self.start + seconds), series: series)
            ).point
        }
        // Away for three days: the schedule is made up for first, then the spool is sent.
        let scheduled = try commit(3 * 86_400, series: 2)
        let waiting = try (0..<72).map { try commit($0 * 3_600, series: 1) }
        let points = try vault.points(PointQuery(machine: machine.id))
        #expect(points.map(\.id) == waiting + [scheduled], "in the order of their times")
        for (hour, id) in waiting.enumerated() {
            let point = try #require(points.first { $0.id == id })
            #expect(point.effective == Timestamp(seconds: Self.start + Int64(hour) * 3_600))
        }
        #expect(try vault.points(PointQuery(machine: machine.id, newest: 1)).map(\.id) == [scheduled])
        // In one series the order of acceptance still wins over a clock.
        let late = try commit(71 * 3_600 - 60, series: 1)
        let effective = try vault.points(PointQuery(ids: [late])).first?.effective
        #expect(effective == Timestamp(seconds: Self.start + 71 * 3_600))
    }
}
