import Catalog
import Client
import Model
import Server
import Vault

/// Names over all times.
enum SearchPage {
    static let all: [Page] = [
        .get("/machines/{machine}/search", "Names of a machine's files at any time.", .right(.seeNames), show)
    ]

    private static let limit = 200

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        guard let place = try RestorePlace(visit) else { return .redirect("/machines") }
        let text = String(visit.query.text("q").prefix(200))
        let words = text.split(whereSeparator: \.isWhitespace).map(String.init)
        guard words.contains(where: { $0.utf8.count >= 2 }) else {
            return Layout.page(
                "Find", visit, wide: true,
                "\(place.crumbs)\(FilesPage.search(place, text))<p class=\"hint\">Type two letters or more of a name.</p>"
            )
        }
        let keys = try visit.site.shelf.keys
        let found = try visit.site.shelf.names(of: place.machine.id).search(
            words, below: place.path, limit: limit, points: place.points, core: visit.core, keys: keys)
        // How they are at the point that is looked at.
        let entries = try visit.site.shelf.point(place.point.id).use { reader in
            try found.paths.map { try reader.entry(of: $0) }
        }
        let rows: [HTML] = zip(found.paths, entries).map { path, entry in
            if let entry {
                return FilesPage.row(
                    FilesPage.Row(path: path, entry: entry), place, visit, isSelectable: false, showsPath: true)
            }
            return """
                <tr class="gone"><th scope="row"><a class="file" href="\(place.address("file", path: path))">\
                \(TreePath.display(path.name))</a><small>\((path.parent ?? .root).displayText)</small></th>
                <td></td><td>not there at this time</td><td></td></tr>
                """
        }
        let count = found.isMore ? "More than \(limit) names" : "\(rows.count) name\(rows.count == 1 ? "" : "s")"
        let partial: HTML? =
            found.isPartial
            ? "<p class=\"hint\">Some points could not be read, so names may be missing here.</p>" : nil
        let table: HTML =
            rows.isEmpty
            ? Piece.empty("Nothing is called that", "<p>All words must stand in the name. Fewer letters find more.</p>")
            : """
            <table class="listing"><caption>\(count), at any time</caption><thead><tr><th>Name</th>
            <th class="number">Size</th><th>Changed</th><th>Owner</th></tr></thead><tbody>\(rows)</tbody></table>
            """
        return Layout.page(
            "Find", visit, wide: true,
            "\(TimeLine.show(place, visit))\(place.crumbs)\(FilesPage.search(place, text))\(partial)\(table)")
    }
}
