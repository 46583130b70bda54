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
        // It was there up to the last point before the one that has it no more; or it is there still, in points that protect it.
        let removed = history[index].entry == nil ? history[index].point.effective : nil
        let until = place.files.points(of: place.path).last {
            $0.effective <= time && removed.map { [time = $0.effective] in time < $0 } != false
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
        let isTheirs = place.files.sight?.covers(place.path) != false
        if isTheirs, !place.files.isProtected(place.path, at: place.point) {
            return notProtected(place, visit, further)
        }
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

    /// The point that is looked at is of other paths: it says nothing of whether this one was there.
    private static func notProtected(_ place: RestorePlace, _ visit: Visit, _ further: HTML) -> HTML {
        let points = place.files.points(of: place.path).filter { place.files.isProtected(place.path, at: $0) }
        let other = points.last { $0.effective <= place.point.effective } ?? points.first
        let link: HTML =
            other.map { other in
                let time = TimeText.local(other.effective, in: visit.zone)
                return """
                    The newest point up to then that does is of <a href="\(place.address(point: other))"><strong>\(time)</strong></a> \
                    (\(Piece.time(other.effective, now: visit.now))).
                    """
            } ?? "No other point of this machine does."
        return """
            <section class="last-seen"><h2>This point does not protect it</h2><p>The point that you look at is of other directories of this \
            machine: it says nothing of whether \(place.path.displayText) was there. \(link)</p>\(further)</section>
            """
    }
}
