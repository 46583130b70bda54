import Catalog
import Client
import Model
import TestSupport
import Testing
import Vault

@testable import Console
@testable import Server

@Suite("Contents that leave the vault")
struct DownloadTests {
    /// More than is sent before the account is looked at again: twelve files that a ZIP cannot make much smaller.
    private static func large(_ fixture: ConsoleFixture) throws -> (machine: ManagedMachine, point: PointID) {
        var random = SeededGenerator(seed: 7)
        // Longer than what a ZIP looks back.
        let block = Hex.encode(random.bytes(40 << 10))
        let names = (0..<12).map { number in
            TestName.file("/d/\(number)", String(String(repeating: "\(number)" + block, count: 13).prefix(1_000_000)))
        }
        let (machine, points) = try fixture.machine("one", [names])
        return (machine, points[0])
    }

    @Test(
        "a download goes on as long as its account may have it, and no longer",
        arguments: [
            "nothing", "more rights", "disabled", "removed", "another role", "another group", "signed out",
            "machine moved", "token ended",
        ])
    func watched(what: String) throws {
        let fixture = try ConsoleFixture()
        let (machine, point) = try Self.large(fixture)
        let account = try fixture.account("ann", .operator, groups: what == "machine moved" ? ["default"] : [])
        let cookie = try fixture.signIn("ann")
        let token = try fixture.token(account)
        let answer =
            what == "token ended"
            ? try fixture.api(
                "POST", "/api/v1/machines/\(machine.id.hex)/archive", token,
                .object(["paths": .array([.string("/d")]), "point": .string(point.hex)]))
            : try fixture.post(
                "/machines/\(machine.id.hex)/archive", cookie,
                [("point", point.hex), ("path", "/d"), ("format", "zip")])
        #expect(answer.status == 200 && answer.stream != nil)
        let book = fixture.core.accounts
        switch what {
        case "more rights": try book.setRole(account.id, .administrator, groups: [], by: "test", from: "")
        case "signed out": try book.signOut(try #require(try book.visitor(cookie)), address: "")
        case "token ended": try book.endToken(of: account.id, where: { _ in true }, who: "test", from: "")
        case "machine moved":
            try fixture.core.catalog.change(machine.id) { $0.group = "elsewhere" }
        case "disabled": try book.setDisabled(account.id, true, by: "test", from: "")
        case "removed": try book.remove(account.id, by: "test", from: "")
        case "another role": try book.setRole(account.id, .auditor, groups: [], by: "test", from: "")
        case "another group": try book.setRole(account.id, .operator, groups: ["others"], by: "test", from: "")
        default: break
        }
        if ["nothing", "more rights"].contains(what) {
            #expect(try answer.whole().count > 4 << 20)
        } else {
            let error = #expect(throws: HoldfastError.self) { try answer.whole() }
            #expect(error?.code == .denied)
        }
    }

    @Test("what is shown of a file is in the audit log before anybody sees it, in a browser and with a token")
    func shown() throws {
        let fixture = try ConsoleFixture()
        let (machine, points) = try fixture.machine("one", [[.file("/d/f", "one\n")], [.file("/d/f", "two\n")]])
        let token = try fixture.token(try fixture.account("ann", .operator))
        let cookie = try fixture.signIn("ann")
        let at = "/machines/\(machine.id.hex)"
        func lines() throws -> Int {
            try fixture.core.catalog.auditLines(before: .max, limit: 1_000).count {
                $0.action == "file.shown" && $0.object == "/d/f"
                    && String(decoding: $0.detail, as: UTF8.self).contains("one")
            }
        }
        var expected = 0
        #expect(try fixture.get("\(at)/files?path=/d", cookie).status == 200)
        #expect(try lines() == expected, "a name is no content")
        for target in ["\(at)/file?path=/d/f", "\(at)/difference?path=/d/f&from=\(points[0].hex)"] {
            #expect(try fixture.get(target, cookie).text.contains("two"))
            expected += 1
            #expect(try lines() == expected, "\(target)")
        }
        for target in ["\(at)/preview?path=/d/f", "\(at)/difference?path=/d/f&from=\(points[0].hex)"] {
            #expect(try fixture.api("GET", "/api/v1\(target)", token).text.contains("two"), "\(target)")
            expected += 1
            #expect(try lines() == expected, "\(target)")
        }
        // A difference shows two versions, and both are named.
        let both = try fixture.core.catalog.auditLines(before: .max, limit: 1_000).filter { line in
            let detail = String(decoding: line.detail, as: UTF8.self)
            return line.action == "file.shown" && points.allSatisfy { detail.contains($0.hex) }
        }
        #expect(both.count == 2)
    }

    @Test("a person's basket is fetched to its last byte, and what is not theirs is not in it")
    func ownBasket() throws {
        let fixture = try ConsoleFixture()
        let (machine, points) = try fixture.machine(
            "laptop",
            [
                [
                    .directory("/home/ann", mode: 0o755, uid: 1_000), .file("/home/ann/diary", "dear me", uid: 1_000),
                    .directory("/home/ann/in", mode: 0o700, uid: 1_000), .file("/home/ann/in/note", "n", uid: 1_000),
                    .file("/home/bob", "no", mode: 0o600, uid: 1_001),
                ]
            ])
        let home = try #require(TreePath("/home/ann"))
        try fixture.account("ann", .person, places: [.init(machine: machine.id, path: home, uid: 1_000)])
        let cookie = try fixture.signIn("ann")
        let at = "/machines/\(machine.id.hex)"
        func hex(_ path: String) throws -> String { Hex.encode(try #require(TreePath(path)).bytes) }
        let put = try fixture.post(
            "\(at)/basket", cookie,
            [("point", points[0].hex), ("hex", hex("/home/ann")), ("pick", hex("/home/ann/diary"))])
        #expect(put.status == 303)
        // The fields of the basket's own form, with what somebody adds to it.
        let page = try fixture.get("/basket", cookie).text
        let pick = "<input type=\"hidden\" name=\"pick\" value=\"\(try hex("/home/ann/diary"))\">"
        #expect(page.contains("<input type=\"hidden\" name=\"hex\" value=\"\">\(pick)"))
        let fields = try [
            ("point", points[0].hex), ("hex", ""), ("pick", hex("/home/ann/diary")), ("pick", hex("/home/bob")),
            ("pick", hex("/home/ann/in")), ("format", "zip"),
        ]
        let answer = try fixture.post("\(at)/archive", cookie, fields)
        #expect(answer.status == 200)
        let bytes = try answer.whole()
        func has(_ text: String) -> Bool { bytes.firstRange(of: Array(text.utf8)) != nil }
        #expect(bytes.starts(with: Array("PK".utf8)) && has("home/ann/diary") && has("home/ann/in/note"))
        #expect(!has("home/bob"))
        for hidden in ["/home/bob", "/home", "/nothing"] {
            let fields = try [("point", points[0].hex), ("hex", ""), ("pick", hex(hidden)), ("format", "zip")]
            #expect(try fixture.post("\(at)/archive", cookie, fields).status == 404, "\(hidden)")
        }
        let whole = [("point", points[0].hex), ("hex", ""), ("format", "zip")]
        #expect(try fixture.post("\(at)/archive", cookie, whole).status == 404)
    }

    @Test("a report for some groups has nothing of the server or of other groups' machines")
    func reports() throws {
        let fixture = try ConsoleFixture()
        let (ours, _) = try fixture.machine("ours", group: "branch", [[.file("/f")]])
        let (theirs, _) = try fixture.machine("theirs", [[.file("/f")]])
        try fixture.core.alerts.raise(.init(kind: .lag, machine: ours.id), "ours is late")
        try fixture.core.alerts.raise(.init(kind: .lag, machine: theirs.id), "theirs is late")
        try fixture.core.alerts.raise(.init(kind: .vault, machine: nil), "the vault is odd")
        let branch = try fixture.account("ann", .operator, groups: ["branch"])
        let all = try fixture.account("bob", .operator)
        for (account, isAll) in [(branch, false), (all, true)] {
            let page = try fixture.get("/reports", try fixture.signIn(account.name)).text
            let told = try fixture.api("GET", "/api/v1/reports/protection", try fixture.token(account)).text
            for text in [page, told] {
                #expect(text.contains("ours is late"))
                for hidden in ["theirs is late", "the vault is odd"] {
                    #expect(text.contains(hidden) == isAll, "\(hidden)")
                }
            }
            #expect(page.contains("<h2>Storage</h2>") == isAll && told.contains("\"storage\"") == isAll)
        }
    }
}
