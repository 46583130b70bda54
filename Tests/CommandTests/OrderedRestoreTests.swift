import Foundation
import Testing

/// Restores that a server orders, with its real process and real agents: made by root, because agents put files back as root.
@Suite("Restores ordered through a server", .serialized, .enabled(if: geteuid() == 0))
struct OrderedRestoreTests {
    private final class Place {
        let place: ServerCommandTests.Place
        let administrator: String
        private var agents: [String: Process] = [:]

        init() throws {
            place = try ServerCommandTests.Place()
            try place.objects(
                ["server", "init", "--vault", place.vault, "--passphrase-file", place.passphrase], state: "server")
            try place.start(state: "server")
            try place.objects(["server", "check-sheet", place.sheet, "--vault", place.vault], state: "server")
            administrator = try place.token("administrator", server: "server")
            chmod(place.fixture.directory.path, 0o755)
        }

        var directory: String { place.fixture.directory.resolvingSymlinksInPath().path }

        /// A machine with files of its own, that follows the server's policy for them, and what it allows.
        func machine(_ name: String, files count: Int, size: Int = 1_000, allow: String) throws {
            let files = "\(directory)/\(name)-files"
            try FileManager.default.createDirectory(atPath: files, withIntermediateDirectories: true)
            for number in 0..<count {
                try Data("\(name) \(number) ".utf8 + [UInt8](repeating: UInt8(number % 251), count: size)).write(
                    to: URL(fileURLWithPath: "\(files)/file-\(number)"))
            }
            try allowing(name, allow)
            try place.enrol(name, server: "server")
            let policy = "\(directory)/\(name).yaml"
            try Data("name: \(name)\nprotect: [\(files)]\n".utf8).write(to: URL(fileURLWithPath: policy))
            try remote("policy", "put", policy)
            try remote("policy", "assign", name, "--machine", name)
            try start(name)
            try until("\(name) is protected") {
                let points = try remote("points", "--machine", name)
                return !points.isEmpty
            }
        }

        func allowing(_ name: String, _ text: String) throws {
            // No restore changes anything in its directory.
            let folder = "\(directory)/\(name)-consent"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            let file = "\(folder)/allow.yaml"
            try Data(text.replacing("HERE", with: directory).utf8).write(to: URL(fileURLWithPath: file))
            chmod(file, 0o644)
        }

        func start(_ name: String) throws {
            let process = Process()
            process.executableURL = ProgramFixture.program
            process.arguments = [
                "agent", "run", "--vault", place.address, "--allow", "\(directory)/\(name)-consent/allow.yaml",
                "--state",
                "\(directory)/state-\(name)",
            ]
            process.environment = place.fixture.environment
            process.standardInput = FileHandle.nullDevice
            process.standardOutput = FileHandle.nullDevice
            let log = "\(directory)/agent-\(name).log"
            if !FileManager.default.fileExists(atPath: log) {
                _ = FileManager.default.createFile(atPath: log, contents: nil)
            }
            process.standardError = FileHandle(forWritingAtPath: log)
            try process.run()
            agents[name] = process
        }

        func kill(_ name: String) {
            guard let process = agents.removeValue(forKey: name) else { return }
            Foundation.kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }

        @discardableResult
        func remote(_ arguments: String...) throws -> [[String: Any]] {
            try place.objects(
                arguments + ["--vault", place.address, "--token-file", administrator], state: "elsewhere")
        }

        func attempt(_ arguments: String...) throws -> ProgramFixture.Result {
            try place.run(
                arguments + ["--json", "--vault", place.address, "--token-file", administrator], state: "elsewhere")
        }

        /// The newest order as the server tells of it.
        func order(_ id: String) throws -> [String: Any] {
            let result = try attempt("orders", "show", id)
            return try #require(try ProgramFixture.objects(result).first)
        }

        func until(_ what: String, seconds: Double = 90, _ holds: () throws -> Bool) throws {
            let end = Date().addingTimeInterval(seconds)
            while try !holds() {
                guard Date() < end else {
                    Issue.record("\(what): it does not come")
                    return
                }
                Thread.sleep(forTimeInterval: 0.2)
            }
        }

