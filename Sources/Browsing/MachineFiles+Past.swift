package import Model
package import Vault

extension MachineFiles {
    /// A point that has some paths, and the series whose points may have them later.
    private struct Row: Hashable {
        var point: PointSummary
        var series: Set<UInt64>
    }

    /// For paths that are not in a point any more, each with an earlier point that had it: the last point that had it. Points between
    /// the two are looked at by halves; when that would be more than `limit` points, what is known so far is answered.
    package func lastPoints(
        of items: [(path: TreePath, point: PointSummary)], before point: PointSummary, limit: Int = 48
    ) -> [TreePath: PointSummary] {
        var found: [TreePath: PointSummary] = [:]
        var left = limit
        let series = Set(points.map(\.series))
        let rows = Dictionary(grouping: items) { item in
            Row(point: item.point, series: Set(series.filter { coverage.covers(item.path, $0) }))
        }
        for (wanted, group) in rows {
            let known = wanted.point
            let row = points.filter {
                ($0.series == known.series || wanted.series.contains($0.series)) && $0.effective >= known.effective
                    && $0.effective < point.effective
            }
            guard let first = row.firstIndex(of: known) else { continue }
            var waiting = [(paths: group.map(\.path), there: first, gone: row.count)]
            while let next = waiting.popLast() {
                guard next.gone - next.there > 1, left > 0 else {
                    for path in next.paths { found[path] = row[next.there] }
                    continue
                }
                left -= 1
                let middle = (next.there + next.gone) / 2
                // What cannot be read any more gives nothing back either.
                let isThere =
                    (try? view(row[middle].id) { view in try next.paths.map { try view.entry(of: $0) != nil } })
                    ?? next.paths.map { _ in false }
                let (later, earlier) = (
                    zip(next.paths, isThere).filter(\.1).map(\.0), zip(next.paths, isThere).filter { !$0.1 }.map(\.0)
                )
                if !later.isEmpty { waiting.append((later, middle, next.gone)) }
                if !earlier.isEmpty { waiting.append((earlier, next.there, middle)) }
            }
        }
        return found
    }
}
