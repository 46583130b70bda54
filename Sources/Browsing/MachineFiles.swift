package import Model
package import Recovery
package import Vault

/// The files of one machine at all times, as somebody sees them: what the console's restore pages show and the API answers.
package struct MachineFiles: Sendable {
    package let machine: MachineID
    /// What is shown; `nil` for who sees everything.
    package let sight: Sight?
    /// Those that can be restored from, oldest first.
    package let points: [PointSummary]
    /// Which of them protect what.
    let coverage: Coverage
    private let shelf: PointShelf

    package init(_ machine: MachineID, shelf: PointShelf, sight: Sight?) throws {
        self.machine = machine
        self.shelf = shelf
        self.sight = sight
        points = try shelf.points(of: machine)
        coverage = Coverage(points, of: machine, shelf: shelf)
    }

    /// A name, and how it was.
    package struct Item: Sendable {
        package var path: TreePath
        package var entry: Entry
        /// The last point that had it, when it is not in the one that is looked at.
        package var lastPoint: PointSummary?

        package init(path: TreePath, entry: Entry, lastPoint: PointSummary? = nil) {
            self.path = path
            self.entry = entry
            self.lastPoint = lastPoint
        }
    }

    /// Points from which on looking for names and versions takes long the first time.
    private static let many = 300

    /// Somebody begins to look at these files.
    package func prepare() {
        if points.count >= Self.many { shelf.prepare(machine) }
    }

    // MARK: Which point

    package static let pointGone = HoldfastError(
        .notFound, "This point is not kept any more.",
        context: ["hint": "Retention thins older points; a neighbour holds nearly the same."])

    /// The point with this id (32 digits). Throws `notFound`.
    package func point(_ id: String) throws -> PointSummary {
        guard let id = PointID(hex: id), let point = points.first(where: { $0.id == id }) else {
            throw Self.pointGone
        }
        return point
    }

    /// The newest point that is not later than a time in words or in figures: `yesterday 18:00`, `2026-11-20 10:15`, `latest`.
    ///
    /// - Parameter path: what is looked for; a point that protects it comes before one that does not.
    package func point(
        at text: String, of path: TreePath = .root, now: Timestamp, zone: TimeZoneRules
    ) throws -> PointSummary {
        let isSelector = text.hasPrefix("@") || text == "latest"
        let selector = try PointSelector.parse(isSelector ? text : "@" + text, now: now, zone: zone)
        let candidate =
            try (try? selector.select(from: points(of: path).map(\.candidate)))
            ?? selector.select(from: points.map(\.candidate))
        guard let point = points.first(where: { $0.id == candidate.id }) else { throw Self.pointGone }
        return point
    }

    /// Looks at a point.
    package func view<R: Sendable>(_ point: PointID, _ body: (PointView) throws -> R) throws -> R {
        try shelf.point(point).use { try body(PointView($0, sight: sight)) }
    }

    // MARK: Directories

    package struct Listing: Sendable {
        /// Of the directory itself; `nil` when it was not there.
        package var entry: Entry?
        package var items: [Item] = []
        /// The name behind which the next page begins; `nil` when there is none.
        package var next: [UInt8]?
        /// What earlier points had there and this one has not, when that was asked for.
        package var deleted: [Item] = []
        /// There are so many earlier points that not all were looked at for what was deleted.
        package var isSampled = false

        package var isMore: Bool { next != nil }
    }

    /// The names of a directory at a point, at most `limit` after the name `after`; of anything else its entry only.
    package func listing(
        of directory: TreePath, at point: PointSummary, after: [UInt8]? = nil, limit: Int
    ) throws -> Listing {
        try view(point.id) { view in
            guard let entry = try view.entry(of: directory) else { return Listing() }
            guard entry.kind == .directory else { return Listing(entry: entry) }
            let found = try view.list(directory, after: after, limit: limit)
            return Listing(
                entry: entry, items: found.entries.map { Item(path: $0.path, entry: $0.entry) },
                next: found.isMore ? found.entries.last.map { Array($0.path.name) } : nil)
        }
    }

    // MARK: Versions

    package struct Version: Sendable {
        package var point: PointSummary
        package var change: VersionHistory.Change
        package var entry: Entry?
    }

    /// When a path changed, the newest first, at most `limit` of them.
    package func versions(of path: TreePath, limit: Int) throws -> [Version] {
        let history = VersionHistory(path: path, records: try shelf.records(of: machine))
        if let sight, !sight.covers(path) { return [] }
        var found: [Version] = []
        for point in points {
            // A point that cannot be read is one version fewer, not none.
            guard let version = try? history.next(point) else { continue }
            found.append(Version(point: point, change: version.change, entry: version.entry))
        }
        guard sight != nil else { return found.suffix(limit).reversed() }
        return try shown(found.suffix(limit), path).reversed()
    }

    /// Those that could be seen at their times. One after a version that could not looks as if the file had been made then.
    private func shown(_ versions: some Sequence<Version>, _ path: TreePath) throws -> [Version] {
        var shown: [Version] = []
        var isThere = false
        for var version in versions {
            guard version.entry != nil else {
                // Of a directory that was closed to them by then nobody could tell that it was gone.
                let above = path.parent ?? .root
                let isMissed = (try? view(version.point.id) { try $0.couldMiss(in: above) }) ?? false
                if isThere, isMissed { shown.append(version) }
                isThere = false
                continue
            }
            let entry = try? view(version.point.id) { try $0.entry(of: path) }
            guard let entry else {
                isThere = false
                continue
            }
            if !isThere { version.change = .added }
            version.entry = entry
            isThere = true
            shown.append(version)
        }
        return shown
    }

    // MARK: Names over all times

    package struct Found: Sendable {
        /// As they are at the point that is looked at, or at an earlier one; without an entry when it is not known how.
        package var names: [(path: TreePath, item: Item?)] = []
        package var isMore = false
        /// Not every name was looked at.
        package var isPartial = false
    }

    /// Names that are tried for somebody who does not see all.
    private static let mostTried = 1_000
    private static let samplesOfNames = 8

    /// Names below a directory that contain all words, at any time.
    package func search(
        _ words: [String], below directory: TreePath, at point: PointSummary, limit: Int
    ) throws -> Found {
        let index = shelf.names(of: machine)
        let records = try shelf.records(of: machine)
        let below = sight.map { sight in
            sight.places.map(\.path).filter { directory.contains($0) || $0.contains(directory) }.map {
                $0.contains(directory) ? directory : $0
            }
        }
        var result = Found()
        var paths: [TreePath] = []
        for place in below ?? [directory] {
            let found = index.search(
                words, below: place, limit: sight == nil ? limit : Self.mostTried, points: points, records: records)
            result.isPartial = result.isPartial || found.isPartial || (sight != nil && found.isMore)
            result.isMore = result.isMore || (sight == nil && found.isMore)
            for path in found.paths where !paths.contains(path) { paths.append(path) }
        }
        result.names = try view(point.id) { view in
            try paths.map { path in (path, try view.entryComeUpon(path).map { Item(path: path, entry: $0) }) }
        }
        try lookBack(&result, point, limit)
        return result
    }

    /// Looks for names that are not there at other times. Who does not see all is told of a name only when there is a time at which
    /// they could see it.
    private func lookBack(_ result: inout Found, _ point: PointSummary, _ limit: Int) throws {
        // Of each row of points the newest up to then, and the newest of all.
        var seen: Set<UInt64> = [point.series]
        let parts =
            points.reversed().filter { $0.effective <= point.effective && seen.insert($0.series).inserted }
            + points.reversed().filter { seen.insert($0.series).inserted }
        let row = points.filter { $0.effective < point.effective && $0.series == point.series }
        let others =
            parts.prefix(Self.samplesOfNames) + Self.spread(row, Self.samplesOfNames)
            + points.suffix(1).filter { $0.id != point.id }
        for other in others where result.names.contains(where: { $0.item == nil }) {
            let missing = result.names.filter { $0.item == nil }.map(\.path)
            guard
                let found = try? view(
                    other.id,
                    { view in
                        try missing.compactMap { path in
                            try view.entryComeUpon(path).map { Item(path: path, entry: $0, lastPoint: other) }
                        }
                    })
            else { continue }
            let known = Dictionary(found.map { ($0.path, $0) }) { first, _ in first }
            for index in result.names.indices where result.names[index].item == nil {
                result.names[index].item = known[result.names[index].path]
            }
        }
        if sight == nil { return }
        result.names.removeAll { $0.item == nil }
        result.isMore = result.names.count > limit
        result.names = Array(result.names.prefix(limit))
    }

    // MARK: Contents

    package static let fileMissing = HoldfastError(.notFound, "There is no such file in this point.")

    /// A file whose content can be read; to be closed by who asked.
    package struct OpenFile: @unchecked Sendable {
        // Sound: one thread at a time uses it, who asked or who streams.
        private let reader: PointReader
        package let entry: Entry

        fileprivate init(reader: PointReader, entry: Entry) {
            self.reader = reader
            self.entry = entry
        }

        package func read(_ write: (UnsafeRawBufferPointer) throws -> Void) throws {
            try reader.read(entry) { bytes in
                try write(bytes)
                return true
            }
        }

        package func close() { reader.close() }
    }

    /// Opens a file as it was. Throws `notFound` for what is no file, is not there, or is hidden: in the same words.
    package func open(_ path: TreePath, at point: PointSummary) throws -> OpenFile {
        let reader = try shelf.fresh(point.id)
        do {
            guard let entry = try PointView(reader, sight: sight).entry(of: path), entry.kind == .regular else {
                throw Self.fileMissing
            }
            if entry.remarks.contains(.contentMissing) {
                throw HoldfastError(
                    .notFound, "Of this version only name and mode are kept: the machine could not read the file then.")
            }
            return OpenFile(reader: reader, entry: entry)
        } catch {
            reader.close()
            throw error
        }
    }

    /// An entry and the first bytes of its content; `nil` when it is not there or hidden.
    package func beginning(
        of path: TreePath, at point: PointSummary, limit: UInt64
    ) throws -> (entry: Entry, bytes: [UInt8])? {
        try view(point.id) { view in
            guard let entry = try view.entry(of: path) else { return nil }
            guard entry.kind == .regular, !entry.remarks.contains(.contentMissing) else { return (entry, []) }
            var bytes: [UInt8] = []
            try view.reader.read(entry, length: min(entry.size, limit)) { part in
                bytes.append(contentsOf: part)
                return bytes.count < limit
            }
            return (entry, bytes)
        }
    }

    /// All of a small file.
    private func whole(_ path: TreePath, at point: PointSummary, atMost limit: UInt64) throws -> [UInt8]? {
        guard let found = try beginning(of: path, at: point, limit: limit), found.entry.kind == .regular,
            found.entry.size <= limit, UInt64(found.bytes.count) == found.entry.size
        else { return nil }
        return found.bytes
    }

    package static let pictureLimit: UInt64 = 20 << 20

    /// A picture with its media type; `nil` for anything else. Only what browsers decode as pictures; never SVG, which can hold
    /// script.
    package func picture(_ path: TreePath, at point: PointSummary) throws -> (type: String, bytes: [UInt8])? {
        guard let bytes = try whole(path, at: point, atMost: Self.pictureLimit), let type = Picture.type(of: bytes)
        else { return nil }
        return (type, bytes)
    }

    /// The two texts of a file at two points; `nil` when one is no text or longer than 256 KiB.
    package func texts(
        _ path: TreePath, from old: PointSummary, to new: PointSummary
    ) throws -> (old: String, new: String)? {
        func text(_ point: PointSummary) throws -> String? {
            try whole(path, at: point, atMost: 256 << 10).flatMap { TextPreview.text($0, isWhole: true) }
        }
        guard let a = try text(old), let b = try text(new) else { return nil }
        return (a, b)
    }

    // MARK: Archives

    /// Paths that may be asked for at once.
    package static let mostPaths = 5_000

    /// What makes an archive of paths of one directory, or of the whole directory when none are named; it runs for as long as the
    /// archive is read. Throws `notFound` when nothing of it is there. Of a directory that is not shown, paths that are can be named.
    package func archive(
        _ picked: [TreePath], of directory: TreePath, at point: PointSummary, as format: PointArchive.Format,
        zone: TimeZoneRules
    ) throws -> @Sendable (@escaping (UnsafeRawBufferPointer) throws -> Void) throws -> Void {
        guard picked.allSatisfy({ directory.contains($0) }) else {
            throw HoldfastError(.usage, "One of the selected paths is none of this directory.")
        }
        guard picked.count <= Self.mostPaths else {
            throw HoldfastError(
                .usage,
                "At most \(Self.mostPaths) names can be selected at once. Select the directory instead.")
        }
        let paths = picked.isEmpty ? [directory] : picked
        let isThere = try view(point.id) { view in try paths.contains { try view.entry(of: $0) != nil } }
        guard isThere else { throw Self.fileMissing }
        let base = picked.isEmpty ? directory.parent ?? .root : directory
        let box = ReaderBox(reader: try shelf.fresh(point.id))
        let sight = sight
        return { write in
            defer { box.reader.close() }
            let view = PointView(box.reader, sight: sight)
            let named = Set(paths)
            let archive = PointArchive(reader: box.reader, base: base, zone: zone) { path, entry in
                try named.contains(path) ? view.shows(path, entry) : view.comesUpon(path, entry)
            }
            try archive.write(paths, as: format, write)
        }
    }

    private struct ReaderBox: @unchecked Sendable {
        // Sound: the one thread that makes the archive uses it.
        let reader: PointReader
    }
}
