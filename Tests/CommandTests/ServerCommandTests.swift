import Foundation
import Synchronization
import Testing

@Suite("A server and its machines, by the command line", .serialized)
struct ServerCommandTests {
    /// A vault with its key sheet, and what a server and its machines keep.
    final class Place {
        let fixture: ProgramFixture
        let vault: String
        let sheet: String
        let passphrase: String
        private(set) var server: Process?
        private(set) var address = ""

        init(ownerOnly: Bool = false) throws {
            fixture = try ProgramFixture()
            vault = fixture.directory.appendingPathComponent("vault").path
            sheet = fixture.directory.appendingPathComponent("sheet").path
            passphrase = fixture.directory.appendingPathComponent("passphrase").path
            try Data("correct horse battery\n".utf8).write(to: URL(fileURLWithPath: passphrase))
            try FileManager.default.createDirectory(
                at: fixture.directory.appendingPathComponent("files"), withIntermediateDirectories: true)
            try write("a.txt", "first\n")
            let made = try objects(
                ["vault", "init", "--vault", vault, "--passphrase-file", passphrase]
                    + (ownerOnly ? ["--owner-only"] : []), state: "owner")
            let words = try #require(made.lazy.compactMap { $0["key_sheet"] as? [String] }.first)
            try Data(words.joined(separator: " ").utf8).write(to: URL(fileURLWithPath: sheet))
        }

        var files: String { fixture.directory.appendingPathComponent("files").path }
        func write(_ name: String, _ text: String) throws {
            try Data(text.utf8).write(to: URL(fileURLWithPath: files).appendingPathComponent(name))
        }

        /// A file with an enrolment code.
        func codeFile(_ code: String) throws -> String {
            let file = fixture.directory.appendingPathComponent("code")
            try Data((code + "\n").utf8).write(to: file)
            return file.path
        }

        /// Runs a command with the state directory of that name.
        func run(_ arguments: [String], state: String) throws -> ProgramFixture.Result {
            try fixture.run(arguments + ["--state", fixture.directory.appendingPathComponent("state-\(state)").path])
        }

        /// Runs a command that must succeed, and gives what it prints with `--json`.
        @discardableResult
        func objects(_ arguments: [String], state: String) throws -> [[String: Any]] {
            let result = try run(arguments + ["--json"], state: state)
            #expect(result.status == 0, "\(arguments): \(result.status) \(result.error) \(result.text)")
            return try ProgramFixture.objects(result)
        }

        /// Starts the server and waits until it listens.
        func start(state: String, port: String = "0") throws {
            let output = fixture.directory.appendingPathComponent("server-\(UUID().uuidString)")
            try Data().write(to: output)
            let process = Process()
            process.executableURL = ProgramFixture.program
            process.arguments = [
                "server", "run", "--vault", vault, "--listen", "127.0.0.1", "--port", port, "--json", "--log-format",
                "json", "--state", fixture.directory.appendingPathComponent("state-\(state)").path,
            ]
            process.environment = fixture.environment
            process.standardInput = FileHandle.nullDevice
            process.standardOutput = try FileHandle(forWritingTo: output)
            process.standardError = FileHandle(
                forWritingAtPath: {
                    let path = output.path + ".log"
                    _ = FileManager.default.createFile(atPath: path, contents: nil)
                    return path
                }())
            try process.run()
            server = process
            for _ in 0..<600 {
                let text = String(decoding: try Data(contentsOf: output), as: UTF8.self)
                if let line = text.split(separator: "\n").first(where: { $0.contains(#""listening""#) }),
                    let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any],
                    let port = object["port"] as? Int
                {
                    address = "https://127.0.0.1:\(port)"
                    return
                }
                guard process.isRunning else { break }
                Thread.sleep(forTimeInterval: 0.05)
            }
            let log = (try? String(contentsOfFile: output.path + ".log", encoding: .utf8)) ?? ""
            Issue.record("the server does not listen: \(log)")
        }

        func stop() {
            server?.terminate()
            server?.waitUntilExit()
            server = nil
        }

        /// As a power cut does it to the program.
        func kill() {
            guard let server else { return }
            Foundation.kill(server.processIdentifier, SIGKILL)
            server.waitUntilExit()
            self.server = nil
        }

        func enrol(_ machine: String, server: String) throws {
            let code = try #require(
                try objects(["server", "token", "--address", address], state: server).first?["code"] as? String)
            try objects(["enrol", address, "--code-file", try codeFile(code), "--name", machine], state: machine)
        }

        /// A file with an access code.
        func token(_ role: String, server: String) throws -> String {
            let code = try #require(
                try objects(["server", "access", "--role", role, "--name", role], state: server).first?["code"]
                    as? String)
            let path = fixture.directory.appendingPathComponent("token-\(role)").path
            try Data((code + "\n").utf8).write(to: URL(fileURLWithPath: path))
            return path
        }

