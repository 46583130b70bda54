import Model
import Platform

/// Looks for files that programs have mapped to memory for writing: their stores raise no event until the last mapping
/// goes. What is found is compared by its times.
///
/// Programs in other mount namespaces see their files under other paths; these are found only where the paths agree.
struct MappedWriters {
    private struct Seen {
        var status: FileStatus
        var round: UInt64
    }

    private let scope: WatchScope
    private var seen: [TreePath: Seen] = [:]
    private var left: [[UInt8]] = []
    private var round: UInt64 = 0

    init(scope: WatchScope) { self.scope = scope }

    /// A round is under way.
    var isRunning: Bool { !left.isEmpty }

    /// Begins a round over all programs that run.
    mutating func begin() {
        round += 1
        left = MappedWriters.processes()
    }

    /// Looks at some more programs; at the end of the round forgets files that nobody maps any more.
    mutating func step(_ facts: inout FactBatch, programs: Int = 64) {
        for _ in 0..<min(programs, left.count) {
            guard let process = left.popLast() else { break }
            let path = Array("/proc/".utf8) + process + Array("/maps".utf8)
            // Programs end meanwhile, and those of others need a privilege.
            guard let maps = try? FileDescriptor.open(path, .readOnly).readAll(limit: 64 << 20) else { continue }
            for file in MappedWriters.sharedWritable(maps) { look(at: file, &facts) }
        }
        if left.isEmpty { seen = seen.filter { $0.value.round == round } }
    }

    /// The numbers of the programs that run.
    private static func processes() -> [[UInt8]] {
        guard let directory = try? FileDescriptor.open(Array("/proc".utf8), [.readOnly, .directory]) else { return [] }
        var reader = DirectoryReader()
        reader.start(directory.raw)
        var found: [[UInt8]] = []
        while let name = try? reader.next() {
            if let first = name.bytes.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) {
                found.append(Array(name.bytes))
            }
        }
        return found
    }

    private mutating func look(at bytes: [UInt8], _ facts: inout FactBatch) {
        guard let path = TreePath(normalizing: bytes), let parent = path.parent, seen[path]?.round != round,
            scope.standing(of: parent) != .outside, scope.concerns(path),
            let status = try? FileSystem.status(bytes)
        else { return }
        // The first time too: it may have been written before this round and after the last scan.
        if seen[path].map({ status.isUnchanged(since: $0.status) }) != true { facts.add(.file(path, .open)) }
        seen[path] = Seen(status: status, round: round)
    }

    /// The files that lines of a `maps` file name which are shared and writable. Each once, in order.
    static func sharedWritable(_ maps: [UInt8]) -> [[UInt8]] {
        // 7f0c8000-7f0c9000 rw-s 00000000 08:02 1234      /some/where
        var found: [[UInt8]] = []
        maps.withUnsafeBytes { bytes in
            var start = 0
            while start < bytes.count {
                let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count
                let line = UnsafeRawBufferPointer(rebasing: bytes[start..<end])
                start = end + 1
                guard let space = line.firstIndex(of: UInt8(ascii: " ")), space + 5 < line.count,
                    line[space + 2] == UInt8(ascii: "w"), line[space + 4] == UInt8(ascii: "s"),
                    let slash = line.firstIndex(of: UInt8(ascii: "/"))
                else { continue }
                var path = MountTable.unescape(Array(line[slash...])[...])
                let removed = Array(" (deleted)".utf8)
                if path.count > removed.count, path.suffix(removed.count).elementsEqual(removed) {
                    path.removeLast(removed.count)
                }
                if found.last != path { found.append(path) }
            }
        }
        return found
    }
}