        func close() {
            for process in agents.values { process.terminate() }
            for process in agents.values { process.waitUntilExit() }
            place.close()
        }
    }

    private func orderID(_ result: ProgramFixture.Result) throws -> String {
        let object = try ProgramFixture.objects(result).last { $0["order"] != nil }
        return try #require(object?["order"] as? String, "\(result.error)")
    }

    @Test("a lost file comes back where it was, after a plan, only when the machine allows it, and can be taken back")
    func inPlace() throws {
        let place = try Place()
        defer { place.close() }
        try place.machine("mail", files: 20, allow: "restore: {new-folder: HERE/restored}\n")
        let lost = "\(place.directory)/mail-files/file-3"
        let before = try Data(contentsOf: URL(fileURLWithPath: lost))
        let point = try #require(try place.remote("points", "--machine", "mail").last?["id"] as? String)
        try FileManager.default.removeItem(atPath: lost)

        // In place is not allowed by default, and the machine says what would allow it.
        let refused = try place.attempt("restore", point, lost, "--on", "mail", "--in-place", "--yes")
        #expect(refused.status == 1)
        let told = try place.order(try orderID(refused))
        #expect(told["state"] as? String == "refused")
        #expect((told["message"] as? String)?.contains("does not allow") == true)
        #expect(!FileManager.default.fileExists(atPath: lost))

        // A new folder is.
        let folder = try place.attempt("restore", point, lost, "--on", "mail", "--yes")
        #expect(folder.status == 0, "\(folder.error) \(folder.text)")
        let done = try place.order(try orderID(folder))
        #expect(done["state"] as? String == "finished" && done["files_written"] as? Int == 1)
        let destination = try #require(done["destination"] as? String)
        #expect(destination.hasPrefix("\(place.directory)/restored/"))
        #expect(try Data(contentsOf: URL(fileURLWithPath: destination + lost)) == before)

        // Allowed now; the plan is shown first, and nobody has agreed.
        try place.allowing("mail", "restore: {in-place: [HERE/mail-files]}\n")
        try Data("something else".utf8).write(to: URL(fileURLWithPath: lost))
        let rehearsed = try place.attempt("restore", point, lost, "--on", "mail", "--in-place", "--dry-run")
        #expect(rehearsed.status == 0, "\(rehearsed.error)")
        let plan = try #require(try ProgramFixture.objects(rehearsed).last { $0["plan_overwrite"] != nil })
        #expect((plan["plan_overwrite"] as? [String: Any])?["count"] as? Int == 1)
        #expect(try String(contentsOfFile: lost, encoding: .utf8) == "something else")
        let restored = try place.attempt("restore", point, lost, "--on", "mail", "--in-place", "--yes")
        #expect(restored.status == 0, "\(restored.error) \(restored.text)")
        #expect(try Data(contentsOf: URL(fileURLWithPath: lost)) == before)
        // And taken back.
        let undone = try place.attempt("orders", "undo", try orderID(restored), "--yes")
        #expect(undone.status == 0, "\(undone.error) \(undone.text)")
        #expect(try String(contentsOfFile: lost, encoding: .utf8) == "something else")
        // Two restores of one point: the first of them is not the last, and taking it back must not take the other.
        let other = "\(place.directory)/mail-files/file-5"
        let otherBefore = try Data(contentsOf: URL(fileURLWithPath: other))
        try Data("of today".utf8).write(to: URL(fileURLWithPath: other))
        let first = try place.attempt("restore", point, lost, "--on", "mail", "--in-place", "--yes")
        let second = try place.attempt("restore", point, other, "--on", "mail", "--in-place", "--yes")
        #expect(first.status == 0 && second.status == 0, "\(second.error)")
        #expect(try place.attempt("orders", "undo", try orderID(first), "--yes").status == 1)
        #expect(try Data(contentsOf: URL(fileURLWithPath: other)) == otherBefore)
        #expect(try Data(contentsOf: URL(fileURLWithPath: lost)) == before)
        let last = try place.attempt("orders", "undo", try orderID(second), "--yes")
        #expect(last.status == 0, "\(last.error)")
        #expect(try String(contentsOfFile: other, encoding: .utf8) == "of today")
        // Protection went on all the time.
        let status = try place.place.objects(["agent", "status"], state: "mail").first
        #expect(status?["restores_allowed"] as? String != nil)
        #expect(status?["problem"] is NSNull)
        let verified = try place.place.run(["audit", "verify"], state: "server")
        #expect(verified.status == 0, "\(verified.error)")
    }

