import Browsing
import Catalog
import Client
import Model
import Server
import Vault

/// When something was there that is not in the point that is looked at.
struct LastSeen {
    /// The last point that had it; the first one when it came later.
    var point: PointSummary
    var kind: EntryKind
    /// It came after the time that is looked at.
    var isLater = false

    /// - Parameter history: its versions, the newest first.
    init?(_ history: [MachineFiles.Version], _ place: RestorePlace) {
        let time = place.point.effective
        guard let index = history.firstIndex(where: { $0.point.effective <= time }) else {
            guard let first = history.last(where: { $0.entry != nil }), let entry = first.entry else { return nil }
            self.init(point: first.point, kind: entry.kind, isLater: true)
            return
        }
        guard let last = history[index...].first(where: { $0.entry != nil }), let entry = last.entry else { return nil }
        self.init(point: last.point, kind: entry.kind)
        guard history[index].entry == nil else { return }
        // It was there up to the last point before the one that has it no more.
        let until = place.points.last {
            $0.series == last.point.series && $0.effective < history[index].point.effective
                && $0.effective > last.point.effective
        }
        guard let until, let found = try? place.files.view(until.id, { try $0.entry(of: place.path)?.kind }) else {
            return
        }
        if found == entry.kind { point = until }
    }

    private init(point: PointSummary, kind: EntryKind, isLater: Bool = false) {
        (self.point, self.kind, self.isLater) = (point, kind, isLater)
    }

    /// What stands on the page instead of what is not there.
    static func show(_ seen: LastSeen?, _ place: RestorePlace, _ visit: Visit, _ further: HTML = .nothing) -> HTML {
        guard let seen else {
            return Piece.empty(
                "It was not there then",
                "<p>\(place.path.displayText) is not in this point. Choose another time above, or a directory above it.</p>"
            )
        }
        let time = TimeText.local(seen.point.effective, in: visit.zone)
        let page = seen.kind == .directory ? "files" : "file"
        let said: HTML = seen.isLater ? "It came later, and was there at" : "It was there until"
        return """
            <section class="last-seen"><h2>It was not there then</h2><p>\(place.path.displayText) is not in this point. \
            \(said) <a href="\(place.address(page, point: seen.point))"><strong>\(time)</strong></a> \
            (\(Piece.time(seen.point.effective, now: visit.now))).</p>\(further)</section>
            """
    }
}
