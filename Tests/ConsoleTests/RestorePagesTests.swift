import Catalog
import Client
import Model
import TestSupport
import Testing
import Vault

@testable import Browsing
@testable import Console
@testable import Server

/// Time line, listing and versions, as somebody goes through them who looks for what is lost.
@Suite("The restore pages")
struct RestorePagesTests {
    /// Five points: `b` changes at the third and is gone from the fourth on, `c` from the fifth.
    private static func history(_ fixture: ConsoleFixture) throws -> (at: String, points: [PointID], cookie: String) {
        let (a, c) = (TestName.file("/d/a", "a"), TestName.file("/d/c", "c"))
        let (machine, points) = try fixture.machine(
            "one",
            [
                [a, c, .file("/d/b", "first")], [a, c, .file("/d/b", "first")], [a, c, .file("/d/b", "second")],
                [a, c, .file("/d/later", "l")], [a, .file("/d/later", "l")],
            ])
        try fixture.account("boss", .owner)
        return ("/machines/\(machine.id.hex)", points, try fixture.signIn("boss"))
    }

    private static func hex(_ path: String) throws -> String { Hex.encode(try #require(TreePath(path)).bytes) }

    @Test("the page of a deleted file gives back what it was last")
    func deletedFile() throws {
        let fixture = try ConsoleFixture()
        let (at, points, cookie) = try Self.history(fixture)
        let page = try fixture.get("\(at)/file?path=/d/b", cookie).text
        #expect(page.contains("It was there until") && page.contains("Download that version"))
        #expect(page.contains("\(at)/download?point=\(points[2].hex)&amp;path=/d/b") && page.contains("second"))
        #expect(page.contains("\(at)/restore?point=\(points[2].hex)&amp;path=/d/b"))
        let early = try fixture.get("\(at)/file?path=/d/later&point=\(points[0].hex)", cookie).text
        #expect(
            early.contains("It came later") && early.contains("\(at)/file?point=\(points[3].hex)&amp;path=/d/later"))
        #expect(try !fixture.get("\(at)/file?path=/d/never", cookie).text.contains("It was there until"))
        let folder = try fixture.get("\(at)/files?path=/e", cookie).text
        #expect(folder.contains("It was not there then"))
    }

    @Test(
        "what the newest point does not protect is not called gone: pages show the newest that does, and say where the rest is"
    )
    func parts() throws {
        let fixture = try ConsoleFixture()
        let home = TestName.file("/srv/src/home", "here", uid: 1_000)
        let (machine, points) = try fixture.machine(
            "one", [[home], [home], [.file("/srv/other/f")]], protected: [["/srv/src"], ["/srv/src"], ["/srv/other"]])
        try fixture.account("boss", .owner)
        let (at, cookie) = ("/machines/\(machine.id.hex)", try fixture.signIn("boss"))
        let file = try fixture.get("\(at)/file?path=/srv/src/home", cookie).text
        #expect(file.contains("Download this version") && file.contains("\(at)/download?point=\(points[1].hex)"))
        #expect(try fixture.get("\(at)/files?path=/srv/src", cookie).text.contains(">home</a>"))
        let top = try fixture.get("\(at)/files", cookie).text
        #expect(top.contains("This point protects /srv/other here") && top.contains("/srv/src: newest at"))
        #expect(top.contains("\(at)/files?point=\(points[1].hex)&amp;path=/"))
        for page in ["file", "files"] {
            let text = try fixture.get("\(at)/\(page)?path=/srv/src/home&point=\(points[2].hex)", cookie).text
            #expect(text.contains("This point does not protect it") && !text.contains("It was not there then"))
            #expect(text.contains("\(at)/files?point=\(points[1].hex)&amp;path=/srv/src/home"), "\(page)")
        }
        let found = try fixture.get("\(at)/search?q=home&point=\(points[2].hex)", cookie).text
        #expect(found.contains("not protected by this point; there at"))
        #expect(!found.contains("not there at this time"))
        // A person's own directory, with none of the newest point's in it.
        let place = try #require(TreePath("/srv/src"))
        try fixture.account("ann", .person, places: [.init(machine: machine.id, path: place, uid: 1_000)])
        let own = try fixture.get("\(at)/files?path=/srv/src", try fixture.signIn("ann")).text
        #expect(own.contains(">home</a>") && !own.contains("/srv/other"))
        // Through the API the same.
        let token = try fixture.token(try #require(try fixture.core.catalog.account(named: "boss")))
        #expect(try fixture.api("GET", "/api/v1\(at)/content?path=/srv/src/home", token).whole() == Array("here".utf8))
    }

    @Test("a directory of which very much was deleted shows all of it, page by page")
    func deletedPages() throws {
        let fixture = try ConsoleFixture()
        let (machine, _) = try fixture.machine(
            "one", [(0..<450).map { .file("/d/\(1_000 + $0)") }, [.directory("/d")]])
        try fixture.account("boss", .owner)
        let (at, cookie) = ("/machines/\(machine.id.hex)", try fixture.signIn("boss"))
        var (address, gone): (String?, Int) = ("\(at)/files?path=/d&deleted=1", 0)
        for _ in 0..<5 {
            guard let next = address else { break }
            let page = try fixture.get(next, cookie).text
            gone += page.split(separator: "class=\"gone\"").count - 1
            let link = page.firstRange(of: "<nav class=\"pager\"><a href=\"")
            address = link.map {
                String(page[$0.upperBound...].prefix { $0 != "\"" }).replacing("&amp;", with: "&")
            }
        }
        #expect(address == nil && gone == 450)
        let token = try fixture.token(try #require(try fixture.core.catalog.account(named: "boss")))
        let told = try fixture.json("GET", "/api/v1\(at)/files?path=/d&deleted=1&limit=400", token)
        #expect((told["deleted"] as? [Any])?.count == 400 && told["more"] as? Bool == true)
        let next = try #require(told["next"] as? String)
        let rest = try fixture.json("GET", "/api/v1\(at)/files?path=/d&deleted=1&limit=400&after=\(next)", token)
        #expect((rest["deleted"] as? [Any])?.count == 50 && rest["more"] as? Bool == false && rest["next"] == nil)
    }

    @Test("names that are found and gone say when they were there")
    func searching() throws {
        let fixture = try ConsoleFixture()
        let (at, points, cookie) = try Self.history(fixture)
        let page = try fixture.get("\(at)/search?q=la", cookie).text
        #expect(page.contains("later"))
        let before = try fixture.get("\(at)/search?q=later&point=\(points[0].hex)", cookie).text
        #expect(before.contains("not there at this time; there at"))
        try fixture.account("ann", .operator)
        let (machine, _) = try fixture.machine("two", [[.file("/lost.txt")], [.file("/kept.txt")]])
        let gone = try fixture.get("/machines/\(machine.id.hex)/search?q=lost", cookie).text
        #expect(gone.contains("not there at this time; there until"))
    }

    @Test("deleted rows go into the basket as of the last point that had them, and no button leaves them out")
    func deletedRows() throws {
        let fixture = try ConsoleFixture()
        let (at, points, cookie) = try Self.history(fixture)
        let page = try fixture.get("\(at)/files?path=/d&deleted=1", cookie).text
        #expect(page.contains("name=\"gone\" value=\"\(points[2].hex)-\(try Self.hex("/d/b"))\""))
        #expect(page.contains("name=\"gone\" value=\"\(points[3].hex)-\(try Self.hex("/d/c"))\""))
        #expect(page.contains("formaction=\"\(at)/basket\" name=\"do\" value=\"restore\""))
        func fields(_ more: [(String, String)]) throws -> [(String, String)] {
            [("point", points[4].hex), ("hex", try Self.hex("/d")), ("deleted", "1")] + more
        }
        // From an older point the last one is found.
        let old = ("gone", "\(points[0].hex)-\(try Self.hex("/d/b"))")
        let both = try fixture.post("\(at)/basket", cookie, fields([("pick", Self.hex("/d/a")), old]))
        #expect(both.header("Location")?.hasSuffix("&deleted=1") == true)
        let session = try #require(try fixture.core.accounts.visitor(cookie)).session
        let items = fixture.site.baskets.items(of: session)
        #expect(items.map(\.point) == [points[4], points[2]])
        #expect(items.map { $0.path.displayText } == ["/d/a", "/d/b"])
        fixture.site.baskets.clear(session)
        // What fetches a selection puts it into the basket when something of it is gone.
        for (path, field) in [("archive", ("format", "zip")), ("basket", ("do", "restore"))] {
            let answer = try fixture.post("\(at)/\(path)", cookie, fields([("pick", Self.hex("/d/a")), old, field]))
            #expect(answer.header("Location") == "/basket?why=times", "\(path)")
            #expect(fixture.site.baskets.items(of: session).count == 2, "\(path)")
            fixture.site.baskets.clear(session)
        }
        #expect(try fixture.get("/basket?why=times", cookie).text.contains("Nothing is in it"))
        // Without such a selection nothing has changed.
        let plain = try fixture.post("\(at)/basket", cookie, fields([("do", "restore"), ("pick", Self.hex("/d/a"))]))
        #expect(plain.status == 307 && plain.header("Location") == "\(at)/restore")
        #expect(fixture.site.baskets.items(of: session).isEmpty)
        #expect(try fixture.post("\(at)/archive", cookie, fields([("pick", Self.hex("/d/a"))])).status == 200)
        for wrong in ["", "00", "\(points[0].hex)-", "\(points[0].hex)-zz", "\(points[0].hex)-\(try Self.hex("/etc"))"]
        {
            #expect(try fixture.post("\(at)/basket", cookie, fields([("gone", wrong)])).status >= 400, "\(wrong)")
        }
        #expect(fixture.site.baskets.items(of: session).isEmpty)
    }

    @Test("the second before: of a version, of a time, of an alert")
    func before() throws {
        let fixture = try ConsoleFixture()
        let (at, points, cookie) = try Self.history(fixture)
        let page = try fixture.get("\(at)/file?path=/d/b&point=\(points[2].hex)", cookie).text
        #expect(page.contains("The second before it changed"))
        #expect(page.contains("\(at)/file?point=\(points[1].hex)&amp;path=/d/b"))
        func shown(_ query: String) throws -> String? {
            // The form that looks for names has the point that is shown.
            let text = try fixture.get("\(at)/files?path=/d&\(query)", cookie).text
            return text.firstRange(of: "name=\"point\" value=\"").map { String(text[$0.upperBound...].prefix(32)) }
        }
        let time = Timestamp(seconds: 1_700_010_000 + 120)
        let local = TimeText.local(time, in: SystemZones.current)
        let calendar = "on=" + Address.encode(local.replacing(" ", with: "T"))
        #expect(try shown(calendar) == points[2].hex && shown("\(calendar)&just=before") == points[1].hex)
        let exact = "at=" + Address.encode("@" + TimeText.rfc3339(time))
        #expect(try shown(exact) == points[2].hex && shown("\(exact)&just=before") == points[1].hex)
        let within = "at=" + Address.encode("@" + TimeText.rfc3339(time.advanced(by: 5_000_000_000)))
        #expect(try shown("\(within)&just=before") == points[2].hex)
        // Words win over the calendar, which is filled in always.
        #expect(try shown("\(calendar)&at=latest") == points[4].hex)
    }

    @Test("the tree shows the way to a directory with what is beside it, as of that time")
    func tree() throws {
        let fixture = try ConsoleFixture()
        let (machine, points) = try fixture.machine(
            "one",
            [
                [
                    .file("/a/b/c/f"), .file("/a/beside/f"), .file("/old/f"), .file("/a/b/gone/f"),
                    .file("/a/b/c/inner/f"),
                ],
                [.file("/a/b/c/f"), .file("/a/beside/f"), .file("/a/b/c/inner/f"), .file("/x/not on the way/f")],
            ])
        try fixture.account("boss", .owner)
        let cookie = try fixture.signIn("boss")
        let at = "/machines/\(machine.id.hex)"
        func names(_ query: String) throws -> [String] { Self.tree(try fixture.get("\(at)/\(query)", cookie).text) }
        #expect(try names("files?path=/a/b") == ["one", "a", "b*", "c", "beside", "x"])
        #expect(try names("files?path=/") == ["one*", "a", "x"])
        #expect(
            try names("files?path=/a/b&point=\(points[0].hex)") == ["one", "a", "b*", "c", "gone", "beside", "old"])
        #expect(try names("files?path=/a/b&deleted=1") == ["one", "a", "b*", "c", "gone, deleted", "beside", "x"])
        #expect(try names("file?path=/a/b/c/f") == ["one", "a", "b", "c*", "inner", "beside", "x"])
        #expect(try names("files?path=/old/deeper") == ["one", "a", "x"], "what is not there")
        #expect(try names("search?q=in&path=/a") == ["one", "a*", "b", "beside", "x"])
    }

    /// The names in a page's tree; the one where it is with a star.
    private static func tree(_ page: String) -> [String] {
        guard let begin = page.firstRange(of: "<nav class=\"tree\""),
            let end = page[begin.upperBound...].firstRange(of: "</nav>")
        else { return [] }
        return page[begin.upperBound..<end.lowerBound].split(separator: "<a ").dropFirst().map { part in
            let text = part.split(separator: ">", maxSplits: 1)[1].replacing("<span class=\"unseen\">", with: "")
            return String(text.prefix { $0 != "<" }) + (part.contains("aria-current") ? "*" : "")
        }
    }

    @Test("a person's tree begins with what is theirs and has nothing that they could not see")
    func ownTree() throws {
        let fixture = try ConsoleFixture()
        let (machine, _) = try fixture.machine(
            "one",
            [
                [
                    .directory("/home", mode: 0o755), .directory("/home/ann", mode: 0o755, uid: 1_000),
                    .directory("/home/ann/own", mode: 0o700, uid: 1_000), .directory("/home/ann/closed", mode: 0o700),
                    .directory("/home/ann/closed/secret"), .directory("/home/bob", mode: 0o755),
                    .directory("/home/ann/own/inner", mode: 0o700, uid: 1_000),
                ]
            ])
        let path = try #require(TreePath("/home/ann"))
        try fixture.account("ann", .person, places: [.init(machine: machine.id, path: path, uid: 1_000)])
        let cookie = try fixture.signIn("ann")
        let at = "/machines/\(machine.id.hex)/files?path="
        #expect(try Self.tree(fixture.get("\(at)/home/ann/own", cookie).text) == ["/home/ann", "own*", "inner"])
        for hidden in ["/home/ann/closed", "/home/ann/closed/secret", "/home", "/home/bob"] {
            let names = try Self.tree(fixture.get("\(at)\(hidden)", cookie).text)
            #expect(names.first == "/home/ann" && Set(names).isSubset(of: ["/home/ann", "own"]), "\(hidden): \(names)")
        }
    }

    @Test("a directory with very many names has a tree that ends")
    func largeTree() throws {
        let fixture = try ConsoleFixture()
        let names = (0..<300).map { TestName.file("/d/folder-\(1_000 + $0)/f") }
        let (machine, _) = try fixture.machine("one", [names])
        try fixture.account("boss", .owner)
        let cookie = try fixture.signIn("boss")
        let page = try fixture.get("/machines/\(machine.id.hex)/files?path=/d/folder-1290", cookie).text
        let tree = Self.tree(page)
        #expect(tree.count == 104 && tree.contains("folder-1290*") && tree.last == "more in d …", "\(tree.count)")
    }

    @Test("the slider stops at each point, by its time")
    func slider() throws {
        let fixture = try ConsoleFixture()
        let (at, points, cookie) = try Self.history(fixture)
        let page = try fixture.get("\(at)/files?path=/d&point=\(points[1].hex)", cookie).text
        #expect(page.contains("data-stops=\"1700010000000,60000,60000,60000,60000\""))
        #expect(page.contains("min=\"0\" max=\"4\" value=\"1\""))
        for (index, point) in points.enumerated() {
            for (more, expected) in [(0, point), (59_999, point)] {
                let text = try fixture.get(
                    "\(at)/files?path=/d&moment=\(1_700_010_000_000 + index * 60_000 + more)", cookie
                ).text
                #expect(text.contains("name=\"point\" value=\"\(expected.hex)\""), "\(index)")
            }
        }
        // Before the oldest there is nothing to show but the oldest.
        #expect(try fixture.get("\(at)/files?path=/d&moment=5", cookie).text.contains(points[0].hex))
        // A search stays a search at other times.
        let search = try fixture.get("\(at)/search?q=later", cookie).text
        #expect(search.contains("/search?point=\(points[0].hex)&amp;path=/&amp;q=later"))
    }

    @Test("a list is sorted by its heads, and the address keeps that on the way")
    func sorting() throws {
        let fixture = try ConsoleFixture()
        let (machine, _) = try fixture.machine(
            "one", [[.file("/d/a", "12345"), .file("/d/b", "1"), .file("/d/c", "123"), .directory("/d/in")]])
        try fixture.account("boss", .owner)
        let cookie = try fixture.signIn("boss")
        func names(_ sort: String) throws -> (names: [String], page: String) {
            let page = try fixture.get("/machines/\(machine.id.hex)/files?path=/d\(sort)", cookie).text
            let names = page.split(separator: "aria-label=\"Select ").dropFirst().map {
                String($0.prefix { $0 != "\"" })
            }
            return (names, page)
        }
        #expect(
            try names("").names == ["a", "b", "c", "in"] && names("&sort=nonsense").names == ["a", "b", "c", "in"])
        #expect(try names("&sort=-name").names == ["in", "c", "b", "a"])
        #expect(try names("&sort=size").names == ["b", "c", "a", "in"])
        let (largest, page) = try names("&sort=-size")
        #expect(largest == ["a", "c", "b", "in"] && page.contains("aria-sort=\"descending\""))
        #expect(page.contains("path=/d/in&amp;sort=-size") && page.contains("path=/d&amp;sort=size"))
    }
}
