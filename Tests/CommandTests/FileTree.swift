import Glibc

/// What stands below a directory, byte for byte: to compare what was protected with what came back.
struct FileTree: Equatable {
    struct Node: Equatable {
        /// Kind and permission bits, as of `stat`.
        var mode: UInt32
        var uid: UInt32
        var gid: UInt32
        var seconds: Int
        var nanoseconds: Int
        /// The content of a file, the target of a symbolic link.
        var content: [UInt8]
    }

    /// Set for a tree that is not there, or whose reading failed.
    struct Failure: Error { var text: String }

    /// By path below the directory; the directory itself is the empty path.
    var nodes: [[UInt8]: Node] = [:]

    init(_ path: String) throws { try add(Array(path.utf8), []) }

    private mutating func add(_ place: [UInt8], _ path: [UInt8]) throws {
        let name = place.map { CChar(bitPattern: $0) } + [0]
        var status = stat()
        guard lstat(name, &status) == 0 else { throw Failure(text: "\(FileTree.text(place)): errno \(errno)") }
        var node = Node(
            mode: status.st_mode, uid: status.st_uid, gid: status.st_gid, seconds: status.st_mtim.tv_sec,
            nanoseconds: status.st_mtim.tv_nsec, content: [])
        switch status.st_mode & S_IFMT {
        case S_IFREG: node.content = try FileTree.content(name, size: Int(status.st_size))
        case S_IFLNK:
            var target = [UInt8](repeating: 0, count: 4096)
            let count = readlink(name, &target, target.count)
            node.content = Array(target[..<max(0, count)])
        default: break
        }
        nodes[path] = node
        guard status.st_mode & S_IFMT == S_IFDIR else { return }
        guard let directory = opendir(name) else { throw Failure(text: "\(FileTree.text(place)): errno \(errno)") }
        defer { closedir(directory) }
        while let next = readdir(directory) {
            let child = withUnsafeBytes(of: next.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if child == [0x2E] || child == [0x2E, 0x2E] { continue }
            try add(place + [0x2F] + child, path.isEmpty ? child : path + [0x2F] + child)
        }
    }

    private static func content(_ name: [CChar], size: Int) throws -> [UInt8] {
        let file = open(name, O_RDONLY | O_NOFOLLOW)
        guard file >= 0 else { throw Failure(text: "errno \(errno)") }
        defer { close(file) }
        return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            while count < size {
                let got = read(file, buffer.baseAddress! + count, size - count)
                if got <= 0 { break }
                count += got
            }
        }
    }

    /// The paths that differ, with what differs; empty when the trees are the same.
    func differences(from other: FileTree, limit: Int = 5) -> [String] {
        var found: [String] = []
        for path in Set(nodes.keys).union(other.nodes.keys).sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            let (mine, theirs) = (nodes[path], other.nodes[path])
            if mine == theirs { continue }
            let name = FileTree.text(path)
            switch (mine, theirs) {
            case (let mine?, let theirs?):
                var what: [String] = []
                if mine.content != theirs.content {
                    what.append("content (\(theirs.content.count) -> \(mine.content.count) bytes)")
                }
                if mine.mode != theirs.mode {
                    what.append("mode \(String(theirs.mode, radix: 8)) -> \(String(mine.mode, radix: 8))")
                }
                if (mine.uid, mine.gid) != (theirs.uid, theirs.gid) { what.append("owner") }
                if (mine.seconds, mine.nanoseconds) != (theirs.seconds, theirs.nanoseconds) { what.append("mtime") }
                found.append("\(name): \(what.joined(separator: ", "))")
            case (nil, _): found.append("\(name): missing")
            case (_, nil): found.append("\(name): should not be there")
            }
            if found.count == limit { break }
        }
        return found
    }

    private static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
}
