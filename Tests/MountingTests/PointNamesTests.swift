import Model
import Mounting
import TestSupport
import Testing
import Vault

@Suite("Names of machines and points in a mounted vault")
struct PointNamesTests {
    private let now = Timestamp(seconds: 1_800_000_000)
    private let berlin = TimeZoneRules(identifier: "Europe/Berlin", posix: "CET-1CEST,M3.5.0,M10.5.0/3")!

    private func point(_ time: String, partial: Bool = false, zone: TimeZoneRules = .utc) throws -> PointSummary {
        let written = try #require(WrittenTime(time, now: now, zone: zone))
        return PointSummary(
            id: .random(), machine: MachineID(high: 1, low: 2), incarnation: .random(), number: 1, time: written.start,
            arrival: written.start, effective: written.start, kind: .manual, isPartial: partial, isPinned: false,
            hash: .none, previous: .none, references: [], condition: .whole, isHeld: false)
    }

    private func text(_ meaning: PointNames.Meaning?, _ names: PointNames) -> String {
        switch meaning {
        case nil: "nothing"
        case .point(let number)?: "point \(String(decoding: names.names[number], as: UTF8.self))"
        case .link(let target)?: "link to \(String(decoding: target, as: UTF8.self))"
        }
    }

    private func text(_ name: String, _ names: PointNames) -> String {
        text(names.meaning(of: Array(name.utf8), now: now), names)
    }

    @Test("a time leads to its point, another one to the newest before it, and nothing else means anything")
    func times() throws {
        let names = PointNames(
            [try point("2026-11-20T10:15:00"), try point("2026-11-20T11:00:30"), try point("2026-11-21T08:00:00")],
            zone: .utc)
        #expect(text("2026-11-20T10:15:00", names) == "point 2026-11-20T10:15:00")
        #expect(text("2026-11-20T10:15:01", names) == "link to 2026-11-20T10:15:00")
        #expect(text("2026-11-20T11:00", names) == "link to 2026-11-20T11:00:30", "a minute is meant to its end")
        #expect(text("2026-11-20", names) == "link to 2026-11-20T11:00:30", "a day is meant to its end")
        #expect(text("2031-01-01T00:00:00", names) == "link to 2026-11-21T08:00:00")
        #expect(text("latest", names) == "link to 2026-11-21T08:00:00")
        for name in [
            "2026-11-20T10:14:59", "2026-11-19", "2026-13-01", "2026-11-20 11:00", "yesterday", "", ".", "..",
            "autorun.inf",
            "2026-11-20T10:15:00Z", "2026-11", "2026-11-20T10:15:00~", "2026-11-20T10:15:00~00000000", "Latest",
        ] { #expect(text(name, names) == "nothing", "\(name)") }
        #expect(names.meaning(of: [0xFF, 0x32], now: now) == nil)
    }

    @Test("of points of one second the newest has the plain name, and each keeps a name that finds it")
    func sameSecond() throws {
        let points = [try point("2026-11-20T10:15:00.1"), try point("2026-11-20T10:15:00.9")]
        let names = PointNames(points, zone: .utc)
        #expect(text("2026-11-20T10:15:00", names) == "point 2026-11-20T10:15:00")
        #expect(names.meaning(of: Array("2026-11-20T10:15:00".utf8), now: now) == .point(1))
        #expect(names.names[0] == Array("2026-11-20T10:15:00~\(points[0].shortID)".utf8))
        #expect(names.meaning(of: names.names[0], now: now) == .point(0))
        // The newer one is removed: the older one's long name still leads to it.
        let rest = PointNames([points[0]], zone: .utc)
        #expect(rest.meaning(of: names.names[0], now: now) == .link(Array("2026-11-20T10:15:00".utf8)))
    }

    @Test("an hour that the clocks show twice has a name for every point")
    func clocksBack() throws {
        let names = PointNames(
            [try point("2026-10-25T00:30:00"), try point("2026-10-25T01:30:00")], zone: berlin)
        #expect(String(decoding: names.names[1], as: UTF8.self) == "2026-10-25T02:30:00")
        #expect(String(decoding: names.names[0], as: UTF8.self).hasPrefix("2026-10-25T02:30:00~"))
        #expect(Set(names.names).count == 2)
    }

    @Test("a point of an unfinished first backup is listed, and is not the latest while there is a complete one")
    func partial() throws {
        let names = PointNames(
            [try point("2026-11-20T10:00:00"), try point("2026-11-20T11:00:00", partial: true)], zone: .utc)
        #expect(text("latest", names) == "link to 2026-11-20T10:00:00")
        #expect(text("2026-11-20T11:00:00", names) == "point 2026-11-20T11:00:00")
        #expect(PointNames([], zone: .utc).newest == nil && text("latest", PointNames([], zone: .utc)) == "nothing")
    }

    @Test("ten thousand points have their names within a second, and each is found")
    func many() throws {
        let first = try point("2026-01-01T00:00:00")
        let points = (0..<10_000).map { number -> PointSummary in
            var point = first
            point.id = .random()
            point.effective = first.effective.advanced(by: Int64(number) * 61_000_000_000)
            return point
        }
        var names = PointNames([], zone: berlin)
        let took = ThreadTime.measure { names = PointNames(points, zone: berlin) }
        #expect(took < .seconds(3), "without optimisation")
        #expect(Set(names.names).count == points.count)
        for number in stride(from: 0, to: points.count, by: 997) {
            #expect(names.meaning(of: names.names[number], now: now) == .point(number))
        }
    }

    @Test("whoever joins later takes no name away, and what is no name is replaced")
    func machines() {
        let first = MachineID(high: 0x1111_1111_0000_0000, low: 1)
        let second = MachineID(high: 0x2222_2222_0000_0000, low: 1)
        let odd = MachineID(high: 0x3333_3333_0000_0000, low: 1)
        let dots = MachineID(high: 0x4444_4444_0000_0000, low: 1)
        func time(_ seconds: Int64) -> Timestamp { Timestamp(seconds: seconds) }
        let names = MachineNames([
            second: ("web", time(2)), first: ("web", time(1)), odd: ("a/b", time(3)), dots: ("..", time(4)),
        ])
        let shown = names.machines.map { String(decoding: $0.name, as: UTF8.self) }
        #expect(shown == ["web", "web~22222222", "33333333", "44444444"])
        #expect(names.machine(named: Array("web".utf8)) == first)
        #expect(names.machine(named: Array("web~22222222".utf8)) == second)
        #expect(names.machine(named: Array("a/b".utf8)) == nil)
    }
}
