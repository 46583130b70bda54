import Browsing
import Catalog
import Client
import Model
import Server
import Vault

/// Files of a machine as of some time: when above, where below.
enum FilesPage {
    static let all: [Page] = [
        .get("/machines/{machine}/files", "Files of a machine as of some time.", .anyRight([.seeNames, .seeOwn]), show)
    ]

    private static let pageLength = 200

    typealias Row = MachineFiles.Item

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
        place.files.prepare()
        let after = visit.query.bytes("after")
        let showsDeleted = visit.query.text("deleted") == "1"
        let listing =
            showsDeleted
            ? try place.files.listingWithDeleted(of: place.path, at: place.point, after: after, limit: pageLength)
            : try place.files.listing(of: place.path, at: place.point, after: after, limit: pageLength)
        let gone = listing.deleted
        let body: HTML
        switch listing.entry?.kind {
        case nil where gone.isEmpty && !listing.isMore:
            body = LastSeen.show(LastSeen(try place.files.versions(of: place.path, limit: 50), place), place, visit)
        case .directory?, nil:
            body = table(listing, gone, place, visit, showsDeleted: showsDeleted, after: after != nil)
        case _?: return .redirect(place.address("file"))
        }
        return Layout.page(
            title(place), visit, wide: true,
            "\(TimeLine.show(place, visit))\(search(place))\(try FolderTree.frame(place, listing: after == nil ? listing : nil, gone: gone, "\(place.crumbs)\(body)"))"
        )
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
        _ listing: MachineFiles.Listing, _ gone: [Row], _ place: RestorePlace, _ visit: Visit, showsDeleted: Bool,
        after: Bool
    ) -> HTML {
        let deletedLink: HTML =
            showsDeleted
            ? "<a href=\"\(place.address("files", [("deleted", nil)]))\">Hide what was deleted</a>"
            : "<a href=\"\(place.address("files", [("deleted", "1")]))\">Show what was deleted before, too</a>"
        let sampled: HTML? =
            listing.isSampled
            ? """
            <p class="hint">Of the earlier points some were looked at, spread over their times. What came and went between two of them is \
            found by its name.</p>
            """ : nil
        let choices: HTML = "\(parts(place, visit))<p class=\"choices\">\(deletedLink)</p>\(sampled)"
        let more: HTML? = listing.next.map { name in
            let next = place.address() + "&after=" + Address.encode(name)
            return "<nav class=\"pager\"><a href=\"\(next)\">More</a></nav>"
        }
        if listing.items.isEmpty, gone.isEmpty {
            let told: HTML =
                after || listing.isMore
                ? "<p class=\"hint\">Nothing on this page.</p>"
                : Piece.empty("Empty", "<p>Nothing was in this directory then.</p>")
            return "\(told)\(choices)\(more)"
        }
        let isSelectable = visit.mayRead || mayRestore(visit)
        let order = Order(place)
        let rows = order.sorted(listing.items + gone).map { row($0, place, visit, isSelectable: isSelectable) }
        let head: HTML = isSelectable ? "<th class=\"pick\"><span class=\"unseen\">Select</span></th>" : .nothing
        let part: HTML? =
            (listing.isMore || after) && !order.isByName
            ? "<p class=\"hint\">Sorted are the \(listing.items.count) names of this page.</p>" : nil
        let table: HTML = """
            \(part)<table class="listing"><thead><tr>\(head)\(order.heads(place))<th scope="col">Owner</th></tr></thead>
            <tbody>\(rows)</tbody></table>
            """
        guard isSelectable else { return "\(choices)\(table)\(more)" }
        let hint: HTML =
            gone.isEmpty
            ? "Nothing selected: all of this directory."
            : "Nothing selected: all that is in this directory. What was deleted is fetched by the basket, as it was last."
        return """
            \(choices)<form method="post" action="/machines/\(place.machine.id.hex)/archive">\(Piece.formToken(visit))\(place.fields)\
            \(place.keptFields(on: "files"))
            \(table)<div class="basket">\(fetching(place.machine, visit, withGone: !gone.isEmpty))
            <button formaction="/machines/\(place.machine.id.hex)/basket">Put it into the basket</button>
            <span class="hint">\(hint)</span></div></form>\(more)
            """
    }

    /// Above the paths that are protected: which of them this point has, and where the others are.
    private static func parts(_ place: RestorePlace, _ visit: Visit) -> HTML? {
        let others = place.files.otherParts(than: place.point, below: place.path)
        if others.isEmpty { return nil }
        func names(_ paths: [TreePath]) -> String {
            paths.prefix(5).map(\.displayText).joined(separator: ", ")
                + (paths.count > 5 ? " and \(Units.count(paths.count - 5, "other"))" : "")
        }
        let links: [HTML] = others.map { point, paths in
            let time = TimeText.local(point.effective, in: visit.zone)
            return "<li>\(names(paths)): newest at <a href=\"\(place.address(point: point))\">\(time)</a></li>"
        }
        let own = names(place.files.parts(at: place.point, below: place.path))
        return """
            <div class="note"><p>This point protects \(own.isEmpty ? "none of the following" : own) here. Other points of this machine protect \
            other directories:</p><ul>\(links)</ul></div>
            """
    }

    /// What can be done with names that were selected: buttons of a form whose own address makes archives.
    ///
    /// - Parameter withGone: what was deleted can be selected, too; such a selection goes into the basket first.
    static func fetching(_ machine: ManagedMachine, _ visit: Visit, withGone: Bool = false) -> HTML {
        let download: HTML? =
            visit.mayRead
            ? """
            <button class="main" name="format" value="zip">Download as ZIP</button>
            <button name="format" value="tar.zst" title="With owners, exact times, attributes, holes and hard links">as tar.zst</button>
            """ : nil
        let restore: HTML? =
            mayRestore(visit)
            ? """
            <button\(visit.mayRead ? .nothing : " class=\"main\"" as HTML) \
            formaction="/machines/\(machine.id.hex)/\(withGone ? "basket" : "restore")"\
            \(withGone ? " name=\"do\" value=\"restore\"" : .nothing as HTML)>\
            Restore to the machine …</button>
            """ : nil
        return "\(download)\(restore)"
    }

    private static func mayRestore(_ visit: Visit) -> Bool { Desk.restoreRights.contains(where: visit.may) }

    static func row(_ row: Row, _ place: RestorePlace, _ visit: Visit, isSelectable: Bool, showsPath: Bool = false)
        -> HTML
    {
        let isDirectory = row.entry.kind == .directory
        let name = TreePath.display(row.path.name)
        let isLater = row.lastPoint.map { $0.effective > place.point.effective } ?? false
        // The page of a deleted file tells exactly until when it was there, and gives it back.
        let isOfOther = row.lastPoint != nil && !place.files.isProtected(row.path, at: place.point)
        let point = isDirectory || isLater || isOfOther ? row.lastPoint ?? place.point : place.point
        let address = place.address(isDirectory ? "files" : "file", path: row.path, point: point)
        let value = row.lastPoint.map { GonePick(point: $0.id, path: row.path).text } ?? Hex.encode(row.path.bytes)
        let box: HTML = """
            <td class="pick"><input type="checkbox" name="\(row.lastPoint == nil ? "pick" : GonePick.name)" value="\(value)" \
            aria-label="Select \(name)\(row.lastPoint == nil ? "" : ", deleted")"></td>
            """
        let gone: HTML? = row.lastPoint.map { last in
            let time = TimeText.localMinute(last.effective, in: visit.zone)
            if !place.files.isProtected(row.path, at: place.point) {
                return "<small>not protected by this point; there at \(time)</small>"
            }
            return isLater
                ? "<small>not there at this time; there at \(time)</small>"
                : "<small>\(showsPath ? "not there at this time" : "deleted"); there until \(time) at least</small>"
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
}

/// In which order names are shown, within a page: `name`, `size` or `changed`, with `-` in front the other way round.
private struct Order {
    private static let columns = [("name", "Name", false), ("size", "Size", true), ("changed", "Changed", true)]

    private var column = "name"
    private var isDescending = false

    var isByName: Bool { column == "name" }

    init(_ place: RestorePlace) {
        let text = place.kept.first { $0.name == "sort" }?.value ?? ""
        let name = text.hasPrefix("-") ? String(text.dropFirst()) : text
        guard Self.columns.contains(where: { $0.0 == name }) else { return }
        (column, isDescending) = (name, text.hasPrefix("-"))
    }

    func sorted(_ items: [MachineFiles.Item]) -> [MachineFiles.Item] {
        func isBefore(_ a: MachineFiles.Item, _ b: MachineFiles.Item) -> Bool {
            let isNameBefore = a.path.bytes.lexicographicallyPrecedes(b.path.bytes)
            switch column {
            case "size":
                // What has no size comes last, whichever way.
                let (hasSize, otherHas) = (a.entry.kind == .regular, b.entry.kind == .regular)
                if hasSize != otherHas { return hasSize }
                if !hasSize || a.entry.size == b.entry.size { return isNameBefore }
                return (a.entry.size < b.entry.size) != isDescending
            case "changed":
                let (time, other) = (a.entry.mtime.timestamp, b.entry.mtime.timestamp)
                return time == other ? isNameBefore : (time < other) != isDescending
            default: return isNameBefore != isDescending
            }
        }
        // What was deleted stays behind the rest when names are as they come.
        return isByName && !isDescending ? items : items.sorted(by: isBefore)
    }

    /// The heads of the columns, each a link that sorts by it.
    func heads(_ place: RestorePlace) -> [HTML] {
        Self.columns.map { name, title, isLargestFirst in
            let isHere = name == column
            let next = isHere ? !isDescending : isLargestFirst
            let value = name == "name" && !next ? nil : (next ? "-" : "") + name
            let sorted: HTML = isHere ? " aria-sort=\"\(isDescending ? "descending" : "ascending")\"" : .nothing
            let arrow: HTML? =
                isHere ? "<span class=\"arrow\" aria-hidden=\"true\">\(isDescending ? "▾" : "▴")</span>" : nil
            return """
                <th scope="col"\(name == "size" ? " class=\"number\"" : .nothing as HTML)\(sorted)>\
                <a href="\(place.address("files", [("sort", value)]))">\(title)\(arrow)</a></th>
                """
        }
    }
}

/// Something deleted that was selected, with the point that it is taken from.
struct GonePick {
    static let name = "gone"

    var point: PointID
    var path: TreePath

    var text: String { "\(point.hex)-\(Hex.encode(path.bytes))" }

    init(point: PointID, path: TreePath) { (self.point, self.path) = (point, path) }

    init?(_ text: [UInt8]) {
        let parts = String(decoding: text, as: UTF8.self).split(separator: "-", maxSplits: 1).map(String.init)
        guard parts.count == 2, let point = PointID(hex: parts[0]),
            let path = Hex.decode(parts[1]).flatMap({ TreePath(normalizing: $0) })
        else { return nil }
        self.init(point: point, path: path)
    }
}
