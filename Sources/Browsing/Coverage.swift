package import Model
package import Vault

/// Which points of a machine protect what. One machine may have several rows of points ("series"), each of other paths: what a point
/// does not protect is not in it, and that says nothing of whether it was there.
package struct Coverage: Sendable {
    /// The protected paths of each series; empty when there is one series only.
    private var paths: [UInt64: [TreePath]] = [:]

    /// Records that are tried for one series.
    private static let tries = 3

    /// - Parameter points: of the machine, oldest first.
    init(_ points: [PointSummary], of machine: MachineID, shelf: PointShelf) {
        var newest: [UInt64: [PointSummary]] = [:]
        for point in points.reversed() where newest[point.series, default: []].count < Self.tries {
            newest[point.series, default: []].append(point)
        }
        guard newest.count > 1 else { return }
        var records: PointRecords?
        for (series, points) in newest {
            paths[series] = shelf.protectedPaths(of: series, on: machine)
            if paths[series] != nil { continue }
            if records == nil { records = try? shelf.knownRecords(of: machine) }
            for point in points {
                guard let outline = try? records?.outline(of: point.id) else { continue }
                let found = outline.protectedPaths.compactMap { TreePath(normalizing: $0) }
                paths[series] = found
                shelf.note(found, of: series, on: machine)
                break
            }
        }
    }

    /// Whether all points are of the same paths.
    var isOfOneSeries: Bool { paths.isEmpty }

    /// What a series protects; `nil` when it is the only one, or when nobody can tell.
    package func paths(of series: UInt64) -> [TreePath]? { paths[series] }

    /// How deep the protected path lies that a path is in; `nil` when it is in none.
    func depth(of path: TreePath, in series: UInt64) -> Int? {
        guard let paths = paths[series] else { return 0 }
        return paths.filter { $0.contains(path) }.map(\.components.count).max()
    }

    /// Whether a path lies in what a series protects, so that what its points do not have of it was not there.
    package func covers(_ path: TreePath, _ series: UInt64) -> Bool { depth(of: path, in: series) != nil }

    /// Whether points of a series have something of a path at all: it lies in what they protect, or above.
    package func touches(_ path: TreePath, _ series: UInt64) -> Bool {
        covers(path, series) || paths[series]?.contains { path.contains($0) } == true
    }

    /// Of several series the one in which a path is counted, where it must not be counted twice.
    func owner(of path: TreePath, among all: [UInt64]) -> UInt64? {
        all.max { (depth(of: path, in: $0) ?? -1, $0) < (depth(of: path, in: $1) ?? -1, $1) }
    }
}

extension MachineFiles {
    /// The points that say something of a path, oldest first: those that protect it. Of what lies above all protected paths: those
    /// that have something of it. All of them when none has.
    package func points(of path: TreePath) -> [PointSummary] {
        // Asked for once for each version that a page shows: of thousands of points none is looked at for nothing.
        if coverage.isOfOneSeries { return points }
        let covering = points.filter { coverage.covers(path, $0.series) }
        if !covering.isEmpty { return covering }
        let touching = points.filter { coverage.touches(path, $0.series) }
        return touching.isEmpty ? points : touching
    }

    /// The same, with a point that has something of the path and is to be one of them.
    package func points(of path: TreePath, with point: PointSummary) -> [PointSummary] {
        let all = points(of: path)
        if all.contains(where: { $0.series == point.series }) { return all }
        return points.filter { coverage.touches(path, $0.series) }
    }

    /// Points before another one that are to be compared with it where a path is concerned, oldest first: none for a path that this
    /// point says nothing of.
    func points(of path: TreePath, before point: PointSummary) -> [PointSummary] {
        let earlier = points.filter { $0.effective < point.effective }
        if coverage.covers(path, point.series) { return earlier.filter { coverage.covers(path, $0.series) } }
        guard coverage.touches(path, point.series) else { return [] }
        return earlier.filter { $0.series == point.series }
    }

    /// The newest point before another one that says something of a path.
    package func point(before other: PointSummary, of path: TreePath) -> PointSummary? {
        points(of: path).last { $0.effective < other.effective }
    }

    /// Whether a point says something of a path.
    package func isProtected(_ path: TreePath, at point: PointSummary) -> Bool { coverage.touches(path, point.series) }

    /// What a point protects at or below a directory, when there are points of other paths there as well; else empty.
    package func parts(at point: PointSummary, below directory: TreePath) -> [TreePath] {
        if coverage.covers(directory, point.series) { return [] }
        return visible(coverage.paths(of: point.series) ?? [], directory)
    }

    /// The newest points that protect something at or below a directory that another one does not, each with what.
    package func otherParts(
        than point: PointSummary, below directory: TreePath
    ) -> [(point: PointSummary, paths: [TreePath])] {
        if coverage.covers(directory, point.series) { return [] }
        var seen: Set<UInt64> = [point.series]
        var found: [(point: PointSummary, paths: [TreePath])] = []
        for other in points.reversed() where seen.insert(other.series).inserted {
            let all = coverage.paths(of: other.series) ?? []
            let paths = visible(all, directory).filter { !coverage.covers($0, point.series) }
            if !paths.isEmpty { found.append((other, paths)) }
        }
        return found
    }

    private func visible(_ paths: [TreePath], _ directory: TreePath) -> [TreePath] {
        paths.filter { directory.contains($0) && sight?.covers($0) != false }
    }
}
