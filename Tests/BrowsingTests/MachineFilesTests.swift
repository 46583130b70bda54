import Catalog
import Model
import Recovery
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Browsing

@Suite("Files of a machine, as somebody sees them")
struct MachineFilesTests {
    /// A vault with points of one machine.
    final class History {
        let fixture: VaultFixture
        let vault: LocalVault
        let machine: TestMachine
        let writer: TestWriter
        private let time = Mutex(Timestamp(seconds: 1_700_001_000))

        init() throws {
            fixture = try VaultFixture()
            vault = try fixture.open { $0.access = .change }
            machine = try fixture.join(vault)
            writer = try TestWriter(vault, machine)
        }

        @discardableResult
        func add(_ names: [TestName], protected: [String]? = nil) throws -> PointID {
            let now = time.withLock { time in
                time = time.advanced(by: 60_000_000_000)
                return time
            }
            return try writer.backup(names, time: now, protected: protected)
        }

        func files(_ sight: Sight? = nil) throws -> MachineFiles {
            let vault = vault
            return try MachineFiles(machine.id, shelf: PointShelf(keys: fixture.keys) { vault }, sight: sight)
        }
    }

    private static let users = [
        TestName.file(
            "/etc/passwd", "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbob:x:1001:1001::/:/\n"),
        .file("/etc/group", "root:x:0:\nann:x:1000:\nstaff:x:50:ann,carl\n"),
    ]

    private static func sight(_ path: String = "/home/ann", user: String? = "ann", uid: UInt32? = nil) -> Sight {
        Sight(places: [.init(path: TreePath(path) ?? .root, user: SystemUser(uid: uid, name: user))])
    }

    /// Throws that there is no such file, in the words for all that is hidden or missing.
    private static func isMissing(_ body: () throws -> Void) -> Bool {
        do { try body() } catch { return (error as? HoldfastError)?.message == MachineFiles.fileMissing.message }
        return false
    }

