import Foundation
import Testing

private let searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

private func hasNetworks() -> Bool {
    let tools = ["git", "ip", "nsenter", "python3"]
    return geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0
        && tools.allSatisfy { tool in
            searchPath.split(separator: ":").contains { access("\($0)/\(tool)", X_OK) == 0 }
        }
}

/// The scripts that let the real program live through bad days, with the program that was built beside the tests and in a form
/// that takes a minute or two. They take root and `/dev/net/tun`, for networks of their own.
@Suite(
    "A day in the life and bad links, in short", .serialized,
    .enabled("takes root, /dev/net/tun, git, ip and nsenter") { hasNetworks() })
struct BadDayScriptTests {
    @Test("every recorded moment of a day with a cut network and killed programs restores to what the recording says")
    func day() throws {
        let result = try run("day-in-the-life", "--seconds", "60", "--settle", "0.3")
        #expect(result.status == 0, "\(result.text)")
    }

    @Test("a day of which something was not protected is found out")
    func sabotage() throws {
        let result = try run("day-in-the-life", "--seconds", "6", "--settle", "0.3", "--sabotage")
        #expect(result.status == 1 && result.text.contains("WRONG  @"), "\(result.text)")
        #expect(result.text.contains("unprotected.txt: recorded ('file'"), "\(result.text)")
    }

    @Test("on a link that is cut, loses packets, is far or slow nothing is lost, and nothing comes twice")
    func links() throws {
        let result = try run("bad-links", "--quick", "cut", "loss", "delay", "slow")
        #expect(result.status == 0, "\(result.text)")
        // How others fare on the slow link is a figure of `make bench`: here other tests run.
        #expect(result.text.contains("uplink of 1 Mbit/s | sent | "), "\(result.text)")
    }

    @Test("with more change than the spool holds the newest version of every file is kept")
    func fullSpool() throws {
        let result = try run("bad-links", "days", "--size", "0.3", "--spool", "0.1")
        #expect(result.status == 0, "\(result.text)")
    }

    private func run(_ script: String, _ arguments: String...) throws -> (status: Int32, text: String) {
        let fixture = try ProgramFixture()
        defer { fixture.close() }
        let top = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments =
            [
                "python3", top.appendingPathComponent("scripts/\(script)").path, "--holdfast",
                ProgramFixture.program.path,
            ]
            + arguments
        process.environment = ["PATH": searchPath, "HOME": fixture.directory.path, "LC_ALL": "C.UTF-8"]
        process.standardInput = FileHandle.nullDevice
        let output = fixture.directory.appendingPathComponent("output")
        try Data().write(to: output)
        let handle = try FileHandle(forWritingTo: output)
        process.standardOutput = handle
        process.standardError = handle
        try process.run()
        process.waitUntilExit()
        return (process.terminationStatus, try String(contentsOf: output, encoding: .utf8))
    }
}
