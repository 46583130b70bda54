import Browsing
import Catalog
import Model
import Vault

/// *When*: all points of a machine as a line, with the one that is looked at, and ways to others.
enum TimeLine {
    private static let parts = 72

    /// - Parameter changed: the version of a file that is shown.
    static func show(
        _ place: RestorePlace, _ visit: Visit, page: String = "files", changed: MachineFiles.Version? = nil
    ) -> HTML {
        let points = place.points
        let index = points.firstIndex { $0.id == place.point.id } ?? points.count - 1
        func link(_ point: PointSummary?, _ word: String, _ meaning: String) -> HTML {
            guard let point, point.id != place.point.id else { return "<span class=\"off\">\(word)</span>" }
            return "<a href=\"\(place.address(page, point: point))\" title=\"\(meaning)\">\(word)</a>"
        }
        let time = place.point.effective
        let notes: [HTML] = [
            place.point.isPartial ? Piece.state("warn", "The first backup was not finished yet") : .nothing,
            place.point.condition == .damaged ? Piece.state("bad", "Some of its files are damaged") : .nothing,
            place.point.isPinned || place.point.isHeld ? Piece.state("ask", "Kept whatever the rules say") : .nothing,
        ]
        let shown = TimeText.local(time, in: visit.zone)
        let before: HTML? = changed.flatMap { place.files.point(before: $0.point, of: place.path) }.map { point in
            link(
                point,
                changed?.change == .removed ? "The second before it was deleted" : "The second before it changed",
                "The newest point before this change")
        }
        return """
            <section class="times" aria-label="When"><div class="now"><p><strong>\(shown)</strong>
            <small>\(Piece.time(time, now: visit.now)), point \(index + 1) of \(points.count)</small></p>\(notes)
            <nav class="steps" aria-label="Other times">\(link(points.first, "Oldest", "The oldest point"))
            \(link(index > 0 ? points[index - 1] : nil, "‹ Earlier", "The point before this one"))
            \(link(index + 1 < points.count ? points[index + 1] : nil, "Later ›", "The point after this one"))
            \(link(points.last, "Newest", "The newest point"))\(before)</nav></div>
            <script type="module" src="\(Assets.files.path)"></script>
            <div class="bars" aria-hidden="true">\(bars(place, page, visit))</div>\(slider(place, page, visit))
            <form class="filter" method="get" action="/machines/\(place.machine.id.hex)/\(page)">
            <input type="hidden" name="hex" value="\(Hex.encode(place.path.bytes))">\(place.keptFields(on: page))
            <label>As of, in words<input name="at" placeholder="10 minutes ago, yesterday 18:00" size="28"></label>
            <label>or by the calendar<input type="datetime-local" name="on" step="1" value="\(shown.replacing(" ", with: "T"))"></label>
            <button>Show</button><button name="just" value="before" title="The newest point before that time">The second before</button>\
            </form></section>
            """
    }

    /// Stops of the slider; of more points some are left out, evenly, which the steps lead to.
    private static let mostStops = 1_000

    /// Moves from point to point; the form is shown by the script that moves it. Each stop is a time in thousandths of seconds, as the
    /// difference from the one before.
    private static func slider(_ place: RestorePlace, _ page: String, _ visit: Visit) -> HTML? {
        let points = place.points
        guard points.count > 1, let here = points.firstIndex(where: { $0.id == place.point.id }) else { return nil }
        var chosen = Array(points.indices)
        if points.count > mostStops {
            let even = (0..<mostStops).map { $0 * (points.count - 1) / (mostStops - 1) }
            chosen = Set(even + [here]).sorted()
        }
        var (stops, clocks): ([Int64], [String]) = ([], [])
        var (last, ahead): (Int64, Int?) = (0, nil)
        for (index, point) in chosen.map({ points[$0] }).enumerated() {
            let time = place.moment(of: point)
            stops.append(time - last)
            last = time
            let offset = visit.zone.offset(at: point.effective.seconds)
            if offset != ahead { clocks.append("\(index):\(offset)") }
            ahead = offset
        }
        let value = chosen.firstIndex(of: here) ?? 0
        return """
            <form class="slide" method="get" action="/machines/\(place.machine.id.hex)/\(page)" hidden \
            data-stops="\(stops.map(String.init).joined(separator: ","))" data-clocks="\(clocks.joined(separator: ","))">
            <input type="hidden" name="hex" value="\(Hex.encode(place.path.bytes))">\(place.keptFields(on: page))\
            <input type="hidden" name="moment" value="\(place.moment(of: place.point))">
            <input type="range" min="0" max="\(chosen.count - 1)" value="\(value)" aria-label="Time" autocomplete="off">
            <output></output><button>Show this time</button></form>
            """
    }

    /// How many points there are in equal parts of the whole time; each leads to the last one in it. The same can be had by
    /// words and steps, so it is hidden from who cannot see it.
    private static func bars(_ place: RestorePlace, _ page: String, _ visit: Visit) -> HTML {
        let points = place.points
        guard let first = points.first?.effective, let last = points.last?.effective, last > first else {
            return .nothing
        }
        let width = max(last.since(first) / Int64(parts), 1)
        func part(_ time: Timestamp) -> Int { max(min(Int(time.since(first) / width), parts - 1), 0) }
        var counts = [Int](repeating: 0, count: parts)
        var newest = [PointSummary?](repeating: nil, count: parts)
        for point in points {
            let index = part(point.effective)
            counts[index] += 1
            newest[index] = point
        }
        let most = counts.max() ?? 1
        let here = part(place.point.effective)
        let bars: [HTML] = counts.indices.map { index in
            guard let point = newest[index] else { return "<i></i>" }
            let step = max(1, counts[index] * 10 / most)
            let title = "\(TimeText.localMinute(point.effective, in: visit.zone)): \(counts[index]) points"
            return """
                <a tabindex="-1" class="h\(step)\(index == here ? " here" : "")" title="\(title)" \
                href="\(place.address(page, point: point))"></a>
                """
        }
        return HTML.joined(bars, by: .nothing)
    }
}
