import Catalog
import Client
import Foundation
import Model
import TestSupport
import Testing
import Vault

@testable import Console
@testable import Server

/// Who may order what, by the pages: two machines in two groups, and people of each role.
@Suite("Rights to restore to a machine")
struct RestoreRightsTests {
    private final class Place {
        let fixture: VaultFixture
        let core: ServerCore
        let site: Site
        let directory: String
        private(set) var machines: [String: (id: MachineID, point: PointID)] = [:]

        init() throws {
            fixture = try VaultFixture()
            let local = try fixture.open { $0.access = .change }
            directory = NSTemporaryDirectory() + "holdfast-console-\(UUID().uuidString)"
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
            core = ServerCore(
                identity: .random(), vault: local, keys: fixture.keys,
                catalog: try SQLiteServerCatalog(path: directory + "/server.db"), ownCertificate: nil)
            site = Site(core)
            for name in ["mail", "web", "other"] {
                let machine = try fixture.join(local)
                let writer = try TestWriter(local, machine)
                let point = try writer.backup(["of \(name)"]).point
                writer.close()
                try core.catalog.add(
                    ManagedMachine(
                        id: machine.id, name: name, group: name == "other" ? "theirs" : "ours",
                        key: SigningKey.random().verifyingKey, enrolled: Timestamp(seconds: 1),
                        lastSeen: Timestamp(seconds: 1)))
                machines[name] = (machine.id, point)
            }
        }

        deinit { try? FileManager.default.removeItem(atPath: directory) }

        /// Somebody who is signed in.
        func person(_ role: Account.Role, groups: [String] = []) throws -> (cookie: String, form: String) {
            let name = "\(role)\(groups.joined())".lowercased()
            let (account, _) = try core.accounts.create(name: name, role: role, groups: groups, by: "test", from: "")
            let token = SecretToken.random()
            let now = Timestamp(nanoseconds: Int64(Date().timeIntervalSince1970 * 1e9))
            try core.catalog.add(
                AccountSession(hash: token.hash, account: account.id, begun: now, used: now, address: "", browser: ""))
            let visitor = AccountBook.Visitor(account: account, session: token.hash)
            return ("__Host-holdfast=\(token.text)", visitor.formToken)
        }

        /// What a page or a form answers.
        func ask(
            _ method: String, _ path: String, _ parameters: [String: String], as who: (cookie: String, form: String),
            _ fields: [String: String] = [:]
        ) throws -> ServerAnswer {
            let operation = try #require(site.operations.first { $0.method == method && $0.path == path })
            var body = fields.map { "\($0)=\($1)" }.joined(separator: "&")
            if method == "POST" { body += "&form=\(who.form)" }
            var request = ServerRequest(
                method: method, path: path, parameters: parameters, query: [:], body: Array(body.utf8),
                principal: .anonymous)
            request.target = path
            request.cookies = who.cookie
            return try operation.run(core, request)
        }

        /// Orders a restore by the form; the status of the answer.
        func order(
            _ source: String, on target: String?, as who: (cookie: String, form: String)
        ) throws -> (status: Int, order: String?) {
            let machine = try #require(machines[source])
            var fields = ["point": machine.point.hex, "hex": "", "to": "new-folder"]
            if let target { fields["machine"] = machines[target]?.id.hex }
            let answer = try ask(
                "POST", "/machines/{machine}/restore/order", ["machine": machine.id.hex], as: who, fields)
            let location = answer.headers.first { $0.0 == "Location" }?.1
            return (answer.status, location?.split(separator: "/").last.map(String.init))
        }
    }

