import Model
import Testing

@testable import holdfast

@Suite("The density of points")
struct PointDensityTests {
    private let now = Timestamp(seconds: 1_700_000_000)
    private func ago(_ seconds: Int64) -> Timestamp { now.advanced(by: -seconds * 1_000_000_000) }

    @Test("each point stands in the column of its time, and spans that say nothing more are left out")
    func columns() {
        #expect(PointDensity.all(of: [], at: now).isEmpty)
        let recent = PointDensity.all(of: [ago(0), ago(10), ago(299), ago(300), ago(3_599)], at: now)
        #expect(recent.map(\.span) == [.hour])
        #expect(recent[0].counts == [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3])
        let gap: Int64 = 3_299_000_000_000
        #expect(recent[0].longestGap == gap)
        #expect(recent[0].bars == "▃·········▃█")
        let older = PointDensity.all(of: [ago(60), ago(86_400 * 40)], at: now)
        #expect(older.map(\.span) == [.hour, .day, .month, .year])
        #expect(older.map(\.count) == [1, 1, 1, 2])
        let long: Int64 = 3_455_940_000_000_000
        #expect(older[0].longestGap == long, "the point before the span bounds the gap")
    }

    @Test("a clock that was ahead counts nothing that is still to come, and one point has no gap")
    func ahead() {
        #expect(PointDensity.all(of: [ago(-100)], at: now).isEmpty)
        let one = PointDensity.all(of: [ago(5), ago(-100)], at: now)
        #expect(one.count == 1 && one[0].count == 1 && one[0].longestGap == nil)
    }
}
