import Model
import Testing

@testable import Console
@testable import Server

@Suite("Tables as people look at them")
struct TableTests {
    private struct Row {
        var name: String
        var size: Int
    }

    private func table() -> Table<Row> {
        var table = Table<Row>(
            path: "/things", noun: ("thing", "things"),
            columns: [
                .init("name", "Name", by: \.name, plain: \.name),
                .init("size", "Size", isNumber: true, startsLargest: true, by: \.size, plain: { "\($0.size)" }),
                .init("note", "Note", plain: { _ in "=1+1" }),
            ], usualOrder: "name")
        table.search = ("Name", { $0.name.contains($1) })
        table.filters = [
            Table.Filter(name: "kind", title: "Kind", choices: [("small", "Small"), ("large", "Large")]) {
                ($0.size > 10) == ($1 == "large")
            }
        ]
        return table
    }

    private let rows = [Row(name: "b", size: 30), Row(name: "a", size: 2), Row(name: "c", size: 30)]

    private func names(_ query: String) -> [String] {
        let table = table()
        return table.rows(rows, table.view(FormFields(query))).map(\.name)
    }

    @Test("the address says what is sorted, filtered and searched; what it says wrong is passed over")
    func views() {
        #expect(names("") == ["a", "b", "c"])
        #expect(names("sort=-size") == ["b", "c", "a"])
        #expect(names("sort=size") == ["a", "b", "c"])
        #expect(names("sort=-name") == ["c", "b", "a"])
        #expect(names("sort=note") == ["a", "b", "c"])
        #expect(names("sort=';DROP&kind=nothing") == ["a", "b", "c"])
        #expect(names("kind=large&sort=-name") == ["c", "b"])
        #expect(names("q=B") == ["b"])
        #expect(table().view(FormFields("pick=1&pick=2&all=1")).picked == ["1", "2"])
    }

    @Test("a table for other programs has CRLF, quotes, and no formulas")
    func files() {
        #expect(CSV.line(["a", "b\"c", "-1"]) == "\"a\",\"b\"\"c\",\"'-1\"\r\n")
        for start in ["=", "+", "-", "@", "\t", "\r"] { #expect(CSV.field(start + "x").hasPrefix("\"'")) }
        #expect(CSV.field("a=b") == "\"a=b\"" && CSV.field("") == "\"\"")
    }
}

@Suite("Thirty days of a machine")
struct MachineMonthTests {
    @Test("points and alerts fall on the days of the place's own calendar, and older ones on none")
    func days() throws {
        let zone = TimeZoneRules.utc
        let day: Int64 = 86_400_000_000_000
        let now = Timestamp(seconds: 1_800_000_000)
        let line = MachineMonth.line(
            points: [now, now.advanced(by: -day), now.advanced(by: -day - 1), now.advanced(by: -40 * day)],
            alerts: [now.advanced(by: -29 * day), now.advanced(by: -30 * day)], now: now, zone: zone)
        #expect(line.count == 30)
        #expect(line[29].points == 1 && line[28].points == 2 && line[28].last == now.advanced(by: -day))
        #expect(line.reduce(0) { $0 + $1.points } == 3)
        #expect(line[0].alerts == 1 && line.reduce(0) { $0 + $1.alerts } == 1)
    }
}

@Suite("Leaving a path out in the text of a policy")
struct PolicyTextTests {
    @Test("the line comes into the list as it is written, and everything else stays")
    func lists() {
        #expect(PolicyText.excluding("/a", in: "name: x\n") == "name: x\nexclude:\n  - \"/a\"\n")
        #expect(
            PolicyText.excluding("/a \"b\"", in: "name: x\nexclude: [\"*.iso\"]\nlockdown: [pause]\n")
                == "name: x\nexclude: [\"*.iso\", \"/a \\\"b\\\"\"]\nlockdown: [pause]\n")
        #expect(PolicyText.excluding("/a", in: "exclude: []\n") == "exclude: [\"/a\"]\n")
        #expect(
            PolicyText.excluding("/a", in: "exclude:\n# why\n- b\nname: x") == "exclude:\n- \"/a\"\n# why\n- b\nname: x"
        )
        #expect(
            PolicyText.excluding("/a", in: "exclude: !override\n    - b\n")
                == "exclude: !override\n    - \"/a\"\n    - b\n")
    }

    @Test("what only a person should change is left alone")
    func others() {
        #expect(PolicyText.excluding("/a", in: "exclude: [b,\n  c]\n") == nil)
        #expect(PolicyText.excluding("/a", in: "exclude: *anchor\n") == nil)
        #expect(PolicyText.excluding("/a\nb", in: "name: x\n") == nil)
    }
}
