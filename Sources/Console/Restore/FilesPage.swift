import Catalog
import Client
import Model
import Server
import Vault

/// Files of a machine as of some time: when above, where below.
enum FilesPage {
    static let all: [Page] = [
        .get("/machines/{machine}/files", "Files of a machine as of some time.", .right(.seeNames), show)
    ]

    private static let pageLength = 500

    struct Row: Sendable {
        var path: TreePath
        var entry: Entry
        /// The last point that had it, when it is not in the one that is looked at.
        var lastPoint: PointSummary?
    }

    private struct Listing: Sendable {
        var entry: Entry?
        var rows: [Row] = []
        var isMore = false
    }

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        guard let place = try RestorePlace(visit) else {
            let machine = try visit.machine(visit.request.parameters["machine"])
            return Layout.page(
                machine.name, visit,
                Piece.empty(
                    "Nothing is stored of it yet",
                    "<p>Its first backup makes the first point; how far it is shows <code>holdfast agent status</code> there.</p>"
                ))
        }
        let after = visit.query.bytes("after")
        let listing = try visit.site.shelf.point(place.point.id).use { reader -> Listing in
            guard let entry = try reader.entry(of: place.path) else { return Listing() }
            var listing = Listing(entry: entry)
            if entry.kind == .directory {
                let items = try reader.tree.list(place.path, after: after, limit: pageLength + 1)
                listing.isMore = items.count > pageLength
                listing.rows = try items.prefix(pageLength).map {
                    Row(path: place.path.appending($0.name), entry: try $0.entry())
                }
            }
            return listing
        }
        let showsDeleted = visit.query.text("deleted") == "1"
        let gone = showsDeleted && after == nil ? try deleted(visit, place, listing.rows.map(\.path)) : []
        let body: HTML
        switch listing.entry?.kind {
        case nil where gone.isEmpty:
            body = Piece.empty(
                "It was not there then",
                "<p>\(place.path.displayText) is not in this point. Choose another time above, or a directory above it.</p>"
            )
        case .directory?, nil:
            body = table(listing, gone, place, visit, showsDeleted: showsDeleted)
        case _?: return .redirect(place.address("file"))
        }
        return Layout.page(
            title(place), visit, wide: true,
            "\(TimeLine.show(place, visit))\(search(place))\(place.crumbs)\(body)")
    }

    static func title(_ place: RestorePlace) -> String {
        place.path.isRoot ? place.machine.name : TreePath.display(place.path.name)
    }

    /// The field that looks for names.
    static func search(_ place: RestorePlace, _ text: String = "") -> HTML {
        """
        <form class="filter" role="search" method="get" action="/machines/\(place.machine.id.hex)/search">
        \(place.fields)<label>Find by name, here and below, at any time
        <input type="search" name="q" value="\(text)" minlength="2" required></label><button>Find</button></form>
        """
    }

    // MARK: The table

    private static func table(
        _ listing: Listing, _ gone: [Row], _ place: RestorePlace, _ visit: Visit, showsDeleted: Bool
    ) -> HTML {
        let deletedLink: HTML =
            showsDeleted
            ? "<a href=\"\(place.address())\">Hide what was deleted</a>"
            : "<a href=\"\(place.address("files", [("deleted", "1")]))\">Show what was deleted before, too</a>"
        let choices: HTML = "<p class=\"choices\">\(deletedLink)</p>"
        if listing.rows.isEmpty, gone.isEmpty {
            return "\(Piece.empty("Empty", "<p>Nothing was in this directory then.</p>"))\(choices)"
        }
        let mayRead = visit.may(.seeContents)
        let rows = (listing.rows + gone).map { row($0, place, visit, isSelectable: mayRead) }
        let more: HTML? =
            listing.isMore
            ? listing.rows.last.map { last in
                let next = place.address() + "&after=" + Address.encode(Array(last.path.name))
                return "<nav class=\"pager\"><a href=\"\(next)\">More</a></nav>"
            } : nil
        let head: HTML = mayRead ? "<th class=\"pick\"><span class=\"unseen\">Select</span></th>" : .nothing
        let table: HTML = """
            <table class="listing"><thead><tr>\(head)<th>Name</th><th class="number">Size</th><th>Changed</th>
            <th>Owner</th></tr></thead><tbody>\(rows)</tbody></table>
            """
        guard mayRead else { return "\(choices)\(table)\(more)" }
        return """
            \(choices)<form method="post" action="/machines/\(place.machine.id.hex)/archive">\(Piece.formToken(visit))\(place.fields)
            \(table)<div class="basket"><button class="main">Download what is selected as ZIP</button>
            <span class="hint">Nothing selected: all of this directory.</span></div></form>\(more)
            """
    }

    static func row(_ row: Row, _ place: RestorePlace, _ visit: Visit, isSelectable: Bool, showsPath: Bool = false)
        -> HTML
    {
        let isDirectory = row.entry.kind == .directory
        let point = row.lastPoint ?? place.point
        let name = TreePath.display(row.path.name)
        let address = place.address(isDirectory ? "files" : "file", path: row.path, point: point)
        let box: HTML = """
            <td class="pick"><input type="checkbox" name="pick" value="\(Hex.encode(row.path.bytes))" aria-label="Select \(name)"\
            \(row.lastPoint == nil ? .nothing : " disabled" as HTML)></td>
            """
        let gone: HTML? = row.lastPoint.map { last in
            "<small>deleted; there until \(TimeText.localMinute(last.effective, in: visit.zone)) at least</small>"
        }
        let folder: HTML? =
            showsPath ? "<small>\((row.path.parent ?? .root).displayText)</small>" : nil
        return """
            <tr\(row.lastPoint == nil ? .nothing : " class=\"gone\"" as HTML)>\(isSelectable ? box : .nothing)\
            <th scope="row"><a class="\(icon(row.entry.kind))" href="\(address)">\(name)</a>\(folder)\(gone)\
            \(row.entry.remarks.contains(.contentMissing) ? "<small>could not be read</small>" as HTML : .nothing)\
            \(row.entry.remarks.contains(.fuzzy) ? "<small>changed while it was read</small>" as HTML : .nothing)</th>
            <td class="number">\(row.entry.kind == .regular ? Piece.size(row.entry.size) : .nothing)</td>
            <td>\(row.entry.remarks.contains(.ancestor) ? .nothing : Piece.time(row.entry.mtime.timestamp, now: visit.now))</td>
            <td>\(String(decoding: row.entry.user, as: UTF8.self))</td></tr>
            """
    }

    private static func icon(_ kind: EntryKind) -> HTML {
        switch kind {
        case .directory: "folder"
        case .regular: "file"
        case .symbolicLink: "link"
        default: "special"
        }
    }

    // MARK: What was deleted

    /// Points that are looked at for what was deleted before.
    private static let samples = 16

    /// What earlier points have in this directory and this one does not; of the earlier ones some are looked at, spread over
    /// their times, the newest first.
    private static func deleted(_ visit: Visit, _ place: RestorePlace, _ known: [TreePath]) throws -> [Row] {
        let earlier = place.points.filter { $0.effective < place.point.effective && $0.series == place.point.series }
        guard let first = earlier.first, let last = earlier.last else { return [] }
        var chosen: [PointSummary] = []
        let width = max(last.effective.since(first.effective) / Int64(samples), 1)
        for point in earlier.reversed() where chosen.count < samples {
            guard let newest = chosen.last else {
                chosen.append(point)
                continue
            }
            if newest.effective.since(point.effective) >= width || earlier.count <= samples { chosen.append(point) }
        }
        var seen = Set(known)
        var rows: [Row] = []
        for point in chosen where rows.count < pageLength {
            // What cannot be read any more says nothing of what was deleted.
            guard let opened = try? visit.site.shelf.point(point.id) else { continue }
            let found = try opened.use { reader in
                try reader.tree.list(place.path, limit: pageLength).map { item -> Row in
                    Row(path: place.path.appending(item.name), entry: try item.entry(), lastPoint: point)
                }
            }
            for row in found where seen.insert(row.path).inserted { rows.append(row) }
        }
        return rows.sorted { $0.path.bytes.lexicographicallyPrecedes($1.path.bytes) }
    }
}
