import Browsing
import Catalog
import Model
import Server
import Vault

/// What somebody looks at: a machine, a point of it, and a path; as it stands in addresses.
struct RestorePlace {
    let machine: ManagedMachine
    /// Of the machine, as far as who asks may see them.
    let files: MachineFiles
    private(set) var point: PointSummary
    let path: TreePath
    /// How lists are shown; addresses of lists keep it.
    let kept: [(name: String, value: String)]

    /// Reads it from an address: `point` by its id, or the newest at a time (`at`, or `on` as a browser's field for times has it),
    /// with `just=before` the newest before that time, or the newest at a `moment` of the slider; `path` as bytes, or as `hex` in forms. `nil` when the machine has no point.
    init?(_ visit: Visit) throws {
        machine = try visit.machine(visit.request.parameters["machine"])
        files = try visit.desk.files(of: machine)
        let asked = try Self.path(visit.query)
        // Who sees a part of the machine begins there.
        path = asked.isRoot ? files.sight?.places.first?.path ?? asked : asked
        guard let newest = files.points(of: path).last else { return nil }
        point = try Self.choose(visit, files, path, newest)
        kept = Self.kept(visit.query)
    }

    /// The same path at another point.
    func at(_ point: PointSummary) -> RestorePlace {
        var place = self
        place.point = point
        return place
    }

    static func kept(_ fields: FormFields) -> [(name: String, value: String)] {
        ["deleted", "sort", "q"].compactMap { name in
            let value = String(fields.text(name).prefix(name == "q" ? 200 : 20))
            return value.isEmpty ? nil : (name, value)
        }
    }

    /// Of that what a page's address has.
    private func kept(on page: String) -> [(name: String, value: String)] {
        kept.filter { page == "files" ? $0.name != "q" : page == "search" && $0.name == "q" }
    }

    /// Those that can be restored from and say something of the path, oldest first; all when the one that is looked at does not.
    var points: [PointSummary] {
        files.isProtected(path, at: point) ? files.points(of: path, with: point) : files.points
    }

    static func path(_ fields: FormFields) throws -> TreePath {
        let bytes = fields.bytes("hex").flatMap { Hex.decode(String(decoding: $0, as: UTF8.self)) }
        guard let path = TreePath(normalizing: bytes ?? fields.bytes("path") ?? []) else {
            throw HoldfastError(.usage, "That is not a path: it has “..” in it, or a name that is too long.")
        }
        return path
    }

    private static func choose(
        _ visit: Visit, _ files: MachineFiles, _ path: TreePath, _ newest: PointSummary
    ) throws -> PointSummary {
        // What does not protect the path cannot show it.
        let points = files.points(of: path)
        // The calendar is filled in always; words are there only when somebody has typed them.
        let words = visit.query.text("at")
        let isBefore = visit.query.text("just") == "before"
        if !words.isEmpty {
            let found = try files.point(at: words, of: path, now: visit.now, zone: visit.zone)
            return isBefore ? before(words, found, path, files) : found
        }
        // 2026-11-20T10:15 of a field for times is 2026-11-20 10:15:00, and that is all of this second.
        var on = visit.query.text("on").replacing("T", with: " ")
        if !on.isEmpty {
            if on.utf8.count == 16 { on += ":00" }
            func isIn(_ point: PointSummary) -> Bool { TimeText.local(point.effective, in: visit.zone) == on }
            if !isBefore, let last = points.last(where: isIn) { return last }
            let found = try files.point(at: on, of: path, now: visit.now, zone: visit.zone)
            // Several points may be of one second.
            guard isBefore, let first = points.first(where: isIn) else { return found }
            return files.point(before: first, of: path) ?? first
        }
        if let moment = visit.query.number("moment", in: 0...9_000_000_000_000) {
            return points.last { $0.effective.nanoseconds <= Int64(moment) * 1_000_000 } ?? points[0]
        }
        let wanted = visit.query.text("point")
        return wanted.isEmpty ? newest : try files.point(wanted)
    }

    /// The newest point before a time that was given to the nanosecond, where a point may be at that very time.
    private static func before(
        _ text: String, _ found: PointSummary, _ path: TreePath, _ files: MachineFiles
    ) -> PointSummary {
        "@" + TimeText.rfc3339(found.effective) == text ? files.point(before: found, of: path) ?? found : found
    }

    /// The address of a page about this or about another path or point of the machine.
    func address(
        _ page: String = "files", path: TreePath? = nil, point: PointSummary? = nil, _ further: [(String, String?)] = []
    ) -> String {
        let bytes = (path ?? self.path).bytes
        let place = "/machines/\(machine.id.hex)/\(page)?point=\((point ?? self.point).id.hex)"
        let kept: [(String, String?)] = kept(on: page).filter { field in !further.contains { $0.0 == field.name } }.map
        { $0 }
        let fields = (kept + further).compactMap { name, value in value.map { "&\(name)=\(Address.encode($0))" } }
            .joined()
        return place + "&path=" + Address.encode([UInt8(ascii: "/")] + bytes) + fields
    }

    /// The same as fields of a form.
    var fields: HTML {
        """
        <input type="hidden" name="point" value="\(point.id.hex)"><input type="hidden" name="hex" value="\(Hex.encode(path.bytes))">
        """
    }

    /// A point's time in thousandths of seconds, none before it.
    func moment(of point: PointSummary) -> Int64 { point.effective.advanced(by: 999_999).nanoseconds / 1_000_000 }

    /// How lists are shown, as fields of a form.
    func keptFields(on page: String) -> [HTML] {
        kept(on: page).map { "<input type=\"hidden\" name=\"\($0.name)\" value=\"\($0.value)\">" }
    }

    /// The names from the root down, as links.
    var crumbs: HTML {
        var parts: [HTML] = ["<a href=\"\(address(path: .root))\">\(machine.name)</a>"]
        var above = TreePath.root
        for name in path.components {
            above = above.appending(name)
            // What lies above somebody's own part is not for them.
            if let sight = files.sight, !sight.covers(above) {
                parts.append("\(TreePath.display(name))")
                continue
            }
            parts.append("<a href=\"\(address(path: above))\">\(TreePath.display(name))</a>")
        }
        let arrow: HTML = "<span aria-hidden=\"true\">›</span>"
        return "<nav class=\"crumbs\" aria-label=\"Path\">\(HTML.joined(parts, by: arrow))</nav>"
    }
}
