package import Model
package import Vault

/// The paths of a machine whose contents have added most to its vault over some days.
package struct MachineGrowth: Sendable {
    package struct Place: Equatable, Sendable {
        package var path: TreePath
        package var bytes: UInt64
        package var files: Int
        /// What is left of a directory whose largest parts have lines of their own.
        package var isRest = false
    }

    /// Changes that are looked at: somebody waits for it.
    package static let mostChanges = 200_000
    /// Lines of it.
    static let mostPlaces = 25

    /// The points that were compared, oldest first; with fewer than two nothing can be said.
    package private(set) var points: [PointSummary] = []
    /// Those that have most; together they are everything, and nothing is counted twice.
    package private(set) var places: [Place] = []
    /// Bytes of all that is new, before compression and before equal contents are kept once.
    package private(set) var total: UInt64 = 0
    /// There were more changes, or more rows of points, than are looked at.
    package private(set) var isPartial = false

    /// Rows of points, each of other paths, that are looked at.
    private static let mostSeries = 6

    /// - Parameter points: of the machine, oldest first.
    package init(_ points: [PointSummary], since start: Timestamp, shelf: PointShelf) throws {
        guard let last = points.last, last.effective > start else { return }
        let coverage = Coverage(points, of: last.machine, shelf: shelf)
        var rows: [[PointSummary]] = []
        var seen: Set<UInt64> = []
        for newest in points.reversed() where newest.effective > start && seen.insert(newest.series).inserted {
            guard seen.count <= Self.mostSeries else {
                isPartial = true
                break
            }
            rows.append(GrowthTally.sample(points.filter { $0.series == newest.series }, since: start))
        }
        // One point of a row is compared with nothing.
        let compared = rows.filter { $0.count > 1 }
        self.points = (compared.isEmpty ? Array(rows.prefix(1)) : compared).flatMap { $0 }.sorted {
            $0.effective < $1.effective
        }
        let series = compared.compactMap(\.last?.series)
        var tally = GrowthTally(limit: Self.mostChanges)
        for (older, newer) in compared.flatMap({ zip($0, $0.dropFirst()) }) {
            guard !tally.isFull else { break }
            let before = try shelf.fresh(older.id)
            defer { before.close() }
            let after = try shelf.fresh(newer.id)
            defer { after.close() }
            try TreeDiff.diff(before.tree, after.tree) { change in
                // What two rows have is counted in one.
                let isOther =
                    try series.count > 1 && coverage.owner(of: change.path(), among: series) != newer.series
                if !isOther { try tally.add(change) }
                return !tally.isFull
            }
        }
        places = tally.top(Self.mostPlaces)
        total = tally.total
        isPartial = isPartial || tally.isFull
    }
}

/// Sums what changed by directories.
package struct GrowthTally {
    private var sums: [TreePath: (bytes: UInt64, files: Int)] = [:]
    private(set) var total: UInt64 = 0
    private var count = 0
    private let limit: Int
    /// Directories are told apart down to so many names.
    private static let depth = 4

    init(limit: Int) { self.limit = limit }

    var isFull: Bool { count >= limit }

    mutating func add(_ change: TreeDiff.Change) throws {
        count += 1
        guard let after = try change.after?.entry(), after.kind == .regular else { return }
        if let before = try change.before?.entry(), before.content == after.content, before.size == after.size {
            return
        }
        add(try change.path(), after.size)
    }

    mutating func add(_ path: TreePath, _ bytes: UInt64) {
        total &+= bytes
        var place = TreePath.root
        for name in path.components.prefix(Self.depth) {
            place = place.appending(name)
            sums[place, default: (0, 0)].bytes &+= bytes
            sums[place, default: (0, 0)].files += 1
        }
    }

    package typealias Place = MachineGrowth.Place

    /// The places that have most; together they are everything, and nothing is counted twice. A directory makes way for what lies
    /// in it as long as that says more.
    func top(_ most: Int) -> [Place] {
        var children: [TreePath: [Place]] = [:]
        for (path, sum) in sums {
            children[path.parent ?? .root, default: []].append(Place(path: path, bytes: sum.bytes, files: sum.files))
        }
        var places = (children[.root] ?? []).filter { $0.bytes > 0 }
        places.sort { $0.bytes > $1.bytes }
        while true {
            let parts = places.enumerated().compactMap { index, place -> (index: Int, parts: [Place])? in
                guard !place.isRest else { return nil }
                let parts = (children[place.path] ?? []).filter { $0.bytes * 20 >= place.bytes && $0.bytes > 0 }
                guard let largest = parts.map(\.bytes).max(), largest * 4 >= place.bytes,
                    places.count + parts.count <= most
                else { return nil }
                return (index, parts)
            }.max { places[$0.index].bytes < places[$1.index].bytes }
            guard let parts else { break }
            let whole = places.remove(at: parts.index)
            places += parts.parts
            let rest = whole.bytes - parts.parts.reduce(0) { $0 + $1.bytes }
            if rest > 0 {
                let files = whole.files - parts.parts.reduce(0) { $0 + $1.files }
                places.append(Place(path: whole.path, bytes: rest, files: files, isRest: true))
            }
        }
        return Array(
            places.sorted { a, b in
                a.bytes != b.bytes ? a.bytes > b.bytes : a.path.bytes.lexicographicallyPrecedes(b.path.bytes)
            }.prefix(most))
    }

    /// A line of a policy that leaves out this path and no other.
    package static func pattern(_ path: String) -> String {
        var result = "/"
        for character in path {
            if "*?[]\\!#".contains(character) { result.append("\\") }
            result.append(character)
        }
        return result
    }

    /// Points to compare one after the other: the last before the time begins, those in it, spread, and the last.
    static func sample(_ points: [PointSummary], since start: Timestamp, most: Int = 8) -> [PointSummary] {
        let inside = points.filter { $0.effective >= start }
        guard let last = inside.last else { return [] }
        var chosen: [PointSummary] = []
        if let before = points.last(where: { $0.effective < start }) { chosen.append(before) }
        let step = max((inside.count + most - 1) / most, 1)
        for index in stride(from: 0, to: inside.count, by: step) { chosen.append(inside[index]) }
        if chosen.last?.id != last.id { chosen.append(last) }
        return chosen
    }
}
