import Browsing
import Catalog
import Client
import Model
import Server
import Vault

/// The points of a machine.
enum MachinePoints {
    /// Points whose records are opened to say how large they are: each is a blob of the vault.
    private static let shown = 10

    static func newest(_ machine: ManagedMachine, _ points: [PointSummary], _ visit: Visit) -> HTML {
        if points.isEmpty {
            return """
                <section><h2>Points</h2><p>None yet. The first appears when the machine's agent has read what its policy protects; if it has no \
                policy, <a href="/policies">give it one</a>.</p></section>
                """
        }
        // Where the server cannot open the vault, it says nothing of sizes.
        let records = try? visit.site.shelf.knownRecords(of: machine.id)
        let rows: [HTML] = points.suffix(shown).reversed().map { point in
            let sizes = try? records?.outline(of: point.id).statistics
            return """
                <tr><th scope="row">\(name(point, machine, visit))<small>\(Piece.time(point.effective, now: visit.now))</small></th>
                <td data-label="Kind">\(kind(point))\(marks(point))</td>
                <td class="number" data-label="Files">\(sizes.map { Units.count($0.files) } ?? "")</td>
                <td class="number" data-label="Size">\(sizes.map { Piece.size($0.bytes) })</td>
                <td class="number" data-label="Added to the vault">\(sizes.map { Piece.size($0.storedBytes) })</td></tr>
                """
        }
        return """
            <section><h2>Newest points</h2><table class="plain"><thead><tr><th scope="col">Point</th><th scope="col">Kind</th><th scope="col" class="number">Files</th>\
            <th scope="col" class="number">Size</th><th scope="col" class="number">Added to the vault</th></tr></thead><tbody>\(rows)</tbody></table>
            <p><a href="/machines/\(machine.id.hex)/points">All \(Units.count(points.count, "point"))</a></p></section>
            """
    }

    private static func name(_ point: PointSummary, _ machine: ManagedMachine, _ visit: Visit) -> HTML {
        let time = TimeText.local(point.effective, in: visit.zone)
        return visit.may(.seeNames)
            ? "<a href=\"/machines/\(machine.id.hex)/files?point=\(point.id.hex)\">\(time)</a>" : "\(time)"
    }

    private static func kind(_ point: PointSummary) -> String {
        point.kind == .continuous ? "continuous" : "scheduled or by hand"
    }

    private static func words(_ point: PointSummary) -> [String] {
        (point.condition == .damaged ? ["damaged"] : []) + (point.isPartial ? ["not whole"] : [])
            + (point.isHeld ? ["held"] : []) + (point.isPinned ? ["pinned"] : [])
    }

    private static func marks(_ point: PointSummary) -> HTML {
        let marks: [HTML] = [
            point.condition == .damaged ? Piece.state("bad", "damaged") : .nothing,
            point.isPartial ? Piece.state("warn", "not whole") : .nothing,
            point.isHeld || point.isPinned ? Piece.state("ask", "kept whatever the rules say") : .nothing,
        ]
        return marks.allSatisfy(\.isEmpty) ? .nothing : " \(marks)"
    }

    static func table(_ machine: ManagedMachine, _ visit: Visit) -> Table<PointSummary> {
        let now = visit.now
        var table = Table<PointSummary>(
            path: "/machines/\(machine.id.hex)/points", noun: ("point", "points"),
            columns: [
                .init(
                    "time", "Time", startsLargest: true, by: \.effective.nanoseconds,
                    plain: { TimeText.rfc3339($0.effective) },
                    cell: { "\(name($0, machine, visit))<small>\(Piece.time($0.effective, now: now))</small>" }),
                .init("number", "Number", isNumber: true, startsLargest: true, by: \.number, plain: { "\($0.number)" }),
                .init("kind", "Kind", by: { kind($0) }, plain: { kind($0) }),
                .init(
                    "marks", "Remarks", by: { words($0).joined(separator: ", ") },
                    plain: { words($0).joined(separator: ", ") }, cell: { marks($0) }),
                .init(
                    "arrival", "Arrived", startsLargest: true, by: \.arrival.nanoseconds,
                    plain: { TimeText.rfc3339($0.arrival) }, cell: { Piece.time($0.arrival, now: now) }),
                .init("id", "Id", plain: \.id.hex, cell: { "<code>\(String($0.id.hex.prefix(8)))</code>" }),
            ], usualOrder: "-time")
        table.filters = [
            Table.Filter(
                name: "kind", title: "Kind", choices: [("continuous", "Continuous"), ("other", "Scheduled or by hand")]
            ) { ($0.kind == .continuous) == ($1 == "continuous") },
            Table.Filter(
                name: "marks", title: "Remarks",
                choices: [("damaged", "Damaged"), ("not whole", "Not whole"), ("held", "Held"), ("pinned", "Pinned")]
            ) { words($0).contains($1) },
        ]
        table.search = ("Time", { TimeText.local($0.effective, in: visit.zone).contains($1) })
        table.empty = Piece.empty(
            "No point yet", "<p>The first appears when the machine's agent has read what its policy protects.</p>")
        return table
    }
}

