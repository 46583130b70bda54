package import Model
package import Vault

/// Paths of a point as an archive.
package struct PointArchive {
    package enum Format: String, Sendable, CaseIterable {
        /// For every system; names, contents and modes.
        case zip
        /// With everything that is known of a file: owners, times to the nanosecond, attributes, lists, holes, hard links, devices.
        case tarZstd = "tar.zst"

        package var mediaType: String {
            switch self {
            case .zip: "application/zip"
            case .tarZstd: "application/zstd"
            }
        }
    }

    let reader: PointReader
    let base: TreePath
    private let zone: TimeZoneRules
    /// What is in it at all; the rest is passed over without a word.
    let shows: (TreePath, Entry) throws -> Bool

    /// - Parameters:
    ///   - base: names in the archive begin below it.
    ///   - zone: times in a ZIP archive are those of a clock on a wall.
    ///   - shows: what may be in it; asked for each name.
    package init(
        reader: PointReader, base: TreePath, zone: TimeZoneRules,
        shows: @escaping (TreePath, Entry) throws -> Bool = { _, _ in true }
    ) {
        self.reader = reader
        self.base = base
        self.zone = zone
        self.shows = shows
    }

    /// The name of the text that says what is not in the archive.
    static let report = "NOT IN THIS ARCHIVE.txt"
    /// When a file of this name is in the archive itself.
    private static let otherReport = "NOT IN THIS ARCHIVE (by Holdfast).txt"

    /// Whether a path has the report's name in the archive.
    func isNamedLikeReport(_ path: TreePath) -> Bool { path == base.appending(Array(Self.report.utf8)[...]) }
    static let reportLimit = 1 << 20
    /// Directories that are remembered.
    private static let mostKnown = 100_000

    /// Writes paths and all below them. What cannot be in it (devices, files that could not be read when they were backed up)
    /// is listed in a text at its end.
    ///
    /// A file that turns out to be damaged ends the archive without its directory: no program takes it for whole.
    package func write(
        _ paths: [TreePath], as format: Format = .zip, _ output: @escaping ZipWriter.Output
    ) throws {
        switch format {
        case .zip: try writeZip(paths, output)
        case .tarZstd: try writeTar(paths, output)
        }
    }

    private static let belowOther = "lies below something that is no directory, which no file system has"

    /// The paths without those that are named twice, and without what lies below another one: it comes with that.
    static func outermost(_ paths: [TreePath]) -> [TreePath] {
        let named = Set(paths)
        var seen: Set<TreePath> = []
        return paths.filter { path in
            var above = path.parent
            while let directory = above {
                if named.contains(directory) { return false }
                above = directory.parent
            }
            return seen.insert(path).inserted
        }
    }

    /// A name for the report that none of the archive's own has.
    static func reportName(_ isTaken: Bool) -> [UInt8] { Array((isTaken ? otherReport : report).utf8) }

    /// Gives everything that is to be in the archive; what `body` says against it is collected and answered.
    func each(_ paths: [TreePath], _ body: (TreePath, Entry) throws -> String?) throws -> [UInt8] {
        var missing: [UInt8] = []
        for path in Self.outermost(paths) {
            let top = path
            var known: [TreePath: Bool] = [:]
            try reader.tree.scan(below: path) { item in
                let path = try item.path()
                guard base.contains(path), path != base else { return true }
                let entry = try item.entry()
                guard try shows(path, entry) else { return true }
                if path != top, let above = path.parent, try !isWay(to: above, from: top, &known) {
                    if missing.count < Self.reportLimit {
                        missing += Array("\(path.displayText): \(Self.belowOther)\n".utf8)
                    }
                    return true
                }
                if let reason = try body(path, entry), missing.count < Self.reportLimit {
                    missing += Array("\(path.displayText): \(reason)\n".utf8)
                }
                return true
            }
        }
        return missing
    }

    /// Whether a path and all above it, up to another one, are directories: below a link programs would write somewhere else. What is
    /// not in the point at all is one.
    private func isWay(to directory: TreePath, from top: TreePath, _ known: inout [TreePath: Bool]) throws -> Bool {
        var waiting: [TreePath] = []
        var isWay = true
        var at: TreePath? = directory
        while let path = at, top.contains(path) {
            if let found = known[path] {
                isWay = found
                break
            }
            waiting.append(path)
            at = path.parent
        }
        if known.count > Self.mostKnown { known = [:] }
        for path in waiting.reversed() {
            isWay = try isWay && reader.entry(of: path)?.kind ?? .directory == .directory
            known[path] = isWay
        }
        return isWay
    }

    private func writeZip(_ paths: [TreePath], _ output: @escaping ZipWriter.Output) throws {
        var writer = ZipWriter()
        var isTaken = false
        let missing = try each(paths) { path, entry in
            if isNamedLikeReport(path) { isTaken = true }
            return try add(path, entry, to: &writer, output)
        }
        if !missing.isEmpty {
            try writer.addFile(
                Self.reportName(isTaken), mode: 0o644, time: zone.civil(reader.locator.time),
                size: UInt64(missing.count),
                to: output
            ) { write in try missing.withUnsafeBytes { try write($0) } }
        }
        try writer.finish(to: output)
    }

    /// - Returns: why it is not in the archive.
    private func add(
        _ path: TreePath, _ entry: Entry, to writer: inout ZipWriter, _ output: @escaping ZipWriter.Output
    ) throws -> String? {
        let time = zone.civil(entry.mtime.timestamp)
        let start = base.isRoot ? 0 : base.bytes.count + 1
        let name = Self.name(path.bytes[start...])
        switch entry.kind {
        case .directory: try writer.addDirectory(name, mode: entry.mode & 0o777, time: time, to: output)
        case .symbolicLink: try writer.addLink(name, target: entry.target, time: time, to: output)
        case .regular:
            if entry.remarks.contains(.contentMissing) { return "could not be read when it was backed up" }
            try writer.addFile(name, mode: entry.mode & 0o777, time: time, size: entry.size, to: output) { write in
                try reader.read(entry) { bytes in
                    try write(bytes)
                    return true
                }
            }
        default: return "not a file: a device, a pipe or a socket"
        }
        return nil
    }

    /// Names in an archive are UTF-8; what is none, and what would lead somewhere else on other systems, is written as it is
    /// shown.
    private static func name(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        let isPlain =
            String(validating: bytes, as: UTF8.self) != nil && !bytes.contains(UInt8(ascii: "\\"))
            && !bytes.contains { $0 < 0x20 }
        return isPlain
            ? Array(bytes)
            : Array(TreePath.display(bytes).utf8.map { $0 == UInt8(ascii: "\\") ? UInt8(ascii: "_") : $0 })
    }
}
