import Browsing
import Catalog
import Client
import Model
import Server
import Vault

/// Names over all times.
enum SearchPage {
    static let all: [Page] = [
        .get(
            "/machines/{machine}/search", "Names of a machine's files at any time.", .anyRight([.seeNames, .seeOwn]),
            show)
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
        let found = try place.files.search(words, below: place.path, at: place.point, limit: limit)
        let rows: [HTML] = found.names.map { path, item in
            if let item { return FilesPage.row(item, place, visit, isSelectable: false, showsPath: true) }
            return """
                <tr class="gone"><th scope="row"><a class="file" href="\(place.address("file", path: path))">\
                \(TreePath.display(path.name))</a><small>\((path.parent ?? .root).displayText)</small></th>
                <td></td><td>not there at this time; its page says when</td><td></td></tr>
                """
        }
        let count = found.isMore ? "More than \(limit) names" : "\(rows.count) name\(rows.count == 1 ? "" : "s")"
        let partial: HTML? =
            found.isPartial
            ? "<p class=\"hint\">Not every name was looked at, so some may be missing here. More of the name finds fewer.</p>"
            : nil
        let table: HTML =
            rows.isEmpty
            ? Piece.empty("Nothing is called that", "<p>All words must stand in the name. Fewer letters find more.</p>")
            : """
            <table class="listing"><caption>\(count), at any time</caption><thead><tr><th>Name</th>
            <th class="number">Size</th><th>Changed</th><th>Owner</th></tr></thead><tbody>\(rows)</tbody></table>
            """
        return Layout.page(
            "Find", visit, wide: true,
            """
            \(TimeLine.show(place, visit, page: "search"))\(FilesPage.search(place, text))\
            \(try FolderTree.frame(place, "\(place.crumbs)\(partial)\(table)"))
            """)
    }
}