        func close() {
            stop()
            fixture.close()
        }
    }

    private func started() throws -> Place {
        let place = try Place()
        try place.objects(
            ["server", "init", "--vault", place.vault, "--passphrase-file", place.passphrase], state: "server")
        try place.start(state: "server")
        try place.objects(["server", "check-sheet", place.sheet, "--vault", place.vault], state: "server")
        return place
    }

    @Test("every command of the vault works through the server, for who may")
    func administration() throws {
        let place = try started()
        defer { place.close() }
        try place.enrol("mail", server: "server")
        try place.enrol("web", server: "server")
        for round in 0..<4 {
            try place.write("a.txt", "round \(round)\n")
            try place.objects(["backup", place.files, "--vault", place.address], state: "mail")
        }
        let administrator = try place.token("administrator", server: "server")
        let reader = try place.token("reader", server: "server")
        func remote(_ arguments: String..., token: String? = nil) throws -> [[String: Any]] {
            try place.objects(
                arguments + ["--vault", place.address, "--token-file", token ?? administrator], state: "elsewhere")
        }
        func refused(_ arguments: String..., token: String) throws -> ProgramFixture.Result {
            try place.run(arguments + ["--vault", place.address, "--token-file", token], state: "elsewhere")
        }

        // Reading, as a person.
        let points = try remote("points", "--machine", "mail", token: reader).compactMap { $0["id"] as? String }
        #expect(points.count == 4)
        #expect(try remote("points", "--all-machines").count >= 4)
        let listed = try remote("ls", "latest", place.files, "--machine", "mail", token: reader)
        #expect(listed.contains { ($0["path"] as? String)?.hasSuffix("a.txt") == true })
        let cat = try refused("cat", "latest", place.files + "/a.txt", "--machine", "mail", token: reader)
        #expect(cat.status == 0 && cat.text == "round 3\n", "\(cat.error)")
        let target = place.fixture.directory.appendingPathComponent("restored").path
        _ = try remote("restore", points[0], place.files, "--to", target, "--machine", "mail", token: reader)
        let restored = try FileManager.default.subpathsOfDirectory(atPath: target).filter { $0.hasSuffix("a.txt") }
        #expect(restored.count == 1)
        #expect(try String(contentsOfFile: target + "/" + restored[0], encoding: .utf8) == "round 0\n")

        // Looking after it.
        #expect(try remote("vault", "stats", token: reader).first?["points"] as? Int ?? 0 >= 4)
        for level in ["structure", "packs", "data"] {
            let report = try #require(try remote("vault", "verify", "--level", level).last)
            #expect(report["sound"] as? Bool == true && report["level"] as? String == level)
        }
        let hold = try remote(
            "points", "hold", points[0], "--machine", "mail", "--reference", "case 7")
        let holdID = try #require(hold.first?["hold"] as? String)
        #expect(try remote("points", "holds", token: reader).count == 1)
        let forbidden = try refused("points", "delete", points[0], "--machine", "mail", token: administrator)
        #expect(forbidden.status == 1 && forbidden.error.contains("hold"))
        _ = try remote("points", "release", String(holdID.prefix(8)))
        let denied = try refused("points", "delete", points[0], "--machine", "mail", token: reader)
        #expect(denied.status == 1)
        _ = try remote("points", "delete", points[0], "--machine", "mail")
        let kept = try remote("retention", "apply", "--keep-last", "1", "--machine", "mail")
        #expect(kept.last?["removed"] as? Int == 2)
        #expect(try remote("vault", "reclaim", "--dry-run").first?["dead_packs"] as? Int ?? 0 > 0)
        #expect(try remote("vault", "reclaim").last?["freed_bytes"] as? Int ?? 0 > 0)

        // Keys.
        #expect(try remote("vault", "keys", "list").count == 3)
        let added = try remote(
            "vault", "keys", "add", "--sheet", "--passphrase-file", place.passphrase)
        let slot = try #require(added.first?["slot"] as? Int)
        #expect(try remote("vault", "keys", "check-sheet", place.sheet).count == 1)
        _ = try remote("vault", "keys", "remove", "\(slot)", "--passphrase-file", place.passphrase)
        #expect(try remote("vault", "keys", "list").count == 3)
        let others = try refused("vault", "keys", "list", token: reader)
        #expect(others.status == 1)

        #expect(try remote("vault", "rebuild").first?["points"] as? Int ?? 0 >= 1)
        #expect(try remote("points", "--machine", "mail").count == 1)

        // A machine is no administrator, and is told what to do.
        let machine = try place.run(["vault", "stats", "--vault", place.address], state: "mail")
        #expect(machine.status == 1 && machine.error.contains("server access --role administrator"), "\(machine.error)")
        // Who lost the right has lost it.
        try place.objects(["server", "access", "--remove", "administrator"], state: "server")
        let gone = try refused("vault", "stats", token: administrator)
        #expect(gone.status == 1)
        let list = try place.objects(["server", "access", "--list"], state: "server")
        #expect(list.compactMap { $0["name"] as? String } == ["reader"])
    }

