import Model
import Recovery
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Browsing

@Suite("What is in an archive, and what its report says")
struct ArchiveTests {
    private static func archive(
        _ names: [TestName], _ paths: [String], _ format: PointArchive.Format
    ) throws -> (names: [String], bytes: [UInt8]) {
        let history = try MachineFilesTests.History()
        try history.add(names)
        let files = try history.files()
        let make = try files.archive(
            try paths.map { try #require(TreePath($0)) }, of: .root, at: try #require(files.points.last), as: format,
            zone: .utc)
        let bytes = Mutex<[UInt8]>([])
        try make { part in bytes.withLock { $0 += Array(part) } }
        let all = bytes.withLock { $0 }
        return (Tool.names(in: all, format), all)
    }

    private static func link(_ path: String) -> TestName {
        var name = TestName.file(path)
        name.entry = Entry(kind: .symbolicLink, mode: 0o777, target: Array("/etc".utf8))
        return name
    }

    @Test("what a point has below a link is in no archive, and the report of a ZIP names it")
    func belowLinks() throws {
        let names = [
            Self.link("/d/link"), .file("/d/link/passwd", "x"), .directory("/d/link/in"), .file("/d/link/in/deep", "x"),
            .file("/d/plain", "file"), .file("/d/plain/below", "x"), .file("/d/zeta", "z"),
        ]
        let zip = try Self.archive(names, ["/d"], .zip)
        #expect(zip.names == ["NOT IN THIS ARCHIVE.txt", "d/", "d/link", "d/plain", "d/zeta"], "\(zip.names)")
        for path in ["/d/link/passwd", "/d/link/in/deep", "/d/plain/below"] {
            #expect(zip.bytes.firstRange(of: Array("\(path): lies below".utf8)) != nil, "\(path)")
        }
        #expect(try Self.archive(names, ["/d"], .tarZstd).names == ["d/", "d/link", "d/plain", "d/zeta"])
    }

    @Test("a path that is named twice comes once", arguments: PointArchive.Format.allCases)
    func twice(format: PointArchive.Format) throws {
        let names = [TestName.file("/a", "1"), .file("/d/f", "2")]
        let found = try Self.archive(names, ["/a", "/d/f", "/d", "/a", "/d"], format)
        #expect(found.names == ["a", "d/", "d/f"])
    }

    @Test("the report does not take the name of a file", arguments: PointArchive.Format.allCases)
    func report(format: PointArchive.Format) throws {
        var unread = TestName.file("/unread")
        unread.entry.remarks.insert(.contentMissing)
        let found = try Self.archive([.file("/NOT IN THIS ARCHIVE.txt", "mine"), unread], [], format)
        #expect(found.names == ["NOT IN THIS ARCHIVE (by Holdfast).txt", "NOT IN THIS ARCHIVE.txt"])
    }
}
