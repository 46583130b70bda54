import Model
import TestSupport
import Testing
import Vault

@testable import Browsing

@Suite("A machine with points of different paths")
struct CoverageTests {
    private static func path(_ text: String) throws -> TreePath { try #require(TreePath(text)) }

    /// `/srv/src` at the first, second and fourth point, `/srv/other` at the third and fifth.
    private static func history() throws -> (files: MachineFiles, history: MachineFilesTests.History) {
        let history = try MachineFilesTests.History()
        let (src, other) = (["/srv/src"], ["/srv/other"])
        try history.add([.file("/srv/src/home", "1"), .file("/srv/src/old")], protected: src)
        try history.add([.file("/srv/src/home", "1")], protected: src)
        try history.add([.file("/srv/other/f", "1"), .file("/srv/other/gone", "1")], protected: other)
        try history.add([.file("/srv/src/home", "1"), .file("/srv/src/new", "1")], protected: src)
        try history.add([.file("/srv/other/f", "1234")], protected: other)
        return (try history.files(), history)
    }

    @Test("the newest point of a path is the newest that protects it, and what is before it protects it, too")
    func newest() throws {
        let (files, history) = try Self.history()
        defer { withExtendedLifetime(history) {} }
        let all = files.points
        let (src, other) = (try Self.path("/srv/src/home"), try Self.path("/srv/other"))
        #expect(files.points(of: src) == [all[0], all[1], all[3]] && files.points(of: other) == [all[2], all[4]])
        #expect(try files.points(of: .root) == all && files.points(of: Self.path("/etc")) == all)
        #expect(files.point(before: all[3], of: src) == all[1] && files.point(before: all[4], of: other) == all[2])
        #expect(!files.isProtected(src, at: all[4]) && files.isProtected(src, at: all[3]))
        #expect(try files.isProtected(Self.path("/srv"), at: all[4]), "something of it")
        let parts = try files.otherParts(than: all[4], below: Self.path("/srv"))
        #expect(try parts.count == 1 && parts[0].point == all[3] && parts[0].paths == [Self.path("/srv/src")])
        #expect(try files.parts(at: all[4], below: .root) == [Self.path("/srv/other")])
        #expect(files.otherParts(than: all[4], below: other).isEmpty)
        let time = all[4].effective
        let found = try files.point(at: "latest", of: src, now: time, zone: .utc)
        #expect(found == all[3])
    }

    @Test("nothing is called deleted that a point does not protect")
    func deleted() throws {
        let (files, history) = try Self.history()
        defer { withExtendedLifetime(history) {} }
        func gone(_ path: String, _ index: Int) throws -> [String] {
            try files.listingWithDeleted(of: Self.path(path), at: files.points[index], limit: 10).deleted.map {
                $0.path.displayText
            }
        }
        #expect(try gone("/srv/src", 4).isEmpty && gone("/srv", 4).isEmpty && gone("/", 3).isEmpty)
        #expect(try gone("/srv/src", 3) == ["/srv/src/old"] && gone("/srv/other", 4) == ["/srv/other/gone"])
    }

    @Test("a search finds what other points protect, as they have it")
    func searching() throws {
        let (files, history) = try Self.history()
        defer { withExtendedLifetime(history) {} }
        let found = try files.search(["home"], below: .root, at: files.points[4], limit: 10)
        #expect(found.names.count == 1 && found.names[0].item?.lastPoint == files.points[3])
    }

    @Test("what fills the vault is counted for all paths, and once")
    func growth() throws {
        let (files, history) = try Self.history()
        let vault = history.vault
        let shelf = PointShelf(keys: history.fixture.keys) { vault }
        let growth = try MachineGrowth(files.points, since: Timestamp(seconds: 1), shelf: shelf)
        #expect(growth.total == 5 && Set(growth.points) == Set(files.points))
        // A backup of all of it by hand, and another: what both rows have is counted in the one that says more.
        let more = [TestName.file("/srv/other/f", "12345678"), .file("/etc/new", "12")]
        try history.add([], protected: ["/"])
        try history.add(more, protected: ["/"])
        try history.add([more[0]], protected: ["/srv/other"])
        let all = try history.files().points
        let later = PointShelf(keys: history.fixture.keys) { vault }
        #expect(try MachineGrowth(all, since: Timestamp(seconds: 1), shelf: later).total == 5 + 2 + 8)
    }
}