/// The last thirty days of a machine as a line of days.
enum MachineMonth {
    static let days = 30

    struct Day: Equatable {
        /// Counts from 1970-01-01 on the place's own calendar.
        var number: Int
        var points = 0
        var last: Timestamp?
        var alerts = 0
    }

    /// The last days, oldest first, today being the last.
    static func line(
        points: [Timestamp], alerts: [Timestamp], now: Timestamp, zone: TimeZoneRules
    ) -> [Day] {
        let today = zone.civil(now).date.dayNumber
        var line = (today - days + 1...today).map { Day(number: $0) }
        let earliest = now.advanced(by: -Int64(days + 1) * 86_400_000_000_000)
        for time in points where time >= earliest {
            let index = zone.civil(time).date.dayNumber - (today - days + 1)
            guard line.indices.contains(index) else { continue }
            line[index].points += 1
            line[index].last = max(line[index].last ?? time, time)
        }
        for time in alerts where time >= earliest {
            let index = zone.civil(time).date.dayNumber - (today - days + 1)
            if line.indices.contains(index) { line[index].alerts += 1 }
        }
        return line
    }

    static func show(_ machine: ManagedMachine, _ points: [PointSummary], _ visit: Visit) -> HTML {
        let alerts = ((try? visit.core.alertHistory(resolved: 1_000)) ?? []).filter { $0.machine == machine.id }.map(
            \.raised)
        let line = line(points: points.map(\.effective), alerts: alerts, now: visit.now, zone: visit.zone)
        let most = max(line.map(\.points).max() ?? 0, 1)
        let enrolled = visit.zone.civil(machine.enrolled).date.dayNumber
        let cells: [HTML] = line.map { day in
            let date = "\(CivilDate(dayNumber: day.number))"
            let alert = day.alerts == 0 ? "" : ", \(Units.count(day.alerts, "alert"))"
            let mark: HTML = day.alerts == 0 ? .nothing : "<b></b>"
            guard day.points > 0, let last = day.last else {
                let what = day.number < enrolled ? "not enrolled yet" : "no point"
                return
                    "<li class=\"\(day.number < enrolled ? "before" : "none")\" title=\"\(date): \(what)\(alert)\">\(mark)<span class=\"unseen\">\(date): \(what)\(alert)</span></li>"
            }
            let step = max(1, day.points * 10 / most)
            let text = "\(date): \(Units.count(day.points, "point"))\(alert)"
            guard visit.may(.seeNames) else {
                return
                    "<li title=\"\(text)\">\(mark)<i class=\"h\(step)\"></i><span class=\"unseen\">\(text)</span></li>"
            }
            let at = Address.encode("@" + TimeText.rfc3339(last.advanced(by: 999_999_999)))
            return """
                <li title="\(text)">\(mark)<a class="h\(step)" href="/machines/\(machine.id.hex)/files?at=\(at)" aria-label="\(text); its files then"></a></li>
                """
        }
        let first = line.first.map { "\(CivilDate(dayNumber: $0.number))" } ?? ""
        let with = line.count { $0.points > 0 }
        return """
            <section><h2>The last \(days) days</h2><ol class="month">\(cells)</ol><p class="ends"><span>\(first)</span><span><a href="/machines/\(machine.id.hex)/points">points on \(Units.count(with, "day"))</a></span><span>today</span></p></section>
            """
    }
}
