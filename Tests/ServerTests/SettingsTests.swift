import Catalog
import Client
import Model
import Policy
import TestSupport
import Testing
import Vault

@testable import Server

@Suite("Settings and previews over the protocol")
struct SettingsTests {
    private static func administrator(_ server: ServerFixture) throws -> ServerRequest {
        let code = AccessToken(
            hash: SecretToken.random().hash, role: .administrator, name: "ann", group: "", uses: nil, expires: nil,
            created: server.core.time)
        return ServerRequest(
            method: "PUT", path: "/api/v1/settings", parameters: [:], query: [:], body: [],
            principal: .person(try #require(Person(code))))
    }

    @Test(
        "settings come back without the password, what cannot work changes nothing, and each change is in the audit log"
    )
    func settings() async throws {
        let server = try await ServerFixture.start()
        let put = try #require(SettingsOperations.all.first { $0.method == "PUT" })
        var request = try Self.administrator(server)
        request.body = Array(
            #"{"mail_to":["a@b.c"],"mail_server":{"host":"mail.example.org","port":587,"security":"upgrade","user":"u","password":"very secret"},"report_to":["d@e.f"],"console_address":"https://backup.example.org:8443"}"#
                .utf8)
        let answer = String(decoding: try put.run(server.core, request).body, as: UTF8.self)
        #expect(answer.contains("mail.example.org") && !answer.contains("very secret"))
        let kept = try AlertSettings.load(server.core.catalog)
        #expect(kept.submission?.password == "very secret" && kept.mailTo == ["a@b.c"])
        #expect(try WeeklyReport.load(server.core.catalog).mailTo == ["d@e.f"])
        #expect(server.core.consoleAddress == "https://backup.example.org:8443")
        #expect(try server.core.catalog.auditLines(before: .max, limit: 1).first?.action == "settings.changed")
        for wrong in [
            #"{"mail_to":["x@y.z"],"report_to":["not an address\n"]}"#,
            #"{"mail_to":["x@y.z"],"console_address":"ftp://x"}"#,
            #"{"mail_to":["x@y.z"],"heartbeat":"http://elsewhere.example.org"}"#,
            #"{"mail_to":["x@y.z"],"heartbeat":"http://127.0.0.1:2375/containers"}"#,
            #"{"mail_to":["x@y.z"],"heartbeat":"HTTP://localhost:2375/"}"#,
            #"{"mail_to":["x@y.z"],"mail_server":{"host":"mail.example.org","port":25,"security":"none"}}"#,
        ] {
            request.body = Array(wrong.utf8)
            #expect(throws: (any Error).self, "\(wrong)") { try put.run(server.core, request) }
            #expect(try AlertSettings.load(server.core.catalog).mailTo == ["a@b.c"], "\(wrong)")
        }
        request.body = Array(#"{"mail_server":{}}"#.utf8)
        _ = try put.run(server.core, request)
        #expect(try AlertSettings.load(server.core.catalog).submission == nil)
        await server.stop()
    }

    @Test("a change that names nothing of the weekly report does not save it")
    func reportAlone() async throws {
        let server = try await ServerFixture.start()
        var request = try Self.administrator(server)
        let put = try #require(SettingsOperations.all.first { $0.method == "PUT" })
        request.body = Array(#"{"lag_seconds":90}"#.utf8)
        _ = try put.run(server.core, request)
        #expect(try server.core.catalog.setting(WeeklyReport.setting) == nil)
        request.body = Array(#"{"report_hour":9}"#.utf8)
        _ = try put.run(server.core, request)
        #expect(try WeeklyReport.load(server.core.catalog).hour == 9)
        await server.stop()
    }

    @Test("what answers without encryption on the server itself is named there, not over the network; there it stays")
    func loopback() async throws {
        let server = try await ServerFixture.start()
        let request = try Self.administrator(server)
        let add = try #require(SettingsOperations.all.first { $0.method == "POST" })
        func post(_ url: String) throws {
            var posted = request
            posted.body = JSONValue.object(["url": .string(url)]).encoded()
            _ = try add.run(server.core, posted)
        }
        let error = #expect(throws: HoldfastError.self) { try post("http://127.0.0.1:2375/images/create") }
        #expect(error?.code == .usage)
        #expect(try AlertSettings.load(server.core.catalog).webhooks.isEmpty)
        // As `holdfast server alerts` does it.
        var settings = try AlertSettings.load(server.core.catalog)
        settings.webhooks = [.init(url: "http://127.0.0.1:9/hook", secret: Array("0123456789abcdef".utf8))]
        settings.heartbeat = "http://localhost:9/beat"
        try settings.save(server.core.catalog)
        try post("https://127.0.0.1:9/hook")
        try post("http://127.0.0.1:9/hook")
        let put = try #require(SettingsOperations.all.first { $0.method == "PUT" })
        var changed = request
        changed.body = Array(#"{"heartbeat":"http://localhost:9/beat","lag_seconds":60}"#.utf8)
        _ = try put.run(server.core, changed)
        let kept = try AlertSettings.load(server.core.catalog)
        #expect(kept.webhooks.count == 2 && kept.heartbeat == "http://localhost:9/beat" && kept.lagSeconds == 60)
        await server.stop()
    }

    @Test("of two who change the settings of alerts at once, none takes the other's change away")
    func together() async throws {
        let server = try await ServerFixture.start()
        let catalog = server.core.catalog
        for round in 0..<2 {
            var first = try AlertSettings.load(catalog)
            var second = try AlertSettings.load(catalog)
            first.mailTo.append("first\(round)@b.c")
            second.mailTo.append("second\(round)@b.c")
            try first.save(catalog)
            let error = #expect(throws: HoldfastError.self) { try second.save(catalog) }
            #expect(error?.code == .busy)
        }
        #expect(try AlertSettings.load(catalog).mailTo == ["first0@b.c", "first1@b.c"])
        await server.stop()
    }

    @Test("a preview says what would be different for whom, and keeps nothing")
    func previews() async throws {
        let server = try await ServerFixture.start()
        let book = server.core.policies(by: "test")
        var machines: [MachineID] = []
        for number in 0..<2 {
            let machine = ManagedMachine(
                id: .random(), name: "m\(number)", group: "g\(number)", key: SigningKey.random().verifyingKey,
                enrolled: server.core.time, lastSeen: server.core.time)
            try server.core.catalog.add(machine)
            machines.append(machine.id)
        }
        _ = try book.put("name: a\nretention: {default: {daily: 14}}\n", file: "a")
        try book.assign("a", toGroup: "g0")
        let changed = "name: a\nretention: {default: {daily: 30}}\n"
        let previews = try book.preview(changed, file: "a")
        #expect(previews.map(\.name) == ["m0"] && previews[0].isChange)
        #expect(
            previews[0].after.yaml().contains("daily: 30") && previews[0].before?.yaml().contains("daily: 14") == true)
        #expect(
            try !book.preview("name: a\n# only a remark\nretention: {default: {daily: 14}}\n", file: "a")[0].isChange)
        // One that does not have it is shown as if it had.
        let other = try book.preview(changed, file: "a", for: [machines[1]])
        #expect(other.map(\.name) == ["m1"] && other[0].isChange)
        #expect(throws: (any Error).self) { try book.preview("name: a\nprotekt: [/]\n", file: "a") }
        #expect(try book.policy("a", revision: nil).revision.revision == 1)
        await server.stop()
    }
}
