import ArgumentParser
import Capture
import Model
import Vault

/// `holdfast find`
struct Find: Command {
    static let configuration = CommandConfiguration(
        commandName: "find",
        abstract: "Find files by name, in one point or in all.",
        usage: "holdfast find <pattern> [<options>]",
        discussion: """
            Patterns are those of .gitignore: `*.odt` a name anywhere, `/etc/*.conf` a path, `**` any number of directories, \
            `photos/` directories only; one with a slash further in begins at the working directory. With --all-points every version is listed once, with the time it was first and last \
            seen; only the differences between points are read.

            Examples:
              holdfast find '*.odt'
              holdfast find '/home/ann/**/thesis*' --all-points
              holdfast find fstab --point @yesterday
            """
    )

    @Argument(help: ArgumentHelp("What to look for.", valueName: "pattern"))
    var pattern: PathArgument
    @Option(help: ArgumentHelp("Look in this point.", valueName: "point"))
    var point = "latest"
    @Flag(help: "Look in every point of the machine.")
    var allPoints = false
    @Flag(name: .shortAndLong, help: "Show kind, mode, owner, size and time.")
    var long = false
    @OptionGroup var machine: MachineOptions
    @OptionGroup var location: VaultOptions
    @OptionGroup var passphrase: PassphraseOptions
    @OptionGroup var trust: TrustOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        // As for a path: what has a slash and begins with none is meant from here on.
        let here = TreePath(normalizing: try System.workingDirectory()) ?? .root
        let parsed = ExclusionPattern.commandLine(pattern.bytes, roots: [here.bytes])
        if let problem = parsed.compactMap(\.problem).first {
            throw HoldfastError(.usage, "The pattern \"\(pattern)\" makes no sense: \(problem).")
        }
        let matcher = PathMatcher(rules: ExclusionRules(parsed))
        let session = try VaultSession(console, location, global)
        if allPoints { return try findVersions(matcher, session, console) }

