import Foundation
import Testing

@Suite("Policies, by the command line", .serialized)
struct PolicyCommandTests {
    typealias Place = ServerCommandTests.Place

    private static func started() throws -> Place {
        let place = try Place()
        try place.objects(
            ["server", "init", "--vault", place.vault, "--passphrase-file", place.passphrase], state: "server")
        try place.start(state: "server")
        try place.objects(["server", "check-sheet", place.sheet, "--vault", place.vault], state: "server")
        return place
    }

    /// An agent that runs in the background.
    private final class Agent {
        let process = Process()
        let log: URL

        init(_ place: Place, _ arguments: [String], state: String) throws {
            log = place.fixture.directory.appendingPathComponent("agent-\(UUID().uuidString)")
            try Data().write(to: log)
            process.executableURL = ProgramFixture.program
            process.arguments =
                ["agent", "run"] + arguments + [
                    "--state", place.fixture.directory.appendingPathComponent("state-\(state)").path,
                ]
            process.environment = place.fixture.environment
            process.standardInput = FileHandle.nullDevice
            process.standardOutput = try FileHandle(forWritingTo: log)
            process.standardError = try FileHandle(forWritingTo: log)
            try process.run()
        }

        var output: String { (try? String(contentsOf: log, encoding: .utf8)) ?? "" }

        func stop() {
            if process.isRunning { process.terminate() }
            process.waitUntilExit()
        }
    }

    /// Asks until `isDone` says so of the answer.
    private static func eventually(
        _ what: String, seconds: Double = 30, _ agent: Agent? = nil, _ isDone: () throws -> Bool
    ) rethrows {
        let end = Date().addingTimeInterval(seconds)
        while Date() < end {
            if try isDone() { return }
            Thread.sleep(forTimeInterval: 0.1)
        }
        Issue.record("\(what) did not happen: \(agent?.output ?? "")")
    }

    private static func status(_ place: Place, _ state: String) throws -> [String: Any] {
        let result = try place.run(["agent", "status", "--json"], state: state)
        return try ProgramFixture.objects(result).first { $0["type"] as? String == "agent_status" } ?? [:]
    }

    private static func paths(_ place: Place, _ state: String) throws -> [String] {
        try status(place, state)["paths"] as? [String] ?? []
    }

    private static func policy(_ place: Place, _ name: String, _ text: String) throws -> String {
        let file = place.fixture.directory.appendingPathComponent("\(name).yaml").path
        try Data(("name: \(name)\n" + text).utf8).write(to: URL(fileURLWithPath: file))
        return file
    }