    @Test("asking for a server where there is none makes none")
    func nowhere() throws {
        let place = try Place()
        defer { place.close() }
        for command in [["machines"], ["token"], ["access", "--list"], ["alerts"], ["backup-now", "ann"]] {
            let result = try place.run(["server"] + command, state: "nowhere")
            #expect(result.status == 1, "\(command): \(result.text)")
            #expect(result.error.contains("There is no server"), "\(command): \(result.error)")
        }
        let state = place.fixture.directory.appendingPathComponent("state-nowhere/server")
        #expect(!FileManager.default.fileExists(atPath: state.path))
    }

    @Test("a lost server comes back from its vault and key sheet, and its machines do not notice")
    func recovery() throws {
        let place = try started()
        defer { place.close() }
        try place.enrol("mail", server: "server")
        try place.enrol("web", server: "server")
        for machine in ["mail", "web"] {
            try place.objects(["backup", place.files, "--vault", place.address], state: machine)
        }
        let viewer = try place.token("viewer", server: "server")
        // It does so while it runs, not only when it ends.
        var isSafe = false
        for _ in 0..<100 where !isSafe {
            let points = try place.objects(["points", "--all-machines", "--vault", place.vault], state: "owner")
            isSafe = points.contains { ($0["machine_name"] as? String)?.hasPrefix("holdfast-server ") == true }
            if !isSafe { Thread.sleep(forTimeInterval: 0.2) }
        }
        #expect(isSafe)
        let port = String(try #require(place.address.split(separator: ":").last))
        place.stop()
        let state = place.fixture.directory.appendingPathComponent("state-server")
        let identity = try Data(contentsOf: state.appendingPathComponent("server/identity.json"))
        try FileManager.default.removeItem(at: state)

        let lost = try place.run(["server", "run", "--vault", place.vault, "--port", "0"], state: "server")
        #expect(lost.status == 1 && lost.error.contains("no key to the vault"), "\(lost.error)")
        let recovered = try place.objects(
            ["server", "recover", "--from", place.vault, "--key-sheet", place.sheet], state: "new-server")
        #expect(recovered.first?["machines"] as? Int == 2)
        let fresh = place.fixture.directory.appendingPathComponent("state-new-server/server/identity.json")
        #expect(try Data(contentsOf: fresh) == identity)
        let twice = try place.run(
            ["server", "recover", "--from", place.vault, "--key-sheet", place.sheet], state: "new-server")
        #expect(twice.status == 1 && twice.error.contains("already"))

        try place.start(state: "new-server", port: port)
        try place.write("a.txt", "after the loss\n")
        for machine in ["mail", "web"] {
            let made = try place.objects(["backup", place.files, "--vault", place.address], state: machine)
            #expect(made.last?["new_incarnation"] as? Bool == false && made.last?["number"] as? Int == 2)
        }
        let result = try place.run(
            ["points", "--machine", "mail", "--vault", place.address, "--token-file", viewer, "--json"], state: "x")
        #expect(
            try ProgramFixture.objects(result).filter { $0["type"] as? String == "point" }.count == 2, "\(result.error)"
        )
        // The new host is safe in its turn, and new machines enrol without the sheet being asked for again.
        try place.enrol("third", server: "new-server")
    }