        let chosen = try session.point(point, machine: machine.machine, global)
        let reader = try session.open(chosen, try session.opener(passphrase), trust)
        defer { reader.close() }
        let view = EntryView(console: console, isLong: long)
        var found = 0
        try reader.tree.scan { item in
            try Stop.check()
            let path = try item.path()
            guard matcher.matches(path, try item.head().kind) else { return true }
            found += 1
            try view.show(path, try item.entry(), as: path.displayText)
            return true
        }
        if found == 0 {
            console.note("Nothing in point \(chosen.shortID) matches. --all-points looks in the older ones, too.")
            if parsed.contains(where: { !$0.base.isEmpty }) {
                console.note(
                    "The pattern was looked for below \(here.displayText); begin it with a slash for other places.")
            }
        }
        return .done
    }

    // MARK: All points

    /// A version of a path, and the points that have it.
    private struct Version {
        var path: TreePath
        var entry: Entry
        var since: PointSummary
        var until: PointSummary
    }

    /// Points that are compared with each other. A checkpoint holds what a restore replaced, and is of no series.
    private enum Group: Hashable {
        case series(UInt64)
        case checkpoint(PointID)

        init(_ point: PointSummary) {
            self = point.kind == .checkpoint ? .checkpoint(point.id) : .series(point.series)
        }
    }

    /// What makes a version the same in points of other paths. Where its content lies in the vault does not: small files
    /// lie in bundles with whatever was protected with them.
    private struct Look: Hashable {
        var path: TreePath
        var entry: Entry

        init(_ version: Version) {
            path = version.path
            entry = version.entry
            entry.content = .none
        }
    }

    private func findVersions(_ matcher: PathMatcher, _ session: VaultSession, _ console: Console) throws -> ExitStatus
    {
        let points = try session.vault.points(PointQuery(machine: try session.machine(machine.machine, global)))
            .filter { !$0.isPartial }
        let keys = try session.opener(passphrase)
        guard !points.isEmpty else { throw HoldfastError(.notFound, "There is no point yet.") }
        // A point of other paths between two of a series says nothing about what is in those: each series is looked at on
        // its own, and what looks the same in several is one version.
        var found: [Version] = []
        var places: [Look: (index: Int, group: Group)] = [:]
        var isAnyOpen = false
        let groups = Dictionary(grouping: points) { Group($0) }.values.sorted { $0[0].effective < $1[0].effective }
        for group in groups {
            let versions = try versions(in: group, matcher, session, keys, console)
            isAnyOpen = isAnyOpen || versions != nil
            for version in versions ?? [] {
                let look = Look(version)
                if let known = places[look], known.group != Group(group[0]) {
                    let index = known.index
                    if version.since.effective < found[index].since.effective { found[index].since = version.since }
                    if found[index].until.effective < version.until.effective { found[index].until = version.until }
                } else {
                    places[look] = (found.count, Group(group[0]))
                    found.append(version)
                }
            }
        }
        guard isAnyOpen else { throw HoldfastError(.notFound, "No point can be opened.") }
        found.sort { a, b in
            a.until.effective != b.until.effective
                ? a.until.effective < b.until.effective : a.path.key.lexicographicallyPrecedes(b.path.key)
        }
        for version in found { try show(version, console) }
        return .done
    }

    /// The versions in points of the same paths, in the order of time; `nil` when none of them can be opened.
    private func versions(
        in points: [PointSummary], _ matcher: PathMatcher, _ session: VaultSession, _ keys: any PointOpener,
        _ console: Console
    ) throws -> [Version]? {
        var ended: [Version] = []
        var current: [TreePath: Version] = [:]
        var previous: (reader: PointReader, point: PointSummary)?
        func begin(_ path: TreePath, _ item: TreeItem, _ point: PointSummary) throws {
            guard matcher.matches(path, try item.head().kind) else { return }
            current[path] = Version(path: path, entry: try item.entry(), since: point, until: point)
        }
        func end(_ version: Version, _ point: PointSummary) {
            var version = version
            version.until = point
            ended.append(version)
        }
        for point in points {
            try Stop.check()
            let reader: PointReader
            do {
                reader = try session.open(point, keys, trust)
            } catch {
                console.warn("Point \(point.shortID) cannot be opened: \(HoldfastError(wrapping: error).message)")
                continue
            }
            if let last = previous {
                try TreeDiff.diff(last.reader.tree, reader.tree) { change in
                    let path = try change.path()
                    if let version = current.removeValue(forKey: path) { end(version, last.point) }
                    if let item = change.after { try begin(path, item, point) }
                    return true
                }
                last.reader.close()
            } else {
                try reader.tree.scan { item in
                    try Stop.check()
                    try begin(try item.path(), item, point)
                    return true
                }
            }
            previous = (reader, point)
        }
        guard let last = previous else { return nil }
        last.reader.close()
        for version in current.values { end(version, last.point) }
        return ended
    }

    private func show(_ version: Version, _ console: Console) throws {
        let (path, last) = (version.path, version.until)
        if console.isJSON {
            var fields = EntryView.fields(path, version.entry)
            fields["first_point"] = .id(version.since.id)
            fields["first_time"] = .time(version.since.effective)
            fields["last_point"] = .id(last.id)
            fields["last_time"] = .time(last.effective)
            try console.emit("version", fields)
            return
        }
        let since = TimeText.localMinute(version.since.effective, in: console.zone)
        let until = TimeText.localMinute(last.effective, in: console.zone)
        try console.line("\(version.since.shortID) \(since) .. \(last.shortID) \(until)")
        try EntryView(console: console, isLong: true).show(path, version.entry, as: "  " + path.displayText)
    }
}

/// Whether a path is one that a pattern names.
private struct PathMatcher {
    let rules: ExclusionRules

    func matches(_ path: TreePath, _ kind: EntryKind) -> Bool {
        if path.isRoot { return false }
        let offset = path.bytes.count - path.name.count
        return path.bytes.withUnsafeBytes { rules.excludes($0, nameOffset: offset, isDirectory: kind == .directory) }
    }
}
