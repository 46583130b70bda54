package import Model
package import Vault

extension MachineFiles {
    /// Points that are looked at for what was deleted before.
    private static let samples = 16
    /// Names of earlier points that are looked at for one page, and at once.
    private static let mostLooks = 60_000
    private static let looksAtOnce = 1_000

    /// The names of a directory at a point, with those that earlier points have there and this one does not: a page of them goes from
    /// the name `after` to the last of the names that are there, or to an earlier one when very much was deleted before that.
    ///
    /// Of the earlier points some are looked at, spread over their times, the newest first.
    package func listingWithDeleted(
        of directory: TreePath, at point: PointSummary, after: [UInt8]? = nil, limit: Int
    ) throws -> Listing {
        var listing = try listing(of: directory, at: point, after: after, limit: limit)
        if let entry = listing.entry, entry.kind != .directory { return listing }
        // Of a directory that is closed to them nobody can tell what is gone.
        guard try view(point.id, { try $0.couldMiss(in: directory) }) else { return listing }
        let earlier = points(of: directory, before: point)
        let chosen = Self.spread(earlier, Self.samples)
        listing.isSampled = chosen.count < earlier.count
        var look = DeletedLook(
            directory: directory, point: point, after: after, end: listing.next, known: Set(listing.items.map(\.path)))
        for (index, sample) in chosen.enumerated() {
            let share = max((Self.mostLooks - look.count) / (chosen.count - index), Self.looksAtOnce)
            try lookForDeleted(sample, &look, names: limit, looks: share)
        }
        var gone = look.found.values.sorted { $0.path.bytes.lexicographicallyPrecedes($1.path.bytes) }
        gone.removeAll { look.isBehind($0.path) }
        if gone.count > limit {
            gone.removeLast(gone.count - limit)
            look.end = gone.last.map { Array($0.path.name) }
        }
        listing.items.removeAll { look.isBehind($0.path) }
        listing.next = look.end
        let last = lastPoints(
            of: gone.compactMap { item in item.lastPoint.map { (item.path, $0) } }, before: point, limit: Self.samples)
        for index in gone.indices { gone[index].lastPoint = last[gone[index].path] ?? gone[index].lastPoint }
        listing.deleted = gone
        return listing
    }

    /// What a page shows of what was deleted, as far as it was looked for.
    private struct DeletedLook {
        let directory: TreePath
        let point: PointSummary
        let after: [UInt8]?
        /// The last name of the page; `nil`: to the end of the directory.
        var end: [UInt8]?
        /// Names that are there.
        let known: Set<TreePath>
        var found: [TreePath: Item] = [:]
        /// Names that were looked at.
        var count = 0

        func isBehind(_ path: TreePath) -> Bool { end.map { $0.lexicographicallyPrecedes(path.name) } ?? false }
    }

    /// Looks through an earlier point's names of a page, to its end or until there are more than `names` that are gone.
    private func lookForDeleted(
        _ earlier: PointSummary, _ look: inout DeletedLook, names: Int, looks: Int
    ) throws {
        var after = look.after
        var (gone, looked) = (0, 0)
        while true {
            let (directory, from) = (look.directory, after)
            // What cannot be read any more says nothing of what was deleted.
            guard let part = try? view(earlier.id, { try $0.list(directory, after: from, limit: Self.looksAtOnce) }),
                let last = part.entries.last
            else { return }
            let inside = part.entries.filter { !look.isBehind($0.path) }
            let candidates = inside.filter { !look.known.contains($0.path) }
            // What is there and hidden is not gone.
            let there = try view(look.point.id) { view in
                try candidates.map { try view.reader.entry(of: $0.path) != nil }
            }
            for (candidate, isThere) in zip(candidates, there) where !isThere {
                gone += 1
                if look.found[candidate.path] != nil { continue }
                look.found[candidate.path] = Item(path: candidate.path, entry: candidate.entry, lastPoint: earlier)
            }
            looked += part.entries.count
            look.count += part.entries.count
            after = Array(last.path.name)
            guard part.isMore, inside.count == part.entries.count else { return }
            if gone > names || looked >= looks {
                look.end = after
                return
            }
        }
    }

    /// Some of a row of points, spread over their times, the newest first.
    static func spread(_ points: [PointSummary], _ most: Int) -> [PointSummary] {
        guard let first = points.first, let last = points.last else { return [] }
        var chosen: [PointSummary] = []
        let width = max(last.effective.since(first.effective) / Int64(most), 1)
        for point in points.reversed() where chosen.count < most {
            guard let newest = chosen.last else {
                chosen.append(point)
                continue
            }
            if newest.effective.since(point.effective) >= width || points.count <= most { chosen.append(point) }
        }
        return chosen
    }
}
