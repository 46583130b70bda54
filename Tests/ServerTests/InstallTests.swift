import Catalog
import Client
import Foundation
import Model
import Platform
import Testing
import Vault

@testable import Server

/// The line that installs and enrols, as far as it can be tried without changing the machine; `scripts/test-releases` runs it to
/// its end in trees of every supported release.
@Suite("Installing from the server", .serialized)
struct InstallTests {
    /// What a shell has made of some text.
    struct Outcome: Sendable {
        var status: Int32
        var output: String
    }

    /// Runs a line as somebody does who pastes it, with programs of the test's own before those of the system.
    static func shell(
        _ line: String, programs: [String: String] = [:], input: String = "", shell: String = "/bin/bash"
    ) throws -> Outcome {
        let directory = NSTemporaryDirectory() + "holdfast-install-test-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        for (name, text) in programs {
            try Data("#!/bin/sh\n\(text)\n".utf8).write(to: URL(fileURLWithPath: "\(directory)/\(name)"))
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: "\(directory)/\(name)")
        }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: shell)
        process.arguments = ["-c", line]
        process.environment = ["PATH": "\(directory):/usr/bin:/bin", "HOME": directory, "TMPDIR": directory]
        let pipe = Pipe(), inward = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        process.standardInput = inward
        try process.run()
        try inward.fileHandleForWriting.write(contentsOf: Data(input.utf8))
        try inward.fileHandleForWriting.close()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return Outcome(status: process.terminationStatus, output: String(decoding: output, as: UTF8.self))
    }

    private static func line(_ server: ServerFixture, _ code: EnrolmentCode) throws -> String {
        try #require(try ServerCore.installLine(code, address: server.address, catalog: server.core.catalog))
    }

    @Test("the script is the one whose hash a line names, and names what is then sent")
    func serves() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let client = try RawClient(server)
            let script = try client.send("GET", "/install", as: .nobody)
            let text = String(decoding: script.body, as: UTF8.self)
            #expect(script.status == 200 && text.hasSuffix("\n"))
            let line = try Self.line(server, try server.core.makeEnrolmentCode(name: "test"))
            #expect(line.contains("'\(SHA256Sum.of(Array(text.utf8.dropLast())))  -'"))
            #expect(!line.contains("\n"))
            for name in [ServerFixture.program, ServerFixture.agent] {
                let file = try Data(contentsOf: URL(fileURLWithPath: "\(server.directory)/packages/\(name)"))
                let answer = try client.send("GET", "/install/\(name)", as: .nobody)
                #expect(answer.status == 200 && answer.body == Array(file), "\(name)")
                #expect(text.contains(SHA256Sum.of(Array(file))) && text.contains(name))
            }
            #expect(!text.contains("0.0.1"), "packages of another version are not offered")
            for name in ["holdfast_0.0.1-1_amd64.deb", "notes", "..%2Fserver%2Fidentity.json", "x"] {
                #expect(try client.send("GET", "/install/\(name)", as: .nobody).status == 404, "\(name)")
            }
        }
    }

    @Test("a package that was exchanged below the running server is not sent")
    func exchanged() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let file = "\(server.directory)/packages/\(ServerFixture.agent)"
            try Data(repeating: 1, count: 777).write(to: URL(fileURLWithPath: file))
            #expect(try RawClient(server).send("GET", "/install/\(ServerFixture.agent)", as: .nobody).status == 500)
        }
    }

    @Test("shells of every kind understand script and line")
    func syntax() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let text = String(decoding: try RawClient(server).send("GET", "/install", as: .nobody).body, as: UTF8.self)
            let line = try Self.line(server, try server.core.makeEnrolmentCode(name: "test"))
            for shell in ["/bin/sh", "/bin/bash"] {
                for piece in [text, line] {
                    let outcome = try Self.shell("exec \(shell) -n", input: piece, shell: shell)
                    #expect(outcome.status == 0, "\(shell): \(outcome.output)")
                }
            }
        }
    }

    @Test(
        "what does not fit is refused in words, before anything was changed and with the code unused",
        arguments: [
            (["id": "echo 1000"], "This is for root"),
            (["dpkg": "echo sparc"], "no package for this machine's architecture, sparc (it has: amd64)"),
            (["uname": "echo FreeBSD"], "This is FreeBSD"),
        ])
    func refuses(_ programs: [String: String], _ reason: String) async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let code = try server.core.makeEnrolmentCode(name: "test")
            var programs = ["id": "echo 0", "dpkg-query": "exit 1"].merging(programs) { $1 }
            for name in ["dpkg-deb", "systemctl"] { programs[name] = "echo was run: \(name); exit 1" }
            let outcome = try Self.shell(try Self.line(server, code), programs: programs)
            #expect(outcome.status == 1, "\(outcome.output)")
            #expect(outcome.output.contains(reason), "\(outcome.output)")
            #expect(outcome.output.contains("Nothing was changed."), "\(outcome.output)")
            #expect(!outcome.output.contains("was run"), "\(outcome.output)")
            #expect(try server.core.catalog.token(hash: code.token.hash)?.uses == 1)
            #expect(!outcome.output.contains(code.text) && !server.log.all.contains { $0.contains(code.token.text) })
        }
    }

    @Test("a script that somebody has changed on the way is not run", arguments: ["curl", "wget"])
    func changedScript(_ tool: String) async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let line = try Self.line(server, try server.core.makeEnrolmentCode(name: "test"))
            // What comes over the network is this, whatever was asked for.
            let outcome = try Self.shell(
                line,
                programs: [
                    "curl": tool == "curl" ? "echo 'echo was run'" : "exit 7",
                    "wget": "echo 'echo was run'",
                ])
            #expect(outcome.output.contains("nothing was done") && !outcome.output.contains("was run\n"))
            // An endless answer ends.
            let endless = try Self.shell(line, programs: ["curl": "exec cat /dev/zero", "wget": "exit 7"])
            #expect(endless.output.contains("nothing was done"), "\(endless.output)")
        }
    }

    @Test("wget does as well as curl")
    func wget() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let line = try Self.line(server, try server.core.makeEnrolmentCode(name: "test"))
            let outcome = try Self.shell(line, programs: ["curl": "exit 7", "id": "echo 1000"])
            #expect(outcome.output.contains("This is for root"), "\(outcome.output)")
        }
    }

    @Test("versions of packages are compared as Debian does, and one that cannot be read takes no other with it")
    func versions() throws {
        let order = ["1.0~rc1-1", "1.0-1", "1.0-2", "1.0-9", "1.0-10", "1.0-10a", "1.0-10+b", "1.0.1-1", "1.10-1"]
        for (index, version) in order.enumerated() {
            for (other, text) in order.enumerated() {
                #expect(PackageOffer.isOlder(version, than: text) == (index < other), "\(version) and \(text)")
            }
        }
        let directory = NSTemporaryDirectory() + "packages-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let version = ProgramVersion.current
        for revision in ["9", "10"] {
            try Data("package".utf8).write(
                to: URL(fileURLWithPath: "\(directory)/holdfast_\(version)-\(revision)_amd64.deb"))
        }
        try FileManager.default.createSymbolicLink(
            atPath: "\(directory)/holdfast-agent_\(version)-1_all.deb", withDestinationPath: "/nowhere/at/all")
        let offer = try PackageOffer(directory: Array(directory.utf8))
        #expect(offer.packages.map(\.version) == ["\(version)-10"])
        #expect(offer.problems.count == 1 && offer.problems[0].contains("holdfast-agent"))
    }

    @Test("a server without packages prints no line that installs, and its script still enrols who has the program")
    func nothingToOffer() throws {
        #expect(!PackageOffer.nothing.script.hasPackages)
        #expect(try PackageOffer(directory: Array("/nowhere/at/all".utf8)).packages.isEmpty)
        #expect(PackageOffer.nothing.script.text.contains("it has: none"))
    }
}
