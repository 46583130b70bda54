import Catalog
import Client
import Model
import Server
import Vault

/// Files of a machine as of some time: when above, where below.
enum FilesPage {
    static let all: [Page] = [
        .get("/machines/{machine}/files", "Files of a machine as of some time.", .right(.seeNames), show),
        .get("/machines/{machine}/download", "A file as it was at a point.", .right(.seeContents), download),
    ]

    private static let pageLength = 500

    /// What is looked at, as it stands in the address.
    struct Place {
        var machine: ManagedMachine
        var point: PointSummary
        var path: TreePath

        func address(path: TreePath? = nil, point: PointSummary? = nil, to page: String = "files") -> String {
            "/machines/\(machine.id.hex)/\(page)"
                + Address.query([
                    ("point", (point ?? self.point).id.hex),
                    ("path", "/" + Address.plainText((path ?? self.path).bytes)),
                ])
        }
    }

    // MARK: Listing

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        let machine = try visit.machine(visit.request.parameters["machine"])
        let points = try visit.site.shelf.points(of: machine.id)
        guard let newest = points.last else {
            return Layout.page(
                machine.name, visit,
                Piece.empty("Nothing is stored of it yet", "<p>Its first backup makes the first point.</p>"))
        }
        let chosen = try choose(visit, points, newest)
        guard let path = TreePath(normalizing: visit.query.bytes("path") ?? []) else {
            throw HoldfastError(.usage, "That is not a path.")
        }
        let place = Place(machine: machine, point: chosen, path: path)
        let after = visit.query.bytes("after")
        let opened = try visit.site.shelf.point(chosen.id)
        let listing = try opened.use { reader -> Listing in
            guard let entry = try reader.entry(of: path) else { return Listing() }
            var listing = Listing(isThere: true, entry: entry)
            if entry.kind == .directory {
                let items = try reader.tree.list(path, after: after, limit: pageLength + 1)
                listing.isMore = items.count > pageLength
                listing.rows = try items.prefix(pageLength).map { Row(name: Array($0.name), entry: try $0.entry()) }
            }
            return listing
        }
        let body: HTML
        if !listing.isThere {
            body = Piece.empty(
                "It was not there then",
                "<p>\(place.path.displayText) is not in this point. Go to another time, or up.</p>")
        } else {
            body = table(listing, place, visit)
        }
        return Layout.page(
            machine.name, visit, wide: true, "\(times(place, points, visit))\(crumbs(place))\(body)")
    }

    private struct Row: Sendable {
        var name: [UInt8]
        var entry: Entry
    }

    private struct Listing: Sendable {
        var isThere = false
        var entry = Entry(kind: .directory, mode: 0)
        var rows: [Row] = []
        var isMore = false
    }

    /// The point that was asked for: by its id, or the newest at a time.
    private static func choose(
        _ visit: Visit, _ points: [PointSummary], _ newest: PointSummary
    ) throws -> PointSummary {
        let text = visit.query.text("at")
        if !text.isEmpty {
            let selector = try PointSelector.parse("@" + text, now: visit.now, zone: visit.zone)
            let candidate = try selector.select(from: points.map(\.candidate))
            if let point = points.first(where: { $0.id == candidate.id }) { return point }
        }
        if let id = PointID(hex: visit.query.text("point")) {
            guard let point = points.first(where: { $0.id == id }) else {
                throw HoldfastError(
                    .notFound, "This point is not kept any more.",
                    context: ["hint": "Retention thins older points; a neighbour holds nearly the same."])
            }
            return point
        }
        return newest
    }

    private static func table(_ listing: Listing, _ place: Place, _ visit: Visit) -> HTML {
        if listing.entry.kind != .directory { return file(listing.entry, place, visit) }
        if listing.rows.isEmpty { return Piece.empty("Empty", "<p>Nothing was in this directory then.</p>") }
        let rows: [HTML] = listing.rows.map { row in
            let path = TreePath(unchecked: place.path.bytes + (place.path.isRoot ? [] : [UInt8(ascii: "/")]) + row.name)
            let isDirectory = row.entry.kind == .directory
            let name = TreePath.display(row.name)
            return """
                <tr><th scope="row"><a class="\(isDirectory ? "folder" : "file")" href="\(place.address(path: path))">\(name)</a>\
                \(row.entry.remarks.contains(.contentMissing) ? "<small>could not be read</small>" : .nothing)\
                \(row.entry.remarks.contains(.fuzzy) ? "<small>changed while it was read</small>" : .nothing)</th>
                <td class="number">\(row.entry.kind == .regular ? Piece.size(row.entry.size) : .nothing)</td>
                <td>\(Piece.time(row.entry.mtime.timestamp, now: visit.now))</td></tr>
                """
        }
        let more: HTML? =
            listing.isMore
            ? listing.rows.last.map { last in
                """
                <nav class="pager"><a href="\(place.address())&amp;after=\(Address.encode(last.name))">More</a></nav>
                """
            } : nil
        return """
            <table class="listing"><thead><tr><th>Name</th><th class="number">Size</th><th>Changed</th></tr></thead>
            <tbody>\(rows)</tbody></table>\(more)
            """
    }

    private static func file(_ entry: Entry, _ place: Place, _ visit: Visit) -> HTML {
        let link: HTML? =
            entry.kind == .regular && visit.may(.seeContents)
            ? "<p><a class=\"button\" href=\"\(place.address(to: "download"))\" download>Download</a></p>" : nil
        return """
            <section><dl class="facts"><div><dt>Size</dt><dd>\(Piece.size(entry.size))</dd></div>
            <div><dt>Changed</dt><dd>\(Piece.time(entry.mtime.timestamp, now: visit.now))</dd></div>
            <div><dt>Owner</dt><dd>\(String(decoding: entry.user, as: UTF8.self))</dd></div>
            <div><dt>Mode</dt><dd>\(String(entry.mode, radix: 8))</dd></div></dl>\(link)</section>
            """
    }

    private static func crumbs(_ place: Place) -> HTML {
        var parts: [HTML] = ["<a href=\"\(place.address(path: .root))\">/</a>"]
        var bytes: [UInt8] = []
        for name in place.path.bytes.split(separator: UInt8(ascii: "/")) {
            bytes += (bytes.isEmpty ? [] : [UInt8(ascii: "/")]) + name
            let path = TreePath(unchecked: bytes)
            parts.append("<a href=\"\(place.address(path: path))\">\(TreePath.display(Array(name)))</a>")
        }
        return "<nav class=\"crumbs\" aria-label=\"Path\">\(HTML.joined(parts, by: "<span>›</span>"))</nav>"
    }

    // MARK: Time

    private static func times(_ place: Place, _ points: [PointSummary], _ visit: Visit) -> HTML {
        let index = points.firstIndex { $0.id == place.point.id } ?? points.count - 1
        func link(_ point: PointSummary?, _ word: String) -> HTML {
            point.map { "<a href=\"\(place.address(point: $0))\">\(word)</a>" as HTML } ?? "<span>\(word)</span>"
        }
        let earlier = index > 0 ? points[index - 1] : nil
        let later = index + 1 < points.count ? points[index + 1] : nil
        let effective = place.point.effective
        return """
            <section class="times"><form class="filter"><input type="hidden" name="path" value="/\(place.path.displayText)">
            <label>As of<input name="at" placeholder="10 minutes ago, yesterday 18:00" value="\(visit.query.text("at"))"></label>
            <button>Go</button></form>
            <p><strong>\(TimeText.local(effective, in: visit.zone))</strong> \(Piece.time(effective, now: visit.now))</p>
            <div class="bars" aria-hidden="true">\(density(points, effective))</div>
            <nav class="pager">\(link(points.first, "Oldest"))\(link(earlier, "Earlier"))
            <span>\(index + 1) of \(points.count)</span>\(link(later, "Later"))\(link(points.last, "Newest"))</nav></section>
            """
    }

    /// How many points there are, in 60 equal parts of the whole time.
    private static func density(_ points: [PointSummary], _ chosen: Timestamp) -> HTML {
        guard let first = points.first?.effective, let last = points.last?.effective, points.count > 1 else {
            return .nothing
        }
        let parts = 60
        let width = max(last.since(first) / Int64(parts), 1)
        func part(_ time: Timestamp) -> Int { min(Int(time.since(first) / width), parts - 1) }
        var counts = [Int](repeating: 0, count: parts)
        for point in points { counts[max(part(point.effective), 0)] += 1 }
        let most = counts.max() ?? 1
        let here = part(chosen)
        let bars: [HTML] = counts.enumerated().map { index, count in
            let step = count == 0 ? 0 : max(1, count * 10 / most)
            return "<i class=\"h\(step)\(index == here ? " here" : "")\"></i>"
        }
        return HTML.joined(bars, by: .nothing)
    }

    // MARK: Download

    @Sendable private static func download(_ visit: Visit) throws -> ServerAnswer {
        let machine = try visit.machine(visit.request.parameters["machine"])
        guard let id = PointID(hex: visit.query.text("point")),
            let path = TreePath(normalizing: visit.query.bytes("path") ?? []),
            try visit.site.shelf.points(of: machine.id).contains(where: { $0.id == id })
        else { throw HoldfastError(.notFound, "There is no such point of this machine.") }
        let reader = try visit.site.shelf.fresh(id)
        guard let entry = try reader.entry(of: path), entry.kind == .regular else {
            reader.close()
            throw HoldfastError(.notFound, "There is no such file in this point.")
        }
        try visit.site.accounts.audit.note(
            "file.downloaded", by: visit.visitor?.account.name ?? "", from: visit.request.address,
            to: path.displayText, ["machine": .string(machine.name), "point": .string(id.hex)])
        let box = ReaderBox(reader: reader)
        var answer = ServerAnswer(contentType: "application/octet-stream")
        answer.headers = [("Content-Disposition", Self.disposition(Array(path.name)))]
        answer.stream = ServerAnswer.Stream(length: entry.size) { write in
            defer { box.reader.close() }
            try box.reader.read(entry) { bytes in
                try write(bytes)
                return true
            }
        }
        return answer
    }

    private struct ReaderBox: @unchecked Sendable {
        // Sound: the one thread that streams uses it.
        let reader: PointReader
    }

    /// RFC 6266: a plain name for old browsers, the real one for others.
    static func disposition(_ name: [UInt8]) -> String {
        let plain = name.map {
            (0x20..<0x7F).contains($0) && ![0x22, 0x5C, 0x25, 0x2F].contains($0) ? $0 : UInt8(ascii: "_")
        }
        return
            "attachment; filename=\"\(String(decoding: plain, as: UTF8.self))\"; filename*=UTF-8''\(Address.encode(name))"
    }
}
