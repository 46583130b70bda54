import Catalog
import Model
import Server
import Vault

/// What somebody looks at: a machine, a point of it, and a path; as it stands in addresses.
struct RestorePlace {
    let machine: ManagedMachine
    /// Those that can be restored from, oldest first.
    let points: [PointSummary]
    let point: PointSummary
    let path: TreePath

    /// Reads it from an address: `point` by its id, or the newest at a time (`at`, or `on` as a browser's field for times has
    /// it); `path` as bytes, or as `hex` in forms. `nil` when the machine has no point.
    init?(_ visit: Visit) throws {
        machine = try visit.machine(visit.request.parameters["machine"])
        points = try visit.site.shelf.points(of: machine.id)
        guard let newest = points.last else { return nil }
        point = try Self.choose(visit, points, newest)
        path = try Self.path(visit.query)
    }

    static func path(_ fields: FormFields) throws -> TreePath {
        let bytes = fields.bytes("hex").flatMap { Hex.decode(String(decoding: $0, as: UTF8.self)) }
        guard let path = TreePath(normalizing: bytes ?? fields.bytes("path") ?? []) else {
            throw HoldfastError(.usage, "That is not a path: it has “..” in it, or a name that is too long.")
        }
        return path
    }

    private static func choose(
        _ visit: Visit, _ points: [PointSummary], _ newest: PointSummary
    ) throws -> PointSummary {
        // 2026-11-20T10:15 of a field for times is 2026-11-20 10:15.
        let on = visit.query.text("on").replacing("T", with: " ")
        // The calendar is filled in always; words are there only when somebody has typed them.
        let text = visit.query.text("at").isEmpty ? on : visit.query.text("at")
        if !text.isEmpty {
            let selector = try PointSelector.parse(
                text.hasPrefix("@") || text == "latest" ? text : "@" + text, now: visit.now, zone: visit.zone)
            let candidate = try selector.select(from: points.map(\.candidate))
            if let point = points.first(where: { $0.id == candidate.id }) { return point }
        }
        let wanted = visit.query.text("point")
        if wanted.isEmpty { return newest }
        guard let id = PointID(hex: wanted), let point = points.first(where: { $0.id == id }) else {
            throw HoldfastError(
                .notFound, "This point is not kept any more.",
                context: ["hint": "Retention thins older points; a neighbour holds nearly the same."])
        }
        return point
    }

    /// The address of a page about this or about another path or point of the machine.
    func address(
        _ page: String = "files", path: TreePath? = nil, point: PointSummary? = nil, _ further: [(String, String?)] = []
    ) -> String {
        let bytes = (path ?? self.path).bytes
        let place = "/machines/\(machine.id.hex)/\(page)?point=\((point ?? self.point).id.hex)"
        let fields = further.compactMap { name, value in value.map { "&\(name)=\(Address.encode($0))" } }.joined()
        return place + "&path=" + Address.encode([UInt8(ascii: "/")] + bytes) + fields
    }

    /// The same as fields of a form.
    var fields: HTML {
        """
        <input type="hidden" name="point" value="\(point.id.hex)"><input type="hidden" name="hex" value="\(Hex.encode(path.bytes))">
        """
    }

    /// The names from the root down, as links.
    var crumbs: HTML {
        var parts: [HTML] = ["<a href=\"\(address(path: .root))\">\(machine.name)</a>"]
        var above = TreePath.root
        for name in path.components {
            above = above.appending(name)
            parts.append("<a href=\"\(address(path: above))\">\(TreePath.display(name))</a>")
        }
        let arrow: HTML = "<span aria-hidden=\"true\">›</span>"
        return "<nav class=\"crumbs\" aria-label=\"Path\">\(HTML.joined(parts, by: arrow))</nav>"
    }
}
