import Foundation
import Testing

@testable import holdfast

/// `scripts/make-manuals`, with the program that was built beside the tests.
@Suite("The manual pages and completions")
struct ManualTests {
    @Test("every command has a page with all its options, and no reader of pages or completions complains")
    func pages() throws {
        let fixture = try ProgramFixture()
        defer { fixture.close() }
        let (status, text) = try makeManuals(fixture.directory)
        try #require(status == 0, "\(text)")

        let folder = fixture.directory.appendingPathComponent("man")
        let pages = Set(try FileManager.default.contentsOfDirectory(atPath: folder.path))
        #expect(pages == Set(CommandLineTests.commands.map(page)))
        for command in CommandLineTests.commands {
            let page = try String(contentsOf: folder.appendingPathComponent(page(command)), encoding: .utf8)
                .replacingOccurrences(of: "\\-", with: "-")
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "SEE ALSO"] {
                #expect(page.contains("\n.SH \(section)\n"), "\(command): \(section)")
            }
            let help = try fixture.run(command.split(separator: " ").map(String.init) + ["--help"]).text
            #expect(help.contains("\nExample") == page.contains("\n.SH EXAMPLES\n"), "\(command)")
            for option in help.matches(of: /\n  (?:-\w, )?(--[a-z-]+)/) {
                #expect(page.contains("\\fB\(option.output.1)\\fP"), "\(command) \(option.output.1)")
            }
        }
    }

    @Test("every variable of the environment that the program reads is in a manual")
    func environment() throws {
        let script = try String(contentsOf: top.appendingPathComponent("scripts/make-manuals"), encoding: .utf8)
        var variables = Set<String>()
        let sources = top.appendingPathComponent("Sources")
        let files = try #require(FileManager.default.enumerator(at: sources, includingPropertiesForKeys: nil))
        for case let file as URL in files where file.pathExtension == "swift" {
            let text = try String(contentsOf: file, encoding: .utf8)
            variables.formUnion(text.matches(of: /"(HOLDFAST_[A-Z_]+)"/).map { String($0.output.1) })
        }
        #expect(variables.contains("HOLDFAST_VAULT"))
        for variable in variables.sorted() { #expect(script.contains("(\"\(variable)\""), "\(variable)") }
    }

    private func page(_ command: String) -> String {
        (["holdfast"] + command.split(separator: " ").map(String.init)).joined(separator: "-") + ".1"
    }

    /// The top of the repository.
    private var top: URL {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
    }

    /// Runs the script with a fixed date; its status and all that it printed.
    private func makeManuals(_ directory: URL) throws -> (status: Int32, text: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            "python3", top.appendingPathComponent("scripts/make-manuals").path, "--check",
            "--holdfast", ProgramFixture.program.path, "--out", directory.path,
        ]
        process.environment = ProcessInfo.processInfo.environment.merging(["SOURCE_DATE_EPOCH": "1700000000"]) { $1 }
        let log = directory.appendingPathComponent("log")
        try Data().write(to: log)
        let handle = try FileHandle(forWritingTo: log)
        process.standardOutput = handle
        process.standardError = handle
        process.standardInput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        return (process.terminationStatus, try String(contentsOf: log, encoding: .utf8))
    }
}
