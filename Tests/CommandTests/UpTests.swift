import Foundation
import TestSupport
import Testing

/// `holdfast up`: everything in one, from nothing.
@Suite("Protecting a machine with one command", .serialized, .enabled(if: geteuid() == 0))
struct UpTests {
    private struct Home {
        let fixture: ProgramFixture
        var data: String { fixture.directory.path + "/data" }
        var files: String { fixture.directory.path + "/files" }

        init() throws {
            fixture = try ProgramFixture()
            try FileManager.default.createDirectory(atPath: files + "/folder", withIntermediateDirectories: true)
            for index in 0..<40 {
                try Data("file \(index)\n".utf8).write(to: URL(fileURLWithPath: files + "/folder/\(index)"))
            }
        }

        func run(_ further: String...) throws -> ProgramFixture.Result {
            try fixture.run(["up", files, "--data", data] + further)
        }
    }

    @Test("without a terminal it proves itself and ends; a second run goes on with the same vault and port")
    func proof() throws {
        let home = try Home()
        defer { home.fixture.close() }
        let first = try home.run("--port", "0", "--json")
        #expect(first.status == 0, "\(first.error)")
        let events = try ProgramFixture.objects(first)
        let start = try #require(events.first { $0["type"] as? String == "up" })
        #expect((start["key_sheet"] as? [String])?.count == 16)
        let steps = events.filter { $0["type"] as? String == "proof" }
        #expect(steps.compactMap { $0["step"] as? String } == ["saved", "changed", "deleted", "restored"])
        #expect(steps.last?["equal"] as? Bool == true)
        #expect(steps.allSatisfy { ($0["milliseconds"] as? Int ?? 0) > 0 })
        let backup = try #require(events.first { $0["type"] as? String == "first_backup" })
        #expect(backup["files"] as? Int == 40)

        let second = try home.run("--json")
        #expect(second.status == 0, "\(second.error)")
        let again = try #require(try ProgramFixture.objects(second).first)
        #expect(again["vault"] as? String == start["vault"] as? String)
        #expect(again["server"] as? String == start["server"] as? String)
        #expect(again["key_sheet"] == nil && again["new"] as? Bool == false)
        // For nobody else's eyes.
        let mode = try FileManager.default.attributesOfItem(atPath: home.data)[.posixPermissions] as? Int
        #expect(mode == 0o700)
        let secret = try FileManager.default.attributesOfItem(atPath: home.data + "/passphrase")
        #expect(secret[.posixPermissions] as? Int == 0o600)
    }

