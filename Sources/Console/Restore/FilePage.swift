import Catalog
import Client
import Model
import Server
import Vault

/// One file: how it was then, what it looked like, and all its versions.
enum FilePage {
    static let all: [Page] = [
        .get("/machines/{machine}/file", "A file at a point, and its versions.", .right(.seeNames), show),
        .get("/machines/{machine}/preview", "A picture as it was at a point.", .right(.seeContents), picture),
        .get(
            "/machines/{machine}/difference", "What changed in a text between two points.", .right(.seeContents),
            difference),
    ]

    private static let textLimit: UInt64 = 64 << 10
    private static let pictureLimit: UInt64 = 20 << 20
    /// Versions that are looked for, the newest; a page with more is no help.
    private static let versionLimit = 200

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        guard let place = try RestorePlace(visit) else { return .redirect("/machines") }
        let mayRead = visit.may(.seeContents)
        let opened = try visit.site.shelf.point(place.point.id)
        let (entry, head) = try opened.use { reader -> (Entry?, [UInt8]) in
            guard let entry = try reader.entry(of: place.path) else { return (nil, []) }
            guard mayRead, entry.kind == .regular else { return (entry, []) }
            return (entry, try beginning(of: entry, reader))
        }
        if entry?.kind == .directory { return .redirect(place.address()) }
        let content: HTML
        if let entry {
            content = "\(facts(entry, place, visit))\(mayRead ? preview(entry, head, place) : .nothing)"
        } else {
            content = Piece.empty("It was not there then", "<p>\(place.path.displayText) is not in this point.</p>")
        }
        let history = try versions(visit, place)
        return Layout.page(
            FilesPage.title(place), visit, wide: true,
            "\(TimeLine.show(place, visit, page: "file"))\(place.crumbs)\(content)\(table(history, place, visit))")
    }

    private static func facts(_ entry: Entry, _ place: RestorePlace, _ visit: Visit) -> HTML {
        let link: HTML? =
            entry.kind == .regular && visit.may(.seeContents)
            ? "<p><a class=\"button main\" href=\"\(place.address("download"))\" download>Download this version</a></p>"
            : nil
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

    private static func beginning(of entry: Entry, _ reader: PointReader) throws -> [UInt8] {
        var head: [UInt8] = []
        try reader.read(entry, length: min(entry.size, textLimit)) { bytes in
            head.append(contentsOf: bytes)
            return head.count < textLimit
        }
        return head
    }

    private static func preview(_ entry: Entry, _ head: [UInt8], _ place: RestorePlace) -> HTML {
        if entry.kind != .regular || head.isEmpty { return .nothing }
        if Picture.type(of: head) != nil, entry.size <= pictureLimit {
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
        guard let place = try RestorePlace(visit) else { throw Self.gone }
        let bytes = try visit.site.shelf.point(place.point.id).use { reader -> [UInt8] in
            guard let entry = try reader.entry(of: place.path), entry.kind == .regular, entry.size <= pictureLimit
            else { throw Self.gone }
            var bytes: [UInt8] = []
            try reader.read(entry) { part in
                bytes.append(contentsOf: part)
                return true
            }
            return bytes
        }
        // Only what browsers decode as pictures; never SVG, which can hold script.
        guard let type = Picture.type(of: bytes) else { throw Self.gone }
        return ServerAnswer(contentType: type, body: bytes)
    }

    private static let gone = HoldfastError(.notFound, "There is no such picture in this point.")

    // MARK: Versions

    private struct Version: Sendable {
        var point: PointSummary
        var change: VersionHistory.Change
        var entry: Entry?
    }

    private static func versions(_ visit: Visit, _ place: RestorePlace) throws -> [Version] {
        let keys = try visit.site.shelf.keys
        let vault = try visit.core.vault
        let history = VersionHistory(
            path: place.path, service: vault, keys: keys, machines: try vault.machineRecords(of: place.machine.id))
        var found: [Version] = []
        for point in place.points {
            // A point that cannot be read is one version fewer, not none.
            guard let version = try? history.next(point) else { continue }
            found.append(Version(point: point, change: version.change, entry: version.entry))
        }
        return found.suffix(versionLimit).reversed()
    }

    private static func table(_ versions: [Version], _ place: RestorePlace, _ visit: Visit) -> HTML {
        if versions.isEmpty { return .nothing }
        let mayRead = visit.may(.seeContents)
        // The version that holds at the point that is looked at.
        let current = versions.first { $0.point.effective <= place.point.effective }?.point.id
        let rows: [HTML] = versions.enumerated().map { index, version in
            let isFile = version.entry?.kind == .regular
            let before = versions.dropFirst(index + 1).first { $0.entry?.kind == .regular }
            let download: HTML? =
                isFile && mayRead
                ? "<a href=\"\(place.address("download", point: version.point))\" download>Download</a>" : nil
            let difference: HTML? =
                isFile && mayRead && version.change == .content
                ? before.map { before in
                    let address = place.address(
                        "difference", point: version.point, [("from", before.point.id.hex)])
                    return " <a href=\"\(address)\">What changed</a>"
                } : nil
            let mark: HTML = version.point.id == current ? " aria-current=\"true\"" : .nothing
            return """
                <tr\(mark)><th scope="row"><a href="\(place.address("file", point: version.point))">\
                \(TimeText.local(version.point.effective, in: visit.zone))</a>\
                <small>\(Piece.time(version.point.effective, now: visit.now))</small></th>
                <td>\(word(version.change))</td>
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
            let from = place.points.first(where: { $0.id.hex == visit.query.text("from") })
        else { throw HoldfastError(.notFound, "One of the two points is not kept any more.") }
        func text(_ point: PointSummary) throws -> String? {
            try visit.site.shelf.point(point.id).use { reader in
                guard let entry = try reader.entry(of: place.path), entry.kind == .regular, entry.size <= 256 << 10
                else { return nil }
                var bytes: [UInt8] = []
                try reader.read(entry) { part in
                    bytes.append(contentsOf: part)
                    return true
                }
                return TextPreview.text(bytes, isWhole: true)
            }
        }
        let body: HTML
        if let old = try text(from), let new = try text(place.point) {
            body = TextDifference.show(old, new)
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
