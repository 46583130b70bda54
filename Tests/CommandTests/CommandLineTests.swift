import Foundation
import TestSupport
import Testing

@testable import holdfast

@Suite("The command line")
struct CommandLineTests {
    /// Every command by the words that call it, from the list that the program itself uses.
    static let commands: [String] = {
        func walk(_ type: any ParsableCommandType, _ words: [String]) -> [[String]] {
            [words] + type.children.flatMap { walk($0, words + [$0.word]) }
        }
        return walk(CommandTree.root, []).map { $0.joined(separator: " ") }
    }()

    @Test("the help of every command is the golden one", arguments: commands)
    func help(command: String) throws {
        let fixture = try ProgramFixture()
        defer { fixture.close() }
        let result = try fixture.run(command.split(separator: " ").map(String.init) + ["--help"])
        #expect(result.status == 0)
        #expect(result.error.isEmpty)
        let name = command.isEmpty ? "holdfast" : command.replacingOccurrences(of: " ", with: "-")
        try assertSnapshot(result.text, named: "help-\(name).txt")
        for line in result.text.split(separator: "\n") { #expect(line.count <= 100, "\(line)") }
    }

    @Test("words of other tools are answered with the command to use here, and status 2")
    func otherWords() throws {
        let fixture = try ProgramFixture()
        defer { fixture.close() }
        for word in ["snapshots", "forget", "prune", "check", "create", "extract", "init", "Prune"] {
            let result = try fixture.run(word, "--whatever", "x")
            #expect(result.status == 2)
            #expect(result.output.isEmpty)
            #expect(result.error.hasPrefix("holdfast: There is no command \"\(word)\" here.\nhint: Use `holdfast "))
        }
        // An answer must not hide a command of ours.
        let own = Set(Self.commands.compactMap { $0.split(separator: " ").first.map(String.init) })
        #expect(own.isDisjoint(with: OtherWords.answers.keys))
    }

    @Test("command lines that make no sense end with status 2 and say where to read")
    func usageErrors() throws {
        let fixture = try ProgramFixture()
        defer { fixture.close() }
        for arguments in [["nonsense"], ["--nonsense"]] {
            let result = try fixture.run(arguments)
            #expect(result.status == 2)
            #expect(result.error.hasPrefix("holdfast: "))
            #expect(result.error.contains("\nhint: "))
        }
    }

    @Test("with --json an error is an object, also when the command line makes no sense")
    func jsonErrors() throws {
        let fixture = try ProgramFixture()
        defer { fixture.close() }
        let result = try fixture.run("prune", "--json")
        #expect(result.status == 2)
        let object = try #require(
            try JSONSerialization.jsonObject(with: Data(result.error.utf8)) as? [String: Any])
        #expect(object["type"] as? String == "error")
        #expect(object["code"] as? String == "usage")
        #expect((object["hint"] as? String)?.contains("retention apply") == true)
    }

    @Test("--version prints the version alone")
    func version() throws {
        let fixture = try ProgramFixture()
        defer { fixture.close() }
        let result = try fixture.run("--version")
        #expect(result.status == 0)
        #expect(result.text == "\(Holdfast.version)\n")
    }
}