    @Test("a vault that was written to directly before, or whose server's state is lost, is gone on with")
    func before() throws {
        let home = try Home()
        defer { home.fixture.close() }
        try FileManager.default.createDirectory(atPath: home.data, withIntermediateDirectories: true)
        try Data("of a time before the server\n".utf8).write(to: URL(fileURLWithPath: home.data + "/passphrase"))
        let own = ["--vault", home.data + "/vault", "--state", home.data + "/state"]
        let made = try home.fixture.run(["vault", "init", "--passphrase-file", home.data + "/passphrase"] + own)
        #expect(made.status == 0, "\(made.error)")
        let saved = try home.fixture.run(["backup", home.files] + own)
        #expect(saved.status == 0, "\(saved.error)")
        for round in 0..<2 {
            let up = try home.run("--port", "0", "--json")
            #expect(up.status == 0, "\(up.error)")
            let events = try ProgramFixture.objects(up)
            #expect(events.first?["new"] as? Bool == false)
            #expect(
                events.contains { $0["type"] as? String == "proof" && $0["equal"] as? Bool == true }, "round \(round)")
            try FileManager.default.removeItem(atPath: home.data + "/server")
        }
    }

    @Test("on a terminal it goes on, and every command that it prints does what is said of it")
    func commands() throws {
        let home = try Home()
        defer { home.fixture.close() }
        let screen = home.fixture.directory.appendingPathComponent("screen")
        let line = "\(ProgramFixture.program.path) up \(home.files) --data \(home.data) --port 0"
        let process = try KillableProcess(
            "/usr/bin/script", ["-qfec", line, "/dev/null"], environment: home.fixture.environment, output: screen)
        defer {
            process.kill()
            process.wait()
        }
        var text = ""
        let end = ContinuousClock.now + .seconds(120)
        while ContinuousClock.now < end, !text.contains("Control-C ends it") {
            usleep(50_000)
            // A terminal ends lines with a carriage return too.
            let bytes = (try? Data(contentsOf: screen)) ?? Data()
            text = String(decoding: bytes.filter { $0 != 13 }, as: UTF8.self)
        }
        try #require(text.contains("Control-C ends it"), "\(text)")
        #expect(text.contains("equal"))
        let lines = text.split(separator: "\n").map(String.init)
        let commands = lines.filter {
            $0.hasPrefix("  \(ProgramFixture.program.path) ") || $0.hasPrefix("  curl ")
        }
        try #require(commands.count == 5, "\(commands)")
        // Two runs with one directory would write the same things twice.
        let other = try home.run("--port", "0")
        #expect(other.status == 1 && other.error.contains("runs already"), "\(other.error)")
        // The console, last; its link opens where the owner's password is set, and nothing else does.
        let link = try #require(lines.last { $0.hasPrefix("  https://") }).trimmingCharacters(in: .whitespaces)
        #expect(link.contains("/welcome/"), "\(link)")
        for (address, status) in [(link, "200"), (String(link.dropLast(4)) + "aaaa", "404")] {
            let told = home.fixture.directory.appendingPathComponent("told-\(status)")
            let curl = try KillableProcess(
                "/usr/bin/curl", ["-sk", "-o", "/dev/null", "-w", "%{http_code}", address],
                environment: home.fixture.environment, output: told)
            #expect(curl.wait() == 0)
            #expect(try String(contentsOf: told, encoding: .utf8) == status, "\(address)")
        }
        // The words of the key sheet, as they stand on the screen.
        let words = text.matches(of: /\b(\d{1,2}) ([a-z]{3,9})\b/)
            .compactMap { found in Int(found.1).map { ($0, String(found.2)) } }
            .filter { (1...16).contains($0.0) }.sorted { $0.0 < $1.0 }.prefix(16).map(\.1)
        let input = home.fixture.directory.appendingPathComponent("words")
        try Data((words.joined(separator: " ") + "\n").utf8).write(to: input)
        var outputs: [String] = []
        for var command in commands {
            // A person types the words; here they come from a file.
            if command.contains(" check-sheet ") { command += " \(input.path)" }
            let output = home.fixture.directory.appendingPathComponent("command-\(outputs.count)")
            let shell = try KillableProcess(
                "/bin/sh", ["-c", "exec \(command.trimmingCharacters(in: .whitespaces)) < \(input.path)"],
                environment: home.fixture.environment, output: output)
            let status = shell.wait()
            let printed = try String(contentsOf: output, encoding: .utf8)
            #expect(status == 0, "\(command): \(printed)")
            outputs.append(printed)
        }
        defer { try? FileManager.default.removeItem(atPath: "/tmp/rescued\(home.fixture.directory.path)") }
        #expect(outputs[0].contains("The key sheet opens the vault"), "\(outputs[0])")
        #expect(outputs[1].contains("\"ok\"") || outputs[1].contains("status"), "\(outputs[1])")
        #expect(outputs[2].contains("here and in the vault"), "\(outputs[2])")
        #expect(outputs[3].contains("Restored"), "\(outputs[3])")
        #expect(outputs[4].contains("| holdfast enrol https://"), "\(outputs[4])")
        // Ended by Control-C, cleanly.
        process.signal(SIGINT)
    }

    @Test("a port that is taken and a directory that cannot be made are said clearly")
    func badInput() throws {
        let home = try Home()
        defer { home.fixture.close() }
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { Glibc.close(listener) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let port = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer -> UInt16 in
                _ = bind(listener, pointer, length)
                _ = listen(listener, 1)
                _ = getsockname(listener, pointer, &length)
                return 0
            }
        }
        _ = port
        let taken = Int(UInt16(bigEndian: address.sin_port))
        let refused = try home.run("--port", "\(taken)")
        #expect(refused.status == 1 && refused.error.contains("listens on port \(taken) already"), "\(refused.error)")
        let file = home.fixture.directory.path + "/plain"
        try Data("x".utf8).write(to: URL(fileURLWithPath: file))
        let impossible = try home.fixture.run("up", home.files, "--data", file + "/below")
        #expect(impossible.status == 1 && impossible.error.contains("cannot be"), "\(impossible.error)")
        let missing = try home.fixture.run("up", home.fixture.directory.path + "/nowhere", "--data", home.data)
        #expect(missing.status == 1, "\(missing.error)")
    }
}