    @Test("a server that is killed while machines commit together has kept every point that it acknowledged")
    func killed() throws {
        let place = try started()
        defer { place.close() }
        let machines = ["one", "two", "three"]
        for machine in machines { try place.enrol(machine, server: "server") }
        let port = String(try #require(place.address.split(separator: ":").last))
        let acknowledged = Mutex<[String: Set<String>]>([:])
        for round in 0..<4 {
            let isOver = Atomic<Bool>(false)
            let group = DispatchGroup()
            for machine in machines {
                let files = place.fixture.directory.appendingPathComponent("of-\(machine)")
                try FileManager.default.createDirectory(at: files, withIntermediateDirectories: true)
                let (fixture, address) = (place.fixture, place.address)
                DispatchQueue.global().async(group: group) {
                    var count = 0
                    while !isOver.load(ordering: .relaxed) {
                        count += 1
                        try? Data("\(machine) \(round) \(count)".utf8).write(to: files.appendingPathComponent("a"))
                        let result = try? fixture.run([
                            "backup", files.path, "--vault", address, "--json", "--state",
                            fixture.directory.appendingPathComponent("state-\(machine)").path,
                        ])
                        guard let result, result.status == 0, let last = try? ProgramFixture.objects(result).last,
                            let point = last["point"] as? String
                        else { continue }
                        acknowledged.withLock { _ = $0[machine, default: []].insert(point) }
                    }
                }
            }
            Thread.sleep(forTimeInterval: Double.random(in: 0.8...2))
            isOver.store(true, ordering: .relaxed)
            place.kill()
            try place.start(state: "server", port: port)
            group.wait()
        }
        let kept = Set(
            try place.objects(["points", "--all-machines", "--vault", place.vault], state: "owner").compactMap {
                $0["id"] as? String
            })
        let all = acknowledged.withLock { $0 }
        #expect(all.values.allSatisfy { !$0.isEmpty && $0.isSubset(of: kept) }, "\(all)")
        let report = try place.objects(
            ["vault", "verify", "--level", "structure", "--vault", place.vault], state: "owner")
        #expect(report.last?["sound"] as? Bool == true)
    }

    @Test("a machine of the vault cannot put a state of its own in the place of the server's")
    func forgedState() throws {
        let place = try started()
        defer { place.close() }
        try place.enrol("holdfast-server evil", server: "server")
        let export = URL(fileURLWithPath: place.files).appendingPathComponent("export")
        try FileManager.default.createDirectory(at: export, withIntermediateDirectories: true)
        try Data(repeating: 7, count: 4_000).write(to: export.appendingPathComponent("server-state"))
        try place.objects(
            ["backup", export.path, "--label", "holdfast-server", "--vault", place.address],
            state: "holdfast-server evil")
        place.stop()
        let recovered = try place.objects(
            ["server", "recover", "--from", place.vault, "--key-sheet", place.sheet], state: "new")
        #expect(recovered.first?["machines"] as? Int == 1)
    }

    @Test(
        "an owner-only vault behind a server: machines write without the passphrase and read with it; the server cannot"
    )
    func ownerOnly() throws {
        let place = try Place(ownerOnly: true)
        defer { place.close() }
        try place.start(state: "server")
        try place.objects(["server", "check-sheet", place.sheet, "--vault", place.vault], state: "server")
        let line = try place.objects(["server", "token", "--address", place.address], state: "server")
        let code = try #require(line.first?["code"] as? String)
        let without = try place.run(["enrol", place.address, "--code-file", try place.codeFile(code)], state: "mail")
        #expect(without.status == 1 && without.error.contains("passphrase"), "\(without.error)")
        // The same code still holds for the same machine.
        try place.objects(
            [
                "enrol", place.address, "--code-file", try place.codeFile(code), "--name", "mail", "--passphrase-file",
                place.passphrase,
            ], state: "mail")
        try place.objects(["backup", place.files, "--vault", place.address], state: "mail")
        try place.write("a.txt", "second\n")
        try place.objects(["backup", place.files, "--vault", place.address], state: "mail")
        #expect(try place.objects(["points", "--vault", place.address], state: "mail").count == 2)
        let path = place.files + "/a.txt"
        let read = try place.run(
            ["cat", "latest", path, "--vault", place.address, "--passphrase-file", place.passphrase], state: "mail")
        #expect(read.status == 0 && read.text == "second\n", "\(read.error)")
        let sealed = try place.run(["cat", "latest", path, "--vault", place.address], state: "mail")
        #expect(sealed.status == 1)

        // An administrator without the passphrase looks after it and reads nothing.
        let token = try place.token("administrator", server: "server")
        func administer(_ arguments: String...) throws -> ProgramFixture.Result {
            try place.run(arguments + ["--vault", place.address, "--token-file", token], state: "x")
        }
        #expect(try administer("vault", "verify", "--level", "packs").status == 0)
        #expect(try administer("vault", "verify", "--level", "data").status == 1)
        #expect(try administer("cat", "latest", path, "--machine", "mail").status == 1)
        let hold = try administer(
            "points", "hold", "--from", "2020-01-01", "--machine", "mail", "--reference", "x", "--passphrase-file",
            place.passphrase)
        #expect(hold.status == 0, "\(hold.error)")
        #expect(try administer("retention", "apply", "--keep-last", "1", "--machine", "mail", "--json").status == 0)
        #expect(try place.objects(["points", "--vault", place.address], state: "mail").count == 2, "held")
    }
}
