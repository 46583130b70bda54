import Foundation
import Testing

@testable import Platform

@Suite struct DirectoryPathTests {
    let directory: TemporaryDirectory
    init() throws { directory = try TemporaryDirectory() }

    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    @Test("a path of 40,000 bytes is made, opened and written beneath its directory")
    func longPath() throws {
        let name = String(repeating: "n", count: 199)
        let path = bytes(Array(repeating: name, count: 200).joined(separator: "/"))
        #expect(path.count > 39_000)
        try DirectoryPath.makeDirectories(path, beneath: directory.raw).close()
        let file = try DirectoryPath.createFile(path + bytes("/file"), beneath: directory.raw)
        try file.writeAll([42])
        try file.close()
        for links in [DirectoryPath.Links.followed, .refused] {
            let opened = try DirectoryPath.openFile(path + bytes("/file"), from: directory.raw, links: links, .readOnly)
            #expect(try opened.readAll(limit: 10) == [42])
            let deep = try DirectoryPath.open(path, from: directory.raw, links: links)
            #expect(try FileSystem.status(at: deep.raw, "file").size == 1)
        }
        let absolute = try DirectoryPath.open(bytes(directory.path + "/") + path)
        #expect(try FileSystem.status(at: absolute.raw, "file").size == 1)
    }

    @Test("pieces of a path stay within the limit and lose nothing")
    func pieces() {
        func pieces(_ path: String, _ limit: Int) -> [String] {
            var iterator = PieceIterator(bytes(path), limit: limit)
            var found: [String] = []
            while let piece = iterator.next() { found.append(String(decoding: piece, as: UTF8.self)) }
            return found
        }
        #expect(pieces("a/b/c", 1) == ["a", "b", "c"])
        #expect(pieces("/a/b/c", 1) == ["/a", "b", "c"])
        #expect(pieces("a/b/c", 3) == ["a/b", "c"])
        #expect(pieces("/a/b/c", 3) == ["/a", "b/c"])
        #expect(pieces("//aaaa//b/", 3) == ["/aaaa", "b"])
        #expect(pieces("", 3) == [])
        #expect(pieces("/", 3) == [])
        #expect(pieces("a/b/c/", 100) == ["a/b/c"])
    }

    @Test("nothing leads out of the directory: links, dots and absolute paths are refused", arguments: [true, false])
    func beneath(byWalking: Bool) throws {
        try FileSystem.makeDirectory(at: directory.raw, "real")
        try FileSystem.makeDirectory(at: directory.raw, "real/sub")
        try directory.write("real/sub/f", [5])
        try FileSystem.makeSymbolicLink(to: "real", at: directory.raw, "link")
        try FileSystem.makeSymbolicLink(to: "/etc", at: directory.raw, "out")
        try FileSystem.makeSymbolicLink(to: "f", at: directory.raw, "real/sub/flink")
        func open(_ path: String, _ flags: OpenFlags) throws(Errno) {
            try DirectoryPath.openBeneath(bytes(path), directory.raw, flags, 0o600, byWalking: byWalking).close()
        }
        try open("real/sub/f", .readOnly)
        try open("real/sub", [.readOnly, .directory])
        try open("./real//sub/", [.readOnly, .directory])
        try open("", [.readOnly, .directory])
        for path in ["link/sub", "link", "out/passwd", "out", "real/sub/flink"] {
            #expect(throws: Errno.symbolicLink, "\(path)") { try open(path, .readOnly) }
            #expect(throws: Errno.symbolicLink, "\(path)") { try open(path, .pathOnly) }
            #expect(throws: Errno.symbolicLink, "\(path)") { try open(path, [.readOnly, .directory]) }
            #expect(throws: Errno.symbolicLink, "\(path)") { try open(path, [.readOnly, .followLink]) }
        }
        for path in ["..", "real/../real", "/etc", "/"] {
            #expect(throws: Errno.crossDevice, "\(path)") { try open(path, [.readOnly, .directory]) }
        }
        #expect(throws: Errno.notDirectory) { try open("real/sub/f/x", .readOnly) }
        #expect(throws: Errno.noEntry) { try open("real/none/x", .readOnly) }
        try open("real/new", [.readWrite, .create, .exclusive])
        #expect(throws: Errno.exists) { try open("real/new", [.readWrite, .create, .exclusive]) }
        #expect(throws: Errno.exists) { try open("real/sub/flink", [.readWrite, .create, .exclusive]) }
    }

    @Test("making files and directories never goes through a link")
    func creating() throws {
        try FileSystem.makeSymbolicLink(to: "/tmp", at: directory.raw, "out")
        #expect(throws: Errno.symbolicLink) {
            try DirectoryPath.makeDirectories(bytes("out/holdfast-escape"), beneath: directory.raw).close()
        }
        #expect(throws: Errno.symbolicLink) {
            try DirectoryPath.createFile(bytes("out/holdfast-escape"), beneath: directory.raw).close()
        }
        #expect(throws: Errno.crossDevice) {
            try DirectoryPath.makeDirectories(bytes("a/../../b"), beneath: directory.raw).close()
        }
        try DirectoryPath.makeDirectories(bytes("a/b/c"), beneath: directory.raw).close()
        try DirectoryPath.makeDirectories(bytes("a/b/c"), beneath: directory.raw).close()
        try directory.write("a/file")
        #expect(throws: Errno.notDirectory) {
            try DirectoryPath.makeDirectories(bytes("a/file/c"), beneath: directory.raw).close()
        }
    }

    @Test("the parent and the last name of a path")
    func parents() throws {
        #expect(DirectoryPath.split(bytes("/a/b/")) == (bytes("/a/"), bytes("b")))
        #expect(DirectoryPath.split(bytes("b")) == ([], bytes("b")))
        #expect(DirectoryPath.split(bytes("/")) == ([], []))
        try directory.write("f", [1, 2])
        let size = try DirectoryPath.withParent(of: bytes(directory.path + "/f")) { (parent, name) throws(Errno) in
            try FileSystem.status(at: parent, name).size
        }
        #expect(size == 2)
        for path in ["", "/", "..", "a/.", "/a/../.."] {
            #expect(throws: Errno.invalidArgument) {
                try DirectoryPath.withParent(of: bytes(path)) { (_, _) throws(Errno) -> Void in }
            }
        }
    }
}
