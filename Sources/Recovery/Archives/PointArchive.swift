package import Model
package import Vault

/// Paths of a point as a ZIP archive.
package struct PointArchive {
    private let reader: PointReader
    private let base: TreePath
    private let zone: TimeZoneRules

    /// - Parameters:
    ///   - base: names in the archive begin below it.
    ///   - zone: times in a ZIP archive are those of a clock on a wall.
    package init(reader: PointReader, base: TreePath, zone: TimeZoneRules) {
        self.reader = reader
        self.base = base
        self.zone = zone
    }

    /// The name of the text that says what is not in the archive.
    private static let report = "NOT IN THIS ARCHIVE.txt"
    private static let reportLimit = 1 << 20

    /// Writes paths and all below them. What cannot be in it (devices, files that could not be read when they were backed up)
    /// is listed in a text at its end.
    ///
    /// A file that turns out to be damaged ends the archive without its directory: no program takes it for whole.
    package func write(_ paths: [TreePath], _ output: @escaping ZipWriter.Output) throws {
        var writer = ZipWriter()
        var missing: [UInt8] = []
        for path in paths {
            // What lies below another one that was asked for comes with it.
            if paths.contains(where: { $0 != path && $0.contains(path) }) { continue }
            try reader.tree.scan(below: path) { item in
                let path = try item.path()
                guard base.contains(path), path != base else { return true }
                let entry = try item.entry()
                if let reason = try add(path, entry, to: &writer, output), missing.count < Self.reportLimit {
                    missing += Array("\(path.displayText): \(reason)\n".utf8)
                }
                return true
            }
        }
        if !missing.isEmpty {
            try writer.addFile(
                Array(Self.report.utf8), mode: 0o644, time: zone.civil(reader.locator.time),
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
