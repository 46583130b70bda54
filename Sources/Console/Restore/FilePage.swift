import Browsing
import Catalog
import Client
import Model
import Server
import Vault

/// One file: how it was then, what it looked like, and all its versions.
enum FilePage {
    static let all: [Page] = [
        .get(
            "/machines/{machine}/file", "A file at a point, and its versions.", .anyRight([.seeNames, .seeOwn]), show),
        .get(
            "/machines/{machine}/preview", "A picture as it was at a point.", .anyRight([.seeContents, .seeOwn]),
            picture),
        .get(
            "/machines/{machine}/difference", "What changed in a text between two points.",
            .anyRight([.seeContents, .seeOwn]),
            difference),
    ]

    private static let textLimit: UInt64 = 64 << 10
    /// Versions that are looked for, the newest; a page with more is no help.
    private static let versionLimit = 200

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        guard let place = try RestorePlace(visit) else { return .redirect("/machines") }
        let mayRead = visit.mayRead
        func beginning(_ place: RestorePlace) throws -> (entry: Entry, bytes: [UInt8])? {
            let found = try place.files.beginning(of: place.path, at: place.point, limit: mayRead ? textLimit : 0)
            // Written down before it is shown, like a download.
            if found?.bytes.isEmpty == false {
                try visit.desk.noteShown(place.path, at: place.point, of: place.machine)
            }
            return found
        }
        let found = try beginning(place)
        if found?.entry.kind == .directory { return .redirect(place.address()) }
        let history = try place.files.versions(of: place.path, limit: versionLimit)
        let content: HTML
        if let (entry, head) = found {
            content = "\(facts(entry, place, visit))\(mayRead ? preview(entry, head, place) : .nothing)"
        } else {
            // Who looks for what is gone gets it here.
            let seen = LastSeen(history, place)
            let then = seen.map { place.at($0.point) }
            let last = try then.flatMap { try beginning($0) }
            content = """
                \(LastSeen.show(seen, place, visit))\
                \(then.flatMap { then in last.map { facts($0.entry, then, visit, isPast: true) } })\
                \(then.flatMap { then in last.map { mayRead ? preview($0.entry, $0.bytes, then) : .nothing } })
                """
        }
        let current = history.first { $0.point.effective <= place.point.effective }
        return Layout.page(
            FilesPage.title(place), visit, wide: true,
            """
            \(TimeLine.show(place, visit, page: "file", changed: current))\
            \(try FolderTree.frame(
                place, directory: place.path.parent, "\(place.crumbs)\(content)\(table(history, place, visit))"))
            """
        )
    }

    /// - Parameter isPast: it is not the point that is looked at.
    private static func facts(_ entry: Entry, _ place: RestorePlace, _ visit: Visit, isPast: Bool = false) -> HTML {
        if entry.kind == .directory { return .nothing }
        let which: HTML = isPast ? "Download that version" : "Download this version"
        let download: HTML? =
            entry.kind == .regular && visit.mayRead
            ? "<a class=\"button main\" href=\"\(place.address("download"))\" download>\(which)</a>" : nil
        let back: HTML = isPast ? "Restore it to the machine …" : "Restore to the machine …"
        let restore: HTML? =
            Desk.restoreRights.contains(where: visit.may)
            ? "<a class=\"button\" href=\"\(place.address("restore"))\">\(back)</a>" : nil
        let link: HTML? =
            download == nil && restore == nil ? nil : "<div class=\"actions\">\(download)\(restore)</div>"
        let target: HTML? =
            entry.kind == .symbolicLink
            ? "<div><dt>Leads to</dt><dd>\(TreePath.display(entry.target))</dd></div>" : nil
        let path = place.path.displayText
        let command = "holdfast restore \(ShellWord.quote("\(path)@\(place.point.shortID)")) --to /tmp/restored"
        return """
            <section><dl class="facts"><div><dt>Size</dt><dd>\(Piece.size(entry.size))</dd></div>
            <div><dt>Changed</dt><dd>\(Piece.time(entry.mtime.timestamp, now: visit.now))</dd></div>
            <div><dt>Owner</dt><dd>\(String(decoding: entry.user, as: UTF8.self)) (\(entry.uid))</dd></div>
            <div><dt>Mode</dt><dd>\(String(entry.mode, radix: 8))</dd></div>\(target)</dl>\(link)
            <p class="hint">On the machine itself: <code>\(command)</code></p></section>
            """
    }

    // MARK: Preview

    private static func preview(_ entry: Entry, _ head: [UInt8], _ place: RestorePlace) -> HTML {
        if entry.kind != .regular || head.isEmpty { return .nothing }
        if Picture.type(of: head) != nil, entry.size <= MachineFiles.pictureLimit {
            return """
                <section><h2>Preview</h2><img class="preview" src="\(place.address("preview"))" alt="The picture as it was then"></section>
                """
        }
        guard let text = TextPreview.text(head, isWhole: UInt64(head.count) == entry.size) else { return .nothing }
        let rest: HTML? =
            UInt64(head.count) < entry.size ? "<p class=\"hint\">The first 64 KiB of it.</p>" : nil
        return "<section><h2>Preview</h2><pre class=\"preview\" tabindex=\"0\">\(text)</pre>\(rest)</section>"
    }

    @Sendable private static func picture(_ visit: Visit) throws -> ServerAnswer {
        guard let place = try RestorePlace(visit),
            let (type, bytes) = try place.files.picture(place.path, at: place.point)
        else { throw Self.gone }
        try visit.desk.noteShown(place.path, at: place.point, of: place.machine)
        return ServerAnswer(contentType: type, body: bytes)
    }

    private static let gone = HoldfastError(.notFound, "There is no such picture in this point.")

    // MARK: Versions

    private static func table(_ versions: [MachineFiles.Version], _ place: RestorePlace, _ visit: Visit) -> HTML {
        if versions.isEmpty { return .nothing }
        let mayRead = visit.mayRead
        // The version that holds at the point that is looked at.
        let current = versions.first { $0.point.effective <= place.point.effective }?.point.id
        let rows: [HTML] = versions.enumerated().map { index, version in
            let isFile = version.entry?.kind == .regular
            let earlier = versions.dropFirst(index + 1).first { $0.entry?.kind == .regular }
            let download: HTML? =
                isFile && mayRead
                ? "<a href=\"\(place.address("download", point: version.point))\" download>Download</a>" : nil
            let difference: HTML? =
                isFile && mayRead && version.change == .content
                ? earlier.map { earlier in
                    let address = place.address(
                        "difference", point: version.point, [("from", earlier.point.id.hex)])
                    return " <a href=\"\(address)\">What changed</a>"
                } : nil
            let mark: HTML = version.point.id == current ? " aria-current=\"true\"" : .nothing
            let time = TimeText.local(version.point.effective, in: visit.zone)
            let before: HTML? = place.files.point(before: version.point, of: place.path).map { point in
                """
                <small><a href="\(place.address("file", point: point))" title="The newest point before this change" \
                aria-label="The second before the change of \(time)">The second before</a></small>
                """
            }
            return """
                <tr\(mark)><th scope="row"><a href="\(place.address("file", point: version.point))">\
                \(time)</a>\
                <small>\(Piece.time(version.point.effective, now: visit.now))</small></th>
                <td>\(word(version.change))\(before)</td>
                <td class="number">\(version.entry.map { Piece.size($0.size) })</td>
                <td>\(download)\(difference)</td></tr>
                """
        }
        return """
            <h2>Versions</h2><table class="listing"><caption>\(versions.count) version\(versions.count == 1 ? "" : "s"), the newest first\
            </caption><thead><tr><th>Since</th><th>What changed</th><th class="number">Size</th><th>Get it</th></tr></thead>
            <tbody>\(rows)</tbody></table>
            """
    }

    private static func word(_ change: VersionHistory.Change) -> String {
        switch change {
        case .added: "created"
        case .removed: "deleted"
        case .content: "content"
        case .metadata: "owner, mode or time"
        case .type: "became something else"
        }
    }

    // MARK: Difference

    @Sendable private static func difference(_ visit: Visit) throws -> ServerAnswer {
        guard let place = try RestorePlace(visit),
            let from = place.files.points.first(where: { $0.id.hex == visit.query.text("from") })
        else { throw HoldfastError(.notFound, "One of the two points is not kept any more.") }
        let body: HTML
        if let (old, new) = try place.files.texts(place.path, from: from, to: place.point) {
            try visit.desk.noteShown(place.path, at: place.point, from: from, of: place.machine)
            body = DifferenceView.show(old, new)
        } else {
            body = Piece.empty(
                "No difference can be shown",
                "<p>One of the two is no text, or longer than 256 KiB. Download both instead.</p>")
        }
        let (earlier, later) = (
            TimeText.local(from.effective, in: visit.zone), TimeText.local(place.point.effective, in: visit.zone)
        )
        return Layout.page(
            FilesPage.title(place), visit, wide: true,
            "\(place.crumbs)<p>From <strong>\(earlier)</strong> to <strong>\(later)</strong></p>\(body)")
    }
}

/// A word of a shell's line.
enum ShellWord {
    static func quote(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { byte in
            (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                || "/._-@:+,".utf8.contains(byte)
        }
        return isPlain && !text.isEmpty ? text : "'" + text.replacing("'", with: "'\\''") + "'"
    }
}