    private static func path(_ text: String) throws -> TreePath { try #require(TreePath(text)) }

    private static let home = [
        TestName.directory("/home/ann", mode: 0o700, uid: 1_000, gid: 1_000, user: "ann"),
        .file("/home/ann/letter", "dear\n", mode: 0o600, uid: 1_000, gid: 1_000, user: "ann"),
        .file("/home/ann/of-root", "secret\n", mode: 0o600),
        .directory("/home/ann/closed", mode: 0o700),
        .file("/home/ann/closed/inner", "hidden\n"),
        .directory("/home/ann/team", mode: 0o750, gid: 50),
        .file("/home/ann/team/plan", "ours\n", mode: 0o640, gid: 50),
        .directory("/home/bob", mode: 0o755, uid: 1_001, user: "bob"),
        .file("/home/bob/open", "everybody's\n"),
    ]

    @Test("a person sees what they could read in their place, and nothing that they could not")
    func listing() throws {
        let history = try History()
        try history.add(Self.users + Self.home)
        let files = try history.files(Self.sight())
        let point = try #require(files.points.last)
        let all = try files.listing(of: Self.path("/home/ann"), at: point, limit: 100)
        #expect(all.items.map { String(decoding: $0.path.name, as: UTF8.self) } == ["letter", "team"])
        #expect(try files.listing(of: Self.path("/home/ann/team"), at: point, limit: 10).items.count == 1, "by a group")
        // What is closed, what is not theirs and what there is not are the same.
        for path in [
            "/home/ann/closed", "/home/ann/closed/inner", "/home/ann/of-root", "/home/bob/open", "/home", "/",
            "/home/ann/nothing", "/home/ann/closed/nothing",
        ] {
            let listing = try files.listing(of: Self.path(path), at: point, limit: 10)
            #expect(listing.entry == nil && listing.items.isEmpty && !listing.isMore, "\(path)")
            #expect(try files.beginning(of: Self.path(path), at: point, limit: 10) == nil, "\(path)")
            #expect(Self.isMissing { _ = try files.open(Self.path(path), at: point) }, "\(path)")
            #expect(try files.versions(of: Self.path(path), limit: 10).isEmpty, "\(path)")
        }
        let letter = try files.open(Self.path("/home/ann/letter"), at: point)
        var text: [UInt8] = []
        try letter.read { text += Array($0) }
        letter.close()
        #expect(text == Array("dear\n".utf8))
        #expect(try history.files().listing(of: Self.path("/home/ann"), at: point, limit: 100).items.count == 4)
    }

    @Test("pages of a list go on behind what is hidden, and say that there is more only when something is shown there")
    func pages() throws {
        let history = try History()
        let hidden = (0..<50).map { TestName.file("/home/ann/b\($0)", mode: 0o600) }
        let shown = ["a", "c", "d"].map { TestName.file("/home/ann/\($0)", mode: 0o600, uid: 1_000, user: "ann") }
        try history.add(Self.users + [Self.home[0]] + hidden + shown)
        let files = try history.files(Self.sight())
        let point = try #require(files.points.last)
        let first = try files.listing(of: Self.path("/home/ann"), at: point, limit: 2)
        #expect(first.items.map { $0.path.displayText } == ["/home/ann/a", "/home/ann/c"] && first.isMore)
        let rest = try files.listing(of: Self.path("/home/ann"), at: point, after: Array("c".utf8), limit: 1)
        #expect(rest.items.count == 1 && !rest.isMore)
    }

    @Test("the way down counts: a directory without the right to pass closes all below it, whatever that allows")
    func wayDown() throws {
        let history = try History()
        try history.add(
            Self.users + [
                .directory("/srv", mode: 0o711), .directory("/srv/data", mode: 0o744),
                .directory("/srv/data/ann", mode: 0o777), .file("/srv/data/ann/file", "x"),
                .directory("/srv/open", mode: 0o711), .file("/srv/open/file", "y"),
            ])
        let files = try history.files(Self.sight("/srv"))
        let point = try #require(files.points.last)
        #expect(try files.beginning(of: Self.path("/srv/data/ann/file"), at: point, limit: 10) == nil)
        #expect(try files.listing(of: Self.path("/srv/data"), at: point, limit: 10).entry == nil)
        // Names of a directory that can be passed and not read have to be known.
        #expect(try files.listing(of: Self.path("/srv/open"), at: point, limit: 10).items.isEmpty)
        #expect(try files.beginning(of: Self.path("/srv/open/file"), at: point, limit: 10)?.bytes == [0x79])
    }

    @Test("it is the time that is looked at that counts: users, groups, modes and lists as they were")
    func times() throws {
        let history = try History()
        let dir = TestName.directory("/home/ann", mode: 0o755, uid: 1_000, user: "ann")
        let file = TestName.file("/home/ann/f", "1", mode: 0o640, uid: 0, gid: 50)
        // Not of the group yet; then of it; then the number is another's, and there is no ann.
        try history.add([Self.users[0], .file("/etc/group", "staff:x:50:carl\n"), dir, file])
        try history.add(Self.users + [dir, file])
        try history.add([.file("/etc/passwd", "eve:x:1000:1000::/:/\n"), Self.users[1], dir, file])
        try history.add(
            Self.users + [
                dir,
                .file(
                    "/home/ann/f", "2", mode: 0o670, uid: 0, gid: 0,
                    attributes: [AccessCheckTests.list(owner: 6, users: [(1_000, 4)], group: 0, mask: 7, others: 0)]),
            ])
        let files = try history.files(Self.sight())
        let seen = try files.points.map {
            try files.beginning(of: Self.path("/home/ann/f"), at: $0, limit: 10).map {
                String(decoding: $0.bytes, as: UTF8.self)
            }
        }
        #expect(seen == [nil, "1", nil, "2"])
        let versions = try files.versions(of: Self.path("/home/ann/f"), limit: 10)
        #expect(versions.count == 1 && versions[0].change == .added && versions[0].point.id == files.points[3].id)
        // By number the machine's names at the time decide as well.
        let both = try history.files(Self.sight(user: "ann", uid: 1_001))
        #expect(try both.beginning(of: Self.path("/home/ann/f"), at: files.points[1], limit: 10) == nil)
    }

    @Test("nobody is told that something was deleted where they could not look by then")
    func closedLater() throws {
        let history = try History()
        let open = TestName.directory("/home/ann/in", mode: 0o755)
        let closed = TestName.directory("/home/ann/in", mode: 0o700)
        let own = TestName.file("/home/ann/in/f", mode: 0o600, uid: 1_000, user: "ann")
        try history.add(Self.users + [Self.home[0], open, own])
        try history.add(Self.users + [Self.home[0], closed, own])
        try history.add(Self.users + [Self.home[0], closed])
        try history.add(Self.users + [Self.home[0], open])
        let (files, all) = (try history.files(Self.sight()), try history.files())
        let path = try Self.path("/home/ann/in/f")
        #expect(try files.versions(of: path, limit: 10).map(\.change) == [.added])
        #expect(try all.versions(of: path, limit: 10).map(\.change) == [.removed, .added])
        let directory = try Self.path("/home/ann/in")
        func deleted(_ files: MachineFiles, _ index: Int) throws -> Int {
            try files.listingWithDeleted(of: directory, at: files.points[index], limit: 10).deleted.count
        }
        #expect(try deleted(files, 2) == 0 && deleted(all, 2) == 1)
        #expect(try deleted(files, 3) == 1 && deleted(all, 3) == 1)
    }

    @Test("a point without the files of users shows a person's own, and of others what all classes allow")
    func noUsers() throws {
        let history = try History()
        try history.add(Self.home)
        let byNumber = try history.files(Self.sight(user: nil, uid: 1_000))
        let point = try #require(byNumber.points.last)
        func names(_ files: MachineFiles) throws -> [String] {
            try files.listing(of: Self.path("/home/ann"), at: point, limit: 100).items.map {
                String(decoding: $0.path.name, as: UTF8.self)
            }
        }
        #expect(try names(byNumber) == ["letter"])
        #expect(try names(history.files(Self.sight())) == ["letter"], "by the names of owners that the machine kept")
        #expect(try names(history.files(Self.sight(user: "bob"))).isEmpty)
    }

    @Test("names that are found and files that were deleted are shown only to who could see them at some time")
    func searching() throws {
        let history = try History()
        try history.add(
            Self.users + Self.home + [
                .file("/home/ann/report-old", "1", mode: 0o600, uid: 1_000, user: "ann"),
                .file("/home/ann/report-root", "1", mode: 0o600),
            ])
        try history.add(
            Self.users + Self.home + [.file("/home/ann/closed/report-hidden"), .file("/home/bob/report-bob")])
        let files = try history.files(Self.sight())
        let point = try #require(files.points.last)
        let found = try files.search(["report"], below: .root, at: point, limit: 10)
        #expect(found.names.map { $0.path.displayText } == ["/home/ann/report-old"] && !found.isMore)
        #expect(found.names[0].item?.lastPoint?.id == files.points[0].id)
        let deleted = try files.listingWithDeleted(of: Self.path("/home/ann"), at: point, limit: 10).deleted
        #expect(deleted.map { $0.path.displayText } == ["/home/ann/report-old"])
        #expect(try history.files().search(["report"], below: .root, at: point, limit: 10).names.count == 4)
        #expect(try files.search(["inner"], below: Self.path("/home/bob"), at: point, limit: 10).names.isEmpty)
    }

    @Test("the last point that had something is found between one that had it and one that has it no more")
    func lastPoints() throws {
        let history = try History()
        let ids = try (0..<20).map { number in
            try history.add(
                (number < 7 ? [.file("/d/seven")] : []) + (number < 12 ? [.file("/d/twelve")] : [])
                    + [.file("/d/always", "\(number)")])
        }
        let files = try history.files()
        let (first, last) = (try #require(files.points.first), try #require(files.points.last))
        let items = try [Self.path("/d/seven"), Self.path("/d/twelve")].map { (path: $0, point: first) }
        let found = files.lastPoints(of: items, before: last)
        #expect(try found[Self.path("/d/seven")]?.id == ids[6] && found[Self.path("/d/twelve")]?.id == ids[11])
        // What may not be looked for is answered with what is known.
        #expect(files.lastPoints(of: items, before: last, limit: 0).values.allSatisfy { $0.id == ids[0] })
        #expect(files.point(before: last, of: .root)?.id == ids[18] && files.point(before: first, of: .root) == nil)
        let gone = try files.listingWithDeleted(of: Self.path("/d"), at: last, limit: 10).deleted
        #expect(try gone.first { try $0.path == Self.path("/d/seven") }?.lastPoint?.id == ids[6])
    }

    @Test("a directory that can be entered and not listed gives its names to nobody who looks around")
    func unlistable() throws {
        let history = try History()
        try history.add(
            Self.users + Self.home + [
                .directory("/home/ann/drop", mode: 0o711), .file("/home/ann/drop/known.txt", "there\n", mode: 0o644),
            ])
        let files = try history.files(Self.sight())
        let point = try #require(files.points.last)
        let (drop, known) = (try Self.path("/home/ann/drop"), try Self.path("/home/ann/drop/known.txt"))
        #expect(try files.listing(of: drop, at: point, limit: 10).items.isEmpty)
        #expect(try files.search(["known"], below: Self.path("/home/ann"), at: point, limit: 10).names.isEmpty)
        for picked in try [[drop], [Self.path("/home/ann")]] {
            let bytes = Mutex<[UInt8]>([])
            let make = try files.archive(picked, of: Self.path("/home/ann"), at: point, as: .zip, zone: .utc)
            try make { part in bytes.withLock { $0 += Array(part) } }
            let names = Tool.names(in: bytes.withLock { $0 }, .zip)
            #expect(
                !names.contains { $0.contains("known.txt") } && names.contains { $0.hasSuffix("drop/") }, "\(names)")
        }
        // Who knows the name reads it, as on the machine itself.
        #expect(try files.beginning(of: known, at: point, limit: 100)?.bytes == Array("there\n".utf8))
    }

    @Test("archives hold what is shown and say nothing of the rest", arguments: PointArchive.Format.allCases)
    func archives(format: PointArchive.Format) throws {
        let history = try History()
        try history.add(Self.users + Self.home)
        let files = try history.files(Self.sight())
        let point = try #require(files.points.last)
        let make = try files.archive([], of: Self.path("/home/ann"), at: point, as: format, zone: .utc)
        let bytes = Mutex<[UInt8]>([])
        try make { part in bytes.withLock { $0 += Array(part) } }
        let names = Tool.names(in: bytes.withLock { $0 }, format)
        #expect(names == ["ann/", "ann/letter", "ann/team/", "ann/team/plan"])
        #expect(
            Self.isMissing {
                _ = try files.archive([], of: Self.path("/home/ann/closed"), at: point, as: format, zone: .utc)
            })
        let picked = try files.archive(
            [Self.path("/home/ann/closed"), Self.path("/home/ann/letter")], of: Self.path("/home/ann"), at: point,
            as: format, zone: .utc)
        let some = Mutex<[UInt8]>([])
        try picked { part in some.withLock { $0 += Array(part) } }
        #expect(Tool.names(in: some.withLock { $0 }, format) == ["letter"])
    }
}