    @Test("check names each mistake with line and column, and asks nobody")
    func check() throws {
        let fixture = try ProgramFixture()
        defer { fixture.close() }
        let file = fixture.directory.appendingPathComponent("laptops.yaml")
        try Data("name: laptops\nprotect: [/home]\nexcludes: [a]\nschedule: dayly 02:00\n".utf8).write(to: file)
        let result = try fixture.run("policy", "check", "laptops.yaml")
        #expect(result.status == 1)
        #expect(
            result.lines == [
                "laptops.yaml:3:1: A policy has no key \"excludes\". Did you mean \"exclude\"?",
                "laptops.yaml:4:11: \"dayly 02:00\" is not a schedule. Did you mean \"daily 02:00\"?",
            ])
        let objects = try ProgramFixture.objects(fixture.run("policy", "check", "laptops.yaml", "--json"))
        #expect(objects.compactMap { $0["line"] as? Int } == [3, 4])
        try Data("name: laptops\nprotect: [/home]\n".utf8).write(to: file)
        #expect(try fixture.run("policy", "check", "laptops.yaml").status == 0)
        let effective = try fixture.run(
            "policy", "effective", "--class", "mobile", "--policy", "laptops.yaml")
        #expect(effective.status == 0)
        #expect(effective.lines.first == "# defaults < class mobile < laptops")
        #expect(effective.text.contains("# from laptops:2"))
        // Where there is no server, that is said, and none is made.
        let list = try fixture.run("policy", "list")
        #expect(list.status == 1 && list.error.contains("no server on this machine"))
        #expect(!FileManager.default.fileExists(atPath: fixture.directory.path + "/state/server.sqlite"))
    }

    @Test("a machine gets another key while its agent runs, and the old one opens nothing any more")
    func changeKey() throws {
        let place = try Self.started()
        defer { place.close() }
        try place.enrol("ann", server: "server")
        let agent = try Agent(
            place, ["--protect", place.files, "--vault", place.address, "--settle", "0.2"], state: "ann")
        defer { agent.stop() }
        func state(_ name: String) -> String { place.fixture.directory.appendingPathComponent("state-\(name)").path }
        try Self.eventually("the first backup", agent) { try Self.status(place, "ann")["points"] as? Int ?? 0 > 0 }
        for folder in ["servers", "vaults"] where FileManager.default.fileExists(atPath: state("ann") + "/" + folder) {
            try FileManager.default.createDirectory(
                atPath: state("stolen"), withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            try FileManager.default.copyItem(
                atPath: state("ann") + "/" + folder, toPath: state("stolen") + "/" + folder)
        }
        let points = ["points", "--vault", place.address]
        #expect(try place.run(points, state: "stolen").status == 0)
        let changed = try #require(try place.objects(["agent", "change-key"], state: "ann").first)
        #expect(changed["type"] as? String == "key_changed" && changed["old_refused"] as? Bool == true)
        #expect(try place.run(points, state: "stolen").status != 0)
        // And protection goes on.
        try place.write("b.txt", "after it")
        try place.objects(["backup", "--now"], state: "ann")
        let versions = try place.objects(["versions", place.files + "/b.txt", "--vault", place.address], state: "ann")
        #expect(!versions.isEmpty)
    }

    @Test("keys that are changed by several at once shut the machine out of nothing")
    func changeKeyAtOnce() throws {
        let place = try Self.started()
        defer { place.close() }
        try place.enrol("ann", server: "server")
        let agent = try Agent(
            place, ["--protect", place.files, "--vault", place.address, "--settle", "0.2"], state: "ann")
        defer { agent.stop() }
        try Self.eventually("the first backup", agent) { try Self.status(place, "ann")["points"] as? Int ?? 0 > 0 }
        for round in 1...4 {
            let changes = try (0..<4).map { _ in
                let process = Process()
                process.executableURL = ProgramFixture.program
                process.arguments = [
                    "agent", "change-key", "--state", place.fixture.directory.appendingPathComponent("state-ann").path,
                ]
                process.environment = place.fixture.environment
                process.standardInput = FileHandle.nullDevice
                process.standardOutput = FileHandle.nullDevice
                try process.run()
                return process
            }
            for change in changes {
                change.waitUntilExit()
                #expect(change.terminationStatus == 0)
            }
            try place.write("b.txt", "round \(round)")
            try place.objects(["backup", "--now"], state: "ann")
            #expect(try place.run(["points", "--vault", place.address], state: "ann").status == 0)
        }
    }

    @Test("the server speaks HTTP/1.1 and HTTP/2")
    func protocols() throws {
        let place = try Self.started()
        defer { place.close() }
        for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
            let curl = Process()
            let output = Pipe()
            curl.executableURL = URL(fileURLWithPath: "/usr/bin/curl")
            curl.arguments = [
                "-sk", "--max-time", "20", option, "-o", "/dev/null", "-w", "%{http_version} %{http_code}",
                place.address + "/api/v1/identity",
            ]
            curl.standardOutput = output
            try curl.run()
            let text = String(decoding: try output.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
            curl.waitUntilExit()
            #expect(text == "\(version) 200")
        }
    }

    @Test("an administrator puts, shows, assigns and removes, on the server and from elsewhere")
    func administration() throws {
        let place = try Self.started()
        defer { place.close() }
        try place.enrol("ann", server: "server")
        let token = try place.token("administrator", server: "server")
        let viewer = try place.token("viewer", server: "server")
        let file = try Self.policy(place, "laptops", "protect: [/home]\n")
        func remote(_ arguments: String..., token other: String? = nil) throws -> [[String: Any]] {
            try place.objects(
                arguments + ["--vault", place.address, "--token-file", other ?? token], state: "elsewhere")
        }
        #expect(try remote("policy", "put", file).first?["revision"] as? Int == 1)
        #expect(try place.objects(["policy", "put", file], state: "server").first?["revision"] as? Int == 1)
        try Data("name: laptops\nprotect: [/home, /srv]\n".utf8).write(to: URL(fileURLWithPath: file))
        #expect(try place.objects(["policy", "put", file], state: "server").first?["revision"] as? Int == 2)
        let strange = try place.run(["policy", "assign", "laptops", "--group", "defualt"], state: "server")
        #expect(strange.status == 0 && strange.error.contains("No machine is in the group defualt yet."))
        _ = try remote("policy", "assign", "--none", "--group", "defualt")
        let assigned = try place.run(["policy", "assign", "laptops", "--group", "default"], state: "server")
        #expect(assigned.status == 0 && assigned.error.isEmpty)
        _ = try remote("policy", "machine", "ann", "--class", "mobile", "--groups", "default,berlin")
        let machine = try #require(try remote("policy", "machine", token: viewer).first)
        #expect(machine["class"] as? String == "mobile" && machine["groups"] as? [String] == ["default", "berlin"])
        let effective = try #require(try remote("policy", "effective", "ann", token: viewer).first)
        #expect(effective["layers"] as? [String] == ["defaults", "class mobile", "laptops"])
        // The machine asks for its own.
        let own = try #require(
            try place.objects(["policy", "effective", "--vault", place.address], state: "ann").first)
        #expect(own["text"] as? String == effective["text"] as? String)
        #expect(try remote("policy", "list").first?["groups"] as? [String] == ["default"])
        #expect(
            try place.run(
                ["policy", "show", "laptops", "--revision", "1", "--vault", place.address, "--token-file", viewer],
                state: "elsewhere"
            ).text == "name: laptops\nprotect: [/home]\n")
        let denied = try place.run(
            ["policy", "put", file, "--vault", place.address, "--token-file", viewer], state: "elsewhere")
        #expect(denied.status == 1 && denied.error.contains("server access"))
        let used = try place.run(["policy", "remove", "laptops"], state: "server")
        #expect(used.status == 1 && used.error.contains("in use by group default"))
        _ = try remote("policy", "assign", "--none", "--group", "default")
        _ = try remote("policy", "remove", "laptops")
        let changes = try remote("policy", "changes").compactMap { $0["text"] as? String }
        #expect(changes.first == "removed policy laptops" && changes.last == "put policy laptops, revision 1")
        let dry = try #require(try remote("retention", "apply", "--dry-run").last)
        #expect(dry["removed"] as? Int == 0 && dry["dry_run"] as? Bool == true)
    }

    @Test(
        "an agent follows its policy: new paths, schedules, orders and locks, also without the server",
        .enabled(if: geteuid() == 0))
    func following() throws {
        let place = try Self.started()
        defer { place.close() }
        try place.enrol("ann", server: "server")
        let other = place.fixture.directory.appendingPathComponent("other").path
        let nightly = place.fixture.directory.appendingPathComponent("nightly").path
        for folder in [other, nightly] {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            try Data("here\n".utf8).write(to: URL(fileURLWithPath: folder + "/b.txt"))
        }
        func put(_ text: String) throws {
            try place.objects(["policy", "put", try Self.policy(place, "laptops", text)], state: "server")
        }
        try put("protect: [\(place.files)]\nsettle: 100ms\n")
        try place.objects(["policy", "assign", "laptops", "--group", "default"], state: "server")
        let files = URL(fileURLWithPath: place.files).resolvingSymlinksInPath().path

        var agent = try Agent(place, ["--vault", place.address], state: "ann")
        defer { agent.stop() }
        try Self.eventually("the first path", agent) { try Self.paths(place, "ann") == [files] }
        try place.write("a.txt", "second\n")
        try place.objects(["backup", "--now"], state: "ann")
        func ls(_ folder: String) throws -> Bool {
            try place.run(["ls", "latest", folder, "--vault", place.address], state: "ann").status == 0
        }
        #expect(try ls(place.files + "/a.txt"))
        #expect(try !ls(other + "/b.txt"))

        // Another path, and one with a schedule.
        try put(
            "protect: [\(place.files), \(other), {path: \(nightly), mode: scheduled}, /not/there]\nsettle: 100ms\n"
                + "link: {limits: [80Mbit/s]}\n")
        try Self.eventually("the second path", agent) { try Self.paths(place, "ann").count == 2 }
        try Self.eventually("the second path is stored", agent) { try ls(other + "/b.txt") }
        func scheduled() throws -> Int {
            try place.objects(["points", "--vault", place.address], state: "ann").count {
                $0["kind"] as? String == "scheduled"
            }
        }
        try Self.eventually("the first scheduled run", agent) { try scheduled() == 1 }
        let text = try place.run(["agent", "status"], state: "ann").text
        #expect(text.contains("Scheduled (daily 02:00): ") && text.contains("Not on this machine: /not/there"))
        #expect(text.contains("Limits of the link: 80Mbit/s"))

        // An order of the server.
        try place.objects(["server", "backup-now", "ann"], state: "server")
        try Self.eventually("the order", agent) { try scheduled() == 2 }

        // What its user may do.
        try place.objects(["agent", "pause"], state: "ann")
        try Self.eventually("the pause", agent) { try Self.paths(place, "ann").isEmpty }
        try place.objects(["agent", "resume"], state: "ann")
        try Self.eventually("it goes on", agent) { try Self.paths(place, "ann").count == 2 }

        // What is locked.
        try put("protect: [\(place.files)]\nlockdown: [pause, change-policy]\n")
        try Self.eventually("the lock", agent) { try Self.paths(place, "ann") == [files] }
        let pause = try place.run(["agent", "pause"], state: "ann")
        #expect(pause.status == 1 && pause.error.contains("does not allow"))
        agent.stop()
        let own = try place.run(["agent", "run", "--protect", other, "--vault", place.address], state: "ann")
        #expect(own.status == 1 && own.error.contains("laptops:3"), "\(own.error)")

        // Without the server.
        place.stop()
        let offline = try place.run(["policy", "effective", "--vault", place.address], state: "ann")
        #expect(offline.status == 0 && offline.text.contains("change-policy"), "\(offline.error)")
        agent = try Agent(place, ["--vault", place.address], state: "ann")
        try Self.eventually("what was told last", agent) { try Self.paths(place, "ann") == [files] }
        let locked = try place.run(["agent", "pause"], state: "ann")
        #expect(locked.status == 1)
    }

    @Test("a machine without a server follows a policy file", .enabled(if: geteuid() == 0))
    func byFile() throws {
        let place = try Place()
        defer { place.close() }
        try place.objects(
            ["vault", "join", "--vault", place.vault, "--passphrase-file", place.passphrase], state: "ann")
        let other = place.fixture.directory.appendingPathComponent("other").path
        try FileManager.default.createDirectory(atPath: other, withIntermediateDirectories: true)
        let wrong = try place.run(
            [
                "agent", "run", "--policy", try Self.policy(place, "own", "protects: [/x]\n"), "--vault", place.vault,
            ], state: "ann")
        #expect(wrong.status == 2 && wrong.error.contains("own.yaml:2:1: "), "\(wrong.error)")
        let file = try Self.policy(place, "own", "protect: [\(place.files)]\n")
        let agent = try Agent(place, ["--policy", file, "--vault", place.vault], state: "ann")
        defer { agent.stop() }
        try Self.eventually("the first path", agent) { try Self.paths(place, "ann").count == 1 }
        _ = try Self.policy(place, "own", "protect: [\(place.files), \(other)]\n")
        try Self.eventually("the second path", agent) { try Self.paths(place, "ann").count == 2 }
        _ = try Self.policy(place, "own", "protect: nonsense\n")
        try Self.eventually("the mistake", agent) {
            (try Self.status(place, "ann")["policy"] as? [String: Any])?["problem"] as? String != nil
        }
        #expect(try Self.paths(place, "ann").count == 2, "what was right goes on")
    }
}