    @Test(
        "help desk and operators restore to where it came from, administrators elsewhere, auditors and strangers nothing"
    )
    func roles() throws {
        let place = try Place()
        for role in [Account.Role.helpDesk, .operator] {
            let who = try place.person(role, groups: ["ours"])
            #expect(try place.order("mail", on: nil, as: who).status == 303, "\(role)")
            #expect(try place.order("mail", on: "mail", as: who).status == 303, "\(role)")
            #expect(try place.order("mail", on: "web", as: who).status == 403, "\(role)")
            #expect(try place.order("other", on: nil, as: who).status == 404, "\(role): another group's machine")
        }
        let administrator = try place.person(.administrator)
        #expect(try place.order("mail", on: "other", as: administrator).status == 303)
        #expect(try place.order("mail", on: nil, as: try place.person(.auditor)).status == 403)
        #expect(
            try place.order("mail", on: nil, as: try place.person(.person)).status == 404, "nothing there is theirs")
        let log = try place.core.catalog.auditLines(from: 1, limit: 100)
        #expect(log.filter { $0.action == "restore.ordered" }.count == 5)
    }

    @Test("an order that touches another group's machine is not there, to look at, to agree to or to stop")
    func groups() throws {
        let place = try Place()
        let administrator = try place.person(.administrator)
        let ours = try place.person(.operator, groups: ["ours"])
        let inner = try #require(try place.order("mail", on: "web", as: administrator).order)
        let outer = try #require(try place.order("mail", on: "other", as: administrator).order)
        let own = try #require(try place.order("mail", on: nil, as: ours).order)
        func status(_ method: String, _ path: String, _ order: String) throws -> Int {
            try place.ask(method, path, ["order": order], as: ours).status
        }
        #expect(try status("GET", "/restores/{order}", own) == 200)
        #expect(try status("GET", "/restores/{order}", inner) == 200)
        for (method, path) in [
            ("GET", "/restores/{order}"), ("GET", "/restores/{order}/now"), ("POST", "/restores/{order}/confirm"),
            ("POST", "/restores/{order}/stop"), ("POST", "/restores/{order}/undo"),
        ] {
            #expect(try status(method, path, outer) == 404, "\(method) \(path)")
            #expect(try status(method, path, "00000000000000000000000000000001") == 404)
        }
        #expect(
            try status("POST", "/restores/{order}/stop", inner) == 403, "seen, but elsewhere is not theirs to order")
        #expect(try status("POST", "/restores/{order}/stop", own) == 303)
        let list = try place.ask("GET", "/jobs", [:], as: ours)
        let text = String(decoding: list.body, as: UTF8.self)
        #expect(text.contains(own) && text.contains(inner) && !text.contains(outer))
    }

    @Test(
        "a person has their own files put into a new folder on their machine, and nothing else, and sees no others' orders"
    )
    func ownFiles() throws {
        let fixture = try ConsoleFixture()
        let (machine, points) = try fixture.machine(
            "laptop",
            [
                [
                    .directory("/home/ann", mode: 0o755, uid: 1_000), .file("/home/ann/diary", "dear", uid: 1_000),
                    .directory("/home/bob", mode: 0o755, uid: 1_001),
                    .file("/home/bob/mine", "no", mode: 0o600, uid: 1_001),
                ]
            ])
        let place = Account.Place(machine: machine.id, path: try #require(TreePath("/home")), uid: 1_000)
        try fixture.account("ann", .person, places: [place])
        try fixture.account("bob", .person, places: [place])
        let (ann, bob) = (try fixture.signIn("ann"), try fixture.signIn("bob"))
        let at = "/machines/\(machine.id.hex)/restore"
        func fields(_ path: String, _ more: [(String, String)] = []) throws -> [(String, String)] {
            let pick = Hex.encode(try #require(TreePath(path)).bytes)
            return [("point", points[0].hex), ("hex", ""), ("pick", pick)] + more
        }
        #expect(try fixture.post(at, ann, try fields("/home/ann/diary")).text.contains("Into a new folder"))
        for path in ["/home/bob/mine", "/home/nothing", "/"] {
            #expect(try fixture.post("\(at)/order", ann, try fields(path)).status == 404, "\(path)")
        }
        // Whatever the form says of where to and how.
        let wish = try fields("/home/ann/diary", [("to", "in-place"), ("folder", "/etc"), ("delete", "1")])
        let answer = try fixture.post("\(at)/order", ann, wish.filter { $0.0 != "delete" })
        let order = try #require(try fixture.core.restores.newest(1).first)
        #expect(answer.header("Location") == "/restores/\(order.id.hex)" && order.wish.destination == .newFolder)
        #expect(try fixture.post("\(at)/order", ann, wish).status >= 400)
        let page = "/restores/\(order.id.hex)"
        #expect(try fixture.get(page, ann).status == 200 && fixture.get("/my-files", ann).text.contains(page))
        #expect(try fixture.get(page, bob).status == 404 && !fixture.get("/my-files", bob).text.contains(page))
        #expect(try fixture.post("\(page)/stop", bob).status == 404)
        // Through the API the same.
        let account = try #require(try fixture.core.catalog.account(named: "ann"))
        let token = try fixture.token(account)
        let listed = try fixture.json("GET", "/api/v1/restores", token)
        #expect((listed["orders"] as? [[String: Any]])?.count == 1, "ordered in a browser, seen with a token")
        for (to, target) in [("in-place", machine.id), ("new-folder", MachineID.random())] {
            let body = JSONValue.object([
                "source": .string(machine.id.hex), "machine": .string(target.hex), "point": .string(points[0].hex),
                "paths": .array([.string("/home/ann/diary")]), "to": .string(to),
            ])
            let status = try fixture.api("POST", "/api/v1/restores", token, body).status
            #expect(status == 403 || status == 404, "\(to)")
        }
        // Names that the machine meets on its way stay with it.
        let action = RestoreOrderPlan.Action(name: "create", count: 2, samples: ["/home/ann/closed/xyzzy"])
        for (state, plan) in [
            (RestoreOrder.State.planning, nil),
            (
                .planned,
                RestoreOrderPlan(destination: "/var/restored/x", actions: [action], bytesToWrite: 4, freeBytes: nil)
            ),
        ] {
            var report = RestoreOrderReport(state: state)
            report.plan = plan
            report.lines = ["looked at /home/ann/closed/xyzzy"]
            _ = try fixture.core.restores.take(report, of: order.id, from: machine.id)
        }
        let shown = try fixture.get(page, ann).text
        #expect(shown.contains("/var/restored/x") && !shown.contains("xyzzy"))
        let told = try fixture.api("GET", "/api/v1\(page)", token).text
        #expect(told.contains("planned") && !told.contains("xyzzy"))
        #expect(try fixture.get(page, ann).text.contains("name=\"plan\" value=\"1\""))
        #expect(try fixture.post("\(page)/confirm", ann, [("plan", "0")]).status == 409, "another plan than is there")
        #expect(try fixture.post("\(page)/confirm", ann).status == 409)
        #expect(try fixture.post("\(page)/confirm", ann, [("plan", "1")]).status == 303)
        #expect(try fixture.core.restores.order(order.id)?.isConfirmed == true)
    }

    @Test("what is taken back is what the machine named, whatever the order says")
    func forgedUndo() throws {
        let fixture = try ConsoleFixture()
        let (machine, points) = try fixture.machine("laptop", [[.file("/home/diary", "dear")]])
        let token = try fixture.token(try fixture.account("olga", .operator))
        let wish = RestoreWish(
            source: machine.id, target: machine.id, point: points[0], paths: [.root], destination: .inPlace)
        let order = try fixture.core.restores.add(wish, by: "olga")
        _ = try fixture.core.restores.take(RestoreOrderReport(state: .planning), of: order.id, from: machine.id)
        _ = try fixture.core.restores.take(RestoreOrderReport(state: .planned), of: order.id, from: machine.id)
        _ = try fixture.core.restores.confirm(order.id, seen: nil, by: "olga")
        _ = try fixture.core.restores.take(RestoreOrderReport(state: .running), of: order.id, from: machine.id)
        var report = RestoreOrderReport(state: .finished)
        var result = RestoreOrderResult()
        result.canBeUndone = true
        result.undoIdentifier = "its own"
        report.result = result
        _ = try fixture.core.restores.take(report, of: order.id, from: machine.id)
        var forged = RestoreWish.undo(try #require(try fixture.core.restores.order(order.id)))
        #expect(forged.undoIdentifier == "its own")
        forged.undoIdentifier = "another's"
        forged.paths = [try #require(TreePath("/etc/something/else"))]
        forged.point = .random()
        let answer = try fixture.api("POST", "/api/v1/restores", token, .object(forged.members))
        #expect(answer.status == 201)
        let undo = try RestoreOrder.decode(answer.body).wish
        #expect(undo.undoIdentifier == "its own" && undo.paths == [.root] && undo.point == points[0])
    }

    @Test("a person's orders end with the account, the role and the place, and leave room for others'")
    func ends() throws {
        let fixture = try ConsoleFixture()
        let (machine, points) = try fixture.machine("laptop", [[.file("/home/diary", "dear", uid: 1_000)]])
        let place = Account.Place(machine: machine.id, path: try #require(TreePath("/home")), uid: 1_000)
        let restores = fixture.core.restores
        func order(_ token: String) throws -> ServerAnswer {
            let wish = RestoreWish(
                source: machine.id, target: machine.id, point: points[0],
                paths: [try #require(TreePath("/home/diary"))], destination: .newFolder)
            return try fixture.api("POST", "/api/v1/restores", token, .object(wish.members))
        }
        restores.listen()
        for ending in ["disabled", "removed", "another role", "no place"] {
            let account = try fixture.account("p-\(ending.prefix(2))", .person, places: [place])
            let token = try fixture.token(account)
            let id = try RestoreOrder.decode(try order(token).body).id
            _ = restores.sweep()
            #expect(try restores.order(id)?.state == .ordered && restores.open(of: machine.id).map(\.id) == [id])
            let book = fixture.core.accounts
            switch ending {
            case "disabled": try book.setDisabled(account.id, true, by: "test", from: "")
            case "removed": try book.remove(account.id, by: "test", from: "")
            case "another role": try book.setRole(account.id, .auditor, groups: [], by: "test", from: "")
            default: try book.setPlaces(account.id, [], by: "test", from: "")
            }
            #expect(try restores.open(of: machine.id).isEmpty, "\(ending): the machine is not told any more")
            _ = restores.sweep()
            #expect(try restores.order(id)?.state == .stopped, "\(ending)")
        }
        var taken = 0
        for number in 0..<8 {
            let token = try fixture.token(try fixture.account("many\(number)", .person, places: [place]))
            for _ in 0..<9 where try order(token).status == 201 { taken += 1 }
        }
        #expect(taken == 32)
        #expect(try order(try fixture.token(try fixture.account("olga", .operator))).status == 201)
    }

    @Test("a form of another session orders nothing")
    func forms() throws {
        let place = try Place()
        let (administrator, other) = (try place.person(.administrator), try place.person(.owner))
        #expect(try place.order("mail", on: nil, as: (administrator.cookie, other.form)).status == 403)
        #expect(try place.core.restores.newest(10).isEmpty)
    }
}
