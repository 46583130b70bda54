import Model
import Vault

/// Paths of a point as a compressed tar archive.
extension PointArchive {
    /// Hard links that are remembered. Names beyond are written as files of their own: nothing is lost but the room.
    private static let mostLinks = 500_000
    /// A file with more parts than this is written with its holes.
    private static let mostRanges = 65_536
    /// Holes that are worth a map, in bytes.
    private static let leastHoles: UInt64 = 64 << 10

    func writeTar(_ paths: [TreePath], _ output: @escaping TarWriter.Output) throws {
        let stream = try ZstdStream(output)
        let plain: TarWriter.Output = { try stream.write($0) }
        var writer = TarWriter()
        var links: [LinkGroup: [UInt8]] = [:]
        var isTaken = false
        let missing = try eachInDepth(paths) { path, entry in
            if isNamedLikeReport(path) { isTaken = true }
            let name = Array(path.bytes[(base.isRoot ? 0 : base.bytes.count + 1)...])
            if entry.kind == .socket { return "a socket: archives have no room for it" }
            if entry.remarks.contains(.contentMissing) { return "could not be read when it was backed up" }
            let member = TarWriter.Member(name: name, entry, attributes: try reader.attributes(of: entry))
            if let group = entry.linkGroup, entry.kind != .directory {
                if let first = links[group] {
                    try writer.addHardLink(member, to: first, plain)
                    return nil
                }
                if links.count < Self.mostLinks { links[group] = name }
            }
            guard entry.kind == .regular else {
                try writer.add(member, to: plain)
                return nil
            }
            try add(entry, member, to: &writer, plain)
            return nil
        }
        if !missing.isEmpty {
            let entry = Entry(
                kind: .regular, mode: 0o644, size: UInt64(missing.count),
                mtime: FileTime(seconds: reader.locator.time.seconds, nanoseconds: 0))
            try writer.addFile(
                TarWriter.Member(name: Self.reportName(isTaken), entry, attributes: []), size: UInt64(missing.count),
                to: plain
            ) { write in try missing.withUnsafeBytes { try write($0) } }
        }
        try writer.finish(to: plain)
        try stream.finish()
    }

    /// Like `each`, with all of a directory right behind it: programs that unpack set the time of a directory when they leave it.
    private func eachInDepth(_ paths: [TreePath], _ body: (TreePath, Entry) throws -> String?) throws -> [UInt8] {
        var missing: [UInt8] = []
        func give(_ path: TreePath, _ entry: Entry) throws {
            guard base.contains(path), path != base else { return }
            if let reason = try body(path, entry), missing.count < Self.reportLimit {
                missing += Array("\(path.displayText): \(reason)\n".utf8)
            }
        }
        for path in Self.outermost(paths) {
            guard let entry = try reader.entry(of: path), try shows(path, entry) else { continue }
            guard entry.kind == .directory else {
                try give(path, entry)
                continue
            }
            var waiting = [path]
            while let directory = waiting.popLast() {
                guard let entry = try reader.entry(of: directory) else { continue }
                try give(directory, entry)
                var inner: [TreePath] = []
                try reader.tree.list(directory) { item in
                    let path = directory.appending(item.name)
                    let entry = try item.entry()
                    guard try shows(path, entry) else { return true }
                    if entry.kind == .directory { inner.append(path) } else { try give(path, entry) }
                    return true
                }
                waiting += inner.reversed()
            }
        }
        return missing
    }

    private func add(
        _ entry: Entry, _ member: TarWriter.Member, to writer: inout TarWriter, _ output: @escaping TarWriter.Output
    ) throws {
        if let ranges = try ranges(of: entry) {
            try writer.addSparseFile(member, size: entry.size, ranges: ranges, to: output) { write in
                for range in ranges {
                    try reader.read(entry, from: range.offset, length: range.length) { bytes in
                        try write(bytes)
                        return true
                    }
                }
            }
        } else {
            try writer.addFile(member, size: entry.size, to: output) { write in
                try reader.read(entry) { bytes in
                    try write(bytes)
                    return true
                }
            }
        }
    }

    /// What of a file is no hole; `nil` when leaving the holes out is not worth it.
    private func ranges(of entry: Entry) throws -> [TarWriter.DataRange]? {
        var ranges: [TarWriter.DataRange] = []
        var data: UInt64 = 0
        try reader.tree.extents(of: entry) { extent, position in
            guard extent.key != nil, position < entry.size else { return position < entry.size }
            let length = min(extent.length, entry.size - position)
            data += length
            if let last = ranges.last, last.offset + last.length == position {
                ranges[ranges.count - 1].length += length
            } else {
                ranges.append(TarWriter.DataRange(offset: position, length: length))
            }
            return ranges.count <= Self.mostRanges
        }
        guard ranges.count <= Self.mostRanges, entry.size - min(data, entry.size) >= Self.leastHoles else { return nil }
        return ranges
    }
}