    @Test(
        "an agent that is killed in the middle finishes after its next start; another machine's point comes by an order only"
    )
    func killed() throws {
        let place = try Place()
        defer { place.close() }
        try place.machine("mail", files: 3_000, size: 20_000, allow: "{}\n")
        try place.machine("web", files: 1, allow: "restore: {paths: [HERE/back]}\n")
        let point = try #require(try place.remote("points", "--machine", "mail").last?["id"] as? String)
        let target = "\(place.directory)/back/mail"
        // What comes from elsewhere has to be allowed by itself.
        let refused = try place.attempt(
            "restore", point, "\(place.directory)/mail-files", "--on", "web", "--to", target, "--yes")
        #expect(refused.status == 1)
        #expect(try place.order(try orderID(refused))["state"] as? String == "refused")
        let alone = try place.place.run(
            ["restore", point, "--to", "\(place.directory)/stolen", "--vault", place.place.address], state: "web")
        #expect(alone.status != 0, "without an order there is no key")

        try place.allowing("web", "restore: {paths: [HERE/back], other-machines: true}\n")
        let begun = try place.attempt(
            "restore", point, "\(place.directory)/mail-files", "--on", "web", "--to", target, "--yes", "--detach")
        let id = try orderID(begun)
        // Detached, the plan waits for somebody.
        try place.until("the plan") {
            try place.order(id)["state"] as? String == "planned" || place.order(id)["state"] as? String == "finished"
        }
        if try place.order(id)["state"] as? String == "planned" {
            try place.remote("orders", "confirm", id, "--detach")
        }
        func restored() -> Int {
            let names = try? FileManager.default.contentsOfDirectory(atPath: "\(target)\(place.directory)/mail-files")
            return names?.filter { $0.hasPrefix("file-") }.count ?? 0
        }
        try place.until("some files") { restored() > 50 }
        place.kill("web")
        let middle = restored()
        try place.start("web")
        try place.until("the end") { try place.order(id)["state"] as? String == "finished" }
        #expect(restored() == 3_000, "\(middle) were there when it was killed")
        for number in [0, 1_234, 2_999] {
            let name = "\(place.directory)/mail-files/file-\(number)"
            #expect(
                try Data(contentsOf: URL(fileURLWithPath: target + name))
                    == Data(contentsOf: URL(fileURLWithPath: name)))
        }
        let log = try place.attempt("orders", "show", id, "--log")
        #expect(middle >= 3_000 || log.text.contains("The machine goes on with it."), "\(log.text)")
        // It has ended, and the key with it.
        let after = try place.place.run(
            ["restore", point, "--to", "\(place.directory)/stolen", "--vault", place.place.address], state: "web")
        #expect(after.status != 0)
    }

    @Test("an order for a machine that is away waits, can be stopped, and expires")
    func away() throws {
        let place = try Place()
        defer { place.close() }
        try place.machine("mail", files: 3, allow: "restore: {new-folder: HERE/restored}\n")
        let point = try #require(try place.remote("points", "--machine", "mail").last?["id"] as? String)
        place.kill("mail")
        let first = try orderID(try place.attempt("restore", point, "--on", "mail", "--detach"))
        let second = try orderID(try place.attempt("restore", point, "--on", "mail", "--detach"))
        #expect(try place.order(first)["state"] as? String == "ordered")
        try place.remote("orders", "stop", first)
        #expect(try place.order(first)["state"] as? String == "stopped")
        // When it is back, it does what waits for it.
        try place.start("mail")
        try place.until("the plan") { try place.order(second)["state"] as? String == "planned" }
        let refused = try place.place.objects(["agent", "refuse", String(second.prefix(8))], state: "mail")
        #expect(refused.first?["orders"] as? Int == 1)
        try place.until("the refusal") { try place.order(second)["state"] as? String == "refused" }
    }
}
